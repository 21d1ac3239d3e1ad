"""A gallery: crops that were seen, by their vectors, to be searched by cameras, time, people and tags."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from semreid.errors import SemreidError
from semreid.files import require_apart
from semreid.functional.reranking import k_reciprocal_rerank
from semreid.gallery.entry import Entry, Filter, Match, Meta, Vectors
from semreid.gallery.rows import named, require_same, unit_vectors
from semreid.gallery.said import NOT_A_PERSON
from semreid.gallery.store import How, NoSuchRowError, Store, Written, without_password
from semreid.gallery.uri import MEMORY, open_store
from semreid.models.embedder import Embedder

ANY = Filter()
POOL = 100  # candidates that re-ranking looks at, at least
LARGEST_K = 16_384  # what a Milvus server gives at most
TIE = 1e-6  # similarities that differ less are equal: the same product of matrices may round differently
Reorder = Callable[[int, Sequence[Match]], list[Match]]
"""Puts the candidates of a query, given by its row, into another order."""


@dataclass(frozen=True)
class Stats:
    """A gallery in numbers.

    Attributes:
        rows: Number of crops.
        people: Number of distinct people that are known.
        unknown: Crops of nobody in particular; those that show no person, as somebody said, do not count.
        cameras: Crops by camera, in order; key None for unknown.
        first: Earliest timestamp; None if no crop has any.
        last: Latest timestamp.
        dim: Width of the vectors.
        fingerprint: Of the model that made them; empty if never stated.
    """

    rows: int
    people: int
    unknown: int
    cameras: dict[int | None, int]
    first: float | None
    last: float | None
    dim: int
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON can hold them."""
        cameras = {"unknown" if camid is None else str(camid): n for camid, n in self.cameras.items()}
        return {**asdict(self), "cameras": cameras}


