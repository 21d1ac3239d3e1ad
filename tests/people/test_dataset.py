import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from semreid.atlas import PART_COLOURS
from semreid.data.benchmarks import load_dataset
from semreid.data.doctor import diagnose
from semreid.data.store import annotation_paths, build_store
from semreid.errors import SemreidError
from semreid.files import exclusive
from semreid.people import dataset
from semreid.people.dataset import PeopleRecipe, contact_sheet, save_contact_sheet, stream, synthesize

RECIPE = PeopleRecipe(identities=6, images_per_identity=4, seed=3, height=64, width=32, cameras=3)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return synthesize(RECIPE, tmp_path_factory.mktemp("people") / "set", processes=1)


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_set_is_complete_and_its_doctor_is_content(people):
    loaded = load_dataset(f"people:{people}")
    diagnosis = diagnose(loaded)
    assert diagnosis.healthy
    assert not [f for f in diagnosis.findings if f.level != "note"]
    everything = (*loaded.train, *loaded.query, *loaded.gallery)
    assert Counter(sample.pid for sample in everything) == dict.fromkeys(range(1, 7), 4)
    assert {s.pid for s in loaded.train} == {1, 2, 3, 4}
    assert {s.pid for s in loaded.query} == {5, 6}
    for query in loaded.query:  # somebody to find by another camera
        assert any(g.pid == query.pid and g.camid != query.camid for g in loaded.gallery)


def test_masks_and_textures_lie_where_training_looks_for_them(people):
    loaded = load_dataset(f"people:{people}")
    masks, textures = (annotation_paths(loaded, loaded.train, kind) for kind in ("masks", "textures"))
    store = build_store(loaded.train, (64, 32), masks=masks, textures=textures)
    assert store.regions.max() <= 7
    assert store.textures.shape[1:] == (256, 256, 3)
    shots = list(stream(RECIPE, [1]))
    for row, shot in zip(np.flatnonzero(store.pids == 1), shots, strict=True):
        assert np.array_equal(store.regions[row].numpy(), shot.parts)
        assert np.array_equal(store.textures[row].numpy(), shot.person.texture)
        assert np.abs(store.images[row].numpy().astype(int) - shot.image).mean() < 25  # JPEG of 35 and more


def test_the_table_tells_all_about_every_image(people):
    rows = pq.read_table(people / "meta.parquet").to_pylist()
    assert len(rows) == 24
    assert {row["path"] for row in rows} == {str(p.relative_to(people)) for p in people.rglob("*.jpg")}
    for row in rows:
        assert (people / row["path"]).name.startswith(f"{row['pid']:04d}_c{row['camid']}s1_")
        mask = cv2.imread(str(people / "masks" / row["path"]).replace(".jpg", ".png"), cv2.IMREAD_UNCHANGED)
        assert (row["visible_head"] > 0) == (mask == 1).any()
        assert len(row["keypoints"]) == 28
        assert len(row["box"]) == 4
        assert row["pose"]
        assert row["upper_colour"]
        assert row["lower_colour"]


def test_files_do_not_depend_on_the_number_of_processes(people, tmp_path):
    again = synthesize(RECIPE, tmp_path / "set", processes=2)
    assert content(again) == content(people)


def test_few_pictures_are_made_at_once_and_many_by_all_cores(people, tmp_path, monkeypatch):
    started = []

    class Pool(Killed):
        def __init__(self, workers, *_):
            started.append(workers)
            super().__init__()

    monkeypatch.setattr(dataset, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(dataset, "cores", lambda: 8)
    assert content(synthesize(RECIPE, tmp_path / "few")) == content(people)
    assert not started
    for identities, images, workers in ((50, 4, 2), (50, 15, 4), (4, 1000, 4), (1000, 4, 8)):
        with pytest.raises(SemreidError):
            synthesize(PeopleRecipe(identities, images), tmp_path / f"{identities}x{images}")
        assert started.pop() == workers


def test_a_process_that_makes_people_does_without_pytorch():
    """Which takes longer to load, and more memory, than all that it needs."""
    script = "import sys, semreid.people.dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_interrupted_run_goes_on(people, tmp_path, monkeypatch):
    write, calls = dataset.write_identity, []

    def until_the_lights_go_out(recipe, work, pid):
        calls.append(pid)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(recipe, work, pid)

    monkeypatch.setattr(dataset, "write_identity", until_the_lights_go_out)
    with pytest.raises(KeyboardInterrupt):
        synthesize(RECIPE, tmp_path / "set", processes=1)
    assert not (tmp_path / "set").exists()
    partial = tmp_path / "set.partial"
    half_written = next(people.rglob("0003_c*.jpg")).relative_to(people)
    (partial / half_written).write_bytes(b"half")
    with pytest.raises(SemreidError, match="other settings"):
        synthesize(PeopleRecipe(7, 4), tmp_path / "set")
    resumed = []
    monkeypatch.setattr(dataset, "write_identity", lambda *args: (resumed.append(args[2]), write(*args)))
    synthesize(RECIPE, tmp_path / "set", processes=1)
    assert resumed == [3, 4, 5, 6]
    assert content(tmp_path / "set") == content(people)
    assert not partial.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identities": 0}, "identities is 0"),
        ({"identities": -3}, "identities is -3"),
        ({"images_per_identity": 0}, "images per identity is 0"),
        ({"images_per_identity": 1}, "images per identity is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**40}, "seed is"),
        ({"height": 8}, "height is 8"),
        ({"width": 4096}, "width is 4,096"),
        ({"cameras": 1}, "cameras is 1"),
        ({"cameras": -1}, "cameras is -1"),
        ({"occlusion": 1.5}, "occlusion is 1.5"),
    ],
)
def test_senseless_numbers_are_refused(change, message):
    with pytest.raises(SemreidError, match=message):
        PeopleRecipe(**{"identities": 6, "images_per_identity": 4, **change})


