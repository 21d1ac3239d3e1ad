"""Ranking against the two usual ways to write it, on data of Market-1501's size.

python benchmarks/ranking.py                 3,368 x 15,913, ratios and peak memory
python benchmarks/ranking.py --rows 94000    memory and time at MSMT17's size, no references
python benchmarks/ranking.py --quick         seconds; for a test
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from _timing import Crowd, compare_ranking, measure_ranking, timed
from semreid.functional import Ranking, pairwise_distance, rank_distances, rank_features

Array = NDArray[Any]


def plain_python(distances: Array, data: Crowd) -> tuple[float, float, float]:
    """One query after the other, one gallery image after the other; returns mAP, mINP and rank-1."""
    aps, inps, firsts = [], [], []
    g_pids, g_camids = data.g_pids.tolist(), data.g_camids.tolist()
    for row, pid, camid in zip(distances, data.q_pids.tolist(), data.q_camids.tolist(), strict=True):
        rank = hits = 0
        precisions = []
        for g in np.argsort(row, kind="stable").tolist():
            if g_pids[g] == pid:
                if g_camids[g] == camid:
                    continue
                hits += 1
                precisions.append(hits / (rank + 1))
            rank += 1
        if hits:
            aps.append(sum(precisions) / hits)
            inps.append(precisions[-1])
            firsts.append(precisions[0] == 1)
    return float(np.mean(aps)), float(np.mean(inps)), float(np.mean(firsts))


def sorted_rows(distances: Array, data: Crowd) -> tuple[float, float, float]:
    """One argsort per query, the rest in NumPy; returns mAP, mINP and rank-1."""
    aps, inps, firsts = [], [], []
    for row, pid, camid in zip(distances, data.q_pids, data.q_camids, strict=True):
        order = np.argsort(row, kind="stable")
        good = data.g_pids[order] == pid
        good = good[~(good & (data.g_camids[order] == camid))]
        ranks = np.flatnonzero(good) + 1
        if len(ranks):
            aps.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
            inps.append(len(ranks) / ranks[-1])
            firsts.append(ranks[0] == 1)
    return float(np.mean(aps)), float(np.mean(inps)), float(np.mean(firsts))


def rank(data: Crowd) -> float:
    return rank_features(data.query, data.gallery, *data.ids).mAP


def compare(data: Crowd) -> None:
    measure_ranking(rank, data)
    distances = pairwise_distance(data.query, data.gallery)
    ours, seconds = timed(lambda: rank_distances(distances, *data.ids))
    print(f"rank_distances  {seconds:8.3f} s")
    for reference in (sorted_rows, plain_python):
        expected, slow = timed(lambda reference=reference: reference(distances, data))  # type: ignore[misc]
        np.testing.assert_allclose(headline(ours), expected, atol=1e-9)
        print(f"{reference.__name__:15} {slow:8.3f} s   {slow / seconds:6.1f} x, same mAP, mINP and rank-1")


def headline(ranking: Ranking) -> tuple[float, float, float]:
    return ranking.mAP, ranking.mINP, float(ranking.cmc[0])


if __name__ == "__main__":
    compare_ranking(__doc__, rank, compare)
