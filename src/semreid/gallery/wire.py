"""How rows travel between a server and other processes on behalf of `Gallery`: shapes of questions and answers."""

from __future__ import annotations

import base64
from typing import Self

import numpy as np
from pydantic import BaseModel, RootModel, model_validator

from semreid.gallery import Entry, Filter, Match
from semreid.gallery.entry import Vectors
from semreid.gallery.store import How, Written

ODD_TOKEN = "it holds other characters than those of ASCII, or begins or ends with a space or a line break"
"""Why a token is refused that is not as `can_travel` wants it."""


class Rows(BaseModel):
    """Rows of a gallery, with or without their vectors."""

    entries: list[Entry]
    vectors: str = ""


class Put(Rows):
    """Rows to be written, and what becomes of those that are there."""

    how: How


class Exchange(BaseModel):
    """Rows as they were seen, and as they shall be."""

    before: list[Entry]
    after: list[Entry]
    partly: bool

    @model_validator(mode="after")
    def _of_the_same_rows(self) -> Self:
        ids = [entry.id for entry in self.before]
        if ids != [entry.id for entry in self.after] or len(set(ids)) < len(ids):
            raise ValueError("before and after are not the same rows, each once")
        return self


class Ids(BaseModel):
    """Ids of rows."""

    ids: list[str]


class Search(BaseModel):
    """Queries, and what to consider for each."""

    queries: str
    k: int
    where: Filter


class Scan(BaseModel):
    """Which rows to go through."""

    where: Filter
    vectors: bool = False


class Count(BaseModel):
    """How many rows there are."""

    rows: int


class About(BaseModel):
    """What all vectors of a gallery have in common."""

    dim: int
    fingerprint: str


Done = RootModel[Written]
"""What became of rows."""
Found = RootModel[list[list[Match]]]
"""Matches of each query."""


def can_travel(token: str) -> bool:
    r"""Tell whether a token can be sent as it is in the header of a request, which holds a line of ASCII.

    Example:
        >>> can_travel("open sesame"), can_travel("open sesame\n"), can_travel("sésame")
        (True, False, False)
    """
    return token == token.strip() and token.isascii() and token.isprintable()


def pack(vectors: Vectors) -> str:
    """Write vectors as text, without losing a bit.

    Args:
        vectors: (N, D).

    Returns:
        Base64 of little-endian float32, row after row.
    """
    return base64.b64encode(np.ascontiguousarray(vectors, "<f4").tobytes()).decode()


def unpack(text: str, dim: int) -> Vectors:
    """Read vectors.

    Args:
        text: As `pack` writes it.
        dim: Their width D.

    Returns:
        Vectors (N, D).

    Raises:
        ValueError: If it is no such text.

    Example:
        >>> unpack(pack(np.array([[1.5, 2]], np.float32)), 2).tolist()
        [[1.5, 2.0]]
    """
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").reshape(-1, dim).astype(np.float32)
