"""Feature mixing: replace a few blocks of a feature map, those that matter most or any, by those of another person.

A block is a rectangle of positions with all their channels. All functions here are exact and draw nothing: random
numbers are arguments, so that several processes can take their shares of one draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semreid.errors import SemreidError


def fit_grid(size: Sequence[int], grid: tuple[int, int] = (8, 4), k: int = 3) -> tuple[int, int, int]:
    """Fit a grid of blocks to a map: as many blocks whatever its size, but none smaller than a position.

    On 24×8 positions, blocks of the published 8×4 grid have 3×2 positions; on 8×4, they have one. On a map with fewer
    rows or columns than the grid, the share of blocks to replace is kept as nearly as possible.

    Args:
        size: Height and width of the map.
        grid: Rows and columns of blocks that are wanted.
        k: How many of them are to be replaced.

    Returns:
        Rows and columns of blocks, and how many of them to replace, at least one.

    Raises:
        SemreidError: If fewer than one or more than all blocks would be replaced.

    Example:
        >>> fit_grid((24, 8)), fit_grid((8, 4)), fit_grid((4, 2))
        ((8, 4, 3), (8, 4, 3), (4, 2, 1))
    """
    wanted = grid[0] * grid[1]
    if not 0 < k <= wanted:
        raise SemreidError(f"cannot replace {k} of {grid[0]}x{grid[1]} blocks", fix="take from 1 to all of them")
    rows, columns = min(grid[0], size[0]), min(grid[1], size[1])
    return rows, columns, max(1, round(k * rows * columns / wanted))


def block_scores(cams: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average activation maps over blocks.

    Args:
        cams: Activation of each position, (B, h, w).
        grid: Rows and columns of blocks, not more than positions. Where they do not divide the map, a position on
            the border of two blocks counts for both.

    Returns:
        Scores, (B, rows, columns), float32.

    Example:
        >>> block_scores(torch.tensor([[[0.0, 2.0, 4.0, 4.0]]]), (1, 2))
        tensor([[[1., 4.]]])
    """
    return F.adaptive_avg_pool2d(cams.float()[:, None], grid)[:, 0]


def salient_blocks(scores: Tensor, k: int, ties: Tensor) -> Tensor:
    """Choose the k best blocks of every image; among equal ones, those that the draw prefers.

    An activation map may well have fewer than k blocks above zero, or none: the others are then chosen at random, so
    that as much is replaced as ever and no place of the image is favoured.

    Args:
        scores: Scores of the blocks, (B, rows, columns).
        k: Number of blocks.
        ties: Numbers that decide among equal scores, such as random ones, (B, rows * columns).

    Returns:
        Which blocks are chosen, (B, rows, columns) bool, k in each image.

    Example:
        >>> salient_blocks(torch.tensor([[[0.0, 3.0, 0.0]]]), 2, ties=torch.tensor([[0.1, 0.2, 0.3]]))
        tensor([[[False,  True,  True]]])
    """
    flat = scores.flatten(1)
    order = ties.argsort(dim=1, descending=True)
    ranked = flat.gather(1, order).argsort(dim=1, descending=True, stable=True)
    best = order.gather(1, ranked[:, :k])
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, best, value=True).view_as(scores)


