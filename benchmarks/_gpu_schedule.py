"""The part *schedule* of `gpu.py`: what a schedule of three tenths of the steps loses against a long one."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from _gpu_learning import AUGMENT_REAL, OPTIM, annotations_of, labels_of, specs
from _gpu_results import Part
from _gpu_speed import PUBLISHED_STEPS, batches_of, recipe_of
from semreid.data.benchmarks import load_dataset
from semreid.data.sample import ReIDDataset, num_identities
from semreid.data.store import Store, annotation_paths, build_store
from semreid.evaluation.protocol import evaluate
from semreid.models.loading import load_model
from semreid.teachers.label import label
from semreid.training.build import build_model
from semreid.training.recipe import Recipe
from semreid.training.replay import WARM_UP
from semreid.training.trainer import Trainer

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
    batch = part.scale.people[0] * part.scale.people[1]
    store = _store(part, dataset, _recipe(part, batch).data.size)
    rates = _rates(part, batch, dataset, store)
    if not rates:
        return
    engine, rate = max(rates.items(), key=lambda pair: pair[1])
    steps = max(4, min(PUBLISHED_STEPS, int(0.9 * part.left * rate / (1 + SHORT))))
    part.note("setting", {"engine": engine, "long_steps": steps, "size": store.images.shape[1:3]})
    for name, count in (("short", max(2, round(SHORT * steps))), ("long", steps)):
        work = lambda b, c=count: course(part, _recipe(part, b, engine), dataset, store, c)  # noqa: E731
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


def _recipe(part: Part, batch: int, engine: str = "eager") -> Recipe:
    recipe = recipe_of(part, "magnifiernet", batch, optim=OPTIM, augment=AUGMENT_REAL, engine=engine)
    h, w = recipe.data.size
    data = replace(recipe.data, height=max(64, h // 2), width=max(32, w // 2))
    return replace(recipe, data=data, schedule=replace(recipe.schedule, epochs=1, warmup_epochs=0.05, decay="cosine"))


def _store(part: Part, dataset: ReIDDataset, size: tuple[int, int]) -> Store:
    """The images on the device, with the masks beside them or those of the parser that ships."""
    with tempfile.TemporaryDirectory() as made:
        home = annotations_of(part)
        if "masks" not in labels_of(part):
            home = Path(made)
            label([load_model("people-parser").to(part.device)], dataset, home, split="train")
        masks = annotation_paths(dataset, dataset.train, "masks", home)
        return build_store(dataset.train, size, masks=masks).to(part.device)


def _rates(part: Part, batch: int, dataset: ReIDDataset, store: Store) -> dict[str, float]:
    """Steps a second by the engines that work here."""
    rates: dict[str, float] = {}
    for engine in ("eager", "graphs"):
        try:
            rates[engine] = _rate(part, _recipe(part, batch, engine), dataset, store)
        except Exception as error:  # the other one may do
            part.note(f"{engine} failed", f"{type(error).__name__}: {error}")
        part.free()
    part.note("rates", rates)
    return rates


def _rate(part: Part, recipe: Recipe, dataset: ReIDDataset, store: Store) -> float:
    trainer = Trainer(recipe, build_model(recipe, num_identities(dataset.train)), store, part.device)
    trainer.model.train()
    following = batches_of(trainer)
    return part.rate(lambda: trainer.step(following()), WARM_UP + 1)
