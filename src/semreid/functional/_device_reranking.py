"""`k_reciprocal_blocks` where the features are: the kernels of `_reranking_kernels` as sorts and sums of tensors.

The steps and their order are those of the kernels; sums of floats are taken in another order, so results agree to
about 1e-6. Memory stays bounded, as there: pairs are looked at in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from semreid.functional.distance import BLOCK_VALUES, full_precision, row_blocks, tensor_blocks


class Rows(NamedTuple):
    """Sparse rows: row i lies at ``pointers[i]:pointers[i + 1]`` of ``indices`` and ``values``."""

    pointers: Tensor
    indices: Tensor
    values: Tensor


def blocks(pooled: Tensor, queries: int, k1: int, k2: int, lambda_value: float) -> Iterator[Tensor]:
    """Yield re-ranked distances (q, G) of the first rows of ``pooled``, (Q + G, D) float32, to those behind them."""
    lists, largest = _neighbours(pooled, min(k1 + 1, len(pooled)))
    encoding = _encoded(pooled, lists, largest, min(round(k1 / 2) + 1, lists.shape[1]))
    encoding = _averaged(encoding, lists[:, : min(k2, lists.shape[1])])
    columns = _inverted(encoding, queries)
    scale = torch.where(largest > 0, largest, 1.0)  # all features identical: every distance is 0
    first = 0
    for block in tensor_blocks(pooled[:queries], pooled[queries:], "sqeuclidean"):
        shared = _smaller_weights(encoding, columns, first, block.shape)
        jaccard = 1 - shared / (2 - shared)
        yield (1 - lambda_value) * jaccard + lambda_value * block / scale[first : first + len(block), None]
        first += len(block)


def _neighbours(pooled: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The ``size`` nearest rows of every row, itself first, the earlier of equal ones first; its largest distance."""
    pooled = pooled - pooled.mean(dim=0)  # fewer digits cancel about the centre
    norms = pooled.square().sum(dim=1)
    own = torch.arange(len(pooled), device=pooled.device)
    lists, largest = [], []
    for rows in row_blocks(len(pooled), len(pooled)):
        with full_precision(pooled.device):
            distances = torch.addmm(norms, pooled[rows], pooled.T, alpha=-2.0)
        distances.add_(norms[rows, None]).clamp_(min=0.0).abs_()  # no -0.0, whose bits are those of a large number
        largest.append(distances.amax(dim=1))
        distances.scatter_(1, own[rows, None], -1.0)
        keys = (distances.view(torch.int32).long() << 32) | own  # the bits of floats are in their order
        lists.append(keys.topk(size, dim=1, largest=False).values & 0xFFFFFFFF)
    return torch.cat(lists), torch.cat(largest)


def _reciprocal(lists: Tensor, size: int) -> Tensor:
    """Which of the ``size`` nearest of every row have it among their own, (N, size) bool."""
    own = torch.arange(len(lists), device=lists.device)
    near = lists[:, :size]
    return torch.cat([(near[near[r]] == own[r, None, None]).any(dim=2) for r in row_blocks(len(lists), size * size)])


def _encoded(pooled: Tensor, lists: Tensor, largest: Tensor, half: int) -> Rows:
    """V: exp(-d) on the expanded k-reciprocal set of every row, normalised to sum 1."""
    core, inner = _reciprocal(lists, lists.shape[1]), _reciprocal(lists, half)
    found = []
    for rows in row_blocks(len(lists), half * lists.shape[1] ** 2):
        members = _members(lists, core, inner, rows, half)
        row, place = (members < len(lists)).nonzero(as_tuple=True)
        found.append(torch.stack((row + rows.start, members[row, place])))
    owner, index = torch.cat(found, dim=1)
    scale = torch.where(largest > 0, largest, 1.0)
    apart = [(pooled[owner[p]] - pooled[index[p]]).square().sum(1) for p in row_blocks(len(owner), pooled.shape[1])]
    weights = torch.exp(-torch.cat(apart).double() / scale[owner])
    total = weights.new_zeros(len(lists)).index_add_(0, owner, weights)
    return Rows(_pointers(owner, len(lists)), index, (weights / total[owner]).float())


