"""Who is who in the gallery, for pages and programs: what a machine found, and what people say of it."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import RedirectResponse

from semreid.gallery import Entry, Filter
from semreid.gallery.corrections import CorrectionError, Corrections, Step
from semreid.gallery.entry import Vectors
from semreid.gallery.roster import Person, Roster, alike, crops_of, state_of, unnamed
from semreid.serving.answers import PeopleAnswer, PersonAnswer, Row, StepAnswer, refusals
from semreid.serving.api import Asked
from semreid.serving.errors import RequestError
from semreid.serving.fields import only_known_fields
from semreid.serving.forms import MOST, WordFields, person_name, word_fields
from semreid.serving.service import Service
from semreid.serving.templating import render

router = APIRouter(tags=["programs"], dependencies=[Depends(only_known_fields)])
pages = APIRouter(include_in_schema=False)
PAGE, CROPS = 24, 96
"""People and crops on a page."""
Action = Literal["merge", "split", "name", "not-a-person", "undo"]
Said = Annotated[WordFields, Depends(word_fields)]
Offset = Annotated[int, Query(ge=0, le=2**53)]  # whole numbers that JSON keeps: further than any list goes
Limit = Annotated[int, Query(ge=1, le=MOST)]


@router.get("/api/people", responses=refusals(422, 503))
async def people(
    service: Asked, show: Literal["groups", "people"] = "groups", offset: Offset = 0, limit: Limit = PAGE
) -> PeopleAnswer:
    """List the groups that a machine found, or the people whom somebody named."""
    found = await service.roster()
    return PeopleAnswer(
        **_counts(found),
        shown=[PersonAnswer.of(person) for person in getattr(found, show)[offset : offset + limit]],
        steps=[StepAnswer.of(step) for step in _recent(service)],
    )


@router.get("/api/people/crops", responses=refusals(422, 503))
async def crops(service: Asked, person: str, offset: Offset = 0, limit: Limit = CROPS) -> list[Row]:
    """List the crops of a person, those first that look least like the others."""
    rows, _ = await _crops_of(service, person)
    return [Row.of(row) for row in rows[offset : offset + limit]]


@router.post("/api/people/{action}", responses=refusals(403, 404, 409, 415, 422, 503))
async def correct(service: Asked, action: Action, fields: Said) -> StepAnswer:
    """Say who is who; it stays in the gallery, whatever a machine finds later.

    merge: two or more people (person) are one (name). split: crops (id) of a person show another one (name). name: a
    person is called name. not-a-person: crops (id) show nobody. undo: take back the step of a number.
    """
    return StepAnswer.of(await service.correct(partial(_say, action, fields)))


@pages.get("/people")
async def index(
    request: Request, service: Asked, show: Literal["groups", "people"] = "groups", offset: Offset = 0, step: int = 0
) -> Response:
    """Show who is in the gallery."""
    found = await service.roster()
    shown: list[Person] = getattr(found, show)
    values: dict[str, Any] = {"show": show, "shown": shown[offset : offset + PAGE], "more": len(shown) > offset + PAGE}
    values |= {"offset": offset, "page": PAGE}
    return render(request, "people.html", {**values, **_common(service, found, step)})


@pages.get("/people/crops")
async def one(
    request: Request, service: Asked, person: str = "", of: str = "", offset: Offset = 0, step: int = 0
) -> Response:
    """Show the crops of a person, of nobody known, or those that show nobody."""
    found = await service.roster()
    values: dict[str, Any] = {"person": None, "like": [], "of": of, "offset": offset, "page": CROPS}
    if person:
        rows, vectors = await _crops_of(service, person)
        known = {each.name: each for each in (*found.groups, *found.people)}
        names = await service.ask(alike, service.gallery, person, vectors)
        values |= {"person": known.get(person) or Person(person, len(rows)), "state": state_of(rows)}
        values |= {"like": [known[name] for name in names if name in known], "rows": rows[offset : offset + CROPS + 1]}
    else:
        values["rows"] = await service.ask(_some, service, of == "not-a-person", offset)
    return render(request, "person.html", {**values, **_common(service, found, step)})


@pages.post("/people/{action}")
async def corrected(service: Asked, action: Action, fields: Said) -> Response:
    """Do what somebody says, and show what is next: the other crops of the person, or the other people."""
    step = await service.correct(partial(_say, action, fields))
    query: dict[str, Any] = {"step": step.number}
    if action in ("split", "not-a-person") and not fields.people:
        query["of"] = "nobody"
    elif action in ("split", "not-a-person"):
        left: int = await service.ask(service.gallery.count, Filter(pids=fields.people))
        query |= {"person": fields.people[0]} if left else {}
    return RedirectResponse(f"/people{'/crops' if len(query) > 1 else ''}?{urlencode(query)}", HTTPStatus.SEE_OTHER)


def _say(action: Action, fields: WordFields, corrections: Corrections) -> Step:
    if action == "merge":
        return corrections.merge(fields.people, fields.name, fields.seen)
    if action == "undo":
        return corrections.undo(fields.number)
    if len(fields.people) > 1 or (action == "name" and not (fields.people and fields.name)):
        raise CorrectionError(f"{len(fields.people)} people and the name {fields.name!r}", fix="give one of each")
    person = fields.people[0] if fields.people else None
    if action == "split":
        return corrections.split(person, fields.ids, fields.name, fields.seen)
    if action == "not-a-person":
        return corrections.leave_out(fields.ids, person)
    return corrections.name(fields.people[0], fields.name, fields.seen)


async def _crops_of(service: Service, person: str) -> tuple[list[Entry], Vectors]:
    found: tuple[list[Entry], Vectors] = await service.ask(crops_of, service.gallery, person_name(person))
    if not found[0]:
        raise RequestError(404, f"the gallery has no person {person!r}", "it may have been merged or named meanwhile")
    return found


def _some(service: Service, not_people: bool, offset: int) -> list[Entry]:
    return list(islice(unnamed(service.gallery, not_people=not_people), offset, offset + CROPS + 1))


def _counts(found: Roster) -> dict[str, int]:
    return {
        "groups": len(found.groups),
        "people": len(found.people),
        "nobody": found.nobody,
        "not_people": found.not_people,
    }


def _recent(service: Service) -> list[Step]:
    return [] if service.corrections is None else list(reversed(service.corrections.steps))


def _common(service: Service, found: Roster, number: int) -> dict[str, Any]:
    """What both pages show: counts, the step that was just done and those before, and the names that can be given."""
    recent = _recent(service)
    done = next((step for step in recent if step.number == number), None)
    names = [person.name for person in (*found.people, *found.groups)][:MOST]
    writable = service.uploads is not None
    return {"counts": _counts(found), "done": done, "recent": recent, "writable": writable, "names": names}
