"""What trackers write: the boxes of a video, each with its frame and its track."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semreid.errors import SemreidError, located
from semreid.reading import open_text

PERSON = "0"
"""The class of people in the labels of COCO, by which Ultralytics writes."""
MOST = 2**53
"""Frames and tracks are whole numbers below it, which a float holds exactly; and so are sides of boxes."""
Row = tuple[int, int, float, float, float, float]
"""Frame, track, left, top, right, bottom."""
Column = Callable[[Sequence[str]], int | None]
"""Which of the cells of a line is its track; None if the line is of no track."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of a video, in the order of frames, and of tracks within a frame.

    Attributes:
        frames: Frame of each, (N,), from 1.
        tracks: Track of each, (N,), as the tracker numbers them.
        corners: Left, top, right and bottom, (N, 4): pixels, or shares of the frame.
        shares: Whether they are shares of the frame, from 0 to 1.
        left_out: How many rows say that they do not count, have no track, or show something other than a person.
    """

    frames: NDArray[np.int64]
    tracks: NDArray[np.int64]
    corners: NDArray[np.float64]
    shares: bool = False
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.frames)

    def in_pixels(self, height: int, width: int) -> Boxes:
        """Return the same boxes in pixels of frames of this size."""
        return replace(self, corners=self.corners * ([width, height] * 2 if self.shares else 1), shares=False)


def clipped(corners: NDArray[np.float64], height: int, width: int) -> NDArray[np.int64]:
    """Round boxes to whole pixels, and clip them to a frame.

    Args:
        corners: Left, top, right and bottom in pixels, (N, 4).
        height: Of the frame.
        width: Of the frame.

    Returns:
        Corners (N, 4); a box with nothing inside the frame has no width or no height.

    Example:
        >>> clipped(np.array([[-3.0, 1.6, 5.2, 99.0], [30.0, 0, 40, 9]]), 20, 10).tolist()
        [[0, 2, 5, 20], [10, 0, 10, 9]]
    """
    return np.clip(corners.round(), 0, [width, height] * 2).astype(np.int64)


def read_boxes(path: Path) -> Boxes:
    """Read what a tracker wrote of a video.

    Args:
        path: A text file in the format of MOTChallenge (``frame,track,left,top,width,height[,conf,…]``, frames from
            1; a ``conf`` of 0 says that the row does not count), or the folder ``labels`` that Ultralytics leaves
            (``…_FRAME.txt`` with ``class x y width height [conf] track`` in shares of the frame; class 0 is a person).

    Returns:
        At least one box.

    Raises:
        SemreidError: If there is none, or a row is not as described; the message has its line.
    """
    if not path.exists():
        raise SemreidError(f"no boxes at {path}", fix="name the text file or the folder that your tracker left")
    numbers, left_out = array("d"), 0
    for row in _labels(path) if path.is_dir() else _mot(path):
        if row is None:
            left_out += 1
        else:
            numbers.extend(row)
    if not numbers:
        raise SemreidError(
            f"{path} has no box of a track; {left_out} rows do not count",
            fix="give what a tracker wrote: a detector alone makes no tracks",
        )
    table = np.frombuffer(numbers).reshape(-1, 6)
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    whole = table[:, :2].astype(np.int64)
    _require_once(path, whole)
    return Boxes(whole[:, 0], whole[:, 1], table[:, 2:], path.is_dir(), left_out)


def frame_in(path: Path) -> int | None:
    """The number at the end of a file's name, which is that of its frame; None if there is none.

    Example:
        >>> frame_in(Path("img1/000012.jpg")), frame_in(Path("gate_7.txt")), frame_in(Path("gate.txt"))
        (12, 7, None)
    """
    digits = re.search(r"\d{1,15}$", path.stem, re.ASCII)
    return int(digits[0]) if digits else None


def _require_once(path: Path, whole: NDArray[np.int64]) -> None:
    twice = np.flatnonzero((np.diff(whole, axis=0) == 0).all(axis=1))
    if len(twice):
        frame, track = whole[twice[0]]
        raise SemreidError(
            f"{path}: track {track} is in frame {frame} twice",
            fix="give the file of one video; a track shows one person, once in a frame",
        )


def track_column(path: Path) -> Column:
    """Tell how to find the track in the lines of what a tracker wrote, as `read_boxes` takes it.

    Of six cells in a label of Ultralytics, the last is the track, or else a confidence: so it is in the whole folder if
    there is a fraction, or a line of seven.
    """
    if not path.is_dir():
        return _mot_track
    lines = (cells for _, file in label_files(path) for _, cells, _ in lines_of(file, lambda _: None))
    six = all(len(cells) < 6 or (len(cells) == 6 and re.fullmatch(r"[+-]?\d+(\.0*)?", cells[5])) for cells in lines)
    return partial(_label_track, tracked=6 if six else 7)


def lines_of(path: Path, column: Column) -> Iterator[tuple[int, list[str], int | None]]:
    """Read a tracker's text file line by line.

    Args:
        path: The file.
        column: How its lines tell their track (`track_column`).

    Yields:
        The number of the line, its cells, and which of them is the track; None where the line is of no track.

    Raises:
        SemreidError: If it cannot be read, or a line has too few or too many cells, or a track that is no whole number.
    """
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                if text := line.strip(" \t\r\n,;"):
                    cells = re.split(r"\s*;\s*" if ";" in text else r"[,\s]+", text)
                    with located(f"{path}, line {number}"):
                        track = column(cells)
                        if track is not None:
                            _whole("track", _number(cells[track]), 0)
                    yield number, cells, track
    except (OSError, UnicodeDecodeError) as error:
        raise SemreidError(f"{path} is no readable text: {error}", fix="give what your tracker wrote") from error


def label_files(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the frames and files of a folder that Ultralytics left.

    Raises:
        SemreidError: If the name of a file does not tell its frame.
    """
    for path in sorted(folder.glob("*.txt")):
        frame = frame_in(path)
        if frame is None:
            raise SemreidError(f"{path} does not tell its frame", fix="name such files NAME_FRAME.txt, from 1")
        yield frame, path


