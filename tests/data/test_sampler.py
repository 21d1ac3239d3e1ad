from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.data.sampler import pk_batches, rank_share
from semreid.errors import SemreidError


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=4, max_size=12),
    P=st.integers(2, 4),
    K=st.integers(2, 5),
    seed=st.integers(0, 99),
    cameras=st.integers(0, 5),
)
def test_every_batch_has_p_people_with_k_images(sizes: list[int], P: int, K: int, seed: int, cameras: int) -> None:
    pids = np.repeat(np.arange(len(sizes)) * 7, sizes)
    camids = np.random.default_rng(seed).integers(0, cameras, len(pids)) * 3 if cameras else None
    batches = list(pk_batches(pids, P, K, seed=seed, epoch=0, camids=camids))
    assert batches
    for batch in batches:
        counts = Counter(pids[batch].tolist())
        assert len(counts) == P
        assert set(counts.values()) == {K}
        grouped = pids[batch].reshape(P, K)
        assert (grouped == grouped[:, :1]).all()
        for group in batch.reshape(P, K):
            available = int((pids == pids[group[0]]).sum())
            assert len(set(group.tolist())) == min(K, available)  # repeats only where images run out


@pytest.mark.parametrize("cameras", [0, 3, 30])
def test_an_epoch_uses_nearly_all_images(cameras: int) -> None:
    pids = np.repeat(np.arange(100), np.random.default_rng(0).integers(4, 12, 100))
    camids = np.random.default_rng(1).integers(0, cameras, len(pids)) if cameras else None
    seen = np.concatenate(list(pk_batches(pids, 16, 4, seed=0, epoch=0, camids=camids)))
    assert len(set(seen.tolist())) > 0.93 * len(pids)
    assert Counter(seen.tolist()).most_common(1)[0][1] <= 2


def test_people_meet_whom_one_camera_saw() -> None:
    pids = np.repeat(np.arange(400), 5)
    camids = np.tile([1, 2, 4, 8, 16], 400)  # every camera saw everybody

    def shared(told: np.ndarray | None) -> list[int]:
        """In how many groups of each batch is the commonest camera of their first images first."""
        chosen = pk_batches(pids, 16, 4, seed=0, epoch=0, camids=told)
        return [Counter(camids[batch[::4]].tolist()).most_common(1)[0][1] for batch in chosen]

    assert max(shared(None)) < 12
    together = shared(camids)
    assert len(together) == 50
    assert sum(count == 16 for count in together) >= 46  # two cameras meet where the groups of one run out
    order = [camids[batch[0]] for batch in pk_batches(pids, 16, 4, seed=0, epoch=0, camids=camids)]
    assert sum(a != b for a, b in pairwise(order)) > 25  # batches of one camera do not come in a row


@pytest.mark.parametrize("cameras", [False, True])
def test_draws_depend_on_seed_and_epoch_only(cameras: bool) -> None:
    pids = np.repeat(np.arange(20), 6)
    camids = np.tile(np.arange(6), 20) if cameras else None

    def draw(seed: int, epoch: int) -> list[list[int]]:
        return [b.tolist() for b in pk_batches(pids, 4, 4, seed=seed, epoch=epoch, camids=camids)]

    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2) != draw(1, 3)
    assert draw(1, 2) != draw(2, 2)


def test_ranks_share_whole_identities() -> None:
    batch = np.arange(24)
    shares = [batch[rank_share(batch, rank, 3, K=4)].tolist() for rank in range(3)]
    assert sum(shares, []) == list(range(24))
    assert {len(share) for share in shares} == {8}
    with pytest.raises(SemreidError, match="6 identities in a batch cannot be divided among 4") as caught:
        rank_share(batch, 0, 4, K=4)
    assert "multiple of 4" in caught.value.fix


@pytest.mark.parametrize(("people", "way"), [(1, "add people: one alone teaches nothing"), (3, "to 2 to 3, or add")])
def test_too_few_people_for_a_batch_say_what_would_do(people: int, way: str) -> None:
    with pytest.raises(SemreidError, match=f"needs 4 identities, the training set has {people}") as caught:
        next(pk_batches(np.arange(people), 4, 2, seed=0, epoch=0))
    assert way in caught.value.fix


def test_of_few_people_with_most_images_only_what_p_people_have_is_used() -> None:
    pids = np.concatenate([np.repeat(np.arange(15), 400), [15] * 4])
    batches = list(pk_batches(pids, 16, 4, seed=0, epoch=0))
    assert len(batches) == 1
    assert len(np.unique(batches[0])) == 64
