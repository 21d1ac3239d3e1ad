import json
from pathlib import Path

import pytest
import yaml

from semreid.models.card import Card, save_model
from semreid.training.build import build_model, model_arguments
from semreid.training.recipe import load_recipe, parse_recipe

ROOT = Path(__file__).parents[1]
NARROW = ["data.height=64", "data.width=32", "model.width=0.125", "schedule.epochs=8"]


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import _study
    import ablate

    return _study, ablate


def test_schedules_differ_in_what_their_names_say() -> None:
    rows = yaml.safe_load((ROOT / "benchmarks" / "ablations" / "schedule.yaml").read_text(encoding="utf-8"))
    recipes = {name: load_recipe(ROOT / recipe, overrides) for name, (recipe, *overrides) in rows.items()}
    long = recipes["long, as published"]
    assert (long.schedule.decay, long.schedule.gamma) == ("step", 0.1)
    for name, recipe in recipes.items():
        share = {"long": 1, "short": 0.3, "shortest": 0.1}[name.split(",")[0]]
        assert recipe.schedule.epochs == round(share * long.schedule.epochs)
        assert (recipe.schedule.decay == "cosine") is ("cosine" in name)
        assert (recipe.optim == long.optim) is ("Adam" in name or recipe is long)
        (start,) = recipe.losses["fusion.diversity"]
        assert start / recipe.schedule.epochs == pytest.approx(14 / 15, abs=0.03)


def test_every_row_takes_what_the_start_knows_of_bodies(tmp_path: Path) -> None:
    """Its trunk, and all heads but those that know people: of its identity head, all but the classifier."""
    rows = yaml.safe_load((ROOT / "benchmarks" / "ablations" / "real.yaml").read_text(encoding="utf-8"))
    rows = {name: [part.replace("$LAST", "7") for part in row] for name, row in rows.items()}
    start = load_recipe(ROOT / rows["unified"][0], [*rows["unified"][1:], *NARROW])
    card = Card(model=model_arguments(start, 5), trained_on={}, terms="free", seed=0)
    learned = build_model(start, 5)
    save_model(tmp_path / "start", learned, card)
    for name, (recipe, *overrides) in rows.items():
        settings = load_recipe(ROOT / recipe, [*overrides, *NARROW, "seed=1", f"model.weights={tmp_path / 'start'}"])
        model = build_model(settings, 7)
        own, theirs = model.state_dict(), learned.state_dict()
        lost = {key for key in own if key not in theirs or not own[key].equal(theirs[key])}
        heads = {key.split(".")[1] for key in lost if "classifier" not in key}
        assert heads == model.heads.keys() - {"identity", "parsing", "texture"}, name


def test_a_course_is_stretched_with_all_that_its_epochs_mean(scripts) -> None:
    study, _ = scripts
    plan = {"epochs": 10, "warmup_epochs": 1, "milestones": [4, 8]}
    recipe = parse_recipe({"schedule": plan, "losses": {"a": 2, "b": {0: 1, 8: 0.5}}})
    longer = study.stretched(recipe, 2.46)
    assert (longer.schedule.epochs, longer.schedule.warmup_epochs, longer.schedule.milestones) == (25, 1, (10, 20))
    assert longer.losses == {"a": 2, "b": {0: 1, 20: 0.5}}
    assert study.stretched(recipe, 1.0) == recipe
    assert study.stretched(recipe, 0.01).schedule.epochs == 1


def kept(scripts, folder: Path, row: str, seed: int, ap: list[float]):
    """A run that is done: what it answered to two queries of person 1 and one each of persons 2 and 3."""
    task = scripts[0].Task(row, ["r.yaml"], seed, "people:p", None, "people, same epochs", folder / f"{row}{seed}")
    answers = {"people:p": {"ap": ap, "first": [1.0] * 4, "pids": [1, 1, 2, 3]}}
    task.record.write_text(json.dumps({"epochs": 8, "answers": answers}), encoding="utf-8")
    return task


def test_rows_are_compared_over_the_seeds_that_both_have(scripts, tmp_path: Path) -> None:
    tasks = [
        kept(scripts, tmp_path, "a", 0, [0.1, 0.2, 0.3, 0.4]),
        kept(scripts, tmp_path, "a", 1, [0.3, 0.2, 0.1, 0.0]),
        kept(scripts, tmp_path, "b", 1, [0.4, 0.3, 0.2, 0.1]),
    ]
    first, second = scripts[1].rows_of(tasks, ["people:p"], flip=False)
    assert first.startswith("| a | 8 | 20.0 [")
    assert "/ 100.0 [100.0, 100.0] | 25.0, 15.0 |" in first
    assert second.endswith("| 25.0 | +10.0 [10.0, 10.0] |")


def test_what_is_done_is_not_done_again(scripts, tmp_path: Path, monkeypatch) -> None:
    study, _ = scripts
    done, asked = kept(scripts, tmp_path, "a", 0, [0.1] * 4), []
    monkeypatch.setattr(study, "learn", lambda task: asked.append(task.row) or {"epochs": 2})
    monkeypatch.setattr(study, "judge", lambda *which: asked.append(which[1]) or {"ap": [1.0]})
    (done.folder).mkdir()
    (done.folder / "model.safetensors").touch()
    other = done._replace(row="b", folder=tmp_path / "b0")
    study.work_on([done, other, other], ["people:p", "people:q"], flip=False, processes=1)
    assert asked == ["people:q", "b", "people:p", "people:q"]
    assert study.read_record(done)["answers"].keys() == {"people:p", "people:q"}


def test_rows_of_a_study_get_the_time_of_one_of_them(scripts, tmp_path: Path, monkeypatch) -> None:
    _, ablate = scripts
    timed = []
    monkeypatch.setattr(ablate, "recipe_of", lambda row, overrides: row)
    monkeypatch.setattr(ablate, "step_seconds", lambda rows: timed.append(list(rows)) or {"slow": 3.0, "fast": 1.2})
    words = ["study", "--data", "people:p", "--out", str(tmp_path), "--seeds", "4", "--same-time", "slow"]
    for _ in range(2):
        tasks = ablate.planned({"fast": ["r"], "slow": ["r"]}, ablate.parse(words))
    assert timed == [["slow", "fast"]]  # the second time, it is known
    places = {(task.row, task.table): (task.folder.relative_to(tmp_path).parts, task.stretch) for task in tasks}
    same = {row: (("people-p", "same-epochs", f"{row}-seed4"), 1.0) for row in ("fast", "slow")}
    longer = (("people-p", "same-time", "fast-seed4"), 2.5)
    expected = {(row, "people-p, same epochs"): run for row, run in same.items()}
    assert places == expected | {("fast", "people-p, same time"): longer, ("slow", "people-p, same time"): same["slow"]}
