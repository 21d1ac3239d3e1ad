"""What is behind a gallery: the one interface that all stores fill, and how those look and write that are here."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Container, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from semreid.errors import SemreidError
from semreid.gallery.entry import Entry, Filter, Match, Meta, Vectors
from semreid.gallery.said import renewed

How = Literal["add", "upsert", "renew"]
"""What becomes of a row that is there: it stays, is replaced, or is renewed as `semreid.gallery.said.renewed` says."""


class Written(NamedTuple):
    """What became of the rows given: new ones, ones that replaced another, ones left as they were."""

    new: int
    replaced: int
    kept: int


class Store(Protocol):
    """Rows of entries and unit vectors. Arguments were checked by the gallery: a store trusts them.

    Rows are safe when a call that wrote them has returned: a process killed after that loses none.
    """

    meta: Meta
    """Width of the vectors and fingerprint of the model that made them."""

    def put(self, rows: Sequence[Entry], vectors: Vectors, how: How) -> Written:
        """Insert rows; what becomes of those that are there is decided by what they are then. Ids are distinct."""

    def exchange(self, before: Sequence[Entry], after: Sequence[Entry], *, partly: bool) -> int:
        """Change rows that are as they were seen, and return how many; see `semreid.gallery.Gallery.exchange`."""

    def writing(self) -> AbstractContextManager[None]:
        """Keep other writers away, where they can be, having seen what they wrote."""

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


class LookingStore(Store):
    """A store that looks and then writes; nobody comes between as far as its `writing` keeps others away."""

    @abstractmethod
    def write(self, entries: Sequence[Entry], vectors: Vectors) -> None:
        """Insert rows, or replace those with the same id; ids are distinct within a call. Needs `writing`."""

    def put(self, rows: Sequence[Entry], vectors: Vectors, how: How) -> Written:
        """Insert rows, or do with those that are there what is to be done."""
        with self.writing():
            known = self.entries([row.id for row in rows])
            if how == "renew":
                rows = [renewed(known[row.id], row) if row.id in known else row for row in rows]
            wanted = [i for i, row in enumerate(rows) if how != "add" or row.id not in known]
            if wanted:
                self.write([rows[i] for i in wanted], vectors[wanted])
        new = len(rows) - len(known)
        return Written(new, 0, len(known)) if how == "add" else Written(new, len(known), 0)

    def exchange(self, before: Sequence[Entry], after: Sequence[Entry], *, partly: bool) -> int:
        """Change rows that are as they were seen."""
        with self.writing():
            now = self.entries([entry.id for entry in before])
            same = [i for i, entry in enumerate(before) if now.get(entry.id) == entry]
            if len(same) < len(before) and not partly:
                raise ChangedError(
                    f"{len(before) - len(same):,} of {len(before):,} crops are no longer as they were",
                    fix="somebody else, or a machine, has changed them meanwhile: look again",
                )
            changed = [i for i in same if after[i] != before[i]]
            if changed:
                self.write([after[i] for i in changed], self.vectors([before[i].id for i in changed]))
        return len(changed)


class NoSuchRowError(SemreidError):
    """A row that was asked for and is not there."""


class ChangedError(SemreidError):
    """Rows are not as they were when somebody looked, so that what was meant for them is not done."""


def require_rows(ids: Sequence[str], found: Container[str]) -> None:
    """Refuse to go on without a row: another thread or process may have removed it since it was seen.

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
        >>> without_password("http://me:secret@host:19530#people"), without_password("a@b.parquet")
        ('http://host:19530#people', 'a@b.parquet')
        >>> without_password("serve:http://me:sec/ret@host")
        'serve:http://host'
    """
    return re.sub(r"^((?:serve:)?\w{2,}:/+).*@|^[^/@]*:[^/@]*@", r"\1", uri, flags=re.DOTALL)


def missing(uri: str) -> SemreidError:
    """Make the error of a gallery that is not there."""
    return SemreidError(f"there is no gallery at {uri}", fix="check the name, or make it: semreid gallery add")
