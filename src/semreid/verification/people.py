"""Who is who among crops that nobody has named: groups with a confidence, and what becomes of them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semreid.data.crops import Crops
from semreid.data.store import build_store
from semreid.errors import SemreidError
from semreid.evaluation.protocol import Features, embed_store
from semreid.files import folder_beside, write_csv
from semreid.functional.grouping import (
    GroupingScores,
    GroupingSigns,
    Groups,
    group_features,
    grouping_scores,
)
from semreid.gallery.enroll import NOBODY
from semreid.gallery.gallery import Gallery
from semreid.gallery.roster import group_number, next_group
from semreid.gallery.said import is_free, named, person_said
from semreid.gallery.unlabelled import row_of
from semreid.models.embedder import Embedder
from semreid.parallel import Progress

UNSURE = 0.6
"""Confidence below which a crop may as well be of another person."""
COLUMNS = ("path", "person", "confidence", "camera", "time", "track")
TRAINING = ("path", "pid", "camid", "timestamp", "split")
"""Columns of what `semreid train` learns from (docs/data.md)."""


@dataclass(frozen=True)
class People:
    """Who is who.

    Attributes:
        crops: The crops.
        features: Their unit vectors (N, D).
        groups: Person of each, (N,), from 0, the one with most crops first; -1 for those of whom nothing can be said.
        confidence: How much nearer each is to its own person than to the next, (N,): 0.5 means undecided, 1 that no
            other comes near; 0 for those of nobody.
        signs: What can be known of the groups without knowing the people.
        scores: How well they fit the people that are known; None where none is.
    """

    crops: Crops
    features: Features
    groups: Groups
    confidence: NDArray[np.float64]
    signs: GroupingSigns
    scores: GroupingScores | None

    @property
    def count(self) -> int:
        """Number of people."""
        return self.signs.groups

    @property
    def unsure(self) -> NDArray[np.bool_]:
        """Which crops may as well be of another person, (N,)."""
        return (self.groups >= 0) & (self.confidence < UNSURE)

    def rows(self, person: int) -> NDArray[np.int64]:
        """Rows of a person, the surest first."""
        members = np.flatnonzero(self.groups == person)
        return members[np.argsort(-self.confidence[members], kind="stable")]


def find_people(
    embedder: Embedder,
    crops: Crops,
    *,
    features: Features | None = None,
    flip: bool = False,
    cut: float | None = None,
    min_samples: int = 4,
    progress: Progress | None = None,
) -> People:
    """Tell who is who.

    Args:
        embedder: A model or an exported file.
        crops: The crops.
        features: Their unit vectors (N, D), if a gallery has them.
        flip: Average each embedding with that of the mirror image.
        cut: Largest mean Jaccard distance of two groups that become one; None to let the crops tell.
        min_samples: Crops that make a group; two of one track do, too.
        progress: Told how far the decoding is.

    Raises:
        SemreidError: If a crop cannot be read or is the only one, a feature is not finite, or none are alike enough.
    """
    if features is None:
        features = embed_store(embedder, build_store(crops.samples, embedder.size, progress=progress), flip=flip)
    if len(crops) == 1:
        raise SemreidError("a single crop has nobody to be alike to", fix="give more crops")
    facts, said = (crops.cameras, crops.tracks, crops.times), crops.said
    blocks = tuple(embedder.blocks.values())
    found = group_features(features, *facts, blocks=blocks, said=said, cut=cut, min_samples=min_samples)
    if not (found.groups >= 0).any():
        raise SemreidError(
            f"no {min_samples} of the {len(crops):,} crops are alike enough to be taken for one person",
            fix="allow larger distances (--cut 0.9) or smaller groups (--min-samples 2); or adapt the model to these "
            "cameras first: semreid adapt",
        )
    found = found._replace(groups=_largest_first(found.groups))
    own, other = found.similarity()
    confidence = np.divide(own, own + other, out=np.zeros(len(own)), where=own > 0)
    confidence[[] if said is None else said.people >= 0] = 1
    return People(crops, features, found.groups, confidence, found.signs(crops.cameras), _scores(crops, found.groups))


def write_people(people: People, file: Path) -> None:
    """Write ``people.csv``: path, person (from 1; empty for nobody), confidence, camera, time and track of each crop.

    Raises:
        SemreidError: If it cannot be written.
    """
    persons = (*range(people.count), -1)
    write_csv(file, [COLUMNS, *(_cells(people, person, row) for person in persons for row in people.rows(person))])


def _cells(people: People, person: int, row: np.int64) -> tuple[object, ...]:
    sample = people.crops.samples[row]
    place = replace(sample, path=sample.path.absolute())
    who = (person + 1, f"{people.confidence[row]:.3f}") if person >= 0 else ("", "")
    return place, *who, *_facts(people, row), people.crops.track_name(row)


def _facts(people: People, row: np.int64) -> tuple[object, object]:
    camera, time = int(people.crops.cameras[row]), people.crops.samples[row].timestamp
    return "" if camera < 0 else camera, "" if time is None else time


def require_free(*places: Path) -> None:
    """Refuse to mix folders of people with those of another run, and to write over a table that may be anybody's.

    Raises:
        SemreidError: If one of the places is taken.
    """
    for place in places:
        if place.exists() or place.is_symlink():
            raise SemreidError(f"{place} is there already", fix="move it elsewhere, or choose another folder for --out")


def require_files(crops: Crops) -> None:
    """Refuse crops that cannot be linked or copied.

    Raises:
        SemreidError: If one is inside another file, is gone, or may not be read.
    """
    without = "leave --folders out: people.csv names every crop"
    skip = "leave it out with --skip-corrupt"
    if inside := next((s for s in crops.samples if s.item or s.box), None):
        raise SemreidError(f"{inside} is no file of its own", fix=without)
    if closed := next((s for s in crops.samples if s.path.exists() and not os.access(s.path, os.R_OK)), None):
        raise SemreidError(f"{closed} may not be read", fix=f"allow to read it, or {skip}")
    if gone := next((s for s in crops.samples if not s.path.exists()), None):
        raise SemreidError(f"{gone} is gone", fix=f"put it back, {skip}, or {without}")


def write_folders(people: People, folder: Path, how: Literal["links", "copies"], table: Path) -> None:
    """Make one folder a person, with links to the crops or copies of them, and a table of these; both or no folder.

    Args:
        people: Who is who; crops of nobody are left out.
        folder: The folder of folders; must not be there.
        how: ``links`` or ``copies``.
        table: CSV file to write beside it; must not be there. ``folder:TABLE`` is data to learn from, the people by
            number.

    Raises:
        SemreidError: If one of both is there or cannot be written, or a crop is gone or inside another file.
    """
    require_free(folder, table)
    require_files(people.crops)
    places = list(_places(people))
    with folder_beside(folder) as made:
        for row, target in places:
            source = people.crops.samples[row].path
            (made / target).parent.mkdir(parents=True, exist_ok=True)
            if how == "links":
                (made / target).symlink_to(source.absolute())
            else:
                shutil.copyfile(source, made / target)
        rows = (
            (f"{folder.name}/{target}", people.groups[row] + 1, *_facts(people, row), "train") for row, target in places
        )
        write_csv(table, [TRAINING, *rows])
        try:
            os.rename(made, folder)  # noqa: PTH104 - nothing may be replaced
        except BaseException:  # neither of both may bar the next run
            table.unlink()
            raise


class Named(NamedTuple):
    """What became of crops in a gallery.

    Attributes:
        named: Rows that now bear the name of a group.
        kept: Rows left to what somebody said or did, also meanwhile.
        nobody: Rows of nobody in particular.
    """

    named: int
    kept: int
    nobody: int


def name_in_gallery(people: People, gallery: Gallery) -> Named:
    """Put crops into a gallery, or find them there, and name their people ``group-1`` and so on.

    A person that somebody has said stays, and the others of its group get that name, too; a name that an earlier
    grouping gave is renewed. Numbers go on after those that the gallery has. What somebody changes meanwhile stays.

    Args:
        people: Who is who.
        gallery: A gallery of vectors of the same model.

    Raises:
        SemreidError: If the rows cannot be stored; then the same call completes the job.
    """
    groups, ids = people.groups.tolist(), people.crops.ids
    if not ids:
        rows = [row_of(people.crops, row) for row in range(len(people.crops))]
        gallery.add(people.features, rows)
        ids = tuple(row.id for row in rows)
    entries = {row: entry for row, entry in enumerate(gallery.get(ids)) if entry is not None}  # or removed meanwhile
    free = [row for row, entry in entries.items() if is_free(entry)]
    first = group_number(next_group(gallery, {entries[row].id for row in free}))
    names = {group: f"group-{first + group}" for group in range(people.count)} | {-1: None}
    said = {(groups[row], pid) for row, entry in entries.items() if groups[row] >= 0 and (pid := person_said(entry))}
    once = Counter(group for group, _ in said)
    names |= {group: pid for group, pid in said if once[group] == 1}
    renewed = [named(entries[row], names[groups[row]], by_machine=groups[row] >= 0) for row in free]
    gallery.exchange([entries[row] for row in free], renewed, partly=True)
    now = gallery.get([entry.id for entry in renewed])
    done = [entry for entry, found in zip(renewed, now, strict=True) if found == entry]  # others were changed meanwhile
    count = sum(entry.pid is not None for entry in done)
    return Named(count, len(entries) - len(done), len(done) - count)


def _places(people: People) -> Iterator[tuple[np.int64, Path]]:
    """The row of every crop of somebody, and where it goes.

    Names that are equal but for the suffix get numbers, the rank or the next free: masks go by what is before it.
    """
    width = max(4, len(str(people.count)))
    for person in range(people.count):
        taken: set[str] = set()
        for rank, row in enumerate(people.rows(person), 1):
            own = people.crops.samples[row].path.name
            names = chain([own], (f"{number}-{own}" for number in count(rank)))
            name = next(name for name in names if Path(name).stem not in taken)
            taken.add(Path(name).stem)
            yield row, Path(f"{person + 1:0{width}d}") / name


def _largest_first(groups: Groups) -> Groups:
    sizes = np.bincount(groups[groups >= 0])
    rank = np.empty_like(sizes)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.where(groups < 0, -1, rank[groups])


def _scores(crops: Crops, groups: Groups) -> GroupingScores | None:
    """Compare with the people that are known; 0 is nobody in particular."""
    rows = [row for row, name in enumerate(crops.people) if not NOBODY.fullmatch(name)]
    if not rows:
        return None
    _, pids = np.unique([crops.people[row] for row in rows], return_inverse=True)
    return grouping_scores(groups[rows], pids)
