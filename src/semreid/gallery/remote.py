"""The other end of `semreid.serving.store`: a gallery that a server owns, used as if it were opened here."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
from pydantic import BaseModel

from semreid.errors import SemreidError
from semreid.gallery import Entry, Filter, Match
from semreid.gallery.entry import Meta, Vectors
from semreid.gallery.store import ChangedError, How, NoSuchRowError, Store, Written, without_password
from semreid.gallery.wire import (
    ODD_TOKEN,
    About,
    Count,
    Done,
    Exchange,
    Found,
    Ids,
    Put,
    Rows,
    Scan,
    Search,
    can_travel,
    pack,
    unpack,
)
from semreid.parallel import pieces

PREFIX = "serve:"
TOKEN = "SEMREID_SERVE_TOKEN"
TIMEOUT = 120.0
REQUEST_BYTES = 4 * 2**20
REQUEST_HITS = 16_384
REQUEST_IDS = 10_000
KINDS: dict[int, type[SemreidError]] = {404: NoSuchRowError, 409: ChangedError}
"""What a status says of a question."""
Shape = TypeVar("Shape", bound=BaseModel)


class RemoteStore(Store):
    """Rows behind a server; use `RemoteStore.open`.

    Args:
        address: Where the server is, such as ``http://127.0.0.1:8000``.
        token: What it wants to be told.
    """

    def __init__(self, address: str, token: str) -> None:
        self._address, self._token = address.rstrip("/"), token
        about = self._ask("about", None, About)
        self.meta = Meta(about.dim, about.fingerprint)

    @classmethod
    def open(cls, uri: str) -> RemoteStore:
        """Reach a server.

        Args:
            uri: ``serve:http://HOST:PORT``; the token is taken from the environment variable
                ``SEMREID_SERVE_TOKEN``.

        Raises:
            SemreidError: If it cannot be reached, wants another token, or is no such server.
        """
        address, shown = uri.removeprefix(PREFIX), without_password(uri)
        if not address.startswith(("http://", "https://")):
            raise SemreidError(f"{shown!r} names no server", fix="write serve:http://HOST:PORT")
        if uri != shown:
            raise SemreidError(
                f"{shown} is written with a name or a password, and `semreid serve` takes neither",
                fix=f"leave them out, and give its token in the environment variable {TOKEN}",
            )
        token = os.environ.get(TOKEN, "")
        if token and not can_travel(token):
            raise SemreidError(
                f"the token in {TOKEN} is none that a server takes: {ODD_TOKEN}",
                fix="copy the token that the server was started with, without a line break behind it",
            )
        return cls(address, token)

    def put(self, rows: Sequence[Entry], vectors: Vectors, how: How) -> Written:
        """Let the server look and write, with no other of its writers in between."""
        done = [Written(0, 0, 0)]
        for some in pieces(range(len(rows)), max(1, REQUEST_BYTES // (6 * self.meta.dim + 1024))):
            asked = Put(entries=[rows[i] for i in some], vectors=pack(vectors[some]), how=how)
            done.append(self._ask("put", asked, Done).root)
        return Written(*map(sum, zip(*done, strict=True)))

    def exchange(self, before: Sequence[Entry], after: Sequence[Entry], *, partly: bool) -> int:
        """Let the server look and write, part by part; where all or none shall change, none stays changed."""
        changed = 0
        for some in pieces(range(len(before)), max(1, REQUEST_BYTES // 2048)):
            asked = Exchange(before=[before[i] for i in some], after=[after[i] for i in some], partly=partly)
            try:
                changed += self._ask("exchange", asked, Count).rows
            except SemreidError:
                if changed and not partly:
                    self.exchange(after[: some[0]], before[: some[0]], partly=True)
                raise
        return changed

    def writing(self) -> AbstractContextManager[None]:
        """Return at once: a look is a request, and so is what is written because of it."""
        return nullcontext()

    def delete(self, ids: Sequence[str]) -> None:
        """Delete existing rows."""
        for some in pieces(ids, REQUEST_IDS):
            self._post("delete", Ids(ids=list(some)))

    def entries(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Return those of the entries that exist."""
        found = [self._ask("entries", Ids(ids=list(some)), Rows).entries for some in pieces(ids, REQUEST_IDS)]
        return {entry.id: entry for entries in found for entry in entries}

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors of rows that are there, all of them."""
        found = [self._unpacked(str(self._post("vectors", Ids(ids=list(some))))) for some in pieces(ids, REQUEST_IDS)]
        return np.concatenate([np.zeros((0, self.meta.dim), np.float32), *found])

    def search(self, queries: Vectors, k: int, where: Filter) -> list[list[Match]]:
        """Let the server search."""
        found: list[list[Match]] = []
        step = max(1, min(REQUEST_HITS // k, REQUEST_BYTES // (6 * self.meta.dim)))
        for start in range(0, len(queries), step):
            asked = Search(queries=pack(queries[start : start + step]), k=k, where=where)
            found += self._ask("search", asked, Found).root
        return found

    def scan(self, where: Filter, *, vectors: bool) -> Iterator[tuple[list[Entry], Vectors]]:
        """Yield rows as the server goes through them."""
        with closing(self._send("scan", Scan(where=where, vectors=vectors))) as response:
            while (line := self._line(response)) != {}:
                if "error" in line:
                    raise SemreidError(str(line["error"]), fix=str(line.get("fix", "")))
                rows = self._read(line, Rows)
                content = self._unpacked(rows.vectors) if vectors else np.zeros((len(rows.entries), 0), np.float32)
                yield rows.entries, content

    def count(self, where: Filter) -> int:
        """Count rows."""
        return self._ask("count", Scan(where=where), Count).rows

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _ask(self, operation: str, body: BaseModel | None, shape: type[Shape]) -> Shape:
        return self._read(self._post(operation, body), shape)

    def _post(self, operation: str, body: BaseModel | None) -> Any:  # noqa: ANN401 - JSON
        with closing(self._send(operation, body)) as response:
            return self._line(response)

    def _send(self, operation: str, body: BaseModel | None) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None if body is None else body.model_dump_json().encode()
        request = Request(f"{self._address}/api/store/{operation}", content, headers)
        try:
            return urlopen(request, timeout=TIMEOUT)  # type: ignore[no-any-return]
        except HTTPError as error:
            with error:
                raise self._refused(error) from error
        except (URLError, OSError, http.client.HTTPException) as error:
            raise self._lost(getattr(error, "reason", error)) from error

    def _line(self, response: http.client.HTTPResponse) -> Any:  # noqa: ANN401 - JSON
        """One line of an answer; all of it, if it is no stream."""
        try:
            line = response.readline()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        if not line:
            raise self._lost("it broke off in the middle of its answer")
        with self._understood():
            return json.loads(line)

    def _read(self, content: object, shape: type[Shape]) -> Shape:
        with self._understood():
            return shape.model_validate(content)

    def _unpacked(self, text: str) -> Vectors:
        with self._understood():
            return unpack(text, self.meta.dim)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise self._strange() from error

    def _refused(self, error: HTTPError) -> SemreidError:
        """What the server says of a question that it does not answer."""
        if error.code == 401:
            return SemreidError(f"{self._address} wants a token", fix=f"give it in the environment variable {TOKEN}")
        try:
            said = json.loads(error.read())
            kind = KINDS.get(error.code, SemreidError)
            return kind(f"{self._address}: {said['error']}", fix=str(said["fix"]))
        except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
            return self._strange()

    def _lost(self, reason: object) -> SemreidError:
        return SemreidError(
            f"{self._address} cannot be reached: {reason}",
            fix="see that `semreid serve` runs there; rows that were acknowledged are safe, and running the same "
            "command again completes it",
        )

    def _strange(self) -> SemreidError:
        return SemreidError(
            f"{self._address} does not answer as `semreid serve` does",
            fix="check the address, and use the same version of semreid on both sides",
        )
