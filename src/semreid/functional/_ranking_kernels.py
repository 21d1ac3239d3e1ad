"""Inner loops of `ranking`: the rank of a true match is found by counting, not by sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.functional._compiled import compiled

Array = NDArray[Any]

STABLE, PESSIMISTIC, OPTIMISTIC = 0, 1, 2
AP, AP_TRAPEZOID, INP, FIRST_RANK, TIED_PAIRS, PAIRS = range(6)  # the columns that rank_rows fills


@compiled
def is_junk(q_pid: int, q_camid: int, g_pid: int, g_camid: int, separate_cameras: bool) -> bool:
    """Tell whether a gallery image must not count for a query (protocols sheet, section 1)."""
    return g_pid < 0 or (g_camid == q_camid and (separate_cameras or g_pid == q_pid))


@compiled
def split_gallery(
    q_pid: int, q_camid: int, g_pids: Array, g_camids: Array, separate_cameras: bool
) -> tuple[Array, Array]:
    """Gallery indices of the true matches and of the negatives of one query; junk is in neither."""
    good = np.empty(len(g_pids), dtype=np.int64)
    bad = np.empty(len(g_pids), dtype=np.int64)
    n_good = n_bad = 0
    for g in range(len(g_pids)):
        junk = is_junk(q_pid, q_camid, g_pids[g], g_camids[g], separate_cameras)
        same = g_pids[g] == q_pid
        good[n_good] = bad[n_bad] = g
        n_good += same and not junk
        n_bad += not same and not junk
    return good[:n_good], bad[:n_bad]


@compiled
def count_in_front(values: Array, distance: float) -> tuple[int, int]:
    """How many values are smaller than ``distance``, and how many equal it."""
    smaller = not_larger = np.int32(0)  # 32 bits like the distances: the loop becomes vector instructions
    for i in range(len(values)):
        smaller += np.int32(values[i] < distance)
        not_larger += np.int32(values[i] <= distance)
    return int(smaller), int(not_larger - smaller)


@compiled
def rank_of(k: int, good: int, distance: float, bad: Array, values: Array, tie_rule: int) -> tuple[int, int]:
    """1-based rank of the k-th good image, and the number of negatives that tie with it."""
    smaller, tied = count_in_front(values, distance)
    rank = k + smaller
    if tied == 0 or tie_rule == OPTIMISTIC:
        return rank, tied
    if tie_rule == PESSIMISTIC:
        return rank + tied, tied
    for i in range(len(bad)):
        rank += values[i] == distance and bad[i] < good
    return rank, tied


@compiled
def score(ranks: Array, out: Array) -> None:
    """Fill AP, trapezoid AP, INP and first rank from the 1-based ranks of the good images, ascending."""
    ap = 0.0
    trapezoid = 0.0
    for k in range(1, len(ranks) + 1):
        rank = ranks[k - 1]
        before = (k - 1) / (rank - 1) if rank > 1 else 1.0
        ap += k / rank
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
    out: Array,
) -> None:
    """Score one query by counting the negatives in front of each good image: no sort of the gallery."""
    good, bad = split_gallery(q_pid, q_camid, g_pids, g_camids, separate_cameras)
    if len(good) == 0:
        return
    good = good[np.argsort(row[good], kind="mergesort")]
    values = row[bad]
    ranks = np.empty(len(good), dtype=np.int64)
    for k in range(len(good)):
        ranks[k], tied = rank_of(k + 1, good[k], row[good[k]], bad, values, tie_rule)
        out[TIED_PAIRS] += tied
    out[PAIRS] = len(good) * len(bad)
    score(ranks, out)


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
    out: Array,
) -> None:
    """Score queries; ``out`` is (Q, 6), zeros, and stays zero for queries without a good image."""
    for q in range(start, stop):
        rank_row(distances[q], q_pids[q], q_camids[q], g_pids, g_camids, separate_cameras, tie_rule, out[q])


@compiled
def drawn_match(
    order: Array, q_pid: int, q_camid: int, g_pids: Array, g_camids: Array, separate_cameras: bool
) -> int:
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
