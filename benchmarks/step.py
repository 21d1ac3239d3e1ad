"""What share of a training step of the tiny recipe goes into data: sampling and augmentation.

Usage: python benchmarks/step.py [--recipe recipes/tiny/baseline.yaml] [--steps 30] [--images 5778]
The images are random; their number is that of the training set the recipe was made for.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from semreid.data.sample import Sample
from semreid.data.sampler import pk_batches
from semreid.data.store import Store
from semreid.training.loop import Trainer, build_model
from semreid.training.recipe import Recipe, load_recipe


def make_trainer(recipe: Recipe, images: int, per_identity: int = 10) -> Trainer:
    samples = tuple(Sample(Path(f"{i}.jpg"), i // per_identity, i % 2) for i in range(images))
    pixels = torch.randint(0, 256, (images, *recipe.data.size, 3), dtype=torch.uint8)
    identities = len({s.pid for s in samples})
    return Trainer(recipe, build_model(recipe, identities), Store(samples, pixels), torch.device("cpu"))


def measure(trainer: Trainer, steps: int) -> tuple[float, float, float]:
    """Seconds a step for sampling, augmentation and learning."""
    data = trainer.recipe.data
    began = time.perf_counter()
    batches = list(pk_batches(trainer.labels, data.identities, data.instances, seed=0, epoch=0))
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="recipes/tiny/baseline.yaml")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--images", type=int, default=5778)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    sampling, augmenting, learning = measure(make_trainer(recipe, arguments.images), arguments.steps)
    step = sampling + augmenting + learning
    batch = recipe.data.identities * recipe.data.instances
    print(f"sampling {1e3 * sampling:.1f} ms, augmentation {1e3 * augmenting:.1f} ms, learning {1e3 * learning:.1f} ms")
    print(f"data preparation takes {(sampling + augmenting) / step:.1%} of a step; {batch / step:.0f} images/s")


if __name__ == "__main__":
    main()
