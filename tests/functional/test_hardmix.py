from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semreid.errors import SemreidError
from semreid.functional.hardmix import (
    block_scores,
    choose_negatives,
    fit_grid,
    owner_shares,
    paste,
    rectangle_blocks,
    salient_blocks,
    stripe,
)
from semreid.functional.pooling import resize_labels

GOLDEN = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parent / "golden" / "hardmix.npz").items()
    if value.ndim > 1 or name == "negatives"
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_golden_maps_of_the_released_code_bit_for_bit(memory_format: torch.memory_format) -> None:
    rows, columns, k = fit_grid((24, 8))
    blocks = salient_blocks(block_scores(GOLDEN["cam"], (rows, columns)), k, ties=random(8, 32))
    positions = resize_labels(blocks, (24, 8))
    assert torch.equal(positions, GOLDEN["replaced"])
    assert (positions.flatten(1).sum(1) == 18).all()
    maps = GOLDEN["maps"].to(memory_format=memory_format)
    assert torch.equal(paste(maps, maps, GOLDEN["negatives"], positions), GOLDEN["mixed"])
    assert torch.equal(paste(maps, maps.clone(), GOLDEN["negatives"], positions), GOLDEN["mixed"])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
def test_a_map_of_any_size_loses_the_published_share_of_its_blocks(h: int, w: int, seed: int) -> None:
    rows, columns, k = fit_grid((h, w))
    assert (rows, columns) == (min(8, h), min(4, w))
    assert abs(k - rows * columns * 3 / 32) <= 0.5 or k == 1
    blocks = salient_blocks(block_scores(random(3, h, w, seed=seed), (rows, columns)), k, random(3, rows * columns))
    assert blocks.flatten(1).sum(1).tolist() == [k] * 3
    positions = resize_labels(blocks, (h, w))
    assert positions.any(dim=(1, 2)).all()
    if h % rows == w % columns == 0:
        assert positions.float().mean((1, 2)).tolist() == pytest.approx([k / (rows * columns)] * 3)


@pytest.mark.parametrize("size", [(24, 8), (16, 8), (8, 4), (24, 12)])
def test_exactly_the_published_share_where_the_grid_divides_the_map(size: tuple[int, int]) -> None:
    rows, columns, k = fit_grid(size)
    positions = resize_labels(salient_blocks(random(5, rows, columns), k, random(5, rows * columns)), size)
    assert (positions.float().mean((1, 2)) == 0.09375).all()


def test_blocks_are_ranked_by_the_sum_of_what_is_in_them() -> None:
    cams = random(4, 24, 8)
    summed = torch.stack(
        [cams[:, y : y + 3, x : x + 2].sum((1, 2)) for y in range(0, 24, 3) for x in range(0, 8, 2)], 1
    )
    chosen = salient_blocks(block_scores(cams, (8, 4)), 3, random(4, 32)).flatten(1)
    for image in range(4):
        assert set(chosen[image].nonzero()[:, 0].tolist()) == set(summed[image].argsort()[-3:].tolist())


def test_an_empty_activation_map_loses_blocks_at_random_and_every_block_as_often() -> None:
    images = 4000
    blocks = salient_blocks(torch.zeros(images, 8, 4), 3, random(images, 32))
    assert (blocks.flatten(1).sum(1) == 3).all()
    shares = blocks.float().mean(0)
    assert (shares - 3 / 32).abs().max() < 5 * (3 / 32 * 29 / 32 / images) ** 0.5


def test_blocks_above_zero_go_before_blocks_at_random() -> None:
    scores = torch.zeros(200, 8, 4)
    scores[:, 5, 1] = 1e-20
    blocks = salient_blocks(scores, 3, random(200, 32))
    assert blocks[:, 5, 1].all()
    assert blocks.any(0).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 99))
def test_a_negative_is_always_another_person(pids: list[int], seed: int) -> None:
    """Identities in any order and number, also once, also in several groups."""
    labels = torch.tensor(pids)
    negatives = choose_negatives(random(len(pids), len(pids), seed=seed), labels)
    for image, negative in enumerate(negatives.tolist()):
        alone = len(set(pids)) == 1
        assert (negative == image) if alone else (pids[negative] != pids[image])


def test_every_image_of_another_person_is_as_likely() -> None:
    pids = torch.tensor([0, 1, 0, 2, 1])
    found = torch.stack([choose_negatives(random(5, 5, seed=seed), pids) for seed in range(2000)])
    counts = found[:, 0].bincount(minlength=5)
    assert counts[[0, 2]].sum() == 0
    assert (counts[[1, 3, 4]] / 2000 - 1 / 3).abs().max() < 0.05


def test_the_hardest_negative_is_the_nearest_of_another_person() -> None:
    features = torch.tensor([[0.0], [0.1], [5.0], [1.0], [4.0]])
    assert choose_negatives(-torch.cdist(features, features), torch.tensor([0, 0, 0, 1, 2])).tolist() == [3, 3, 4, 1, 2]


