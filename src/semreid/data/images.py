"""Reading one person crop into RGB, whatever the file holds, within bounds."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import imagesize
import numpy as np
from numpy.typing import NDArray

from semreid.data.matfile import read_slot
from semreid.data.sample import Sample
from semreid.errors import SemreidError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 2**20


def read_image(source: Sample | Path | str) -> NDArray[np.uint8]:
    """Read a person crop.

    Grey images become three equal channels, 16 bits become 8, alpha is dropped. An EXIF orientation is
    obeyed: the crop is seen as every viewer shows it, so a phone photograph has its head on top. Masks and
    textures must be made from what this function returns.

    Args:
        source: A sample, or the path of an image file.

    Returns:
        RGB uint8 array (H, W, 3).

    Raises:
        SemreidError: If the file is missing, empty, damaged, of another kind, or larger than the bounds
            (64 megapixels, 256 MiB). The message names the file.
    """
    if isinstance(source, Sample) and source.item:
        return read_slot(source.path, source.item)
    return decode_image(image_bytes(source), name=str(source))


def decode_image(data: bytes, name: str = "image") -> NDArray[np.uint8]:
    """Decode an image held in memory, by the same rules as `read_image`.

    Args:
        data: The bytes of an image file.
        name: How error messages call it.

    Returns:
        RGB uint8 array (H, W, 3).

    Raises:
        SemreidError: If the bytes are no image or are larger than the bounds.

    Example:
        >>> png = cv2.imencode(".png", np.zeros((4, 2), np.uint8))[1].tobytes()
        >>> decode_image(png).shape
        (4, 2, 3)
    """
    if not data:
        raise SemreidError(f"{name} is empty (0 bytes)", fix="restore the file or remove it from the data set")
    _check_bounds(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None  # some damage raises, some returns None: one message for both
    if image is None:
        raise SemreidError(
            f"{name} cannot be decoded: damaged, cut short, or not an image",
            fix="restore the file or remove it; supported are " + " ".join(sorted(IMAGE_SUFFIXES)),
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def image_bytes(source: Sample | Path | str) -> bytes:
    """Return the undecoded content of a crop: what to hash to know whether it has changed.

    Args:
        source: A sample, or the path of an image file.

    Returns:
        The bytes of the image file, or the pixels of a crop inside a container.

    Raises:
        SemreidError: If it cannot be read.
    """
    if isinstance(source, Sample) and source.item:
        return read_slot(source.path, source.item).tobytes()
    return _read_bytes(source.path if isinstance(source, Sample) else Path(source))


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize without cropping, averaging where the image shrinks so that fine texture does not alias.

    Args:
        image: RGB (H, W, 3).
        size: Target (height, width).

    Returns:
        RGB (height, width, 3).

    Example:
        >>> resize(np.zeros((8, 6, 3), np.uint8), (4, 2)).shape
        (4, 2, 3)
    """
    height, width = size
    shrinks = height < image.shape[0] and width < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method).astype(np.uint8, copy=False)


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", "") or error
        raise SemreidError(f"cannot read {path}: {reason}", fix="check the name") from error
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise SemreidError(f"{path} is not an image file", fix="use " + " ".join(sorted(IMAGE_SUFFIXES)))
    if size > MAX_BYTES:
        raise SemreidError(f"{path} is larger than {MAX_BYTES >> 20} MiB", fix="crop or shrink the image")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SemreidError(f"cannot read {path}: {error.strerror or error}") from error


def _check_bounds(data: bytes, name: str) -> None:
    """Refuse by the header, before a small file can unfold to gigabytes."""
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except (ValueError, struct.error):
        width = height = -1  # an unreadable header: the bound on bytes still holds, the decoder judges the rest
    if width * height > MAX_PIXELS or len(data) > MAX_BYTES:
        raise SemreidError(
            f"{name} is too large: {width} x {height} pixels, {len(data):,} bytes; "
            f"at most {MAX_PIXELS:,} pixels and {MAX_BYTES:,} bytes are read",
            fix="crop or shrink the image",
        )
