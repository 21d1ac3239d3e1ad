from functools import partial

import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.functional import aligned_triplet, next_person_triplets, random_triplets, texture_l1
from semreid.functional.alignment import Triplets


def mapped(batch: int = 6, channels: int = 5) -> torch.Tensor:
    return torch.randn(batch, channels, 4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pids", [[3, 3, 9, 9], [9, 3, 9, 3, 3, 5, 9], [1, 1, 1, 2], list(range(12)) * 4])
def test_random_triplets_are_another_image_of_the_person_and_one_of_somebody_else(pids: list[int]) -> None:
    torch.manual_seed(0)
    found = random_triplets(torch.tensor(pids))
    assert found.anchor.tolist() == list(range(len(pids)))
    assert found.counts.all()
    for a, p, n in zip(*(rows.tolist() for rows in found[:3]), strict=True):
        assert pids[a] == pids[p] != pids[n]
        assert (a == p) == (pids.count(pids[a]) == 1)


def test_random_triplets_take_every_candidate_alike() -> None:
    torch.manual_seed(0)
    pids = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    draws = [random_triplets(pids) for _ in range(2000)]
    positives = np.bincount([int(d.positive[0]) for d in draws], minlength=8) / 2000
    negatives = np.bincount([int(d.negative[0]) for d in draws], minlength=8) / 2000
    np.testing.assert_allclose(positives, [0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0], atol=0.05)
    np.testing.assert_allclose(negatives, [0, 0, 0, 0, 0.25, 0.25, 0.25, 0.25], atol=0.05)


def test_nobody_else_no_triplet() -> None:
    found = random_triplets(torch.tensor([4, 4, 4]))
    assert not found.counts.any()
    assert not aligned_triplet([mapped(3)], found).any()


def test_the_next_person_as_in_the_published_table() -> None:
    table = [(0, 1, 4), (1, 2, 5), (2, 3, 6), (3, 0, 4)]  # the released code, from a person's first image
    pids = torch.arange(16).repeat_interleave(4)
    for block, row in enumerate(table):
        *rows, counts = next_person_triplets(pids, block)
        found = torch.stack(rows, 1)[counts]
        expected = [[4 * person + offset for offset in row] for person in range(15)]
        assert found.tolist() == expected


@pytest.mark.parametrize("counts", [[2, 2, 2], [8, 8], [3, 1, 4]])
def test_the_next_person_with_any_number_of_images(counts: list[int]) -> None:
    pids = torch.tensor([7 - i for i, count in enumerate(counts) for _ in range(count)])
    for block in range(4):
        found = next_person_triplets(pids, block)
        anchor, positive, negative = (rows[found.counts] for rows in found[:3])
        assert len(anchor) == len(counts) - 1
        assert (pids[anchor] == pids[positive]).all()
        assert (pids[anchor] == pids[negative] + 1).all()


@pytest.mark.parametrize("channel_mean", [False, True])
def test_aligned_triplet_is_the_loop_over_places_and_channels(channel_mean: bool) -> None:
    maps, triplets = 0.3 * mapped(), random_triplets(torch.tensor([0, 0, 1, 1, 2, 2]))
    values = maps.double().numpy()

    def distance(a: int, b: int) -> float:
        total = 0.0
        for y in range(4):
            for x in range(3):
                squares = [(values[a, c, y, x] - values[b, c, y, x]) ** 2 for c in range(5)]
                total += sum(squares) / (5 if channel_mean else 1)
        return total / 12

    expected = [
        max(distance(a, p) - distance(a, n) + 0.3, 0)
        for a, p, n in zip(*(r.tolist() for r in triplets[:3]), strict=True)
    ]
    found = aligned_triplet([maps], triplets, channel_mean=channel_mean)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert found.max() > 0
    np.testing.assert_allclose(aligned_triplet([maps], triplets, margin=9.0).numpy().min(), 9, atol=4)


def test_layers_and_their_own_triplets_stack() -> None:
    pids = torch.arange(4).repeat_interleave(2)
    maps = [0.3 * mapped(8), mapped(8, 2)[:, :, :1]]
    sets = [next_person_triplets(pids, 0), random_triplets(pids)]
    each = [aligned_triplet([layer], triplets)[0] for layer, triplets in zip(maps, sets, strict=True)]
    found = aligned_triplet(maps, Triplets(*(torch.stack(rows) for rows in zip(*sets, strict=True))))
    torch.testing.assert_close(found, torch.stack(each))
    torch.testing.assert_close(aligned_triplet(maps, sets[1])[1], each[1])


def test_aligned_triplet_draws_people_apart_and_images_of_one_together() -> None:
    maps = mapped().requires_grad_()
    pids = torch.tensor([0, 0, 1, 1, 2, 2])
    triplets = random_triplets(pids)
    before = aligned_triplet([maps], triplets, margin=5.0).mean()
    before.backward()
    after = aligned_triplet([maps.detach() - 0.5 * maps.grad], triplets, margin=5.0).mean()
    assert after < before


def test_half_precision_maps_are_compared_in_float32() -> None:
    maps = (mapped() + 30).bfloat16()
    triplets = random_triplets(torch.tensor([0, 0, 1, 1, 2, 2]))
    found = aligned_triplet([maps], triplets)
    assert found.dtype == torch.float32
    assert torch.equal(found, aligned_triplet([maps.float()], triplets))


def test_texture_l1_is_the_mean_and_may_look_at_some_texels_only() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2, 3, 8, 8)).astype(np.float32)
    valid = rng.random((8, 8)) < 0.4
    one, other = torch.from_numpy(a), torch.from_numpy(b)
    assert float(texture_l1(one, other)) == pytest.approx(np.abs(a - b).mean(), rel=1e-6)
    expected = np.abs(a - b)[:, :, valid].mean()
    assert float(texture_l1(one, other, torch.from_numpy(valid))) == pytest.approx(expected, rel=1e-5)


def test_nobody_makes_no_triplet() -> None:
    nobody = torch.zeros(0, dtype=torch.int64)
    for choose in (random_triplets, partial(next_person_triplets, block=0)):
        with pytest.raises(SemreidError, match="one image or more"):
            choose(nobody)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(SemreidError, match=r"textures .*\[\(2, 3, 8, 8\), \(2, 3, 4, 4\)"):
        texture_l1(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 4, 4))
    with pytest.raises(SemreidError, match=r"valid \(H, W\)"):
        texture_l1(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8), torch.ones(4, 4))
    with pytest.raises(SemreidError, match=r"got shapes \[\]"):
        aligned_triplet([], random_triplets(torch.tensor([0, 0, 1, 1, 2, 2])))
    with pytest.raises(SemreidError, match=r"\(6, 5\)"):
        aligned_triplet([torch.zeros(6, 5)], random_triplets(torch.tensor([0, 0, 1, 1, 2, 2])))
