"""A user's own images as the user described them, from a CSV file or folders, not yet interpreted."""

from __future__ import annotations

import csv
import difflib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import TextIO

from semreid.data.images import IMAGE_SUFFIXES, is_image
from semreid.data.listing import (
    ANNOTATIONS,
    LINK_AGAIN,
    MARKET_FOLDERS,
    leads_nowhere,
    list_images,
    loose_images,
    parse_market,
    require_folder,
)
from semreid.data.names import MARKET_NAME, camera_below, camera_of, is_camera
from semreid.data.sample import require_camera
from semreid.data.times import may_be_period, seconds
from semreid.errors import SemreidError, located
from semreid.reading import brief, open_text, table_rows

SPLITS = ("train", "query", "gallery")
COLUMNS = ("path", "pid")
_OPTIONAL = "camid,timestamp,track,split"
MEANT = {
    **dict.fromkeys(("image", "file", "filename", "filepath", "img", "imagepath"), "path"),
    **dict.fromkeys(("person", "personid", "identity"), "pid"),
    **dict.fromkeys(("camera", "cam", "cameraid"), "camid"),
    **dict.fromkeys(("time", "date", "datetime"), "timestamp"),
}
"""What others call columns of any table of crops."""
_MEANT = {**MEANT, "id": "pid", **dict.fromkeys(("set", "subset", "partition"), "split")}
#: What programs write into a table where nothing is known.
NOTHING = ("", "nan", "null", "none", "<na>")


@dataclass(frozen=True, slots=True)
class Row:
    """One image.

    Attributes:
        path: The image file.
        identity: Name of the person, as the user spelled it.
        camid: Camera, None where neither the user nor the name of the file tells it.
        split: ``train``, ``query``, ``gallery``, or ``test`` for what is still to be divided into the last two; empty
            where the user gave no split.
        timestamp: Seconds, where known.
        track: Name of the track that its camera saw it in, where a tracker told; empty elsewhere.
        line: Row of the CSV file, counted as in a spreadsheet; 0 of what is in none.
    """

    path: Path
    identity: str
    camid: int | None
    split: str = ""
    timestamp: float | None = None
    track: str = ""
    line: int = field(default=0, compare=False)


def read_rows(path: Path) -> list[Row]:
    """Read a CSV file, identity folders, or a folder that is already split.

    Returns:
        At least one row. Either all rows have a split or none.

    Raises:
        SemreidError: If something is missing, empty or not as described in `semreid.data.folder.load`.
    """
    if path.is_file():
        return read_csv(path)
    for names in (MARKET_FOLDERS, SPLITS):
        if any((path / name).is_dir() for name in (names[0], names[2])):  # "query" is in both
            return _read_parts(path, names)
    return _read_identities(path)


def read_csv(path: Path, *, unlabelled: bool = False) -> list[Row]:
    """Read a CSV file with the columns ``path,pid[,camid][,timestamp][,track][,split]``, in any order and case.

    Cells are separated by commas, semicolons or tabs, whichever the header has most of; blanks around them do not
    count, nor do rows without any content. Paths may be written with backslashes.

    Args:
        path: The file, in UTF-8 or UTF-16, with a header.
        unlabelled: Nobody need be known: the column ``pid`` or some of its cells may be empty or missing.

    Returns:
        One row per image.

    Raises:
        SemreidError: If the file cannot be read, a column or image is missing, or a cell is wrong; the
            message has the row, counted as in a spreadsheet (the header is row 1).
    """
    try:
        with open_text(path) as file:
            reader = _reader(path, file, COLUMNS[:1] if unlabelled else COLUMNS)
            full = ((line, cells) for line, cells in _numbered(reader) if not _is_blank(cells))
            rows = [(_csv_row(path, line, cells, unlabelled), _time(cells)) for line, cells in full]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SemreidError(f"{path} is not a readable CSV file: {error}", fix="save it as CSV, UTF-8") from error
    if not rows:
        raise SemreidError(f"{path} has no row below its header", fix="describe one image in each row")
    first: dict[tuple[Path, str], int] = {}
    for row, _ in rows:
        if (earlier := first.setdefault((row.path, row.split), row.line)) != row.line:
            raise SemreidError(f"{path}: rows {earlier} and {row.line} are the same image {row.path}", fix="remove one")
    _require_no_periods(path, [text for _, text in rows if text])
    return [row for row, _ in rows]


def unread_columns(path: Path) -> list[str]:
    """Name the columns of a CSV file that hold what a gallery keeps, but not what a CSV file can tell it.

    Raises:
        SemreidError: If a column is called otherwise than it is here.
    """
    with open_text(path) as file:
        columns = _reader(path, file, ()).fieldnames or []
    return [column for column in columns if column in ("tag", "tags", "box", "bbox")]


