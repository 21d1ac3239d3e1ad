"""``semreid group``: who is who among crops that nobody has named, as a table and as a page to look through."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from semreid.console import Json, command, draw, progress, say, show, warn, write
from semreid.data.cli import SkipCorrupt
from semreid.data.images import read_image
from semreid.data.rows import SPLITS
from semreid.data.sample import Sample
from semreid.errors import SemreidError
from semreid.explain.page import OWN_PAGE, caption, environment
from semreid.files import require_apart, require_outside, require_own, require_writable, user_path, write_text
from semreid.gallery import Entry, Gallery
from semreid.gallery.unlabelled import with_words
from semreid.gallery.uri import require_kept
from semreid.models.card import is_run
from semreid.models.cli import ModelOption, embedder_of
from semreid.models.shipped import DEFAULT
from semreid.training.cli import CropsArgument, crops_from, tell_said
from semreid.training.recipe import BEST, load_recipe
from semreid.verification.people import (
    UNSURE,
    People,
    find_people,
    name_in_gallery,
    require_files,
    require_free,
    write_folders,
    write_people,
)

SHOWN = 12
"""Crops of a person on the page: the surest, and of those that are unsure at least a third."""


class Tile(NamedTuple):
    """A crop on the page: ``sure`` is True, or None where it is not."""

    name: str
    read: partial[Any]
    sure: bool | None
    confidence: float
    texts: list[str]


class Row(NamedTuple):
    """A person on the page; number 0 is nobody, and hidden are the unsure crops that are not on it."""

    number: int
    crops: int
    cameras: list[int]
    unsure: int
    hidden: int
    tiles: list[Tile]


def people_page(people: People, model: str, table: str = "") -> str:
    """Write who is who as a contact sheet: a row a person, those with most crops first.

    Args:
        people: Who is who.
        model: What it was found by, for the page.
        table: Digest of the table that belongs to the page, if any.

    Returns:
        HTML that holds all its pictures.

    Raises:
        SemreidError: If an image cannot be read.
    """
    shown = [_row(people, person) for person in (*range(people.count), -1) if (people.groups == person).any()]
    values = {"people": people, "model": model, "shown": shown, "unsure": UNSURE, "table": table}
    return environment().get_template("people.html").render(values)


def group(
    out: Annotated[Path, typer.Option("--out", help="Folder for people.csv and people.html.")],
    crops: CropsArgument = None,
    model: ModelOption = DEFAULT,
    data: Annotated[str, typer.Option("--data", help="Instead of CROPS: NAME[/VARIANT]:PATH.")] = "",
    split: Annotated[
        Literal["train", "query", "gallery", "all"] | None,
        typer.Option("--split", help="Which crops of --data: all if left out; with --folders, those to train on."),
    ] = None,
    gallery: Annotated[
        str,
        typer.Option(
            "--gallery",
            help="Name the people of this gallery, too, after the crops were added; without CROPS and --data, its own.",
        ),
    ] = "",
    folders: Annotated[
        Literal["links", "copies"] | None,
        typer.Option("--folders", help="Make one folder a person, and train.csv to learn from, too."),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average each embedding with that of the mirror image.")] = False,
    cut: Annotated[
        float | None, typer.Option("--cut", min=0.01, max=0.99, help="Larger: fewer, larger groups; else as it looks.")
    ] = None,
    min_samples: Annotated[int, typer.Option("--min-samples", min=2, help="Crops that make a person.")] = 4,
    skip_corrupt: SkipCorrupt = False,
    json_: Json = False,
) -> None:
    """Tell who is who in your own crops, without identities: a table, a page, and names in a gallery if wanted."""
    _require_possible(out, crops, data, gallery, folders=folders is not None, flip=flip)
    own = gallery if crops is None and not data else ""
    chosen = split or ("all" if folders is None else "train")
    splits = SPLITS if chosen == "all" else (chosen,)
    if folders is not None and data and chosen != "train":
        warn(f"--split {chosen}: train.csv will hold crops to test on, and a model that learns from it knows them")
    seen = crops_from(crops, data, splits, gallery=own, skip_corrupt=skip_corrupt)
    if folders is not None:
        require_files(seen)
    embedder, features = embedder_of(model), None
    place: dict[str, Any] = {"dim": embedder.dim, "fingerprint": embedder.fingerprint}
    if gallery:
        with Gallery.open(gallery, **place) as rows:
            if own:
                features = rows.vectors(seen.ids)
                if gone := sum(not sample.path.is_file() for sample in seen.samples):
                    warn(f"{gone:,} of {len(seen):,} pictures are gone; their vectors tell")
            else:
                seen = with_words(seen, rows)
                tell_said(seen)
    with progress("decoding") as told:
        people = find_people(
            embedder, seen, features=features, flip=flip, cut=cut, min_samples=min_samples, progress=told
        )
        write_people(people, out / "people.csv")
        write_text(out / "people.html", people_page(people, model, _digest(out / "people.csv")))
        named = None
        if gallery:
            with Gallery.open(gallery, **place) as rows:
                named = name_in_gallery(people, rows)
        if folders is not None:  # the last step: where folders are, nothing begins anew
            write_folders(people, out / "people", folders, out / "train.csv")
    one_track = seen.tracks[0] >= 0 and (seen.tracks == seen.tracks[0]).all()  # which no cut takes apart
    if people.count == 1 and not one_track:
        warn("all crops that are alike at all were taken for one person; --cut 0.6 takes fewer")
    result = _result(people) | ({} if named is None else {"gallery": named._asdict()})
    show(result) if json_ else _show(result)
    say(f"grouped: look at {out / 'people.html'}; all crops are in {out / 'people.csv'}")
    if folders is not None:
        table = out / "train.csv"
        say(f"to learn from it, once it looks right: {table}. Next: {_way_to_learn(table, model, people.count)}")


def _way_to_learn(table: Path, model: str, people: int) -> str:
    """The command that trains on what was found, from the model that found it, as docs/adapt.md tells."""
    start = [f"model.weights={model}"] if is_run(model) else []
    few = [f"data.identities={people}"] if people < load_recipe(BEST).data.identities else []
    return command("train", "--data", f"folder:{table}", "--out", "RUN", *start, *few)


def _digest(file: Path) -> str:
    return blake2b(file.read_bytes(), digest_size=16).hexdigest()


def _require_untouched(table: Path, page: Path) -> None:
    """Refuse to write over a table and a page that are somebody else's, or a table that was corrected by hand."""
    require_own(page, OWN_PAGE)
    if table.is_file() and not (page.is_file() and _digest(table).encode() in page.read_bytes()[:4096]):
        raise SemreidError(
            f"{table} is there already, and is not as `semreid group` left it: it will not be written over",
            fix="move it elsewhere, or choose another folder for --out",
        )


