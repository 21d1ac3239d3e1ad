"""Digests of Parquet files: their pages have checksums, but neither the headers of these nor the footer have one.

A digest of all the other bytes lies between the pages and the footer, where no reader of Parquet looks: to other tools
it is a Parquet file like any other, and what they write anew has none.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

from semreid.errors import SemreidError

_MARK, _SIZE = b"semreid1", 32
_END = 8  # length of the footer, and PAR1
_CHUNK = 2**22


def seal(file: Path) -> None:
    """Put the digest of a Parquet file into it.

    Args:
        file: A complete file without one.
    """
    with file.open("r+b") as opened:
        footer = _footer(opened)
        place = opened.seek(-len(footer), os.SEEK_END)
        digest = _digest(opened, place, footer)
        opened.seek(place)
        opened.write(_MARK + digest + footer)


def require_intact(file: Path, fix: str) -> None:
    """Refuse a Parquet file of which a bit is another one than when it was written.

    Args:
        file: The file; one without a digest, of other tools or older versions, passes.
        fix: The way out.

    Raises:
        SemreidError: If it is damaged.
    """
    with file.open("rb") as opened:
        footer = _footer(opened)
        place = opened.seek(0, os.SEEK_END) - len(footer) - _SIZE - len(_MARK)
        if place < 0:
            return
        opened.seek(place)
        mark, digest = opened.read(len(_MARK)), opened.read(_SIZE)
        if mark == _MARK and digest != _digest(opened, place, footer):
            raise SemreidError(f"{file} is damaged: it is not what was written", fix=fix)


def _footer(opened: Any) -> bytes:  # noqa: ANN401 - a file
    """The end of a file, as long as it says that its footer is, with what says so."""
    size = opened.seek(0, os.SEEK_END)
    opened.seek(max(0, size - _END))
    length = int.from_bytes(opened.read(4), "little") + _END
    opened.seek(max(0, size - length))
    return bytes(opened.read())


def _digest(opened: Any, length: int, footer: bytes) -> bytes:  # noqa: ANN401 - a file
    """Digest the first bytes of a file, and its footer."""
    digest = blake2b(digest_size=_SIZE)
    opened.seek(0)
    while length and (content := opened.read(min(_CHUNK, length))):
        digest.update(content)
        length -= len(content)
    digest.update(footer)
    return digest.digest()
