"""P×K batches: P identities with K images each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from semreid.errors import SemreidError

Indices = NDArray[np.int64]


def pk_batches(
    pids: Indices, P: int, K: int, *, seed: int, epoch: int, camids: Indices | None = None
) -> Iterator[Indices]:
    """Draw the batches of one epoch: each holds P identities with K images each, grouped by identity.

    Every identity's images are shuffled and dealt in groups of K. The last group is filled up with other
    images of the same identity; an identity with fewer than K images repeats some. Groups then meet at
    random, those of the identities with most groups left first when identities run out, so that nearly all
    images are used once, unless a few identities have most of them: what fewer than P have left is not used. The draw
    depends on the arguments only: every process computes the same global batches and takes its share (see
    :func:`rank_share`).

    With ``camids``, groups whose first image is by the same camera meet: people are told apart whom one camera saw,
    so that what its images have in common is of no use (``docs/notes/transfer.md``). A batch holds a second camera only
    where the groups of one run out. By one camera alone, they meet at random.

    Args:
        pids: Person id of every image (N,).
        P: Identities in a batch.
        K: Images of each.
        seed: Seed of the run.
        epoch: Number of the epoch; each has its own draw.
        camids: Camera of every image (N,), if those meet whom one camera saw; else groups meet at random.

    Yields:
        Image indices (P * K,).

    Raises:
        SemreidError: If there are fewer than P identities.

    Example:
        >>> pids = np.array([5, 5, 5, 7, 7, 9])
        >>> [pids[batch].tolist() for batch in pk_batches(pids, P=3, K=2, seed=0, epoch=0)]
        [[5, 5, 7, 7, 9, 9]]
    """
    identities, counts = np.unique(pids, return_counts=True)
    if (people := len(identities)) < P:
        enough = f"set data.identities to 2 to {people}, or add people"
        fix = enough if people > 1 else "add people: one alone teaches nothing"
        raise SemreidError(f"a batch needs {P} identities, the training set has {people}", fix=fix)
    rng = np.random.default_rng((seed, epoch))
    images = np.split(np.argsort(pids, kind="stable"), np.cumsum(counts)[:-1])
    left = [_groups(rows, K, rng) for rows in images]
    if camids is None or (camids == camids[0]).all():
        yield from _meet_at_random(left, P, rng)
    else:
        yield from _meet_by_camera([group for groups in left for group in groups], pids, camids, P, rng)


def _meet_at_random(left: list[list[Indices]], P: int, rng: np.random.Generator) -> Iterator[Indices]:
    counts = np.array([len(groups) for groups in left])
    while np.count_nonzero(counts) >= P:
        chosen = _choose(counts, P, rng)
        counts[chosen] -= 1
        yield np.concatenate([left[i].pop() for i in chosen])


def _meet_by_camera(
    groups: list[Indices], pids: Indices, camids: Indices, P: int, rng: np.random.Generator
) -> Iterator[Indices]:
    """Cut the groups, camera after camera, into batches, which come in random order."""
    cameras = np.unique(camids[[group[0] for group in groups]], return_inverse=True)[1]
    turn = rng.permutation(cameras.max() + 1)[cameras]
    queue = deque(groups[i] for i in np.lexsort((rng.permutation(len(groups)), turn)))
    batches = list(_cut(queue, pids, P))
    yield from (batches[i] for i in rng.permutation(len(batches)))


def _cut(queue: deque[Indices], pids: Indices, P: int) -> Iterator[Indices]:
    """Cut a queue of groups into batches of P identities; a second group of somebody waits for the next batch."""
    while True:
        batch: dict[int, Indices] = {}
        later = []
        while queue and len(batch) < P:
            group = queue.popleft()
            if batch.setdefault(pids[group[0]], group) is not group:
                later.append(group)
        if len(batch) < P:
            return
        queue.extendleft(reversed(later))
        yield np.concatenate(list(batch.values()))


def _groups(rows: Indices, K: int, rng: np.random.Generator) -> list[Indices]:
    rows = rng.permutation(rows)
    short = -len(rows) % K
    if short:
        spare = rows[: max(len(rows) - (K - short), 0)]  # images of the full groups: no repeat in the last one
        fill = rng.choice(spare, short, replace=False) if len(spare) >= short else rng.choice(rows, short)
        rows = np.concatenate([rows, fill])
    return list(rows.reshape(-1, K))


def _choose(counts: Indices, P: int, rng: np.random.Generator) -> Indices:
    """Choose P identities, each as likely as it has groups left (Gumbel top-P on the log counts)."""
    with np.errstate(divide="ignore"):
        keys = np.log(counts) + rng.gumbel(size=len(counts))
    return np.argsort(-keys)[:P]


def rank_share(batch: Indices, rank: int, world: int, K: int) -> slice:
    """Return which rows of a global batch a process takes: whole identities, equally many each.

    Args:
        batch: A global batch (P * K,).
        rank: Number of the process.
        world: Number of processes.
        K: Images per identity.

    Raises:
        SemreidError: If P cannot be divided among the processes.
    """
    require_shares(len(batch) // K, world)
    share = len(batch) // world
    return slice(rank * share, (rank + 1) * share)


def require_shares(P: int, world: int) -> None:
    """Refuse a batch that several processes cannot share.

    Args:
        P: Identities in a batch.
        world: Number of processes.

    Raises:
        SemreidError: If P cannot be divided among the processes.
    """
    if P % world:
        raise SemreidError(
            f"{P} identities in a batch cannot be divided among {world} processes",
            fix=f"set data.identities to a multiple of {world}",
        )
