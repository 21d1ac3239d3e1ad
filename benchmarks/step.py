"""What share of a training step of the tiny recipe goes into data: sampling and augmentation.

python benchmarks/step.py                 the tiny baseline on 5,778 random images
python benchmarks/step.py --quick         seconds; for a test
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from _timing import command_line
from semreid.data.sample import Sample
from semreid.data.store import Store
from semreid.training.build import build_model
from semreid.training.recipe import Recipe, load_recipe
from semreid.training.trainer import Trainer

RECIPE = Path(__file__).parents[1] / "recipes" / "tiny" / "baseline.yaml"


def make_trainer(recipe: Recipe, images: int, per_identity: int = 10) -> Trainer:
    samples = tuple(Sample(Path(f"{i}.jpg"), i // per_identity, i % 2) for i in range(images))
    pixels = torch.randint(0, 256, (images, *recipe.data.size, 3), dtype=torch.uint8)
    identities = len({s.pid for s in samples})
    return Trainer(recipe, build_model(recipe, identities), Store(samples, pixels), torch.device("cpu"))


def measure(trainer: Trainer, steps: int) -> tuple[float, float, float]:
    """Seconds a step for sampling, augmentation and learning."""
    began = time.perf_counter()
    batches = trainer.batches()
    sampling = (time.perf_counter() - began) / len(batches)
    trainer.model.train()
    for i in range(3):  # warm up
        trainer.step(trainer.batch(batches[i], i))
    augmenting = learning = 0.0
    for i in range(steps):
        began = time.perf_counter()
        batch = trainer.batch(batches[i % len(batches)], i)
        prepared = time.perf_counter()
        trainer.step(batch)
        augmenting += prepared - began
        learning += time.perf_counter() - prepared
    return sampling, augmenting / steps, learning / steps


def main() -> None:
    images, steps = (400, 2) if command_line(__doc__).parse_args().quick else (5778, 30)
    recipe = load_recipe(RECIPE)
    sampling, augmenting, learning = measure(make_trainer(recipe, images), steps)
    step = sampling + augmenting + learning
    batch = recipe.data.identities * recipe.data.instances
    print(f"sampling {1e3 * sampling:.1f} ms, augmentation {1e3 * augmenting:.1f} ms, learning {1e3 * learning:.1f} ms")
    print(f"data preparation takes {(sampling + augmenting) / step:.1%} of a step; {batch / step:.0f} images/s")


if __name__ == "__main__":
    main()
