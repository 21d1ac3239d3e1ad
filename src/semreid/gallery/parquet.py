"""Galleries as Parquet files, and the files that ``semreid embed`` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from semreid.data.rows import MEANT, meant_column
from semreid.data.times import LATEST, seconds
from semreid.errors import SemreidError
from semreid.files import atomic_path, require_suffix
from semreid.gallery.entry import Entry, Meta, Vectors
from semreid.gallery.rows import require_same
from semreid.gallery.said import TRACK
from semreid.reading import parse_json, reading
from semreid.seal import require_intact, seal

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

KEY = b"semreid.gallery"
EXPORTED = b"semreid.export"  # which gallery an export came from
EMBEDDED = b"semreid.fingerprint"  # what `semreid embed` says of its model
FORMAT = 1
BATCH = 8192
READ = 2**16  # rows read at once: a gallery that is a file is written anew for each batch that is added
MAKE_AGAIN = "make it again"
Batch = tuple[list[Entry], Vectors]


class _Header(TypedDict):
    format: int
    dim: Annotated[int, Field(ge=1)]
    fingerprint: str


_HEADER = TypeAdapter(_Header)
COLUMNS = ("id", "path", "pid", "camid", "timestamp", "box", "tags")
TRACK_COLUMN, MODEL_COLUMN = "track", "fingerprint"
NAMES = ("id", "pid", TRACK_COLUMN)
"""Columns of texts in which other programs may have numbers."""
_KNOWN = (*COLUMNS, TRACK_COLUMN, MODEL_COLUMN, "vector")
_MEANT = {
    **MEANT,
    "trackid": TRACK_COLUMN,
    "bbox": "box",
    "embedding": "vector",
}
"""What others call these columns."""


def write_gallery(
    file: Path, meta: Meta, batches: Iterable[tuple[Sequence[Entry], Vectors]], *, export_of: str = ""
) -> int:
    """Write rows into a gallery file, whole or not at all.

    Args:
        file: The file to make or to replace.
        meta: Width and fingerprint of the vectors.
        batches: Entries and their vectors (N, D); held one batch at a time.
        export_of: The gallery that this is a copy of; empty if it is none.

    Raises:
        SemreidError: If the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(meta, export_of)
    rows = 0
    settings = {"compression": "none", "use_dictionary": ["pid", "tags.list.element"], "write_page_checksum": True}
    with atomic_path(file) as temporary:
        with pq.ParquetWriter(temporary, schema, **settings) as writer:
            for entries, vectors in batches:
                columns = [[getattr(entry, name) for entry in entries] for name in COLUMNS]
                values = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
                columns.append(pa.FixedSizeListArray.from_arrays(values, meta.dim))
                writer.write_table(pa.table(columns, schema=schema), row_group_size=BATCH)
                rows += len(entries)
        seal(temporary)
    return rows


def require_replaceable(file: Path, export_of: str) -> None:
    """Refuse to export over a file that is there, unless it is an earlier export of the same gallery.

    An export that somebody has worked with since, as with any gallery, is none any more.

    Raises:
        SemreidError: If its name does not end in .parquet, or what is there would be lost.
    """
    require_suffix(file, ".parquet", "an export")
    if not file.exists():
        return
    try:
        same = (_open(file).schema_arrow.metadata or {}).get(EXPORTED) == export_of.encode()
    except SemreidError:
        same = False
    if not same:
        raise SemreidError(
            f"{file} is there already, and is no untouched export of {export_of}: it will not be written over",
            fix="choose another file to write, or move or remove this one first",
        )


def read_gallery(file: Path) -> tuple[Meta, Iterator[Batch]]:
    """Read a gallery file.

    Args:
        file: A file written by `write_gallery`.

    Returns:
        Its meta data, and its rows in bounded batches.

    Raises:
        SemreidError: If the file is missing, damaged, or no gallery.
    """
    parquet = _open(file)
    meta = _stated(file, parquet)
    if meta is None:
        raise SemreidError(
            f"{file} is a Parquet file, but no gallery",
            fix="`semreid gallery add FILE --gallery URI --model MODEL` adds a file made by `semreid embed`",
        )
    return meta, _batches(file, parquet, meta.dim)


