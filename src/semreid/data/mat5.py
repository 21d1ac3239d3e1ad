"""MATLAB files of version 5, with a look at them before SciPy reads them.

Of damaged ones SciPy may end the process, or fill the memory. The layout is that of level 5 in the specification
"MAT-File Format" of MathWorks.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semreid.reading import MOST_ARRAY, read_bytes, reading

_HEADER = 128
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_CELLS, _STRUCT, _TEXT, _NUMBERS, _COMPLEX = 1, 2, 4, range(6, 16), 0x800


def read_mat5(path: Path, fault: str = "is not a readable .mat file") -> dict[str, Any]:
    """Read a MATLAB file.

    Args:
        path: The file.
        fault: What is wrong with it where it cannot be read.

    Returns:
        Arrays by name, without sides of length one; structs are dictionaries.

    Raises:
        SemreidError: If there is no such file, or it is damaged.
    """
    from scipy.io import loadmat

    content = read_bytes(path)
    with reading(path, fault=fault):
        require_sound(content)
        table = loadmat(io.BytesIO(content), simplify_cells=True)
        return {name: value for name, value in table.items() if not name.startswith("__")}


def require_sound(content: bytes) -> None:
    """Make sure that numbers, texts, lists and structs of them are all that a file holds, each as long as it says.

    Raises:
        Exception: ValueError, or that of a parser, if it is damaged, or holds anything else.
    """
    order = _ORDERS.get(bytes(content[_HEADER - 4 : _HEADER]))
    _require(order is not None, "it is no MATLAB file of version 5")
    for kind, data in _elements(memoryview(content)[_HEADER:], str(order)):
        if kind == _COMPRESSED:
            inflated = zlib.decompressobj().decompress(data, MOST_ARRAY)
            ((kind, data),) = _elements(memoryview(inflated), str(order))
        _require_matrix(kind, data, str(order))


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield kind and content of one element after another; small ones share a word with their length."""
    while data:
        kind, length = struct.unpack_from(f"{order}2I", data)
        start, room = 8, len(data) - 8
        if kind >> 16:
            start, room, length, kind = 4, 4, kind >> 16, kind & 0xFFFF
        _require(length <= room, "an element is cut short")
        yield kind, data[start : start + length]
        padding = 0 if kind == _COMPRESSED else -length % 8
        data = data[8 if start == 4 else 8 + length + padding :]


def _require_matrix(kind: int, data: memoryview, order: str) -> None:
    _require(kind == _MATRIX, "an element is no array")
    if not data:
        return
    (flags_kind, flags), (shape_kind, shape), (name_kind, _), *parts = _elements(data, order)
    kinds, whole = (flags_kind, shape_kind, name_kind), (len(flags), len(shape) % 4)
    _require(kinds == (_UINT32, _INT32, _INT8) and whole == (8, 0), "the head of an array is wrong")
    sides = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    _require(len(sides) > 1 and min(sides) >= 0, "an array has a negative side, or less than two")
    count, (flag, _) = math.prod(sides), struct.unpack(f"{order}2I", flags)
    if flag & 0xFF == _STRUCT:
        (longest_kind, room), (letters_kind, letters), *parts = parts
        (longest,) = struct.unpack(f"{order}i", room)
        _require((longest_kind, letters_kind) == (_INT32, _INT8) and longest > 0, "the fields of a struct are wrong")
        _require(len(letters) % longest == 0, "the names of the fields are cut short")
        count *= len(letters) // longest
    if flag & 0xFF in (_CELLS, _STRUCT):
        _require(len(parts) == count, "a list is not as long as it says")
        for part_kind, part in parts:
            _require_matrix(part_kind, part, order)
        return
    _require(flag & 0xFF == _TEXT or flag & 0xFF in _NUMBERS, "it holds more than numbers, texts and lists of them")
    _require(len(parts) == 1 and not flag & _COMPLEX, "an array has not one part")
    ((part_kind, part),) = parts
    width = _WIDTHS.get(part_kind, 0)
    fits = len(part) == count * width or (part_kind == _UTF8 and len(part) >= count)
    _require(width > 0 and fits, "an array is not as long as it says")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
