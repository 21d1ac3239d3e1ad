"""`rank_distances` where the distances are: the kernels of `_ranking_kernels` as a few sorts and sums of tensors."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semreid.functional._ranking_kernels import OPTIMISTIC, PESSIMISTIC

A = TypeVar("A", Tensor, NDArray[Any])


class Labels(NamedTuple, Generic[A]):
    """Who is where: persons and cameras of the queries, (q,), and of the gallery, (G,)."""

    q_pids: A
    q_camids: A
    g_pids: A
    g_camids: A


def rank_rows(distances: Tensor, labels: Labels[Tensor], separate_cameras: bool, tie_rule: int, within: int) -> Tensor:
    """Score queries as `_ranking_kernels.rank_rows` does.

    Args:
        distances: Finite distances, (q, G), on any device.
        labels: Persons and cameras, on the same device.
        separate_cameras: Whether all gallery images of the query's camera are junk.
        tie_rule: One of the constants of the kernels.
        within: How many ranks the last column looks at.

    Returns:
        The columns of the kernels, (q, 7) float64; zeros for queries without a good image.
    """
    good, negative = kinds(labels, separate_cameras)
    values, order = distances.sort(dim=1, stable=True)
    good, negative = good.gather(1, order), negative.gather(1, order)
    rows, places = good.nonzero(as_tuple=True)  # in each row by distance, so the k-th of a row is its k-th match
    counts = good.sum(dim=1)
    k = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    in_front = F.pad(negative.cumsum(dim=1, dtype=torch.int32), (1, 0))
    edges = values.new_zeros(len(values), int(counts.max()))
    edges[rows, k] = values[rows, places]
    smaller, not_larger = (
        in_front[rows, torch.searchsorted(values, edges, right=right)[rows, k]] for right in (False, True)
    )
    before = {OPTIMISTIC: smaller, PESSIMISTIC: not_larger}.get(tie_rule, in_front[rows, places])
    table = torch.zeros(5, *edges.shape, dtype=torch.float64, device=rows.device)
    table[:, rows, k] = _contributions(k + 1, k + 1 + before, not_larger - smaller, within)
    return _summed(table, counts, negative.sum(dim=1))


def kinds(labels: Labels[A], separate_cameras: bool) -> tuple[A, A]:
    """Which gallery images are true matches of each query, and which negatives, (q, G) each; the others are junk."""
    person = labels.g_pids == labels.q_pids[:, None]
    camera = labels.g_camids == labels.q_camids[:, None]
    nobody = labels.g_pids < 0
    return person & ~camera & ~nobody, ~(person | nobody | (camera & separate_cameras))


def _contributions(k: Tensor, rank: Tensor, tied: Tensor, within: int) -> Tensor:
    """What each true match adds: to AP, to trapezoid AP, its rank, the negatives tied with it, to AP of first ranks."""
    precision = k.double() / rank
    earlier = torch.where(rank > 1, (k - 1).double() / (rank - 1).clamp(min=1), 1.0)
    return torch.stack(
        (precision, (precision + earlier) / 2, rank.double(), tied.double(), precision * (rank <= within))
    )


def _summed(table: Tensor, counts: Tensor, negatives: Tensor) -> Tensor:
    ap, trapezoid, _, tied, within = table.sum(dim=2)
    ranks, some = table[2], counts.clamp(min=1)
    last = ranks.amax(dim=1) if ranks.shape[1] else counts.double()
    first = ranks[:, 0] if ranks.shape[1] else counts.double()
    pairs = (counts * negatives).double()
    columns = (ap / some, trapezoid / some, counts / last.clamp(min=1), first, tied, pairs, within / some)
    return torch.stack(columns, dim=1)
