import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.data.crops import Crops, crops_at
from semreid.errors import SemreidError
from semreid.explain import selftrain
from semreid.explain.selftrain import Turn, self_train
from semreid.models.card import read_card
from semreid.models.loading import load_model
from semreid.training.build import build_model
from semreid.training.recipe import load_recipe
from tests.conftest import write_crops, write_run

TURN = Turn(rounds=1, steps=2, epochs=1)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    """Eight people by two cameras, three crops each; read only."""
    return crops_at(write_crops(tmp_path_factory.mktemp("crops")))


@pytest.fixture(scope="module")
def learned(crops: Crops, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two turns; read only."""
    out = tmp_path_factory.mktemp("learned") / "out"
    assert self_train(crops, "people-s", out, TURN) == out / "trained2"
    return out


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_each_step_begins_with_the_one_before(learned: Path, crops: Crops) -> None:
    starts = [read_card(learned / name).trained_on for name in ("adapted1", "trained1", "adapted2", "trained2")]
    names = ["people-s", *(str(learned / name) for name in ("adapted1", "trained1", "adapted2"))]
    assert [facts["pretrained"] for facts in (starts[0], starts[2])] == names[::2]
    recipes = [load_recipe(learned / f"trained{number}" / "recipe.yaml") for number in (1, 2)]
    assert [recipe.model.weights for recipe in recipes] == names[1::2]
    for number, facts in ((1, starts[1]), (2, starts[3])):
        with (learned / f"people{number}.csv").open() as file:
            people = [row["person"] for row in csv.DictReader(file)]
        assert len(people) == len(crops)
        assert facts["images"] == sum(person != "" for person in people)
        assert facts["identities"] == len({*people} - {""}) > 1
        assert "found by a machine" in facts["dataset"]
        assert (learned / f"people{number}.html").stat().st_size > 1000


def test_training_is_as_train_does_it(learned: Path, crops: Crops) -> None:
    recipe = load_recipe(learned / "trained1" / "recipe.yaml")
    assert (recipe.contrast.weight, recipe.contrast.pairs, recipe.data.meeting) == (1, "cameras", "camera")
    people = selftrain.find_people(load_model("people-s"), crops)
    recipe, best = selftrain._recipe(people, learned / "adapted1", Turn()), load_recipe(selftrain.BEST)
    assert (recipe.contrast, recipe.optim, recipe.augment) == (best.contrast, best.optim, best.augment)
    assert recipe.losses == best.losses  # which are for as many epochs
    assert recipe.data.identities == people.count < 16
    assert recipe.data.size == (192, 96)


def test_half_known_cameras_are_taken_for_none(crops: Crops, tmp_path: Path) -> None:
    people = selftrain.find_people(load_model("people-s"), crops)
    assert len({sample.camid for sample in selftrain._named(people, tmp_path).train}) > 1
    one_lacks = replace(crops, cameras=np.where(np.arange(len(crops)) == 0, -1, crops.cameras))
    assert {s.camid for s in selftrain._named(replace(people, crops=one_lacks), tmp_path).train} == {0}


def test_any_trunk_goes_on_at_its_own_size_if_that_is_larger(crops: Crops, tmp_path: Path) -> None:
    """And what `train` makes of it takes all of its trunk."""
    model = {"name": "baseline", "trunk": "resnet18", "width": 0.125, "last_stride": 2}
    for size, expected in (((64, 32), (192, 96)), ((256, 128), (256, 128))):
        start = tmp_path / str(size[0])
        write_run(start, {**model, "size": size})
        people = selftrain.find_people(load_model("people-s"), crops)
        recipe = selftrain._recipe(people, start, TURN)
        assert recipe.data.size == expected
        built, before = build_model(recipe, people.count), load_model(start)
        assert torch.equal(built.trunk.conv1.weight.contiguous(), before.trunk.conv1.weight.contiguous())


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    learned: Path, crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert self_train(crops, "people-s", out, TURN, turns=1) == out / "trained1"
    assert weights(out / "trained1") == weights(learned / "trained1")
    with monkeypatch.context() as patch:
        patch.setattr(selftrain, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            self_train(crops, "people-s", out, TURN, resume=True)
    with monkeypatch.context() as patch:  # nothing that is done is done again
        patch.setattr(selftrain, "adapt", stop)
        assert self_train(crops, "people-s", out, TURN, resume=True) == out / "trained2"
        patch.setattr(selftrain, "train", stop)
        self_train(crops, "people-s", out, TURN, resume=True)
    assert weights(out / "trained2") == weights(learned / "trained2")


def test_a_step_that_is_gone_is_done_again_where_it_is_needed(learned: Path, crops: Crops, tmp_path: Path) -> None:
    out = tmp_path / "moved"  # and the folder may be called otherwise by now
    shutil.copytree(learned, out)
    shutil.rmtree(out / "trained1")
    shutil.rmtree(out / "trained2")
    assert self_train(crops, "people-s", out, TURN, resume=True) == out / "trained2"
    assert weights(out / "trained2") == weights(learned / "trained2")
    assert not (out / "trained1").exists()


def test_a_step_that_is_done_again_and_stopped_is_not_done(
    learned: Path, crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of `adapt` has a card after every round."""
    out = tmp_path / "out"
    shutil.copytree(learned, out)
    shutil.rmtree(out / "adapted2")
    shutil.rmtree(out / "trained2")

    def stopped(*_: object, **__: object) -> None:
        shutil.copytree(learned / "adapted2", out / "adapted2")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(selftrain, "adapt", stopped)
        with pytest.raises(KeyboardInterrupt):
            self_train(crops, "people-s", out, TURN, resume=True)
        patch.setattr(selftrain, "adapt", stop)
        with pytest.raises(KeyboardInterrupt):
            self_train(crops, "people-s", out, TURN, resume=True)
        assert self_train(crops, "people-s", out, TURN, turns=1, resume=True) == out / "trained1"
    note = json.loads((out / "selftrain.json").read_text())
    assert note["done"] == ["adapted1", "trained1"]


def test_a_training_that_was_stopped_goes_on_wherever_its_folder_is(
    learned: Path, crops: Crops, tmp_path: Path
) -> None:
    out = tmp_path / "moved"
    shutil.copytree(learned, out)
    (out / "trained2" / "card.json").unlink()  # as if its last epoch was done, and no more
    (out / "trained2" / "model.safetensors").unlink()
    assert self_train(crops, "people-s", out, TURN, resume=True) == out / "trained2"
    assert weights(out / "trained2") == weights(learned / "trained2")
    (out / "trained2" / "checkpoint.pt").unlink()
    note = json.loads((out / "selftrain.json").read_text())
    (out / "selftrain.json").write_text(json.dumps({**note, "done": note["done"][:3]}))
    with pytest.raises(SemreidError, match=r"trained2 is not known to be done, and has no checkpoint\.pt") as caught:
        self_train(crops, "people-s", out, TURN, resume=True)
    assert f"remove {out / 'trained2'}" in caught.value.fix


def test_what_came_to_nothing_may_begin_otherwise(
    crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SemreidError, match="alike enough"):
        self_train(crops.only(np.arange(2)), "people-s", out, TURN)
    assert (out / "selftrain.json").exists()
    for resume in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(selftrain, "adapt", stop)
            with pytest.raises(KeyboardInterrupt):
                self_train(crops, "people-s", out, replace(TURN, seed=int(resume)), resume=resume)


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_nothing_is_mixed(learned: Path, crops: Crops, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="holds a run") as caught:
        self_train(crops, "people-s", learned, TURN)
    assert "--resume" in caught.value.fix
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine")
    for resume, message in ((False, "holds other files"), (True, r"other files and no selftrain\.json")):
        with pytest.raises(SemreidError, match=message) as caught:
            self_train(crops, "people-s", tmp_path / "other", TURN, resume=resume)
        assert caught.value.fix == "choose another folder for --out"
    with pytest.raises(SemreidError, match="holds no run"):
        self_train(crops, "people-s", tmp_path / "nothing", TURN, resume=True)
    fewer = crops.only(np.arange(len(crops) - 1))
    elsewhere = replace(crops, cameras=crops.cameras[::-1])
    for changed, other, told in (
        (fewer, TURN, "crops"),
        (elsewhere, TURN, "cameras, tracks or times of the crops"),
        (crops, replace(TURN, epochs=2, seed=1), "epochs and seed"),
    ):
        with pytest.raises(SemreidError, match=f"began with other {told}"):
            self_train(changed, "people-s", learned, other, resume=True)
    with pytest.raises(SemreidError, match="other start"):
        self_train(crops, learned / "trained1", learned, TURN, resume=True)


@pytest.mark.parametrize("text", ["", '{"began": {}', '{"began": {}, "done": []}', '{"began": {}, "done": 3}', "[]"])
def test_a_damaged_plan_is_told(text: str, crops: Crops, tmp_path: Path) -> None:
    (tmp_path / "selftrain.json").write_text(text)
    (tmp_path / "adapted1").mkdir()
    (tmp_path / "adapted1" / "card.json").write_text("{}")
    with pytest.raises(SemreidError, match=r"selftrain\.json") as caught:
        self_train(crops, "people-s", tmp_path, TURN, resume=True)
    assert "another folder" in caught.value.fix
    assert (tmp_path / "selftrain.json").read_text() == text


def test_masks_beside_the_crops_are_used(crops: Crops, learned: Path, tmp_path: Path) -> None:
    people = selftrain.find_people(load_model(learned / "trained2"), crops)
    assert selftrain._named(people, tmp_path).root == crops.root != tmp_path
    assert selftrain._named(replace(people, crops=replace(crops, root=None)), tmp_path).root == tmp_path


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path, crops: Crops) -> None:
    with pytest.raises(SemreidError, match="untrained"):
        self_train(crops, "baseline", tmp_path / "out", TURN)
    assert not (tmp_path / "out").exists()


