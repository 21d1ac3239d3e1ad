from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.training.build import build_model
from semreid.training.recipe import load_recipe
from semreid.training.schedule import loss_weights
from semreid.training.trainer import sum_losses
from tests.conftest import draw_figure

RECIPES = Path(__file__).parents[2] / "recipes"
PARTS = {
    "parsing": ("parsing.pixel",),
    "srb": ("regularization.id",),
    "sfb": ("fusion.id", "fusion.triplet", "fusion.diversity", "fusion.regions"),
    "texture": ("texture.reconstruction", "texture.triplet"),
    "stages": tuple(f"multistage.{loss}_{stage}" for stage in (1, 2, 3) for loss in ("id", "triplet")),
}
WIDTHS = {"srb": 64, "sfb": 64, "stages": 96}


def build(**options: object) -> ReIDModel:
    torch.manual_seed(0)
    arguments = {"num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": (64, 32), "dim": 32}
    return create_model("unified", **arguments | options)


def batch() -> Batch:
    generator, pids = torch.Generator().manual_seed(0), torch.tensor([0, 1, 2, 1, 0, 2])
    images, textures = torch.rand(6, 3, 64, 32, generator=generator), torch.rand(6, 3, 256, 256, generator=generator)
    regions = torch.randint(0, 8, (6, 64, 32), dtype=torch.uint8, generator=generator)
    return Batch(images, pids, pids, regions=regions, textures=textures)


@pytest.mark.parametrize(
    "parts", [(), ("parsing",), ("srb",), ("sfb", "texture"), ("stages",), ("texture", "stages"), tuple(PARTS)]
)
def test_parts_for_the_ablation(parts: tuple[str, ...]) -> None:
    model = build(parts=parts)
    needed = {*parts, "parsing"} if {"srb", "sfb"} & set(parts) else set(parts)
    losses = model.losses(batch())
    assert set(losses) == {"identity.id", "identity.triplet"} | {name for part in needed for name in PARTS[part]}
    assert model.dim == 128 + sum(WIDTHS.get(part, 0) for part in parts)
    sum_losses(losses, {}).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_one_embedding_of_one_size_whatever_is_seen() -> None:
    model = build()
    crops = [draw_figure(pid, 1, 0, height, width) for pid, height, width in ((1, 64, 32), (2, 90, 30), (3, 40, 40))]
    crops.append(np.zeros((64, 32, 3), np.uint8))  # no region, no clue
    vectors = model.embed(crops)
    assert vectors.shape == (4, model.dim)
    assert model.dim == 128 + 64 + 64 + 3 * 32
    assert np.isfinite(vectors).all()
    assert list(model.blocks) == ["identity", "regularization", "fusion", "multistage"]
    assert model.embed(crops, parts=True).regions.shape == (4, 8, 64)


def test_the_painter_costs_nothing_at_inference() -> None:
    assert not [name for name in build().inference_state() if "texture" in name or "classifier" in name]


def test_size_at_full_width() -> None:
    model = create_model("unified", num_ids=1, size=(384, 128))
    published, pmm, trunk = 39_933_512, 31_120_960, 23_508_032
    used = model.inference_state()
    assert sum(p.numel() for name, p in model.named_parameters() if name in used) == published + pmm - trunk
    assert model.dim == 2048 + 1024 + 1024 + 3 * 512


def test_recipe_weighs_the_losses_that_there_are() -> None:
    recipe = load_recipe(RECIPES / "tiny" / "unified.yaml")
    losses = build(**recipe.model.options).losses(batch())
    first, last = (loss_weights(recipe.losses, epoch) for epoch in (0, recipe.schedule.epochs - 1))
    assert sum_losses(losses, last) > sum_losses(losses, first) > 0


def test_parts_that_are_none_say_what_there_is() -> None:
    with pytest.raises(SemreidError, match="model unified: option 'parts' is "):
        build(parts=["decoder"])


@pytest.mark.parametrize("study", ["pmm", "unified", "real"])
def test_rows_of_the_studies_are_models_with_the_losses_they_weigh(study: str) -> None:
    rows = yaml.safe_load((RECIPES.parent / "benchmarks" / "ablations" / f"{study}.yaml").read_text())
    widths = {}
    for name, (recipe, *overrides) in rows.items():
        changes = [override.replace("$LAST", "18") for override in overrides]
        settings = load_recipe(RECIPES.parent / recipe, [*changes, "model.width=0.125", "schedule.epochs=20"])
        model = build_model(settings, 3)
        losses = model.losses(batch())
        assert sum_losses(losses, loss_weights(settings.losses, 19)) > 0, name
        widths[name] = model.dim
    assert widths["baseline"] == 64
    assert len(widths) == len(rows) > 8
