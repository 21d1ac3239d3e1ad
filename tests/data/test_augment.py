from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from semreid.data.augment import (
    AugmentRecipe,
    Draws,
    augment_images,
    augment_regions,
    augment_textures,
    draw,
    fill,
    move,
    recolour,
    sharpen,
)

SIZE = (12, 8)
OFF = AugmentRecipe(flip=0, pad=0, erase=0)


def make(recipe: AugmentRecipe, batch: int = 16, seed: int = 0) -> Draws:
    return draw(recipe, batch, SIZE, torch.Generator().manual_seed(seed))


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (16, *SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_all_off_is_the_image(pixels: Tensor) -> None:
    images = augment_images(pixels, make(OFF))
    assert images.shape == (16, 3, *SIZE)
    torch.testing.assert_close(images, pixels.permute(0, 3, 1, 2) / 255, atol=1e-6, rtol=0)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_move_equals_the_naive_loop(pixels: Tensor) -> None:
    draws = make(AugmentRecipe(flip=0.5, pad=3))
    moved = move(pixels, draws.flip, draws.shift)
    for b in range(16):
        image = pixels[b].flip(1) if draws.flip[b] else pixels[b]
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                sy, sx = y + int(draws.shift[b, 0]), x + int(draws.shift[b, 1])
                inside = 0 <= sy < SIZE[0] and 0 <= sx < SIZE[1]
                expected = image[sy, sx] if inside else torch.zeros(3, dtype=torch.uint8)
                assert torch.equal(moved[b, y, x], expected)
    assert draws.flip.any()
    assert not draws.flip.all()
    assert draws.shift.min() >= -3
    assert draws.shift.max() <= 3
    assert len(draws.shift.unique()) == 7


def test_masks_move_exactly_with_their_images() -> None:
    regions = torch.randint(0, 8, (16, *SIZE), dtype=torch.uint8)
    images = regions[..., None].expand(-1, -1, -1, 3).contiguous()
    draws = make(AugmentRecipe(flip=0.5, pad=4, translate=1.0, erase=0))
    moved = augment_regions(regions, draws)
    torch.testing.assert_close(augment_images(images, draws)[:, 0] * 255, moved.float())
    assert set(moved.unique().tolist()) <= set(range(8))


def test_zoom_equals_the_naive_loop_for_images_and_masks(pixels: Tensor) -> None:
    draws = make(AugmentRecipe(flip=0.5, pad=2, zoom=0.8, erase=0))
    moved = augment_regions(pixels[..., 0], draws)
    torch.testing.assert_close(augment_images(pixels, draws)[:, 0] * 255, moved.float())
    for b in range(16):
        image = pixels[b, :, :, 0].flip(1) if draws.flip[b] else pixels[b, :, :, 0]
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                sy = round((y - 5.5) / float(draws.zoom[b, 0]) + 5.5) + int(draws.shift[b, 0])
                sx = round((x - 3.5) / float(draws.zoom[b, 1]) + 3.5) + int(draws.shift[b, 1])
                assert moved[b, y, x] == (image[sy, sx] if 0 <= sy < SIZE[0] and 0 <= sx < SIZE[1] else 0)
    assert draws.zoom.min() >= 1
    assert 1.6 < draws.zoom.max() <= 1.8


def test_focus_blurs_and_sharpens_what_is_not_flat() -> None:
    edge = torch.full((3, *SIZE, 3), 0.4)
    edge[:, 6:] = 0.6
    blurred, same, sharp = sharpen(edge, torch.tensor([1.0, 0.0, -1.0]))
    torch.testing.assert_close(same, edge[1])
    # a step of 0.2, twice averaged over three rows, lies 1/9, 3/9, 6/9 and 8/9 of the way on the rows around it
    torch.testing.assert_close(blurred[4:8, 0, 0], 0.4 + 0.2 * torch.tensor([1, 3, 6, 8]) / 9)
    torch.testing.assert_close(sharp[4:8, 0, 0], 2 * edge[0, 4:8, 0, 0] - blurred[4:8, 0, 0])
    torch.testing.assert_close(blurred[:4], edge[0, :4])
    flat = torch.full((1, *SIZE, 3), 0.4)
    torch.testing.assert_close(sharpen(flat, torch.tensor([-1.0])), flat)


def test_noise_is_grey_of_many_strengths_and_stays_in_range() -> None:
    recipe = AugmentRecipe(flip=0, pad=0, erase=0, noise=0.2)
    images = augment_images(torch.full((400, *SIZE, 3), 128, dtype=torch.uint8), make(recipe, batch=400))
    assert torch.equal(images[:, 0], images[:, 2])
    deviations = images[:, 0].flatten(1).std(1)
    assert deviations.min() < 0.01
    assert 0.17 < deviations.max() < 0.24
    assert 0.08 < deviations.mean() < 0.12
    assert augment_images(torch.full((16, *SIZE, 3), 255, dtype=torch.uint8), make(recipe)).max() <= 1


def test_textures_are_mirrored_and_nothing_else() -> None:
    textures = torch.randint(0, 256, (16, 256, 256, 3), dtype=torch.uint8)
    draws = make(AugmentRecipe(flip=0.5, pad=4, jitter=0.5, colour_cast=0.5, erase=1, cutout=1))
    for out, texture, flipped in zip(augment_textures(textures, draws), textures, draws.flip, strict=True):
        expected = texture.numpy()[:, ::-1] if flipped else texture.numpy()
        np.testing.assert_allclose(out.numpy(), np.moveaxis(expected / 255.0, 2, 0), atol=1e-6)


def test_erased_area_is_within_bounds_and_filled() -> None:
    recipe = AugmentRecipe(flip=0, pad=0, erase=1, erase_area=(0.1, 0.3))
    draws = draw(recipe, 400, (60, 40), torch.Generator().manual_seed(0))
    top, left, bottom, right = draws.erase.unbind(1)
    share = ((bottom - top) * (right - left)) / 2400
    assert share.min() > 0.08
    assert share.max() < 0.32
    assert top.min() == 0
    assert bottom.max() == 60
    filled = fill(torch.zeros(400, 60, 40, 3), draws.erase, (0.1, 0.2, 0.3))
    torch.testing.assert_close(filled[..., 1].mean((1, 2)), 0.2 * share, atol=1e-5, rtol=1e-4)


def test_erasing_happens_as_often_as_asked() -> None:
    draws = make(AugmentRecipe(erase=0.5), batch=1000)
    erased = (draws.erase[:, 2] > draws.erase[:, 0]).float().mean()
    assert 0.44 < erased < 0.56


def test_cutout_is_one_black_square() -> None:
    draws = make(AugmentRecipe(flip=0, pad=0, erase=0, cutout=1, cutout_size=0.5))
    images = augment_images(torch.full((16, *SIZE, 3), 255, dtype=torch.uint8), draws)
    assert ((images == 0).sum((1, 2, 3)) == 4 * 4 * 3).all()


def test_recolour_equals_the_naive_loop(pixels: Tensor) -> None:
    draws = make(AugmentRecipe(jitter=0.4, colour_cast=0.2))
    images = pixels.float() / 255
    out = recolour(images, draws.colour, draws.brightness).numpy()
    for b in range(16):
        grey = (images[b].numpy() @ np.array([0.299, 0.587, 0.114])).mean()
        expected = ((images[b].numpy() - grey) @ draws.colour[b].numpy() + grey) * float(draws.brightness[b])
        np.testing.assert_allclose(out[b], expected.clip(0, 1), atol=1e-5)


def test_saturation_zero_is_grey() -> None:
    grey = torch.tensor([0.299, 0.587, 0.114])[:, None].expand(3, 3).repeat(16, 1, 1)
    images = recolour(torch.rand(16, *SIZE, 3), grey, torch.ones(16))
    torch.testing.assert_close(images[..., 0], images[..., 2])


def test_same_seed_same_draws_and_shares_are_rows_of_the_global_batch(pixels: Tensor) -> None:
    recipe = AugmentRecipe(jitter=0.3, colour_cast=0.1, translate=0.5, cutout=0.5)
    whole = augment_images(pixels, make(recipe))
    torch.testing.assert_close(augment_images(pixels, make(recipe)), whole, rtol=0, atol=0)
    assert not torch.equal(augment_images(pixels, make(recipe, seed=1)), whole)
    rows = slice(8, 16)
    share = augment_images(pixels[rows], make(recipe).share(rows, torch.device("cpu")))
    torch.testing.assert_close(share, whole[rows])


def test_a_stronger_recipe_does_not_shift_other_draws() -> None:
    weak = make(AugmentRecipe(flip=0.5, pad=3))
    strong = make(replace(AugmentRecipe(flip=0.5, pad=3), jitter=0.5, zoom=0.3, sharpness=0.5, noise=0.1))
    assert torch.equal(weak.flip, strong.flip)  # an ablation changes what it names, and only that
    assert torch.equal(weak.shift, strong.shift)
