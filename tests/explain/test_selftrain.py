import csv
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
from tests.conftest import draw_figure, write_image, write_run

TURN = Turn(rounds=1, steps=2, epochs=1)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    """Eight people by two cameras, three crops each; read only."""
    root = tmp_path_factory.mktemp("crops")
    for pid in range(40, 48):
        for camid in (1, 2):
            for image in range(3):
                write_image(root / f"{pid}_c{camid}_{image}.png", draw_figure(pid, camid, image))
    return crops_at(root)


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


def test_pairs_of_two_cameras_count_where_cameras_are_known(learned: Path, crops: Crops) -> None:
    recipe = load_recipe(learned / "trained1" / "recipe.yaml")
    assert (recipe.contrast.weight, recipe.contrast.pairs, recipe.data.meeting) == (1, "cameras", "camera")
    unknown = replace(crops, cameras=np.full(len(crops), -1))
    people = selftrain.find_people(load_model("people-s"), unknown)
    recipe = selftrain._recipe(people, learned / "adapted1", Turn())
    assert (recipe.contrast.weight, recipe.contrast.pairs, recipe.data.meeting) == (1, "all", "chance")
    assert recipe.losses == load_recipe(selftrain.BEST).losses  # which are for as many epochs
    assert recipe.data.identities == people.count < 16
    assert recipe.data.size == (192, 96)


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

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

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


def test_nothing_is_mixed(learned: Path, crops: Crops, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="is not empty") as caught:
        self_train(crops, "people-s", learned, TURN)
    assert "--resume" in caught.value.fix
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine")
    with pytest.raises(SemreidError, match="is not empty") as caught:
        self_train(crops, "people-s", tmp_path / "other", TURN)
    assert "--resume" not in caught.value.fix
    with pytest.raises(SemreidError, match="holds no run"):
        self_train(crops, "people-s", tmp_path / "nothing", TURN, resume=True)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "selftrain.json").write_text('{"began": {}')
    with pytest.raises(SemreidError, match=r"selftrain\.json"):
        self_train(crops, "people-s", tmp_path / "torn", TURN, resume=True)
    fewer = crops.only(np.arange(len(crops) - 1))
    for changed, other in ((fewer, TURN), (crops, replace(TURN, epochs=2, seed=1))):
        with pytest.raises(SemreidError, match="crops" if changed is fewer else "epochs and seed"):
            self_train(changed, "people-s", learned, other, resume=True)
    with pytest.raises(SemreidError, match="other start"):
        self_train(crops, learned / "trained1", learned, TURN, resume=True)


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path, crops: Crops) -> None:
    with pytest.raises(SemreidError, match="untrained"):
        self_train(crops, "baseline", tmp_path / "out", TURN)
    assert not (tmp_path / "out").exists()
