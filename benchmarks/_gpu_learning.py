"""The parts *train* and *real* of `gpu.py`: what a card learns in minutes."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save

from _gpu_results import Part
from _gpu_speed import recipe_of
from semreid.data.benchmarks import load_dataset
from semreid.data.sample import ReIDDataset, num_identities
from semreid.data.store import annotation_paths, build_store
from semreid.evaluation.protocol import evaluate
from semreid.functional import rank_features
from semreid.models.card import Card
from semreid.models.model import ReIDModel
from semreid.people.dataset import PeopleRecipe
from semreid.people.live import LivePeople, take_pictures
from semreid.training.build import build_model, model_arguments
from semreid.training.record import Reporter
from semreid.training.trainer import Trainer

PIECE = 31 * 2**19
"""Bytes of a piece of the weights, where only small files can be brought back."""
REAL = {"market1501": "market1501:{}/market1501", "cuhk03p1": "cuhk03-np/labeled:{}/cuhk03p1"}
AUGMENT = {
    "flip": 0.5,
    "pad": 10,
    "zoom": 0.2,
    "jitter": 0.2,
    "colour_cast": 0.1,
    "erase": 0.3,
    "erase_area": [0.02, 0.2],
}
AUGMENT_REAL = {"flip": 0.5, "pad": 10, "erase": 0.5, "erase_area": [0.02, 0.3]}
OPTIM = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05, "decay_norms": False, "ema": 0.998}


def train(part: Part) -> None:
    """Train the baseline on people who are made meanwhile, then judge it where data is, and keep the weights."""
    began, end = time.monotonic(), time.monotonic() + 0.75 * part.left
    size, (people, k) = part.scale.sizes["baseline"], part.scale.live
    plan = PeopleRecipe(people, k, seed=11, height=size[0], width=size[1])
    recipe = recipe_of(part, "baseline", part.scale.people[0] * part.scale.people[1], augment=AUGMENT, optim=OPTIM)
    recipe = replace(recipe, schedule=replace(recipe.schedule, epochs=1, warmup_epochs=0.05, decay="cosine"))
    with LivePeople(plan, part.device, processes=part.scale.processes) as live:
        trainer = Trainer(recipe, build_model(recipe, people), live.store, part.device)
        part.note("setting", {"people": people, "pictures_each": k, "size": size, "parameters": _size(trainer.model)})
        live.wait_for(part.scale.start)
        part.note("first_people_seconds", time.monotonic() - began)
        _learn(part, trainer, live, max(2.0, end - time.monotonic()))
    model = trainer.judged.eval()
    part.note("unseen_people", judge_unseen(model, plan, min(people, 32)))
    for name, spec in specs(part).items():
        part.attempt(name, lambda _, s=spec: evaluate(model, load_dataset(s)).metrics, 0)  # type: ignore[misc]
    keep(part, model, model_arguments(recipe, people), {"people": people, "pictures": live.made})


def _learn(part: Part, trainer: Trainer, live: LivePeople, seconds: float) -> None:
    """Take steps until the time is over; the learning rate follows the clock."""
    rng, began, steps, told = np.random.default_rng(0), time.monotonic(), 0, 0.0
    data, curve = trainer.recipe.data, []
    trainer.model.train()
    while (passed := time.monotonic() - began) < seconds:
        trainer.set_lr(min(passed / seconds, 1.0))
        losses = trainer.step(trainer.batch(live.rows(data.identities, data.instances, rng), steps))
        live.renew()
        steps += 1
        if passed - told > seconds / 20:
            told = passed
            curve.append({"seconds": passed, "steps": steps, "pictures": live.made, "loss": float(losses["total"])})
            part.note("curve", curve)
    part.wait()
    batch, passed = data.identities * data.instances, time.monotonic() - began
    rates = {"steps_per_second": steps / passed, "images_per_second": batch * steps / passed}
    rates["pictures_made_per_second"] = live.made / passed
    part.note(
        "learned", {"steps": steps, "pictures_made": live.made, "people": live.people, "seconds": passed, **rates}
    )


def judge_unseen(model: ReIDModel, plan: PeopleRecipe, people: int) -> dict[str, float]:
    """Rank pictures of people that nobody learned from: the first two of each are queries, the others the gallery."""
    shown = [take_pictures(plan, plan.identities + 1 + i, 0).images for i in range(people)]
    pids = np.repeat(np.arange(people), plan.images_per_identity)
    features = model.embed(np.concatenate(shown))
    asked = np.arange(len(pids)) % plan.images_per_identity < max(1, plan.images_per_identity // 4)
    cameras = np.zeros(len(pids), int)
    ids = pids[asked], pids[~asked], cameras[asked], cameras[~asked] + 1
    ranking = rank_features(features[asked], features[~asked], *ids)
    return {"people": people, "mAP": 100 * ranking.mAP, "rank1": 100 * float(ranking.cmc[0])}


def specs(part: Part) -> dict[str, str]:
    """Data sets that lie in the folder, by name."""
    if part.data is None:
        return {}
    return {name: spec.format(part.data) for name, spec in REAL.items() if (part.data / name).is_dir()}


def keep(part: Part, model: ReIDModel, arguments: dict[str, Any], origin: dict[str, Any]) -> None:
    """Write the weights that inference uses in half precision, in pieces, and the card among the results."""
    tensors = {name: t.detach().cpu().half().contiguous() for name, t in model.inference_state().items()}
    content = save(tensors)
    pieces = [content[start : start + PIECE] for start in range(0, len(content), PIECE)]
    for earlier in part.file.parent.glob("model.safetensors.*"):
        earlier.unlink()
    for number, piece in enumerate(pieces):
        (part.file.parent / f"model.safetensors.{number}").write_bytes(piece)
    card = Card(arguments, {"dataset": "synthetic people, made while it learned", **origin}, "synthetic people only", 0)
    part.note("card", {**card.to_json(), "pieces": len(pieces), "bytes": len(content), "precision": "fp16"})


def real(part: Part) -> None:
    """Train baseline and unified model on real people: seconds to 80 % of the final mAP, and the final mAP."""
    spec = specs(part).get("market1501")
    if spec is None:
        part.note("left out", "there is no folder market1501 below --data")
        return
    dataset, labels = load_dataset(spec), labels_of(part)
    part.note("unified_learns_from", labels)
    for number, name in enumerate(("baseline", "unified")):
        box = 0.9 * part.left / (2 - number)
        batch = part.scale.people[0] * part.scale.people[1]
        part.attempt(name, lambda b, n=name, s=box: course(part, dataset, n, b, s, labels), batch)  # type: ignore[misc]


def labels_of(part: Part) -> list[str]:
    """Kinds of annotations that lie beside the data, in ``annotations/market1501``."""
    return [kind for kind in ("masks", "textures") if (annotations_of(part) / kind).is_dir()]


def annotations_of(part: Part) -> Path:
    """Where annotations lie beside the data."""
    assert part.data is not None
    return part.data / "annotations" / "market1501"


def course(
    part: Part, dataset: ReIDDataset, name: str, batch: int, seconds: float, labels: list[str]
) -> dict[str, Any]:
    """One training of as many epochs as the time allows, judged ten times; judging is not counted."""
    parts = ["stages"] + ["parsing", "srb", "sfb"] * ("masks" in labels) + ["texture"] * ("textures" in labels)
    recipe = recipe_of(part, name, batch, optim=OPTIM, augment=AUGMENT_REAL)
    if name == "unified":
        options = {"parts": parts, "unit_triplet": True, "dim": 256}
        recipe = replace(recipe, model=replace(recipe.model, options=options))
    model = build_model(recipe, num_identities(dataset.train))
    home = annotations_of(part)
    masks = annotation_paths(dataset, dataset.train, "masks", home) if "masks" in labels else None
    textures = annotation_paths(dataset, dataset.train, "textures", home) if "textures" in labels else None
    side = model.texture_side
    store = build_store(dataset.train, model.size, masks=masks, textures=textures, texture_side=side).to(part.device)
    began = time.monotonic()
    with Reporter(1, quiet=True) as reporter:
        probe = Trainer(recipe, model, store, part.device).train_epoch(reporter)  # tells how long an epoch is
        left = seconds - (time.monotonic() - began)
        epochs = max(2, math.floor(left * probe["images_per_second"] / (1.2 * len(store))))
        schedule = replace(recipe.schedule, epochs=epochs, warmup_epochs=max(1, epochs // 10), decay="cosine")
        recipe = replace(recipe, schedule=schedule)
        trainer = Trainer(recipe, build_model(recipe, num_identities(dataset.train)), store, part.device)
        curve: list[dict[str, float]] = []
        spent = 0.0
        for number in range(epochs):
            started = time.monotonic()
            trainer.train_epoch(reporter)
            trainer.finish_epoch({})
            part.wait()
            spent += time.monotonic() - started
            if number + 1 == epochs or (number + 1) % max(1, epochs // 10) == 0:
                metrics = evaluate(trainer.judged, dataset).metrics
                curve.append({"epoch": number + 1, "seconds": spent, "mAP": metrics["mAP"], "rank1": metrics["rank1"]})
                part.note(f"{name}, so far", curve)
    final = curve[-1]["mAP"]
    reached = next(point["seconds"] for point in curve if point["mAP"] >= 0.8 * final)
    return {"epochs": epochs, "seconds": spent, "mAP": final, "seconds_to_80_percent": reached, "curve": curve}


def _size(model: ReIDModel) -> int:
    return sum(p.numel() for p in model.parameters())
