"""From distances to CMC, mAP and mINP, under explicit rules for junk, ties and unanswerable queries.

Nothing is sorted: the rank of the k-th true match is k plus the number of negatives that are nearer, so one
pass over each row of distances is enough, and rows may come in blocks (docs/protocols.md#measures).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from semreid.errors import SemreidError
from semreid.functional._threads import in_threads
from semreid.functional.distance import Features, Metric, tensor_blocks

Junk = Literal["same-pid-and-camera", "same-camera"]
Ties = Literal["stable", "pessimistic", "optimistic"]
Skipped = Literal["skip", "zero"]

NUMBER_PEOPLE = "number the people of both sides together, such as np.unique([*query, *gallery], return_inverse=True)"
WITHOUT_CAMERAS = "number the cameras; without any, give all queries camera 0 and the whole gallery camera 1"
JUNK_RULES = ("same-pid-and-camera", "same-camera")
TIE_RULES = ("stable", "pessimistic", "optimistic")  # the order is that of the kernels' constants
SKIP_RULES = ("skip", "zero")


@dataclass(frozen=True, eq=False)
class Ranking:
    """How well the queries found their people; all values are fractions between 0 and 1.

    Attributes:
        mAP: Mean over queries of the sum-precision AP, the field's default.
        mAP_trapezoid: Mean of the trapezoid AP of the old MATLAB tools; never larger than ``mAP``.
        mINP: Mean inverse negative penalty: the cost of finding the last true match.
        mAP_within: ``mAP`` where true matches behind the first ``within`` images count as never found; never larger.
        cmc: ``cmc[k - 1]`` is the share of queries with a true match among the first k, (max_rank,).
        ap: AP of every query, (Q,). NaN where the query is skipped; 0 if such queries count as zero.
        ap_trapezoid: Trapezoid AP of every query, (Q,), likewise.
        inp: Inverse negative penalty of every query, (Q,), likewise.
        first_rank: 1-based rank of the first true match, (Q,); 0 where there is none.
        valid: Whether the query has a true match under the junk rule, (Q,).
        tied_share: Share of (true match, negative) pairs at exactly the same distance.
    """

    mAP: float
    mAP_trapezoid: float
    mINP: float
    mAP_within: float
    cmc: NDArray[np.float64]
    ap: NDArray[np.float64]
    ap_trapezoid: NDArray[np.float64]
    inp: NDArray[np.float64]
    first_rank: NDArray[np.int64]
    valid: NDArray[np.bool_]
    tied_share: float

    @property
    def n_valid(self) -> int:
        """Number of queries that have a true match."""
        return int(self.valid.sum())

    @property
    def n_skipped(self) -> int:
        """Number of queries without any true match."""
        return len(self.valid) - self.n_valid


def rank_features(
    query: Features,
    gallery: Features,
    q_pids: ArrayLike,
    g_pids: ArrayLike,
    q_camids: ArrayLike,
    g_camids: ArrayLike,
    *,
    metric: Metric = "cosine",
    junk: Junk = "same-pid-and-camera",
    ties: Ties = "stable",
    skipped: Skipped = "skip",
    max_rank: int = 50,
    within: int = 50,
) -> Ranking:
    """Rank a gallery for every query by feature distance, in memory bounded by blocks.

    Queries in the memory of a GPU are ranked there.

    Args:
        query: Query features, (Q, D).
        gallery: Gallery features, (G, D).
        q_pids: Person ids of the queries, (Q,).
        g_pids: Person ids of the gallery, (G,).
        q_camids: Cameras of the queries, (Q,).
        g_camids: Cameras of the gallery, (G,).
        metric: As in `pairwise_distance`.
        junk: As in `rank_distances`.
        ties: As in `rank_distances`.
        skipped: As in `rank_distances`.
        max_rank: As in `rank_distances`.
        within: As in `rank_distances`.

    Raises:
        SemreidError: As `rank_distances`; also if a feature holds NaN or infinity.

    Example:
        >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[1.0, 0.1], [0.0, 1.0], [1.0, 1.0]])
        >>> rank_features(query, gallery, [5], [5, 6, 5], [1], [2, 2, 3]).mAP
        1.0
    """
    blocks = tensor_blocks(query, gallery, metric)
    return rank_distances(
        blocks,
        q_pids,
        g_pids,
        q_camids,
        g_camids,
        junk=junk,
        ties=ties,
        skipped=skipped,
        max_rank=max_rank,
        within=within,
    )


def rank_distances(
    distances: NDArray[Any] | Tensor | Iterable[NDArray[Any] | Tensor],
    q_pids: ArrayLike,
    g_pids: ArrayLike,
    q_camids: ArrayLike,
    g_camids: ArrayLike,
    *,
    junk: Junk = "same-pid-and-camera",
    ties: Ties = "stable",
    skipped: Skipped = "skip",
    max_rank: int = 50,
    within: int = 50,
) -> Ranking:
    """Rank a gallery for every query by given distances (docs/protocols.md#measures).

    Args:
        distances: The (Q, G) matrix, or an iterable of its consecutive row blocks, such as
            `distance_blocks` or `k_reciprocal_blocks` give. Tensors on a GPU are ranked there.
        q_pids: Person ids of the queries, (Q,), not negative.
        g_pids: Person ids of the gallery, (G,). Negative ids (-1) are junk for every query.
        q_camids: Cameras of the queries, (Q,).
        g_camids: Cameras of the gallery, (G,).
        junk: What else is deleted before ranks are counted: gallery images of the query's person *and*
            camera (Market rule), or all of the query's camera (separate camera sets).
        ties: Order at equal distance: gallery order, or all negatives first, or all true matches first.
        skipped: Whether queries without a true match are left out of the means, or count as 0.
        max_rank: Length of the CMC curve; beyond the end of a short gallery it keeps its last value.
        within: How many ranks ``mAP_within`` looks at; the evaluators of BDB and PMM look at 50.

    Raises:
        SemreidError: If shapes do not fit, ids are not integers, a distance is not finite, a query has a
            negative id, no query at all has a true match, or ``max_rank`` or ``within`` is no rank.

    Example:
        >>> ranking = rank_distances(np.array([[0.1, 0.2, 0.3]]), [1], [1, 2, 1], [0], [1, 1, 1])
        >>> round(ranking.mAP, 4), round(ranking.mAP_trapezoid, 4), round(ranking.mINP, 4)
        (0.8333, 0.7917, 0.6667)
    """
    from semreid.functional import _device_ranking as device
    from semreid.functional import _ranking_kernels as kernels

    _require_rank("max_rank", max_rank)
    _require_rank("within", within)
    ids = checked_ids(q_pids, g_pids, q_camids, g_camids)
    rules = position(junk, JUNK_RULES, "junk rule") == 1, position(ties, TIE_RULES, "tie rule")
    position(skipped, SKIP_RULES, "rule for skipped queries")
    scores = np.zeros((len(ids.q_pids), 7))
    for rows, block in _checked(distances, len(ids.q_pids), len(ids.g_pids)):
        labels = ids.q_pids[rows], ids.q_camids[rows], ids.g_pids, ids.g_camids
        if isinstance(block, Tensor):
            there = device.Labels(*(torch.from_numpy(each).to(block.device) for each in labels))
            scores[rows] = device.rank_rows(block, there, *rules, within).cpu().numpy()
        else:
            in_threads(kernels.rank_rows, len(block), block, *labels, *rules, within, scores[rows])
    return _summary(scores, skipped, junk, max_rank)


@dataclass(frozen=True, eq=False)
class SingleShot:
    """CMC when the gallery holds one image per identity, over repeated random draws.

    Attributes:
        cmc: Mean over the draws of the CMC curve, fractions, (max_rank,).
        cmc_sd: Standard deviation over the draws (one degree of freedom less), (max_rank,); 0 for one draw.
        n_valid: Number of queries with a true match.
        n_skipped: Number of queries without any; they are left out of the means.
    """

    cmc: NDArray[np.float64]
    cmc_sd: NDArray[np.float64]
    n_valid: int
    n_skipped: int


def single_shot_cmc(
    distances: NDArray[Any] | Tensor,
    q_pids: ArrayLike,
    g_pids: ArrayLike,
    q_camids: ArrayLike,
    g_camids: ArrayLike,
    *,
    junk: Junk = "same-camera",
    repeats: int = 10,
    seed: int = 0,
    max_rank: int = 50,
) -> SingleShot:
    """Measure the CMC against one random image per gallery identity (docs/protocols.md#single-gallery-shot-cmc).

    Every repeat puts the gallery into a random order; of each identity, a query meets the first image that
    is not junk for it. So all queries of a camera meet the same drawn gallery. Ties keep gallery order.

    Args:
        distances: The (Q, G) matrix.
        q_pids: Person ids of the queries, (Q,), not negative.
        g_pids: Person ids of the gallery, (G,). Negative ids (-1) are junk.
        q_camids: Cameras of the queries, (Q,).
        g_camids: Cameras of the gallery, (G,).
        junk: ``same-camera`` is the classic rule of separate camera sets; with ``same-pid-and-camera`` other
            people's images may come from the query's own camera.
        repeats: Number of draws.
        seed: Seed of the draws.
        max_rank: Length of the CMC curve.

    Raises:
        SemreidError: As `rank_distances`.

    Example:
        >>> distances = np.array([[0.1, 0.9, 0.2], [0.8, 0.1, 0.3]])
        >>> single_shot_cmc(distances, [1, 2], [1, 2, 3], [0, 0], [1, 1, 1], max_rank=2).cmc
        array([1., 1.])
    """
    _require_rank("max_rank", max_rank)
    ids = checked_ids(q_pids, g_pids, q_camids, g_camids)
    separate = position(junk, JUNK_RULES, "junk rule") == 1
    ((_, matrix),) = checked_blocks(_as_array(distances), len(ids.q_pids), len(ids.g_pids))
    if repeats < 1:
        raise SemreidError(f"single-shot evaluation needs at least one draw; got repeats={repeats}")
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(ids.g_pids)) for _ in range(repeats))
    first_ranks = np.stack([_drawn_first_ranks(matrix, order, ids, separate) for order in orders])
    valid = first_ranks[0] > 0
    _require_valid(valid, junk)
    curves = np.stack([_cmc(ranks[valid], max_rank) for ranks in first_ranks])
    spread = curves.std(axis=0, ddof=1) if repeats > 1 else np.zeros(max_rank)
    return SingleShot(curves.mean(axis=0), spread, int(valid.sum()), int((~valid).sum()))


class _Ids(NamedTuple):
    q_pids: NDArray[np.int64]
    g_pids: NDArray[np.int64]
    q_camids: NDArray[np.int64]
    g_camids: NDArray[np.int64]


def checked_ids(q_pids: ArrayLike, g_pids: ArrayLike, q_camids: ArrayLike, g_camids: ArrayLike) -> _Ids:
    """Bring ids to int64, or say what is wrong with them."""
    names = ("query pids", "gallery pids", "query camids", "gallery camids")
    ids = _Ids(*map(_integers, (q_pids, g_pids, q_camids, g_camids), names))
    for side, pids, camids in (("query", ids.q_pids, ids.q_camids), ("gallery", ids.g_pids, ids.g_camids)):
        if len(pids) != len(camids) or len(pids) == 0:
            raise SemreidError(f"{side} has {len(pids)} pids and {len(camids)} camids; need as many, at least one")
    if (ids.q_pids < 0).any():
        row = int(np.argmax(ids.q_pids < 0))
        raise SemreidError(
            f"query {row} has pid {ids.q_pids[row]}: negative ids mark junk, which nobody can search for",
            fix="leave junk out of the queries",
        )
    return ids


def _integers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise SemreidError(
            f"{name} must be one row of integers; got {array.dtype} of shape {array.shape}",
            fix=WITHOUT_CAMERAS if "camids" in name else NUMBER_PEOPLE,
        )
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise SemreidError(f"{name} go up to {array.max()}, beyond 63 bits", fix="number the people and cameras from 0")
    return array.astype(np.int64)


def _require_rank(name: str, rank: int) -> None:
    if not isinstance(rank, (int, np.integer)) or rank < 1:
        raise SemreidError(f"{name} must be a whole number from 1 on; got {rank!r}")


def position(choice: str, choices: tuple[str, ...], name: str) -> int:
    """Find a choice among those that exist, or name them."""
    if choice not in choices:
        raise SemreidError(f"unknown {name} {choice!r}", fix=f"choose one of {', '.join(choices)}")
    return choices.index(choice)


def _as_array(distances: NDArray[Any] | Tensor) -> NDArray[Any]:
    if isinstance(distances, Tensor):
        distances = distances.detach().cpu()
        return distances.numpy() if distances.dtype == torch.float32 else distances.double().numpy()
    array = np.asarray(distances)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def checked_blocks(
    distances: NDArray[Any] | Tensor | Iterable[NDArray[Any] | Tensor], queries: int, gallery: int
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield each row block with the rows that it covers; exactly ``queries`` rows in all, or an error."""
    return ((rows, np.ascontiguousarray(_as_array(block))) for rows, block in _checked(distances, queries, gallery))


def _checked(
    distances: NDArray[Any] | Tensor | Iterable[NDArray[Any] | Tensor], queries: int, gallery: int
) -> Iterator[tuple[slice, NDArray[Any] | Tensor]]:
    """Yield what `checked_blocks` does, tensors that are not in the memory of the CPU as they are."""
    misfit = SemreidError(f"distances do not fit to pids of {queries} queries and {gallery} gallery images")
    start = 0
    for raw in [distances] if isinstance(distances, np.ndarray | Tensor) else distances:
        away = isinstance(raw, Tensor) and raw.device.type != "cpu"
        block = raw.detach() if away else np.ascontiguousarray(_as_array(raw))  # type: ignore[union-attr]
        stop = start + len(block)
        if block.ndim != 2 or block.shape[1] != gallery or stop > queries:
            raise misfit
        _require_finite(block, start)
        yield slice(start, stop), block
        start = stop
    if start != queries:
        raise misfit


def _require_finite(block: NDArray[Any] | Tensor, start: int) -> None:
    # The extremes pass NaN on, and cost no memory.
    if block.size if isinstance(block, np.ndarray) else block.numel():
        extremes = float(block.min()), float(block.max())
        if not np.isfinite(extremes).all():
            row = start + int(np.argmin(np.isfinite(_as_array(block)).all(axis=1)))
            raise SemreidError(f"distances of query {row} hold NaN or infinity; they cannot be ranked")


def _drawn_first_ranks(matrix: NDArray[Any], order: NDArray[np.int64], ids: _Ids, separate: bool) -> NDArray[np.int64]:
    from semreid.functional import _ranking_kernels as kernels

    codes = np.unique(ids.g_pids, return_inverse=True)[1]
    first_ranks = np.zeros(len(matrix), dtype=np.int64)
    kernels.single_shot_first_ranks(matrix, order, codes, *ids, separate, first_ranks)
    return first_ranks


def _summary(scores: NDArray[np.float64], skipped: Skipped, junk: Junk, max_rank: int) -> Ranking:
    ap, trapezoid, inp, first_rank, tied, pairs, ap_within = scores.T.copy()
    valid = first_rank > 0
    _require_valid(valid, junk)
    counted = valid if skipped == "skip" else np.ones_like(valid)
    for values in (ap, trapezoid, inp):
        values[~counted] = np.nan
    return Ranking(
        mAP=float(ap[counted].mean()),
        mAP_trapezoid=float(trapezoid[counted].mean()),
        mINP=float(inp[counted].mean()),
        mAP_within=float(ap_within[counted].mean()),
        cmc=_cmc(first_rank[counted], max_rank),
        ap=ap,
        ap_trapezoid=trapezoid,
        inp=inp,
        first_rank=first_rank.astype(np.int64),
        valid=valid,
        tied_share=float(tied.sum() / max(1.0, pairs.sum())),
    )


def _require_valid(valid: NDArray[np.bool_], junk: Junk) -> None:
    if valid.any():
        return
    deleted = "of the query's person and camera" if junk == JUNK_RULES[0] else "of the query's camera"
    raise SemreidError(
        f"none of the {len(valid)} queries has a true match: the camera rule deletes all gallery images "
        f"{deleted}, and no other image of the same person is left",
        fix="check that camera ids are read correctly and that query and gallery are of one data set; "
        + WITHOUT_CAMERAS,
    )


def _cmc(first_rank: NDArray[Any], max_rank: int) -> NDArray[np.float64]:
    """Share of queries matched at each rank; a first rank of 0 (no match at all) never counts."""
    within = first_rank[(first_rank > 0) & (first_rank <= max_rank)].astype(np.int64)
    hits = np.bincount(within, minlength=max_rank + 1)[1:]
    return np.asarray(np.cumsum(hits) / len(first_rank))
