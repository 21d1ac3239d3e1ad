"""Inner loops of `reranking`.

Sparse rows come as (pointers, indices, values): row i lies at ``pointers[i]:pointers[i + 1]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.compiled import compiled

Array = NDArray[Any]
STRIP = 32
"""Columns of a tile that are looked at together."""


@compiled
def insert(index: int, distance: float, indices: Array, distances: Array) -> None:
    """Put a neighbour into its place in an ascending list; the last one drops out, earlier ones win ties."""
    position = len(distances) - 1
    while distances[position - 1] > distance:
        distances[position] = distances[position - 1]
        indices[position] = indices[position - 1]
        position -= 1
    distances[position] = distance
    indices[position] = index


@compiled
def nearest(
    start: int,
    stop: int,
    products: Array,
    row: int,
    column: int,
    norms: Array,
    lists: Array,
    distances: Array,
    largest: Array,
) -> None:
    """Update nearest neighbours and largest squared distances from a tile of inner products.

    The tile starts at (``row``, ``column``) of the whole. Every list begins with the row itself at
    distance -1, so that it stays the first also if it has exact copies. Hardly any pair is near: strips without one are
    passed over by a loop that becomes vector instructions.
    """
    strip = np.empty(STRIP, np.float32)
    bits, farthest = strip.view(np.int32), largest.view(np.int32)  # which order what is not negative likewise
    for r in range(start, stop):
        i = row + r
        most, bound = farthest[i], distances[i, -1]
        for begin in range(0, products.shape[1], STRIP):
            line, others = products[r, begin : begin + STRIP], norms[column + begin : column + begin + STRIP]
            nearer = 0
            for c in range(len(line)):
                strip[c] = max(np.float32(0.0), norms[i] + others[c] - np.float32(2.0) * line[c])
                nearer += strip[c] < bound
                most = max(most, bits[c])
            if nearer == 0:
                continue
            for c in range(len(line)):
                j = column + begin + c
                if strip[c] < bound and i != j:
                    insert(j, strip[c], lists[i], distances[i])
                    bound = distances[i, -1]
        farthest[i] = most


@compiled
def reciprocal(lists: Array, i: int, size: int) -> Array:
    """R(i): those among the ``size`` nearest of i that have i among their own ``size`` nearest."""
    found = np.empty(size, dtype=np.int32)
    count = 0
    for j in lists[i, :size]:
        for back in lists[j, :size]:
            if back == i:
                found[count] = j
                count += 1
                break
    return found[:count]


@compiled
def shared_members(left: Array, right: Array) -> int:
    """Size of the intersection of two short sets."""
    count = 0
    for a in left:
        for b in right:
            count += a == b
    return count


@compiled
def expanded(lists: Array, i: int, half: int) -> Array:
    """R*(i): R(i) and the half-size sets of its members that lie in R(i) by more than two thirds."""
    core = reciprocal(lists, i, lists.shape[1])
    found = np.empty(len(core) * (1 + half), dtype=np.int32)
    found[: len(core)] = core
    count = len(core)
    for j in core:
        candidate = reciprocal(lists, j, half)
        if 3 * shared_members(candidate, core) > 2 * len(candidate):
            found[count : count + len(candidate)] = candidate
            count += len(candidate)
    return np.unique(found[:count])


@compiled
def squared_distance(a: Array, b: Array) -> float:
    """Squared Euclidean distance of two vectors."""
    total = np.float32(0.0)
    for k in range(len(a)):
        total += (a[k] - b[k]) * (a[k] - b[k])
    return float(total)


@compiled
def encode(
    start: int, stop: int, lists: Array, half: int, features: Array, largest: Array
) -> tuple[Array, Array, Array]:
    """Rows of V: exp(-d) on the members of R*, normalised to sum 1; returns lengths, indices, values."""
    limit = lists.shape[1] * (1 + half)
    lengths = np.empty(stop - start, dtype=np.int64)
    indices = np.empty((stop - start) * limit, dtype=np.int32)
    values = np.empty((stop - start) * limit, dtype=np.float32)
    end = 0
    for i in range(start, stop):
        members = expanded(lists, i, half)
        scale = largest[i] if largest[i] > 0 else 1.0  # all features identical: every distance is 0
        weights = np.empty(len(members))
        for m in range(len(members)):
            weights[m] = np.exp(-squared_distance(features[i], features[members[m]]) / scale)
        lengths[i - start] = len(members)
        indices[end : end + len(members)] = members
        values[end : end + len(members)] = weights / weights.sum()
        end += len(members)
    return lengths, indices[:end].copy(), values[:end].copy()


@compiled
def average(
    start: int, stop: int, lists: Array, k2: int, pointers: Array, indices: Array, values: Array
) -> tuple[Array, Array, Array]:
    """Mean of the sparse rows of the ``k2`` nearest neighbours; returns lengths, indices, values."""
    total = np.zeros(len(lists), dtype=np.float32)
    lengths = np.empty(stop - start, dtype=np.int64)
    found = [np.int32(0) for _ in range(0)]
    sums = [np.float32(0.0) for _ in range(0)]
    for i in range(start, stop):
        begin = len(found)
        for j in lists[i, :k2]:
            for p in range(pointers[j], pointers[j + 1]):
                if total[indices[p]] == 0:
                    found.append(indices[p])
                total[indices[p]] += values[p]
        for f in found[begin:]:
            sums.append(total[f] / np.float32(k2))
            total[f] = 0
        lengths[i - start] = len(found) - begin
    return lengths, np.array(found, dtype=np.int32), np.array(sums, dtype=np.float32)


@compiled
def inverted(first: int, pointers: Array, indices: Array, values: Array) -> tuple[Array, Array, Array]:
    """Transpose sparse rows ``first`` onwards: for every index, the rows (less ``first``) that hold it."""
    columns = np.zeros(len(pointers), dtype=np.int64)
    for p in range(pointers[first], len(indices)):
        columns[indices[p] + 1] += 1
    columns = np.cumsum(columns)
    rows = np.empty(columns[-1], dtype=np.int32)
    weights = np.empty(columns[-1], dtype=np.float32)
    free = columns[:-1].copy()
    for row in range(first, len(pointers) - 1):
        for p in range(pointers[row], pointers[row + 1]):
            slot = free[indices[p]]
            rows[slot] = row - first
            weights[slot] = values[p]
            free[indices[p]] += 1
    return columns, rows, weights


@compiled
def blend(
    start: int,
    stop: int,
    block: Array,
    first: int,
    largest: Array,
    lambda_value: float,
    pointers: Array,
    indices: Array,
    values: Array,
    columns: Array,
    rows: Array,
    weights: Array,
) -> None:
    """Turn squared distances of queries ``first`` onwards into re-ranked ones, in place.

    Sparse rows have sum 1, so the sum of the larger weights is two less the sum of the smaller ones.
    """
    shared = np.empty(block.shape[1], dtype=np.float32)
    for r in range(start, stop):
        q = first + r
        shared[:] = 0
        for p in range(pointers[q], pointers[q + 1]):
            for c in range(columns[indices[p]], columns[indices[p] + 1]):
                shared[rows[c]] += min(values[p], weights[c])
        scale = largest[q] if largest[q] > 0 else np.float32(1.0)
        for g in range(block.shape[1]):
            jaccard = 1.0 - shared[g] / (2.0 - shared[g])
            block[r, g] = (1.0 - lambda_value) * jaccard + lambda_value * block[r, g] / scale


@compiled
def overlaps(
    start: int,
    stop: int,
    limit: float,
    pointers: Array,
    indices: Array,
    values: Array,
    columns: Array,
    rows: Array,
    weights: Array,
) -> tuple[Array, Array, Array]:
    """Jaccard distances below ``limit`` of rows to all rows; returns lengths, indices in ascending order, distances."""
    shared = np.zeros(len(pointers) - 1, dtype=np.float32)
    lengths = np.empty(stop - start, dtype=np.int64)
    found = [np.int32(0) for _ in range(0)]
    distances = [np.float32(0.0) for _ in range(0)]
    for row in range(start, stop):
        touched = [np.int32(row)]
        shared[row] = 1
        for p in range(pointers[row], pointers[row + 1]):
            for c in range(columns[indices[p]], columns[indices[p] + 1]):
                other = rows[c]
                if other != row:
                    if shared[other] == 0:
                        touched.append(other)
                    shared[other] += min(values[p], weights[c])
        begin = len(found)
        for other in sorted(touched):
            distance = max(np.float32(0.0), np.float32(1.0) - shared[other] / (np.float32(2.0) - shared[other]))
            if distance < limit:
                found.append(other)
                distances.append(distance)
            shared[other] = 0
        lengths[row - start] = len(found) - begin
    return lengths, np.array(found, dtype=np.int32), np.array(distances, dtype=np.float32)
