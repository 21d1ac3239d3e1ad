"""Attributes of people, such as gender or the colour of the trousers: a CSV file with one row for each person."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from semreid.data.sample import Sample
from semreid.errors import SemreidError

FILE = "attributes.csv"
FORMAT = "write a CSV file with a column pid and, for each attribute, a column of 0 and 1; one row for each person"


def read_attributes(path: Path, samples: Sequence[Sample]) -> Tensor:
    """Read the attributes of the people in samples.

    Args:
        path: CSV file with the columns ``pid`` and any others, in which 1 stands for yes and 0 for no.
        samples: The samples; their person ids are looked up.

    Returns:
        Attributes of each sample in the order of the columns, (N, A) uint8.

    Raises:
        SemreidError: If there is no such file, a cell is wrong, or a person is missing or there twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names, *rows = csv.reader(file, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise SemreidError(f"this model learns from attributes, and cannot read {path}: {error}", fix=FORMAT) from error
    if names[:1] != ["pid"] or len(names) < 2:
        raise SemreidError(f"{path}: the columns are {', '.join(names) or 'none'}", fix=FORMAT)
    table: dict[int, list[int]] = {}
    for line, row in enumerate(rows, 2):
        pid, values = _parse(path, line, row, len(names))
        if pid in table:
            raise SemreidError(f"{path}, row {line}: person {pid} is there twice", fix="keep one row for each person")
        table[pid] = values
    missing = sorted({s.pid for s in samples} - table.keys())
    if missing:
        raise SemreidError(f"{path} lacks {len(missing)} people, such as {missing[0]}", fix="add a row for each")
    return torch.tensor([table[s.pid] for s in samples], dtype=torch.uint8)


def _parse(path: Path, line: int, row: list[str], width: int) -> tuple[int, list[int]]:
    if len(row) != width or not row[0].isdecimal() or set(row[1:]) - {"0", "1"}:
        raise SemreidError(f"{path}, row {line} is no row of attributes: {','.join(row)}", fix=FORMAT)
    return int(row[0]), [int(value) for value in row[1:]]
