"""The fields of a request, checked: which crop, which rows, how many."""

from __future__ import annotations

from typing import Annotated, BinaryIO, NamedTuple

from fastapi import Depends, File, Form, UploadFile

from semreid.data.headers import FORMATS
from semreid.data.sample import MAX_CAMID
from semreid.data.times import seconds
from semreid.gallery import Entry, Filter
from semreid.gallery.enroll import require_person
from semreid.serving.errors import RequestError

MOST, FURTHEST = 500, 10_000
"""How many matches a search gives at most, and how far a list of rows goes."""


class Named(NamedTuple):
    """A crop as a request names it: an upload or the id of a row."""

    file: BinaryIO | None
    name: str


def row_id(text: str) -> str:
    """Return the id of a row, unless no row can have it."""
    return Entry(id=text).id


def person_name(text: str) -> str:
    """Return the name of a person, unless nobody can have it."""
    return Entry(pid=text).pid or ""


def given(image: UploadFile | None, id_: str) -> Named | None:
    """Take the one crop that a request names, if it does; browsers send an empty upload where nothing was chosen."""
    file = image.file if image is not None and image.filename else None
    if file is not None and id_:
        raise RequestError(422, "both an image and a row are given", "give one of the two")
    if file is not None and image is not None:
        return Named(file, image.filename or "")
    return Named(None, row_id(id_)) if id_ else None


def row_filter(
    camid: Annotated[list[int], Form(description="Cameras to look at.")] = [],  # noqa: B006 - never changed
    exclude_camid: Annotated[list[int], Form(description="Cameras to leave out.")] = [],  # noqa: B006
    since: Annotated[str, Form(description="Earliest time: seconds or ISO 8601.")] = "",
    until: Annotated[str, Form(description="Latest time, exclusive.")] = "",
    pid: Annotated[list[str], Form(description="People to look at.")] = [],  # noqa: B006
    tag: Annotated[list[str], Form(description="Tags that a row must have, every one.")] = [],  # noqa: B006
    tags: Annotated[str, Form(description="The same, separated by commas.")] = "",
) -> Filter:
    """Read which rows to consider."""
    words = [*tag, *(word.strip() for word in tags.split(","))]
    return Filter(
        camids=camid,
        exclude_camids=exclude_camid,
        since=seconds(since),
        until=seconds(until),
        pids=[name for name in pid if name],
        tags=[word for word in words if word],
    )


class SearchFields(NamedTuple):
    """All fields of a search; see `Service.search`."""

    named: Named | None
    where: Filter
    k: int
    camid: int | None = None
    exclude_same_camera: bool = False
    rerank: bool = False
    parts: bool = False
    prior: float | None = None


def search_fields(
    where: Annotated[Filter, Depends(row_filter)],
    image: Annotated[UploadFile | None, File(description=f"A crop: {FORMATS}.")] = None,
    id: Annotated[str, Form(description="Id of a row, instead of an image.")] = "",  # noqa: A002
    k: Annotated[int, Form(ge=1, le=MOST, description="How many matches.")] = 24,
    query_camid: Annotated[
        int | None, Form(ge=0, le=MAX_CAMID, description="Camera of the query, if nothing else tells it.")
    ] = None,
    exclude_same_camera: Annotated[bool, Form(description="Leave out what the camera of the query saw.")] = False,
    rerank: Annotated[bool, Form(description="Re-rank the best by their neighbours (k-reciprocal).")] = False,
    parts: Annotated[
        bool, Form(description="Let the body regions that both show order the best; embeds these again.")
    ] = False,
    prior: Annotated[
        float | None,
        Form(gt=0, lt=1, description="Probability of a match before looking; one over the people if empty."),
    ] = None,
) -> SearchFields:
    """Read a search."""
    return SearchFields(given(image, id), where, k, query_camid, exclude_same_camera, rerank, parts, prior)


class PairFields(NamedTuple):
    """All fields of a comparison; see `Service.compare`."""

    named: list[Named]
    far: float | None
    prior: float


def pair_fields(
    image: Annotated[list[UploadFile], File(description="Crops.")] = [],  # noqa: B006
    id: Annotated[list[str], Form(description="Ids of rows; two crops in all.")] = [],  # noqa: A002, B006
    far: Annotated[float | None, Form(gt=0, lt=1, description="False-accept rate to decide at.")] = None,
    prior: Annotated[float, Form(gt=0, lt=1, description="Probability of one person, before looking.")] = 0.5,
) -> PairFields:
    """Read a comparison."""
    named = [*(given(file, "") for file in image), *(given(None, text) for text in id)]
    return PairFields([crop for crop in named if crop], far, prior)


class WordFields(NamedTuple):
    """All fields of a correction; see `semreid.gallery.corrections.Corrections`."""

    people: list[str]
    ids: list[str]
    name: str
    seen: list[str]
    number: int


def word_fields(
    person: Annotated[list[str], Form(description="People whom it is about; none for crops of nobody known.")] = [],  # noqa: B006
    id: Annotated[list[str], Form(description="Rows of the crops that are chosen.")] = [],  # noqa: A002, B006
    name: Annotated[str, Form(description="Who they are: a new name, or somebody who is there.")] = "",
    seen: Annotated[
        list[str], Form(description="States of the people as they were seen; where given, others are not changed.")
    ] = [],  # noqa: B006
    number: Annotated[int, Form(ge=0, description="Of the step to undo.")] = 0,
) -> WordFields:
    """Read what somebody says of crops."""
    people, ids = [person_name(text) for text in person if text], [row_id(text) for text in id]
    return WordFields(people, ids, person_name(name.strip()) if name.strip() else "", seen, number)


def entry_fields(
    id: Annotated[str, Form(description="Id of the row; made from the picture if empty.")] = "",  # noqa: A002
    pid: Annotated[str, Form(description="Who it shows.")] = "",
    camid: Annotated[int | None, Form(description="Camera that took it.")] = None,
    timestamp: Annotated[str, Form(description="When: seconds or ISO 8601.")] = "",
    tag: Annotated[list[str], Form(description="Words to filter by.")] = [],  # noqa: B006
) -> Entry:
    """Read what a request says of a crop that is to be added."""
    tags = tuple(word for word in tag if word)
    return Entry(id=id, pid=require_person(pid) if pid else None, camid=camid, timestamp=seconds(timestamp), tags=tags)
