"""A round of adapting: group the crops, and learn from the groups as if they were people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semreid.data.crops import Crops
from semreid.data.sampler import Indices, pk_batches
from semreid.data.store import Store
from semreid.errors import SemreidError
from semreid.evaluation.protocol import embed_store
from semreid.functional.grouping import FIRST_LOOK, GroupingSigns, Groups, group_features, stability
from semreid.functional.proxies import group_proxies
from semreid.models.card import Card
from semreid.models.model import ReIDModel
from semreid.training.contrast import GroupContrast, learning_heads
from semreid.training.recipe import AdaptRecipe, DataRecipe, Recipe, ScheduleRecipe
from semreid.training.record import Reporter
from semreid.training.trainer import Trainer

MOST_PASSES = 10**6
Clock = Callable[[], float]


@dataclass
class Rounds:
    """What changes from round to round.

    Attributes:
        recipe: The recipe.
        card: Card of the start.
        model: The averaged weights of the last round, or the start.
        crops: The crops.
        store: Their images.
        device: Where to train.
        groups: Group of each crop in the last round; None before the first.
        history: A row of metrics for each round.
    """

    recipe: AdaptRecipe
    card: Card
    model: ReIDModel
    crops: Crops
    store: Store
    device: torch.device

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
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            features = embed_store(self.model, self.store)
        facts = crops.cameras, crops.tracks, crops.times
        # No more than the first look: groups that swallowed others would ask more neighbours, and swallow more.
        settings = vars(self.recipe.groups)
        found = group_features(features, *facts, said=crops.said, largest=FIRST_LOOK, **settings)
        groups, signs = found.groups, found.signs(crops.cameras)
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
        self.model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as it learned

    def _learn(self, features: Tensor, groups: Groups, num_groups: int, reporter: Reporter) -> dict[str, float]:
        torch.manual_seed(hash((self.recipe.seed, self.done)) % 2**63)  # for classifiers that begin at random
        model = _with_classifiers(self.card, self.model, group_proxies(features, torch.from_numpy(groups), num_groups))
        cameras = self.store.camids if self.crops.several_cameras else None
        learning = learning_heads(model, self.recipe.losses)
        contrast = GroupContrast(self.recipe.contrast, model, features, groups, cameras, learning)
        learner = _GroupTrainer(self.recipe, contrast, self.store, groups, self.device, self.done)
        losses = learner.train_epoch(reporter)
        self.model = learner.judged
        return losses


class _GroupTrainer(Trainer):
    """A trainer for one round, whose batches are of groups."""

    def __init__(
        self,
        recipe: AdaptRecipe,
        contrast: GroupContrast,
        store: Store,
        groups: Groups,
        device: torch.device,
        number: int,
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


def _build(card: Card, num_ids: int) -> ReIDModel:
    return replace(card, model={**card.model, "num_ids": num_ids}).build()


def _with_classifiers(card: Card, model: ReIDModel, means: Tensor) -> ReIDModel:
    """Take over all that is not of single people; classifiers begin with the means, or at random."""
    fresh, old = _build(card, len(means)), model.state_dict()
    with torch.device("meta"):
        other = _build(card, len(means) + 1).state_dict()
    shared = [name for name, tensor in fresh.state_dict().items() if tensor.shape == other[name].shape]
    fresh.load_state_dict({name: old[name] for name in shared}, strict=False)
    fresh.imprint(means)
    return fresh


def _as_training(recipe: AdaptRecipe, contrast: GroupContrast, groups: Groups) -> Recipe:
    height, width = contrast.model.size
    people = min(recipe.identities, int(groups.max()) + 1)
    return Recipe(
        seed=recipe.seed,
        precision=recipe.precision,
        data=DataRecipe(height=height, width=width, identities=people, instances=recipe.instances),
        augment=recipe.augment,
        optim=recipe.optim,
        schedule=ScheduleRecipe(epochs=recipe.rounds, warmup_epochs=0, decay="constant"),
        losses={**contrast.weights, **recipe.losses},
    )


def _require_groups(signs: GroupingSigns, rounds: Rounds) -> None:
    if signs.groups > 1:
        return
    wanted = rounds.recipe.groups
    kept = f"; what was learned in {rounds.done} rounds stays as it is" if rounds.done else ""
    if not signs.groups:
        raise SemreidError(
            f"round {rounds.done + 1}: no {wanted.min_samples} of the {len(rounds.crops):,} crops are alike enough to "
            f"be taken for one person{kept}",
            fix="give more crops of each person; or, with `semreid adapt`, allow larger distances (groups.cut=0.9) or "
            "smaller groups (groups.min_samples=2)",
        )
    raise SemreidError(
        f"round {rounds.done + 1}: all crops that are alike at all fall into one group: they show one person, are "
        f"copies of each other, or the distances allowed are too large{kept}",
        fix="look at the crops, for nothing can be learned from one person; or demand smaller distances, with "
        "`semreid adapt` (groups.cut=0.6)",
    )
