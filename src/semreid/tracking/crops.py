"""Crops of tracks, cut out of a video, and the table that tells what is known of each."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.data.sample import require_camera
from semreid.errors import SemreidError
from semreid.files import exclusive, folder_beside, write_csv
from semreid.parallel import Progress
from semreid.reading import reading
from semreid.tracking.boxes import Boxes, clipped
from semreid.tracking.choosing import choose, visible_shares, with_meetings
from semreid.tracking.video import Video

TABLE = "crops.csv"
COLUMNS = ["path", "camid", "timestamp", "track"]
LEAST = 8
"""Pixels of a side: a smaller box shows nobody."""
SEEN = f"can be seen: {LEAST} pixels or more each way, inside the video, and not hidden"
QUALITY = 95
Cells = list[str]


@dataclass(frozen=True)
class Cut:
    """What was cut out of a video.

    Attributes:
        table: The CSV file that lists the crops, of this camera and of those before.
        crops: How many crops were cut.
        tracks: Of how many tracks.
        unseen: Tracks without any box that can be seen: large enough, inside the video, and not wholly hidden.
    """

    table: Path
    crops: int
    tracks: int
    unseen: int


def cut_tracks(
    video: Video,
    boxes: Boxes,
    out: Path,
    *,
    camera: int,
    start: float = 0.0,
    per_track: int = 8,
    progress: Progress | None = None,
) -> Cut:
    """Cut crops of every track out of the video of a camera, all of them or none.

    Args:
        video: The video.
        boxes: What a tracker saw in it.
        out: Folder for ``crops.csv`` and ``camCAMERA/trackTRACK/FRAME.jpg``; other cameras may be there already.
        camera: Number of the camera.
        start: When the video begins, in seconds.
        per_track: How many crops of a track, at most (`semreid.tracking.choose`), but for those that show that two
            tracks were seen at once (`semreid.tracking.with_meetings`).
        progress: Told how many crops are cut.

    Raises:
        SemreidError: If no track can be seen, a number is out of range, the camera is there already, the video has not
            all frames, or the folder cannot be written.
    """
    require_camera(camera, video.path)
    if not math.isfinite(start) or per_track < 1:
        raise SemreidError(
            f"{video.path}: it begins at {start} seconds, and a track is to have {per_track} crops",
            fix="give seconds, and one crop a track or more",
        )
    boxes = boxes.in_pixels(video.height, video.width)
    corners = clipped(boxes.corners, video.height, video.width)
    large = (corners[:, 2:] - corners[:, :2] >= LEAST).all(axis=1)
    shares = visible_shares(boxes, video.height, video.width) * large
    chosen = with_meetings(boxes, shares, choose(boxes, shares, per_track))
    if not len(chosen):
        raise SemreidError(f"{video.path}: no track has a box that {SEEN}", fix="give the boxes of this video")
    table, folder = out / TABLE, out / f"cam{camera}"
    _require_new(table, folder, camera)
    with folder_beside(folder) as made:
        rows = [
            [f"{folder.name}/{name}", str(camera), f"{start + seconds:.3f}", str(track)]
            for name, seconds, track in _write(video, boxes, corners, chosen, made, progress)
        ]
        with exclusive(table):
            before = _require_new(table, folder, camera)
            os.rename(made, folder)  # noqa: PTH104 - nothing may be replaced
            try:
                write_csv(table, [COLUMNS, *before, *rows])
            except BaseException:
                folder.rename(made)  # to be deleted: crops that no table lists would stand in the way of the next try
                raise
    tracks = len(np.unique(boxes.tracks[chosen]))
    return Cut(table, len(chosen), tracks, len(np.unique(boxes.tracks)) - tracks)


def _write(
    video: Video,
    boxes: Boxes,
    corners: NDArray[np.int64],
    chosen: NDArray[np.int64],
    folder: Path,
    progress: Progress | None,
) -> Iterator[tuple[str, float, int]]:
    """Write the chosen crops; yield the name below the folder, the seconds and the track of each."""
    frames, starts = np.unique(boxes.frames[chosen], return_index=True)
    rows_of, done = dict(zip(frames.tolist(), np.split(chosen, starts[1:]), strict=True)), 0
    for frame in video.frames(sorted({*rows_of, int(boxes.frames.max())})):  # the last one: a video may end too early
        for row in rows_of.get(frame.number, ()):
            left, top, right, bottom = corners[row]
            track = int(boxes.tracks[row])
            place = folder / f"track{track}" / f"{frame.number:06d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(_jpeg(frame.image[top:bottom, left:right]))
            done += 1
            if progress:
                progress(done, len(chosen))
            yield place.relative_to(folder).as_posix(), frame.seconds, track


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    bgr = np.ascontiguousarray(image[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _require_new(table: Path, folder: Path, camera: int) -> list[Cells]:
    """The rows of other cameras.

    Raises:
        SemreidError: If this camera has rows or crops, or the table is not ours.
    """
    before = _read_table(table) if table.exists() else []
    if folder.exists() or folder.is_symlink() or any(row[1] == str(camera) for row in before):
        raise SemreidError(
            f"{table.parent} has crops of camera {camera} already",
            fix="give this one another number (--camera), or choose another folder (--out)",
        )
    return before


def _read_table(table: Path) -> list[Cells]:
    with reading(table, fix="choose another folder (--out)"), table.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file, strict=True)) or [[]]
    if header != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise SemreidError(
            f"{table} is no table of this command: its columns are not {','.join(COLUMNS)}",
            fix="choose another folder (--out)",
        )
    return rows
