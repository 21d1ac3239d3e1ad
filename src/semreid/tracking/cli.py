"""``semreid tracks`` and ``semreid link``: a tracker's output in, people across cameras out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from semreid.console import Json, command, interruptible, progress, say, show, warn, write
from semreid.data.sample import MAX_CAMID
from semreid.data.times import seconds
from semreid.files import require_writable
from semreid.tracking.boxes import read_boxes
from semreid.tracking.crops import SEEN, cut_tracks
from semreid.tracking.linking import link_tracks
from semreid.tracking.video import open_video

Boxes = Annotated[
    Path,
    typer.Argument(
        metavar="BOXES", help="What your tracker wrote: text as of MOTChallenge, or labels/ of Ultralytics."
    ),
]
Camera = Annotated[int, typer.Option("--camera", min=0, max=MAX_CAMID, help="Number of the camera.")]


def tracks(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video file, or folder of frames 000001.jpg and on.")],
    boxes: Boxes,
    out: Annotated[Path, typer.Option("--out", help="Folder for crops.csv and the crops; one for all cameras.")],
    camera: Camera = 1,
    per_track: Annotated[int, typer.Option("--per-track", min=1, help="Crops of a track, at most.")] = 8,
    start: Annotated[str, typer.Option("--start", help="When the video begins: seconds, or ISO 8601.")] = "0",
    fps: Annotated[
        float | None, typer.Option("--fps", help="Frames a second, where the video does not tell; 25 of a folder.")
    ] = None,
    json_: Json = False,
) -> None:
    """Cut crops of every track out of a video: spread over its time, and there the least hidden ones."""
    if fps is not None and not 0 < fps < 10_000:
        raise typer.BadParameter("--fps must be more than 0, and less than 10,000")
    require_writable(out / "crops.csv")
    begun = seconds(start) or 0.0
    with interruptible(lambda: "nothing was kept; the same command begins anew"), progress("cutting") as told:
        seen = read_boxes(boxes)
        done = cut_tracks(
            open_video(video, fps), seen, out, camera=camera, start=begun, per_track=per_track, progress=told
        )
    if seen.left_out:
        say(f"{seen.left_out:,} rows are of no track or no person, or do not count")
    if done.unseen:
        warn(f"{done.unseen:,} tracks have no box that {SEEN}")
    if json_:
        show({**asdict(done), "table": str(done.table), "left_out": seen.left_out})
    else:
        write(f"{done.crops:,} crops of {done.tracks:,} tracks of camera {camera}")
    say(f"cut: {done.table}. Next: other cameras, then {command('group', done.table, '--out', 'DIR')}")


def link(
    boxes: Boxes,
    people: Annotated[Path, typer.Option("--people", help="people.csv of `semreid group`.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; a folder, if BOXES is one.")],
    camera: Camera = 1,
    json_: Json = False,
) -> None:
    """Write a tracker's file once more, its tracks numbered as people, the same in all cameras."""
    done = link_tracks(boxes, people, out, camera=camera)
    if done.unknown:
        warn(f"{done.unknown:,} lines are of tracks without crops: they have the number -1")
    if done.twice:
        warn(f"in {done.twice:,} frames, somebody is in two places: tracks of two people were taken for one")
    if json_:
        show(asdict(done))
    else:
        write(f"{done.tracks:,} tracks of {done.people:,} people, {done.alone:,} of nobody who was found")
    say(f"linked: {out}")
