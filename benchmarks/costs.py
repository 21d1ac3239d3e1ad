"""What each row of an ablation costs: a training step, embedding an image, parameters, operations, and numbers to keep.

python benchmarks/costs.py benchmarks/ablations/unified.yaml     minutes; times are ratios to the first row
python benchmarks/costs.py --quick                               seconds, two rows; for a test

Each row is measured as `semreid train` and `semreid embed` run it, without reading files, in seconds of the processor,
so that other work disturbs little; the rows take turns, and the best of several rounds counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from _study import QUICK, QUICK_OVERRIDES, read_study, recipe_of
from _timing import best_of, command_line
from semreid.data.batch import Batch
from semreid.data.sample import Sample
from semreid.data.store import Store
from semreid.models.heads.base import REGIONS
from semreid.training.build import build_model
from semreid.training.recipe import Recipe
from semreid.training.trainer import Trainer

NUM_IDS = 593


class Row(NamedTuple):
    """What is timed of a row, and what is known of it at once.

    Attributes:
        learn: A training step.
        embed: Embedding a batch of the same size, in float32.
        figures: ``parameters_without_classifiers``, ``embedding_dim``, ``macs``.
    """

    learn: Callable[[], object]
    embed: Callable[[], object]
    figures: dict[str, Any]


def make_row(recipe: Recipe) -> Row:
    """Build the model of a recipe, and a batch with all that it may want."""
    model = build_model(recipe, NUM_IDS)
    batch = make_batch(recipe, model.texture_side)
    nobody = Store((Sample(Path("0.jpg"), 0, 0),), torch.zeros(1, *recipe.data.size, 3, dtype=torch.uint8))
    trainer = Trainer(recipe, model, nobody, torch.device("cpu"))
    pictures = (255 * batch.images).to(torch.uint8)

    def learn() -> None:
        model.train()
        trainer.step(batch)

    return Row(learn, lambda: model.embed_batch(pictures), model.info())


def make_batch(recipe: Recipe, texels: int) -> Batch:
    torch.manual_seed(0)
    count, size = recipe.data.identities * recipe.data.instances, recipe.data.size
    pids = torch.arange(recipe.data.identities).repeat_interleave(recipe.data.instances)
    regions = torch.randint(0, len(REGIONS), (count, *size), dtype=torch.uint8)
    return Batch(torch.rand(count, 3, *size), pids, pids, regions, torch.rand(count, 3, texels, texels))


def step_seconds(recipes: Mapping[str, Recipe], rounds: int = 6) -> dict[str, float]:
    """Seconds of the processor that a training step takes, by name."""
    return best_of({name: make_row(recipe).learn for name, recipe in recipes.items()}, rounds, time.process_time)


def compare(rows: dict[str, Row], rounds: int) -> None:
    """Print the table."""
    learn = best_of({name: row.learn for name, row in rows.items()}, rounds, time.process_time)
    embed = best_of({name: row.embed for name, row in rows.items()}, rounds, time.process_time)
    first = next(iter(rows))
    print("| row | training step | embedding | parameters without classifiers | MACs | numbers |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        known = row.figures
        ratios = f"{learn[name] / learn[first]:.2f}× | {embed[name] / embed[first]:.2f}×"
        sizes = f"{known['parameters_without_classifiers'] / 1e6:.2f} M | {known['macs'] / 1e6:.0f} M"
        print(f"| {name} | {ratios} | {sizes} | {known['embedding_dim']} |")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("study", type=Path, nargs="?")
    given = parser.parse_args()
    if not (given.quick or given.study):
        parser.error("give a study, or --quick")
    study = QUICK if given.quick else read_study(given.study)
    recipes = {name: recipe_of(row, QUICK_OVERRIDES if given.quick else []) for name, row in study.items()}
    compare({name: make_row(recipe) for name, recipe in recipes.items()}, 2 if given.quick else 11)


if __name__ == "__main__":
    main()
