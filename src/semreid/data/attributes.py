"""Attributes of people, such as gender or the colour of the trousers: of one's own, or those of Market-1501."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semreid.data.mat5 import read_mat5
from semreid.data.sample import Sample
from semreid.errors import SemreidError
from semreid.reading import open_text, reading, separator

FILE, MARKET = "attributes.csv", "market_attribute.mat"
FORMAT = "write a CSV file with a column pid and, for each attribute, a column of 0 and 1; one row for each person"
GET_AGAIN = f"get {MARKET} of Lin et al. (2019) again; or {FORMAT}"
AGES = ("young", "teenager", "adult", "old")
MARKET_GROUPS = {
    "general": (*AGES, "gender"),
    "head": ("hair", "hat"),
    "upper": (
        *("up", "backpack"),
        *("upblack", "upwhite", "upred", "uppurple", "upyellow", "upgray", "upblue", "upgreen"),
    ),
    "lower": (
        *("down", "clothes", "bag", "handbag"),
        *("downblack", "downwhite", "downpink", "downpurple", "downyellow", "downgray", "downblue", "downgreen"),
        "downbrown",
    ),
}
"""The 30 outputs that MagnifierNet makes of the 27 columns of Market-1501, by group: age becomes four."""


def attribute_file(annotations: Path | None, root: Path) -> Path:
    """Find the attributes of a data set.

    Args:
        annotations: A folder, or the file itself; none where they lie with the data.
        root: Folder of the data set.

    Returns:
        That file, or ``attributes.csv`` or ``market_attribute.mat`` in the folder, or else with the data; where there
        is none, the first of them.
    """
    if annotations is not None and annotations.is_file():
        return annotations
    places = [home / name for home in (annotations, root) if home is not None for name in (FILE, MARKET)]
    return next((file for file in places if file.is_file()), places[0])


def read_attributes(path: Path, samples: Sequence[Sample]) -> Tensor:
    """Read the attributes of the people in samples.

    Args:
        path: CSV file with the columns ``pid`` and any others, in which 1 stands for yes and 0 for no; or the ``.mat``
            file of Market-1501 (Lin et al., Pattern Recognition 2019).
        samples: The samples; their people are looked up, as the data call them: a whole number counts as such, so that
            7 is 0007.

    Returns:
        Attributes of each sample in the order of the columns, or of `MARKET_GROUPS`, (N, A) uint8.

    Raises:
        SemreidError: If there is no such file, a cell is wrong, a person is missing or there twice, or one number
            calls two people of the data.
    """
    table = _market_table(path) if path.suffix == ".mat" else _table(path)
    people = {s.pid: s.identity or str(s.pid) for s in samples}
    _require_apart(path, people)
    missing = [name for _, name in sorted(people.items()) if _key(name) not in table]
    if missing:
        raise SemreidError(
            f"{path} lacks {len(missing)} people, such as {missing[0]}",
            fix=f"give the attributes of these people: they are not those of {MARKET}"
            if path.suffix == ".mat"
            else "add a row for each",
        )
    return torch.tensor([table[_key(people[s.pid])] for s in samples], dtype=torch.uint8)


def _key(name: str) -> str:
    """What a person is looked up by; tables write whole numbers as 7, 0007 or 7.0."""
    whole = re.fullmatch(r"(-?\d{1,18})(\.0*)?", name, re.ASCII)
    return str(int(whole[1])) if whole else name


def _require_apart(path: Path, people: Mapping[int, str]) -> None:
    """Refuse to guess whom a number means."""
    first: dict[str, str] = {}
    for name in people.values():
        if (twin := first.setdefault(_key(name), name)) != name:
            raise SemreidError(
                f"{path}: the people {twin!r} and {name!r} of the data would both get the row of {_key(name)}",
                fix="rename one of them in the data",
            )


def _table(path: Path) -> dict[str, list[int]]:
    try:
        with open_text(path) as file:
            names, *rows = csv.reader(file, delimiter=separator(file), strict=True)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise SemreidError(f"this model learns from attributes, and cannot read {path}: {error}", fix=FORMAT) from error
    if names[:1] != ["pid"] or len(names) < 2:
        raise SemreidError(f"{path}: the columns are {', '.join(names) or 'none'}", fix=FORMAT)
    table: dict[str, list[int]] = {}
    for line, row in enumerate(rows, 2):
        if not row:
            continue
        person, values = _parse(path, line, row, len(names))
        if person in table:
            raise SemreidError(
                f"{path}, row {line}: person {person} is there twice", fix="keep one row for each person"
            )
        table[person] = values
    return table


def _market_table(path: Path) -> dict[str, list[int]]:
    """Both halves of Market-1501: no person is in both."""
    content = read_mat5(path, fault="is no file of attributes of Market-1501")
    table: dict[str, list[int]] = {}
    with reading(path, GET_AGAIN, "is no file of attributes of Market-1501"):
        for part in ("train", "test"):
            columns = content["market_attribute"][part]
            pids = [str(int(pid)) for pid in np.atleast_1d(columns["image_index"])]
            if len(set(pids) - table.keys()) < len(pids):
                raise SemreidError(f"{path}: a person is there twice ({part})", fix=GET_AGAIN)
            names = [name for group in MARKET_GROUPS.values() for name in group]
            outputs = np.stack([_output(path, columns, name, len(pids)) for name in names])
            table |= zip(pids, outputs.T.tolist(), strict=True)
    return table


def _output(path: Path, columns: Mapping[str, Any], name: str, people: int) -> NDArray[np.uint8]:
    """One output of all people: whether they are of an age, or whether a column says 2, which means yes."""
    column, highest = ("age", len(AGES)) if name in AGES else (name, 2)
    values = np.atleast_1d(columns[column])
    if values.shape != (people,) or not np.isin(values, np.arange(1, highest + 1)).all():
        raise SemreidError(
            f"{path}: the column {column} does not hold a number from 1 to {highest} for each of {people} people",
            fix=GET_AGAIN,
        )
    found: NDArray[np.uint8] = np.equal(values, AGES.index(name) + 1 if name in AGES else 2).astype(np.uint8)
    return found


def _parse(path: Path, line: int, row: list[str], width: int) -> tuple[str, list[int]]:
    if len(row) != width or not row[0].strip() or set(row[1:]) - {"0", "1"}:
        raise SemreidError(f"{path}, row {line} is no row of attributes: {','.join(row)}", fix=FORMAT)
    return _key(row[0].strip()), [int(value) for value in row[1:]]