def test_rectangles_have_as_many_blocks_and_reach_every_place() -> None:
    for k, grid, sides in ((3, (8, 4), (3, 1)), (4, (8, 4), (2, 2)), (6, (8, 4), (3, 2)), (1, (1, 1), (1, 1))):
        blocks = rectangle_blocks(random(500, 2), grid, k)
        assert (blocks.any(2).sum(1) == sides[0]).all()
        assert (blocks.any(1).sum(1) == sides[1]).all()
        assert (blocks.flatten(1).sum(1) == k).all()
        assert blocks.any(0).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True, width=32), st.floats(0, 1, exclude_max=True, width=32), st.integers(1, 8))
def test_a_rectangle_lies_where_its_two_numbers_put_it(down: float, right: float, k: int) -> None:
    tall, wide = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2), 5: (5, 1), 6: (3, 2), 7: (7, 1), 8: (4, 2)}[k]
    top, left = int(np.float32(down) * np.float32(9 - tall)), int(np.float32(right) * np.float32(5 - wide))
    expected = torch.zeros(8, 4, dtype=torch.bool)
    expected[top : top + tall, left : left + wide] = True
    assert torch.equal(rectangle_blocks(torch.tensor([[down, right]]), (8, 4), k)[0], expected)


@pytest.mark.parametrize(
    ("draw", "size", "rows"),
    [
        (0.0, (24, 8), range(8)),
        (0.5, (24, 8), range(8, 16)),
        (0.9999, (24, 8), range(16, 24)),
        (0.7, (8, 4), range(4, 7)),  # a third of 8 is 3 rows, which begin at one of 6
        (0.9, (2, 3), range(1, 2)),
        (0.9, (1, 1), range(1)),
    ],
)
def test_a_stripe_lies_where_its_number_puts_it(draw: float, size: tuple[int, int], rows: range) -> None:
    expected = torch.zeros(1, *size, dtype=torch.bool)
    expected[:, list(rows), :] = True
    assert torch.equal(stripe(torch.tensor(draw), size), expected)


def test_a_stripe_takes_a_third_across_the_whole_width() -> None:
    for draw in (0.0, 0.4, 0.9999):
        chosen = stripe(torch.tensor(draw), (24, 8))
        assert chosen.shape == (1, 24, 8)
        rows = chosen[0].all(1)
        assert rows.sum() == 8
        assert torch.equal(rows, chosen[0].any(1))
        assert rows.diff().sum() <= 2


def test_gradients_flow_into_both_images() -> None:
    maps = torch.rand(2, 3, 2, 2, requires_grad=True)
    positions = torch.tensor([[[True, False], [False, False]], [[False] * 2] * 2])
    mixed = paste(maps, maps, torch.tensor([1, 0]), positions)
    mixed[0].sum().backward()
    assert maps.grad[0, :, 0, 0].tolist() == [0] * 3
    assert maps.grad[1, :, 0, 0].tolist() == [1] * 3
    assert maps.grad.sum() == 12


def test_only_the_donor_can_be_cut_off() -> None:
    maps = torch.rand(2, 3, 2, 2, requires_grad=True)
    paste(maps, maps.detach(), torch.tensor([1, 0]), torch.ones(2, 2, 2, dtype=torch.bool)).sum().backward()
    assert not maps.grad.any()


def test_negatives_of_a_small_type_are_the_same_maps() -> None:
    maps, negatives = torch.arange(3.0)[:, None, None, None].expand(3, 1, 16, 8), torch.tensor([2, 0, 1])
    mixed = paste(maps, maps, negatives.to(torch.uint8), torch.ones(3, 16, 8, dtype=torch.bool))
    assert torch.equal(mixed, maps[negatives])  # 2 x 128 positions are beyond 255


def test_mixed_targets_add_up() -> None:
    owners = torch.tensor([[[0, 0, 1], [0, 2, 2]], [[1, 1, 1], [1, 1, 1]]])
    torch.testing.assert_close(owner_shares(owners, 4), torch.tensor([[3, 1, 2, 0], [0, 6, 0, 0]]) / 6)


@pytest.mark.parametrize("k", [0, 33])
def test_fewer_than_no_block_or_more_than_all_are_refused(k: int) -> None:
    with pytest.raises(SemreidError, match=f"cannot replace {k} of 8x4 blocks"):
        fit_grid((24, 8), (8, 4), k)


def test_a_rectangle_that_does_not_fit_is_refused() -> None:
    with pytest.raises(SemreidError, match="no rectangle of 7 blocks fits into 6x4"):
        rectangle_blocks(random(1, 2), (6, 4), 7)


@pytest.mark.parametrize("wrong", ["donors", "negatives", "positions"])
def test_shapes_that_do_not_fit_are_refused(wrong: str) -> None:
    given = {
        "donors": torch.zeros(2, 3, 4, 2),
        "negatives": torch.zeros(2, dtype=torch.long),
        "positions": torch.zeros(2, 4, 2, dtype=torch.bool),
    }
    given[wrong] = given[wrong][..., :1]
    with pytest.raises(SemreidError, match="expected maps"):
        paste(torch.zeros(2, 3, 4, 2), **given)
