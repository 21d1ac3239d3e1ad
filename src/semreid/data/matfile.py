"""The raw CUHK03 container: an HDF5 file written by MATLAB, full of references to references.

MATLAB stores arrays column by column, so every array seen through h5py is the transpose of what MATLAB shows:

* ``labeled`` and ``detected``: 5 camera pairs, each a reference to a (10 slots, persons) array of references
  to a crop of shape (3, width, height). Slots 1-5 are view 1, slots 6-10 view 2. An empty slot is a
  reference to a small vector instead of a crop.
* ``testsets``: 20 references to (2, 100) arrays of 1-based (camera pair, person) columns.

Crops are not extracted to files; a crop has the address ``labeled/PAIR/PERSON/SLOT``, all 1-based.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.data.headers import MAX_PIXELS
from semreid.errors import SemreidError
from semreid.reading import reading

FETCH_AGAIN = "point to the folder with the original cuhk-03.mat; if it is, fetch it again: it is damaged"


@contextlib.contextmanager
def open_mat(path: Path) -> Iterator[Any]:
    """Open an HDF5 ``.mat`` file for reading.

    Raises:
        SemreidError: If h5py is not installed, or the file is damaged or not laid out like CUHK03.
    """
    try:
        import h5py
    except ImportError as error:
        raise SemreidError(f"reading {path} needs the package h5py", fix="pip install 'semreid[cuhk03]'") from error
    with reading(path, FETCH_AGAIN, "is not a readable raw CUHK03 file"), h5py.File(path, "r") as file:
        yield file


def slots(path: Path, boxes: str) -> dict[str, tuple[int, int]]:
    """List the filled slots of a raw CUHK03 file.

    Args:
        path: The ``cuhk-03.mat`` file.
        boxes: ``labeled`` or ``detected``.

    Returns:
        The (camera pair, person) of each filled slot, by its address, in file order.

    Raises:
        SemreidError: If the file cannot be read.
    """
    found = {}
    with open_mat(path) as file:
        for pair, cells in enumerate(_pairs(file, boxes), start=1):
            for (person, slot), reference in np.ndenumerate(cells[()].T):
                if file[reference].ndim == 3:
                    found[f"{boxes}/{pair}/{person + 1:03d}/{slot + 1:02d}"] = (pair, person + 1)
    return found


def classic_splits(path: Path) -> list[set[tuple[int, int]]]:
    """Read the fixed test sets of the classic CUHK03 protocol.

    Returns:
        For each split, its test people as 1-based (camera pair, person).

    Raises:
        SemreidError: If the file cannot be read.
    """
    with open_mat(path) as file:
        tables = [file[reference][()].T for reference in file["testsets"][()].ravel()]
        return [{(int(pair), int(person)) for pair, person in table} for table in tables]


def read_slot(path: Path, item: str) -> NDArray[np.uint8]:
    """Read one crop of a raw CUHK03 file.

    Args:
        path: The ``cuhk-03.mat`` file.
        item: Address of the crop: ``labeled/PAIR/PERSON/SLOT`` or ``detected/...``, 1-based.

    Returns:
        The RGB crop (H, W, 3).

    Raises:
        SemreidError: If the file cannot be read or the slot holds no crop.
    """
    boxes, *numbers = item.split("/")
    with open_mat(path) as file:
        try:
            pair, person, slot = (int(number) - 1 for number in numbers)
            stored = file[_pairs(file, boxes)[pair][slot, person]]
            crop = stored[()] if stored.size <= 3 * MAX_PIXELS else np.zeros(0)
        except (ValueError, LookupError) as error:
            raise SemreidError(f"{path} has no item {item!r}") from error
    if crop.ndim != 3 or crop.shape[0] != 3 or crop.dtype != np.uint8:
        raise SemreidError(f"{path}: slot {item} holds no image")
    return np.ascontiguousarray(crop.T)


def _pairs(file: Any, boxes: str) -> list[Any]:  # noqa: ANN401 - h5py is an optional dependency
    return [file[reference] for reference in file[boxes][()].ravel()]
