import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semreid import demo
from semreid.data.benchmarks import load_dataset
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate
from semreid.models.loading import load_model
from semreid.people.dataset import PeopleRecipe
from tests.conftest import write_figures

RESULTS = {"demo.json", "report.json", "report.html", "gallery.parquet", "search"}


def test_demo_trains_where_it_is_asked_to(run, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo.SETTINGS, "schedule", {"epochs": 1, "warmup_epochs": 0})
    done = run("demo", "--train", "--data", f"people:{figures}", "--out", tmp_path / "demo")
    assert done.code == 0, done.err
    assert {p.name for p in (tmp_path / "demo").iterdir()} == RESULTS | {"run"}
    assert f"--model {tmp_path / 'demo' / 'run'}" in done.err
    monkeypatch.setattr(demo, "train", None)  # once more, the model is there
    assert run("demo", "--train", "--data", f"people:{figures}", "--out", tmp_path / "demo").out == done.out


def test_demo_shows_the_search_in_the_middle_and_says_so(figures: Path, stand_ins: Path, tmp_path: Path) -> None:
    report = demo.run_demo(f"people:{figures}", tmp_path / "demo")
    assert {p.name for p in (tmp_path / "demo").iterdir()} == RESULTS
    assert json.loads((tmp_path / "demo" / "report.json").read_text())["metrics"] == report["metrics"]
    evaluation = evaluate(load_model(), load_dataset(f"people:{figures}"))
    chosen, count = demo.middle_query(evaluation)
    assert evaluation.ap is not None
    rank = evaluation.ap[evaluation.query.index(chosen)]
    assert (evaluation.ap < rank).sum() <= count / 2 <= (evaluation.ap <= rank).sum()
    shown = json.loads((tmp_path / "demo" / "search" / "explanation.json").read_text())
    assert shown["query"]["path"] == str(chosen.path)
    assert f"of all {count} queries" in shown["chosen"]
    page = (tmp_path / "demo" / "search" / "explanation.html").read_text()
    assert "it is the one in the middle" in page
    assert "people-s" in page


def test_queries_without_a_match_are_not_in_the_middle(figures: Path, stand_ins: Path) -> None:
    evaluation = evaluate(load_model(), load_dataset(f"people:{figures}"))
    ap = np.full(len(evaluation.query), np.nan)
    ap[[3, 5, 7]] = 0.9, 0.1, 0.5
    assert demo.middle_query(replace(evaluation, ap=ap)) == (evaluation.query[7], 3)


def test_demo_refuses_what_the_doctor_refuses(tmp_path: Path, stand_ins: Path) -> None:
    write_figures(tmp_path / "data", train=2, test=2, cameras=1)
    with pytest.raises(SemreidError, match="own camera only"):
        demo.run_demo(f"people:{tmp_path / 'data'}", tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_demo_leaves_a_folder_of_crops_as_it_is(run, figures: Path, stand_ins: Path, tmp_path: Path) -> None:
    write_figures(tmp_path / "crops", train=1, test=1)
    before = _files(tmp_path / "crops")
    for data in ([], ["--data", f"people:{figures}"], ["--data", f"people:{tmp_path / 'crops'}"]):
        done = run("demo", *data, "--out", tmp_path / "crops")
        assert done.code == 1
        assert f"{tmp_path / 'crops'} is no folder of a demo: it holds bounding_box_test" in done.err
        assert "way out: choose a new folder, or an empty one: --out" in done.err
    done = run("demo", "--data", f"people:{tmp_path / 'crops'}", "--out", tmp_path / "crops" / "new")
    assert (done.code, "where its pictures would be taken for crops" in done.err) == (1, True)
    assert _files(tmp_path / "crops") == before


@pytest.mark.parametrize("change", ["picture", "gone", "person", "name"])
def test_demo_does_not_go_on_with_data_that_changed(tmp_path: Path, stand_ins: Path, change: str) -> None:
    write_figures(tmp_path / "data", train=4, test=6)
    demo.run_demo(f"people:{tmp_path / 'data'}", tmp_path / "demo")
    before = (tmp_path / "demo" / "gallery.parquet").read_bytes()
    first, *_, last = sorted((tmp_path / "data" / "bounding_box_test").iterdir())
    if change == "picture":
        last.write_bytes(first.read_bytes())
    elif change == "gone":
        last.unlink()
    elif change == "name":
        last.rename(last.with_stem(f"{last.stem}_new"))
    else:
        last.rename(last.with_name(last.name.replace(last.name[:4], first.name[:4])))
    with pytest.raises(SemreidError, match="from before its pictures, people or cameras changed") as caught:
        demo.run_demo(f"people:{tmp_path / 'data'}", tmp_path / "demo")
    assert "remove that folder" in caught.value.fix
    assert (tmp_path / "demo" / "gallery.parquet").read_bytes() == before


def test_demo_without_data_makes_its_people(
    run, tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        demo, "PEOPLE", PeopleRecipe(identities=8, images_per_identity=4, height=64, width=32, cameras=3)
    )
    done = run("demo", "--out", tmp_path / "demo")
    assert done.code == 0, done.err
    assert "mAP" in done.out
    assert {p.name for p in (tmp_path / "demo").iterdir()} == RESULTS | {"people"}
    again = run("demo", "--out", tmp_path / "demo")  # what it made is no folder of somebody else
    assert (again.code, again.out) == (0, done.out), again.err
    crops = len(load_dataset(f"people:{tmp_path / 'demo' / 'people'}").gallery)
    assert f"{crops} crops of" in run("gallery", "info", "--gallery", tmp_path / "demo" / "gallery.parquet").out


def test_each_model_has_a_folder_of_its_own(
    run, figures: Path, stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = "--data", f"people:{figures}"
    assert run("demo", *data).code == 0
    done = run("demo", "--model", "people-m", *data)
    assert done.code == 0, done.err
    assert "--gallery demo-people-m/gallery.parquet --model people-m" in done.err
    assert "people-m" in Path("demo-people-m/report.html").read_text()
    for refused in (
        run("demo", "--model", "people-m", "--out", "demo", *data),
        run("demo", "--data", f"folder:{figures}"),
    ):
        assert refused.code == 1
        assert (
            "demo holds the demo of other data or another model\n  way out: choose another folder: --out" in refused.err
        )
    assert "leave out one of the two" in run("demo", "--train", "--model", "people-m").err