def _members(lists: Tensor, core: Tensor, inner: Tensor, rows: slice, half: int) -> Tensor:
    """R* of some rows, ascending, with N for no member: R and the half-size sets that lie in it by over two thirds."""
    near, inside, nobody = lists[rows], core[rows], len(lists)
    candidates, valid = lists[near, :half], inner[near]
    known = ((candidates[..., None] == near[:, None, None]) & inside[:, None, None]).any(dim=3)
    joins = inside & (3 * (known & valid).sum(dim=2) > 2 * valid.sum(dim=2))
    more = torch.where(joins[..., None] & valid, candidates, nobody).flatten(1)
    members = torch.cat((torch.where(inside, near, nobody), more), dim=1).sort(dim=1).values
    again = members[:, 1:] == members[:, :-1]
    members[:, 1:] = members[:, 1:].masked_fill(again, nobody)
    return members


def _averaged(encoding: Rows, lists: Tensor) -> Rows:
    """The mean of the sparse rows of the listed neighbours of every row."""
    count, k2 = lists.shape
    owner, place = _spread(encoding, lists.flatten())
    keys, slots = torch.unique(owner // k2 * count + encoding.indices[place], return_inverse=True)
    sums = encoding.values.new_zeros(len(keys)).index_add_(0, slots, encoding.values[place])
    return Rows(_pointers(keys // count, count), keys % count, sums / k2)


def _inverted(encoding: Rows, first: int) -> Rows:
    """Transpose the sparse rows ``first`` onwards: for every index, the rows (less ``first``) that hold it."""
    owner = _owners(encoding.pointers)[encoding.pointers[first] :] - first
    index, values = (part[encoding.pointers[first] :] for part in encoding[1:])
    order = index.argsort(stable=True)
    return Rows(_pointers(index, len(encoding.pointers) - 1), owner[order], values[order])


def _smaller_weights(encoding: Rows, columns: Rows, first: int, shape: torch.Size) -> Tensor:
    """The sum of the smaller weights of each query ``first`` onwards and each gallery row, (q, G)."""
    begin, end = (int(encoding.pointers[row]) for row in (first, first + shape[0]))
    owner = _owners(encoding.pointers[first : first + shape[0] + 1])
    index, values = encoding.indices[begin:end], encoding.values[begin:end]
    shared = values.new_zeros(shape)
    pairs = (columns.pointers[index + 1] - columns.pointers[index]).cumsum(0)
    for some in _portions(pairs):
        entry, place = _spread(columns, index[some])
        slots = owner[some][entry] * shape[1] + columns.indices[place]
        shared.view(-1).scatter_add_(0, slots, torch.minimum(values[some][entry], columns.values[place]))
    return shared


def _portions(running: Tensor) -> Iterator[slice]:
    """Cut items into consecutive slices of about ``BLOCK_VALUES`` pairs each, given the running number of pairs."""
    total = int(running[-1]) if len(running) else 0
    limits = torch.tensor(range(BLOCK_VALUES, total, BLOCK_VALUES), dtype=running.dtype, device=running.device)
    edges = [0, *torch.searchsorted(running, limits, right=True).tolist(), len(running)]
    return (slice(a, b) for a, b in pairwise(edges) if b > a)


def _spread(rows: Rows, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Lay out the entries of chosen rows behind one another: which of the chosen each belongs to, and where it lies."""
    start = rows.pointers[chosen]
    lengths = rows.pointers[chosen + 1] - start
    owner = torch.arange(len(chosen), device=chosen.device).repeat_interleave(lengths)
    place = torch.arange(len(owner), device=chosen.device) + (start - lengths.cumsum(0) + lengths)[owner]
    return owner, place


def _owners(pointers: Tensor) -> Tensor:
    return torch.arange(len(pointers) - 1, device=pointers.device).repeat_interleave(pointers.diff())


def _pointers(owner: Tensor, count: int) -> Tensor:
    return torch.cat((owner.new_zeros(1), torch.bincount(owner, minlength=count).cumsum(0)))
