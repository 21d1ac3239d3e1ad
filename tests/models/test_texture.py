from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semreid.atlas import valid_texels
from semreid.data.augment import AugmentRecipe, augment_images, augment_textures, draw
from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.functional.alignment import random_triplets
from semreid.models.heads import Texture
from semreid.models.heads.texture import _doubling, double
from semreid.models.trunk import Maps, build_trunk
from semreid.people.body import build_body
from semreid.people.poses import draw_pose, take_pose
from semreid.people.render import View, bounding_box, project, render
from semreid.people.shape import Shape, Silhouette

TRUNK = build_trunk("resnet18", width=0.25).eval()
PIDS = torch.tensor([0, 0, 1, 1, 2, 2])


def make_head(**options: object) -> Texture:
    torch.manual_seed(0)
    return Texture(TRUNK.channels, **options)


def make_batch(**changes: object) -> Batch:
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        images=torch.rand(6, 3, 64, 32, generator=generator),
        pids=PIDS,
        camids=PIDS,
        textures=torch.rand(6, 3, 256, 256, generator=generator),
    )
    return replace(batch, **changes)


def maps_of(batch: Batch) -> Maps:
    with torch.no_grad():
        return TRUNK(batch.images)


def test_shapes_of_the_published_decoder() -> None:
    trunk = {"layer1": (256, 64, 32), "layer2": (512, 32, 16), "layer3": (1024, 16, 8), "layer4": (2048, 16, 8)}
    head = Texture({name: shape[0] for name, shape in trunk.items()}, skips=True)
    maps = {name: torch.randn(1, *shape) for name, shape in trunk.items()}
    with torch.no_grad():
        painted, blocks = head.decoder.eval()(maps)
    assert painted.shape == (1, 3, 256, 256)
    assert [tuple(b.shape[1:]) for b in blocks] == [(256, 32, 16), (64, 64, 32), (32, 128, 64), (16, 256, 128)]
    assert sum(p.numel() for p in head.parameters()) == 9_071_075  # docs/san.md: 9.071 M with skips
    plain = Texture({name: shape[0] for name, shape in trunk.items()})
    assert sum(p.numel() for p in plain.parameters()) == 8_396_835  # docs/san.md: 8.397 M


def test_narrow_trunks_get_narrow_decoders() -> None:
    _, blocks = make_head().decoder(maps_of(make_batch()))
    assert [block.shape[1] for block in blocks] == [32, 16, 16, 16]


@pytest.mark.parametrize("masked", [False, True])
def test_three_blocks_learn_from_textures_of_half_the_size(masked: bool) -> None:
    head, batch = make_head(blocks=3, masked=masked), make_batch()
    maps = maps_of(batch)
    painted, blocks = head.decoder(maps)
    assert painted.shape == (6, 3, 128, 128)
    assert [block.shape[1] for block in blocks] == [32, 16, 16]
    halves = batch.textures.numpy().reshape(6, 3, 128, 2, 128, 2).mean(axis=(3, 5))
    counts = valid_texels().reshape(128, 2, 128, 2).mean(axis=(1, 3)) > 0.5 if masked else np.ones((128, 128), bool)
    expected = 2 * np.abs(painted.detach().numpy() - halves)[..., counts].mean()
    losses = head.losses(maps, batch)
    assert losses["reconstruction"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["triplet"] > 0
    small = head.losses(maps, replace(batch, textures=torch.from_numpy(halves)))  # as a store keeps them
    assert small["reconstruction"].item() == pytest.approx(expected, rel=1e-5)
    texture = head.texture(maps)
    assert texture.shape == (6, 3, 256, 256)
    assert F.avg_pool2d(texture, 2)[..., 1:-1, 1:-1].allclose(painted.clamp(0, 1)[..., 1:-1, 1:-1], atol=0.05)


def test_a_share_of_the_real_images_is_painted_and_all_synthetic_ones() -> None:
    """The loss of four images of six is that of a batch of these four."""
    whole, head = make_head(), make_head(share=0.6)
    maps, batch = maps_of(make_batch()), make_batch()
    torch.manual_seed(1)
    found = head.losses(maps, batch)
    torch.manual_seed(1)
    four = replace(batch, images=batch.images[:4], pids=PIDS[:4], camids=PIDS[:4], textures=batch.textures[:4])
    expected = whole.losses({name: trunk[:4] for name, trunk in maps.items()}, four)
    for name in ("reconstruction", "triplet"):
        torch.testing.assert_close(found[name], expected[name])
    joined = replace(batch, pids=torch.tensor([0, 0, 1, 1, -1, -1]), synthetic=2)
    kept = [0, 1, 2, 4, 5]
    for textures, own in ((batch.textures, batch.textures[kept]), (batch.textures[4:], batch.textures[4:])):
        torch.manual_seed(1)
        found = head.losses(maps, replace(joined, textures=textures))
        torch.manual_seed(1)
        fewer = Batch(batch.images[kept], joined.pids[kept], PIDS[kept], textures=own, synthetic=2)
        expected = whole.losses({name: trunk[kept] for name, trunk in maps.items()}, fewer)
        for name in ("reconstruction", "triplet"):
            torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize("size", [(8, 4), (4, 2), (9, 12), (1, 1)])
def test_twice_the_size_is_that_of_pytorch_with_the_channels_last(size: tuple[int, int]) -> None:
    draws = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 5, *size, generator=draws, dtype=torch.float64).to(memory_format=torch.channels_last)
    weight = torch.randn(3, 5, *(2 * side + 2 for side in size), generator=draws, dtype=torch.float64)

    def theirs(seen: torch.Tensor) -> torch.Tensor:
        return F.pad(F.interpolate(seen, scale_factor=2, mode="bilinear"), (1, 1, 1, 1), mode="reflect")

    gradients = []
    for enlarge in (double, theirs):
        seen = maps.clone(memory_format=torch.channels_last).requires_grad_()
        wide = enlarge(seen)
        (wide * weight).sum().backward()
        torch.testing.assert_close(wide, theirs(maps))
        assert wide.is_contiguous(memory_format=torch.channels_last)
        gradients.append(seen.grad)
    torch.testing.assert_close(*gradients)


