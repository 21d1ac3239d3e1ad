from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.explain.stages import pasted, stage_views
from semreid.models.card import Card, save_model
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from tests.conftest import draw_figure

CROPS = [draw_figure(pid, 1, 0) for pid in range(5)]
ARGUMENTS = {"num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": (128, 64)}


def build(name: str = "pmm") -> ReIDModel:
    torch.manual_seed(0)
    return create_model(name, **ARGUMENTS)


def test_views_are_what_the_stages_see() -> None:
    model = build().train()
    views = stage_views(model, CROPS)
    assert model.training
    assert len(views) == 3
    for number, view in enumerate(views):
        assert view.heat.shape == view.replaced.shape == (5, 8, 4)
        assert (view.replaced.sum((1, 2)) == (3 if number else 0)).all()
        assert ((view.negatives != np.arange(5)) == (number > 0)).all()
    for before, after in pairwise(views):
        kept = np.where(after.replaced, 0, before.heat).max((1, 2))
        assert (np.where(after.replaced, before.heat, np.inf).min((1, 2)) >= kept).all()


def test_the_same_crops_give_the_same_views_and_draw_nothing() -> None:
    model, state = build(), torch.get_rng_state()
    first, again = stage_views(model, CROPS), stage_views(model, CROPS)
    assert all(np.array_equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_blocks_come_from_the_same_place_of_the_other_crop() -> None:
    picture, donor = (np.full((64, 32, 3), grey, np.uint8) for grey in (50, 200))
    replaced = np.zeros((8, 4), bool)
    replaced[1, 2] = True
    mixed = pasted(picture, donor, replaced)
    assert (mixed[11:14, 19:21] == 200).all()
    assert (mixed[20:] == 50).all()
    assert not pasted(picture, picture, replaced)[11:14, 19:21].any()


@pytest.mark.parametrize("name", ["pmm", "bdb"])
def test_the_command_draws_a_picture(run, name: str, tmp_path: Path) -> None:
    save_model(tmp_path / "run", build(name), Card({"name": name, **ARGUMENTS, "size": [128, 64]}, {}, "none", 0))
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, crop in zip(files, CROPS, strict=False):
        cv2.imwrite(str(file), crop)
    out = tmp_path / "stages.png"
    assert run("stages", tmp_path / "run", *files, "--out", out).code == 0
    height, width, _ = cv2.imread(str(out)).shape
    assert width > height > 200


def test_models_without_stages_and_lone_crops_are_refused() -> None:
    with pytest.raises(SemreidError, match="no stages to look at"):
        stage_views(build("baseline"), CROPS)
    with pytest.raises(SemreidError, match="nobody to take blocks from"):
        stage_views(build(), CROPS[:1])


def test_views_are_the_same_in_inference_mode() -> None:
    model = build()
    expected = stage_views(model, CROPS)
    with torch.inference_mode():
        found = stage_views(model, CROPS)
    assert all(np.array_equal(a, b) for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True))