def _numbered(reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Rows with their numbers: a spreadsheet shows a cell of several lines in one row."""
    inside = 0
    for cells in reader:
        inside += sum(text.count("\n") for text in _texts(cells))
        yield reader.line_num - inside, cells


def _require_no_periods(path: Path, times: Sequence[str]) -> None:
    """Refuse a column of years or months; among other times, digits like these are seconds."""
    if times and all(map(may_be_period, times)):
        raise SemreidError(
            f"{path}: the times, such as {times[0]}, may be years or months as well as seconds",
            fix=f"write dates in full, such as 2024-05-01, or seconds with a fraction: {times[0]}.0",
        )


def _time(cells: dict[str, str | None]) -> str:
    return _unless_nothing((cells.get("timestamp") or "").strip())


def _reader(path: Path, file: TextIO, needed: Sequence[str]) -> csv.DictReader[str]:
    reader = table_rows(file)
    _require_columns(path, reader.fieldnames or [], needed)
    return reader


def _require_columns(path: Path, columns: Sequence[str], needed: Sequence[str]) -> None:
    if any(is_image(Path(column)) for column in columns):
        raise SemreidError(
            f"{path} has no header: its first row is {brief(','.join(columns))}",
            fix=f"write a row above it that names the columns: {','.join(needed or COLUMNS)}, and any of {_OPTIONAL}",
        )
    missing = [column for column in needed if column not in columns]
    for column in columns:
        name = meant_column(column, (*COLUMNS, *_OPTIONAL.split(",")), _MEANT)
        if name and name not in columns and (name in needed or name != "pid"):  # rows may have ids of their own
            raise SemreidError(f"{path} has a column {column!r} and no {name}", fix=f"call it {name}, or remove it")
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if missing or twice:
        what = f"no column {', '.join(missing)}" if missing else f"more than one column {twice[0]!r}"
        raise SemreidError(
            f"{path} has {what}; it has {', '.join(columns) or 'nothing'}",
            fix=f"the first row must name {','.join(needed)} and may name {_OPTIONAL}, each once"
            + "; gallery add wants no pid with --unlabelled" * (missing == ["pid"]),
        )


def meant_column(column: str, known: Sequence[str], meant: Mapping[str, str]) -> str:
    """Tell which known column an unknown one probably is.

    Args:
        column: Its name.
        known: Names of the known ones.
        meant: Other names for these, in small letters alone.

    Returns:
        The name of the known one; nothing if it is one of them, or like none.

    Example:
        >>> meant_column("Cam_ID", ("path", "camid"), MEANT), meant_column("camid", ("path", "camid"), MEANT)
        ('camid', '')
    """
    bare = re.sub(r"[^a-z]", "", column.lower())
    close = difflib.get_close_matches(bare, known, n=1, cutoff=0.85)
    return "" if column in known else meant.get(bare) or next(iter(close), "")


def _csv_row(path: Path, line: int, cells: dict[str, str | None], unlabelled: bool) -> Row:
    with located(f"{path}, row {line}"):
        text = _stripped(cells)
        image, stated = _image(path.parent, text["path"]), _camera(text.get("camid", ""))
        return Row(
            path=image,
            identity=_whole(_unless_nothing(text.get("pid", ""))) if unlabelled else _identity(text["pid"]),
            camid=camera_of(image) if stated is None else stated,
            split=_split(text["split"]) if "split" in text else "",
            timestamp=seconds(_time(cells), alone=False),
            track=_whole(_unless_nothing(text.get("track", ""))),
            line=line,
        )


def _is_blank(cells: dict[str, str | None]) -> bool:
    """Whether a row holds nothing, as spreadsheets leave such behind the last one."""
    return not any(text.strip() for text in _texts(cells))


def _texts(cells: dict[str, str | None]) -> Iterator[str]:
    """What is in the cells of a row; below None, csv gives the list of those that are too many."""
    return chain.from_iterable([cell] if isinstance(cell, str) else cell or () for cell in cells.values())


def _stripped(cells: dict[str, str | None]) -> dict[str, str]:
    if None in cells or None in cells.values():  # what csv gives for more and for fewer cells
        raise SemreidError(
            "it has more or fewer cells than the header", fix="put texts that hold the separator into double quotes"
        )
    return {column: (value or "").strip() for column, value in cells.items()}


def _image(folder: Path, text: str) -> Path:
    if not text:
        raise SemreidError("path is empty", fix="name the image, or remove the row")
    found = [_below(folder, text), _below(folder, PureWindowsPath(text).as_posix())]
    image = next((path for path in found if os.path.isfile(path)), found[0])  # noqa: PTH113 - names too long are no error
    if not is_image(image):
        raise SemreidError(
            f"path {text!r}: there is no image {image}; it is no image file that is read here",
            fix="name files ending in " + " ".join(sorted(IMAGE_SUFFIXES)),
        )
    if not os.path.isfile(image):  # noqa: PTH113
        if target := leads_nowhere(image):
            raise SemreidError(f"path {text!r}: {image} is a link to {target}, where nothing is", fix=LINK_AGAIN)
        raise SemreidError(f"path {text!r}: there is no image {image}", fix="paths count from the folder of the CSV")
    return image


def _below(folder: Path, text: str) -> Path:
    relative = Path(os.path.normpath(text))
    if relative.parts[:1] == ("..",):
        raise SemreidError(f"path {text!r} leaves the folder of the CSV", fix="write the absolute path")
    return folder / relative


def _identity(text: str) -> str:
    if not _unless_nothing(text):
        raise SemreidError(f"pid is {repr(text) if text else 'empty'}", fix="name the person, or remove the row")
    return _whole(text)


def _whole(text: str) -> str:
    """The name of a person or a track; of whole numbers that a program wrote as fractions, the number."""
    return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0*", text, re.ASCII) else text


def _unless_nothing(text: str) -> str:
    return "" if text.lower() in NOTHING else text


def _camera(text: str) -> int | None:
    if not _unless_nothing(text):
        return None
    if not re.fullmatch(r"\d{1,18}(\.0*)?", text, re.ASCII):
        what = "is negative" if re.fullmatch(r"-\d{1,18}(\.0*)?", text, re.ASCII) else "is not a whole number"
        raise SemreidError(
            f"camid {text[:40]!r} {what}",
            fix="number the cameras from 0 or 1, or leave the cells empty where none is known",
        )
    return require_camera(int(text.partition(".")[0]), "column camid")


def _split(text: str) -> str:
    if text.lower() not in (*SPLITS, "test"):
        raise SemreidError(
            f"split {text!r} is not one of {', '.join(SPLITS)}",
            fix="or write test, and it is divided into the last two",
        )
    return text.lower()


def _read_parts(root: Path, names: Sequence[str]) -> list[Row]:
    folders = {split: root / name for split, name in zip(SPLITS, names, strict=True)}
    if not folders["train"].is_dir():
        del folders["train"]  # a set for testing only
    nested = {any(_folders(require_folder(folder))) for folder in folders.values()}
    if len(nested) > 1:
        raise SemreidError(
            f"{root}: some of {', '.join(names)} have identity folders, some do not",
            fix="sort all of them by identity, or none, or describe the images in a CSV: path,pid,camid,split",
        )
    read = _read_identities if nested == {True} else _read_flat
    return [row for split, folder in folders.items() for row in read(folder, split)]


def _read_flat(folder: Path, split: str = "") -> list[Row]:
    samples = parse_market(folder, "PID_cCAMERA...")
    return [Row(sample.path, str(sample.pid), sample.camid, split) for sample in samples]


def _read_identities(folder: Path, split: str = "") -> list[Row]:
    folders = sorted(_folders(require_folder(folder)))
    if not folders and any(MARKET_NAME.match(image.name) for image in loose_images(folder)):
        return _read_flat(folder, split)
    _require_no_loose_images(folder)
    if not folders:
        raise SemreidError(
            f"{folder} has no sub-folder, so no identity",
            fix="make one sub-folder of images per identity, or describe the images in a CSV: path,pid,camid",
        )
    identities = sorted(_below_cameras(folders)) if _are_cameras(folders) else folders
    return [
        Row(image, identity.name, camera_below(image, folder), split)
        for identity in identities
        for image in list_images(identity, nested=True, root=folder)
    ]


def _folders(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and path.name not in ANNOTATIONS and not path.name.startswith("."):
            yield path


def _are_cameras(folders: Sequence[Path]) -> bool:
    """Whether folders are named after cameras, and those in them after people."""
    if not all(map(is_camera, folders)):
        return False
    below = [list(_folders(folder)) for folder in folders]
    if not any(below) and any(len(folder.name.rstrip("0123456789")) > 1 for folder in folders):  # "c1" may be a person
        raise SemreidError(
            f"{folders[0]} is named after a camera, and no folder after a person",
            fix="put people's folders into those of cameras, or describe the images in a CSV: path,pid,camid",
        )
    return all(below) and not all(is_camera(person) for people in below for person in people)


def _below_cameras(cameras: Iterable[Path]) -> Iterator[Path]:
    for camera in cameras:
        _require_no_loose_images(camera)
        yield from _folders(camera)


def _require_no_loose_images(folder: Path) -> None:
    if loose := loose_images(folder):
        raise SemreidError(
            f"{min(loose)} lies in no identity's folder ({len(loose):,} in all)",
            fix="move images into one sub-folder per identity, or describe them in a CSV: path,pid,camid; where "
            "sub-folders are no people, `semreid gallery add --unlabelled` takes all images",
        )
