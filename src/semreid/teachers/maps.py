"""Label maps that people already have: other programs' files and numbers, brought to our part masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from semreid.data.images import decode, image_bytes
from semreid.errors import SemreidError
from semreid.reading import read_array, reading

Mapping = Literal["eanet", "lip", "atr", "densepose"]
SUFFIXES = (".png", ".npy", ".npz")
_UPPER_LEG, _LOWER_LEG, _LEG = 5, 6, 8  # a leg without a knee: `translate` makes one

MAPPINGS: dict[Mapping, tuple[int, ...]] = {
    "eanet": tuple(range(8)),
    # background, hat, hair, glove, sunglasses, upper clothes, dress, coat, socks, trousers, jumpsuit, scarf, skirt,
    # face, left and right arm, left and right leg, left and right shoe
    "lip": (0, 1, 1, 4, 1, 2, 2, 2, 6, _LEG, 2, 2, 5, 1, 4, 4, _LEG, _LEG, 7, 7),
    # background, hat, hair, sunglasses, upper clothes, skirt, trousers, dress, belt, left and right shoe, face,
    # left and right leg, left and right arm, bag, scarf
    "atr": (0, 1, 1, 1, 2, 5, _LEG, 2, 2, 7, 7, 1, _LEG, _LEG, 4, 4, 2, 2),
    # background, torso (2), hands, feet, upper legs (4), lower legs (4), upper arms (4), lower arms (4), head (2)
    "densepose": (0, 2, 2, 4, 4, 7, 7, 5, 5, 5, 5, 6, 6, 6, 6, 3, 3, 3, 3, 4, 4, 4, 4, 1, 1),
}
"""Our part label by theirs: EANet's 8 parts, LIP's 20, ATR's 18, the 24 of DensePose (a mask of its I channel)."""


def translate(labels: NDArray[Any], mapping: Mapping) -> NDArray[np.uint8]:
    """Turn a label map of another scheme into a part mask.

    Schemes of clothes know arms and legs as far as skin or trousers show them: all of an arm becomes lower arm (sleeves
    are torso), and a leg is upper leg above the middle of what is seen of the legs, lower leg below.

    Args:
        labels: Their labels, (H, W), integers of any type.
        mapping: Whose labels they are.

    Returns:
        Part labels 0 to 7, (H, W) uint8.

    Raises:
        SemreidError: If this is a picture in colour, no integers, or a label is none of the scheme. The message names
            no file.

    Example:
        >>> translate(np.array([[13], [9], [9], [18]]), "lip").ravel().tolist()  # face, trousers, shoe
        [1, 5, 6, 7]
    """
    table = np.array(MAPPINGS[mapping], np.uint8)
    if labels.ndim != 2:
        raise SemreidError("a picture in colour, not labels")
    if not np.issubdtype(labels.dtype, np.integer):
        raise SemreidError(f"{labels.dtype} numbers, not labels")
    if labels.size == 0 or labels.min() < 0 or labels.max() >= len(table):
        raise SemreidError(f"labels outside 0 to {len(table) - 1}")
    parts: NDArray[np.uint8] = table[labels]
    legs = parts == _LEG
    if legs.any():
        rows = np.flatnonzero((legs | (parts == _UPPER_LEG)).any(axis=1))
        below = np.arange(len(parts))[:, None] > (rows[0] + rows[-1]) // 2
        parts[legs & ~below], parts[legs & below] = _UPPER_LEG, _LOWER_LEG
    return parts


def read_label_map(path: Path) -> NDArray[Any]:
    """Read a label map as it is.

    Args:
        path: PNG (of labels, or of colours from a palette, whose numbers are the labels), NPY, or NPZ with one array.

    Returns:
        What is in the file: (H, W) if it is a label map.

    Raises:
        SemreidError: If it cannot be read. The message names no file.
    """
    try:
        return _read_png(path) if path.suffix == ".png" else _read_array(path)
    except SemreidError as error:
        raise SemreidError("a file that cannot be read") from error


_INDEXED = 3  # the colour type of a PNG file that refers to a palette


def _read_png(path: Path) -> NDArray[Any]:
    content = image_bytes(path)
    with reading(path):
        indexed = content[12:16] == b"IHDR" and content[25] == _INDEXED
        image = decode(_numbered(content) if indexed else content, str(path))
    return image[..., 0] if indexed and image.ndim == 3 else image


def _read_array(path: Path) -> NDArray[Any]:
    array = read_array(path)
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _numbered(content: bytes) -> bytes:
    """Let the palette of a PNG file give each label the grey of its number: OpenCV puts colours in their place."""
    start = 8  # chunks follow the signature: length, name, content, checksum
    while content[start + 4 : start + 8] != b"PLTE":
        start += 12 + int.from_bytes(content[start : start + 4])
        if start >= len(content):
            raise ValueError("no palette")
    palette = b"PLTE" + bytes(number for number in range(256) for _ in range(3))
    end = start + 12 + int.from_bytes(content[start : start + 4])
    return content[:start] + (768).to_bytes(4) + palette + crc32(palette).to_bytes(4) + content[end:]
