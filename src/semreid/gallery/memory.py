"""Exact search in this process, over one table in memory; kept in a Parquet file where one is named."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semreid.errors import SemreidError, located
from semreid.files import exclusive
from semreid.functional.distance import row_blocks
from semreid.gallery.entry import Entry, Filter, Match, Meta, Vectors
from semreid.gallery.parquet import read_gallery, write_gallery
from semreid.gallery.rows import named, require_same, unit_vectors
from semreid.gallery.store import LookingStore, require_rows

Rows = NDArray[np.int64]
FACTS = np.dtype([("camid", np.int64), ("timestamp", np.float64), ("person", np.int64)])
NOBODY = -1  # camera or person of rows where it is unknown
SCAN = 8192  # rows a batch
DENSE = 3  # one in so many rows passes the filter: from there on it is faster to compare with all of them
WORTH = 0.75  # share of the rows that must be there for a table to be worth its memory
STEP = 256  # rows copied at once: a block that stays in the cache


@dataclass(frozen=True)
class _Table:
    """The rows at one moment. Never changed, so that searches go on undisturbed while another one is made.

    What it is made of may be shared with later tables and go on behind its last row. Rows that were taken out stay in
    their places until a quarter of all are.
    """

    vectors: Vectors
    facts: NDArray[np.void]
    entries: list[Entry]
    places: dict[str, int]
    people: dict[str, int]
    there: NDArray[np.bool_]

    @property
    def size(self) -> int:
        return len(self.there)

    def found(self, ids: Iterable[str]) -> dict[str, int]:
        """The places of those of the rows that are there."""
        return {id_: row for id_ in ids if (row := self.places.get(id_, self.size)) < self.size}

    def appended(self, entries: Sequence[Entry], vectors: Vectors) -> _Table:
        start, stop = self.size, self.size + len(entries)
        places = {entry.id: row for row, entry in enumerate(entries, start)}
        if len(places) < len(entries) or self.found(places):
            raise SemreidError("an id comes twice", fix="give distinct ids")
        table = self._alone() if len(self.entries) > start else self
        table.entries.extend(entries)
        table.places.update(places)
        table = replace(
            table,
            vectors=_grown(self.vectors, start, stop),
            facts=_grown(self.facts, start, stop),
            there=np.append(self.there, np.ones(len(entries), bool)),
        )
        table.vectors[start:stop] = vectors
        table.facts[start:stop] = np.array([_facts(entry, self.people) for entry in entries], FACTS)
        return table

    def without(self, ids: Sequence[str]) -> _Table:
        places, there = self.places.copy(), self.there.copy()
        there[[places.pop(id_) for id_ in ids]] = False
        table = replace(self, places=places, there=there)
        return table.packed() if there.sum() < WORTH * len(there) else table

    def packed(self) -> _Table:
        """The same rows without those that were taken out."""
        if self.there.all():
            return self
        rows = np.flatnonzero(self.there)
        entries = [self.entries[row] for row in rows]
        places = {entry.id: row for row, entry in enumerate(entries)}
        return _Table(self.vectors[rows], self.facts[rows], entries, places, self.people, np.ones(len(rows), bool))

    def _alone(self) -> _Table:
        """The same rows where another table, which could not be kept, has gone on behind them."""
        places = {id_: row for id_, row in self.places.items() if row < self.size}
        return replace(self, entries=self.entries[: self.size], places=places)

    def rows(self, where: Filter) -> Rows:
        facts, keep = self.facts[: self.size], self.there.copy()
        if where.camids:
            keep &= np.isin(facts["camid"], where.camids)
        if where.exclude_camids:
            keep &= ~np.isin(facts["camid"], where.exclude_camids)
        if where.since is not None:
            keep &= facts["timestamp"] >= where.since  # an unknown time is NaN: no comparison holds
        if where.until is not None:
            keep &= facts["timestamp"] < where.until
        if where.pids:
            keep &= np.isin(facts["person"], [self.people[pid] for pid in where.pids if pid in self.people])
        rows = np.flatnonzero(keep)
        if where.tags:
            rows = rows[[set(self.entries[row].tags).issuperset(where.tags) for row in rows]]
        return rows


class MemoryStore(LookingStore):
    """Rows in memory; with a file, each write rewrites it whole and atomically, with what others wrote since.

    Args:
        meta: Width and fingerprint of the vectors.
        file: Parquet file to keep the rows in; empty or missing files are made at the first write.
    """

    def __init__(self, meta: Meta, file: Path | None = None) -> None:
        self.meta = meta
        self._file = file
        self._seen: tuple[int, ...] | None = None
        self._writing = threading.Lock()
        self._table = _empty(meta.dim)

    @classmethod
    def load(cls, file: Path) -> MemoryStore:
        """Read a gallery file.

        Args:
            file: An existing Parquet file with the columns and the metadata of a gallery.

        Raises:
            SemreidError: If the file is damaged or no gallery, or holds rows that no gallery can.
        """
        store = cls(read_gallery(file)[0], file)
        store._refresh(file)
        return store

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Wait for other threads and processes that write, and read what they wrote."""
        with self._writing, contextlib.ExitStack() as stack:
            if self._file is not None:
                stack.enter_context(exclusive(self._file))
                self._refresh(self._file)
            yield

    def write(self, entries: Sequence[Entry], vectors: Vectors) -> None:
        """Insert or replace rows; replaced ones move to the end."""
        known = self._table.found(entry.id for entry in entries)
        table = self._table.without([*known]) if known else self._table
        self._commit(table.appended(entries, vectors))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete existing rows."""
        self._commit(self._table.without(ids))

    def entries(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Return those of the entries that exist."""
        table = self._table
        return {id_: table.entries[row] for id_, row in table.found(ids).items()}

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors of rows that are there, all of them."""
        table = self._table
        rows = table.found(ids)
        require_rows(ids, rows)
        return table.vectors[[rows[id_] for id_ in ids]]

    def search(self, queries: Vectors, k: int, where: Filter) -> list[list[Match]]:
        """Compare each query with every row that passes the filter."""
        table = self._table
        rows = table.rows(where)
        if not len(rows):
            return [[] for _ in queries]
        return [
            [Match(table.entries[row], similarity) for row, similarity in found]
            for block in row_blocks(len(queries), table.size)
            for found in _nearest(queries[block], table.vectors[: table.size], rows, k)
        ]

    def scan(self, where: Filter, *, vectors: bool) -> Iterator[tuple[list[Entry], Vectors]]:
        """Yield rows in the order they came."""
        table = self._table
        rows = table.rows(where)
        for start in range(0, len(rows), SCAN):
            batch = rows[start : start + SCAN]
            content = table.vectors[batch] if vectors else np.zeros((len(batch), 0), np.float32)
            yield [table.entries[row] for row in batch], content

    def count(self, where: Filter) -> int:
        """Count rows."""
        return len(self._table.rows(where))

    def close(self) -> None:
        """Do nothing: every write was complete."""

    def _refresh(self, file: Path) -> None:
        """Read the file if it is another one than before; rows of a file that somebody removed are not lost."""
        state = _state(file)  # before it is read: what is written meanwhile is read next time
        if state in (None, self._seen):
            return
        meta, batches = read_gallery(file)
        require_same(str(file), meta, self.meta)
        table = _empty(meta.dim)
        for entries, vectors in batches:
            with located(file):
                unit = unit_vectors(vectors, meta.dim, "row")
                table = table.appended(named(entries, unit), unit)
        self._table, self._seen = table, state

    def _commit(self, table: _Table) -> None:
        """Show a new table to readers, once it is on disk."""
        if self._file is not None:
            table = table.packed()
            write_gallery(self._file, self.meta, [(table.entries[: table.size], table.vectors[: table.size])])
            self._seen = _state(self._file)
        self._table = table


def _empty(dim: int) -> _Table:
    return _Table(np.zeros((0, dim), np.float32), np.zeros(0, FACTS), [], {}, {}, np.zeros(0, bool))


def _state(file: Path) -> tuple[int, ...] | None:
    """What tells one content of a file from another; None if it is not there."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _nearest(queries: Vectors, vectors: Vectors, rows: Rows, k: int) -> Iterator[list[tuple[int, float]]]:
    """The ``k`` best (row, similarity) of each query; of equals, the one that came first."""
    k = min(k, len(rows))
    for line in _similarities(queries, vectors, rows):
        best = np.flatnonzero(line >= np.partition(line, -k)[-k])
        best = best[np.argsort(-line[best], kind="stable")[:k]]
        yield list(zip(rows[best].tolist(), line[best].tolist(), strict=True))


