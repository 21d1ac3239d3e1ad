"""A gallery behind a server, as other processes use it: the questions of `semreid.gallery.store.Store` over HTTP.

So one process owns the gallery, such as a file of Milvus Lite, and any command can still work with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from fastapi import APIRouter, Response
from starlette.responses import StreamingResponse

from semreid.errors import SemreidError
from semreid.gallery.entry import Vectors
from semreid.gallery.rows import named, unit_vectors
from semreid.gallery.wire import About, Count, Done, Exchange, Found, Ids, Put, Rows, Scan, Search, pack, unpack
from semreid.serving.api import Asked
from semreid.serving.errors import RequestError
from semreid.serving.forms import row_id
from semreid.serving.service import Service

router = APIRouter(prefix="/api/store", include_in_schema=False)
MOST_HITS = 20_000
"""Matches of one request, over all of its queries."""


@router.get("/about")
async def about(service: Asked) -> About:
    """Say what the vectors are."""
    return About(dim=service.gallery.dim, fingerprint=service.gallery.fingerprint)


@router.post("/put")
async def put(service: Asked, rows: Put) -> Done:
    """Insert rows, or do with those that are there what is to be done. When this answers, they are safe."""
    vectors = _vectors(service, rows.vectors, "row")
    return Done(await service.put(vectors, named(rows.entries, vectors), rows.how))


@router.post("/exchange")
async def exchange(service: Asked, asked: Exchange) -> Count:
    """Change rows that are as they were seen; 409 if one is not, unless those that are shall be changed alone."""
    return Count(rows=await service.exchange(asked.before, asked.after, partly=asked.partly))


@router.post("/delete")
async def delete(service: Asked, asked: Ids) -> dict[str, int]:
    """Delete rows."""
    return {"deleted": await service.delete(_checked(asked)) if asked.ids else 0}


@router.post("/entries")
async def entries(service: Asked, asked: Ids) -> Rows:
    """Look up entries; ids that are not there are passed over."""
    found = await service.ask(service.gallery.get, _checked(asked))
    return Rows(entries=[entry for entry in found if entry is not None])


@router.post("/vectors")
async def vectors(service: Asked, asked: Ids) -> str:
    """Look up the vectors of rows that are there."""
    return pack(await service.ask(service.gallery.vectors, _checked(asked)))


@router.post("/search")
async def search(service: Asked, asked: Search) -> Response:
    """Find the nearest rows of vectors."""
    queries = _vectors(service, asked.queries, "query")
    if not 1 <= asked.k * len(queries) <= MOST_HITS:
        raise RequestError(422, f"{len(queries)} queries with k = {asked.k}", f"ask for 1 to {MOST_HITS:,} matches")
    found = await service.ask(partial(service.gallery.search, where=asked.where), queries, asked.k)
    return Response(Found(found).model_dump_json(), media_type="application/json")


@router.post("/scan")
async def scan(service: Asked, asked: Scan) -> StreamingResponse:
    """Go through rows: a line of JSON for each batch, and one with an error if it cannot be completed."""
    await service.ask(service.gallery.count)  # a gallery that is out of reach is told by the status
    return StreamingResponse(_batches(service, asked), media_type="application/x-ndjson")


@router.post("/count")
async def count(service: Asked, asked: Scan) -> Count:
    """Count rows."""
    return Count(rows=await service.ask(service.gallery.count, asked.where))


def _batches(service: Service, asked: Scan) -> Iterator[str]:
    try:
        for batch, values in service.gallery.scan(asked.where, vectors=asked.vectors):
            yield Rows(entries=batch, vectors=pack(values)).model_dump_json() + "\n"
        yield "{}\n"  # the end: without it, the connection broke
    except SemreidError as error:
        yield json.dumps({"error": error.what, "fix": error.fix}) + "\n"


def _vectors(service: Service, text: str, what: str) -> Vectors:
    try:
        found = unpack(text, service.gallery.dim)
    except ValueError as error:
        raise RequestError(422, "the vectors cannot be read", "use the version of semreid that runs here") from error
    return unit_vectors(found, service.gallery.dim, what)


def _checked(asked: Ids) -> list[str]:
    return [row_id(text) for text in asked.ids]
