"""Exported files on the command line: made by it, and taken by it wherever it takes a model."""

import json
from pathlib import Path

import pytest

from semreid.cli import app
from semreid.export import Exported


def test_an_exported_file_stands_in_for_its_model(run, run_folder, onnx_file: Exported, figures, tmp_path) -> None:
    made = run("export", run_folder, "--out", tmp_path / "person.onnx")
    assert made.code == 0
    assert "fp32" in made.out
    assert "terms: figures: free for all" in made.out
    assert [p.name for p in tmp_path.iterdir()] == ["person.onnx"]

    data = f"people:{figures}"
    judged = [run("evaluate", m, "--data", data, "--json") for m in (run_folder, tmp_path / "person.onnx")]
    reports = [json.loads(result.out) for result in judged]
    assert reports[0]["metrics"] == pytest.approx(reports[1]["metrics"], abs=0.5)
    assert (
        "10 embeddings"
        in run("embed", tmp_path / "person.onnx", figures / "query", "--out", tmp_path / "f.parquet").out
    )
    info = json.loads(run("info", tmp_path / "person.onnx").out)
    assert info["fingerprint"] == onnx_file.metadata.fingerprint

    others = tmp_path / "others.onnx"
    assert run("export", run_folder, "--float-input", "--out", others).code == 0
    told = json.loads(run("info", others).out)
    assert (told["input"], told["fingerprint"]) == ("float32", onnx_file.metadata.fingerprint)
    assert told["card"] == info["card"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{run}", "--out", "{tmp}/a.onnx", "--int8"], "int8 needs data"),
        (["export", "{run}", "--out", "{tmp}/a.onnx", "--data", "people:{figures}"], "int8 needs data"),
        (["export", "{run}", "--out", "{tmp}/a.pt"], "ends in .onnx"),
        (["export", "{tmp}", "--out", "{tmp}/a.onnx"], "no model card"),
        (["embed", "{tmp}/a.onnx", "{figures}", "--out", "{tmp}/f.parquet"], "no exported model at"),
        (["evaluate", "{run}/card.xml", "--data", "people:{figures}"], "no exported model at"),
        (["info", "{tmp}/a.onnx"], "no exported model at"),
    ],
)
def test_what_cannot_be_done(run, run_folder, figures, tmp_path: Path, arguments, message: str) -> None:
    result = run(*(a.format(run=run_folder, figures=figures, tmp=tmp_path) for a in arguments))
    assert result.code == 1
    assert message in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_a_usage_error(run, run_folder, tmp_path: Path) -> None:
    assert run("export", run_folder, "--format", "tflite", "--out", tmp_path / "a.tflite").code == 2


@pytest.mark.parametrize("command", [c.name or c.callback.__name__ for c in app.registered_commands])
def test_every_command_has_a_help_page(run, command: str) -> None:
    page = run(command, "--help")
    assert page.code == 0
    assert "Usage: semreid" in page.out
