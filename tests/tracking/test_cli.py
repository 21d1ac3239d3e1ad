import csv
import json
from pathlib import Path

from tests.conftest import write_run
from tests.tracking.scenes import frames, walk, write_mot, write_video


def test_from_videos_to_people_across_cameras(run, tmp_path: Path) -> None:
    boxes = [*walk(1, 1, 20), *walk(2, 1, 20, top=50)]
    video = write_video(tmp_path / "v.avi", frames(boxes, 20))
    tracked = write_mot(tmp_path / "t.txt", boxes)
    for camera in (1, 2):
        done = run("tracks", video, tracked, "--camera", camera, "--out", tmp_path / "crops", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["crops"] == 16
    write_run(tmp_path / "model", {"name": "baseline", "trunk": "resnet18", "width": 0.125, "size": (32, 16)})
    grouped = run("group", tmp_path / "crops" / "crops.csv", "--model", tmp_path / "model", "--out", tmp_path / "who")
    assert grouped.code == 0, grouped.err
    people = list(csv.DictReader((tmp_path / "who" / "people.csv").read_text().splitlines()))
    assert {(row["camera"], row["track"]) for row in people} == {(c, t) for c in "12" for t in "12"}
    linked = run("link", tracked, "--people", tmp_path / "who" / "people.csv", "--out", tmp_path / "l.txt", "--json")
    assert linked.code == 0, linked.err
    assert json.loads(linked.out)["unknown"] == 0
    numbers = {line.split(",")[1] for line in (tmp_path / "l.txt").read_text().splitlines()}
    assert len(numbers) == 2  # both are seen at once


def test_usage(run, tmp_path: Path) -> None:
    boxes = walk(1, 1, 5)
    video, tracked = write_video(tmp_path / "v.avi", frames(boxes, 5)), write_mot(tmp_path / "t.txt", boxes)
    where = (video, tracked, "--out", tmp_path / "crops")
    assert run("tracks", *where, "--fps", "0").code == 2
    assert run("tracks", *where, "--per-track", "0").code == 2
    assert run("tracks", *where, "--camera", "-1").code == 2
    wrong = run("tracks", *where, "--start", "yesterday")
    assert (wrong.code, "ISO 8601" in wrong.err) == (1, True)
    done = run("tracks", *where, "--start", "2026-11-28T09:00:00+00:00")
    assert (done.code, done.out) == (0, "5 crops of 1 tracks of camera 1\n")
    again = run("tracks", *where)
    assert again.code == 1
    assert "--camera" in again.err
