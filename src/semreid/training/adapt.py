"""Adapting a model to crops that nobody has labelled: group them, learn from the groups, and again.

A round embeds all crops with the averaged weights, takes what a camera adds out of the embeddings, groups crops that
share their neighbourhoods (`semreid.functional.grouping`), and trains a few hundred steps on the groups as if they were
people: the joined embedding by contrast with a proxy of each group, and of each group under each camera
(`semreid.functional.proxies`); the global branch also by its own losses, its classifier beginning with the mean
features of the groups. Crops of no group are left out until a later round.

Who the crops show is never read. The state after a round, and the start, decide all that follows.
"""

from __future__ import annotations

import time
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semreid import distributed
from semreid.data.crops import Crops
from semreid.data.store import Store, build_store, digest_and_sketch
from semreid.errors import SemreidError
from semreid.models.card import Card, is_untrained, joined_terms, read_card, save_model
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.reading import reading
from semreid.training.checkpoint import load_checkpoint, save_checkpoint
from semreid.training.contrast import learning_heads
from semreid.training.provenance import require_same_data
from semreid.training.recipe import AdaptRecipe, checked_recipe, dump_recipe
from semreid.training.record import ADAPT, CHECKPOINT, Reporter, RunFolder
from semreid.training.rounds import Clock, Rounds
from semreid.training.trainer import on_device


def adapt(
    recipe: AdaptRecipe,
    crops: Crops,
    start: Path | str,
    out: Path | str,
    *,
    minutes: float | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
    clock: Clock = time.monotonic,
) -> ReIDModel:
    """Adapt a model to crops without identities, and leave a run folder, which is whole after every round.

    Args:
        recipe: The recipe.
        crops: The crops; whom they show is not looked at.
        start: Run folder or card file of the model to begin with, or the name of one that ships.
        out: The run folder.
        minutes: A round that would not end within this time is not begun; without it, all rounds are done.
        resume: Go on from the folder's checkpoint.
        device: Where to train; the GPU if there is one, else the CPU.
        clock: Tells seconds.

    Returns:
        The adapted model, in evaluation mode.

    Raises:
        SemreidError: If the start cannot learn, the crops cannot be read or fall into no groups, or the folder does not
            allow it; what was learned in earlier rounds stays in the folder.
    """
    began = clock()
    recipe = checked_recipe(recipe, AdaptRecipe)
    _require_one_process()
    folder = RunFolder(out, resume=resume, recipe=ADAPT)
    card, model = load_start(start)
    text = dump_recipe(recipe)
    state = load_checkpoint(folder.path / CHECKPOINT, recipe) if resume else None
    learning = learning_heads(model, recipe.losses)
    learned = facts_of(crops, model) | {"heads": learning}
    device = torch.device(device) if device else distributed.local_device()
    with Reporter(recipe.rounds, unit="round") as reporter:
        store = _open_store(model.to(device), crops, learning, reporter)
        rounds = Rounds(recipe, card, model, crops, on_device(store, device), device)
        if state is not None:
            with reading(folder.path / CHECKPOINT):
                _require_same(state["learned"], learned, folder.path / CHECKPOINT)
                rounds.restore(state)
            reporter.say(f"resumed after round {rounds.done}")

        def keep() -> None:
            folder.record(text, rounds.history)
            save_model(folder.path, rounds.model, _card(card, start, crops, recipe, learned, rounds))

        with folder.claimed():
            if rounds.done:
                keep()  # a stop may have come between the checkpoint and this
            while rounds.done < recipe.rounds and _in_time(rounds, minutes, clock() - began, reporter):
                row = rounds.next(reporter, clock)
                save_checkpoint(folder.path / CHECKPOINT, {"recipe": text, "learned": learned, **rounds.state()})
                keep()
                reporter.say(_told(row, recipe.rounds, len(crops)))
    return rounds.model.eval()


def load_start(start: Path | str) -> tuple[Card, ReIDModel]:
    """Load what adapting begins with.

    Args:
        start: Run folder or card file of a model, or the name of one that ships.

    Raises:
        SemreidError: If it is untrained, embeds nothing, or cannot be read.
    """
    if is_untrained(start):
        raise SemreidError(
            f"{start} is untrained: what it takes for alike are no people, and it would learn from that",
            fix="begin with a model that ships (`semreid models`) or a run folder",
        )
    card, model = read_card(start), load_model(start)
    model.require_embedding()
    return card, model