def read_features(file: Path, meta: Meta) -> Iterator[Batch]:
    """Read any Parquet file with a ``vector`` column, such as those of ``semreid embed``.

    Of the columns ``id``, ``path``, ``pid``, ``camid``, ``timestamp``, ``box``, ``tags`` and ``track`` (which becomes
    the tag ``track:NAME``), those present are used. Times are seconds, texts as in a CSV file, or Arrow's timestamps
    and dates; those without a zone are in UTC. Which model made the vectors is in the metadata, as ``semreid embed``
    and ``semreid gallery export`` write it, or in a column ``fingerprint``, which other programs do not drop.

    Args:
        file: The file.
        meta: Width that the vectors must have, and the model that must have made them. Where it is empty, the file must
            not tell of a model either: vectors of two models would not be told apart any more.

    Raises:
        SemreidError: If the file is missing or damaged, of another model, or does not tell of which, a column is not as
            a gallery needs it, or has another name than a gallery gives it.
    """
    parquet = _open(file)
    _require_names(file, parquet.schema_arrow.names)
    makers = list(_makers(file, parquet, meta.dim))
    for made_by in makers:
        require_same(str(file), made_by, meta)
    if meta.fingerprint and not makers:
        raise SemreidError(
            f"{file} does not tell which model made its vectors; those of the gallery are of {meta.fingerprint[:12]}",
            fix="keep the metadata of the file that `semreid embed` wrote (pandas drops it), or add a column "
            "'fingerprint' with that of the model that made the vectors: semreid.load_model(MODEL).fingerprint",
        )
    return _of_our_time(file, _batches(file, parquet, meta.dim))


