import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.models.card import Card, read_card, save_model
from semreid.models.loading import load_model
from semreid.models.trunk import build_trunk
from semreid.training.average import average_runs
from semreid.training.loop import train
from semreid.training.recipe import Recipe, parse_recipe
from semreid.verification.calibrate import choose_split
from tests.conftest import draw_figure
from tests.training.test_loop import TINY


def recipe(start: Path | str, **changes: object) -> Recipe:
    settings = {"name": "baseline", "trunk": "resnet18", "width": 0.125, "weights": str(start)}
    return parse_recipe({**TINY, "model": settings, "schedule": {"epochs": 1, "warmup_epochs": 0}, **changes})


@pytest.fixture(scope="module")
def runs(figure_data: ReIDDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A start, three runs from it (one on fewer people), one from elsewhere and one of another model."""
    folder = tmp_path_factory.mktemp("runs")
    few = replace(figure_data, train=tuple(s for s in figure_data.train if s.pid < 6), terms="not for sale")
    train(recipe("scratch"), figure_data, folder / "start")
    train(recipe("scratch", seed=1), replace(figure_data, train=few.train), folder / "elsewhere")
    for seed, name in enumerate(("a", "b")):
        train(recipe(folder / "start", seed=seed), figure_data, folder / name)
    train(recipe(folder / "start"), few, folder / "few")
    train(recipe(folder / "elsewhere"), figure_data, folder / "stranger")
    other = recipe(folder / "start")
    train(replace(other, model=replace(other.model, options={"pool": "gem"})), figure_data, folder / "gem")
    return {f.name: f for f in folder.iterdir()}


def test_the_mean_of_the_weights(runs: dict[str, Path], tmp_path: Path) -> None:
    average_runs([runs["a"], runs["b"], runs["few"]], tmp_path / "mean")
    ones = [load_file(runs[name] / "model.safetensors") for name in ("a", "b", "few")]
    mean = load_model(tmp_path / "mean")
    state = mean.inference_state()
    assert not any("classifier" in name for name in state)
    assert not np.allclose(ones[0]["trunk.conv1.weight"], ones[1]["trunk.conv1.weight"])
    for name, tensor in state.items():
        expected = sum(one[name].astype(np.float64) for one in ones) / 3
        np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6)
    assert not any(t.any() for name, t in mean.state_dict().items() if "classifier" in name)
    images = [draw_figure(pid, 1, 0) for pid in range(3)]
    assert np.isfinite(mean.embed(images)).all()
    assert not np.allclose(mean.embed(images), load_model(runs["a"]).embed(images), atol=1e-4)


def test_the_mean_of_equal_runs_is_the_run(runs: dict[str, Path], tmp_path: Path) -> None:
    copies = [shutil.copytree(runs["a"], tmp_path / name) for name in ("one", "two")]
    average_runs([runs["a"], *copies], tmp_path / "mean")
    images = [draw_figure(pid, 1, 0) for pid in range(3)]
    np.testing.assert_array_equal(load_model(tmp_path / "mean").embed(images), load_model(runs["a"]).embed(images))
    assert load_model(tmp_path / "mean").fingerprint == load_model(runs["a"]).fingerprint


def test_the_mean_of_a_run_and_its_start(runs: dict[str, Path], tmp_path: Path) -> None:
    for number, order in enumerate((("start", "a"), ("a", "start"))):
        average_runs([runs[name] for name in order], tmp_path / f"mean{number}")
        ones = [load_file(runs[name] / "model.safetensors") for name in order]
        for name, tensor in load_model(tmp_path / f"mean{number}").inference_state().items():
            expected = sum(one[name].astype(np.float64) for one in ones) / 2
            np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6)


def test_a_mean_paints_textures_as_its_runs_do(tmp_path: Path) -> None:
    sizes = {"trunk": "resnet18", "width": 0.125, "last_stride": 1}
    for num_ids, name in ((5, "a"), (7, "b")):
        arguments = {"name": "san", "num_ids": num_ids, **sizes, "size": [64, 32]}
        card = Card(model=arguments, trained_on={"pretrained": "trunk.pth"}, terms="", seed=0)
        save_model(tmp_path / name, card.build(), card)
    average_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    a, b, mean = (load_model(tmp_path / name).state_dict() for name in ("a", "b", "mean"))
    decoder = [name for name in mean if ".decoder." in name and name.endswith("weight")]
    assert decoder
    for name in decoder:
        torch.testing.assert_close(mean[name], (a[name] + b[name]) / 2)


def test_the_card_names_all_it_came_from(runs: dict[str, Path], figure_data: ReIDDataset, tmp_path: Path) -> None:
    returned = average_runs([runs["a"], runs["few"]], tmp_path / "mean")
    card = read_card(tmp_path / "mean")
    assert card == returned
    assert card.terms == f"{figure_data.terms}; not for sale"
    assert set(card.trained_on["before"]) == {"pretrained", str(runs["a"]), str(runs["few"])}
    assert card.trained_on["before"][str(runs["few"])]["images"] == read_card(runs["few"]).trained_on["images"]
    with pytest.raises(SemreidError, match="was trained on some of these images"):
        choose_split(tmp_path / "mean", replace(figure_data, name="new", query=figure_data.train, train=()), "test")


def test_the_card_adds_up_what_its_runs_learned_from(tmp_path: Path) -> None:
    arguments = {"name": "baseline", "trunk": "resnet18", "width": 0.125, "size": [64, 32]}
    start = {"pretrained": "start", "foreground": "parser"}
    before = {role: {"dataset": role} for role in start}
    for name, num_ids, images, sketch, seed in (("a", 5, 40, ["b", "d"], 3), ("b", 7, 60, ["a", "d"], 4)):
        facts = {"dataset": name, "identities": num_ids, "images": images, "sketch": sketch, **start, "before": before}
        card = Card(model={**arguments, "num_ids": num_ids}, trained_on=facts, terms="free; for all", seed=seed)
        save_model(tmp_path / name, card.build(), card)
    card = average_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    assert card.model["num_ids"] == 1
    assert card.seed == 3
    assert card.terms == "free; for all"
    found = card.trained_on
    assert (found["identities"], found["images"], found["sketch"]) == (12, 100, ["a", "b", "d"])
    assert found["dataset"] == "the mean of 2 runs"
    assert {role: found[role] for role in start} == start
    assert found["before"].keys() == {*start, str(tmp_path / "a"), str(tmp_path / "b")}
    assert "sketch" not in found["before"][str(tmp_path / "a")]


def test_runs_with_another_parser_for_the_foreground_are_no_relatives(tmp_path: Path) -> None:
    arguments = {"name": "baseline", "num_ids": 2, "trunk": "resnet18", "width": 0.125, "size": [64, 32]}
    for name in ("a", "b"):
        card = Card(model=arguments, trained_on={"pretrained": "start", "foreground": name}, terms="", seed=0)
        save_model(tmp_path / name, card.build(), card)
    with pytest.raises(SemreidError, match="started from different weights"):
        average_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    for name, before in (("old", {}), ("new", {"pretrained": {"dataset": "people", "before": {}}})):
        facts = {"dataset": "people", "before": {**before, **({"foreground": {"dataset": "x"}} if before else {})}}
        card = Card(model=arguments, trained_on=facts, terms="", seed=0)
        save_model(tmp_path / name, card.build(), card)
    with pytest.raises(SemreidError, match="different weights"):
        average_runs([tmp_path / "old", tmp_path / "new"], tmp_path / "mean")


def test_a_mean_is_a_run_like_any_other(runs: dict[str, Path], figure_data: ReIDDataset, tmp_path: Path) -> None:
    average_runs([runs["a"], runs["b"]], tmp_path / "mean")
    average_runs([tmp_path / "mean", runs["few"]], tmp_path / "both")
    model = train(recipe(tmp_path / "both"), figure_data, tmp_path / "next")
    assert torch.isfinite(model.trunk.conv1.weight).all()  # type: ignore[union-attr, operator]
    assert read_card(tmp_path / "next").trained_on["before"]["pretrained"]["dataset"] == "the mean of 2 runs"


@pytest.mark.parametrize(
    ("chosen", "message", "fix"),
    [
        (["a"], "two runs or more, not 1", "more run folders"),
        (["a", "gem"], "different models: pool", "same recipe"),
        (["a", "stranger"], "started from different weights", "model.weights"),
        (["elsewhere", "a"], "started from different weights", "model.weights"),
        (["start", "start"], "started from random weights", "model.weights"),
        (["a", "nowhere"], "no model card", "run folder"),
        (["a", "start", "a"], "a is named twice", "once"),
    ],
)
def test_what_has_no_mean(runs: dict[str, Path], tmp_path: Path, chosen: list[str], message: str, fix: str) -> None:
    with pytest.raises(SemreidError, match=message) as caught:
        average_runs([runs.get(name, tmp_path / name) for name in chosen], tmp_path / "mean")
    assert fix in caught.value.fix
    assert not (tmp_path / "mean").exists()


def test_a_run_is_not_written_over(runs: dict[str, Path], tmp_path: Path) -> None:
    before = (runs["b"] / "card.json").read_bytes()
    with pytest.raises(SemreidError, match="already holds a run") as caught:
        average_runs([runs["a"], runs["few"]], runs["b"])
    assert "another folder" in caught.value.fix
    assert (runs["b"] / "card.json").read_bytes() == before


def test_neither_a_mean_nor_an_unfinished_run_is_written_over(
    runs: dict[str, Path], figure_data: ReIDDataset, tmp_path: Path
) -> None:
    average_runs([runs["a"], runs["b"]], tmp_path / "mean")
    before = (tmp_path / "mean" / "model.safetensors").read_bytes()
    with pytest.raises(SemreidError, match="already holds a run"):
        train(recipe(runs["start"]), figure_data, tmp_path / "mean")
    assert (tmp_path / "mean" / "model.safetensors").read_bytes() == before
    (tmp_path / "unfinished").mkdir()
    for name, message in (("recipe.yaml", "a recipe.yaml without a run"), ("checkpoint.pt", "already holds a run")):
        (tmp_path / "unfinished" / name).touch()
        with pytest.raises(SemreidError, match=message):
            average_runs([runs["a"], runs["b"]], tmp_path / "unfinished")
    assert {f.name for f in (tmp_path / "unfinished").iterdir()} == {"recipe.yaml", "checkpoint.pt"}


def test_starts_are_told_apart_by_their_weights_and_not_by_what_they_learned_from(
    figure_data: ReIDDataset, tmp_path: Path
) -> None:
    for seed in (1, 2):
        train(recipe("scratch", seed=seed), figure_data, tmp_path / f"start{seed}")
        train(recipe(tmp_path / f"start{seed}"), figure_data, tmp_path / f"run{seed}")
    with pytest.raises(SemreidError, match="started from different weights"):
        average_runs([tmp_path / "run1", tmp_path / "run2"], tmp_path / "mean")
    with pytest.raises(SemreidError, match="started from different weights"):
        average_runs([tmp_path / "run1", tmp_path / "start2"], tmp_path / "mean")
    average_runs([tmp_path / "run1", tmp_path / "start1"], tmp_path / "mean")


def test_a_file_of_weights_is_known_by_what_it_holds(
    figure_data: ReIDDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("w.pth", str(tmp_path / "w.pth"), "w.pth")):
        if number != 1:
            torch.manual_seed(number)
            torch.save(build_trunk("resnet18", width=0.125).state_dict(), "w.pth")
        train(recipe(name), figure_data, tmp_path / f"run{number}")
    average_runs([tmp_path / "run0", tmp_path / "run1"], tmp_path / "mean")
    with pytest.raises(SemreidError, match="started from different weights"):
        average_runs([tmp_path / "run0", tmp_path / "run2"], tmp_path / "other")


def test_a_run_by_another_name_is_the_same_run(runs: dict[str, Path], tmp_path: Path) -> None:
    for other in (f"{runs['a']}/", runs["a"] / "card.json"):
        with pytest.raises(SemreidError, match="is named twice"):
            average_runs([runs["a"], other], tmp_path / "mean")
