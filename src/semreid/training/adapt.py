"""Adapting a model to crops that nobody has labelled: group them, learn from the groups, and again.

A round embeds all crops with the averaged weights, takes what a camera adds out of the embeddings, groups crops that
share their neighbourhoods (`semreid.functional.grouping`), and trains a few hundred steps on the groups as if they were
people: the heads by their own losses, their classifiers beginning with the mean features of the groups; the joined
embedding by contrast with a proxy of each group, and of each group under each camera (`semreid.functional.proxies`).
Crops of no group are left out until a later round.

Who the crops show is never read. The state after a round, and the start, decide all that follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semreid import distributed
from semreid.data.batch import Batch
from semreid.data.crops import Crops
from semreid.data.sampler import Indices, pk_batches
from semreid.data.store import Store, build_store, content_sketch, samples_digest
from semreid.errors import SemreidError
from semreid.evaluation.protocol import embed_store
from semreid.functional.grouping import GroupingSigns, Groups, group_features, grouping_signs, stability
from semreid.functional.proxies import camera_contrast, group_proxies, moved_proxies, proxy_contrast
from semreid.models.card import Card, is_untrained, read_card, save_model
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.models.shipped import is_shipped
from semreid.reading import reading
from semreid.training.checkpoint import load_checkpoint, save_checkpoint
from semreid.training.provenance import require_same_data
from semreid.training.recipe import AdaptRecipe, DataRecipe, Recipe, ScheduleRecipe, dump_recipe, load_recipe
from semreid.training.record import CHECKPOINT, RECIPE, Reporter, RunFolder
from semreid.training.schedule import loss_weights
from semreid.training.trainer import Trainer, on_device

ADAPT = "adapt.yaml"
MOST_PASSES = 10**6
Clock = Callable[[], float]


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
    _require_one_process()
    folder = RunFolder(out, resume=resume, recipe=ADAPT)
    card, model = _start(start)
    resting = [name for name, head in model.named_heads() if {"textures", "attributes"} & set(head.needs)]
    recipe = replace(recipe, losses=_weights_of(start, resting) | recipe.losses)
    text = dump_recipe(recipe)
    state = load_checkpoint(folder.path / CHECKPOINT, text, AdaptRecipe) if resume else None
    learned = _learned_from(crops, model)
    device = torch.device(device) if device else distributed.local_device()
    with Reporter(recipe.rounds, unit="round") as reporter:
        store = _open_store(model.to(device), crops, reporter)
        rounds = _Rounds(recipe, card, model, crops, on_device(store, device), device, resting)
        if state is not None:
            with reading(folder.path / CHECKPOINT):
                _require_same(state["learned"], learned, folder.path / CHECKPOINT)
                rounds.restore(state)
            reporter.say(f"resumed after round {rounds.done}")
        with folder.claimed():
            while rounds.done < recipe.rounds and _in_time(rounds, minutes, clock() - began, reporter):
                row = rounds.next(reporter, clock)
                save_checkpoint(folder.path / CHECKPOINT, {"recipe": text, "learned": learned, **rounds.state()})
                folder.record(text, rounds.history)
                save_model(folder.path, rounds.model, _card(card, start, crops, recipe, learned, rounds))
                reporter.say(_told(row, recipe.rounds, len(crops)))
    return rounds.model.eval()


@dataclass
class _Rounds:
    """What changes from round to round.

    Attributes:
        model: The averaged weights of the last round, or the start.
        groups: Group of each crop in the last round; None before the first.
        history: A row of metrics for each round.
    """

    recipe: AdaptRecipe
    card: Card
    model: ReIDModel
    crops: Crops
    store: Store
    device: torch.device
    resting: list[str]

    def __post_init__(self) -> None:
        self.groups: Groups | None = None
        self.history: list[dict[str, Any]] = []

    @property
    def done(self) -> int:
        """Number of rounds that are done."""
        return len(self.history)

    def next(self, reporter: Reporter, clock: Clock) -> dict[str, Any]:
        """Group the crops and learn from the groups; return the metrics of the round."""
        began, crops = clock(), self.crops
        reporter.bar.update(reporter.task, note="embedding and grouping")
        features = embed_store(self.model, self.store)
        graph, groups = group_features(features, crops.cameras, crops.tracks, crops.times, **vars(self.recipe.groups))
        signs = grouping_signs(graph, groups, crops.cameras)
        _require_groups(signs, self)
        steady = None if self.groups is None else stability(self.groups, groups)
        losses = self._learn(torch.from_numpy(features), groups, signs.groups, reporter)
        self.groups = groups
        row = {"epoch": self.done, **signs._asdict(), "stability": steady, **losses, "seconds": clock() - began}
        self.history.append(row)
        return row

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        assert self.groups is not None
        return {"model": self.model.state_dict(), "groups": torch.from_numpy(self.groups), "history": self.history}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.groups, self.history = state["groups"].numpy(), state["history"]
        self.model = _build(self.card, int(self.groups.max()) + 1)
        self.model.load_state_dict(state["model"])
        self.model.to(self.device)

    def _learn(self, features: Tensor, groups: Groups, num_groups: int, reporter: Reporter) -> dict[str, float]:
        torch.manual_seed(hash((self.recipe.seed, self.done)) % 2**63)  # for classifiers that begin at random
        model = _with_classifiers(self.card, self.model, group_means(features, groups, num_groups))
        cameras = self.store.camids if self.crops.several_cameras else None
        contrast = _Contrast(self.recipe, model, features, groups, cameras, self.resting)
        learner = _Learner(self.recipe, contrast, self.store, groups, self.device, self.done)
        losses = learner.train_epoch(reporter)
        self.model = learner.judged
        return losses


class _Contrast(nn.Module):
    """The losses of a batch: those of the heads, and the contrast of the joined embedding with proxies of the groups.

    The proxies move with the batches that pass.
    """

    def __init__(
        self,
        recipe: AdaptRecipe,
        model: ReIDModel,
        features: Tensor,
        groups: Groups,
        cameras: Indices | None,
        resting: list[str],
    ) -> None:
        super().__init__()
        self.recipe, self.model, self.resting = recipe.contrast, model, resting
        self.proxies = group_proxies(features, torch.from_numpy(groups), int(groups.max()) + 1)
        self.cells: Tensor | None = None
        if cameras is not None and self.recipe.cameras:
            seen, cell = np.unique(np.stack([groups, cameras]), axis=1, return_inverse=True)
            numbers = torch.from_numpy(np.where(groups < 0, -1, cell.ravel()))
            self.cells = torch.from_numpy(seen)  # group and camera of each proxy; those of no group are zeros
            self.cell_proxies = group_proxies(features, numbers, seen.shape[1])

    def to_device(self, device: torch.device) -> None:
        """Move the proxies beside the model."""
        self.proxies = self.proxies.to(device)
        if self.cells is not None:
            self.cells, self.cell_proxies = self.cells.to(device), self.cell_proxies.to(device)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses by name, and move the proxies."""
        wanted, groups = self.recipe, batch.pids
        losses, joined = self.model.losses_and_embedding(batch, self.resting)
        if wanted.weight:
            losses["contrast.groups"] = proxy_contrast(joined, groups, self.proxies, wanted.temperature)
        self.proxies = moved_proxies(self.proxies, joined, groups, wanted.momentum)
        if self.cells is not None:
            owners, cameras = self.cells
            losses["contrast.cameras"] = camera_contrast(
                joined, groups, self.cell_proxies, owners, wanted.camera_temperature
            )
            own = (groups[:, None] == owners) & (batch.camids[:, None] == cameras)
            self.cell_proxies = moved_proxies(self.cell_proxies, joined, own.int().argmax(1), wanted.momentum)
        return losses


