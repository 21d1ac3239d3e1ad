"""What programs get: the shapes of the answers in JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, Field

from semreid.gallery import Entry
from semreid.gallery.corrections import Step
from semreid.gallery.roster import Person
from semreid.serving.service import Compared, Found


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="What is wrong.")
    fix: str = Field(description="What to do about it; may be empty.")


class Row(BaseModel):
    """A row of the gallery."""

    id: str
    path: str = Field(description="File of the crop, on the server.")
    pid: str | None = Field(description="Who it shows; null if nobody has said.")
    camid: int | None
    timestamp: float | None = Field(description="Seconds.")
    box: tuple[float, float, float, float] | None
    tags: list[str]
    picture: str = Field(description="Where its picture can be had.")

    @classmethod
    def of(cls, entry: Entry) -> Row:
        """Describe an entry."""
        return cls(**asdict(entry), picture=picture_url(entry.id))


class MatchAnswer(BaseModel):
    """A row that was found."""

    row: Row
    similarity: float = Field(description="Cosine similarity, from -1 to 1.")
    probability: float | None = Field(description="That it shows the person of the query; null if nothing can be said.")


class SearchAnswer(BaseModel):
    """What a search found, best first."""

    matches: list[MatchAnswer]
    prior: float | None = Field(description="Probability before looking that the probabilities stand on.")
    no_probability: str = Field(description="Why there are no probabilities; empty if there are.")
    basis: str = Field("", description="On whom probabilities rest; empty if there are none.")

    @classmethod
    def of(cls, found: Found, basis: str) -> SearchAnswer:
        """Describe what was found."""
        pairs = zip(found.matches, found.probabilities, strict=True)
        matches = [MatchAnswer(row=Row.of(m.entry), similarity=m.similarity, probability=p) for m, p in pairs]
        said = "" if found.reason else basis
        return cls(matches=matches, prior=found.prior, no_probability=found.reason, basis=said)


class Decision(BaseModel):
    """A decision at a stated false-accept rate."""

    same: bool = Field(description="Whether the similarity reaches the threshold.")
    threshold: float
    asked_far: float = Field(description="The false-accept rate that the threshold was set for.")
    far_low: float = Field(description="Lower end of the 95 % interval of the rate measured at it.")
    far_high: float
    cameras: str = Field(description="The pair of cameras that the threshold is for; empty: all.")


class CompareAnswer(BaseModel):
    """How alike two crops are."""

    similarity: float
    probability: float | None = None
    prior: float | None = None
    decision: Decision | None = None
    no_probability: str = Field(description="Why there is no probability; empty if there is.")
    basis: str = Field("", description="On whom probabilities rest; empty if there are none.")

    @classmethod
    def of(cls, compared: Compared, basis: str) -> CompareAnswer:
        """Describe a comparison."""
        similarity, verdict, reason = compared
        if verdict is None:
            return cls(similarity=similarity, no_probability=reason, basis="")
        same = {name: getattr(verdict, name) for name in ("same", "threshold", "asked_far", "cameras")}
        decision = Decision(**same, far_low=verdict.far.low, far_high=verdict.far.high)
        chances = {"probability": verdict.probability, "prior": verdict.prior}
        return cls(similarity=similarity, decision=decision, no_probability="", basis=basis, **chances)


class GalleryAnswer(BaseModel):
    """The gallery in numbers."""

    rows: int
    people: int
    unknown: int = Field(description="Crops of nobody known.")
    cameras: dict[str, int] = Field(description="Crops by camera.")
    first: float | None = Field(description="Earliest timestamp.")
    last: float | None
    dim: int
    fingerprint: str = Field(description="Of the model.")
    writable: bool = Field(description="Whether rows can be added and removed here.")
    calibrated: bool = Field(description="Whether similarities can be given as probabilities.")
    basis: str = Field("", description="On whom probabilities rest; empty if there are none.")


class PersonAnswer(BaseModel):
    """A person of the gallery, or a group that a machine took for one."""

    name: str
    crops: int
    by_machine: int = Field(description="How many of them a machine took for this person, and nobody has confirmed.")
    cameras: list[int]
    faces: list[Row] = Field(description="Some of the crops.")
    state: str = Field(description="To be sent as `seen`, so that only what was seen is changed.")

    @classmethod
    def of(cls, person: Person) -> PersonAnswer:
        """Describe a person."""
        facts = {name: getattr(person, name) for name in ("name", "crops", "by_machine", "state")}
        return cls(**facts, cameras=sorted(person.cameras), faces=[Row.of(face) for face in person.faces])


class StepAnswer(BaseModel):
    """What somebody said at once."""

    number: int = Field(description="By which it can be undone.")
    what: str = Field(description="In words.")
    person: str | None = Field(description="Whom it is about now; null for nobody.")
    crops: int = Field(description="Rows that it changed.")
    undone: bool

    @classmethod
    def of(cls, step: Step) -> StepAnswer:
        """Describe a step."""
        return cls(**{**step._asdict(), "crops": len(step.changes)})


class PeopleAnswer(BaseModel):
    """Who is in the gallery."""

    groups: int = Field(description="People of whom only a machine has spoken.")
    people: int = Field(description="People whom somebody named.")
    nobody: int = Field(description="Crops of nobody known.")
    not_people: int = Field(description="Crops that show no person, as somebody said.")
    shown: list[PersonAnswer] = Field(description="Those who were asked for, those with most crops first.")
    steps: list[StepAnswer] = Field(description="All that can be taken back, the newest first.")


class Added(BaseModel):
    """What became of a crop that was sent."""

    row: Row
    new: bool = Field(description="False if it was in the gallery already; it is then left as it was.")


class Removed(BaseModel):
    """How many rows were removed."""

    removed: int


def picture_url(id_: str) -> str:
    """Return the address of the picture of a row."""
    return f"/picture?{urlencode({'id': id_})}"


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document for OpenAPI with which statuses a route refuses."""
    return {status: {"model": Problem} for status in statuses}
