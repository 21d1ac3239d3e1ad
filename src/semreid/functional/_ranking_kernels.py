"""Inner loops of `ranking`: the rank of a true match is found by counting, not by sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.compiled import compiled

Array = NDArray[Any]

STABLE, PESSIMISTIC, OPTIMISTIC = 0, 1, 2
AP, AP_TRAPEZOID, INP, FIRST_RANK, TIED_PAIRS, PAIRS, AP_WITHIN = range(7)  # the columns that rank_rows fills


@compiled
def is_junk(q_pid: int, q_camid: int, g_pid: int, g_camid: int, separate_cameras: bool) -> bool:
    """Tell whether a gallery image must not count for a query (docs/protocols.md#which-images-count)."""
    return g_pid < 0 or (g_camid == q_camid and (separate_cameras or g_pid == q_pid))


@compiled
def not_negative(
    q_pid: int, q_camid: int, g_pids: Array, g_camids: Array, separate_cameras: bool
) -> tuple[Array, Array]:
    """Gallery indices of all that is not a negative of one query, and those among them that are good."""
    others = np.empty(len(g_pids), dtype=np.int64)
    good = np.empty(len(g_pids), dtype=np.int64)
    n_others = n_good = 0
    for g in range(len(g_pids)):
        if g_pids[g] == q_pid or g_pids[g] < 0 or (separate_cameras and g_camids[g] == q_camid):
            others[n_others] = good[n_good] = g
            n_others += 1
            n_good += not is_junk(q_pid, q_camid, g_pids[g], g_camids[g], separate_cameras)
    return others[:n_others], good[:n_good]


@compiled
def count_in_front(values: Array, distance: float) -> tuple[int, int]:
    """How many values are smaller than ``distance``, and how many equal it."""
    smaller = not_larger = np.uint32(0)  # 32 bits like the distances: the loop becomes vector instructions
    for i in range(len(values)):
        smaller = np.uint32(smaller + np.uint32(values[i] < distance))
        not_larger = np.uint32(not_larger + np.uint32(values[i] <= distance))
    return int(smaller), int(not_larger) - int(smaller)


@compiled
def rank_of(k: int, good: int, row: Array, others: Array, values: Array, tie_rule: int) -> tuple[int, int]:
    """1-based rank of the k-th good image, and the number of negatives that tie with it.

    Negatives are counted as the whole row less the few ``others`` (with distances ``values``): a plain
    run over memory is several times faster than one that picks.
    """
    smaller, tied = count_in_front(row, row[good])
    others_smaller, others_tied = count_in_front(values, row[good])
    rank, tied = k + smaller - others_smaller, tied - others_tied
    if tied == 0 or tie_rule == OPTIMISTIC:
        return rank, tied
    if tie_rule == PESSIMISTIC:
        return rank + tied, tied
    before = np.searchsorted(others, good)
    tied_before = count_in_front(row[:good], row[good])[1] - count_in_front(values[:before], row[good])[1]
    return rank + tied_before, tied


@compiled
def score(ranks: Array, within: int, out: Array) -> None:
    """Fill AP, trapezoid AP, INP, first rank and AP of the first ranks from those of the good images, ascending."""
    ap = 0.0
    trapezoid = 0.0
    for k in range(1, len(ranks) + 1):
        rank = ranks[k - 1]
        before = (k - 1) / (rank - 1) if rank > 1 else 1.0
        ap += k / rank
        if rank <= within:
            out[AP_WITHIN] = ap / len(ranks)
        trapezoid += (k / rank + before) / 2
    out[AP] = ap / len(ranks)
    out[AP_TRAPEZOID] = trapezoid / len(ranks)
    out[INP] = len(ranks) / ranks[-1]
    out[FIRST_RANK] = ranks[0]


@compiled
def rank_row(
    row: Array,
    q_pid: int,
    q_camid: int,
    g_pids: Array,
    g_camids: Array,
    separate_cameras: bool,
    tie_rule: int,
    within: int,
    out: Array,
) -> None:
    """Score one query by counting the negatives in front of each good image: no sort of the gallery."""
    others, good = not_negative(q_pid, q_camid, g_pids, g_camids, separate_cameras)
    if len(good) == 0:
        return
    good = good[np.argsort(row[good], kind="mergesort")]
    values = row[others]
    ranks = np.empty(len(good), dtype=np.int64)
    for k in range(len(good)):
        ranks[k], tied = rank_of(k + 1, good[k], row, others, values, tie_rule)
        out[TIED_PAIRS] += tied
    out[PAIRS] = len(good) * (len(row) - len(others))
    score(ranks, within, out)


@compiled
def rank_rows(
    start: int,
    stop: int,
    distances: Array,
    q_pids: Array,
    q_camids: Array,
    g_pids: Array,
    g_camids: Array,
    separate_cameras: bool,
    tie_rule: int,
    within: int,
    out: Array,
) -> None:
    """Score queries; ``out`` is (Q, 7), zeros, and stays zero for queries without a good image."""
    for q in range(start, stop):
        rank_row(distances[q], q_pids[q], q_camids[q], g_pids, g_camids, separate_cameras, tie_rule, within, out[q])


@compiled
def drawn_match(order: Array, q_pid: int, q_camid: int, g_pids: Array, g_camids: Array, separate_cameras: bool) -> int:
    """Gallery index of the true match that the draw ``order`` gives to a query, or -1."""
    for g in order:
        if g_pids[g] == q_pid and not is_junk(q_pid, q_camid, g_pids[g], g_camids[g], separate_cameras):
            return int(g)
    return -1


@compiled
def single_shot_first_ranks(
    distances: Array,
    order: Array,
    codes: Array,
    q_pids: Array,
    g_pids: Array,
    q_camids: Array,
    g_camids: Array,
    separate_cameras: bool,
    out: Array,
) -> None:
    """Rank of the drawn match among one drawn image per identity; ``codes`` number the gallery's pids."""
    drawn_for = np.full(codes.max() + 1, -1)
    for q in range(len(distances)):
        match = drawn_match(order, q_pids[q], q_camids[q], g_pids, g_camids, separate_cameras)
        if match < 0:
            continue
        out[q] = 1
        for g in order:
            if is_junk(q_pids[q], q_camids[q], g_pids[g], g_camids[g], separate_cameras):
                continue
            if drawn_for[codes[g]] == q:
                continue
            drawn_for[codes[g]] = q
            nearer = distances[q, g] < distances[q, match]
            out[q] += nearer or (distances[q, g] == distances[q, match] and g < match)
