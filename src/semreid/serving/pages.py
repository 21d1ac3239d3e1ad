"""The pages for people. What htmx asks for comes as a part of a page; without scripts, whole pages do the same.

But without scripts, a picture is sent again to be compared, and no more rows are shown than a page has.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from starlette.responses import RedirectResponse

from semreid.explain.pictures import data_uri
from semreid.gallery import Entry, Filter
from semreid.serving.answers import picture_url
from semreid.serving.api import Asked, Counted, crop_of, found, pair_of
from semreid.serving.forms import FURTHEST, Named, PairFields, SearchFields, pair_fields, row_id, search_fields
from semreid.serving.guard import COOKIE, Access
from semreid.serving.metrics import Metrics
from semreid.serving.refusal import is_partial
from semreid.serving.service import Compared, Crop, Service
from semreid.serving.templating import render

router = APIRouter(include_in_schema=False)
PAGE = 24


class Card(NamedTuple):
    """A row as a page shows it; without similarity where nothing was searched for."""

    entry: Entry
    picture: str
    similarity: float | None = None
    probability: float | None = None


@router.get("/")
async def index(request: Request, service: Asked, metrics: Counted, id: str = "") -> Response:  # noqa: A002
    """Show the search page: the gallery to pick from, or what the row ``id`` finds."""
    named = Named(None, row_id(id)) if id else None
    fields = SearchFields(named, Filter(), PAGE)
    return render(request, "search.html", await _results(service, metrics, fields, 0))


@router.post("/search")
async def search(
    request: Request,
    service: Asked,
    metrics: Counted,
    fields: Annotated[SearchFields, Depends(search_fields)],
    offset: Annotated[int, Form(ge=0, le=FURTHEST)] = 0,
) -> Response:
    """Search, or without a query list the rows that pass the filter."""
    page = "results.html" if is_partial(request) else "search.html"
    return render(request, page, await _results(service, metrics, fields, offset))


@router.get("/filters")
async def filters(request: Request, service: Asked) -> Response:
    """Show the filters, once the cameras are counted."""
    return render(request, "filters.html", {"stats": await service.stats(), "parts": service.regions is not None})


@router.get("/compare")
async def compare_rows(
    request: Request,
    service: Asked,
    id: Annotated[list[str], Query()] = [],  # noqa: A002, B006 - never changed
) -> Response:
    """Show the page to compare on, or how alike two rows are."""
    named = [Named(None, row_id(text)) for text in id[:2] if text]
    crops = [await crop_of(service, crop) for crop in named]
    compared = await service.compare(*crops) if len(crops) == 2 else None
    return _comparison(request, service, crops, compared)


@router.post("/compare")
async def compare(request: Request, service: Asked, fields: Annotated[PairFields, Depends(pair_fields)]) -> Response:
    """Show how alike two crops are."""
    a, b = await pair_of(service, fields)
    compared = await service.compare(a, b, far=fields.far, prior=fields.prior)
    return _comparison(request, service, [a, b], compared)


@router.get("/gallery")
async def gallery(request: Request, service: Asked) -> Response:
    """Show the gallery in numbers."""
    values = {"stats": await service.stats(), "service": service, "metrics": request.app.state.metrics}
    return render(request, "gallery.html", values)


@router.get("/programs")
async def programs(request: Request) -> Response:
    """Show the interface for programs."""
    return render(request, "programs.html", {"paths": request.app.openapi()["paths"]})


@router.get("/login")
async def login_page(request: Request) -> Response:
    """Ask for the token."""
    return render(request, "login.html", {"wrong": False})


@router.post("/login")
async def login(request: Request, token: Annotated[str, Form()] = "") -> Response:
    """Let somebody in who has the token."""
    access: Access = request.app.state.access
    if not access.token or not access.admits(token.strip(), request):
        return render(request, "login.html", {"wrong": True}, status=HTTPStatus.FORBIDDEN)
    response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, access.session, httponly=True, samesite="strict", secure=secure)
    return response


async def _results(service: Service, metrics: Metrics, fields: SearchFields, offset: int) -> dict[str, Any]:
    """What the results, and the form beside them, show."""
    values = {"stats": service.stats.known, "fields": fields, "offset": offset, "judge": service.judge}
    values["parts"] = service.regions is not None
    if fields.named is None:
        entries = await service.rows(fields.where, offset, PAGE + 1)
        cards = [Card(entry, picture_url(entry.id)) for entry in entries[:PAGE]]
        return {**values, "cards": cards, "more": len(entries) > PAGE and offset + PAGE <= FURTHEST, "page": PAGE}
    crop = await crop_of(service, fields.named)
    result = await found(service, metrics, fields, crop)
    pairs = zip(result.matches, result.probabilities, strict=True)
    cards = [Card(m.entry, picture_url(m.entry.id), m.similarity, p) for m, p in pairs]
    return {**values, "query": crop, "query_picture": picture_of(crop), "cards": cards, "found": result}


def _comparison(request: Request, service: Service, crops: list[Crop], compared: Compared | None) -> Response:
    values = {
        "crops": [(crop, picture_of(crop)) for crop in crops],
        "compared": compared,
        "judge": service.judge,
        "parts": service.regions is not None,
        "address": f"/compare?{urlencode([('id', crop.entry.id) for crop in crops if crop.entry])}",
    }
    return render(request, "comparison.html" if is_partial(request) else "compare.html", values)


def picture_of(crop: Crop) -> str:
    """Return where a page finds the picture of a crop: an upload is kept nowhere, so the page itself holds it."""
    if crop.entry is not None:
        return picture_url(crop.entry.id)
    return data_uri(crop.picture)
