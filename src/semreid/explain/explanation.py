"""Why a gallery answered a query as it did: the ranked matches with all that is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from semreid.data.images import as_rgb, read_image
from semreid.data.names import camera_of
from semreid.errors import SemreidError
from semreid.explain.evidence import Evidence
from semreid.explain.pictures import Picture
from semreid.explain.sources import gather_evidence
from semreid.functional.calibration import require_prior
from semreid.gallery import Entry, Filter, Gallery, Match
from semreid.gallery.crops import read_crop
from semreid.gallery.entry import Vectors, derived_id
from semreid.gallery.gallery import ANY
from semreid.models.embedder import Image
from semreid.models.model import ReIDModel
from semreid.verification.judgement import Judge

TOP = 10
MOST = 100  # every match is looked at with gradients and shown as pictures
CHANGED = 0.05
"""An exported or quantised model may have filled the gallery, so similarities of an unchanged file differ a little."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A match and what there is to show of it.

    Attributes:
        rank: From 1.
        match: Entry and similarity, as the gallery gave them.
        is_same: Whether it shows the person of the query; None where nobody knows.
        probability: That it does; None without a calibration that holds for this pair.
        crop: The image; None if it cannot be read.
        problem: What is wrong with the image; empty if nothing is.
        evidence: What the model can show of the pair.
    """

    rank: int
    match: Match
    is_same: bool | None
    probability: float | None
    crop: Picture | None = None
    problem: str = ""
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, eq=False)
class Explanation:
    """A query and its best matches.

    Attributes:
        query: What is known of the query.
        crop: Its image.
        candidates: The matches, best first.
        gallery: URI of the gallery.
        rows: Crops in it.
        searched: Those of them that pass the filter.
        of_person: Those of them that show the person of the query, without the query itself; None if nobody knows.
        fingerprint: Of the model.
        prior: Probability of a match before looking, that the probabilities rest on; None without probabilities.
        no_probability: Why there are no probabilities; empty if there are.
        basis: On whom they rest, if there are any.
        chosen: By which rule the query was chosen; empty if a user chose it.
    """

    query: Entry
    crop: Picture
    candidates: tuple[Candidate, ...]
    gallery: str
    rows: int
    searched: int
    of_person: int | None
    fingerprint: str
    prior: float | None
    no_probability: str
    basis: str = ""
    chosen: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return all but the pictures as JSON can hold it."""
        return {
            "query": asdict(self.query),
            "chosen": self.chosen,
            "gallery": {"uri": self.gallery, "rows": self.rows, "fingerprint": self.fingerprint},
            "searched": {"rows": self.searched, "of_person": self.of_person},
            "prior": self.prior,
            "no_probability": self.no_probability,
            "probabilities": self.basis,
            "matches": [_json(candidate) for candidate in self.candidates],
        }


def explain(
    model: ReIDModel,
    query: Image,
    gallery: Gallery,
    *,
    top: int = TOP,
    where: Filter = ANY,
    pid: str | None = None,
    camid: int | None = None,
    other_cameras: bool = False,
    rerank: bool = False,
    prior: float | None = None,
) -> Explanation:
    """Search a gallery for a crop and gather why the best matches were found.

    A query that is in the gallery itself, under the same path, is left out of its matches; what the gallery knows
    of it need not be said again.

    Args:
        model: The model that made the gallery.
        query: A crop.
        gallery: The gallery.
        top: How many matches, from 1 to 100.
        where: Which rows to consider.
        pid: Person that the query shows, where known.
        camid: Camera that saw it, where known; else the file name is asked.
        other_cameras: Leave out crops of the query's own camera.
        rerank: As in `Gallery.search`.
        prior: Probability that a match shows the person of the query, before looking. If None, one over the
            number of people in the gallery, as if each was as likely; a crop of nobody known counts as a person.

    Returns:
        The explanation. A match whose image cannot be read says so, and has no evidence.

    Raises:
        SemreidError: If the query cannot be read, the gallery is of another model, the camera of the query is
            needed and not known, or a number is out of range.
    """
    if not 1 <= top <= MOST:
        raise SemreidError(f"top is {top}", fix=f"ask for 1 to {MOST} matches")
    require_prior(0.5 if prior is None else prior)
    gallery.require(model)
    crop = read_image(query) if isinstance(query, (str, Path)) else as_rgb(query, "the query")
    vector = model.embed([crop])
    entry = _known_of(query, vector, gallery, pid, camid)
    if other_cameras:
        where = _of_others(where, entry.camid)
    found = gallery.search(vector, top + 1, where=where, rerank=rerank)[0]
    matches = [match for match in found if not _is_query(match.entry, entry)][:top]
    judge = Judge(model, model.calibration)
    chances = judge.chances(matches, entry.camid, prior, gallery.stats)
    candidates = [
        Candidate(rank, match, _same(entry.pid, match.entry.pid), probability)
        for rank, (match, probability) in enumerate(zip(matches, chances.probabilities, strict=True), 1)
    ]
    shown = _with_pictures(model, crop, vector[0], candidates)
    return Explanation(
        query=entry,
        crop=crop,
        candidates=shown,
        gallery=gallery.uri,
        rows=gallery.count(),
        searched=gallery.count(where),
        of_person=_of_person(entry, gallery, where),
        fingerprint=gallery.fingerprint,
        prior=chances.prior,
        no_probability=chances.reason,
        basis="" if chances.reason else judge.basis,
    )


