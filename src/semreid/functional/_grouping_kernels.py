"""Inner loops of `grouping`, and of the likeness by camera that it asks for.

A group is called by one of its points, its head. ``near`` are the neighbours of points as rows of a sparse matrix; the
points of a group are a chain, and the neighbours of the group stand in the rows of these points, each once after
`summed` has looked through them. Similarities are whole numbers, so that a sum is the same in any order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.compiled import compiled
from semreid.functional._reranking_kernels import STRIP

Array = NDArray[Any]
APART = -(2**60)
"""Similarity of two points that must never be in one group."""


@compiled
def head_of(point: int, heads: Array) -> int:
    """Find the head of the group of a point."""
    head = point
    while heads[head] != head:
        head = heads[head]
    while heads[point] != head:
        heads[point], point = head, heads[point]
    return head


@compiled
def summed(
    group: int,
    heads: Array,
    starts: Array,
    lengths: Array,
    nexts: Array,
    lasts: Array,
    near: Array,
    values: Array,
    sums: Array,
    seen: Array,
) -> int:
    """Sum the similarities of the points of a group to those of each other group; return how many others there are.

    ``seen[:count]`` are the others, and ``sums`` at these the sums. Both stand in the rows of the group afterwards.
    """
    count = 0
    point = group
    while point >= 0:
        for entry in range(starts[point], starts[point] + lengths[point]):
            other = head_of(near[entry], heads)
            if other == group:
                continue
            if sums[other] == 0:
                seen[count] = other
                count += 1
            apart = values[entry] == APART or sums[other] == APART
            sums[other] = APART if apart else sums[other] + values[entry]
        point = nexts[point]
    written = 0
    point = group
    while point >= 0:
        room = min(lengths[point], count - written)
        for entry in range(starts[point], starts[point] + room):
            near[entry] = seen[written]
            values[entry] = sums[seen[written]]
            written += 1
        lengths[point] = room
        if written == count:  # the rest of the chain has nothing more to say
            nexts[point] = -1
            lasts[group] = point
        point = nexts[point]
    return count


@compiled
def linked(
    starts: Array,
    lengths: Array,
    near: Array,
    values: Array,
    sizes: Array,
    named: Array,
    heads: Array,
    nexts: Array,
    lasts: Array,
    least: float,
) -> None:
    """Merge the two groups whose crops are most alike in the mean, as long as that is ``least`` or more.

    By chains of nearest neighbours, which end at two groups that are nearest to each other (Murtagh, 1983). All arrays
    are changed here, and may be given again, with a smaller ``least``, to go on.

    Args:
        starts: Where the neighbours of each point begin, (P,).
        lengths: How many it has, (P,).
        near: Neighbours, without the point itself.
        values: Sums of similarities over the crops of both points, whole and more than 0, or `APART`.
        sizes: How many crops each point is, (P,); of a head, its group.
        named: Which points are a person each, (P,), no two of whom are the same.
        heads: What leads to the head of each point, (P,): itself at first, the head in the end.
        nexts: Which point comes next in the chain of a group, (P,): -1 at first.
        lasts: The last point in the chain of each head, (P,): itself at first.
        least: Mean similarity.
    """
    count = len(starts)
    sums, seen, chain = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count + 1, np.int64)
    for first in range(count):
        chain[0] = first
        length = 1 if heads[first] == first else 0
        while length:
            group = chain[length - 1]
            before = chain[length - 2] if length > 1 else -1
            best, most = -1, least
            for i in range(summed(group, heads, starts, lengths, nexts, lasts, near, values, sums, seen)):
                other = seen[i]
                mean = sums[other] / (sizes[group] * sizes[other])
                apart = sums[other] == APART or (named[group] and named[other])
                sums[other] = 0
                first_of_equals = best < 0 or other == before or (other < best and best != before)
                if not apart and (mean > most or (mean == most and first_of_equals)):
                    best, most = other, mean
            if best >= 0 and best != before:
                chain[length] = best
                length += 1
                continue
            length -= 1
            if best >= 0:
                kept, gone = min(group, before), max(group, before)
                heads[gone] = kept
                nexts[lasts[kept]] = gone
                lasts[kept] = lasts[gone]
                sizes[kept] += sizes[gone]
                named[kept] |= named[gone]
                chain[length - 1] = kept  # which is nobody's nearest yet
                length = max(length - 1, 1)
    for point in range(count):
        heads[point] = head_of(point, heads)


@compiled
def most_alike(start: int, stop: int, products: Array, row: int, column: int, bounds: Array, best: Array) -> None:
    """Update the largest inner products of rows with others of each kind, in falling order, from a tile of products.

    The tile starts at (``row``, ``column``) of the whole, whose columns ``bounds[k]:bounds[k + 1]`` are of kind k.
    """
    last = best.shape[2] - 1
    for r in range(start, stop):
        i = row + r
        for kind in range(best.shape[1]):
            begin, end = max(bounds[kind] - column, 0), min(bounds[kind + 1] - column, products.shape[1])
            for strip in range(begin, end, STRIP):
                line, limit, higher = products[r, strip : min(strip + STRIP, end)], best[i, kind, last], 0
                for product in line:
                    higher += product > limit
                if higher == 0:
                    continue
                for c in range(len(line)):
                    if line[c] > best[i, kind, last] and i != column + strip + c:
                        position = last
                        while position > 0 and best[i, kind, position - 1] < line[c]:
                            best[i, kind, position] = best[i, kind, position - 1]
                            position -= 1
                        best[i, kind, position] = line[c]