class _Learner(Trainer):
    """A trainer for one round, whose batches are of groups."""

    def __init__(
        self, recipe: AdaptRecipe, contrast: _Contrast, store: Store, groups: Groups, device: torch.device, number: int
    ) -> None:
        self.steps = recipe.steps
        super().__init__(_as_training(recipe, contrast, groups), contrast.model, store, device, epoch=number)
        contrast.to_device(device)
        self.labels, self.network = groups, contrast

    def batches(self) -> list[Indices]:
        """Draw the batches of the round: passes over all crops in groups, until there are enough."""
        data, rows = self.recipe.data, np.flatnonzero(self.labels >= 0)
        passes = (self.epoch * MOST_PASSES + number for number in count())
        drawn: Iterator[Indices] = (
            rows[batch]
            for number in passes
            for batch in pk_batches(
                self.labels[rows], data.identities, data.instances, seed=self.recipe.seed, epoch=number
            )
        )
        return list(islice(drawn, self.steps))


def group_means(features: Tensor, groups: Groups, num_groups: int) -> Tensor:
    """Compute the mean embedding of each group.

    Args:
        features: Embeddings (N, D).
        groups: Group of each, (N,); -1 for none.
        num_groups: Number of groups G.

    Returns:
        Means (G, D).

    Example:
        >>> group_means(torch.tensor([[1.0], [3.0], [9.0]]), np.array([0, 0, -1]), 1)
        tensor([[2.]])
    """
    members = torch.from_numpy(np.flatnonzero(groups >= 0))
    owner = torch.from_numpy(groups)[members]
    sums = features.new_zeros(num_groups, features.shape[1]).index_add_(0, owner, features[members])
    return sums / owner.bincount(minlength=num_groups)[:, None]