def rectangle_blocks(draws: Tensor, grid: tuple[int, int], k: int) -> Tensor:
    """Choose k blocks that form one rectangle, as nearly square as k allows, standing upright: 3×1, 2×2, 3×2.

    Args:
        draws: Numbers in [0, 1) that decide on its row and column, (B, 2).
        grid: Rows and columns of blocks.
        k: Number of blocks.

    Returns:
        Which blocks are chosen, (B, rows, columns) bool, k in each image.

    Raises:
        SemreidError: If no such rectangle fits into the grid.

    Example:
        >>> rectangle_blocks(torch.tensor([[0.9, 0.0]]), (3, 2), 2).int()
        tensor([[[0, 0],
                 [1, 0],
                 [1, 0]]], dtype=torch.int32)
    """
    narrow = next(side for side in range(math.isqrt(k), 0, -1) if k % side == 0)
    sides = (k // narrow, narrow)
    if sides[0] > grid[0] or sides[1] > grid[1]:
        raise SemreidError(f"no rectangle of {k} blocks fits into {grid[0]}x{grid[1]}", fix="replace fewer blocks")
    inside = []
    for draw, side, blocks in zip(draws.unbind(1), sides, grid, strict=True):
        first = (draw * (blocks - side + 1)).long()[:, None]
        place = torch.arange(blocks, device=draws.device)
        inside.append((place >= first) & (place < first + side))
    return inside[0][:, :, None] & inside[1][:, None, :]


def stripe(draw: Tensor, size: Sequence[int]) -> Tensor:
    """Choose a stripe of a third of the height across the whole width, the same in all images (BatchDropBlock).

    Args:
        draw: A number in [0, 1) that decides where it is, a scalar.
        size: Height and width of the map.

    Returns:
        Which positions are chosen, (1, h, w) bool.

    Example:
        >>> stripe(torch.tensor(0.6), (3, 2))[0, :, 0]
        tensor([False,  True, False])
    """
    rows = max(1, round(size[0] / 3))
    first = (draw * (size[0] - rows + 1)).long()
    place = torch.arange(size[0], device=draw.device)
    return ((place >= first) & (place < first + rows))[None, :, None].expand(1, *size)


def choose_negatives(preference: Tensor, pids: Tensor) -> Tensor:
    """Choose for every image the one it prefers among those of other people.

    Args:
        preference: How much each image (row) wants each other (column), (B, B). Random numbers make every image of
            another person equally likely, similarities choose the hardest.
        pids: Person ids, (B,), in any order.

    Returns:
        Index of the negative, (B,); the image itself where the batch shows no other person.

    Example:
        >>> similar = torch.tensor([[9.0, 8.0, 1.0], [8.0, 9.0, 2.0], [1.0, 2.0, 9.0]])
        >>> choose_negatives(similar, torch.tensor([5, 5, 7]))
        tensor([2, 2, 1])
    """
    same = pids[:, None] == pids[None, :]
    chosen = preference.masked_fill(same, -torch.inf).argmax(dim=1)
    return torch.where(same.all(dim=1), torch.arange(len(pids), device=pids.device), chosen)


def paste(maps: Tensor, donors: Tensor, negatives: Tensor, positions: Tensor) -> Tensor:
    """Replace positions of maps by the same positions of other maps; gradients flow into both.

    Args:
        maps: Feature maps, (B, C, h, w).
        donors: Maps to take from, (N, C, h, w); may be ``maps`` itself, which saves a copy.
        negatives: Which of them each map takes from, (B,).
        positions: What to replace, (B, h, w) bool.

    Returns:
        Mixed maps, (B, C, h, w).

    Raises:
        SemreidError: If the shapes do not fit.

    Example:
        >>> maps = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])
        >>> paste(maps, maps, torch.tensor([1, 0]), torch.tensor([[[True, False]], [[False, False]]]))[:, 0, 0]
        tensor([[3., 2.],
                [3., 4.]])
    """
    batch, channels, h, w = maps.shape
    if donors.shape[1:] != maps.shape[1:] or positions.shape != (batch, h, w) or negatives.shape != (batch,):
        shapes = [tuple(tensor.shape) for tensor in (maps, donors, negatives, positions)]
        raise SemreidError(f"expected maps (B, C, h, w), donors (N, C, h, w), negatives (B,), (B, h, w); got {shapes}")
    place = torch.arange(h * w, device=maps.device).view(h, w)
    first = torch.arange(batch, device=maps.device) * h * w
    # One table of positions, one row for each: to read rows is several times faster than to choose value by value.
    table, offset = _rows(maps), 0
    if donors is not maps:
        table, offset = torch.cat((table, _rows(donors))), len(table)
    other = offset + negatives.long() * h * w
    read = torch.where(positions, other[:, None, None] + place, first[:, None, None] + place)
    return table[read.flatten()].view(batch, h, w, channels).permute(0, 3, 1, 2)


def _rows(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)  # no copy where the channels are last in memory


def owner_shares(owners: Tensor, num_ids: int) -> Tensor:
    """Compute mixed targets: which share of a map belongs to which identity.

    Args:
        owners: Identity that each position came from, (B, h, w) int64.
        num_ids: Number of identities.

    Returns:
        Shares, (B, num_ids), float32; rows sum to one.

    Example:
        >>> owner_shares(torch.tensor([[[2, 2, 2, 0]]]), num_ids=3)
        tensor([[0.2500, 0.0000, 0.7500]])
    """
    flat = owners.flatten(1)
    shares = torch.zeros(len(flat), num_ids, device=owners.device)
    return shares.scatter_add_(1, flat, torch.full(flat.shape, 1 / flat.shape[1], device=owners.device))
