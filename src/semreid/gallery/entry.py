"""What a gallery holds and how it is asked: entries, filters and matches, none of which can be malformed."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from semreid.data.sample import MAX_CAMID, Box
from semreid.errors import SemreidError

Vectors = NDArray[np.float32]
NO_VECTOR: Vectors = np.zeros(0, np.float32)

MAX_BYTES = {"id": 128, "pid": 256, "tag": 128, "path": 4096}
"""Longest texts, in UTF-8: what every kind of gallery can hold."""
MAX_TAGS = 64
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """All that a gallery knows of a crop, except its vector.

    Attributes:
        id: Unique name of the row; left empty, the gallery derives it (see `derived_id`).
        path: The image file, ``FILE#ITEM`` for a crop inside a container; empty where there is none.
        pid: Name or number of the person; None where nobody has said who it is.
        camid: Camera; None where unknown.
        timestamp: Seconds; None where unknown.
        box: Left, top, right and bottom of the crop in its frame, in pixels.
        tags: Any words to filter by; kept sorted and without repeats.

    Raises:
        SemreidError: If a value is of the wrong type, too long, or cannot be stored.

    Example:
        >>> Entry(path="/d/0002_c3.jpg", pid="2", camid=3, tags=("night", "gate", "night")).tags
        ('gate', 'night')
    """

    id: str = ""
    path: str = ""
    pid: str | None = None
    camid: int | None = None
    timestamp: float | None = None
    box: Box | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.id != "":
            _require_text("id", self.id)
        if len(_encoded("path", self.path)) > MAX_BYTES["path"]:
            raise SemreidError(f"path {self.path[:60]!r}... is longer than {MAX_BYTES['path']} bytes", fix="shorten it")
        if self.pid is not None:
            _require_text("pid", self.pid)
        object.__setattr__(self, "camid", None if self.camid is None else _camera(self.camid))
        if self.timestamp is not None:
            object.__setattr__(self, "timestamp", _number("timestamp", self.timestamp, "seconds"))
        object.__setattr__(self, "box", None if self.box is None else _box(self.box))
        object.__setattr__(self, "tags", tuple(sorted(set(_texts("tag", self.tags)))))
        if len(self.tags) > MAX_TAGS:
            raise SemreidError(
                f"{self.path or self.id or 'a crop'} has {len(self.tags)} tags; a gallery keeps at most {MAX_TAGS}",
                fix="give fewer",
            )


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries of a gallery to consider; all conditions must hold, an empty one asks for nothing.

    Attributes:
        camids: Cameras to look at.
        exclude_camids: Cameras to leave out; entries of unknown camera stay.
        since: Earliest time, in seconds, inclusive; entries of unknown time are left out.
        until: Latest time, exclusive; likewise.
        pids: People to look at.
        tags: Tags that an entry must have, every one.

    Raises:
        SemreidError: If a value is of the wrong type, or the time range is empty.

    Example:
        >>> Filter(camids=[1, 2], since=60).camids
        (1, 2)
    """

    camids: Sequence[int] = ()
    exclude_camids: Sequence[int] = ()
    since: float | None = None
    until: float | None = None
    pids: Sequence[str] = ()
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("camids", "exclude_camids"):
            object.__setattr__(self, name, tuple(_camera(c) for c in _listed(name, getattr(self, name))))
        for name in ("since", "until"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _number(name, getattr(self, name), "seconds"))
        object.__setattr__(self, "pids", tuple(_texts("pid", self.pids)))
        object.__setattr__(self, "tags", tuple(_texts("tag", self.tags)))
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise SemreidError(
                f"the time range from {self.since} to {self.until} is empty", fix="since must come before until"
            )

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return self != Filter()


@dataclass(frozen=True, slots=True)
class Match:
    """An entry found by a search.

    Attributes:
        entry: The entry.
        similarity: Cosine similarity to the query, from -1 to 1; what rounding adds to that is taken off.
    """

    entry: Entry
    similarity: float

    def __post_init__(self) -> None:
        if not -1 <= self.similarity <= 1:
            object.__setattr__(self, "similarity", min(1.0, max(-1.0, self.similarity)))


class Meta(NamedTuple):
    """What all vectors of a gallery have in common: their width and the model that made them."""

    dim: int
    fingerprint: str


def derived_id(entry: Entry, vector: Vectors = NO_VECTOR) -> str:
    """Name a row after the place of its crop: path and box, or else its content.

    The same crop gets the same name every time, so adding it again adds nothing.

    Args:
        entry: The entry.
        vector: Its vector (D,); needed only where the entry has no path.

    Returns:
        128 bits in hexadecimal.

    Example:
        >>> derived_id(Entry(path="/d/a.jpg"))
        'b79f3a6bb2faea472c27e64db047a5ca'
    """
    content = (entry.path, entry.box) if entry.path else (entry.camid, entry.timestamp, entry.box)
    digest = hashlib.sha256(repr(content).encode())
    if not entry.path:
        digest.update(np.ascontiguousarray(vector, np.float32).tobytes())
    return digest.hexdigest()[:32]


def _texts(kind: str, texts: Iterable[str]) -> Iterable[str]:
    return (_require_text(kind, text) for text in _listed(f"{kind}s", texts))


def _listed(name: str, values: Iterable[T]) -> Iterable[T]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SemreidError(f"{name} must be a list, not {values!r}", fix=f"{name}=[{values!r}]")
    return values


def _require_text(kind: str, text: str) -> str:
    """Return a short text that every store keeps and compares alike: not empty, no control characters."""
    if not 0 < len(_encoded(kind, text)) <= MAX_BYTES[kind]:
        raise SemreidError(
            f"{kind} {text[:60]!r}... is longer than {MAX_BYTES[kind]} bytes" if text else f"{kind} '' is empty",
            fix="shorten it" if text else "write something, or leave it out",
        )
    if any(unicodedata.category(c) == "Cc" for c in text):
        raise SemreidError(f"{kind} {text!r} holds a control character", fix="remove it")
    return text


def _encoded(kind: str, text: str) -> bytes:
    if not isinstance(text, str):
        raise SemreidError(f"{kind} {text!r} is not a text", fix=f"write it as a text: {str(text)!r}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise SemreidError(f"{kind} {text!r} is no valid Unicode", fix="rename it") from error


def _camera(camid: int) -> int:
    if isinstance(camid, bool) or not isinstance(camid, (int, np.integer)) or not 0 <= camid <= MAX_CAMID:
        raise SemreidError(
            f"camid {camid!r} is not a whole number from 0 to {MAX_CAMID}", fix="number the cameras from 0 or 1"
        )
    return int(camid)


def _number(name: str, value: float, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise SemreidError(f"{name} {value!r} is not a number of {unit}", fix=f"give a finite number of {unit}")
    return float(value)


def _box(box: Box) -> Box:
    corners = tuple(_number("box side", side, "pixels") for side in box) if isinstance(box, Iterable) else ()
    if len(corners) != 4 or corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise SemreidError(
            f"box {box} is not left, top, right, bottom with left < right and top < bottom",
            fix="give the four sides in this order, in pixels of the frame",
        )
    return corners[0], corners[1], corners[2], corners[3]
