"""Which boxes of a track are worth a crop: spread over its time, and there the least hidden one, then the largest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    worth = np.stack([shares.round(1), _area(boxes.corners)], axis=1)
    chosen = []
    for rows in _rows_by_track(boxes, np.flatnonzero(shares > 0)):
        for part in np.array_split(rows, min(most, len(rows))):
            best = np.lexsort((part, *-worth[part].T[::-1]))[0]
            chosen.append(part[best])
    return np.sort(np.array(chosen, np.int64))


def with_meetings(boxes: Boxes, shares: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add boxes to those that were chosen, so that their times show which tracks were seen at once, and are two people.

    The chosen boxes of a track seldom begin and end with it. Of two tracks that are seen in the same frame, and whose
    chosen boxes do not meet in time, both get one more, in the frame that shows most of both (in tenths; then the
    first).

    Args:
        boxes: Boxes in pixels.
        shares: How much of each can be seen, (N,).
        chosen: Rows that were chosen; tracks without any get none.

    Returns:
        Rows in the order of frames.

    Example:
        >>> frames, tracks = np.array([1, 2, 3, 3, 4, 5]), np.array([7, 7, 7, 8, 8, 8])
        >>> two = Boxes(frames, tracks, np.tile([0.0, 0, 10, 20], (6, 1)))
        >>> with_meetings(two, np.ones(6), np.array([0, 5])).tolist()
        [0, 2, 3, 5]
    """
    added, running = list(chosen), list[_Track]()
    for track in sorted(_tracks(boxes, shares, chosen), key=lambda track: track.frames[0]):
        running = [other for other in running if other.frames[-1] >= track.frames[0]]
        for other in running:
            if not track.meets(other) and len(rows := track.rows_beside(other, shares)):
                track.show(boxes.frames[rows[0]])
                other.show(boxes.frames[rows[0]])
                added += rows.tolist()
        running.append(track)
    return np.unique(np.array(added, np.int64))


@dataclass
class _Track:
    """The boxes of a track that can be seen, (N,) in the order of frames, and what is shown of its time."""

    rows: NDArray[np.int64]
    frames: NDArray[np.int64]
    first: int
    last: int

    def meets(self, other: _Track) -> bool:
        return self.first <= other.last and other.first <= self.last

    def rows_beside(self, other: _Track, shares: NDArray[np.float64]) -> NDArray[np.int64]:
        """A row of each in one frame; nothing if no frame has both."""
        _, own, others = np.intersect1d(self.frames, other.frames, assume_unique=True, return_indices=True)
        pairs = np.stack([self.rows[own], other.rows[others]], axis=1)
        return pairs[shares[pairs].min(axis=1).round(1).argmax()] if len(pairs) else pairs

    def show(self, frame: int) -> None:
        self.first, self.last = min(self.first, frame), max(self.last, frame)


def _tracks(boxes: Boxes, shares: NDArray[np.float64], chosen: NDArray[np.int64]) -> Iterator[_Track]:
    is_chosen = np.zeros(len(boxes), bool)
    is_chosen[chosen] = True
    for rows in _rows_by_track(boxes, np.flatnonzero(shares > 0)):
        shown = boxes.frames[rows[is_chosen[rows]]]
        if len(shown):
            yield _Track(rows, boxes.frames[rows], shown[0], shown[-1])


def _rows_by_track(boxes: Boxes, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Divide rows by their track, each part in the order of frames."""
    order = rows[np.argsort(boxes.tracks[rows], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(boxes.tracks[order])) + 1) if len(order) else []


def _meet(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """What boxes have in common, as corners."""
    return np.concatenate([np.maximum(some, others)[..., :2], np.minimum(some, others)[..., 2:]], axis=-1)


def _area(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.maximum(corners[..., 2:] - corners[..., :2], 0)
    return sides[..., 0] * sides[..., 1]