def _build(card: Card, num_ids: int) -> ReIDModel:
    return replace(card, model={**card.model, "num_ids": num_ids}).build()


def _with_classifiers(card: Card, model: ReIDModel, means: Tensor) -> ReIDModel:
    """Take over all that is not of single people; classifiers begin with the means, or at random."""
    fresh, old = _build(card, len(means)), model.state_dict()
    with torch.device("meta"):
        other = _build(card, len(means) + 1).state_dict()
    shared = [name for name, tensor in fresh.state_dict().items() if tensor.shape == other[name].shape]
    fresh.load_state_dict({name: old[name] for name in shared}, strict=False)
    heads = [head for _, head in fresh.named_heads() if head.dim]
    for head, part in zip(heads, means.split([head.dim for head in heads], 1), strict=True):
        head.imprint(part)
    return fresh


def _as_training(recipe: AdaptRecipe, contrast: _Contrast, groups: Groups) -> Recipe:
    height, width = contrast.model.size
    weights = {"contrast.groups": recipe.contrast.weight} if recipe.contrast.weight else {}
    weights |= {"contrast.cameras": recipe.contrast.cameras} if contrast.cells is not None else {}
    people = min(recipe.identities, int(groups.max()) + 1)
    return Recipe(
        seed=recipe.seed,
        precision=recipe.precision,
        data=DataRecipe(height=height, width=width, identities=people, instances=recipe.instances),
        augment=recipe.augment,
        optim=recipe.optim,
        schedule=ScheduleRecipe(epochs=recipe.rounds, warmup_epochs=0, decay="constant"),
        losses={**weights, **recipe.losses},
    )


def _start(start: Path | str) -> tuple[Card, ReIDModel]:
    if is_untrained(start):
        raise SemreidError(
            f"{start} is untrained: what it takes for alike are no people, and it would learn from that",
            fix="begin with a model that ships (`semreid models`) or a run folder",
        )
    card, model = read_card(start), load_model(start)
    model.require_embedding()
    return card, model


def _weights_of(start: Path | str, resting: list[str]) -> dict[str, Any]:
    """What the losses of the heads weighed at the end of the run that is adapted, if that is known."""
    home = Path(start) if Path(start).is_dir() else Path(start).parent
    if (home / ADAPT).is_file():
        weights: dict[str, Any] = load_recipe(home / ADAPT, (), AdaptRecipe).losses
    elif (home / RECIPE).is_file() and not is_shipped(start):
        run = load_recipe(home / RECIPE)
        weights = dict(loss_weights(run.losses, run.schedule.epochs))
    else:
        return {}
    return {name: weight for name, weight in weights.items() if name.partition(".")[0] not in resting}