class Gallery:
    """Crops by id, with their unit vectors; use `Gallery.open`.

    Searches may run in several threads, also while one thread writes.

    Example:
        >>> gallery = Gallery.open("memory:", dim=2)
        >>> gallery.add([[1, 0], [0, 1]], [Entry(id="a", camid=1), Entry(id="b", camid=2)])
        Written(new=2, replaced=0, kept=0)
        >>> [(match.entry.id, match.similarity) for match in gallery.search([[3, 4]], k=1)[0]]
        [('b', 0.800000011920929)]
        >>> gallery.search([[3, 4]], k=1, where=Filter(camids=[1]))[0][0].entry.id
        'a'
    """

    def __init__(self, uri: str, store: Store) -> None:
        self.uri = without_password(uri)
        self._store = store

    @classmethod
    def open(cls, uri: str | Path, *, dim: int | None = None, fingerprint: str | None = None) -> Self:
        """Open a gallery, or make it if there is none and ``dim`` says how wide its vectors will be.

        Args:
            uri: ``memory:`` (gone with the process), a ``.parquet`` file (searched in memory), a ``.db`` folder
                (Milvus Lite; one process at a time), or ``http://HOST:PORT[/DATABASE][?OPTIONS][#NAME]`` of a
                Milvus server or cluster, whose token is taken from the environment variable
                ``SEMREID_MILVUS_TOKEN``; options are parameters that its index searches with, such as ``ef=128``;
                or ``serve:http://HOST:PORT`` of a running ``semreid serve``, which owns the gallery.
            dim: Width of the vectors; an existing gallery must have it.
            fingerprint: Of the model that makes the vectors; an existing gallery must have it.

        Raises:
            SemreidError: If there is no such gallery, it is damaged, in use or out of reach, or holds vectors of
                another model or width.
        """
        uri = str(uri)
        uri = bare if (bare := uri.rstrip("/")).endswith(".db") else uri  # as the tab key completes a folder
        if dim is not None and dim < 1:
            raise SemreidError(f"vectors cannot have {dim} values", fix="give the width of the model's: dim=model.dim")
        gallery = cls(uri, open_store(uri, None if dim is None else Meta(dim, fingerprint or "")))
        try:
            gallery._require(dim, fingerprint)
        except SemreidError:
            gallery.close()
            raise
        return gallery

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._store.meta.dim

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model that made the vectors; empty if it was never stated."""
        return self._store.meta.fingerprint

    @property
    def place(self) -> str:
        """Where it is kept, the same for whoever opens it from another folder of the same machine."""
        return self.uri if self.uri == MEMORY or "://" in self.uri else os.path.realpath(Path(self.uri).expanduser())

    def require(self, embedder: Embedder) -> None:
        """Make sure that vectors of an embedder may be compared with those of this gallery.

        Raises:
            SemreidError: If the gallery holds vectors of another model or width.
        """
        self._require(embedder.dim, embedder.fingerprint)

    def add(self, vectors: ArrayLike, entries: Sequence[Entry]) -> Written:
        """Add rows whose ids are new; leave those that are there as they are.

        When this returns, the rows are safe: a process killed after it loses none of them.

        Args:
            vectors: (N, D); normalised here where they are not.
            entries: What is known of each; without an id, it is derived from path and box, else the content.

        Returns:
            How many rows were new and how many kept.

        Raises:
            SemreidError: If shapes differ, a vector is zero or not finite, an id comes twice, or the rows cannot be
                stored; then calling again with the same rows completes the job.
        """
        return self._put(vectors, entries, "add")

    def upsert(self, vectors: ArrayLike, entries: Sequence[Entry]) -> Written:
        """Add rows; replace those whose ids are there, with all that was known of them: `renew` keeps that.

        Args:
            vectors: As in `add`.
            entries: As in `add`.

        Returns:
            How many rows were new and how many replaced another.

        Raises:
            SemreidError: As `add`.
        """
        return self._put(vectors, entries, "upsert")

    def renew(self, vectors: ArrayLike, entries: Sequence[Entry]) -> Written:
        """Add rows; give those whose ids are there new vectors, and keep what was said of them, also just now.

        Args:
            vectors: As in `add`.
            entries: As in `add`; `semreid.gallery.said.renewed` tells what stays where they tell nothing else.

        Returns:
            How many rows were new and how many replaced another.

        Raises:
            SemreidError: As `add`.
        """
        return self._put(vectors, entries, "renew")

    def exchange(self, before: Sequence[Entry], after: Sequence[Entry], *, partly: bool = False) -> int:
        """Change what is known of rows that are still as somebody saw them; their vectors stay.

        Nobody comes between who writes to the same file or through the same ``semreid serve``; a Milvus server sees a
        look and at once a write.

        Args:
            before: Rows as they were seen, each once.
            after: The same rows as they shall be.
            partly: Change those that are still so, and leave the others alone, instead of changing none.

        Returns:
            How many rows were changed.

        Raises:
            ChangedError: If a row has changed or is gone, unless ``partly``.
            SemreidError: If these are not the same rows before and after, each once, or they cannot be stored.
        """
        ids, later = ([entry.id for entry in entries] for entries in (before, after))
        if ids != later or len({*ids}) < len(ids):
            raise SemreidError(
                f"{len(ids):,} rows before and {len(later):,} after are not the same ones in the same order, each once",
                fix="give what shall be known of each row where it stood: replace(entry, pid=...) of each",
            )
        return self._store.exchange(before, after, partly=partly)

    def remove(self, ids: Sequence[str] = (), *, where: Filter = ANY) -> int:
        """Remove rows by their ids, or all that pass a filter.

        Args:
            ids: Ids; those that are not there are passed over.
            where: Filter; must ask for something, so that nobody empties a gallery by mistake.

        Returns:
            How many rows there were.

        Raises:
            SemreidError: If neither or both are given, or the rows cannot be removed.
        """
        ids = _checked(ids)
        if bool(ids) == bool(_filter(where)):
            raise SemreidError(
                f"which rows of {self.uri} to remove is said {'twice: by ids and by a filter' if ids else 'nowhere'}",
                fix="give ids of rows, or cameras, people, tags or times (--pid, --camid, --tag, --since, --until; in "
                "Python, a Filter), but not both",
            )
        with self._store.writing():
            batches = [self._store.entries(ids).values()] if ids else (rows for rows, _ in self.scan(where))
            found = [entry.id for batch in batches for entry in batch]
            if found:
                self._store.delete(found)  # all at once: each time, a file is written anew
        return len(found)

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Look up entries.

        Returns:
            Entry or None for each, in order.
        """
        ids = _checked(ids)
        found = self._store.entries(ids)
        return [found.get(id_) for id_ in ids]

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Look up vectors.

        Args:
            ids: Ids of existing rows.

        Returns:
            Unit vectors (N, D), in the order of ``ids``.

        Raises:
            NoSuchRowError: If an id is not there.
        """
        return self._store.vectors(_checked(ids))

    def search(
        self,
        vectors: ArrayLike,
        k: int = 10,
        *,
        where: Filter = ANY,
        query_camids: Sequence[int | None] | None = None,
        rerank: bool = False,
        reorder: Reorder | None = None,
    ) -> list[list[Match]]:
        """Find the most similar crops of each query.

        Args:
            vectors: Queries (Q, D), such as ``model.embed(images)``; normalised here where they are not.
            k: How many to find for each, from 1 to 16,384.
            where: Which rows to consider.
            query_camids: Camera of each query: its crops are left out, as a match within one camera proves little.
            rerank: Put the best ``max(4 k, 100)`` of each query into the order of k-reciprocal re-ranking among
                themselves before the first ``k`` are taken. Similarities stay those of the vectors.
            reorder: Likewise into an order of its own, such as `semreid.gallery.parts.PartOrder`.

        Returns:
            Up to ``k`` matches for each query, best first; an empty list where nothing passes the filter.

        Raises:
            SemreidError: If shapes differ, a query is zero or not finite, ``k`` is out of range, or two orders are
                asked for.
        """
        queries = unit_vectors(vectors, self.dim, "query")
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= LARGEST_K:
            raise SemreidError(f"k is {k!r}", fix=f"ask for 1 to {LARGEST_K:,} matches")
        if query_camids is not None and len(query_camids) != len(queries):
            raise SemreidError(f"{len(queries)} queries have {len(query_camids)} cameras", fix="give one for each")
        if rerank and reorder:
            raise SemreidError("re-ranking and another order exclude each other", fix="ask for one of the two")
        order = self._reranking(queries) if rerank else reorder
        depth = min(max(4 * int(k), POOL), LARGEST_K) if order else int(k)
        found = self._search(queries, depth, _filter(where), query_camids)
        return [order(row, matches)[:k] for row, matches in enumerate(found)] if order else found

    def scan(self, where: Filter = ANY, *, vectors: bool = False) -> Iterator[tuple[list[Entry], Vectors]]:
        """Go through all rows that pass a filter, in bounded memory and no particular order.

        Yields:
            Entries and their vectors (N, D), or (N, 0) without ``vectors``.
        """
        return self._store.scan(_filter(where), vectors=vectors)

    def count(self, where: Filter = ANY) -> int:
        """Count rows."""
        return self._store.count(_filter(where))

    def stats(self) -> Stats:
        """Describe the gallery in numbers; reads all rows, without their vectors."""
        people: set[str] = set()
        cameras: Counter[int | None] = Counter()
        first, last, unknown = np.inf, -np.inf, 0
        for entries, _ in self.scan():
            people.update(entry.pid for entry in entries if entry.pid is not None)
            unknown += sum(entry.pid is None and NOT_A_PERSON not in entry.tags for entry in entries)
            cameras.update(entry.camid for entry in entries)
            times = [entry.timestamp for entry in entries if entry.timestamp is not None]
            first, last = min([first, *times]), max([last, *times])
        ordered = dict(sorted(cameras.items(), key=lambda item: (item[0] is None, item[0])))
        known = first <= last
        return Stats(
            sum(cameras.values()),
            len(people),
            unknown,
            ordered,
            float(first) if known else None,
            float(last) if known else None,
            *self._store.meta,
        )

    def recall(self, vectors: ArrayLike, k: int = 10, *, where: Filter = ANY) -> float:
        """Measure what share of the truly nearest crops a search finds: 1 unless somebody chose a faster index.

        Reads all rows that pass the filter, with their vectors, in bounded memory.

        Args:
            vectors: Queries (Q, D), a few hundred.
            k: How many crops are looked for.
            where: Which rows to look at, where all would take too long.

        Returns:
            The share, over all queries, of their ``k`` nearest by exact comparison that `search` gives.

        Raises:
            SemreidError: As `search`, or if there are no queries or no rows.
        """
        names = [[match.entry.id for match in matches] for matches in self.search(vectors, k, where=where)]
        queries = unit_vectors(vectors, self.dim, "query")
        best, found = ([np.zeros(0, np.float32) for _ in queries] for _ in range(2))
        for entries, batch in self.scan(where, vectors=True):
            place = {entry.id: i for i, entry in enumerate(entries)}
            for row, line in enumerate(queries @ batch.T):
                best[row] = np.sort(np.concatenate([best[row], line]))[-k:]
                found[row] = np.append(found[row], line[[place[name] for name in names[row] if name in place]])
        wanted = sum(map(len, best))
        if not wanted:
            raise SemreidError(
                f"there is nothing to find: {len(queries)} queries, {self.count(where)} rows",
                fix="give a query, and a filter that rows pass",
            )
        # Of rows that are equally near, any will do.
        right = sum(np.count_nonzero(f >= b[0] - TIE) for f, b in zip(found, best, strict=True))
        return int(right) / wanted

    def export_parquet(self, file: Path | str) -> int:
        """Write all rows into a Parquet file, which is itself a gallery that can be opened.

        Args:
            file: The file, whose name ends in ``.parquet``; written whole or not at all. An earlier export of the same
                gallery is replaced.

        Raises:
            SemreidError: If it cannot be written, is this gallery itself, where others may write meanwhile, or is any
                other file than an earlier export of this gallery.
        """
        from semreid.gallery.parquet import require_replaceable, write_gallery

        require_apart([Path(file)], [Path(self.uri).expanduser()], "this gallery itself")
        require_replaceable(Path(file), self.place)
        return write_gallery(Path(file), self._store.meta, self.scan(vectors=True), export_of=self.place)

    def import_parquet(self, file: Path | str, *, replace_known: bool = False) -> Written:
        """Add all rows of an exported gallery, batch by batch; running it again completes a broken run.

        Args:
            file: A file written by `export_parquet`.
            replace_known: Replace rows whose ids are there by what they were when they were exported, instead of
                keeping them.

        Raises:
            SemreidError: If the file is damaged or of another model or width.
        """
        from semreid.gallery.parquet import read_gallery

        meta, batches = read_gallery(Path(file))
        require_same(str(file), meta, self._store.meta)
        write = self.upsert if replace_known else self.add
        counts = [write(vectors, entries) for entries, vectors in batches]
        return Written(*np.sum([Written(0, 0, 0), *counts], axis=0).tolist())

    def close(self) -> None:
        """Let go of files and connections. Rows are safe without it."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _require(self, dim: int | None, fingerprint: str | None) -> None:
        meta = self._store.meta
        wanted = Meta(meta.dim if dim is None else dim, meta.fingerprint if fingerprint is None else fingerprint)
        require_same(self.uri, meta, wanted)

    def _put(self, vectors: ArrayLike, entries: Sequence[Entry], how: How) -> Written:
        unit = unit_vectors(vectors, self.dim, "row")
        return self._store.put(named(entries, unit), unit, how)

    def _search(
        self, queries: Vectors, k: int, where: Filter, camids: Sequence[int | None] | None
    ) -> list[list[Match]]:
        """Search once for each camera that is to be left out."""
        if camids is None:
            return self._store.search(queries, k, where)
        found: list[list[Match]] = [[] for _ in queries]
        for camid in set(camids):
            rows = [row for row, c in enumerate(camids) if c == camid]
            excluded = () if camid is None else (camid,)
            others = replace(where, exclude_camids=(*where.exclude_camids, *excluded))
            for row, matches in zip(rows, self._store.search(queries[rows], k, others), strict=True):
                found[row] = matches
        return found

    def _reranking(self, queries: Vectors) -> Reorder:
        """The k-reciprocal order; who writes meanwhile may remove a candidate, which is then left out."""

        def order(row: int, matches: Sequence[Match]) -> list[Match]:
            if not matches:
                return []
            ids = [match.entry.id for match in matches]
            try:
                candidates = self._store.vectors(ids)
            except NoSuchRowError:
                there = self._store.entries(ids)
                return order(row, [match for match in matches if match.entry.id in there])
            distances = k_reciprocal_rerank(queries[row : row + 1], candidates)[0]
            return [matches[i] for i in np.argsort(distances, kind="stable")]

        return order


def _filter(where: Filter) -> Filter:
    """Refuse what is no filter before a database sees it."""
    if not isinstance(where, Filter):
        raise SemreidError(f"where is {where!r}, which is no filter", fix="write Filter(camids=[1], tags=['night'])")
    return where


def _checked(ids: Sequence[str]) -> Sequence[str]:
    """Refuse what can be no id before a database sees it."""
    if isinstance(ids, str):
        raise SemreidError(f"ids must be a list, not the text {ids!r}", fix=f"[{ids!r}]")
    return [Entry(id_).id for id_ in ids]