def _of_our_time(file: Path, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Refuse numbers that are no seconds, as a CSV file does; a gallery that has such times already can be read."""
    first = 0
    for entries, vectors in batches:
        for row, entry in enumerate(entries, first):
            if abs(entry.timestamp or 0) > LATEST:
                raise SemreidError(
                    f"{file}, row {row}: the time {entry.timestamp:.0f}, read as seconds, is beyond the year 3000",
                    fix="write seconds (of milliseconds, a thousandth), ISO 8601, or Arrow's times",
                )
        yield entries, vectors
        first += len(entries)


def _makers(file: Path, parquet: pq.ParquetFile, dim: int) -> Iterator[Meta]:
    """All models that a file says have made its vectors, by whatever says it."""
    if stated := _stated(file, parquet):
        yield stated
    with reading(file, MAKE_AGAIN):
        header = parquet.schema_arrow.metadata or {}
        told = {header[EMBEDDED].decode()} if EMBEDDED in header else set()
        if MODEL_COLUMN in parquet.schema_arrow.names:
            for batch in parquet.iter_batches(BATCH, columns=[MODEL_COLUMN]):
                told.update(str(cell or "nobody knows") for cell in batch.column(0).unique().to_pylist())
    yield from (Meta(dim, fingerprint) for fingerprint in sorted(told))


def _require_names(file: Path, names: Sequence[str]) -> None:
    """Refuse columns that a gallery knows under another name, rather than pass over what they tell."""
    for name in names:
        meant = meant_column(name, _KNOWN, _MEANT)
        if meant and meant not in names:
            raise SemreidError(f"{file} has a column {name!r} and no {meant}", fix=f"call it {meant}, or remove it")


def _stated(file: Path, parquet: pq.ParquetFile) -> Meta | None:
    """The header of a gallery file; None where there is none."""
    content = (parquet.schema_arrow.metadata or {}).get(KEY)
    if content is None:
        return None
    stated = parse_json(content, _HEADER, f"the header of {file}", "export it again")
    if stated["format"] != FORMAT:
        raise SemreidError(
            f"{file} has gallery format {stated['format']}; this version reads {FORMAT}",
            fix="use the version of semreid that wrote it, or make the gallery anew from its files",
        )
    return Meta(stated["dim"], stated["fingerprint"])


def _schema(meta: Meta, export_of: str) -> pa.Schema:
    import pyarrow as pa

    header = json.dumps({"format": FORMAT, "dim": meta.dim, "fingerprint": meta.fingerprint})
    text, number = pa.string(), pa.float64()
    types = (text, text, text, pa.int64(), number, pa.list_(number, 4), pa.list_(text))
    fields = [*zip(COLUMNS, types, strict=True), ("vector", pa.list_(pa.float32(), meta.dim))]
    origin = {EXPORTED: export_of.encode()} if export_of else {}
    return pa.schema(fields, metadata={KEY: header.encode(), **origin})


def _open(file: Path) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    if not file.is_file():
        raise SemreidError(
            f"{file} is no file" if file.exists() else f"there is no file {file}",
            fix="name a Parquet file of `semreid gallery export` or `semreid embed`",
        )
    with reading(file, MAKE_AGAIN, "is damaged or no Parquet file"):
        return pq.ParquetFile(file, page_checksum_verification=True)


def _batches(file: Path, parquet: pq.ParquetFile, dim: int) -> Iterator[Batch]:
    columns = [name for name in (*COLUMNS, TRACK_COLUMN, "vector") if name in parquet.schema_arrow.names]
    if "vector" not in columns:
        raise SemreidError(
            f"{file} has no column 'vector'; it has {', '.join(parquet.schema_arrow.names)}",
            fix="make the file with `semreid embed`, or call its column of vectors 'vector'",
        )
    require_intact(file, MAKE_AGAIN)
    row, batches = 0, parquet.iter_batches(READ, columns=columns)
    while True:
        with reading(file, MAKE_AGAIN, f"is damaged behind row {row}"):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)
            content = _batch(file, row, batch, dim)
        yield content
        row += len(batch)


def _batch(file: Path, row: int, batch: pa.RecordBatch, dim: int) -> Batch:
    vectors = _vectors(file, row, batch.column("vector"), dim)
    names = [name for name in (*COLUMNS, TRACK_COLUMN) if name in batch.schema.names]
    columns = [_in_seconds(batch.column(name)).to_pylist() for name in names]
    entries = []
    for offset, values in enumerate(zip(*columns, strict=True) if columns else [()] * len(batch)):
        try:
            entries.append(_entry(dict(zip(names, values, strict=True))))
        except SemreidError as error:
            raise SemreidError(f"{file}, row {row + offset}: {error.what}", fix=error.fix) from error
    return entries, vectors


def _entry(values: Mapping[str, Any]) -> Entry:
    """An entry from cells; a null is the same as no cell."""
    plain = {name: _whole(value) if name in (*NAMES, "camid") else value for name, value in values.items()}
    given: dict[str, Any] = {name: value for name, value in plain.items() if value is not None}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    given |= {name: str(given[name]) for name in NAMES if type(given.get(name)) in (int, float)}
    if track := given.pop(TRACK_COLUMN, "").strip():
        given["tags"] = (*given.get("tags", ()), f"{TRACK}{track}")
    if isinstance(time := given.get("timestamp"), str):
        given["timestamp"] = seconds(time.strip())
    return Entry(**given)


def _whole(cell: object) -> object:
    """A cell of a column of whole numbers or names; where some are unknown, pandas makes fractions of numbers."""
    if not isinstance(cell, float):
        return cell
    return None if math.isnan(cell) else int(cell) if cell.is_integer() else cell


def _in_seconds(column: pa.Array) -> pa.Array:
    """Arrow's times as seconds since 1970, to the microsecond; any other column as it is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return column
    since = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return pc.divide(since.cast(pa.float64()), 1e6)


def _vectors(file: Path, row: int, column: pa.Array, dim: int) -> Vectors:
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    if not any(is_kind(column.type) for is_kind in kinds) or column.null_count:
        raise SemreidError(
            f"{file}: column 'vector' is not a list of numbers in every row (its type is {column.type})",
            fix="write the vector of each row as a list of floats, as `semreid embed` does",
        )
    values = column.flatten()
    widths = pc.unique(pc.list_value_length(column)).to_pylist()
    if widths != [dim] or values.null_count or not pa.types.is_floating(values.type):
        raise SemreidError(
            f"{file}, from row {row}: vectors of {' and '.join(map(str, widths))} values of type "
            f"{values.type}; the gallery wants {dim} floats without nulls",
            fix="use the model that made the file",
        )
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float32).reshape(-1, dim)
