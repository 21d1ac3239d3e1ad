import pytest
import torch
from torch.nn import functional as F

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.models.heads import Attributes

GROUPS = {"head": 2, "upper": 3}
MAPS = {"layer4": torch.randn(4, 16, 6, 4, generator=torch.Generator().manual_seed(0)).relu()}


def make_batch(attributes: torch.Tensor | None) -> Batch:
    pids = torch.arange(4)
    return Batch(images=torch.zeros(4, 3, 96, 64), pids=pids, camids=pids, attributes=attributes)


def make_head() -> Attributes:
    torch.manual_seed(0)
    return Attributes("layer4", 16, GROUPS)


def test_each_group_is_pooled_where_its_mask_is() -> None:
    head = make_head().eval()
    masks = torch.sigmoid(head.attention(head.block(MAPS["layer4"])))
    expected = []
    for mask, classifier in zip(masks.unbind(1), head.classifiers, strict=True):
        pooled = (MAPS["layer4"] * mask[:, None]).sum((2, 3)) / mask.sum((1, 2))[:, None]
        expected.append(classifier(pooled))
    torch.testing.assert_close(head.logits(MAPS["layer4"]), torch.cat(expected, 1))


def test_loss_is_the_mean_over_all_attributes_and_reaches_every_weight() -> None:
    head, wanted = make_head(), torch.randint(0, 2, (4, 5), dtype=torch.uint8)
    losses = head.losses(MAPS, make_batch(wanted))
    expected = F.binary_cross_entropy_with_logits(make_head().logits(MAPS["layer4"]), wanted.float())
    torch.testing.assert_close(losses, {"bce": expected})
    losses["bce"].backward()
    assert all(p.grad is not None for p in head.parameters())


def test_serves_training_only() -> None:
    head = make_head()
    assert head.embed(MAPS) is None
    assert head.dim == 0
    assert {name.split(".")[0] for name in head.state_dict()} == set(head.training_only)


@pytest.mark.parametrize(("attributes", "found"), [(None, "none"), (torch.zeros(4, 6), "6")])
def test_other_attributes_than_the_data_have(attributes: torch.Tensor | None, found: str) -> None:
    with pytest.raises(SemreidError, match=f"learns 5 attributes, and the data have {found}") as caught:
        make_head().losses(MAPS, make_batch(attributes))
    assert "model.options.attributes" in caught.value.fix
