"""A tracker's file in which tracks bear the numbers of people, the same in all cameras."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semreid.errors import SemreidError
from semreid.files import folder_beside, require_apart, write_text
from semreid.reading import reading
from semreid.tracking.boxes import label_files, lines_of

NOBODY = "-1"
"""What MOTChallenge writes where no track is known."""
GROUP = "give the people.csv that `semreid group` made of the crops of `semreid tracks`"
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
    """

    people: int
    tracks: int
    alone: int
    unknown: int


def link_tracks(boxes: Path, people: Path, out: Path, *, camera: int) -> Linked:
    """Write a tracker's file once more, with the number of the person in place of that of the track.

    Tracks that are in no group get numbers behind those of all people, each its own among all cameras.

    Args:
        boxes: What the tracker of a camera wrote, as `semreid.tracking.read_boxes` takes it.
        people: ``people.csv`` of ``semreid group``, of the crops of all cameras.
        out: The file to be written; where ``boxes`` is a folder, a folder, which must not be there.
        camera: The camera, as in ``semreid tracks``.

    Raises:
        SemreidError: If a file is not as described, no track of the camera is in it, or ``out`` cannot be written.
    """
    require_apart([out], [boxes, people])
    count, numbers = _numbers(people, camera)
    lost: list[str] = []
    if boxes.is_dir():
        _write_labels(boxes, out, numbers, lost)
    else:
        write_text(out, _renumbered(boxes, numbers, lost, labels=False))
    known = [number for number in numbers.values() if int(number) <= count]
    return Linked(len(set(known)), len(known), len(numbers) - len(known), len(lost))


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
    with reading(people, fix=GROUP), people.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, strict=True):
            if row["track"]:
                counts = found.setdefault((row["camera"], row["track"]), Counter())
                counts.update([int(row["person"])] if row["person"] else [])
    return found


def _renumbered(path: Path, numbers: Numbers, lost: list[str], *, labels: bool) -> str:
    """The text of a tracker's file with other numbers; tracks without one are noted in ``lost``."""
    lines = []
    for _, cells, column in lines_of(path, labels=labels):
        if column is not None:
            track = str(int(float(cells[column])))
            if track not in numbers:
                lost.append(track)
            cells[column] = numbers.get(track, NOBODY)
        lines.append((" " if labels else ",").join(cells) + "\n")
    return "".join(lines)


def _write_labels(boxes: Path, out: Path, numbers: Numbers, lost: list[str]) -> None:
    if out.exists() or out.is_symlink():
        raise SemreidError(f"{out} is there already", fix="choose another folder for --out")
    with folder_beside(out) as made:
        made.mkdir()
        for _, path in label_files(boxes):
            (made / path.name).write_text(_renumbered(path, numbers, lost, labels=True), encoding="utf-8")
        os.rename(made, out)  # noqa: PTH104 - nothing may be replaced
