from collections import Counter

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
)
def test_every_batch_has_p_people_with_k_images(sizes: list[int], P: int, K: int, seed: int) -> None:
    pids = np.repeat(np.arange(len(sizes)) * 7, sizes)
    for batch in pk_batches(pids, P, K, seed=seed, epoch=0):
        counts = Counter(pids[batch].tolist())
        assert len(counts) == P
        assert set(counts.values()) == {K}
        grouped = pids[batch].reshape(P, K)
        assert (grouped == grouped[:, :1]).all()
        for group in batch.reshape(P, K):
            available = int((pids == pids[group[0]]).sum())
            assert len(set(group.tolist())) == min(K, available)  # repeats only where images run out


def test_an_epoch_uses_nearly_all_images() -> None:
    pids = np.repeat(np.arange(100), np.random.default_rng(0).integers(4, 12, 100))
    seen = np.concatenate(list(pk_batches(pids, 16, 4, seed=0, epoch=0)))
    assert len(set(seen.tolist())) > 0.93 * len(pids)
    assert Counter(seen.tolist()).most_common(1)[0][1] <= 2


def test_draws_depend_on_seed_and_epoch_only() -> None:
    pids = np.repeat(np.arange(20), 6)

    def draw(seed: int, epoch: int) -> list[list[int]]:
        return [b.tolist() for b in pk_batches(pids, 4, 4, seed=seed, epoch=epoch)]

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