def facts_of(crops: Crops, model: ReIDModel) -> dict[str, Any]:
    """Tell apart what a model learns from: the crops, the model to begin with, and all that is known of the crops."""
    facts = np.stack([crops.cameras, crops.tracks]).tobytes() + crops.times.tobytes()
    facts += b"".join(part.tobytes() for part in crops.said or ())
    digest, sketch = digest_and_sketch(crops.samples)
    return {
        "dataset": crops.name,
        "identities": 0,
        "images": len(crops),
        "corrupt_skipped": crops.corrupt_skipped,
        "sha256": digest,
        "sketch": sketch,
        "start": model.fingerprint,
        "seen": blake2b(facts, digest_size=16).hexdigest(),
    }


def _open_store(model: ReIDModel, crops: Crops, learning: list[str], reporter: Reporter) -> Store:
    """Decode the crops; where heads learn from body regions by losses of their own, the start tells them."""
    store = build_store(crops.samples, model.size, progress=reporter.decoding)
    cameras = np.unique(crops.cameras, return_inverse=True)[1].tolist()
    samples = tuple(replace(s, camid=camera) for s, camera in zip(crops.samples, cameras, strict=True))
    if not any("regions" in head.needs for name, head in model.named_heads() if name in learning):
        return replace(store, samples=samples)
    batches = store.images.split(64)
    regions = [model.parse_batch(batch.permute(0, 3, 1, 2)).argmax(1).to(torch.uint8).cpu() for batch in batches]
    return replace(store, samples=samples, regions=torch.cat(regions))


def _require_same(before: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    """Refuse to go on with other crops, or from another start, than a checkpoint began with."""
    require_same_data(before, now, checkpoint)
    for name, what in (
        ("start", "another model to begin with"),
        ("seen", "other cameras, tracks or times of the crops, or somebody has said more of them"),
        ("heads", "other heads that learn by losses of their own, which an earlier version chose"),
    ):
        if before.get(name) != now[name]:
            raise SemreidError(
                f"{checkpoint} had {what}",
                fix="resume with what the run began with, or adapt into another folder",
            )


def _card(
    card: Card, start: Path | str, crops: Crops, recipe: AdaptRecipe, learned: dict[str, Any], rounds: Rounds
) -> Card:
    last = rounds.history[-1]
    return Card(
        model={**card.model, "num_ids": last["groups"]},
        trained_on={
            **{name: value for name, value in learned.items() if name not in ("start", "seen", "heads")},
            "sketch": sorted({*learned["sketch"], *card.trained_on.get("sketch", [])}),
            "adapted": {"rounds": rounds.done, "groups": last["groups"], "grouped": last["grouped"]},
            "pretrained": str(start),
            "before": {"pretrained": card.origin()},
        },
        terms=joined_terms(crops.terms, card.terms),
        seed=recipe.seed,
    )


def _in_time(rounds: Rounds, minutes: float | None, spent: float, reporter: Reporter) -> bool:
    """Whether the next round would end in time; of the first, nothing is known."""
    if minutes is None or not rounds.history:
        return True
    longest = max(row["seconds"] for row in rounds.history[-3:])  # an hour ago, the machine may have been busy
    if spent + longest <= 60 * minutes:
        return True
    reporter.say(
        f"stopped after {rounds.done} of {rounds.recipe.rounds} rounds: another one takes {longest / 60:.1f} minutes "
        f"and would not end within the {minutes:g}; with --resume, more time goes on from here"
    )
    return False


def _told(row: dict[str, Any], rounds: int, crops: int) -> str:
    """Say what a round found, in words."""
    done = row["epoch"] + 1
    parts = [f"{round(row['grouped'] * crops):,} of {crops:,} crops in {row['groups']:,} groups"]
    if row["spanning"] is not None:
        parts.append(f"{row['spanning']:.0%} of these over several cameras")
        parts.append(f"neighbours from other cameras agree in {row['mutual']:.0%}")
    parts.append(f"silhouette {row['silhouette']:.2f}")
    if row["stability"] is not None:
        parts.append(f"like the round before {row['stability']:.2f} (1: the same groups)")
    left = (rounds - done) * row["seconds"] / 60
    return f"round {done}/{rounds}: {', '.join(parts)}; loss {row['total']:.3f}" + (
        f"; about {left:.0f} minutes left" if left else ""
    )


def _require_one_process() -> None:
    if distributed.world_size() > 1:
        raise SemreidError("adapting is for one process", fix="run it without torchrun")
