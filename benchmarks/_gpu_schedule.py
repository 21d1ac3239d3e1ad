"""The part *schedule* of `gpu.py`: what a schedule of three tenths of the steps loses against a long one."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

from _gpu_learning import OPTIM, specs
from _gpu_results import Part
from _gpu_speed import PUBLISHED_STEPS, recipe_of
from semreid.data.benchmarks import load_dataset
from semreid.data.sample import ReIDDataset, num_identities
from semreid.data.store import Store, annotation_paths, build_store
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate
from semreid.models.loading import load_model
from semreid.teachers.label import label
from semreid.training.build import build_model
from semreid.training.recipe import Recipe
from semreid.training.replay import WARM_UP
from semreid.training.trainer import Trainer

Engine = Literal["eager", "graphs"]
ENGINES: tuple[Engine, ...] = ("eager", "graphs")
SHORT = 0.3
"""Of the steps of the long one: ten minutes of MagnifierNet's published steps, at 28 of them a second."""


def schedule(part: Part) -> None:
    """Train MagnifierNet twice at half the size of its paper, by the same schedule in few steps and in many.

    The long one has the published number of steps, or as many as the time allows; people who were not learned from
    judge both.
    """
    spec = specs(part).get("market1501")
    if spec is None:
        part.note("left out", "there is no folder market1501 below --data")
        return
    dataset = load_dataset(spec)
    recipe = _recipe(part)
    store = _store(part, dataset, recipe.data.size)
    engine, rate = _fastest(part, recipe, dataset, store)
    recipe = replace(recipe, engine=engine)
    steps = max(4, min(PUBLISHED_STEPS, int(0.9 * part.left * rate / (1 + SHORT))))
    batch = recipe.data.identities * recipe.data.instances
    size = recipe.data.size
    part.note("setting", {"engine": engine, "steps_per_second": rate, "long_steps": steps, "size": size})
    for name, count in (("short", max(2, round(SHORT * steps))), ("long", steps)):
        work = lambda b, c=count: course(part, _in_batches(recipe, b), dataset, store, c)  # noqa: E731
        part.attempt(name, work, batch)


def course(part: Part, recipe: Recipe, dataset: ReIDDataset, store: Store, steps: int) -> dict[str, float]:
    """Train that many steps; the rate falls to zero at their end."""
    trainer = Trainer(recipe, build_model(recipe, num_identities(dataset.train)), store, part.device)
    began = time.monotonic()
    _learn(trainer, steps)
    part.wait()
    seconds = time.monotonic() - began
    metrics = evaluate(trainer.judged.eval(), dataset).metrics
    return {"steps": steps, "seconds": seconds, "mAP": metrics["mAP"], "rank1": metrics["rank1"]}


def _learn(trainer: Trainer, steps: int) -> None:
    trainer.model.train()
    made = 0
    while made < steps:
        for rows in trainer.batches()[: steps - made]:
            trainer.set_lr(made / steps)
            trainer.step(trainer.batch(rows, made))
            made += 1
        trainer.epoch += 1


def _recipe(part: Part) -> Recipe:
    batch = part.scale.people[0] * part.scale.people[1]
    augment = {"flip": 0.5, "pad": 10, "erase": 0.5, "erase_area": [0.02, 0.3]}
    recipe = recipe_of(part, "magnifiernet", batch, optim=OPTIM, augment=augment)
    h, w = recipe.data.size
    data = replace(recipe.data, height=max(64, h // 2), width=max(32, w // 2))
    return replace(recipe, data=data, schedule=replace(recipe.schedule, epochs=1, warmup_epochs=0.05, decay="cosine"))


def _in_batches(recipe: Recipe, batch: int) -> Recipe:
    return replace(recipe, data=replace(recipe.data, identities=max(2, batch // recipe.data.instances)))


def _store(part: Part, dataset: ReIDDataset, size: tuple[int, int]) -> Store:
    """The images on the device, with the masks beside them or those of the parser that ships."""
    home = None if part.data is None else part.data / "annotations" / "market1501"
    with tempfile.TemporaryDirectory() as made:
        if home is None or not (home / "masks").is_dir():
            home = Path(made)
            label([load_model("people-parser").to(part.device)], dataset, home, split="train")
        masks = annotation_paths(dataset, dataset.train, "masks", home)
        return build_store(dataset.train, size, masks=masks).to(part.device)


def _rate(part: Part, recipe: Recipe, dataset: ReIDDataset, store: Store) -> float:
    trainer = Trainer(recipe, build_model(recipe, num_identities(dataset.train)), store, part.device)
    _learn(trainer, WARM_UP + 2)
    part.wait()
    began, times = time.monotonic(), 50 if part.device.type == "cuda" else 2
    _learn(trainer, times)
    part.wait()
    return times / (time.monotonic() - began)


def _fastest(part: Part, recipe: Recipe, dataset: ReIDDataset, store: Store) -> tuple[Engine, float]:
    """The engine with most steps a second, and how many."""
    rates: dict[Engine, float] = {}
    for engine in ENGINES:
        try:
            rates[engine] = _rate(part, replace(recipe, engine=engine), dataset, store)
        except SemreidError as error:  # the other one may do
            part.note(f"{engine} failed", str(error))
        part.free()
    part.note("rates", rates)
    return max(rates.items(), key=lambda pair: pair[1])
