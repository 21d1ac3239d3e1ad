"""Bringing images into a gallery: which there are, who and where they show, and their embeddings."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semreid import distributed
from semreid.data.benchmarks import load_dataset
from semreid.data.images import is_image, read_good
from semreid.data.listing import ANNOTATIONS, holds_image, list_images
from semreid.data.names import camera_below
from semreid.data.rows import SPLITS, Row, read_csv, read_rows
from semreid.data.sample import Sample
from semreid.errors import SemreidError, located
from semreid.files import user_path
from semreid.gallery.crops import sample_of
from semreid.gallery.entry import Entry, Meta, Vectors, derived_id
from semreid.gallery.gallery import Gallery
from semreid.gallery.parquet import read_features
from semreid.gallery.said import TRACK, named
from semreid.models.embedder import Embedder
from semreid.parallel import Progress

NOBODY = re.compile(r"0+", re.ASCII)
LOOK = 1024  # crops that are looked up at once: on a server, each look takes a moment
JUNK = re.compile(r"-\d+", re.ASCII)
SLOW, SELDOM = 0.2, 10  # seconds of a write from which on it is made only once in so many times as long


class Crop(NamedTuple):
    """An image to be embedded, and what is known of it."""

    image: Sample | Path
    entry: Entry


class Enrolled(NamedTuple):
    """What became of a list of crops.

    Attributes:
        new: Rows that were added.
        replaced: Rows that replaced another.
        kept: Crops that were in the gallery already; they were not even read.
        skipped: One message for each unreadable image.
    """

    new: int
    replaced: int
    kept: int
    skipped: list[str]


def crops_below(path: Path, *, unlabelled: bool = False) -> list[Crop]:
    """Find the crops that a user names, with people, cameras and times by the rules of ``folder:`` data.

    Args:
        path: An image, a folder of images, identity folders, a folder already split, or a CSV file
            (``path,pid[,camid][,timestamp][,track]``).
        unlabelled: Sub-folders are not people: take every image below ``path`` as a crop of nobody known. Of a CSV
            file, the column ``pid`` or some of its cells may then be empty or missing.

    Returns:
        At least one crop; junk (negative identities) is left out, identity 0 is nobody in particular.

    Raises:
        SemreidError: If there is none, or the data is not as these rules want it.
    """
    if not path.exists():
        raise SemreidError(f"there is no {path}", fix="give an image, a folder or a CSV file")
    if is_image(path) or _is_loose(path) or (unlabelled and path.is_dir()):
        images = [path] if path.is_file() else list_images(path, nested=unlabelled)
        return [_crop(image, camid=camera_below(image, path)) for image in images]
    rows = read_csv(path, unlabelled=True) if unlabelled else read_rows(path)
    people = [row for row in rows if not JUNK.fullmatch(row.identity)]
    each_once = {row.path: row for row in reversed(people)}  # a crop may be both a query and of the gallery
    return _some(path, [_labelled(row, path) for row in people if each_once[row.path] is row])


def crops_of_data(spec: str, split: str = "gallery", *, warn: Callable[[str], None] = lambda _: None) -> list[Crop]:
    """Take the crops of one part of a data set.

    ``folder:`` data keeps its names and unknown cameras, which an evaluation replaces by numbers.

    Args:
        spec: ``NAME[/VARIANT]:PATH``, as everywhere.
        split: ``train``, ``query``, ``gallery`` or ``all``.
        warn: Told what a user must know of the data set.

    Returns:
        At least one crop; people of benchmarks are called by their numbers.

    Raises:
        SemreidError: If the data set cannot be loaded, or has no such split.
    """
    if split not in (*SPLITS, "all"):
        raise SemreidError(f"there is no split {split!r}", fix=f"choose {', '.join(SPLITS)} or all")
    dataset = load_dataset(spec)
    for warning in dataset.warnings:
        warn(warning)
    samples = [s for name in (SPLITS if split == "all" else [split]) for s in getattr(dataset, name)]
    distinct = {sample.place: sample for sample in samples}
    name, _, location = spec.partition(":")
    if name != "folder":
        return _some(spec, [_sampled(sample) for sample in distinct.values()])
    source = user_path(location)
    rows = {row.path: row for row in read_rows(source)}
    return _some(spec, [_labelled(rows[sample.path], source) for sample in distinct.values()])


def crops_of_rows(gallery: Gallery) -> list[Crop]:
    """Take all rows of a gallery, to be embedded anew by another model.

    Returns:
        At least one crop, under the id that it has, with all that is known of it.

    Raises:
        SemreidError: If a row names no picture, or there is none.
    """
    rows = [entry for entries, _ in gallery.scan() for entry in entries]
    if without := [entry for entry in rows if not entry.path]:
        raise SemreidError(
            f"{len(without):,} of {len(rows):,} rows of {gallery.uri} name no picture, such as {without[0].id}",
            fix="their crops cannot be embedded again: remove these rows, or make the gallery anew from files",
        )
    return _some(gallery.uri, [Crop(sample_of(entry), entry) for entry in rows])


def annotated(
    crops: Sequence[Crop], *, pid: str | None = None, camid: int | None = None, tags: Sequence[str] = ()
) -> list[Crop]:
    """Add what the user says of all crops to what their files say of each.

    Args:
        crops: The crops.
        pid: Person that all of them show; None: as the files say.
        camid: Camera that all of them come from; None: as the files say.
        tags: Tags of all of them.

    Returns:
        New crops.

    Raises:
        SemreidError: If ``pid`` names no person, or a value is none that a gallery keeps.
    """
    return [Crop(image, _annotated(entry, pid, camid, tags)) for image, entry in crops]


def require_person(pid: str) -> str:
    """Return a name, unless it is one that means nobody.

    Raises:
        SemreidError: If it is 0, which is nobody in particular, or negative, which is junk.
    """
    if _person(pid) is None or JUNK.fullmatch(pid):
        raise SemreidError(
            f"pid {pid!r} names no person: 0 is nobody in particular, negative numbers are junk",
            fix="give a name or a number from 1, or none where nobody is known",
        )
    return pid


def enroll(
    gallery: Gallery | None,
    embedder: Embedder,
    crops: Sequence[Crop],
    *,
    replace_known: bool = False,
    skip_corrupt: bool = False,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Enrolled:
    """Embed crops and add them to a gallery, a batch at a time.

    Running it again completes a broken run: what is in the gallery is not read again. Under ``torchrun``, the processes
    share the crops, and the first, which alone has the gallery, writes.

    Args:
        gallery: A gallery of vectors of this embedder; None on all processes but the first.
        embedder: The embedder.
        crops: The crops.
        replace_known: Embed crops anew that are in the gallery, because their images have changed; what was said of
            them stays where the crops do not tell otherwise (`semreid.gallery.said.renewed`).
        skip_corrupt: Leave out images that cannot be read.
        batch_size: Images a step.
        progress: Told after each write how many crops are safe in the gallery: after each batch, or where a write takes
            long, as that of a large file does, so seldom that writing takes a tenth of the time.

    Returns:
        What became of the crops, as far as the first process knows.

    Raises:
        SemreidError: If the gallery holds vectors of another model, or an image cannot be read (without
            ``skip_corrupt``); batches before it stay in the gallery.
    """
    if gallery is not None:
        gallery.require(embedder)
    done, counted = Enrolled(0, 0, 0, []), 0

    def worked() -> Iterator[_Batch]:
        for batches, known in _batches(gallery, crops, batch_size):
            work = partial(_embedded, embedder, spared=() if replace_known else known, skip_corrupt=skip_corrupt)
            yield from distributed.shared(work, batches)

    for kept, entries, vectors, problems in _joined(worked()):
        assert gallery is not None
        new, replaced, there = (gallery.renew if replace_known else gallery.add)(vectors, entries)
        done = _sum(done, Enrolled(new, replaced, kept + there, problems))
        counted += kept + len(entries)
        if progress is not None:
            progress(counted, len(crops))
    return done


def enroll_features(
    gallery: Gallery,
    file: Path,
    *,
    pid: str | None = None,
    camid: int | None = None,
    tags: Sequence[str] = (),
    replace_known: bool = False,
    progress: Progress | None = None,
) -> Enrolled:
    """Add the rows of a Parquet file of ``semreid embed`` to a gallery; relative paths are made absolute.

    Args:
        gallery: A gallery of vectors of the model that made the file.
        file: The file; see `semreid.gallery.parquet.read_features`. Junk (negative identities) is left out, identity 0
            is nobody in particular.
        pid: As in `annotated`.
        camid: As in `annotated`.
        tags: As in `annotated`.
        replace_known: Renew rows that are in the gallery, as `enroll` does.
        progress: Told after each batch how many rows are safe in the gallery.

    Raises:
        SemreidError: If the file is missing or damaged, its vectors have another width or model, or as `annotated`.
    """
    done = Enrolled(0, 0, 0, [])
    write = gallery.renew if replace_known else gallery.add
    for entries, vectors in read_features(file, Meta(gallery.dim, gallery.fingerprint)):
        people = [row for row, entry in enumerate(entries) if not JUNK.fullmatch(entry.pid or "")]
        placed = [_annotated(_placed(entries[row]), pid, camid, tags) for row in people]
        done = _sum(done, Enrolled(*write(vectors[people], placed), []))
        if progress is not None:
            progress(sum(done[:3]), sum(done[:3]))
    return done


def _batches(
    gallery: Gallery | None, crops: Sequence[Crop], size: int
) -> Iterator[tuple[list[Sequence[Crop]], set[str]]]:
    """Batches of crops with the ids of those that are in the gallery; many are looked up at once."""
    step = size * max(LOOK // size, distributed.world_size())
    for start in range(0, len(crops), step):
        ahead = crops[start : start + step]
        known = distributed.by_first(partial(_known, gallery, [crop.entry.id for crop in ahead]))
        yield [ahead[first : first + size] for first in range(0, len(ahead), size)], known


def _known(gallery: Gallery | None, ids: Sequence[str]) -> set[str]:
    assert gallery is not None
    return {entry.id for entry in gallery.get(ids) if entry is not None}


def _annotated(entry: Entry, pid: str | None, camid: int | None, tags: Sequence[str]) -> Entry:
    who = entry if pid is None else named(entry, require_person(pid))
    return replace(who, camid=entry.camid if camid is None else camid, tags=(*who.tags, *tags))


def _placed(entry: Entry) -> Entry:
    """A row of a file of `semreid embed`, as the crop itself would become."""
    path = str(Path(entry.path).absolute()) if entry.path else ""
    return replace(entry, path=path, pid=_person(entry.pid))


def _person(identity: str | None) -> str | None:
    """The person that an identity names; None for nobody in particular."""
    return None if not identity or NOBODY.fullmatch(identity) else identity


class _Batch(NamedTuple):
    """How many crops were spared, the entries of the others with their vectors, a message for each unreadable one."""

    kept: int
    entries: list[Entry]
    vectors: Vectors
    problems: list[str]


def _embedded(
    embedder: Embedder, batches: Iterable[Sequence[Crop]], *, spared: Container[str], skip_corrupt: bool
) -> Iterator[_Batch]:
    """Read and embed batches of crops but for those to be spared."""
    for batch in batches:
        crops = [crop for crop in batch if crop.entry.id not in spared]
        entries, images, problems = read_good(crops, embedder.size, skip_corrupt=skip_corrupt)
        vectors = embedder.embed(images, batch_size=len(images)) if images else np.zeros((0, embedder.dim), np.float32)
        yield _Batch(len(batch) - len(crops), entries, vectors, problems)


def _joined(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Join batches while it is too early for another slow write; who iterates writes what it gets before it goes on.

    One write may have been held up: two tell. What waits when something goes wrong is written, too.
    """
    waiting: list[_Batch] = []
    took = earliest = 0.0
    try:
        for batch in batches:
            waiting.append(batch)
            if (start := time.monotonic()) < earliest:
                continue
            yield _one_of(waiting)
            before, took, waiting = took, time.monotonic() - start, []
            earliest = start + SELDOM * min(before, took) if min(before, took) > SLOW else 0.0
    except (SemreidError, KeyboardInterrupt):
        if waiting:
            yield _one_of(waiting)
        raise
    if waiting:
        yield _one_of(waiting)


