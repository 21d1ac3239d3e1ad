"""Crops of people whom nobody has named: what is known of each but who it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.data.benchmarks import left_beside, load_dataset
from semreid.data.images import is_image, problem_of
from semreid.data.listing import left_out, list_images
from semreid.data.names import camera_below
from semreid.data.rows import SPLITS, Row, read_csv, read_rows
from semreid.data.sample import Sample
from semreid.data.store import content_digest
from semreid.errors import SemreidError
from semreid.files import user_path
from semreid.functional.grouping import Said
from semreid.parallel import Progress, parallel

FEW = 50


@dataclass(frozen=True)
class Crops:
    """Crops, in an order that does not depend on their names, which may tell who they show.

    Attributes:
        name: Name of the data set, ``folder`` for a folder or a CSV file.
        source: How the user named them.
        samples: The crops; camera 0 where it is unknown, and no person.
        cameras: Camera of each, (N,); -1 where unknown.
        tracks: Track of each, (N,); -1 where there is none. Tracks are numbered from 0, over all cameras.
        people: Who each shows, where the source says so; for judging alone.
        track_names: What the tracker of its camera calls the track of each; empty where there is none.
        ids: Ids of the rows of a gallery that they are; none where they are from elsewhere.
        said: What people said of them in a gallery.
        root: Folder that may hold annotations of them, if they are of one.
        terms: Licence terms of the images.
        corrupt_skipped: How many unreadable images were left out on the user's word.
        warnings: What a user must know.
    """

    name: str
    source: str
    samples: tuple[Sample, ...]
    cameras: NDArray[np.int64]
    tracks: NDArray[np.int64]
    people: tuple[str, ...] = ()
    track_names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    said: Said | None = None
    root: Path | None = None
    terms: str = "unknown; ask the owner of the images"
    corrupt_skipped: int = 0
    warnings: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds, (N,); NaN where unknown."""
        return np.array([np.nan if s.timestamp is None else s.timestamp for s in self.samples], np.float64)

    @property
    def several_cameras(self) -> bool:
        """Whether two cameras or more are known."""
        return len(np.unique(self.cameras[self.cameras >= 0])) > 1

    def track_name(self, row: int | np.integer) -> str:
        """What the tracker of its camera calls the track of a crop; empty where there is none."""
        return self.track_names[row] if self.track_names else ""

    def only(self, rows: NDArray[np.int64]) -> Crops:
        """Keep some rows, of which nobody has said anything yet."""
        lists = ("samples", "people", "track_names", "ids")
        some: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in rows) for name in lists if getattr(self, name)
        }
        return replace(self, **some, cameras=self.cameras[rows], tracks=self.tracks[rows])


def crops_at(path: Path | str, *, skip_corrupt: bool = False, progress: Progress | None = None) -> Crops:
    """Take all images of a folder, or all rows of a CSV file.

    Args:
        path: A folder, which is searched with all folders below, whatever they are called; or a CSV file with the
            columns ``path[,pid][,camid][,timestamp][,track]``. Cameras are read from the names of files and folders
            where no column tells them.
        skip_corrupt: Leave unreadable images out.
        progress: Told how far the look at all images is.

    Returns:
        The crops; people where the CSV names every one.

    Raises:
        SemreidError: If there is none, or the CSV is not as described.
    """
    path = Path(path)
    if not path.exists() or is_image(path):
        raise SemreidError(f"no folder or CSV file of crops at {path}", fix="name one, or give --data NAME:PATH")
    told: list[str] = []
    if path.is_file():
        rows = read_csv(path, unlabelled=True)
    else:
        images = list_images(path, nested=True)
        rows = [Row(image, "", camera_below(image, path)) for image in _each_once(images)]
        twice = len(images) - len(rows)
        links = f"{path}: {twice:,} links to crops that are there, too, were left out" if twice else ""
        told = [*filter(None, (left_out(path), links))]
    crops = _of_rows("folder", str(path), rows)
    root = path if path.is_dir() else path.parent
    crops = replace(crops, root=root, warnings=(*told, *crops.warnings))
    return readable(crops, progress) if skip_corrupt else crops


def _each_once(images: Sequence[Path]) -> list[Path]:
    """Leave out links to files that are listed as well, such as those of ``semreid group --folders links``."""
    found: dict[str, Path] = {}
    for image in sorted(images, key=Path.is_symlink):
        found.setdefault(os.path.realpath(image), image)
    return sorted(found.values())


