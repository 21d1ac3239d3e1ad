"""Which fields a request may have: what is misspelt or said twice is refused, not passed over."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.datastructures import ImmutableMultiDict

from semreid.serving.errors import RequestError

FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
Known = dict[str, bool]
"""The names of fields, and whether they may be repeated."""


async def only_known_fields(request: Request) -> None:
    """Refuse a request with a field that its route does not take, or takes once: without it, the answer would be wrong.

    Args:
        request: A request to a route that ``/openapi.json`` describes.

    Raises:
        RequestError: With status 415 if the body is no form where one is wanted, or else 422.
    """
    described = request.app.openapi()
    operation = described["paths"][request.scope["route"].path_format][request.method.lower()]
    form = _form_of(operation, described)
    _require_known(request.query_params, _query_of(operation), form, "the address")
    if form:
        _require_form(request)
        _require_known(await request.form(), form, {}, "the form")


def _query_of(operation: Mapping[str, Any]) -> Known:
    parameters = (each for each in operation.get("parameters", ()) if each["in"] == "query")
    return {each["name"]: _is_list(each["schema"]) for each in parameters}


def _form_of(operation: Mapping[str, Any], described: Mapping[str, Any]) -> Known:
    content = operation.get("requestBody", {}).get("content", {})
    schema: Mapping[str, Any] = next((content[kind]["schema"] for kind in FORM_TYPES if kind in content), {})
    name = schema.get("$ref", "").rpartition("/")[2]
    fields = described["components"]["schemas"][name]["properties"] if name else schema.get("properties", {})
    return {name: _is_list(field) for name, field in fields.items()}


def _is_list(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array"


def _require_form(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind not in FORM_TYPES:
        raise RequestError(
            415,
            f"the body is {kind[:80]}, not a form",
            "send form fields, such as curl -F id=ROW; /programs lists them",
        )


def _require_known(given: ImmutableMultiDict[str, Any], known: Known, elsewhere: Known, where: str) -> None:
    for name in given:
        if name not in known:
            raise RequestError(422, f"there is no field {name[:80]!r} in {where}", _way_out(name, known, elsewhere))
        if not known[name] and (times := len(given.getlist(name))) > 1:
            raise RequestError(422, f"{name} is given {times} times in {where}", "give it once")


def _way_out(name: str, known: Known, elsewhere: Known) -> str:
    if name in elsewhere:
        return "send it as a field of the form"
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"its fields are {', '.join(known)}" if known else "leave it out"
