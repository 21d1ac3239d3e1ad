"""Reading one person crop into RGB, whatever the file holds, within bounds."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.data.headers import MAX_BYTES, is_deep, require_bounded, with_plain_alpha
from semreid.data.matfile import read_slot
from semreid.data.sample import Box, Sample
from semreid.errors import SemreidError, located
from semreid.parallel import parallel
from semreid.reading import read_bytes

T = TypeVar("T")
_SPELLINGS = {
    "jpg": "jpg jpeg jpe jfif",
    "png": "png",
    "bmp": "bmp dib",
    "tif": "tif tiff",
    "webp": "webp",
    "gif": "gif",
    "jp2": "jp2",
    "ppm": "ppm pgm pbm pnm",
}
IMAGE_SUFFIXES = frozenset(
    f".{name}" for known, names in _SPELLINGS.items() if cv2.haveImageWriter(f".{known}") for name in names.split()
)
"""How the names of images end, for all commands: the formats that this build of OpenCV knows."""


def is_image(path: Path | str) -> bool:
    """Tell by its name whether a file is an image: the one rule, for all commands.

    Example:
        >>> is_image("a/0001_c1.JPG"), is_image("Thumbs.db")
        (True, False)
    """
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def read_image(source: Sample | Path | str) -> NDArray[np.uint8]:
    """Read a person crop.

    Grey images become three equal channels, 16 bits become 8, alpha is dropped; of a moving image, the first
    picture counts. Where no number of a 16-bit file needs more than 12 (or 8) bits, as cameras store them, these are
    taken for all there is: else the crop would be black. An EXIF orientation is obeyed: the crop is seen as every
    viewer shows it, so a phone photograph has its head on top. Masks and textures must be made from what this function
    returns.

    Args:
        source: A sample, or the path of an image file.

    Returns:
        RGB uint8 array (H, W, 3).

    Raises:
        SemreidError: If the file is missing, empty, damaged, of another kind, or larger than the bounds
            (64 megapixels, 256 MiB), or a sample's box lies outside of it. The message names the file.
    """
    if not isinstance(source, Sample):
        return decode_image(_read_bytes(Path(source)), name=str(source))
    if source.item:
        image = read_slot(source.path, source.item)
    else:
        image = decode_image(_read_bytes(source.path), name=str(source.path))
    with located(source.path):
        return cut(image, source.box)


def read_good(
    crops: Sequence[tuple[Sample | Path, T]], size: tuple[int, int], *, skip_corrupt: bool
) -> tuple[list[T], list[NDArray[np.uint8]], list[str]]:
    """Read the images of crops at a size.

    Args:
        crops: A sample or the path of an image, and whatever belongs to it.
        size: Height and width.
        skip_corrupt: Leave out images that cannot be read.

    Returns:
        What belongs to those that can be read, their images, RGB (height, width, 3), and a message for each other one.

    Raises:
        SemreidError: If one cannot be read (without ``skip_corrupt``).
    """

    def read(crop: tuple[Sample | Path, T]) -> NDArray[np.uint8] | str:
        try:
            return resize(read_image(crop[0]), size)
        except SemreidError as error:
            return error.what

    found = list(zip(crops, parallel(read, crops), strict=True))
    bad = [(crop[0], image) for crop, image in found if isinstance(image, str)]
    if bad and not skip_corrupt:
        raise unreadable(*bad[0])
    good = [(crop[1], image) for crop, image in found if not isinstance(image, str)]
    return [what for what, _ in good], [image for _, image in good], [problem for _, problem in bad]


def unreadable(source: Sample | Path, problem: str) -> SemreidError:
    """Return the error for an image that cannot be read: the way out of one that is not there is another."""
    path = source.path if isinstance(source, Sample) else source
    there = os.path.exists(path)  # noqa: PTH110 - names too long are no error
    repair = "repair or remove it, or go on without such images: --skip-corrupt"
    return SemreidError(problem, fix=repair if there else "check its name, and whether it was moved or removed")


def problem_of(source: Sample | Path) -> str:
    """Say what is wrong with an image; nothing if it can be read."""
    try:
        read_image(source)
    except SemreidError as error:
        return error.what
    return ""


def cut(image: NDArray[np.uint8], box: Box | None) -> NDArray[np.uint8]:
    """Cut a crop out of its frame.

    Args:
        image: RGB (H, W, 3): a frame, or the crop itself, which is as large as its box and stays as it is.
        box: Left, top, right and bottom; None: all of it.

    Returns:
        The crop, at least one pixel.

    Raises:
        SemreidError: If the box lies outside of the frame.
    """
    height, width = image.shape[:2]
    if box is None or (round(box[2] - box[0]), round(box[3] - box[1])) == (width, height):
        return image
    left, right = np.clip([round(box[0]), round(box[2])], 0, width)
    top, bottom = np.clip([round(box[1]), round(box[3])], 0, height)
    if left >= right or top >= bottom:
        raise SemreidError(
            f"the box {tuple(round(side) for side in box)} lies outside of its picture, which is {width} x {height}",
            fix="give left, top, right and bottom in pixels of that picture",
        )
    return image[top:bottom, left:right]


def decode_image(data: bytes, name: str = "image") -> NDArray[np.uint8]:
    """Decode an image held in memory, by the same rules as `read_image`.

    Returns:
        RGB uint8 array (H, W, 3).

    Raises:
        SemreidError: If the bytes are no image or are larger than the bounds.

    Example:
        >>> png = cv2.imencode(".png", np.zeros((4, 2), np.uint8))[1].tobytes()
        >>> decode_image(png).shape
        (4, 2, 3)
    """
    image = decode(data, name, cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if is_deep(data) else 0))
    return cv2.cvtColor(_eight_bits(image), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def decode(data: bytes, name: str, flags: int = cv2.IMREAD_UNCHANGED) -> NDArray[Any]:
    """Decode an image within bounds, by OpenCV's ways, as it is stored if these are not given.

    This is the one place where pictures are decoded.

    Returns:
        What OpenCV makes of it: (H, W), or (H, W, C) in BGR.

    Raises:
        SemreidError: If the bytes are no image or are larger than the bounds.
    """
    if not data:
        raise SemreidError(f"{name} is empty (0 bytes)", fix="restore the file or remove it from the data set")
    require_bounded(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(with_plain_alpha(data), np.uint8), flags)
    except cv2.error:
        image = None  # some damage raises, some returns None: one message for both
    if image is None:
        raise SemreidError(
            f"{name} cannot be decoded: damaged or cut short", fix="restore the file or remove it from the data set"
        )
    return image


def as_rgb(image: Any, name: str = "the image") -> NDArray[np.uint8]:  # noqa: ANN401 - whatever programs pass
    """Take a picture that a program passes: an array, or an image of Pillow.

    Args:
        image: RGB uint8 (H, W, 3), or an object with Pillow's ``convert``.
        name: How error messages call it.

    Returns:
        RGB (H, W, 3).

    Raises:
        SemreidError: If it is neither, or empty.

    Example:
        >>> as_rgb(np.zeros((4, 2, 3), np.uint8)).shape
        (4, 2, 3)
    """
    if image is None:
        raise SemreidError(f"{name} is None", fix="cv2.imread and VideoCapture.read give None where they fail: check")
    array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise SemreidError(
            f"{name} has shape {array.shape} and type {array.dtype}", fix="give an RGB uint8 array (H, W, 3)"
        )
    return array


def image_bytes(source: Sample | Path | str) -> bytes:
    """Return the undecoded content of a crop: what to hash to know whether it has changed.

    Returns:
        The bytes of the image file, or the pixels of a crop inside a container or a larger picture.

    Raises:
        SemreidError: If it cannot be read.
    """
    if isinstance(source, Sample) and (source.item or source.box):
        return read_image(source).tobytes()
    return _read_bytes(source.path if isinstance(source, Sample) else Path(source))


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize without cropping, averaging along each side that shrinks so that fine texture does not alias.

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
    smaller = min(width, image.shape[1]), min(height, image.shape[0])
    averaged = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)  # a copy if no side shrinks
    return cv2.resize(averaged, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _read_bytes(path: Path) -> bytes:
    require_utf8([path])
    content = read_bytes(path, MAX_BYTES)
    if not is_image(path):
        raise SemreidError(f"{path} is not an image file", fix="use " + " ".join(sorted(IMAGE_SUFFIXES)))
    return content


def require_utf8(paths: Sequence[Path]) -> None:
    """Refuse names that no report, gallery or table can hold, before any work.

    Raises:
        SemreidError: If bytes of a name are not UTF-8, or are not read so; counts them and shows one.
    """
    if odd := [path for path in paths if _LOST.search(str(path))]:
        if not any(_LOST.search(os.fsencode(path).decode(errors="surrogateescape")) for path in odd):
            raise SemreidError(
                f"{len(odd)} of {len(paths)} file names are read as {sys.getfilesystemencoding()}, though they are "
                f"UTF-8, such as {os.fsencode(odd[0]).decode()}",
                fix="set the environment variable PYTHONUTF8=1, or LC_ALL=C.UTF-8",
            )
        raise SemreidError(
            f"{len(odd)} of {len(paths)} file names are not UTF-8, such as {str(odd[0])!a}",
            fix="rename them, such as with `convmv -f latin1 -t utf8 -r --notest FOLDER`",
        )


_LOST = re.compile("[\ud800-\udfff]")
"""What Python puts in the place of bytes that it could not read as text."""


def _eight_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring 16 bits to 8, by as many bits as are in use: 8, 12 or 16."""
    if image.dtype == np.uint8:
        return image
    most = int(image.max(initial=0))
    shift = 0 if most < 2**8 else 4 if most < 2**12 else 8
    return (image >> shift).astype(np.uint8)
