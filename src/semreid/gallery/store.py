"""What is behind a gallery: the one interface that the memory and Milvus stores fill."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from urllib.parse import urlsplit

from semreid.errors import SemreidError
from semreid.gallery.entry import Entry, Filter, Match, Meta, Vectors


class Store(Protocol):
    """Rows of entries and unit vectors. Arguments were checked by the gallery: a store trusts them.

    Rows are safe when a call that wrote them has returned: a process killed after that loses none.
    """

    @property
    def meta(self) -> Meta:
        """Width of the vectors and fingerprint of the model that made them."""

    def writing(self) -> AbstractContextManager[None]:
        """Keep other writers away, having seen what they wrote: what is read within holds until it is written."""

    def write(self, entries: Sequence[Entry], vectors: Vectors) -> None:
        """Insert rows, or replace those with the same id; ids are distinct within a call. Needs `writing`."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the rows with these ids, which exist. Needs `writing`."""

    def entries(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Return those of the entries that exist, by id."""

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors (N, D) of rows, in the order of ``ids``; `NoSuchRowError` if one is not there."""

    def search(self, queries: Vectors, k: int, where: Filter) -> list[list[Match]]:
        """Return up to ``k`` nearest entries of each query (Q, D), best first."""

    def scan(self, where: Filter, *, vectors: bool) -> Iterator[tuple[list[Entry], Vectors]]:
        """Yield all rows in bounded batches, with vectors (N, D), or (N, 0) if they are not wanted."""

    def count(self, where: Filter) -> int:
        """Count rows."""

    def close(self) -> None:
        """Let go of files and connections."""


class NoSuchRowError(SemreidError):
    """A row that was asked for and is not there."""


class ChangedError(SemreidError):
    """Rows are not as they were when somebody looked, so that what was meant for them is not done."""


def require_rows(ids: Sequence[str], found: Container[str]) -> None:
    """Refuse to go on without a row: another thread or process may have removed it since it was seen.

    Args:
        ids: Ids of the rows that are needed.
        found: Those that are there.

    Raises:
        NoSuchRowError: If one is not there.
    """
    if absent := sorted(id_ for id_ in set(ids) if id_ not in found):
        raise NoSuchRowError(
            f"there is no row {absent[0]!r} ({len(absent):,} such ids)",
            fix="check the id; the row may have been removed meanwhile",
        )


def without_password(uri: str) -> str:
    """Write a URI as it may be shown: in messages, and in pages that go to others.

    Example:
        >>> without_password("http://me:secret@host:19530#people"), without_password("people.parquet")
        ('http://host:19530#people', 'people.parquet')
    """
    host = urlsplit(uri).netloc if "://" in uri else ""
    return uri.replace(host, host.rpartition("@")[2]) if "@" in host else uri


def missing(uri: str) -> SemreidError:
    """Make the error of a gallery that is not there.

    Args:
        uri: Where it should be.

    Returns:
        The error, to be raised.
    """
    return SemreidError(f"there is no gallery at {uri}", fix="check the name, or make it: semreid gallery add")