def _similarities(queries: Vectors, vectors: Vectors, rows: Rows) -> Vectors:
    """Inner products (Q, R) with some rows."""
    if len(rows) == len(vectors):
        return queries @ vectors.T
    if len(rows) * DENSE > len(vectors):
        return (queries @ vectors.T)[:, rows]
    similarity = np.empty((len(queries), len(rows)), np.float32)
    block = np.empty((STEP, vectors.shape[1]), np.float32)
    for start in range(0, len(rows), STEP):
        some = rows[start : start + STEP]
        np.take(vectors, some, axis=0, out=block[: len(some)], mode="clip")  # other modes copy once more
        similarity[:, start : start + STEP] = queries @ block[: len(some)].T
    return similarity


def _facts(entry: Entry, people: dict[str, int]) -> tuple[int, float, int]:
    """What filters look at, as numbers; people get the next free number."""
    person = NOBODY if entry.pid is None else people.setdefault(entry.pid, len(people))
    camid = NOBODY if entry.camid is None else entry.camid
    return camid, np.nan if entry.timestamp is None else entry.timestamp, person


def _grown(buffer: NDArray, used: int, needed: int) -> NDArray:  # type: ignore[type-arg]
    """Return a buffer with room for ``needed`` rows: the same one, or one twice as long."""
    if needed <= len(buffer):
        return buffer
    longer = np.empty((max(needed, 2 * len(buffer)), *buffer.shape[1:]), buffer.dtype)
    longer[:used] = buffer[:used]
    return longer
