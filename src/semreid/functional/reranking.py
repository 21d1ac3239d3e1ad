"""k-reciprocal re-ranking on neighbour lists: the published numbers without any N x N matrix.

The variant, in the terms of docs/protocols.md#re-ranking, on the N = Q + G pooled features:

1. d is the *squared Euclidean* distance of the features as given, each row divided by its own largest value
   (by 1 where that is 0). Features are squared once and only once; normalise them first for a cosine variant.
2. N(i, k) are the k + 1 nearest, i itself always the first; the half-size set takes ``round(k1 / 2) + 1``
   (half to even). A half-size set joins when strictly more than two thirds of it are shared.
3. V(i) has the weights exp(-d) on the expanded set, float32, with sum 1; it is then replaced by the mean over
   the k2 nearest, i included.
4. The result is ``(1 - lambda) * Jaccard + lambda * d``.

Re-ranking is transductive: a score depends on the other queries and on the whole gallery. Report it in a row
of its own, and leave junk images (pid -1) out of the gallery before; distractors stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semreid.errors import SemreidError
from semreid.functional._threads import in_threads
from semreid.functional.distance import (
    Distances,
    Features,
    distance_blocks,
    paired_features,
    stacked,
    symmetric_tiles,
    unit_of,
)


def k_reciprocal_rerank(
    query: Features, gallery: Features, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> Distances:
    """Re-rank by k-reciprocal neighbours and return the whole matrix; see the module for the variant.

    Args:
        query: Query features, (Q, D).
        gallery: Gallery features without junk, (G, D).
        k1: Size of the neighbourhood in which two images must find each other.
        k2: Number of neighbours, the image itself included, whose encodings are averaged.
        lambda_value: Weight of the original distance, between 0 and 1.

    Returns:
        Distances, (Q, G), float32. Where that is too large, use `k_reciprocal_blocks`.

    Raises:
        SemreidError: If shapes differ, a feature holds NaN or infinity, or a parameter makes no sense.

    Example:
        >>> gallery = np.array([[0.0], [0.1], [5.0], [5.1]])
        >>> k_reciprocal_rerank(np.array([[0.05]]), gallery, k1=2, k2=1).argsort(kind="stable")
        array([[0, 1, 2, 3]])
    """
    blocks = k_reciprocal_blocks(query, gallery, k1, k2, lambda_value)
    return stacked(blocks, len(query), len(gallery))


def k_reciprocal_blocks(
    query: Features, gallery: Features, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> Iterator[Distances]:
    """Yield the rows of `k_reciprocal_rerank` in consecutive blocks (q, G) of bounded size, for `rank_distances`.

    Arguments and errors as of `k_reciprocal_rerank`. Input is checked at the call; neighbours are searched when the
    first block is asked for.

    Example:
        >>> from semreid.functional import rank_distances
        >>> query, gallery = np.array([[0.05]]), np.array([[0.0], [0.1], [5.0]])
        >>> rank_distances(k_reciprocal_blocks(query, gallery, 2, 2), [1], [1, 1, 2], [0], [1, 1, 1]).mAP
        1.0
    """
    blocks = reranked_blocks(query, gallery, k1, k2, lambda_value)
    return (block.cpu().numpy() if isinstance(block, Tensor) else block for block in blocks)


def reranked_blocks(
    query: Features, gallery: Features, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> Iterator[Distances | Tensor]:
    """Yield the blocks of `k_reciprocal_blocks`: as tensors on the GPU of the queries, if they lie on one."""
    left, right = paired_features(query, gallery)
    if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 <= lambda_value <= 1:
        raise SemreidError(
            f"re-ranking cannot use k1={k1}, k2={k2}, lambda_value={lambda_value}",
            fix="choose k1 >= 1, 1 <= k2 <= k1 + 1 and lambda_value between 0 and 1; usual are 20, 6 and 0.3",
        )
    pooled = torch.cat([left, right]) / unit_of(left, right)  # what follows is the same in any unit
    if pooled.device.type == "cpu":
        return _blocks(pooled, len(left), k1, k2, lambda_value)
    from semreid.functional import _device_reranking as device

    return device.blocks(pooled, len(left), k1, k2, lambda_value)


class SparseRows(NamedTuple):
    """Row i lies at ``pointers[i]:pointers[i + 1]`` of ``indices`` and ``values``."""

    pointers: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]


def _blocks(pooled: Tensor, queries: int, k1: int, k2: int, lambda_value: float) -> Iterator[Distances]:
    from semreid.functional import _reranking_kernels as kernels

    near = neighbours(pooled, k1)
    encoding, largest = encoded(pooled, near, k1, k2), near.largest
    inverted = kernels.inverted(queries, *encoding)
    first = 0
    for block in distance_blocks(pooled[:queries], pooled[queries:], "sqeuclidean"):
        shared = (largest, lambda_value, *encoding, *inverted)
        in_threads(kernels.blend, len(block), block, first, *shared)
        yield block
        first += len(block)


class Neighbours(NamedTuple):
    """The nearest rows of every row, itself first, (N, k + 1), and its largest squared distance, (N,)."""

    lists: NDArray[np.int32]
    largest: NDArray[np.float32]


def encoded(pooled: Tensor, near: Neighbours, k1: int, k2: int) -> SparseRows:
    """Encode every row by those that it shares a neighbourhood with: steps 2 and 3 of the module.

    Args:
        pooled: Features on the CPU, (N, D) float32.
        near: Their `neighbours`, ``k1`` of each or more.
        k1: As in `k_reciprocal_rerank`.
        k2: As in `k_reciprocal_rerank`.

    Returns:
        The rows V, each of sum 1.
    """
    from semreid.functional import _reranking_kernels as kernels

    lists = np.ascontiguousarray(near.lists[:, : k1 + 1])
    count, size = lists.shape
    half = min(round(k1 / 2) + 1, size)
    weights = _joined(in_threads(kernels.encode, count, lists, half, pooled.numpy(), near.largest))
    return _joined(in_threads(kernels.average, count, lists, min(k2, size), *weights))


def neighbours(pooled: Tensor, count: int, handicap: tuple[Tensor, Tensor] | None = None) -> Neighbours:
    """Find the nearest rows of every row: step 1 of the module.

    Args:
        pooled: Features on the CPU, (N, D) float32.
        count: How many, the row itself left out; all if there are fewer.
        handicap: What a row's inner products with the rows of a kind are lessened by, (N, C), and the kind of each row,
            one-hot (N, C): of a pair, by what both say.
    """
    from semreid.functional import _reranking_kernels as kernels

    size = min(count + 1, len(pooled))
    pooled = pooled - pooled.mean(dim=0)  # fewer digits cancel about the centre
    norms = pooled.square().sum(dim=1).numpy()
    lists = np.zeros((len(pooled), size), dtype=np.int32)
    lists[:, 0] = np.arange(len(pooled))
    distances = np.full(lists.shape, np.inf, dtype=np.float32)
    distances[:, 0] = -1.0
    largest = np.zeros(len(pooled), dtype=np.float32)
    other = pooled
    if handicap is not None:
        less, kind = handicap
        pooled, other = torch.cat((pooled, -less, kind), 1), torch.cat((pooled, kind, -less), 1)
    for row, column, products in symmetric_tiles(pooled, other):
        found = (norms, lists, distances, largest)
        in_threads(kernels.nearest, len(products), products, row, column, *found)
    return Neighbours(lists, largest)


def _joined(parts: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> SparseRows:
    """One set of sparse rows from consecutive (lengths, indices, values)."""
    lengths, indices, values = map(np.concatenate, zip(*parts, strict=True))
    return SparseRows(np.concatenate([[0], np.cumsum(lengths)]), indices, values)