def test_the_network_grows_with_the_people():
    assert PeopleRecipe(4, 4).cameras == 4
    assert PeopleRecipe(1000, 4).cameras == 100
    assert PeopleRecipe(50_000, 4).cameras == 240
    assert PeopleRecipe(1000, 4, cameras=7).cameras == 7


def test_people_are_hidden_as_often_as_asked():
    recipes = [PeopleRecipe(4, 6, seed=3, height=64, width=32, cameras=3, occlusion=share) for share in (0, 1)]
    never, always = ([np.mean(shot.visible) for shot in stream(recipe, [1, 2])] for recipe in recipes)
    assert np.mean(always) < np.mean(never) - 0.1


def test_existing_folders_are_left_alone(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "precious.txt").write_text("mine")
    with pytest.raises(SemreidError, match="exists already"):
        synthesize(RECIPE, tmp_path / "set")
    assert (tmp_path / "set" / "precious.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SemreidError, match="exists already"):
        synthesize(RECIPE, tmp_path / "file")


def test_wherever_the_beginning_was_stopped_it_goes_on(people, tmp_path):
    partial = tmp_path / "set.partial"
    partial.mkdir()
    synthesize(RECIPE, tmp_path / "set", processes=1)
    assert content(tmp_path / "set") == content(people)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_is_no_interrupted_run_is_left_alone(tmp_path):
    (tmp_path / "set.partial").mkdir()
    (tmp_path / "set.partial" / "precious.txt").write_text("mine")
    with pytest.raises(SemreidError, match="set.partial is not what an interrupted run left") as caught:
        synthesize(RECIPE, tmp_path / "set")
    assert "remove" in caught.value.fix
    assert (tmp_path / "set.partial" / "precious.txt").read_text() == "mine"


def test_two_runs_do_not_share_a_folder(tmp_path):
    with exclusive(tmp_path / "set"), pytest.raises(SemreidError, match="another process writes .*set"):
        synthesize(RECIPE, tmp_path / "set")
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_replaced_is_an_error(tmp_path, monkeypatch):
    def busy(_):
        raise OSError(16, "Device or resource busy")

    (tmp_path / "set").mkdir()
    monkeypatch.setattr(Path, "rmdir", busy)  # a place where a disk is mounted
    with pytest.raises(SemreidError, match="cannot write .*set: Device or resource busy") as caught:
        synthesize(RECIPE, tmp_path / "set")
    assert "choose a new folder" in caught.value.fix


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_a_link_to_the_set(people, tmp_path, is_there):
    link, place = tmp_path / "link", tmp_path / "disk" / "set"
    (place if is_there else place.parent).mkdir(parents=True)
    link.symlink_to(place)
    assert synthesize(RECIPE, link, processes=1) == link
    assert link.readlink() == place
    assert content(place) == content(people)
    assert [path.name for path in place.parent.iterdir()] == ["set"]


def test_the_current_folder_can_be_the_set(people, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    synthesize(RECIPE, Path(), processes=1)
    assert content(tmp_path / "set") == content(people)


def test_a_small_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(SemreidError, match="MiB left"):
        synthesize(RECIPE, tmp_path / "set")
    assert not any(tmp_path.iterdir())


def test_a_disk_that_fills_up_is_an_error_and_the_rest_is_kept(people, tmp_path, monkeypatch):
    def full(self, _content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(SemreidError, match="No space left"):
            synthesize(RECIPE, tmp_path / "set", processes=1)
    synthesize(RECIPE, tmp_path / "set", processes=1)
    assert content(tmp_path / "set") == content(people)


class Killed:
    """A pool whose processes the system has ended."""

    def __init__(self, *_):
        self.shutdown = lambda **_: None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, *_):
        future = Future()
        future.set_exception(BrokenProcessPool("a process was terminated abruptly"))
        return future


def test_a_process_that_is_killed_is_told_and_the_rest_is_kept(people, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "ProcessPoolExecutor", Killed)
        with pytest.raises(SemreidError, match="ended from outside"):
            synthesize(RECIPE, tmp_path / "set", processes=2)
    synthesize(RECIPE, tmp_path / "set", processes=1)
    assert content(tmp_path / "set") == content(people)


def test_file_systems_without_hard_links_get_copies(people, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    synthesize(RECIPE, tmp_path / "set", processes=1)
    assert content(tmp_path / "set") == content(people)


def test_settings_are_on_record(people):
    assert json.loads((people / "people.json").read_text())["seed"] == 3


def test_the_contact_sheet_shows_textures_pictures_and_masks(tmp_path):
    sheet = contact_sheet(RECIPE, people=2, pictures=3)
    assert sheet.shape == (2 * 128, 128 + 3 * 32, 3)
    shot = next(stream(RECIPE, [1]))
    assert np.array_equal(sheet[:64, 128:160], shot.image)
    assert np.array_equal(sheet[64:128, 128:160], PART_COLOURS[shot.parts])
    save_contact_sheet(RECIPE, tmp_path / "sheet.png")
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
