"""A user's own images as the user described them, from a CSV file or folders, not yet interpreted."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semreid.data.images import IMAGE_SUFFIXES
from semreid.data.listing import MARKET_FOLDERS, list_images, parse_market, require_folder
from semreid.data.names import camera_of
from semreid.errors import SemreidError

PARTS = ("train", "query", "gallery")
COLUMNS = ("path", "pid", "camid")
#: Masks and textures may lie in these folders beside the images; they are no identities.
ANNOTATIONS = ("masks", "textures")


@dataclass(frozen=True, slots=True)
class Row:
    """One image.

    Attributes:
        path: The image file.
        identity: Name of the person, as the user spelled it.
        camid: Camera, None where none is known.
        part: ``train``, ``query`` or ``gallery``; empty where the user gave no split.
        timestamp: Seconds, where known.
    """

    path: Path
    identity: str
    camid: int | None
    part: str = ""
    timestamp: float | None = None


def read_rows(path: Path) -> list[Row]:
    """Read a CSV file, identity folders, or a folder that is already split.

    Args:
        path: The CSV file or the folder.

    Returns:
        At least one row. Either all rows have a part or none; either all have a camera or none.

    Raises:
        SemreidError: If something is missing, empty or not as described in `semreid.data.folder.load`.
    """
    if path.is_file():
        return read_csv(path)
    for names in (MARKET_FOLDERS, PARTS):
        if any((path / name).is_dir() for name in (names[0], names[2])):  # "query" is in both
            return _read_parts(path, names)
    return _tell_cameras(_read_identities(path))


def read_csv(path: Path) -> list[Row]:
    """Read a CSV file with the columns ``path,pid,camid[,timestamp][,split]``.

    Args:
        path: The file, in UTF-8, with a header.

    Returns:
        One row per image.

    Raises:
        SemreidError: If the file cannot be read, a column or image is missing, or a cell is wrong; the
            message has the row, counted as in a spreadsheet (the header is row 1).
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _require_columns(path, reader.fieldnames or [])
            rows = [(reader.line_num, _csv_row(path, reader.line_num, cells)) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SemreidError(f"{path} is not a readable CSV file: {error}", fix="save it as CSV, UTF-8") from error
    if not rows:
        raise SemreidError(f"{path} has no row below its header")
    first: dict[tuple[Path, str], int] = {}
    for line, row in rows:
        if (earlier := first.setdefault((row.path, row.part), line)) != line:
            raise SemreidError(f"{path}: rows {earlier} and {line} are the same image {row.path}", fix="remove one")
    return [row for _, row in rows]


def _require_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise SemreidError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(columns) or 'nothing'}",
            fix="the first row must name path,pid,camid and may name timestamp,split; where no camera is "
            "known, use one folder per identity instead",
        )


def _csv_row(path: Path, line: int, cells: dict[str, str | None]) -> Row:
    try:
        text = _stripped(cells)
        return Row(
            path=_image(path.parent, text["path"]),
            identity=_identity(text["pid"]),
            camid=_camera(text["camid"]),
            part=_part(text["split"]) if "split" in text else "",
            timestamp=_seconds(text.get("timestamp", "")),
        )
    except SemreidError as error:
        raise SemreidError(f"{path}, row {line}: {error.what}", fix=error.fix) from error


def _stripped(cells: dict[str, str | None]) -> dict[str, str]:
    if None in cells or None in cells.values():  # what csv gives for more and for fewer cells
        raise SemreidError("it has more or fewer cells than the header")
    return {column: (value or "").strip() for column, value in cells.items()}


def _image(folder: Path, text: str) -> Path:
    relative = Path(os.path.normpath(text))
    if relative.parts[:1] == ("..",):
        raise SemreidError(f"path {text!r} leaves the folder of the CSV", fix="write the absolute path")
    image = folder / relative
    if image.suffix.lower() not in IMAGE_SUFFIXES or not image.is_file():
        raise SemreidError(f"path {text!r}: there is no image {image}")
    return image


def _identity(text: str) -> str:
    if not text:
        raise SemreidError("pid is empty", fix="name the person, or remove the row")
    return text


def _camera(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise SemreidError(
            f"camid {text!r} is not a whole number",
            fix="number the cameras from 0 or 1; where none is known, use one folder per identity instead",
        )
    return int(text)


def _part(text: str) -> str:
    if text not in PARTS:
        raise SemreidError(f"split {text!r} is not one of {', '.join(PARTS)}")
    return text


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text) if text else None
    except ValueError:
        seconds = math.nan
    if seconds is not None and not math.isfinite(seconds):
        raise SemreidError(f"timestamp {text!r} is not a number of seconds")
    return seconds


def _read_parts(root: Path, names: Sequence[str]) -> list[Row]:
    folders = {part: root / name for part, name in zip(PARTS, names, strict=True)}
    if not folders["train"].is_dir():
        del folders["train"]  # a set for testing only
    nested = {any(p.is_dir() for p in require_folder(folder).iterdir()) for folder in folders.values()}
    if len(nested) > 1:
        raise SemreidError(f"{root}: some of {', '.join(names)} have identity folders, some do not")
    if nested == {True}:
        return _tell_cameras([row for part, folder in folders.items() for row in _read_identities(folder, part)])
    return [
        Row(sample.path, str(sample.pid), sample.camid, part)
        for part, folder in folders.items()
        for sample in parse_market(folder, "PID_cCAMERA...")
    ]


def _read_identities(folder: Path, part: str = "") -> list[Row]:
    _require_no_loose_images(folder)
    identities = sorted(_identity_folders(folder))
    if not identities:
        raise SemreidError(
            f"{folder} has no sub-folder, so no identity",
            fix="make one sub-folder of images per identity, or describe the images in a CSV: path,pid,camid",
        )
    return [Row(image, i.name, None, part) for i in identities for image in list_images(i, nested=True)]


def _identity_folders(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and path.name not in ANNOTATIONS and not path.name.startswith("."):
            yield path


def _require_no_loose_images(folder: Path) -> None:
    loose = [path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES]
    if loose:
        raise SemreidError(
            f"{min(loose)} lies in no identity's folder ({len(loose)} such images)",
            fix="move images into one sub-folder per identity, or describe them in a CSV: path,pid,camid",
        )


def _tell_cameras(rows: list[Row]) -> list[Row]:
    """Take cameras from the file names if every one tells its own: half-known cameras are worse than none."""
    found = [camera_of(row.path) for row in rows]
    return rows if None in found else [replace(row, camid=camid) for row, camid in zip(rows, found, strict=True)]
