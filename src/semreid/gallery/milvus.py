"""A gallery in Milvus: a file of Milvus Lite, or by the same code a server or cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from semreid.errors import SemreidError
from semreid.files import explained, require_writable
from semreid.gallery.entry import MAX_BYTES, MAX_TAGS, Entry, Filter, Match, Meta, Vectors
from semreid.gallery.expression import behind, by_id, expression
from semreid.gallery.store import LookingStore, missing, require_rows, without_password
from semreid.parallel import pieces

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

NAME = "semreid"
FORMAT = "1"
LEVELS = ("Strong", "Session", "Bounded", "Eventually")
UNKNOWN = -1  # camera of rows where it is unknown; Milvus 2.3 has no null
FACTS = ["id", "path", "pid", "camid", "timestamp", "box", "tags"]
TIMEOUT = 60.0  # seconds until a server that does not answer is given up
GRPC = {
    "grpc.max_reconnect_backoff_ms": 2000,  # gRPC would ask a server that was away every 2 minutes only
    "grpc.keepalive_time_ms": 330_000,  # a gRPC server hangs up on who pings it more often than every 5 minutes,
    "grpc.keepalive_permit_without_calls": 0,  # or while nothing is asked; pymilvus would do so every 10 seconds
}
LOADING = 3600.0  # seconds for a server to bring a large gallery into memory
REQUEST_BYTES = 8 * 2**20  # a server takes at most 64 MiB
REQUEST_ROWS = 1000
PAGE_ROWS = 8192  # rows read at once; a server gives at most 16,384
PAGE_BYTES = 16 * 2**20
LITE_UNFLUSHED = 1024  # rows that came since the last flush are searched 30 times slower in Lite than flushed ones
SERVER_FIX = "see that the server runs and can be reached"
LITE_FIX = "see that the disk has free space and the folder can be written"
RELEASED = re.compile("not loaded|in state 'released'")
_lite_users: Counter[str] = Counter()
_lite_lock = threading.Lock()
_lite_turn = (
    threading.Lock()
)  # Lite does not take writes from several threads, and rows on their way to a file are unseen


class MilvusStore(LookingStore):
    """Rows in a Milvus collection; use `MilvusStore.open`.

    Search is exact, as the index is FLAT, until somebody replaces it. Reads, and searches unless the URI says
    otherwise, see every write that was acknowledged, by whichever process.
    """

    def __init__(self, uri: str, name: str, client: MilvusClient, options: dict[str, Any]) -> None:
        self._uri, self._name, self._client, self._options = uri, name, client, options
        self._lite = is_lite(uri)
        self._unflushed = LITE_UNFLUSHED  # a process that was killed may have left any number
        self._open = True
        self.meta = Meta(0, "")

    @classmethod
    def open(cls, uri: str, meta: Meta | None) -> MilvusStore:
        """Open a gallery in Milvus, or make it.

        Args:
            uri: ``FOLDER.db``, or ``http://HOST:PORT[/DATABASE][?OPTIONS][#NAME]``; options are parameters that
                the index searches with (``ef=128``) and ``consistency=Bounded``.
            meta: What to make it with if there is none; None: it must be there.

        Raises:
            SemreidError: If there is none, Milvus is not installed, in use or out of reach, or what is there is no
                gallery.
        """
        if is_lite(uri):
            address, name, options = _lite_path(uri, make=meta is not None), NAME, _options("")
        else:
            address, name, options = _server(uri)
        store = cls(address, name, _connect(address), options)
        try:
            store.meta = store._described(meta)
        except SemreidError:
            store.close()
            raise
        return store

    def writing(self) -> AbstractContextManager[None]:
        """Return at once: a database sees a look and a write, with which others may come between."""
        return contextlib.nullcontext()

    def write(self, entries: Sequence[Entry], vectors: Vectors) -> None:
        """Insert or replace rows."""
        rows = [_row(entry, vector) for entry, vector in zip(entries, vectors, strict=True)]
        step = max(1, min(REQUEST_ROWS, REQUEST_BYTES // (4 * self.meta.dim + 1024)))
        with self._asking("write"):
            for some in pieces(rows, step):
                self._client.upsert(self._name, list(some), timeout=TIMEOUT)
            self._unflushed += len(rows)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete existing rows."""
        with self._asking("delete"):
            for some in pieces(ids, REQUEST_ROWS):
                self._client.delete(self._name, filter=by_id(some), timeout=TIMEOUT)
            self._unflushed += len(ids)

    def entries(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Return those of the entries that exist."""
        return {row["id"]: _entry(row) for row in self._rows(ids, FACTS)}

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors of rows that are there, all of them."""
        found = {row["id"]: row["vector"] for row in self._rows(ids, ["id", "vector"])}
        require_rows(ids, found)
        return np.array([found[id_] for id_ in ids], np.float32).reshape(-1, self.meta.dim)

    def search(self, queries: Vectors, k: int, where: Filter) -> list[list[Match]]:
        """Search by the index of the collection."""
        found: list[list[Match]] = []
        step = max(1, REQUEST_ROWS * 10 // k)
        with self._asking("search"):
            self._flush()
            for start in range(0, len(queries), step):
                hits = self._in_memory(
                    self._client.search,
                    data=list(queries[start : start + step]),
                    limit=k,
                    filter=expression(where),
                    output_fields=FACTS,
                    anns_field="vector",
                    timeout=TIMEOUT,
                    **self._options,
                )
                found += [[Match(_entry(hit["entity"]), float(hit["distance"])) for hit in line] for line in hits]
        return found

    def scan(self, where: Filter, *, vectors: bool) -> Iterator[tuple[list[Entry], Vectors]]:
        """Yield rows in the order of their ids; the iterator of pymilvus breaks at ids with quotes."""
        fields = [*FACTS, "vector"] if vectors else FACTS
        page = max(1, min(PAGE_ROWS, PAGE_BYTES // (4 * self.meta.dim))) if vectors else PAGE_ROWS
        last = ""
        settings = {
            "limit": page,
            "iterator": "True",
            "reduce_stop_for_best": "True",
        }  # the server sorts, and then cuts
        while rows := self._query(behind(last, where), fields, **settings):
            last = rows[-1]["id"]
            content = [row["vector"] for row in rows] if vectors else np.zeros((len(rows), 0))
            yield [_entry(row) for row in rows], np.asarray(content, np.float32)

    def count(self, where: Filter) -> int:
        """Count rows."""
        return int(self._query(expression(where), ["count(*)"])[0]["count(*)"])

    def close(self) -> None:
        """Close the connection; the last one to a Lite file releases it for other processes."""
        if self._open:
            self._open = False
            self._client.close()
            if self._lite:
                _release_lite(self._uri)

    def _described(self, meta: Meta | None) -> Meta:
        """Make the collection if it is missing, bring it into memory, and read what its vectors are."""
        with self._asking("open"):
            if not self._client.has_collection(self._name, timeout=TIMEOUT):
                if meta is None:
                    raise missing(self._shown)
                self._create(meta)
            description = self._client.describe_collection(self._name, timeout=TIMEOUT)
            stated = description["properties"]
            if stated.get("semreid.format") != FORMAT:
                raise SemreidError(
                    f"{self._shown} has a collection {self._name!r} that is no gallery of this version",
                    fix="choose another folder"
                    if self._lite
                    else "name another one behind #, such as http://localhost:19530#people",
                )
            self._client.load_collection(self._name, timeout=LOADING)
        dims = [field["params"]["dim"] for field in description["fields"] if field["name"] == "vector"]
        return Meta(int(dims[0]), stated["semreid.fingerprint"])

    def _create(self, meta: Meta) -> None:
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="IP")
        self._client.create_collection(
            self._name,
            schema=_schema(meta.dim),
            index_params=index,
            consistency_level="Strong",
            properties={"semreid.format": FORMAT, "semreid.fingerprint": meta.fingerprint},
            timeout=TIMEOUT,
        )

    def _rows(self, ids: Sequence[str], fields: list[str]) -> list[Mapping[str, Any]]:
        return [row for some in pieces(ids, REQUEST_ROWS) for row in self._query(by_id(some), fields)]

    def _query(self, wanted: str, fields: list[str], **settings: object) -> Sequence[Mapping[str, Any]]:
        """Read rows, every acknowledged one."""
        settings |= {"consistency_level": "Strong", "timeout": TIMEOUT}
        with self._asking("read"):
            rows: Sequence[Mapping[str, Any]] = self._in_memory(
                self._client.query, filter=wanted, output_fields=fields, **settings
            )
            return rows

    def _in_memory(self, question: Callable[..., Any], **settings: object) -> Any:  # noqa: ANN401 - of pymilvus
        """Ask; a server that has restarted may have to bring the collection into memory again first."""
        from pymilvus.exceptions import MilvusException

        try:
            return question(self._name, **settings)
        except MilvusException as error:
            if not RELEASED.search(error.message):
                raise
        self._client.load_collection(self._name, timeout=LOADING)
        return question(self._name, **settings)

    def _flush(self) -> None:
        """Let Lite write rows into files before it searches, if they are many; writing alone is faster without."""
        if self._lite and self._unflushed >= LITE_UNFLUSHED:
            self._client.flush(self._name, timeout=TIMEOUT)
            self._unflushed = 0

    @property
    def _shown(self) -> str:
        return without_password(self._uri)

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        with _lite_turn if self._lite else contextlib.nullcontext(), _translated(self._uri, f"cannot {what}"):
            yield


def is_lite(uri: str) -> bool:
    """Tell whether a URI names a folder of Milvus Lite; a name of a server may end like one."""
    return uri.endswith(".db") and "://" not in uri


def _connect(address: str) -> MilvusClient:
    pymilvus = _pymilvus()
    lite = is_lite(address)
    if lite:
        with _lite_lock:
            _lite_users[address] += 1
    try:
        with _translated(address, "cannot connect"):
            token = "" if lite else os.environ.get("SEMREID_MILVUS_TOKEN", "")
            return pymilvus.MilvusClient(address, token=token, timeout=TIMEOUT, grpc_options=GRPC)
    except SemreidError:
        if lite:
            _release_lite(address)
            raise SemreidError(
                f"{address} cannot be opened: another process has it open, or it is damaged",
                fix="one process at a time owns a .db gallery: stop the other one, or ask it (`semreid serve`)",
            ) from None
        raise


def _pymilvus() -> Any:  # noqa: ANN401 - a module
    """Import pymilvus, which like Lite would otherwise log each error with a traceback before it raises it."""
    try:
        import milvus_lite  # noqa: F401
        import pymilvus
    except ImportError as error:
        raise SemreidError(f"this gallery needs {error.name}", fix="pip install 'semreid[milvus]'") from error
    for name in ("pymilvus", "milvus_lite.server_manager", "milvus_lite.adapter.grpc.servicer"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return pymilvus


@contextlib.contextmanager
def _translated(address: str, failure: str) -> Iterator[None]:
    """Tell what Milvus and gRPC raise in the words of a user."""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError, ConnectionError) as error:
        reason = (getattr(error, "message", "") or str(error)).replace(address, without_password(address))
        raise SemreidError(
            f"{without_password(address)}: {failure}: {reason.splitlines()[0] if reason else type(error).__name__}",
            fix=f"{LITE_FIX if is_lite(address) else SERVER_FIX}; rows that were acknowledged are safe, and "
            "running the same command again completes it",
        ) from error


def _lite_path(uri: str, *, make: bool) -> str:
    """The absolute path of a Lite file, as one process may open it by several names."""
    path = Path(uri).expanduser().absolute()
    if not path.exists() and not make:
        raise missing(uri)
    if path.exists() and not (path.is_dir() and ((path / "LOCK").exists() or not any(path.iterdir()))):
        raise SemreidError(
            f"{path} is no gallery of Milvus Lite 3",
            fix="choose another name; files of Milvus Lite 2 cannot be read any more",
        )
    try:
        require_writable(path / "LOCK")  # even whoever only searches it writes there
    except SemreidError as error:
        if not path.exists():
            raise
        raise SemreidError(
            f"{path} may not be written, and Milvus Lite writes there even to search",
            fix="allow to write it, or copy the whole folder to where you may",
        ) from error
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return str(path)


def _release_lite(path: str) -> None:
    from milvus_lite.server_manager import server_manager_instance

    with _lite_lock:
        _lite_users[path] -= 1
        if _lite_users[path] < 1:
            server_manager_instance.release_server(path)


def _server(uri: str) -> tuple[str, str, dict[str, Any]]:
    """Address, collection and arguments of a search from the URI of a gallery on a server."""
    address, _, name = uri.partition("#")
    address, _, query = address.partition("?")
    if not re.fullmatch(r"[A-Za-z_]\w{0,254}", name or NAME, re.ASCII):
        raise SemreidError(f"{name!r} cannot name a gallery", fix="use letters, digits and _")
    return address, name or NAME, _options(query)


def _options(query: str) -> dict[str, Any]:
    """Arguments of a search from the query of a URI."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    level = given.pop("consistency", "Strong")
    if level not in LEVELS or not all(value.isdecimal() for value in given.values()):
        raise SemreidError(
            f"cannot read the options {query!r} of a gallery",
            fix=f"write numbers for the index, such as ?ef=128, and for consistency one of {', '.join(LEVELS)}",
        )
    parameters = {name: int(value) for name, value in given.items()}
    return {"consistency_level": level, "search_params": {"params": parameters}}


def _schema(dim: int) -> CollectionSchema:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, max_length=MAX_BYTES["id"], is_primary=True)
    schema.add_field("path", DataType.VARCHAR, max_length=MAX_BYTES["path"])
    schema.add_field("pid", DataType.VARCHAR, max_length=MAX_BYTES["pid"])
    schema.add_field("camid", DataType.INT64)
    schema.add_field("timestamp", DataType.DOUBLE)
    schema.add_field("box", DataType.ARRAY, element_type=DataType.DOUBLE, max_capacity=4)
    schema.add_field(
        "tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=MAX_TAGS, max_length=MAX_BYTES["tag"]
    )
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    return schema


def _row(entry: Entry, vector: Vectors) -> dict[str, Any]:
    return {
        "id": entry.id,
        "path": entry.path,
        "pid": entry.pid or "",
        "camid": UNKNOWN if entry.camid is None else entry.camid,
        "timestamp": np.nan if entry.timestamp is None else entry.timestamp,
        "box": list(entry.box or ()),
        "tags": list(entry.tags),
        "vector": vector,
    }


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(
        id=row["id"],
        path=row["path"],
        pid=row["pid"] or None,
        camid=None if row["camid"] == UNKNOWN else row["camid"],
        timestamp=None if np.isnan(row["timestamp"]) else row["timestamp"],
        box=tuple(row["box"]) or None,
        tags=tuple(row["tags"]),
    )
