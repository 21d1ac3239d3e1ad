"""A look at a data set before any training: what is in it, what is wrong with it, and what to do about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import chain, product
from typing import Any, Literal

import cv2
import numpy as np

from semreid.data.images import problem_of, read_image
from semreid.data.sample import ReIDDataset, Sample, cameras_by_pid, is_junk, num_identities
from semreid.data.split import without_leaked
from semreid.errors import SemreidError
from semreid.parallel import Progress, parallel

LEAST_HEIGHT, LEAST_WIDTH = 32, 8
"""Pixels below which a crop shows little of a person."""
FLAT = 4.0
"""Standard deviation of the colours, of 255, below which a crop shows next to nothing; real crops have 20 and more."""

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a user should know.

    Attributes:
        level: ``error`` where the set cannot be trained on or evaluated honestly as it is.
        what: What was found, with counts and an example.
        fix: The remedy, where there is one.
    """

    level: Level
    what: str
    fix: str = ""


@dataclass(frozen=True)
class Part:
    """The size of one part of a data set.

    Attributes:
        identities: Number of people; distractors (id 0) are not counted.
        images: Number of images.
        cameras: Number of cameras.
        heights: Smallest, median and largest height in pixels; empty if no image can be read.
        widths: Likewise.
    """

    identities: int
    images: int
    cameras: int
    heights: tuple[int, int, int] | tuple[()]
    widths: tuple[int, int, int] | tuple[()]


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        name: The data set.
        parts: Size by part: ``train``, ``query``, ``gallery``.
        findings: What a user should know, the gravest first.
    """

    name: str
    parts: dict[str, Part]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing forbids an honest evaluation; of training images alone, a training."""
        return all(finding.level != "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON can hold it."""
        return {**asdict(self), "healthy": self.healthy}


@dataclass(frozen=True)
class Look:
    """What one look at an image file told: digest of its pixels, size and contrast, or what is wrong with it."""

    digest: bytes = b""
    height: int = 0
    width: int = 0
    contrast: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class _Case:
    """A data set and what was seen of its images; the checks read from it."""

    dataset: ReIDDataset
    looks: Mapping[Sample, Look]

    @property
    def parts(self) -> dict[str, tuple[Sample, ...]]:
        return {"train": self.dataset.train, "query": self.dataset.query, "gallery": self.dataset.gallery}

    def owners(self, *parts: str) -> dict[bytes, list[Sample]]:
        """Samples by image content, for the images that can be read."""
        found: defaultdict[bytes, list[Sample]] = defaultdict(list)
        for sample in (s for part in parts for s in self.parts[part]):
            if digest := self.looks[sample].digest:
                found[digest].append(sample)
        return found


def diagnose(dataset: ReIDDataset, *, progress: Progress | None = None) -> Diagnosis:
    """Look at every image and label of a data set."""
    samples = _all(dataset)
    case = _Case(dataset, dict(zip(samples, parallel(_look, samples, progress), strict=True)))
    parts = {name: _measure(part, case.looks) for name, part in case.parts.items()}
    findings = [finding for check in _CHECKS for finding in check(case)]
    gravity = ("error", "warning", "note")
    return Diagnosis(dataset.name, parts, tuple(sorted(findings, key=lambda f: gravity.index(f.level))))


def without_corrupt(dataset: ReIDDataset, *, progress: Progress | None = None) -> ReIDDataset:
    """Leave out the images that cannot be read, and say so in the warnings."""
    samples = _all(dataset)
    found = zip(samples, parallel(problem_of, samples, progress), strict=True)
    bad = {sample: problem for sample, problem in found if problem}
    if not bad:
        return dataset
    train, query, gallery = (
        tuple(s for s in part if s not in bad) for part in (dataset.train, dataset.query, dataset.gallery)
    )
    warning = f"{len(bad)} unreadable images were skipped, such as {next(iter(bad.values()))}"
    warnings = (*dataset.warnings, warning)
    return replace(dataset, train=train, query=query, gallery=gallery, corrupt_skipped=len(bad), warnings=warnings)


def _all(dataset: ReIDDataset) -> list[Sample]:
    """Every sample of a data set, each once."""
    return list(dict.fromkeys((*dataset.train, *dataset.query, *dataset.gallery)))


def _look(sample: Sample) -> Look:
    try:
        image = read_image(sample)
    except SemreidError as error:
        return Look(problem=error.what)
    digest = blake2b(np.ascontiguousarray(image).data, digest_size=16, salt=str(image.shape).encode()[:16])
    height, width = image.shape[:2]
    return Look(digest.digest(), height, width, float(cv2.meanStdDev(image)[1].max()))


def _measure(samples: Sequence[Sample], looks: Mapping[Sample, Look]) -> Part:
    seen = [look for s in samples if not (look := looks[s]).problem]
    people = num_identities(s for s in samples if s.pid > 0)
    cameras = len({s.camid for s in samples})
    heights, widths = (_spread([getattr(look, side) for look in seen]) for side in ("height", "width"))
    return Part(people, len(samples), cameras, heights, widths)


def _spread(values: Sequence[int]) -> tuple[int, int, int] | tuple[()]:
    return (min(values), int(np.median(values)), max(values)) if values else ()


def _check_loader_warnings(case: _Case) -> Iterator[Finding]:
    for warning in case.dataset.warnings:
        yield Finding("warning", warning)


def _check_corrupt(case: _Case) -> Iterator[Finding]:
    problems = [look.problem for look in case.looks.values() if look.problem]
    for problem in problems[:10]:
        yield Finding("error", problem)
    if problems:
        yield Finding(
            "error",
            f"{len(problems)} images cannot be read",
            "repair or remove them, or train and evaluate with --skip-corrupt, which the report will state",
        )


def is_small(height: int, width: int) -> bool:
    """Tell whether a crop of so many pixels shows too little of a person.

    Example:
        >>> is_small(128, 64), is_small(500, 1)
        (False, True)
    """
    return height < LEAST_HEIGHT or width < LEAST_WIDTH


def _check_sizes(case: _Case) -> Iterator[Finding]:
    seen = {s: look for s, look in case.looks.items() if look.height}
    small = [s for s, look in seen.items() if is_small(look.height, look.width)]
    lying = [s for s, look in seen.items() if look.width > look.height]
    if small:
        yield Finding(
            "note", f"{len(small)} crops have less than {LEAST_HEIGHT}x{LEAST_WIDTH} pixels, such as {small[0]}"
        )
    if len(lying) > len(seen) / 2:
        yield Finding(
            "warning",
            f"{len(lying)} of {len(seen)} images are wider than high, such as {lying[0]}",
            "semreid wants crops of one person each, not whole frames: cut them out with a detector first",
        )


def _check_flat(case: _Case) -> Iterator[Finding]:
    seen = {s: look for s, look in case.looks.items() if look.height}
    flat = [s for s, look in seen.items() if look.contrast < FLAT]
    if flat:
        yield Finding(
            "error" if len(flat) > len(seen) / 2 else "warning",
            f"{len(flat)} of {len(seen)} images show next to nothing: they are of one colour, such as {flat[0]}",
            "look at them; if a viewer shows a person, save them anew as 8-bit JPEG or PNG",
        )


def _check_training(case: _Case) -> Iterator[Finding]:
    train = case.dataset.train
    if not train:
        yield Finding("note", "there are no training images: this set can be evaluated only")
        return
    sizes = Counter(s.pid for s in train)
    if len(sizes) < 2:
        yield Finding(
            "error",
            "all training images show one identity",
            "add identities: nothing can be learned from one",
        )
    alone = [pid for pid, count in sizes.items() if count == 1]
    if alone:
        yield Finding("note", f"{len(alone)} training identities have one image only, such as {alone[0]}")
    seen = cameras_by_pid(train)
    single = [pid for pid, cameras in seen.items() if len(cameras) == 1]
    if len({s.camid for s in train}) > 1 and single:
        yield Finding("note", f"{len(single)} training identities are seen by one camera only, such as {single[0]}")


def _check_matches(case: _Case) -> Iterator[Finding]:
    query, gallery = case.dataset.query, case.dataset.gallery
    if not query and not gallery:
        yield Finding("note", "there are no images to test on: this set can be trained on only")
        return
    if not query or not gallery:
        yield Finding(
            "error",
            f"{len(query)} query and {len(gallery)} gallery images: an evaluation needs both",
            "give images of the same people in query and gallery, or let semreid split identity folders itself",
        )
        return
    by_pid: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in gallery:
        by_pid[sample.pid].append(sample)
    counted = set(without_leaked(query, gallery))
    matches = {q: [g for g in by_pid[q.pid] if not is_junk(case.dataset.protocol.junk, q, g)] for q in query}
    lost = [q for q in query if counted.isdisjoint(matches[q])]
    yield from _report_lost(case.dataset, lost, by_pid, leaked=[q for q in lost if matches[q]])


def _report_lost(
    dataset: ReIDDataset,
    lost: Sequence[Sample],
    by_pid: Mapping[int, Sequence[Sample]],
    leaked: Sequence[Sample],
) -> Iterator[Finding]:
    if not lost:
        return
    known = set(leaked)
    absent = [q for q in lost if not by_pid[q.pid]]
    unseen = [q for q in lost if by_pid[q.pid] and q not in known]
    level: Level = "error" if len(lost) == len(dataset.query) else "warning"
    tail = "none is left, so the set cannot be evaluated" if level == "error" else "they will be left out and counted"
    share = f"of {len(dataset.query)} queries"
    for queries, what, why, fix in (
        (
            absent,
            "show people who are not in the gallery",
            "",
            "add gallery images of these people, or check that query and gallery spell identities alike",
        ),
        (
            leaked,
            "would find nothing but the very file of a query under another camera",
            "it does not count; ",
            "a picture is of one camera: say which, and add other pictures of these people",
        ),
        (
            unseen,
            "have matches from their own camera only",
            "these do not count (same person and same camera is junk); ",
            "check how cameras are read from the file names (doctor shows their number above); if all images "
            "come from one camera, leave the camera out: then every match counts, and the report says so",
        ),
    ):
        if queries:
            yield Finding(level, f"{len(queries)} {share} {what}, such as {queries[0]}; {why}{tail}", fix)


def _check_single_camera(case: _Case) -> Iterator[Finding]:
    test = (*case.dataset.query, *case.dataset.gallery)
    cameras = cameras_by_pid(s for s in test if s.pid > 0)
    single = [pid for pid, seen in cameras.items() if len(seen) == 1]
    asked = {s.pid for s in case.dataset.query}
    if single and asked & set(single):
        yield Finding(
            "warning",
            f"{len(single)} of {len(cameras)} test identities are seen by one camera only, such as {single[0]}",
            "they can be distractors, not queries: record them by a second camera, or leave cameras out",
        )


def _check_identity_leak(case: _Case) -> Iterator[Finding]:
    test = {s.pid for s in (*case.dataset.query, *case.dataset.gallery)}
    shared = sorted({s.pid for s in case.dataset.train} & test)
    if shared:
        yield Finding(
            "error",
            f"{len(shared)} identities are in training and in test, such as {shared[0]}",
            "split by identity: a figure on people seen in training says nothing of new people",
        )


def _check_image_leak(case: _Case) -> Iterator[Finding]:
    train, test = case.owners("train"), case.owners("query", "gallery")
    shared = [(train[digest], test[digest]) for digest in train if digest in test]
    torn = [owners for owners in shared if num_identities(chain(*owners)) > 1]
    if shared:
        one, other = (owners[0] for owners in shared[0])
        yield Finding(
            "warning",
            f"{len(shared)} images are in training and in test, such as {one} and {other}",
            "remove them from one side",
        )
    if torn:
        one, other = next((a, b) for a, b in product(*torn[0]) if a.pid != b.pid)
        yield Finding(
            "warning",
            f"{len(torn)} images are in training and in test under different identities, such as {one} and {other}",
            "decide which identity is right, and keep each on one side",
        )


def _check_found_for_free(case: _Case) -> Iterator[Finding]:
    query, gallery = case.owners("query"), case.owners("gallery")
    free = [
        (q, g)
        for digest in query.keys() & gallery.keys()
        for q in query[digest]
        for g in gallery[digest]
        if q.pid == g.pid and not is_junk(case.dataset.protocol.junk, q, g)
    ]
    if free:
        yield Finding(
            "warning",
            f"{len(free)} queries find the very same image in the gallery, such as {free[0][0]} and {free[0][1]}",
            "remove one of each pair: such queries are answered for free",
        )


def _check_duplicates(case: _Case) -> Iterator[Finding]:
    for part in ("train", "query", "gallery"):
        copies = [owners for owners in case.owners(part).values() if len(owners) > 1]
        torn = [owners for owners in copies if num_identities(owners) > 1]
        if copies:
            extra = sum(len(owners) - 1 for owners in copies)
            yield Finding(
                "warning" if extra > len(case.parts[part]) / 2 else "note",
                f"{part}: {extra} images are copies of others, such as {copies[0][0]} and {copies[0][1]}",
            )
        if torn:
            yield Finding(
                "warning",
                f"{part}: {len(torn)} images belong to two identities, such as {torn[0][0]} and {torn[0][-1]}",
                "decide which identity is right, and remove the other copy",
            )


_CHECKS: tuple[Callable[[_Case], Iterator[Finding]], ...] = (
    _check_loader_warnings,
    _check_corrupt,
    _check_matches,
    _check_identity_leak,
    _check_image_leak,
    _check_found_for_free,
    _check_single_camera,
    _check_training,
    _check_duplicates,
    _check_sizes,
    _check_flat,
)