def _require_possible(out: Path, crops: Path | None, data: str, gallery: str, *, folders: bool, flip: bool) -> None:
    """Refuse, before the job, what cannot be written or kept."""
    written = [out / name for name in ["people.csv", "people.html"] + ["train.csv"] * folders]
    for file in written:
        require_writable(file)
    require_apart(written, [] if crops is None else [crops])
    _require_untouched(*written[:2])
    if folders:
        require_free(out / "people", out / "train.csv")
        if source := crops or data.partition(":")[2]:
            require_outside(out, user_path(source))
    elif (out / "people").exists() and (out / "train.csv").exists():
        raise SemreidError(
            f"{out} holds people and train.csv of another grouping, which would not fit the new table and page",
            fix="move them elsewhere, or choose another folder for --out",
        )
    if gallery:
        require_kept(gallery)
    if flip and gallery:
        raise SemreidError(
            "a gallery keeps the vectors of crops as they are, and --flip changes them",
            fix="leave --flip out, or --gallery",
        )


def _row(people: People, person: int) -> Row:
    rows = people.rows(person)
    cameras = np.unique(people.crops.cameras[rows])
    unsure = rows[people.unsure[rows]]
    doubtful = unsure[: max(SHOWN // 3, SHOWN - (len(rows) - len(unsure)))]
    shown = [*rows[~people.unsure[rows]][: SHOWN - len(doubtful)], *doubtful]
    tiles = [_tile(people, int(row)) for row in shown]
    hidden = len(unsure) - len(doubtful)
    return Row(person + 1, len(rows), cameras[cameras >= 0].tolist(), len(unsure), hidden, tiles)


def _tile(people: People, row: int) -> Tile:
    sample, camera = people.crops.samples[row], int(people.crops.cameras[row])
    sure = None if people.unsure[row] or people.groups[row] < 0 else True
    texts = caption(Entry(camid=None if camera < 0 else camera, timestamp=sample.timestamp))
    read = partial(_picture, sample, may_be_gone=bool(people.crops.ids))
    return Tile(sample.path.name, read, sure, float(people.confidence[row]), texts)


def _picture(sample: Sample, *, may_be_gone: bool) -> NDArray[np.uint8] | None:
    """A crop; None if it cannot be read and need not be, since a gallery keeps vectors without their pictures."""
    try:
        return read_image(sample)
    except SemreidError:
        if may_be_gone:
            return None
        raise


def _result(people: People) -> dict[str, Any]:
    return {
        "crops": len(people.crops),
        "people": people.count,
        "unsure": int(people.unsure.sum()),
        **{name: value for name, value in people.signs._asdict().items() if name != "groups"},
        "scores": None if people.scores is None else people.scores._asdict(),
    }


def _show(result: dict[str, Any]) -> None:
    write(*_lines(result))
    if result["scores"] is None:
        return
    table = Table("", "precision, %", "recall, %", "F1, %", title="against the people that are known")
    for title, name in (("pairs of crops", "pairwise"), ("B-cubed", "bcubed")):
        table.add_row(
            title, *(f"{100 * result['scores'][f'{name}_{part}']:.1f}" for part in ("precision", "recall", "f1"))
        )
    draw(table)


def _lines(result: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{result['people']:,} people in {round(result['grouped'] * result['crops']):,} of {result['crops']:,} crops; "
        f"{result['unsure']:,} crops are unsure"
    )
    if result["spanning"] is not None:
        agree = f"neighbours from other cameras agree in {result['mutual']:.0%}"
        yield f"{result['spanning']:.0%} of the people are seen by several cameras; {agree}"
    yield f"silhouette {result['silhouette']:.2f} (1: far from all others)"
    if result["scores"] is not None:
        yield f"known are {result['scores']['people']:,} people"
    if "gallery" in result:
        named = result["gallery"]
        counts = (
            f"{named['named']:,} rows named, {named['kept']:,} kept as somebody said, {named['nobody']:,} of nobody"
        )
        yield f"gallery: {counts}"