def crops_of(
    spec: str, splits: Sequence[str] = ("train",), *, skip_corrupt: bool = False, progress: Progress | None = None
) -> Crops:
    """Take the crops of splits of a data set.

    Args:
        spec: ``NAME[/VARIANT]:PATH``.
        splits: Any of ``train``, ``query`` and ``gallery``.
        skip_corrupt: Leave unreadable images out.
        progress: Told how far the look at all images is.

    Returns:
        The crops, with their people. ``folder:`` data keeps unknown cameras, and its tracks.

    Raises:
        SemreidError: If the data set cannot be loaded, or has no such crop.
    """
    dataset = load_dataset(spec)
    samples = list(dict.fromkeys(s for split in SPLITS if split in splits for s in getattr(dataset, split)))
    name, _, location = spec.partition(":")
    if not samples:
        raise SemreidError(f"{spec} has no crop for {' or '.join(splits)}", fix="`semreid doctor` tells what it holds")
    if name == "folder":
        place = user_path(location)
        by_path = {row.path: row for row in read_rows(place)}
        rows = [by_path[path] for path in dict.fromkeys(sample.path for sample in samples)]
        crops, told = _of_rows(dataset.name, spec, rows), left_beside(dataset) if place.is_dir() else ()
    else:
        unnamed = [replace(sample, pid=0) for sample in samples]
        cameras = [sample.camid for sample in samples]
        crops = arranged(dataset.name, spec, unnamed, cameras, people=[str(sample.pid) for sample in samples])
        told = dataset.warnings
    crops = replace(crops, root=dataset.root, terms=dataset.terms, warnings=(*told, *crops.warnings))
    return readable(crops, progress) if skip_corrupt else crops


def _of_rows(name: str, source: str, rows: Sequence[Row]) -> Crops:
    cameras = [row.camid for row in rows]
    samples = [Sample(row.path, 0, row.camid or 0, timestamp=row.timestamp) for row in rows]
    tracks = [row.track for row in rows]
    return arranged(name, source, samples, cameras, tracks=tracks, people=[row.identity for row in rows])


def arranged(
    name: str,
    source: str,
    samples: Sequence[Sample],
    cameras: Sequence[int | None],
    *,
    tracks: Sequence[str] = (),
    people: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> Crops:
    """Put crops into an order that does not depend on their names.

    Args:
        name: Name of the data set.
        source: How the user named them.
        samples: The crops, of no person.
        cameras: Camera of each; None where it is unknown.
        tracks: What the tracker of its camera calls the track of each; empty where there is none.
        people: Who each shows; they count if all are known.
        ids: Ids of their rows in a gallery.

    Returns:
        The crops, with what a user must know of them.
    """
    names = tracks or [""] * len(samples)
    content = parallel(content_digest, samples)
    order = sorted(range(len(samples)), key=lambda i: (content[i], samples[i].camid, samples[i].timestamp or 0.0))
    numbers: dict[tuple[int | None, str], int] = {}  # trackers count for one camera
    found = [numbers.setdefault((cameras[i], names[i]), len(numbers)) if names[i] else -1 for i in order]
    crops = Crops(
        name=name,
        source=source,
        samples=tuple(samples[i] for i in order),
        cameras=np.array([-1 if (camera := cameras[i]) is None else camera for i in order], np.int64),
        tracks=np.array(found, np.int64),
        people=tuple(people[i] for i in order) if all(people) and people else (),
        track_names=tuple(names[i] for i in order),
        ids=tuple(ids[i] for i in order) if ids else (),
    )
    return replace(crops, warnings=tuple(_warnings(crops)))


def readable(crops: Crops, progress: Progress | None = None) -> Crops:
    """Leave out the crops that cannot be read, and say how many."""
    problems = parallel(problem_of, crops.samples, progress)
    rows = np.array([row for row, problem in enumerate(problems) if not problem], np.int64)
    if not (lost := len(crops) - len(rows)):
        return crops
    skipped = f"{crops.source}: {lost:,} unreadable images were left out"
    return replace(crops.only(rows), corrupt_skipped=lost, warnings=(*crops.warnings, skipped))


def _warnings(crops: Crops) -> Iterator[str]:
    unknown = int((crops.cameras < 0).sum())
    if len(crops) < FEW:
        yield f"{crops.source} has {len(crops)} crops: with fewer than {FEW}, hardly anybody is seen often enough"
    if not crops.several_cameras:
        which = (
            "no crop tells its camera (_c3_, or the column camid)" if unknown == len(crops) else "all are of one camera"
        )
        yield f"{crops.source}: {which}, so what differs from camera to camera can neither be learned nor taken out"
    elif unknown:
        first = crops.samples[int(np.argmax(crops.cameras < 0))]
        yield (
            f"{crops.source}: {unknown:,} of {len(crops):,} crops do not tell their camera, such as {first}; they are "
            "taken for those of one more camera"
        )
