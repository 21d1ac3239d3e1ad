"""Frames of a video, or of a folder of pictures, by their numbers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.data.images import is_image, read_image
from semreid.errors import SemreidError
from semreid.tracking.boxes import frame_in

RATE = 25.0
"""Frames a second where nothing tells it."""
WHOLE = "give all of what the tracker saw"
Picture = tuple[int, NDArray[np.uint8]]


class Frame(NamedTuple):
    """A frame: its number, from 1; seconds since the first one; RGB (H, W, 3)."""

    number: int
    seconds: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Video:
    """A video that can be read.

    Attributes:
        path: The file, or the folder of pictures.
        height: Of its frames.
        width: Of its frames.
        rate: Frames a second.
    """

    path: Path
    height: int
    width: int
    rate: float

    def frames(self, wanted: Sequence[int]) -> Iterator[Frame]:
        """Yield some frames.

        Args:
            wanted: Their numbers, from 1, in rising order.

        Raises:
            SemreidError: If one is not there, cannot be read, or has another size than the first of all.
        """
        read = _pictures if self.path.is_dir() else _decoded
        missing = list(reversed(wanted))
        for number, image in read(self.path, wanted):
            if image.shape[:2] != (self.height, self.width):
                raise SemreidError(f"{self.path}: frame {number} has another size than the first", fix=WHOLE)
            yield Frame(missing.pop(), (number - 1) / self.rate, image)
        if missing:
            raise SemreidError(f"{self.path} has no frame {missing[-1]}, where the tracker saw somebody", fix=WHOLE)


def open_video(path: Path | str, rate: float | None = None) -> Video:
    """Look at a video.

    Args:
        path: A file that OpenCV reads, or a folder of pictures whose names end with the numbers of their frames,
            from 1.
        rate: Frames a second. If None, the file tells it; 25 where nothing does.

    Raises:
        SemreidError: If it cannot be read, pictures are not numbered so, or there is no such rate.
    """
    path = Path(path)
    if rate is not None and not 0 < rate < math.inf:
        raise SemreidError(f"{path}: {rate} frames a second", fix="give a number above 0, or let the file tell it")
    if path.is_dir():
        told, first = 0.0, read_image(next(iter(_numbered(path).values())))
    else:
        with _capture(path) as capture:
            told = capture.get(cv2.CAP_PROP_FPS)
            read, image = capture.read()
        if not read:
            raise SemreidError(f"{path} has no frame that can be read", fix=WHOLE)
        first = np.asarray(image, np.uint8)
    height, width = first.shape[:2]
    return Video(path, height, width, rate or (told if 0 < told < 10_000 else RATE))


@contextlib.contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise SemreidError(f"no video at {path}", fix="name a video file, or a folder of its frames")
    capture = cv2.VideoCapture(str(path))
    try:
        if is_image(path) or not capture.isOpened():
            raise SemreidError(f"{path} is no video that can be read here", fix="give an MP4, or a folder of frames")
        yield capture
    finally:
        capture.release()


def _decoded(path: Path, wanted: Sequence[int]) -> Iterator[Picture]:
    with _capture(path) as capture:
        at = 0
        for number in wanted:
            while at < number and capture.grab():
                at += 1
            if at < number:
                return
            read, image = capture.retrieve()
            if not read:
                return
            yield number, np.ascontiguousarray(image[..., ::-1], np.uint8)


def _pictures(folder: Path, wanted: Sequence[int]) -> Iterator[Picture]:
    places = _numbered(folder)
    for number in wanted:
        if number not in places:
            return
        yield number, read_image(places[number])


def _numbered(folder: Path) -> dict[int, Path]:
    places: dict[int, Path] = {}
    for path in sorted(path for path in folder.iterdir() if is_image(path)):
        number = frame_in(path)
        if number is None or number in places:
            what = "does not tell its frame" if number is None else f"is frame {number}, as {places[number].name} is"
            raise SemreidError(f"{path} {what}", fix="name the pictures by their frames: 000001.jpg and so on")
        if number == 0:
            raise SemreidError(f"{path} is frame 0, and frames count from 1", fix="number all pictures one higher")
        places[number] = path
    if not places:
        raise SemreidError(f"{folder} has no picture in it", fix="name a video file, or a folder of its frames")
    return dict(sorted(places.items()))
