"""The interface for programs: JSON, described by ``/openapi.json``."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, Request, Response, UploadFile

from semreid.data.headers import FORMATS
from semreid.gallery import Entry
from semreid.serving import forms
from semreid.serving.answers import Added, CompareAnswer, GalleryAnswer, Removed, Row, SearchAnswer, refusals
from semreid.serving.errors import RequestError
from semreid.serving.fields import only_known_fields
from semreid.serving.forms import Named, PairFields, SearchFields, row_id
from semreid.serving.metrics import Metrics
from semreid.serving.service import Crop, Found, Service

router = APIRouter(tags=["programs"], dependencies=[Depends(only_known_fields)])
monitors = APIRouter(tags=["programs"])
"""What supervisors ask, with whatever they add to an address."""
RowId = Annotated[str, Query(description="Id of a row.")]


def service_of(request: Request) -> Service:
    """Return the service of the application that got a request."""
    service: Service = request.app.state.service
    return service


def metrics_of(request: Request) -> Metrics:
    """Return the metrics of the application that got a request."""
    metrics: Metrics = request.app.state.metrics
    return metrics


Asked = Annotated[Service, Depends(service_of)]
Counted = Annotated[Metrics, Depends(metrics_of)]


async def crop_of(service: Service, named: Named) -> Crop:
    """Take the crop that a request names."""
    return await (service.row(named.name) if named.file is None else service.upload(named.file, named.name))


async def found(service: Service, metrics: Metrics, fields: SearchFields, crop: Crop) -> Found:
    """Do a search, and count it."""
    metrics.searches += 1
    return await service.search(crop, **{name: value for name, value in fields._asdict().items() if name != "named"})


@router.post("/api/search", responses=refusals(404, 413, 415, 422, 503))
async def search(
    service: Asked, metrics: Counted, fields: Annotated[SearchFields, Depends(forms.search_fields)]
) -> SearchAnswer:
    """Find the rows that look most like a crop: an uploaded image, or another row."""
    if fields.named is None:
        raise RequestError(422, "there is no query", "send an image, or the id of a row")
    return SearchAnswer.of(
        await found(service, metrics, fields, await crop_of(service, fields.named)), service.judge.basis
    )


@router.post("/api/compare", responses=refusals(404, 413, 415, 422, 503))
async def compare(service: Asked, fields: Annotated[PairFields, Depends(forms.pair_fields)]) -> CompareAnswer:
    """Tell how alike two crops are, and where the model is calibrated, how probably they show one person."""
    a, b = await pair_of(service, fields)
    return CompareAnswer.of(await service.compare(a, b, far=fields.far, prior=fields.prior), service.judge.basis)


async def pair_of(service: Service, fields: PairFields) -> list[Crop]:
    """Take the two crops of a comparison."""
    if len(fields.named) != 2:
        raise RequestError(422, f"{len(fields.named)} crops are given", "send two, each an image or the id of a row")
    return await asyncio.gather(*(crop_of(service, named) for named in fields.named))


@router.get("/api/gallery", responses=refusals(422, 503))
async def describe(service: Asked) -> GalleryAnswer:
    """Describe the gallery in numbers."""
    stats = (await service.stats()).to_json()
    return GalleryAnswer(
        **stats, writable=service.uploads is not None, calibrated=not service.judge.reason, basis=service.judge.basis
    )


@router.get("/api/gallery/row", responses=refusals(404, 422, 503))
async def row(service: Asked, id: RowId) -> Row:  # noqa: A002
    """Look up a row."""
    crop = await service.row(row_id(id))
    assert crop.entry is not None
    return Row.of(crop.entry)


@router.post("/api/gallery", responses=refusals(403, 413, 415, 422, 503))
async def add(
    service: Asked,
    image: Annotated[UploadFile, File(description=f"A crop: {FORMATS}.")],
    entry: Annotated[Entry, Depends(forms.entry_fields)],
) -> Added:
    """Add a crop to the gallery. When this answers, the row is safe; sending it again changes nothing."""
    named = forms.given(image, "")
    if named is None or named.file is None:
        raise RequestError(422, "there is no image", "send one in the field 'image'")
    kept, new = await service.add(named.file, named.name, entry)
    return Added(row=Row.of(kept), new=new)


@router.delete("/api/gallery", responses=refusals(403, 422, 503))
async def remove(service: Asked, id: RowId) -> Removed:  # noqa: A002
    """Remove a row, and its picture if it was sent to this server."""
    return Removed(removed=await service.delete([row_id(id)]))


@router.get(
    "/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}, **refusals(404, 422, 503)}
)
async def picture(
    service: Asked,
    id: RowId,  # noqa: A002
    parts: Annotated[bool, Query(description="Lay the body regions over it that the model sees, if it does.")] = False,
) -> Response:
    """Return the picture of a row, at most 384 pixels high."""
    crop = await service.row(row_id(id))
    assert crop.entry is not None
    headers = {"Cache-Control": "private, max-age=300"}
    return Response(await service.picture(crop.entry, parts=parts), media_type="image/jpeg", headers=headers)


@monitors.get("/healthz", responses=refusals(503))
async def health(service: Asked) -> dict[str, str]:
    """Tell whether the gallery answers."""
    await service.ask(service.gallery.count)
    return {"status": "ok"}


@monitors.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def measure(service: Asked, metrics: Counted) -> Response:
    """Return counters and latencies as Prometheus reads them."""
    gauges = {"embedded_images": service.embedding.embedded, "embedding_queue": service.embedding.waiting}
    try:
        gauges |= {"gallery_rows": await service.ask(service.gallery.count), "gallery_up": 1}
    except RequestError:
        gauges["gallery_up"] = 0
    return Response(metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")