def test_who_enlarges_first_does_not_matter() -> None:
    """The weights are made once, maybe without gradients or in half precision, and serve all."""
    maps = torch.randn(2, 3, 5, 7)
    _doubling.cache_clear()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half = double(maps.bfloat16())
    with torch.inference_mode():
        expected = double(maps)
    seen = maps.clone().requires_grad_()
    double(seen).sum().backward()
    assert torch.equal(double(seen), expected)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.03, rtol=0.01)


def test_initialisation_is_that_of_the_released_code() -> None:
    decoder = make_head(skips=True).decoder
    convs = [m for m in decoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(conv.bias is None or not conv.bias.any() for conv in convs)
    fan = sum(torch.nn.init._calculate_fan_in_and_fan_out(convs[0].weight))
    assert convs[0].weight.std().item() == pytest.approx(0.02 * (2 / fan) ** 0.5, rel=0.1)
    norms = torch.cat([m.weight for m in decoder.modules() if isinstance(m, torch.nn.BatchNorm2d)])
    assert norms.mean().item() == pytest.approx(1, abs=0.01)
    assert norms.std().item() == pytest.approx(0.02, rel=0.2)


def test_reconstruction_is_the_difference_in_the_range_of_the_paper() -> None:
    head, batch = make_head(), make_batch()
    maps = maps_of(batch)
    painted, _ = head.decoder(maps)
    expected = (2 * painted - 1 - (batch.textures - 0.5) / 0.5).abs().mean()  # both from -1 to 1
    torch.testing.assert_close(head.losses(maps, batch)["reconstruction"], expected)


def test_masked_reconstruction_looks_at_the_body_only() -> None:
    head, batch = make_head(masked=True), make_batch()
    maps, valid = maps_of(batch), torch.from_numpy(valid_texels())
    before = head.losses(maps, batch)["reconstruction"]
    gutters = replace(batch, textures=torch.where(valid, batch.textures, 1.0))
    torch.testing.assert_close(head.losses(maps, gutters)["reconstruction"], before)
    assert make_head().losses(maps, gutters)["reconstruction"] > make_head().losses(maps, batch)["reconstruction"]
    assert not [name for name in head.state_dict() if "valid" in name]


@pytest.mark.parametrize("form", ["published", "released"])
def test_constraint_is_the_loop_over_triplets_and_blocks(form: str) -> None:
    head, batch = make_head(triplet=form), make_batch()
    maps = maps_of(batch)
    _, blocks = head.decoder(maps)
    torch.manual_seed(7)
    found = head.losses(maps, batch)["triplet"].item()
    if form == "released":
        rows = {0: (0, 1, 0), 1: (1, 0, 1), 2: (0, 1, 0), 3: (1, 0, 0)}  # the published table, two images each
        triplets = [[(2 * g + a, 2 * g + p, 2 * g + 2 + n) for g in range(2)] for a, p, n in rows.values()]
    else:
        torch.manual_seed(7)
        drawn = [tuple(map(int, row)) for row in zip(*random_triplets(PIDS)[:3], strict=True)]
        triplets = [drawn] * 3
    total = 0.0
    for block, chosen in zip(blocks, triplets, strict=False):
        hinges = []
        for a, p, n in chosen:
            squares = [(block[a] - block[other]).square() for other in (p, n)]
            near, far = (s.mean() if form == "released" else s.sum(0).mean() for s in squares)
            hinges.append(max((near - far).item() + 0.3, 0.0))
        total += sum(hinges) / (1 if form == "released" else len(hinges))
    assert found == pytest.approx(total, rel=1e-5)


def test_a_batch_of_one_person_has_no_constraint() -> None:
    batch = make_batch(pids=torch.zeros(6, dtype=torch.long))
    for form in ("published", "released"):
        assert make_head(triplet=form).losses(maps_of(batch), batch)["triplet"] == 0


def test_without_constraint_there_is_reconstruction_alone() -> None:
    head, batch = make_head(triplet="none"), make_batch()
    assert head.losses(maps_of(batch), batch).keys() == {"reconstruction"}


def test_synthetic_images_teach_to_paint_and_nothing_else() -> None:
    head, batch = make_head().eval(), make_batch(pids=torch.tensor([0, 0, 1, 1, -1, -1]), synthetic=2)
    maps = maps_of(batch)
    torch.manual_seed(1)
    found = head.losses(maps, batch)
    real = Batch(batch.images[:4], batch.pids[:4], batch.camids[:4], textures=batch.textures[:4])
    torch.manual_seed(1)
    alone = head.losses({name: m[:4] for name, m in maps.items()}, real)
    torch.testing.assert_close(found["triplet"], alone["triplet"])
    painted, _ = head.decoder(maps)
    torch.testing.assert_close(found["reconstruction"], 2 * (painted - batch.textures).abs().mean())


def test_real_images_without_textures_leave_painting_to_the_synthetic_ones() -> None:
    head, batch = make_head().eval(), make_batch(synthetic=2)
    batch = replace(batch, textures=batch.textures[4:])
    painted, _ = head.decoder(maps_of(batch))
    expected = 2 * (painted[4:] - batch.textures).abs().mean()
    torch.testing.assert_close(head.losses(maps_of(batch), batch)["reconstruction"], expected)


def test_textures_that_are_missing_or_too_few_are_an_error() -> None:
    head, batch = make_head(), make_batch()
    with pytest.raises(SemreidError, match="learns from textures, and the batch has none"):
        head.losses(maps_of(batch), replace(batch, textures=None))
    with pytest.raises(SemreidError, match="expected two stacks of textures"):
        head.losses(maps_of(batch), replace(batch, textures=batch.textures[:3]))


def test_the_mirrored_texture_is_that_of_the_mirrored_image() -> None:
    """The flip rule, in a picture of a known body: after augmentation, every pixel still shows its texel."""
    body = build_body(Shape(), Silhouette())
    skin = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.float32)
    skin = cv2.resize(skin, (256, 256), interpolation=cv2.INTER_LINEAR)
    seen = project(take_pose(body, draw_pose(body, np.random.default_rng(1))), View(yaw=35))
    drawn = render(seen, body.faces, skin, bounding_box(seen), (256, 128))
    covered = cv2.erode((drawn.alpha > 0.99).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    plan = AugmentRecipe(flip=1.0, pad=0, erase=0.0)
    draws = draw(plan, 1, (256, 128), torch.Generator().manual_seed(0))
    pixels = torch.from_numpy(drawn.colour.round().astype(np.uint8))[None]
    image = augment_images(pixels, draws)[0].permute(1, 2, 0).numpy()
    texture = augment_textures(torch.from_numpy(skin.round().astype(np.uint8))[None], draws)[0].permute(1, 2, 0).numpy()
    mirrored = covered[:, ::-1]
    uv = drawn.uv[:, ::-1][mirrored]
    right, wrong = (
        np.abs(texture[(uv[:, 1] * 256).astype(int), (u * 256).astype(int)] - image[mirrored]).mean()
        for u in (1 - uv[:, 0], uv[:, 0])
    )
    assert right < 0.03
    assert wrong > 3 * right


def test_teachers_write_the_texture_and_others_do_not() -> None:
    maps = maps_of(make_batch())
    assert make_head().eval().embed(maps) is None
    assert "texture" not in maps
    assert make_head().training_only == ("decoder",)
    teacher = make_head(teacher=True).eval()
    assert teacher.embed(maps) is None
    assert maps["texture"].shape == (6, 3, 256, 256)
    assert 0 <= maps["texture"].min() <= maps["texture"].max() <= 1
    assert teacher.training_only == ()
