"""Anybody's own data: ``folder:PATH``; PATH is a CSV file, identity folders, or a folder already split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from semreid.data.listing import hashed_order
from semreid.data.rows import SPLITS, Row, read_rows
from semreid.data.sample import Protocol, ReIDDataset, Sample
from semreid.data.split import first_asks
from semreid.errors import SemreidError

INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


class _Parts(NamedTuple):
    train: list[Row]
    query: list[Row]
    gallery: list[Row]


def load(root: Path) -> ReIDDataset:
    """Load a user's own data.

    PATH is one of:

    * a CSV file with the columns ``path,pid`` and, if wanted, ``camid``, ``timestamp`` (seconds, or ISO 8601) and
      ``split`` (``train``, ``query`` or ``gallery``; ``test`` is divided into the last two as below). Paths are
      absolute, or relative to the folder of the CSV.
    * a folder with one sub-folder per identity, or one per camera (``cam1``) with one per identity in each;
    * a folder of images named ``PID_cCAMERA...``;
    * a folder with ``train``, ``query``, ``gallery`` (or ``bounding_box_train``, ``query``,
      ``bounding_box_test``), each with images named ``PID_cCAMERA...`` or with one sub-folder per identity.
      The one for training may be missing.

    Cameras: in sub-folders the camera is the ``cN`` or ``camN`` between ``_`` in a file name (``_c3_``, ``_c3s1_``), or
    else the number of the folder that is named after one (``0001/cam3/…``). Unless *every* image has one, no camera is
    known; then queries get camera 0 and gallery images camera 1, so that every match counts, and a warning says so. The
    number of an image is never taken for a camera.

    Split: where none is given, identities are ordered by the SHA-256 of their names; the first half train,
    the rest test. The first test image of each identity and camera is a query, the others are the gallery. An
    only image of its identity and camera is both, so that queries from other cameras can find it (without
    cameras: gallery only, as it would find itself).

    Identities: whole numbers stay what they are (in a CSV also as ``7.0``, which pandas writes); otherwise identities
    are numbered from 1 in sorted order. Negative numbers are junk and left out. 0 is a distractor if only the gallery
    has it; else it is a person, and all are numbered from 1.

    Raises:
        SemreidError: If the CSV or the folder is not as described, or cannot be split.
    """
    rows = read_rows(root)
    numbers = _number(rows)
    people = [row for row in rows if numbers[row.identity] >= 0]
    if not people:
        raise SemreidError(f"{root} holds nothing but junk (negative identities)")
    lacking = [row.path for row in people if row.camid is None]
    if lacking:  # half-known cameras are worse than none
        people = [replace(row, camid=None) for row in people]
    parts = _given_split(root, people) if people[0].split else _make_split(root, people)
    return ReIDDataset(
        "folder",
        root.parent if root.is_file() else root,
        train=_samples(parts.train, numbers),
        query=_samples(parts.query, numbers),
        gallery=_samples(parts.gallery, numbers, default_camid=1),
        protocol=Protocol(note=_note(people[0]), cameras_known=people[0].camid is not None),
        junk_removed=len(rows) - len(people),
        warnings=(*_camera_warning(root, lacking, len(people), parts), *_warnings(root, parts, numbers)),
    )


def _samples(rows: Iterable[Row], numbers: dict[str, int], default_camid: int = 0) -> tuple[Sample, ...]:
    return tuple(
        Sample(
            path=row.path,
            pid=numbers[row.identity],
            camid=default_camid if row.camid is None else row.camid,
            timestamp=row.timestamp,
            identity=row.identity,
        )
        for row in rows
    )


def _number(rows: Sequence[Row]) -> dict[str, int]:
    """Give each identity its number; two people never share one."""
    names = sorted({row.identity for row in rows})
    numbers = {name: int(name) for name in names if INTEGER.fullmatch(name)}
    junk = {name: number for name, number in numbers.items() if number < 0}
    people = [name for name in names if name not in junk]
    zero_is_person = any(numbers.get(row.identity) == 0 and row.split != "gallery" for row in rows)
    if zero_is_person or len(numbers) < len(names):
        return junk | {name: number for number, name in enumerate(people, start=1)}
    spelled: dict[int, str] = {}
    for name in people:
        if (twin := spelled.setdefault(numbers[name], name)) != name:
            raise SemreidError(
                f"identities {twin!r} and {name!r} read as the same number",
                fix="spell them alike if they are one person, else rename one",
            )
    return numbers


def _given_split(root: Path, rows: Iterable[Row]) -> _Parts:
    parts: dict[str, list[Row]] = {name: [] for name in (*SPLITS, "test")}
    for row in rows:
        parts[row.split].append(row)
    query, gallery = _queries(parts["test"])
    found = _Parts(parts["train"], parts["query"] + query, parts["gallery"] + gallery)
    only_training = found.train and not found.query and not found.gallery
    for name in () if only_training else ("query", "gallery"):
        if not getattr(found, name):
            raise SemreidError(f"{root}: the split has no {name} image", fix="add some, or give no split at all")
    return found


def _make_split(root: Path, rows: Sequence[Row]) -> _Parts:
    names = hashed_order({row.identity for row in rows}, salt="split")
    if len(names) < 2:
        raise SemreidError(
            f"{root} holds one identity only: there is nobody to tell {names[0]!r} from",
            fix="add identities; half of them train and half of them test",
        )
    train_names = set(names[: len(names) // 2])
    train = [row for row in rows if row.identity in train_names]
    query, gallery = _queries(row for row in rows if row.identity not in train_names)
    if not query:
        raise SemreidError(
            f"{root}: no test identity has two images, so no query can have a match",
            fix="add images of the same people",
        )
    return _Parts(train, query, gallery)


def _queries(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    return first_asks((row.identity, row.camid, row) for row in rows)


def _note(row: Row) -> str:
    split = "split as given" if row.split else "identities halved by the SHA-256 of their names"
    return split if row.camid is not None else f"{split}; no cameras known: query 0, gallery 1"


def _camera_warning(root: Path, lacking: Sequence[Path], images: int, parts: _Parts) -> Iterator[str]:
    judged = (
        ": queries get camera 0, the gallery camera 1, and matches within one camera count, which flatters the scores"
    )
    if lacking:
        yield (
            f"{root}: {len(lacking):,} of {images:,} images do not tell their camera (_cN_), such as {lacking[0]}, so "
            f"none is used{judged if parts.query or parts.gallery else ''}"
        )


def _warnings(root: Path, parts: _Parts, numbers: dict[str, int]) -> Iterator[str]:
    if any(INTEGER.fullmatch(name) and int(name) != number for name, number in numbers.items()):
        yield f"{root}: identities are numbered anew from 1 (some are no whole number, or 0 is a person)"
    train, test = ({row.identity for row in part} for part in (parts.train, parts.query + parts.gallery))
    if shared := train & test:
        yield f"{root}: {len(shared)} identities, such as {min(shared)!r}, are in both training and test"
    if len(train) == 1 or len(test) == 1:
        yield f"{root}: {len(train)} identities to train and {len(test)} to test are too few to mean anything"
