import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.files import exclusive
from semreid.models.card import Card, save_model
from semreid.models.zoo import create_model
from semreid.teachers import label
from tests.conftest import write_image
from tests.teachers.glass import person, truth


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """An untrained parser as a run folder."""
    torch.manual_seed(0)
    arguments = {"name": "parser", "num_ids": 1, "trunk": "resnet18", "width": 0.125, "size": (64, 32)}
    save_model(tmp_path / "run", create_model(**arguments), Card(arguments, {}, "none", 0))
    return tmp_path / "run"


@pytest.fixture
def command(run):
    return partial(run, "label")


def test_label_by_a_teacher(command, run_folder: Path, crowd: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    code, printed, told = command(run_folder, "--data", f"people:{crowd}", "--out", out)
    assert code == 0, told
    assert "lower arm" in printed
    assert "16 crops; 0 were labelled before" in printed
    assert "confidence" in printed
    assert told.endswith(f"Next: semreid train --data people:{crowd} --annotations {out} --out RUN\n")
    assert "overview.html" in told
    names = {path.name for path in out.iterdir()}
    assert names == {"masks", "labels.parquet", "labels.jsonl", "report.json", "overview.html", "teachers.json"}
    code, printed, _ = command(run_folder, "--data", f"people:{crowd}", "--out", out, "--json")
    assert json.loads(printed)["kept"] == 16


def test_labels_beside_the_crops_leave_the_data_set_as_it_was(run, command, run_folder: Path, tmp_path: Path) -> None:
    for pid in range(4):
        for camid in (1, 2):
            write_image(tmp_path / "crops" / f"p{pid}" / f"a_c{camid}.png", person(10 * pid + camid)[0])
    data = f"folder:{tmp_path / 'crops'}"
    before = run("doctor", data).out
    for _ in range(2):
        done = command(run_folder, "--data", data, "--out", tmp_path / "crops")
        assert done.code == 0, done.err
    assert run("doctor", data).out == before


def test_label_from_label_maps(command, crowd: Path, tmp_path: Path) -> None:
    for name, mask in truth(crowd):
        file = tmp_path / "theirs" / name.with_suffix(".npy")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, mask)
    arguments = ["--from-masks", tmp_path / "theirs", "--mapping", "eanet", "--data", f"people:{crowd}"]
    code, printed, told = command(*arguments, "--out", tmp_path / "labels")
    assert code == 0, told
    assert "parts follow one another from head to foot in 100.0% of the crops" in printed
    assert "confidence" not in printed


def test_two_do_not_label_into_one_folder(command, run_folder: Path, crowd: Path, tmp_path: Path) -> None:
    for source in ([run_folder], ["--from-masks", tmp_path]):
        with exclusive(tmp_path / "labels"):
            done = command(*source, "--data", f"people:{crowd}", "--out", tmp_path / "labels")
        assert done.code == 1
        assert "another process writes" in done.err
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(("options", "way_on"), [([], "the same command completes"), (["--replace"], "without --repl")])
def test_ctrl_c_says_how_to_go_on(
    command, run_folder: Path, crowd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list, way_on: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(label, "_look", interrupted)
    done = command(run_folder, "--data", f"people:{crowd}", "--out", tmp_path / "labels", *options)
    assert (done.code, done.out) == (130, "")
    assert way_on in done.err


def test_a_mapping_without_label_maps_is_refused(command, crowd: Path, tmp_path: Path) -> None:
    code, _, told = command("--mapping", "lip", "--data", f"people:{crowd}", "--out", tmp_path / "labels")
    assert code == 1
    assert "a mapping is for label maps, and none are named" in told
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize("arguments", [["parser", "--from-masks", "maps"]])
def test_labels_come_from_one_source(command, crowd: Path, tmp_path: Path, arguments: list[str]) -> None:
    code, _, told = command(*arguments, "--data", f"people:{crowd}", "--out", tmp_path / "labels")
    assert code == 1
    assert "from teachers or from label maps" in told


def test_after_training_a_teacher_comes_labelling(run, crowd: Path, tmp_path: Path) -> None:
    for name, mask in truth(crowd):
        write_image(crowd / "masks" / name, mask)
    plan = tmp_path / "plan.yaml"
    plan.write_text("model: {name: parser, trunk: resnet18, width: 0.125, weights: scratch}\n")
    small = ["data.height=64", "data.width=32", "data.identities=2", "data.instances=2", "schedule.epochs=1"]
    trained = run("train", plan, "--data", f"people:{crowd}", "--out", tmp_path / "run", *small)
    assert trained.code == 0
    assert f"Next: semreid label {tmp_path / 'run'}" in trained.err
