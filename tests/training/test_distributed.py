import json
from pathlib import Path

import pytest

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.models.loading import load_model
from semreid.training import trainer
from semreid.training.build import build_model
from semreid.training.loop import train
from semreid.training.recipe import Recipe, dump_recipe
from tests.training.test_loop import recipe
from tests.two_processes import run_by_two

MASKED = {"parsing.pixel": 1, "fusion.regions": 1, "fusion.diversity": 1}
CASES = {  # name, options, losses and contrast; a triplet of features that are all alike yet is mostly rounding
    "baseline": ("baseline", {"pool": "gem"}, {}, {}),
    "magnifiernet": ("magnifiernet", {"pool": "gem"}, MASKED, {}),
    "mixed labels": ("pmm", {"dim": 16, "cumulative": True, "label_mixing": True}, {}, {}),
    "contrast": ("pmm", {"dim": 16}, {}, {"weight": 1.0, "heads": []}),
}


def plan_of(case: str) -> Recipe:
    name, options, losses, contrast = CASES[case]
    return recipe(
        model={"name": name, "options": options},
        optim={"lr": 1e-5, "name": "sgd", "ema": 0.5},
        schedule={"epochs": 1},
        contrast=contrast,
        losses=losses,
    )


@pytest.mark.timeout(300)
def test_two_processes_learn_the_models_of_one(
    figures: Path, figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path
) -> None:
    commands = []
    for case in CASES:
        (tmp_path / f"{case}.yaml").write_text(dump_recipe(plan_of(case)))
        commands.append(["train", tmp_path / f"{case}.yaml", "--data", f"people:{figures}", "--out", tmp_path / case])
        commands[-1] += ["--annotations", figure_masks]
    assert run_by_two(*commands) == [0] * len(CASES)
    for case in CASES:
        plan, alone = plan_of(case), tmp_path / f"{case} alone"
        one = train(plan, figure_data, alone, annotations=figure_masks).state_dict()
        two, start = load_model(tmp_path / case).state_dict(), build_model(plan, 6).state_dict()
        for key in (key for key, value in start.items() if value.is_floating_point()):
            step = (one[key] - start[key]).norm()
            # Rounding grows through normalisations of eight images; statistics of half a batch would be off by 100 %.
            assert (two[key] - one[key]).norm() <= 0.02 * step + 2e-7 * start[key].norm() + 1e-7, (case, key)
        assert (one["trunk.conv1.weight"] - start["trunk.conv1.weight"]).norm() > 1e-4
        rows = [json.loads((run / "metrics.jsonl").read_text()) for run in (alone, tmp_path / case)]
        for loss in rows[0].keys() - {"epoch", "images_per_second", "data_share"}:  # of all images, not of one share
            assert rows[1][loss] == pytest.approx(rows[0][loss], rel=2e-3, abs=2e-3), (case, loss)


def test_a_part_that_is_painted_is_for_one_process() -> None:
    model = build_model(recipe(model={"name": "san", "options": {"painted": 0.5}}), 6)
    with pytest.raises(SemreidError, match=r"model\.options\.painted.*one process"):
        trainer._require_divisible(recipe(), model, 2)