def _open_store(model: ReIDModel, crops: Crops, reporter: Reporter) -> Store:
    """Decode the crops; where heads learn from body regions, the start tells them."""
    store = build_store(crops.samples, model.size, progress=reporter.decoding)
    cameras = np.unique(crops.cameras, return_inverse=True)[1].tolist()
    samples = tuple(replace(s, camid=camera) for s, camera in zip(crops.samples, cameras, strict=True))
    if "regions" not in model.needs:
        return replace(store, samples=samples)
    batches = store.images.split(64)
    regions = [model.parse_batch(batch.permute(0, 3, 1, 2)).argmax(1).to(torch.uint8).cpu() for batch in batches]
    return replace(store, samples=samples, regions=torch.cat(regions))


def _learned_from(crops: Crops, model: ReIDModel) -> dict[str, Any]:
    facts = np.stack([crops.cameras, crops.tracks]).tobytes() + crops.times.tobytes()
    return {
        "dataset": crops.name,
        "identities": 0,
        "images": len(crops),
        "corrupt_skipped": crops.corrupt_skipped,
        "sha256": samples_digest(crops.samples),
        "sketch": content_sketch(crops.samples),
        "start": model.fingerprint,
        "seen": blake2b(facts, digest_size=16).hexdigest(),
    }


def _require_same(before: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    """Refuse to go on with other crops, or from another start, than a checkpoint began with."""
    require_same_data(before, now, checkpoint)
    for name, what in (
        ("start", "another model to begin with"),
        ("seen", "other cameras, tracks or times of the crops"),
    ):
        if before[name] != now[name]:
            raise SemreidError(
                f"{checkpoint} had {what}",
                fix="resume with what the run began with, or adapt into another folder",
            )


def _card(
    card: Card, start: Path | str, crops: Crops, recipe: AdaptRecipe, learned: dict[str, Any], rounds: _Rounds
) -> Card:
    last = rounds.history[-1]
    return Card(
        model={**card.model, "num_ids": last["groups"]},
        trained_on={
            **{name: value for name, value in learned.items() if name not in ("start", "seen")},
            "sketch": sorted({*learned["sketch"], *card.trained_on.get("sketch", [])}),
            "adapted": {"rounds": rounds.done, "groups": last["groups"], "grouped": last["grouped"]},
            "pretrained": str(start),
            "before": {"pretrained": card.origin()},
        },
        terms="; ".join(dict.fromkeys([crops.terms, card.terms])),
        seed=recipe.seed,
    )


def _in_time(rounds: _Rounds, minutes: float | None, spent: float, reporter: Reporter) -> bool:
    """Whether the next round would end in time; of the first, nothing is known."""
    if minutes is None or not rounds.history:
        return True
    longest = max(row["seconds"] for row in rounds.history)
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


def _require_groups(signs: GroupingSigns, rounds: _Rounds) -> None:
    if signs.groups > 1:
        return
    wanted = rounds.recipe.groups
    kept = f"; what was learned in {rounds.done} rounds stays as it is" if rounds.done else ""
    if not signs.groups:
        raise SemreidError(
            f"round {rounds.done + 1}: no {wanted.min_samples} of the {len(rounds.crops):,} crops are alike enough to "
            f"be taken for one person{kept}",
            fix="allow larger distances (groups.eps=0.6) or smaller groups (groups.min_samples=2), or give more crops "
            "of each person",
        )
    raise SemreidError(
        f"round {rounds.done + 1}: all crops that are alike at all fall into one group: they show one person, are "
        f"copies of each other, or the distances allowed are too large{kept}",
        fix="look at the crops; demand smaller distances (groups.eps=0.4); nothing can be learned from one person",
    )
