import pytest
import torch

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.functional import class_balanced_cross_entropy
from semreid.models.heads import Parsing


def make_batch(**changes: object) -> Batch:
    """Two 64x32 images whose labels change in blocks of 8, which no resizing by 8 can miss."""
    blocks = torch.randint(0, 8, (2, 8, 4), generator=torch.Generator().manual_seed(0))
    regions = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.uint8)
    pids = torch.arange(2)
    return Batch(**{"images": torch.zeros(2, 3, 64, 32), "pids": pids, "camids": pids, "regions": regions, **changes})


def make_maps() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "layer3": torch.randn(2, 6, 4, 2, generator=generator),
        "layer4": torch.randn(2, 12, 4, 2, generator=generator).requires_grad_(),
    }


def make_head(**options: object) -> Parsing:
    torch.manual_seed(0)
    head = Parsing("layer4", 12, grid="layer3", **options)
    torch.nn.init.normal_(head.decoder[3].weight, std=0.5)  # a head that has an opinion
    return head


def test_learns_from_masks_at_twice_the_resolution_of_the_map() -> None:
    head, maps, batch = make_head(), make_maps(), make_batch()
    losses = head.losses(maps, batch)
    assert maps["parsing"].shape == (2, 8, 8, 4)
    expected = class_balanced_cross_entropy(maps["parsing"], batch.regions[:, ::8, ::8])
    torch.testing.assert_close(losses, {"pixel": expected})
    losses["pixel"].backward()
    assert maps["layer4"].grad.abs().sum() > 0


def test_the_decoder_is_that_of_the_released_code() -> None:
    torch.manual_seed(0)
    head = Parsing("layer4", 256, grid="layer3")
    # Sheet: transposed convolution 3x3, stride 2, no bias; normalisation; ReLU; 1x1 with bias; from N(0, 0.001).
    assert {name: tuple(p.shape) for name, p in head.decoder.named_parameters()} == {
        "0.weight": (256, 256, 3, 3),
        "1.weight": (256,),
        "1.bias": (256,),
        "3.weight": (8, 256, 1, 1),
        "3.bias": (8,),
    }
    assert isinstance(head.decoder[2], torch.nn.ReLU)
    for layer in (head.decoder[0], head.decoder[3]):
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert not head.decoder[3].bias.any()
    assert (head.masks, head.label_resize) == ("offline", "nearest")
    assert head.needs == ("regions",)


def test_regions_in_training_come_from_the_masks_or_from_the_head() -> None:
    batch, maps = make_batch(), make_maps()
    make_head().losses(maps, batch)
    assert torch.equal(maps["regions"], batch.regions[:, ::16, ::16])
    make_head(masks="predicted").losses(maps, batch)
    predicted = maps["parsing"].argmax(1)[:, ::2, ::2]
    assert torch.equal(maps["regions"], predicted)
    assert not torch.equal(predicted, batch.regions[:, ::16, ::16].long())


def test_regions_at_inference_are_the_likeliest_on_the_grid_that_is_asked_for() -> None:
    head, maps = make_head().eval(), make_maps()
    assert head.embed(maps) is None
    assert torch.equal(maps["regions"], maps["parsing"].argmax(1)[:, ::2, ::2])
    maps["layer3"] = torch.zeros(2, 6, 8, 4)  # a trunk whose last stage has stride 2
    head.embed(maps)
    assert torch.equal(maps["regions"], maps["parsing"].argmax(1))


def test_bilinear_labels_make_up_what_is_not_there() -> None:
    regions = torch.zeros(2, 64, 32, dtype=torch.uint8)
    regions[:, 36:] = 7
    batch = make_batch(regions=regions)
    for mode, present in (("nearest", [0, 7]), ("bilinear", [0, 4, 7])):
        maps = make_maps()
        make_head(label_resize=mode).losses(maps, batch)
        assert maps["regions"].unique().tolist() == present


def test_learns_masks_by_heart() -> None:
    torch.manual_seed(0)
    head, maps, batch = make_head(), make_maps(), make_batch()
    optimiser = torch.optim.Adam([*head.parameters(), maps["layer4"]], 0.05)
    for _ in range(60):
        optimiser.zero_grad()
        head.losses(maps, batch)["pixel"].backward()
        optimiser.step()
    maps = {name: m.detach() for name, m in maps.items()}
    head.losses(maps, batch)
    assert (maps["parsing"].argmax(1) == batch.regions[:, ::8, ::8]).float().mean() > 0.95


def test_batch_without_masks_is_refused() -> None:
    with pytest.raises(SemreidError, match="learns from part masks, and the batch has none"):
        make_head().losses(make_maps(), make_batch(regions=None))
