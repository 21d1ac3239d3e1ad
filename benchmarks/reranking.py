"""k-reciprocal re-ranking against the dense-matrix form, on data of Market-1501's size.

python benchmarks/reranking.py                 3,368 x 15,913, ratio and peak memory (the dense form: minutes, 8 GB)
python benchmarks/reranking.py --rows 94000    memory and time at MSMT17's size, ranked on the fly, no reference
python benchmarks/reranking.py --quick         seconds; for a test
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from _timing import Crowd, compare_ranking, memory_growth, timed
from semreid.functional import k_reciprocal_blocks, k_reciprocal_rerank, rank_distances

Array = NDArray[Any]


def dense(query: Array, gallery: Array, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> Array:
    """The algorithm as it was published: N x N matrices, a full sort of every row, a loop over images."""
    features = np.concatenate([query, gallery])
    norms = np.square(features).sum(axis=1)
    distances = norms[:, None] + norms[None] - 2 * (features @ features.T)
    np.maximum(distances, 0, out=distances)
    np.fill_diagonal(distances, 0)
    distances /= distances.max(axis=1, keepdims=True)
    near = np.stack([np.argsort(row)[: k1 + 1] for row in distances])
    V = np.zeros_like(distances)
    for i in range(len(V)):
        members = expanded(near, i, k1)
        weights = np.exp(-distances[i, members])
        V[i, members] = weights / weights.sum()
    V = np.stack([V[near[i, :k2]].mean(axis=0) for i in range(len(V))])
    holders = [np.flatnonzero(column) for column in V.T]
    jaccard = np.stack([jaccard_row(V, holders, q) for q in range(len(query))])
    blended = (1 - lambda_value) * jaccard + lambda_value * distances[: len(query)]
    return np.asarray(blended[:, len(query) :])


def reciprocal(near: Array, i: int, count: int) -> Array:
    forward: Array = near[i, :count]
    return np.asarray(forward[(near[forward, :count] == i).any(axis=1)])


def expanded(near: Array, i: int, k1: int) -> Array:
    core = members = reciprocal(near, i, k1 + 1)
    for j in core:
        candidate = reciprocal(near, j, round(k1 / 2) + 1)
        if len(np.intersect1d(candidate, core)) > 2 / 3 * len(candidate):
            members = np.append(members, candidate)
    return np.unique(members)


def jaccard_row(V: Array, holders: list[Array], q: int) -> Array:
    shared = np.zeros(len(V), dtype=V.dtype)
    for j in np.flatnonzero(V[q]):
        shared[holders[j]] += np.minimum(V[q, j], V[holders[j], j])
    return np.asarray(1 - shared / (2 - shared))


def rank(data: Crowd) -> float:
    return rank_distances(k_reciprocal_blocks(data.query, data.gallery), *data.ids).mAP


def compare(data: Crowd) -> None:
    (ours, seconds), growth = memory_growth(lambda: timed(lambda: k_reciprocal_rerank(data.query, data.gallery)))
    print(f"{data}\nk_reciprocal_rerank {seconds:8.2f} s, peak growth {growth:.2f} GiB")
    (expected, slow), growth = memory_growth(lambda: timed(lambda: dense(data.query, data.gallery)))
    # Neighbours at distances equal to the last bit may swap places, so a few values may differ.
    same = np.isclose(ours, expected, atol=1e-5).mean()
    print(f"dense               {slow:8.2f} s, peak growth {growth:.2f} GiB   {slow / seconds:.1f} x")
    print(f"{same:.4%} of the values equal to 1e-5")
    if same < 0.999:
        raise SystemExit("the two forms disagree")


if __name__ == "__main__":
    compare_ranking(__doc__, rank, compare)
