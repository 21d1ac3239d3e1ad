"""What the header of an image file announces, judged before a decoder believes it.

A decoder asks for memory by what a file says of itself, so a few bytes can cost gigabytes. Each format is bounded here
by its announced pixels and by the length that the file really has.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from itertools import repeat

import imagesize

from semreid.errors import SemreidError

MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 2**20
FORMATS = "JPEG, PNG, BMP, TIFF, WebP, GIF, JPEG 2000 and PNM"
#: How the formats begin that are read; a file is taken for what it begins with, whatever its name says. AVIF is not
#: among them: its decoder believes a size that lies deep inside, so 2 KB cost 400 MB before they are refused.
MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM|II\*\0|MM\0\*|RIFF....WEBP|GIF8[79]a|P[1-6]\s|\0\0\0\x0cjP  ", re.DOTALL
)
_PNG, _TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*")
_CODESTREAM = re.compile(b"\xff\x4f\xff\x51")
_EXTRA_SAMPLES, _ASSOCIATED, _UNASSOCIATED = 338, 1, 2
_TIFF_WIDTHS = {1: "B", 3: "H", 4: "I"}  # the types of TIFF that sizes and formats are written in


def require_bounded(data: bytes, name: str) -> None:
    """Refuse what would take more memory than its pixels may, before it is decoded.

    Raises:
        SemreidError: If it is none of the formats that are read, its size cannot be told or is beyond the bounds (64
            megapixels, 256 MiB), a part is announced that is longer than the rest of the file, or it holds no pictures
            but measurements (floating-point or signed numbers).
    """
    width, height = _announced(data) if MAGIC.match(data) else (-1, -1)
    if width * height > MAX_PIXELS or len(data) > MAX_BYTES:
        raise SemreidError(
            f"{name} is too large: {width} x {height} pixels, {len(data):,} bytes; "
            f"at most {MAX_PIXELS:,} pixels and {MAX_BYTES:,} bytes are read",
            fix="crop or shrink the image",
        )
    if width < 1 or height < 1 or not _is_sound(data):
        raise SemreidError(
            f"{name} cannot be decoded: damaged, cut short, or not an image",
            fix=f"restore the file or remove it; supported are {FORMATS}",
        )
    if data.startswith(_TIFF) and (kind := _unusual_numbers(data)):
        raise SemreidError(
            f"{name} holds {kind}, not the 8 or 16 bits of a picture", fix="save it as 8-bit PNG, scaled to 0 to 255"
        )


def is_deep(data: bytes) -> bool:
    """Whether a file may hold more than 8 bits that OpenCV must be asked for."""
    return data.startswith((_PNG, *_TIFF, b"P"))


def with_plain_alpha(data: bytes) -> bytes:
    """Keep the decoder from multiplying the alpha of a TIFF file into its colours: call it multiplied in already.

    Args:
        data: The bytes of an image file that `require_bounded` has accepted.

    Returns:
        The same bytes, but for that one number.
    """
    if not data.startswith(_TIFF):
        return data
    for tag, code, place in _entries(data):
        if tag == _EXTRA_SAMPLES and struct.unpack_from(code, data, place) == (_UNASSOCIATED,):
            number = struct.pack(code, _ASSOCIATED)
            return data[:place] + number + data[place + len(number) :]
    return data


def _announced(data: bytes) -> tuple[int, int]:
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except (ValueError, struct.error, LookupError, OverflowError, RecursionError):
        return -1, -1
    return int(width), int(height)


def _is_sound(data: bytes) -> bool:
    """Whether the parts of a file fit into it, and its tiles into the bounds."""
    if data.startswith(_PNG):
        return _ends_within(data)
    if data.startswith(_TIFF):
        tags = _tags(data)
        return tags.get(322, 1) * tags.get(323, 1) <= MAX_PIXELS and tags.get(277, 1) <= 8
    return data[4:8] != b"jP  " or all(map(_is_bounded, (m.start() for m in _CODESTREAM.finditer(data)), repeat(data)))


def _ends_within(data: bytes) -> bool:
    """Whether the chunks of a PNG file, whose decoder asks for memory by their announced length, end within it."""
    start = len(_PNG)
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4])
        if data[start + 4 : start + 8] == b"IEND":
            return True
        start += 12 + length
    return False


def _tags(data: bytes) -> dict[int, int]:
    """The first value of each whole-number tag in the first directory of a TIFF file."""
    try:
        return {tag: struct.unpack_from(code, data, place)[0] for tag, code, place in _entries(data)}
    except struct.error:  # a directory that is cut short: the decoder must not ask for anything
        return {322: MAX_PIXELS, 323: 2}


def _entries(data: bytes) -> Iterator[tuple[int, str, int]]:
    """Each whole-number tag in the first directory of a TIFF file: how its numbers are written, and where the first."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
        if code := _TIFF_WIDTHS.get(kind):
            inline = number * struct.calcsize(code) <= 4
            yield tag, order + code, at + 8 if inline else struct.unpack_from(f"{order}I", data, at + 8)[0]


def _unusual_numbers(data: bytes) -> str:
    tags = _tags(data)
    named = {2: "signed numbers", 3: "floating-point numbers"}.get(tags.get(339, 1), "")
    return named or (f"{tags[258]}-bit numbers" if tags.get(258, 1) > 16 else "")


def _is_bounded(start: int, data: bytes) -> bool:
    """Whether what may be a codestream of JPEG 2000 announces no more pixels, tiles and channels than a picture has."""
    header = data[start + 8 : start + 42].ljust(34, b"\0")
    right, bottom, left, top, width, height, _, _, channels = map(int, struct.unpack(">8IH", header))
    tiles = -(-right // max(width, 1)) * -(-bottom // max(height, 1))
    return (right - left) * (bottom - top) <= MAX_PIXELS and tiles <= 4096 and channels <= 4
