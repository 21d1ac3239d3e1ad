import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.models.loading import load_model
from semreid.training import trainer
from semreid.training.build import build_model
from semreid.training.loop import train
from semreid.training.recipe import dump_recipe
from tests.training.test_loop import recipe


def train_by_two(plan: Path, figures: Path, masks: Path, out: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = ["-m", "semreid", "train", str(plan), "--data", f"people:{figures}", "--out", str(out)]
    arguments += ["--annotations", str(masks)]
    done = subprocess.run(
        [*launcher, *arguments], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "options", "losses", "contrast"),
    [
        ("baseline", {"pool": "gem"}, {}, {}),
        ("magnifiernet", {"pool": "gem"}, {"parsing.pixel": 1, "fusion.regions": 1, "fusion.diversity": 1}, {}),
        ("pmm", {"dim": 16, "cumulative": True, "label_mixing": True}, {}, {}),
        ("pmm", {"dim": 16}, {}, {"weight": 1.0, "heads": []}),
    ],
)
def test_two_processes_learn_the_model_of_one(
    name: str,
    options: dict[str, object],
    losses: dict[str, float],
    contrast: dict[str, object],
    figures: Path,
    figure_data: ReIDDataset,
    figure_masks: Path,
    tmp_path: Path,
) -> None:
    plan = tmp_path / "recipe.yaml"
    settings = recipe(
        model={"name": name, "options": options},
        optim={"lr": 1e-5, "name": "sgd", "ema": 0.5},
        schedule={"epochs": 1},
        contrast=contrast,
        losses=losses,  # every loss must count: a triplet of features that are all alike yet is mostly rounding
    )
    plan.write_text(dump_recipe(settings))
    train_by_two(plan, figures, figure_masks, tmp_path / "two")
    one = train(settings, figure_data, tmp_path / "one", annotations=figure_masks).state_dict()
    two, start = load_model(tmp_path / "two").state_dict(), build_model(settings, 6).state_dict()
    for key in (key for key, value in start.items() if value.is_floating_point()):
        step = (one[key] - start[key]).norm()
        # Rounding grows through normalisations of eight images; statistics of half a batch would differ by over 100 %.
        assert (two[key] - one[key]).norm() <= 0.02 * step + 2e-7 * start[key].norm() + 1e-7, key
    assert (one["trunk.conv1.weight"] - start["trunk.conv1.weight"]).norm() > 1e-4
    rows = [json.loads((tmp_path / run / "metrics.jsonl").read_text()) for run in ("one", "two")]
    for loss in rows[0].keys() - {"epoch", "images_per_second", "data_share"}:  # of all images, not of the first share
        assert rows[1][loss] == pytest.approx(rows[0][loss], rel=2e-3, abs=2e-3), loss


def test_a_part_that_is_painted_is_for_one_process() -> None:
    model = build_model(recipe(model={"name": "san", "options": {"painted": 0.5}}), 6)
    with pytest.raises(SemreidError, match=r"model\.options\.painted.*one process"):
        trainer._require_divisible(recipe(), model, 2)
