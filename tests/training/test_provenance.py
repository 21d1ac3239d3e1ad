import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.data import store
from semreid.data.benchmarks import load_dataset
from semreid.data.sample import ReIDDataset
from semreid.data.store import digest_and_sketch, samples_digest
from semreid.errors import SemreidError
from semreid.models.card import Card, save_model
from semreid.models.zoo import create_model
from semreid.training.loop import train
from semreid.training.provenance import card_of, learned_from, require_same_data
from semreid.training.recipe import parse_recipe
from tests.conftest import draw_mask, write_image

MODEL = {"trunk": "resnet18", "width": 0.125, "weights": "scratch"}
RECIPE = {
    "precision": "fp32",
    "model": MODEL,
    "data": {"height": 64, "width": 32, "identities": 4, "instances": 2},
    "schedule": {"epochs": 1, "warmup_epochs": 0},
}


def _one_fewer(data: ReIDDataset) -> ReIDDataset:
    return replace(data, train=data.train[1:])


def _two_people_fewer(data: ReIDDataset) -> ReIDDataset:
    return replace(data, train=tuple(s for s in data.train if s.pid > 2))


def _renamed(data: ReIDDataset) -> ReIDDataset:
    return replace(data, train=tuple(replace(s, pid=s.pid % 6 + 1) for s in data.train))


def _others(data: ReIDDataset) -> ReIDDataset:
    return replace(data, train=tuple(replace(s, pid=s.pid - 4) for s in (*data.query, *data.gallery) if s.pid > 6))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (_one_fewer, r"36 images of 6 people \(people\) then, 35 images of 6 people \(people\) now: of 36 .*, 35 are"),
        (_two_people_fewer, r"36 images of 6 people .* 24 images of 4 people"),
        (_renamed, "the same images, but other person or camera ids"),
        (_others, r"30 images of 5 people \(people\) now: of 36 images compared, 0 are the same"),
    ],
)
def test_a_run_goes_on_with_its_own_data_only(
    figure_data: ReIDDataset, tmp_path: Path, change: Callable[[ReIDDataset], ReIDDataset], difference: str
) -> None:
    recipe = parse_recipe(RECIPE)
    train(recipe, figure_data, tmp_path / "run")
    before = (tmp_path / "run" / "card.json").read_bytes()
    with pytest.raises(SemreidError, match=f"learned from other data: .*{difference}") as caught:
        train(recipe, change(figure_data), tmp_path / "run", resume=True)
    assert "another folder" in caught.value.fix
    assert (tmp_path / "run" / "card.json").read_bytes() == before
    train(recipe, figure_data, tmp_path / "run", resume=True)


def test_the_checkpoint_states_what_it_learned_from_as_the_card_does(figure_data: ReIDDataset, tmp_path: Path) -> None:
    train(parse_recipe(RECIPE), figure_data, tmp_path / "run")
    stated = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["learned"]
    card = json.loads((tmp_path / "run" / "card.json").read_text())["trained_on"]
    assert stated["sha256"] == card["sha256"]
    assert (stated["images"], stated["identities"]) == (36, 6)


def test_a_run_goes_on_with_its_own_masks_and_pairs_only(
    figures: Path, figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path
) -> None:
    masks = shutil.copytree(figure_masks, tmp_path / "masks")
    recipe = parse_recipe({**RECIPE, "model": {**MODEL, "name": "parser"}})
    train(recipe, figure_data, tmp_path / "run", annotations=masks)
    name = figure_data.train[0].path.relative_to(figures)
    write_image(masks / "masks" / name, np.roll(draw_mask(1, 1, 0), 1))
    with pytest.raises(SemreidError, match="its masks, textures or attributes were others"):
        train(recipe, figure_data, tmp_path / "run", annotations=masks, resume=True)


def test_training_refuses_labels_of_other_crops(figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path) -> None:
    masks = shutil.copytree(figure_masks, tmp_path / "masks")
    (masks / "labels.jsonl").touch()  # they are `semreid label`'s, of whatever crops
    recipe = parse_recipe({**RECIPE, "model": {**MODEL, "name": "parser"}})
    with pytest.raises(SemreidError, match="36 of 36 labels in .* were not made of these crops"):
        train(recipe, figure_data, tmp_path / "run", annotations=masks)
    assert not (tmp_path / "run").exists()


def test_every_image_is_read_once(figure_data: ReIDDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = samples_digest(figure_data.train), digest_and_sketch(figure_data.train)[1]
    read = []
    monkeypatch.setattr(store, "image_bytes", lambda sample: read.append(sample) or sample.path.read_bytes())
    learned = learned_from(figure_data, figure_data.train, None)
    assert read == list(figure_data.train)
    assert (learned["sha256"], learned["sketch"]) == expected


@pytest.mark.parametrize("given", ["start", "start/card.json"])
def test_the_card_knows_the_runs_it_started_from_and_states_each_term_once(
    figure_data: ReIDDataset, tmp_path: Path, given: str
) -> None:
    arguments = {"name": "parser", "num_ids": 1, "trunk": "resnet18", "width": 0.125, "size": (64, 32)}
    card = Card(model=arguments, trained_on={"dataset": "first", "sketch": ["a"]}, terms="A: free; B: free", seed=0)
    save_model(tmp_path / "start", create_model(**arguments), card)
    run = str(tmp_path / given)
    recipe = parse_recipe({"model": MODEL | {"weights": run, "foreground": run}})
    made = card_of(recipe, arguments, {"sketch": ["b"]}, [replace(figure_data, terms="A: free")])
    assert made.terms == "A: free; B: free"
    assert made.trained_on["sketch"] == ["a", "b"]
    assert made.trained_on["before"] == {"pretrained": {"dataset": "first"}, "foreground": {"dataset": "first"}}


def test_pairs_are_part_of_the_data(figures: Path, tmp_path: Path) -> None:
    data = load_dataset(f"people:{figures}")
    alone, paired = (learned_from(data, data.train, pairs) for pairs in (None, data))
    require_same_data(paired, paired, tmp_path)
    with pytest.raises(SemreidError, match=r"the synthetic images were people \(.*\) then, and are none now"):
        require_same_data(paired, alone, tmp_path)
