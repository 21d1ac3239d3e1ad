import runpy
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("script", "promise"),
    [
        ("ranking", "same mAP, mINP and rank-1"),
        ("reranking", "100.0000% of the values equal to 1e-5"),
        ("step", "of a step"),
        ("costs", "| average pooling |"),
        ("ablate", "| average pooling |"),
        ("export", "100.00% of all ranks the same"),
        ("magnifiernet", "the first losses are equal"),
        ("pmm", "the mixed maps are equal bit for bit"),
        ("gallery", "100% same top 20"),
        ("part_search", "with a board before the bottom"),
        ("people", "faster than plain NumPy"),
        ("serving", "20 at once, among 2,000 rows: 0 failed"),
        ("explanation", "of their maximum; equal"),
        ("calibration", "in 3 crowds the interval holds the truth"),
        ("textures", "where nothing is seen"),
        ("transfer", "other cameras alone"),
        ("joined", "identity + regularization + fusion: mAP"),
        ("make_models", "people-s was made by a, parser, start; measured on made-up people"),
        ("grouping", "2,000 crops: like the groups of dense distances 1.0000"),
        ("tracked", "tracks of a person and camera: 24 of 36 crops"),
        ("start", "loaded needlessly: nothing"),
        ("alignment", "| random weights | layer4 |"),
        ("sharing", "the same rows in the same order"),
        ("parser", '{"joints": 100.0, "head-top": 100.0, "neck": 100.0, "shoulder": 100.0, "hip": 100.0'),
    ],
)
def test_the_scripts_run_and_their_references_agree(script, promise, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setattr("sys.argv", [script, "--quick"])
    runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert promise in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        ("textures", "give RUN and --data people:DIR, or --quick"),
        ("textures run", "give RUN and --data people:DIR, or --quick"),
        ("explanation --run run", "give both --run and --data, or neither"),
        ("calibration --run run", "give both --run and --data, or neither"),
        ("calibration --data folder:x", "give both --run and --data, or neither"),
    ],
)
def test_a_script_says_what_it_lacks(words, way_out, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setattr("sys.argv", words.split())
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPTS / f"{words.split()[0]}.py"), run_name="__main__")
    assert caught.value.code == 2
    assert way_out in capsys.readouterr().err
