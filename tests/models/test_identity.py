import pytest
import torch
from torch.nn import functional as F

from semreid.data.batch import Batch
from semreid.models.heads import Identity
from semreid.models.heads.identity import recognition_losses


def make_batch(num_ids: int = 4) -> Batch:
    pids = torch.arange(num_ids).repeat_interleave(2)
    return Batch(images=torch.zeros(2 * num_ids, 3, 8, 4), pids=pids, camids=torch.zeros_like(pids))


@pytest.fixture
def maps() -> dict[str, torch.Tensor]:
    return {"layer4": torch.randn(8, 16, 4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()}


@pytest.mark.parametrize(("pool", "expected"), [("avg", lambda m: m.mean((2, 3))), ("max", lambda m: m.amax((2, 3)))])
def test_embedding_is_the_pooled_map_after_the_neck(maps, pool: str, expected) -> None:
    head = Identity("layer4", 16, 4, pool=pool).eval()
    torch.testing.assert_close(head.embed(maps), expected(maps["layer4"]) / (1 + 1e-5) ** 0.5)


def test_losses_equal_their_definition(maps) -> None:
    head = Identity("layer4", 16, 4)
    losses = head.losses(maps, make_batch())
    feature = maps["layer4"].mean((2, 3))
    logits = F.batch_norm(feature, None, None, training=True) @ head.classifier.weight.T
    pids = make_batch().pids
    torch.testing.assert_close(losses["id"], F.cross_entropy(logits, pids, label_smoothing=0.1))
    distances = torch.cdist(feature, feature)
    same = pids[:, None] == pids
    hardest = [
        (row[mine].max() - row[~mine].min() + 0.3).clamp_min(0) for row, mine in zip(distances, same, strict=True)
    ]
    torch.testing.assert_close(losses["triplet"], torch.stack(hardest).mean())


def test_margin_and_smoothing_are_the_published_ones_and_a_margin_may_be_soft(maps) -> None:
    batch = make_batch()
    feature = maps["layer4"].mean((2, 3))
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))

    def triplet(margin: float) -> torch.Tensor:
        same, distances = batch.pids[:, None] == batch.pids, torch.cdist(feature, feature)
        gaps = [r[m].max() - r[~m].min() for r, m in zip(distances, same, strict=True)]
        return torch.stack([(gap + margin).clamp_min(0) for gap in gaps]).mean()

    assert not torch.isclose(triplet(0.3), triplet(0.25))
    found = recognition_losses(feature, logits, batch.pids)
    torch.testing.assert_close(found["triplet"], triplet(0.3))
    torch.testing.assert_close(found["id"], F.cross_entropy(logits, batch.pids, label_smoothing=0.1))
    assert not torch.isclose(recognition_losses(feature, logits, batch.pids, margin=None)["triplet"], triplet(0.3))


def test_a_classifier_of_something_else_does_not_begin_with_the_people() -> None:
    head = Identity("layer4", 16, 4)
    before = head.classifier.weight.clone()
    head.imprint(torch.ones(5, 16))
    assert torch.equal(head.classifier.weight, before)
    head.imprint(torch.ones(4, 16))
    torch.testing.assert_close(head.classifier.weight.detach(), torch.full((4, 16), 0.25))


def test_neck_has_no_shift_to_learn_and_gem_learns_its_exponent(maps) -> None:
    head = Identity("layer4", 16, 4, pool="gem")
    sum(head.losses({"layer4": maps["layer4"].relu()}, make_batch()).values()).backward()
    assert head.neck.bias.grad is None
    assert not head.neck.bias.requires_grad
    assert head.pool.p.grad is not None


def test_centers_move_towards_the_features_and_pull_them(maps) -> None:
    head = Identity("layer4", 16, 4, center=True)
    feature = maps["layer4"].mean((2, 3))
    first = head.losses(maps, make_batch())["center"]
    expected = 0.5 * feature.view(4, 2, 16).sum(1) / 3  # rate · sum of differences / (1 + number of images)
    torch.testing.assert_close(head.centers, expected.detach())
    assert head.losses(maps, make_batch())["center"] < first
    first.backward()
    assert maps["layer4"].grad.abs().sum() > 0
    assert not head.centers.requires_grad
