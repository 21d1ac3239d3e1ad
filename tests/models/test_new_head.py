"""The worked example of docs/new-head.md does what the page says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_a_file_of_under_sixty_lines_is_a_model_to_train_and_judge(figures: Path, tmp_path: Path) -> None:
    (example,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "new-head.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert example.count("\n") < 60
    script = tmp_path / "stripes.py"
    script.write_text(example)

    def run(*words: object) -> str:
        command = [sys.executable, str(script), *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    settings = ["data.identities=4", "data.instances=2", "data.height=64", "data.width=32", "schedule.epochs=1"]
    settings += ["model.name=stripes", "model.width=0.125", "model.options={count: 2}", "losses.stripes.id=0.5"]
    recipe, data = ROOT / "recipes" / "tiny" / "baseline.yaml", f"people:{figures}"
    run("train", recipe, "--data", data, "--out", tmp_path / "run", *settings)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["total"] == pytest.approx(
        row["identity.id"] + row["identity.triplet"] + 0.5 * row["stripes.id"], rel=1e-3
    )
    report = json.loads(run("evaluate", tmp_path / "run", "--data", data, "--json"))
    assert report["metrics"]["mAP"] > 0
    info = json.loads(run("info", tmp_path / "run"))
    assert info["embedding_dim"] == 64 + 2 * 64
