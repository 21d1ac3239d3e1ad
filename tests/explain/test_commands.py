"""``semreid explain`` and the pages of ``semreid evaluate``, as a user meets them."""

import json
from pathlib import Path

import pytest

from semreid.gallery import Gallery
from semreid.models.card import Card, save_model
from semreid.models.model import ReIDModel
from tests.conftest import write_figures


@pytest.fixture
def folder(model: ReIDModel, tmp_path: Path) -> Path:
    arguments = {"name": "baseline", "num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": [64, 32]}
    save_model(tmp_path / "run", model, Card(arguments, {"dataset": "made up"}, "none", 0))
    return tmp_path / "run"


@pytest.fixture
def shop(gallery: Gallery, tmp_path: Path) -> Path:
    gallery.export_parquet(tmp_path / "shop.parquet")
    return tmp_path / "shop.parquet"


def test_explain_writes_page_picture_and_data(run, folder: Path, shop: Path, crops: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "a" / "why"
    code, printed, said = run("explain", folder, crops[0], "--gallery", shop, "--out", out, "--other-cameras")
    assert code == 0, said
    assert sorted(p.name for p in out.iterdir()) == ["explanation.html", "explanation.json", "explanation.png"]
    content = json.loads((out / "explanation.json").read_text())
    assert {m["camid"] for m in content["matches"]} == {2}
    assert "✓" in printed
    assert "explanation.html" in said
    options = ("--gallery", shop, "--out", out, "--json", "--top", 2, "--query-pid", "3", "--query-camid", 2)
    _, printed, _ = run("explain", folder, crops[0], *options)
    found = json.loads(printed)
    assert (found["query"]["pid"], found["query"]["camid"], len(found["matches"])) == ("3", 2, 2)


def test_explain_says_what_is_wrong(run, folder: Path, shop: Path, crops: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "text.png").write_text("no image")
    usual = {"query": crops[0], "--gallery": shop, "--out": tmp_path / "why"}
    for change, message in (
        ({"query": tmp_path / "missing.png"}, "cannot read"),
        ({"query": tmp_path / "text.png"}, "cannot be decoded"),
        ({"--gallery": tmp_path / "none.parquet"}, "there is no gallery"),
        ({"--out": tmp_path / "file"}, "cannot write"),
    ):
        query, *options = {**usual, **change}.items()
        code, _, said = run("explain", folder, query[1], *(word for pair in options for word in pair))
        assert code == 1
        assert message in said
        assert "Traceback" not in said
    for option in (("--top", 0), ("--top", 101), ("--query-camid", -1)):  # wrong, whatever is in the gallery
        done = run("explain", folder, crops[0], "--gallery", shop, "--out", tmp_path / "why", *option)
        assert (done.code, option[0] in done.err) == (2, True)
    code, _, said = run("explain", "model.onnx", crops[0], "--gallery", shop, "--out", tmp_path / "why")
    assert code == 1
    assert "no gradients" in said
    assert not (tmp_path / "why").exists()


def test_a_query_is_not_written_over(run, folder: Path, shop: Path, crops: list[Path], tmp_path: Path) -> None:
    query = tmp_path / "why" / "explanation.png"
    query.parent.mkdir()
    query.write_bytes(content := crops[0].read_bytes())
    code, _, said = run("explain", folder, query, "--gallery", shop, "--out", query.parent)
    assert (code, query.read_bytes()) == (1, content)
    assert "explanation.png is the query: it will not be written over" in said


def test_evaluate_writes_a_page_and_curves(run, folder: Path, tmp_path: Path) -> None:
    data = f"people:{write_figures(tmp_path / 'figures')}"
    html, plot = tmp_path / "report.html", tmp_path / "curves.png"
    code, printed, said = run("evaluate", folder, "--data", data, "--html", html, "--plot", plot)
    assert code == 0, said
    assert "mAP" in printed
    assert "<svg" in html.read_text(encoding="utf-8")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert run("evaluate", folder, "--data", data, "--html", html, "--plot", plot).code == 0  # in place of its own
    html.write_text("<p>something else")
    code, _, said = run("evaluate", folder, "--data", data, "--html", html)
    assert (code, f"{html} is there already, and is no such result of semreid" in said) == (1, True)
    (tmp_path / "file").touch()
    code, _, said = run("evaluate", folder, "--data", data, "--html", tmp_path / "file" / "x.html")
    assert code == 1
    assert "cannot write" in said
