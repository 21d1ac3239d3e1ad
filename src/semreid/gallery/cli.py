"""``semreid gallery``: fill, search and keep galleries from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from semreid import distributed
from semreid.console import Json, draw, interruptible, progress, say, show, warn, write
from semreid.data.cli import SkipCorrupt
from semreid.data.images import problem_of, unreadable
from semreid.data.listing import left_out, list_images
from semreid.data.names import camera_of
from semreid.data.rows import unread_columns
from semreid.data.times import seconds, time_code
from semreid.errors import SemreidError
from semreid.files import require_writable
from semreid.gallery.crops import UPLOADED
from semreid.gallery.enroll import (
    Crop,
    Enrolled,
    annotated,
    crops_below,
    crops_of_data,
    crops_of_rows,
    enroll,
    enroll_features,
)
from semreid.gallery.entry import Entry, Filter, Match
from semreid.gallery.gallery import LARGEST_K, Gallery, Stats
from semreid.gallery.parts import PartOrder
from semreid.gallery.store import without_password
from semreid.gallery.uri import require_kept
from semreid.models.card import shipped_as
from semreid.models.cli import ModelOption, embedder_of
from semreid.models.shipped import DEFAULT
from semreid.parallel import parallel

app = typer.Typer(no_args_is_help=True)


URI = Annotated[
    str,
    typer.Option(
        "--gallery",
        callback=require_kept,
        help="FOLDER.db, FILE.parquet, http://HOST:PORT[/DATABASE][#NAME] of Milvus, or serve:http://HOST:PORT of "
        "`semreid serve`.",
    ),
]
Replace = Annotated[bool, typer.Option("--replace", help="Renew what is in the gallery already, not just add to it.")]
Camids = Annotated[
    list[int] | None, typer.Option("--camid", min=0, help="From this camera (may be repeated: or that).")
]
Pids = Annotated[list[str] | None, typer.Option("--pid", help="Of this person (may be repeated: or that).")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="With this tag (may be repeated: and that).")]
Since = Annotated[str, typer.Option("--since", help="Not before: seconds, or ISO 8601 (UTC unless it says so).")]
Until = Annotated[str, typer.Option("--until", help="Before this time.")]


@app.command()
def add(
    uri: URI,
    model: ModelOption = DEFAULT,
    images: Annotated[
        Path | None,
        typer.Argument(help="Image, folder, CSV (path,pid,camid[,timestamp]), or Parquet of `semreid embed`."),
    ] = None,
    data: Annotated[str, typer.Option("--data", help="Instead of IMAGES: NAME[/VARIANT]:PATH.")] = "",
    other: Annotated[
        str, typer.Option("--from", help="Instead of IMAGES: another gallery, of another model; people and tags stay.")
    ] = "",
    split: Annotated[str, typer.Option("--split", help="Of --data: train, query, gallery or all.")] = "gallery",
    pid: Annotated[str | None, typer.Option("--pid", help="All show this person.")] = None,
    camid: Annotated[int | None, typer.Option("--camid", min=0, help="All come from this camera.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="All get this tag (may be repeated).")] = None,
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Sub-folders are not people.")] = False,
    replace_known: Replace = False,
    skip_corrupt: SkipCorrupt = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images a step; those counted are safe.")] = 64,
) -> None:
    """Embed images and add them; under torchrun, on all its processes. Makes the gallery if there is none.

    The same command completes a broken run.
    """
    if (images is not None) + bool(data) + bool(other) != 1:
        raise typer.BadParameter("give IMAGES, --data or --from, one of them")
    features = images is not None and images.suffix.lower() == ".parquet"
    _refuse(
        images or data or other,
        split=split != "gallery" and not data,
        unlabelled=unlabelled and (images is None or features),
        skip_corrupt=skip_corrupt and features,
    )
    said: dict[str, Any] = {"pid": pid, "camid": camid, "tags": tags or ()}
    with distributed.process_group():
        listed = partial(_crops, images, data, split, other, unlabelled)  # by one: folders grow, and a .db takes one
        crops = [] if features else annotated(distributed.by_first(listed), **said)
        embedder, first = embedder_of(model), distributed.rank() == 0
        meta = {"dim": embedder.dim, "fingerprint": embedder.fingerprint}
        with (
            interruptible(lambda: "what was added is safe, and the same command completes it"),
            Gallery.open(uri, **meta) if first else nullcontext() as gallery,  # type: ignore[arg-type]
            progress("adding", "{done} of {total} are in the gallery") as told,
        ):
            if images is None or not features:
                settings = {"replace_known": replace_known, "skip_corrupt": skip_corrupt, "batch_size": batch_size}
                done = enroll(gallery, embedder, crops, **settings, progress=told)  # type: ignore[arg-type]
            elif gallery is not None:
                done = enroll_features(gallery, images, **said, replace_known=replace_known, progress=told)
        if first:
            _tell(done, uri)
            if done.kept and (pid is not None or camid is not None or tags):
                say(f"the {done.kept:,} that were there stay as they are: --replace gives them what the options say")


@app.command()
def search(
    queries: Annotated[list[Path], typer.Argument(help="Images to look for, or folders of them.")],
    uri: URI,
    model: ModelOption = DEFAULT,
    k: Annotated[int, typer.Option("--top", "-k", min=1, max=LARGEST_K, help="How many matches of each.")] = 10,
    other_cameras: Annotated[
        bool, typer.Option("--other-cameras", help="Leave out the query's own camera, as its file name tells.")
    ] = False,
    query_camid: Annotated[
        int | None,
        typer.Option("--query-camid", min=0, help="Camera of the queries, whatever their file names tell."),
    ] = None,
    camids: Camids = None,
    pids: Pids = None,
    tags: Tags = None,
    since: Since = "",
    until: Until = "",
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank the best by k-reciprocal neighbours.")] = False,
    parts: Annotated[
        bool, typer.Option("--parts", help="Let the body regions decide that both show; embeds the best again.")
    ] = False,
    skip_corrupt: SkipCorrupt = False,
    json_: Json = False,
) -> None:
    """Find the crops that are most similar to images."""
    where = _filter(camids, pids, tags, since, until)
    _warn_of_left_out(queries)
    paths = [path for query in queries for path in (list_images(query, nested=True) if query.is_dir() else [query])]
    with Gallery.open(uri) as gallery:
        embedder = embedder_of(model)
        gallery.require(embedder)
        _require_some(gallery, where)
        paths = _readable(paths, skip_corrupt=skip_corrupt)
        cameras = _cameras(paths, query_camid) if other_cameras else None
        order = PartOrder(embedder, paths) if parts else None
        vectors = order.vectors if order else embedder.embed(paths)
        found = gallery.search(vectors, k, where=where, query_camids=cameras, rerank=rerank, reorder=order)
    if json_:
        results = [
            {
                "query": str(path),
                "matches": [{"similarity": round(m.similarity, 6), **asdict(m.entry)} for m in matches],
            }
            for path, matches in zip(paths, found, strict=True)
        ]
        show({"gallery": gallery.uri, "results": results})
        return
    for path, matches in zip(paths, found, strict=True):
        draw(_table(str(path), matches))


@app.command()
def remove(
    uri: URI,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of rows; `search --json` shows them.")] = None,
    camids: Camids = None,
    pids: Pids = None,
    tags: Tags = None,
    since: Since = "",
    until: Until = "",
) -> None:
    """Remove rows by their ids, or all of a person, a camera, a tag or a time."""
    where = _filter(camids, pids, tags, since, until)
    with Gallery.open(uri) as gallery:
        wanted = _wanted(gallery, ids or [], where) if bool(ids) != bool(where) else ()
        uploads = [row.path for row in wanted if UPLOADED.search(row.path)]
        typer.echo(f"{gallery.remove(ids or (), where=where):,} rows removed from {gallery.uri}")
    if uploads and not uri.startswith("serve:"):
        warn(
            f"{len(uploads):,} pictures that were sent to a server stay on its disk, such as {uploads[0]}: delete them "
            "by hand; what is removed through the server (serve:http://HOST:PORT) takes them along"
        )


@app.command()
def info(uri: URI, json_: Json = False) -> None:
    """Say what a gallery holds."""
    with Gallery.open(uri) as gallery:
        stats = gallery.stats()
    show(stats.to_json()) if json_ else _show_stats(gallery.uri, stats)


@app.command()
def export(file: Annotated[Path, typer.Argument(help="Parquet file to write.")], uri: URI) -> None:
    """Write all rows into a Parquet file, which is itself a gallery."""
    require_writable(file)
    with Gallery.open(uri) as gallery:
        typer.echo(f"{gallery.export_parquet(file):,} rows in {file}")


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="Parquet file that `semreid gallery export` wrote.")],
    uri: URI,
    replace_known: Replace = False,
) -> None:
    """Add the rows of an exported gallery; makes the gallery if there is none. No model is needed."""
    from semreid.gallery.parquet import read_gallery

    meta, _ = read_gallery(file)
    with Gallery.open(uri, dim=meta.dim, fingerprint=meta.fingerprint) as gallery:
        _tell(Enrolled(*gallery.import_parquet(file, replace_known=replace_known), []), uri)


def _wanted(gallery: Gallery, ids: list[str], where: Filter) -> Iterator[Entry]:
    """The rows that somebody wants to remove: a slip in an id or a filter is told, not answered with 0."""
    if not ids:
        _require_some(gallery, where)
        return chain.from_iterable(rows for rows, _ in gallery.scan(where))
    rows = dict(zip(ids, gallery.get(ids), strict=True))
    if unknown := [id_ for id_, row in rows.items() if row is None]:
        what = f"{gallery.uri} has no row {unknown[0]!r} ({len(unknown):,} of {len(rows):,} ids)"
        if len(unknown) == len(rows):
            raise SemreidError(
                what, fix="`semreid gallery search --json` shows ids; --pid, --camid, --tag find by facts"
            )
        warn(what)
    return filter(None, rows.values())


def _readable(queries: list[Path], *, skip_corrupt: bool) -> list[Path]:
    problems = parallel(problem_of, queries)
    found = [(query, problem) for query, problem in zip(queries, problems, strict=True) if problem]
    if found and not skip_corrupt:
        raise unreadable(*found[0])
    _tell_skipped([problem for _, problem in found], len(queries))
    return [query for query, problem in zip(queries, problems, strict=True) if not problem]


def _tell_skipped(problems: list[str], images: int) -> None:
    """Say which images were left out; refuse to go on without any."""
    for problem in problems:
        say(f"skipped: {problem}", style="yellow")
    if problems and len(problems) == images:
        raise SemreidError(
            f"none of the {images:,} images can be read, such as: {problems[0]}",
            fix="see that they are where their names say, and that they may be read",
        )


def _cameras(queries: list[Path], stated: int | None) -> list[int]:
    cameras = [camera_of(query) if stated is None else stated for query in queries]
    if unknown := [query for query, camera in zip(queries, cameras, strict=True) if camera is None]:
        raise SemreidError(
            f"the file name of {unknown[0]} does not tell its camera ({len(unknown):,} of {len(queries):,} queries), "
            "so --other-cameras cannot leave it out",
            fix="state it, if it is the same of all: --query-camid, or search without --other-cameras",
        )
    return [camera for camera in cameras if camera is not None]


def _refuse(source: Path | str, **meaningless: bool) -> None:
    """Refuse options that have no meaning for what is added, rather than pass over them."""
    for name, given in meaningless.items():
        if given:
            option = f"--{name.replace('_', '-')}"
            raise SemreidError(f"{option} has no meaning for {source}", fix=f"leave out {option}")


def _crops(images: Path | None, data: str, split: str, other: str, unlabelled: bool) -> list[Crop]:
    if other:
        with Gallery.open(other) as rows:
            return crops_of_rows(rows)
    if images is None:
        return crops_of_data(data, split, warn=warn)
    _warn_of_left_out([images])
    crops = crops_below(images, unlabelled=unlabelled)
    if images.suffix.lower() == ".csv" and (unread := unread_columns(images)):
        ways = "--tag gives a tag to all rows, and a Parquet file of `semreid embed` may have such columns"
        warn(f"{images}: {' and '.join(unread)} are not read: {ways}")
    return crops


def _warn_of_left_out(paths: list[Path]) -> None:
    if lost := left_out(*(path for path in paths if path.is_dir())):
        warn(lost)


def _tell(done: Enrolled, uri: str) -> None:
    _tell_skipped(done.skipped, sum(done[:3]) + len(done.skipped))
    where = without_password(uri)
    counts = f"{done.new:,} rows added to {where}, {done.replaced:,} replaced, {done.kept:,} there before"
    typer.echo(counts + (f", {len(done.skipped):,} images skipped" if done.skipped else ""))


def _filter(camids: list[int] | None, pids: list[str] | None, tags: list[str] | None, since: str, until: str) -> Filter:
    return Filter(camids or (), (), seconds(since), seconds(until), pids or (), tags or ())


def _require_some(gallery: Gallery, where: Filter) -> None:
    if not gallery.count(where):
        what = "no row that passes the filter" if where else "no row"
        raise SemreidError(f"{gallery.uri} has {what}", fix="`semreid gallery info` tells its cameras and times")


def _table(title: str, matches: list[Match]) -> Table:
    long = Column("time", no_wrap=True), Column("path or id", overflow="fold")
    table = Table("#", "similarity", "person", "camera", *long, title=title)
    for rank, match in enumerate(matches, 1):
        entry = match.entry
        time = None if entry.timestamp is None else time_code(entry.timestamp)
        facts = (entry.pid, entry.camid, time, entry.path or entry.id)
        texts = ("-" if fact is None else str(fact) for fact in facts)
        table.add_row(str(rank), f"{match.similarity:.3f}", *texts)
    return table


def _show_stats(uri: str, stats: Stats) -> None:
    table = Table("camera", "crops", title=uri)
    for camid, rows in stats.cameras.items():
        table.add_row("unknown" if camid is None else str(camid), f"{rows:,}")
    draw(table)
    span = [time_code(time) for time in (stats.first, stats.last) if time is not None]
    times = f"times {' to '.join(span)}" if span else "no times"
    named = shipped_as(stats.fingerprint) or stats.fingerprint[:12]
    model = f"model {named}" if named else "no model stated"
    line = f"{stats.rows:,} crops of {stats.people:,} people, {stats.unknown:,} of nobody known; {times}; "
    write(line + f"{stats.dim} values a vector, {model}")