def _mot(path: Path) -> Iterator[Row | None]:
    for number, cells, column in lines_of(path, track_column(path)):
        with located(f"{path}, line {number}"):
            frame, track, left, top, width, height, conf = map(_number, (*cells, "1")[:7])
            none = column is None or conf == 0
            yield None if none else _row(frame, track, left, top, width, height)


def _labels(folder: Path) -> Iterator[Row | None]:
    tracked = track_column(folder)
    for frame, path in label_files(folder):
        for number, cells, column in lines_of(path, tracked):
            with located(f"{path}, line {number}"):
                x, y, width, height, *rest = map(_number, cells[1:])
                none = column is None or cells[0] != PERSON
                yield None if none else _row(frame, rest[-1], x - width / 2, y - height / 2, width, height)


def _mot_track(cells: Sequence[str]) -> int | None:
    if len(cells) < 6:
        raise _unlike(f"{len(cells)} columns", "frame,track,left,top,width,height[,conf,…]")
    _whole("frame", _number(cells[0]), 1)
    return 1 if _number(cells[1]) >= 0 else None


def _label_track(cells: Sequence[str], tracked: int) -> int | None:
    if not 5 <= len(cells) <= 7:
        raise _unlike(f"{len(cells)} columns", "class x y width height [conf] track")
    return len(cells) - 1 if len(cells) >= tracked else None


def _row(frame: float, track: float, left: float, top: float, width: float, height: float) -> Row:
    if width <= 0 or height <= 0 or max(abs(left), abs(top), width, height) >= MOST:
        raise _unlike(f"a box of {width:g}×{height:g} at {left:g}, {top:g}", "left, top, width and height of each box")
    return _whole("frame", frame, 1), int(track), left, top, left + width, top + height


def _whole(name: str, value: float, least: int) -> int:
    if not (float(value).is_integer() and least <= value < MOST):
        raise _unlike(f"a {name} of {value:g}", f"whole numbers from {least}")
    return int(value)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _unlike(repr(text[:40]), "a number") from None
    if not math.isfinite(value):
        raise _unlike(text[:40], "a finite number")
    return value


def _unlike(found: str, wanted: str) -> SemreidError:
    return SemreidError(f"{found}, where {wanted} should be", fix="give what your tracker wrote, unchanged")