def _of_others(where: Filter, camid: int | None) -> Filter:
    if camid is None:
        raise SemreidError(
            "the camera of the query is not known, so its crops cannot be left out",
            fix="say which it was: --query-camid",
        )
    return replace(where, exclude_camids=(*where.exclude_camids, camid))


def _of_person(query: Entry, gallery: Gallery, where: Filter) -> int | None:
    """How many crops that pass the filter could have been found."""
    if query.pid is None:
        return None
    if where.pids and query.pid not in where.pids:
        return 0
    rows = gallery.scan(replace(where, pids=(query.pid,)))
    return sum(not _is_query(entry, query) for entries, _ in rows for entry in entries)


def _is_query(entry: Entry, query: Entry) -> bool:
    """Whether a row is the query itself: whoever added it may have chosen its id."""
    return entry.id == query.id or (bool(query.path) and (entry.path, entry.box) == (query.path, query.box))


def _known_of(query: Image, vector: Vectors, gallery: Gallery, pid: str | None, camid: int | None) -> Entry:
    """What the gallery, the file name and the user know of the query; the user has the last word."""
    if not isinstance(query, (str, Path)):
        return Entry(pid=pid, camid=camid)
    path = Path(query)
    entry = Entry(path=str(path.absolute()))
    entry = replace(entry, id=derived_id(entry))
    known = gallery.get([entry.id])[0]
    if known is None:  # a row with an id of its own is among those that look most like it
        near = (match.entry for match in gallery.search(vector, MOST)[0])
        known = next((row for row in near if _is_query(row, entry)), replace(entry, camid=camera_of(path)))
    return replace(known, pid=known.pid if pid is None else pid, camid=known.camid if camid is None else camid)


def _same(a: str | None, b: str | None) -> bool | None:
    return None if a is None or b is None else a == b


def _with_pictures(
    model: ReIDModel, crop: Picture, vector: np.ndarray, candidates: Sequence[Candidate]
) -> tuple[Candidate, ...]:
    read = [_read(candidate) for candidate in candidates]
    crops = [c.crop for c in read if c.crop is not None]
    evidence = iter(gather_evidence(model, crop, crops))
    similarities = iter(model.embed(crops) @ vector)
    return tuple(c if c.crop is None else _shown(c, next(evidence), float(next(similarities))) for c in read)


def _shown(candidate: Candidate, evidence: Evidence, similarity: float) -> Candidate:
    problem = ""
    if abs(similarity - candidate.match.similarity) > CHANGED:
        problem = f"the image now has similarity {similarity:.3f}: it has changed since it was added"
    return replace(candidate, evidence=evidence, problem=problem)


def _read(candidate: Candidate) -> Candidate:
    try:
        return replace(candidate, crop=read_crop(candidate.match.entry))
    except SemreidError as error:
        return replace(candidate, problem=error.what)


def _json(candidate: Candidate) -> dict[str, Any]:
    return {
        "rank": candidate.rank,
        **asdict(candidate.match.entry),
        "similarity": candidate.match.similarity,
        "probability": candidate.probability,
        "is_same": candidate.is_same,
        "problem": candidate.problem,
        "parts": [asdict(part) for part in candidate.evidence.parts],
    }
