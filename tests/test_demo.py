import json
from pathlib import Path

import pytest

from semreid import demo
from semreid.errors import SemreidError
from semreid.people.dataset import PeopleRecipe
from tests.conftest import write_figures

RESULTS = {"run", "report.json", "report.html", "gallery.parquet", "search"}


def test_demo_does_the_main_job(figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo.SETTINGS, "schedule", {"epochs": 1, "warmup_epochs": 0})
    report = demo.run_demo(f"people:{figures}", tmp_path / "demo")
    assert {p.name for p in (tmp_path / "demo").iterdir()} == RESULTS
    assert json.loads((tmp_path / "demo" / "report.json").read_text())["metrics"] == report["metrics"]


def test_demo_refuses_what_the_doctor_refuses(tmp_path: Path) -> None:
    write_figures(tmp_path / "data", train=2, test=2, cameras=1)
    with pytest.raises(SemreidError, match="own camera only"):
        demo.run_demo(f"people:{tmp_path / 'data'}", tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_demo_without_data_makes_its_people(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo.SETTINGS, "schedule", {"epochs": 1, "warmup_epochs": 0})
    monkeypatch.setattr(
        demo, "PEOPLE", PeopleRecipe(identities=8, images_per_identity=4, height=64, width=32, cameras=3)
    )
    done = run("demo", "--out", tmp_path / "demo")
    assert done.code == 0
    assert "mAP" in done.out
    assert {p.name for p in (tmp_path / "demo").iterdir()} == RESULTS | {"people"}
