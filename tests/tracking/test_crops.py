import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semreid.data.crops import crops_at
from semreid.data.images import read_image
from semreid.errors import SemreidError
from semreid.tracking import crops, cut_tracks, open_video, read_boxes
from tests.conftest import write_image
from tests.tracking.scenes import COLOURS, frames, walk, write_mot, write_video

BOXES = [*walk(1, 1, 20), *walk(2, 5, 14, top=50, left=40, step=2), (3, 3, 200, 10, 16, 40)]


def scene(folder: Path, boxes=BOXES):
    video = write_video(folder / "v.avi", frames([box for box in boxes if box[2] < 128], 20))
    return open_video(video), read_boxes(write_mot(folder / "t.txt", boxes))


def test_crops_show_their_tracks(tmp_path: Path) -> None:
    video, boxes = scene(tmp_path)
    done = cut_tracks(video, boxes, tmp_path / "out", camera=3, start=1000, per_track=4)
    assert (done.crops, done.tracks, done.unseen) == (8, 2, 1)
    rows = list(csv.DictReader(done.table.read_text().splitlines()))
    assert [row["camid"] for row in rows] == ["3"] * 8
    assert {row["track"] for row in rows} == {"1", "2"}
    times = [float(row["timestamp"]) for row in rows]
    assert times == sorted(times)
    for row in rows:
        crop = read_image(tmp_path / "out" / row["path"])
        assert crop.shape == (40, 16, 3)
        assert np.abs(crop[8:32, 4:12].mean(axis=(0, 1)) - COLOURS[int(row["track"])]).max() < 12
        frame = int(Path(row["path"]).stem)
        assert float(row["timestamp"]) == pytest.approx(1000 + (frame - 1) / 10)
    listed = crops_at(done.table)
    assert listed.cameras.tolist() == [3] * 8
    assert sorted(set(listed.track_names)) == ["1", "2"]


def test_cameras_share_a_table_and_none_is_cut_twice(tmp_path: Path) -> None:
    video, boxes = scene(tmp_path)
    first = cut_tracks(video, boxes, tmp_path / "out", camera=1, per_track=2)
    before = first.table.read_text()
    second = cut_tracks(video, boxes, tmp_path / "out", camera=2, per_track=3)
    assert second.table.read_text().startswith(before)
    assert len(crops_at(second.table)) == 4 + 6
    whole = second.table.read_text()
    with pytest.raises(SemreidError, match="has crops of camera 1 already"):
        cut_tracks(video, boxes, tmp_path / "out", camera=1)
    (tmp_path / "out" / "cam4").mkdir()
    with pytest.raises(SemreidError, match="has crops of camera 4 already"):
        cut_tracks(video, boxes, tmp_path / "out", camera=4)
    assert second.table.read_text() == whole
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "crops.csv").write_text("path,pid\na.jpg,1\n")
    with pytest.raises(SemreidError, match="no table of this command"):
        cut_tracks(video, boxes, tmp_path / "other", camera=1)


def test_boxes_that_nobody_can_see_are_told(tmp_path: Path) -> None:
    video, boxes = scene(tmp_path, [*walk(1, 1, 3, left=500), (4, 2, 10, 10, 4, 40)])
    with pytest.raises(SemreidError, match="no track has a box that can be seen: 8 pixels or more"):
        cut_tracks(video, boxes, tmp_path / "out", camera=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("chosen", [True, False])
@pytest.mark.parametrize("folder", [True, False])
def test_a_video_that_ends_before_the_tracker_did_is_refused(tmp_path: Path, chosen: bool, folder: bool) -> None:
    """Whether or not a crop of what lacks was to be cut: it may be another video."""
    video, _ = scene(tmp_path)
    left = 20 if chosen else 500  # which nobody sees
    seen = read_boxes(write_mot(tmp_path / "more.txt", [*BOXES, (99, 7, left, 10, 16, 40)]))
    if folder:
        for number, image in enumerate(frames(BOXES[:-1], 20), 1):
            write_image(tmp_path / "frames" / f"{number:06d}.png", image)
        video = open_video(tmp_path / "frames")
    with pytest.raises(SemreidError, match="has no frame 99, where the tracker saw somebody"):
        cut_tracks(video, seen, tmp_path / "out", camera=1, per_track=2)
    assert not [*(tmp_path / "out").glob("*")]


def test_a_track_wholly_behind_another_is_not_seen(tmp_path: Path) -> None:
    video, boxes = scene(tmp_path, [(1, 1, 10, 20, 16, 40), (1, 2, 8, 18, 20, 50)])
    done = cut_tracks(video, boxes, tmp_path / "out", camera=1)
    assert (done.tracks, done.unseen) == (1, 1)
    assert [row["track"] for row in csv.DictReader(done.table.read_text().splitlines())] == ["2"]


def test_crops_that_cannot_be_listed_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, boxes = scene(tmp_path)
    cut_tracks(video, boxes, tmp_path / "out", camera=1)
    before = sorted((tmp_path / "out").rglob("*"))

    def full(*_: object) -> None:
        raise SemreidError("the disk is full", fix="make room")

    with monkeypatch.context() as patched, pytest.raises(SemreidError, match="disk is full"):
        patched.setattr(crops, "write_csv", full)
        cut_tracks(video, boxes, tmp_path / "out", camera=2)
    assert sorted((tmp_path / "out").rglob("*")) == before
    assert len(crops_at(cut_tracks(video, boxes, tmp_path / "out", camera=2).table)) == 2 * 16


def test_a_stop_leaves_nothing(tmp_path: Path) -> None:
    video, boxes = scene(tmp_path)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_tracks(video, boxes, tmp_path / "out", camera=1, progress=stop)
    assert list((tmp_path / "out").iterdir()) == []
    short = open_video(write_video(tmp_path / "short.avi", frames(walk(1, 1, 9), 9)))
    with pytest.raises(SemreidError, match="no frame 1[0-9]"):
        cut_tracks(short, boxes, tmp_path / "out", camera=1)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("wrong", [{"camera": -1}, {"start": math.nan}, {"start": math.inf}, {"per_track": 0}])
def test_what_no_table_could_hold_is_refused_before_anything_is_written(tmp_path: Path, wrong: dict[str, Any]) -> None:
    video, boxes = scene(tmp_path)
    with pytest.raises(SemreidError, match=r"v\.avi"):
        cut_tracks(video, boxes, tmp_path / "out", **{"camera": 1, **wrong})
    assert not (tmp_path / "out").exists()
