"""Which boxes of a track are worth a crop: spread over its time, and there the least hidden one, then the largest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semreid.tracking.boxes import Boxes


def visible_shares(boxes: Boxes, height: int, width: int) -> NDArray[np.float64]:
    """Estimate how much of each box, in pixels, can be seen.

    Who stands lower in the picture stands nearer to the camera, and hides others. What several of them hide together
    counts as what the one hides that hides most.

    Returns:
        Shares (N,) from 0 to 1: of the box inside the frame, times what no nearer box covers of it.

    Example:
        >>> two = Boxes(np.array([1, 1]), np.array([1, 2]), np.array([[0.0, 0, 10, 20], [5.0, 0, 15, 30]]))
        >>> visible_shares(two, 30, 20).tolist()
        [0.5, 1.0]
    """
    inside = _area(_meet(boxes.corners, np.array([0.0, 0, width, height]))) / _area(boxes.corners)
    free = np.ones(len(boxes))
    starts = np.flatnonzero(np.diff(boxes.frames, prepend=-1))
    for first, last in zip(starts, [*starts[1:], len(boxes)], strict=True):
        if last - first > 1:
            here = boxes.corners[first:last]
            hidden = _area(_meet(here[:, None], here)) / _area(here)[:, None]
            nearer = here[:, 3] > here[:, None, 3]
            free[first:last] -= (hidden * nearer).max(axis=1)
    return inside * free


def choose(boxes: Boxes, shares: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Choose boxes of every track.

    Args:
        boxes: Boxes in pixels.
        shares: How much of each can be seen, (N,); a box of which nothing can be seen is never chosen.
        most: How many of a track.

    Returns:
        Rows in the order of frames: of each of ``most`` equal parts of a track's boxes, the one of which most can be
        seen (in tenths), then the largest, then the first.

    Example:
        >>> one = Boxes(np.arange(1, 5), np.full(4, 7), np.array([[0.0, 0, 10, 20 + size] for size in (0, 2, 2, 1)]))
        >>> choose(one, np.array([1.0, 0.9, 0.5, 0.5]), 2).tolist()
        [0, 2]
    """
    seen = np.flatnonzero(shares > 0)
    order = seen[np.argsort(boxes.tracks[seen], kind="stable")]  # by track, then by frame
    starts = np.flatnonzero(np.diff(boxes.tracks[order], prepend=-1))
    worth = np.stack([shares.round(1), _area(boxes.corners)], axis=1)
    chosen = []
    for rows in np.split(order, starts[1:]):
        for part in np.array_split(rows, min(most, len(rows))) if len(rows) else ():
            best = np.lexsort((part, *-worth[part].T[::-1]))[0]
            chosen.append(part[best])
    return np.sort(np.array(chosen, np.int64))


def _meet(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """What boxes have in common, as corners."""
    return np.concatenate([np.maximum(some, others)[..., :2], np.minimum(some, others)[..., 2:]], axis=-1)


def _area(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.maximum(corners[..., 2:] - corners[..., :2], 0)
    return sides[..., 0] * sides[..., 1]
