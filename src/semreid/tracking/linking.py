"""A tracker's file in which tracks bear the numbers of people, the same in all cameras."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from semreid.errors import SemreidError
from semreid.files import folder_beside, require_apart, write_text
from semreid.reading import open_text, reading, table_rows
from semreid.tracking.boxes import MOST, label_files, lines_of, track_column

NOBODY = "-1"
"""What MOTChallenge writes where no track is known."""
GROUP = "give the people.csv that `semreid group` made of the crops of `semreid tracks`"
CAMERA = "give what the tracker wrote of this camera, or the number of its camera in `semreid tracks` (--camera)"
Numbers = Mapping[str, str]
"""What each track of a camera is called from now on."""


@dataclass(frozen=True)
class Linked:
    """What became of the tracks of a camera.

    Attributes:
        people: How many people were seen.
        tracks: How many tracks are of them.
        alone: How many tracks are of nobody who was found, and have a number of their own.
        unknown: How many lines are of tracks without crops; they have the number -1.
        twice: In how many frames somebody is in two places: there, tracks of two people were taken for one.
    """

    people: int
    tracks: int
    alone: int
    unknown: int
    twice: int


def link_tracks(boxes: Path, people: Path, out: Path, *, camera: int) -> Linked:
    """Write a tracker's file once more, with the number of the person in place of that of the track.

    Tracks that are in no group get numbers behind those of all people, each its own among all cameras.

    Args:
        boxes: What the tracker of a camera wrote, as `semreid.tracking.read_boxes` takes it.
        people: ``people.csv`` of ``semreid group``, of the crops of all cameras.
        out: The file to be written; where ``boxes`` is a folder, a folder, which must not be there.
        camera: The camera, as in ``semreid tracks``.

    Raises:
        SemreidError: If a file is not as described, ``boxes`` has no track of the camera, or ``out`` cannot be written.
    """
    require_apart([out], [boxes, people])
    count, numbers = _numbers(people, camera)
    found = _Found()
    with _written(boxes, out) as write:
        for name, text in _renumbered(boxes, numbers, found):
            write(name, text)
        if not found.tracks:
            raise SemreidError(f"{boxes} has no track of camera {camera} that {people} knows", fix=CAMERA)
    known = [numbers[track] for track in found.tracks if int(numbers[track]) <= count]
    return Linked(len(set(known)), len(known), len(found.tracks) - len(known), found.lost, found.twice())


@dataclass
class _Found:
    """What was found on the way: tracks with a number, how many lines have a track without one, and who is where."""

    tracks: set[str] = field(default_factory=set)
    lost: int = 0
    places: array[int] = field(default_factory=lambda: array("q"))  # a frame and a number for each line

    def twice(self) -> int:
        """In how many frames a number is twice."""
        places, counts = np.unique(np.array(self.places).reshape(-1, 2), axis=0, return_counts=True)
        return len(np.unique(places[counts > 1, 0]))


def _numbers(people: Path, camera: int) -> tuple[int, Numbers]:
    """How many people there are, and the number of each track of a camera: of its person, or one behind all people."""
    persons = _persons(people)
    count = max((person for counts in persons.values() for person in counts), default=0)
    alone = sorted(track for track, counts in persons.items() if not counts)
    numbers = {track: str(count + 1 + i) for i, track in enumerate(alone)}
    numbers |= {track: str(min(counts, key=lambda p: (-counts[p], p))) for track, counts in persons.items() if counts}
    here = {track: number for (of, track), number in numbers.items() if of == str(camera)}
    if not here:
        cameras = ", ".join(sorted({of for of, _ in numbers})) or "none"
        raise SemreidError(f"{people} has no track of camera {camera}; it has tracks of: {cameras}", fix=GROUP)
    return count, here


def _persons(people: Path) -> dict[tuple[str, str], Counter[int]]:
    """How many crops of each person each track has, by camera and track."""
    found: dict[tuple[str, str], Counter[int]] = {}
    with reading(people, fix=GROUP), open_text(people) as file:
        for row in table_rows(file):
            if row["track"]:
                counts = found.setdefault((row["camera"], row["track"]), Counter())
                counts.update([_person(row["person"])] if row["person"] else [])
    return found


def _person(text: str) -> int:
    if not 1 <= (person := int(text)) < MOST:
        raise ValueError(f"a person of {text[:40]}, where whole numbers from 1 should be")
    return person


def _renumbered(boxes: Path, numbers: Numbers, found: _Found) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file of a tracker, with other numbers."""
    column = track_column(boxes)
    if boxes.is_dir():
        for frame, path in label_files(boxes):
            lines = (_line(cells, track, frame, numbers, found) for _, cells, track in lines_of(path, column))
            yield path.name, "".join(" ".join(cells) + "\n" for cells in lines)
    else:
        read = lines_of(boxes, column)
        lines = (_line(cells, track, int(float(cells[0])), numbers, found) for _, cells, track in read)
        yield boxes.name, "".join(",".join(cells) + "\n" for cells in lines)


def _line(cells: list[str], column: int | None, frame: int, numbers: Numbers, found: _Found) -> list[str]:
    if column is not None:
        track = str(int(float(cells[column])))
        if track in numbers:
            found.tracks.add(track)
            found.places.extend((frame, int(numbers[track])))
        else:
            found.lost += 1
        cells[column] = numbers.get(track, NOBODY)
    return cells


@contextmanager
def _written(boxes: Path, out: Path) -> Iterator[Callable[[str, str], object]]:
    """Give what writes texts by name: one file, or those of a folder, as ``boxes`` is one; all of it or nothing."""
    if not boxes.is_dir():
        texts: list[str] = []
        yield lambda _, text: texts.append(text)
        write_text(out, "".join(texts))
        return
    if out.exists() or out.is_symlink():
        raise SemreidError(f"{out} is there already", fix="choose another folder for --out")
    with folder_beside(out) as made:
        made.mkdir()
        yield lambda name, text: (made / name).write_text(text, encoding="utf-8")
        os.rename(made, out)  # noqa: PTH104 - nothing may be replaced