def _one_of(batches: Sequence[_Batch]) -> _Batch:
    kept, entries, vectors, problems = zip(*batches, strict=True)
    return _Batch(sum(kept), list(chain.from_iterable(entries)), np.concatenate(vectors), list(chain(*problems)))


def _sum(left: Enrolled, right: Enrolled) -> Enrolled:
    return Enrolled(
        left.new + right.new,
        left.replaced + right.replaced,
        left.kept + right.kept,
        left.skipped + right.skipped,
    )


def _is_loose(path: Path) -> bool:
    """Whether a folder holds nothing but images, so that nobody said who they show."""
    return path.is_dir() and all(p.is_file() or p.name.startswith(".") or _is_empty(p) for p in path.iterdir())


def _is_empty(folder: Path) -> bool:
    """Whether a folder that could be one of a person holds no image."""
    return folder.name not in ANNOTATIONS and not holds_image(folder)


def _labelled(row: Row, source: Path) -> Crop:
    pid = _person(row.identity)
    with located(f"{source}, row {row.line}" if row.line else row.path):
        crop = _crop(row.path, pid=pid, camid=row.camid, timestamp=row.timestamp)
        return crop._replace(entry=replace(crop.entry, tags=(f"{TRACK}{row.track}",))) if row.track else crop


def _sampled(sample: Sample) -> Crop:
    image = sample if sample.item else sample.path
    pid = str(sample.pid) if sample.pid > 0 else None
    return _crop(image, pid=pid, camid=sample.camid, timestamp=sample.timestamp)


def _crop(
    image: Sample | Path, *, pid: str | None = None, camid: int | None = None, timestamp: float | None = None
) -> Crop:
    """A crop under the id that its absolute path gives it."""
    place = replace(image, path=image.path.absolute()) if isinstance(image, Sample) else image.absolute()
    entry = Entry(path=str(place), pid=pid, camid=camid, timestamp=timestamp)
    return Crop(image, replace(entry, id=derived_id(entry)))


def _some(source: Path | str, crops: list[Crop]) -> list[Crop]:
    if not crops:
        raise SemreidError(f"{source} holds no crop to add", fix="`semreid doctor` tells what is in a data set")
    return crops