def test_the_command_tells_what_to_do_next(run, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned(_crops: Crops, _start: str, out: Path, turn: Turn, *, turns: int, resume: bool) -> Path:
        assert (turn, turns, resume) == (Turn(), 2, False)
        return out / "trained2"

    monkeypatch.setattr(selftrain, "self_train", learned)
    out, folder, data = tmp_path / "out", figures / "bounding_box_train", f"people:{figures}"
    told = run("selftrain", folder, "--out", out).err.splitlines()
    assert told[-3] == f"learned: {out}/trained2, by the people of {out}/people2.html: look at them"
    assert told[-2] == "how good it is, no crop without names can tell"
    assert told[-1] == f"next: semreid group {folder} --model {out}/trained2 --out DIR"
    told = run("selftrain", "--data", data, "--out", out, "--skip-corrupt").err.splitlines()
    assert told[-2] == f"how good it is: semreid evaluate {out}/trained2 --data {data} --skip-corrupt"
    assert told[-1] == f"next: semreid group --data {data} --model {out}/trained2 --out DIR --skip-corrupt"


def test_a_command_that_is_stopped_tells_how_it_goes_on(
    run, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftrain, "self_train", stop)
    done = run("selftrain", figures / "bounding_box_train", "--out", tmp_path / "out")
    assert done.code == 130
    assert "--resume goes on" in done.err
