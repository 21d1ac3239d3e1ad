"""Saying no: every error that a request can meet has a status, a reason and a way out, and never a stack trace."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from semreid.errors import SemreidError
from semreid.serving.errors import RequestError
from semreid.serving.templating import render

logger = logging.getLogger(__name__)
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "10"}, 503: {"Retry-After": "5"}}
DESCRIBED = "/programs says which requests there are, and what their fields may hold"
PROGRAMS = ("/api/", "/openapi.json", "/healthz", "/metrics", "/picture")
"""Paths that answer with JSON when they refuse; all others answer with a page."""


def refusal(request: Request, error: SemreidError, told: Mapping[str, str] | None = None) -> Response:
    """Answer a request that cannot be answered: JSON for programs, a page or a part of one for people.

    Args:
        request: The request.
        error: Why not; of status 422 if it does not say another.
        told: Headers that belong to it, such as the methods that are allowed.
    """
    status = error.status if isinstance(error, RequestError) else 422
    headers = {**HEADERS.get(status, {}), **(told or {})}
    if request.scope["path"].startswith(PROGRAMS):
        return JSONResponse({"error": error.what, "fix": error.fix}, status, headers)
    if status == 401:
        return _to_login(request)
    page = "problem.html" if is_partial(request) else "problem_page.html"
    return render(request, page, {"error": error, "status": status}, status=status, headers=headers)


def is_partial(request: Request) -> bool:
    """Whether htmx asks, and wants a part of a page."""
    return "hx-request" in request.headers


async def on_error(request: Request, error: Exception) -> Response:
    """Answer what went wrong: of what should not have happened, the log gets the trace, the user a number."""
    told = None
    if isinstance(error, HTTPException):  # an unknown path, a wrong method, a body that is none
        told, error = error.headers, RequestError(error.status_code, str(error.detail), DESCRIBED)
    elif isinstance(error, RequestValidationError):
        error = RequestError(422, "; ".join(map(_complaint, error.errors())), DESCRIBED)
    elif not isinstance(error, SemreidError):
        number = secrets.token_hex(4)
        logger.error("request %s failed: %s %s", number, request.method, request.scope["path"], exc_info=error)
        what = f"something went wrong on this server (number {number})"
        error = RequestError(500, what, "its log tells more under this number")
    return refusal(request, error, told)


def _to_login(request: Request) -> Response:
    if is_partial(request):
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": "/login"})
    return RedirectResponse("/login", HTTPStatus.SEE_OTHER)


def _complaint(error: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in error["loc"][1:])
    reason = str(error["msg"]).removeprefix("Value error, ")
    if "UploadFile" in reason:  # the words of the framework for text where a file should be
        reason = "is no file; files are sent as multipart/form-data"
    return f"{field}: {reason}" if field else reason
