from pathlib import Path

import pytest
import torch

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.models.card import Card, save_model
from semreid.training.build import build_model, model_arguments
from semreid.training.loop import train
from semreid.training.recipe import Recipe, parse_recipe
from tests.training.test_loop import recipe


def unified(seed: int = 0, **model: object) -> Recipe:
    built = {"name": "unified", "trunk": "resnet18", "width": 0.125, "weights": "scratch"}
    return parse_recipe({"seed": seed, "model": built | model, "data": {"height": 64, "width": 32}})


def test_no_silent_random_weights(figure_data: ReIDDataset, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="starts from ImageNet weights of resnet18") as caught:
        train(recipe(model={"weights": "imagenet"}), figure_data, tmp_path / "run")
    assert "model.weights=scratch" in caught.value.fix
    with pytest.raises(SemreidError, match="no weights file at"):
        train(recipe(model={"weights": str(tmp_path / "none.pth")}), figure_data, tmp_path / "run")
    with pytest.raises(SemreidError, match=r"did you mean people-s\? .* a model that ships \(people-s, people-m"):
        train(recipe(model={"weights": "people-x"}), figure_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pretrained_trunk_is_where_training_starts(tmp_path: Path) -> None:
    source = build_model(recipe(), 3).trunk.state_dict()
    source["conv1.weight"] = torch.full_like(source["conv1.weight"], 0.5)
    torch.save(source, tmp_path / "trunk.pth")
    model = build_model(recipe(model={"weights": str(tmp_path / "trunk.pth")}), 3)
    assert model.trunk.conv1.weight.unique().tolist() == [0.5]


def test_the_card_file_of_a_run_stands_for_the_run(tmp_path: Path) -> None:
    learned, said = build_model(recipe(), 3), []
    save_model(tmp_path, learned, Card(model=model_arguments(recipe(), 3), trained_on={}, terms="free", seed=0))
    for run in (tmp_path, tmp_path / "card.json"):
        begun = build_model(recipe(seed=1, model={"weights": str(run)}), 3, said.append)
        assert begun.trunk.conv1.weight.equal(learned.trunk.conv1.weight)
    assert [text.endswith(": trunk, identity head") for text in said] == [True, True]
    with pytest.raises(SemreidError, match="no model card at"):
        build_model(recipe(model={"weights": str(tmp_path / "none" / "card.json")}), 3)


def test_fresh_heads_begin_at_random(tmp_path: Path) -> None:
    learned = build_model(unified(seed=1), 3)
    save_model(
        tmp_path / "start", learned, Card(model=model_arguments(unified(), 3), trained_on={}, terms="free", seed=0)
    )
    said: list[str] = []
    begun = unified(weights=str(tmp_path / "start"), fresh=["fusion", "multistage"])
    model, alone = build_model(begun, 3, said.append), build_model(unified(), 3)
    for head in model.heads:
        same_as = alone if head in begun.model.fresh else learned
        own, theirs = (m.heads[head].state_dict() for m in (model, same_as))
        assert all(own[name].equal(theirs[name]) for name in theirs), head
    assert "not the fusion head" in said[0]
    assert "not the multistage head" in said[0]
    with pytest.raises(SemreidError, match=r"model\.fresh names 'stages', and unified has no such head") as caught:
        build_model(unified(fresh=["stages"]), 3)
    assert "multistage" in caught.value.fix
