"""``semreid selftrain``: from crops that nobody has named to a model of these cameras, by all steps of docs/adapt.md.

A turn adapts a model to the crops, groups them by it, and trains from it on the groups as if somebody had named them.
The next turn begins with what was trained. Who the crops show is never read. Each step leaves its files, so a run that
was stopped goes on with the step that it was in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from semreid.console import progress, say
from semreid.data.crops import Crops
from semreid.data.sample import ReIDDataset
from semreid.data.store import samples_digest
from semreid.errors import SemreidError
from semreid.explain.people import people_page
from semreid.files import require_writable, write_json, write_text
from semreid.functional.grouping import Groups
from semreid.models.card import read_card
from semreid.models.loading import load_model
from semreid.reading import parse_json, read_bytes
from semreid.training.adapt import adapt, load_start
from semreid.training.loop import train
from semreid.training.recipe import BEST, AdaptRecipe, BatchContrastRecipe, Recipe, load_recipe
from semreid.training.record import CHECKPOINT
from semreid.verification.people import People, find_people, write_people

PLAN = "selftrain.json"


@dataclass(frozen=True)
class _Kept:
    """What stands in the file of a plan."""

    began: dict[str, Any]
    done: list[str]


_SHAPE = TypeAdapter(_Kept)


@dataclass(frozen=True)
class Turn:
    """How long a turn is.

    Attributes:
        rounds: Rounds of `adapt`.
        steps: Batches of each.
        epochs: Passes over what was found.
        seed: Decides everything random.
    """

    rounds: int = 5
    steps: int = AdaptRecipe.steps
    epochs: int = 12
    seed: int = 0


def self_train(crops: Crops, start: Path | str, out: Path, turn: Turn, *, turns: int = 2, resume: bool = False) -> Path:
    """Adapt, group and train, and all of it again from there.

    Args:
        crops: The crops; whom they show is not looked at.
        start: Run folder or card file of the model to begin with, or the name of one that ships.
        out: Folder for ``adapted1``, ``people1.csv`` and ``people1.html``, ``trained1`` and so on.
        turn: How long each turn is.
        turns: How often; two bring nearly all (docs/notes/adapting.md#adapt-group-train-and-all-again).
        resume: Go on with what is in the folder, also for more turns.

    Returns:
        The run folder of the last model.

    Raises:
        SemreidError: If the folder holds something else, the crops, the start or ``turn`` are others than it began
            with, or a step cannot be done; what earlier steps left stays.
    """
    facts = {"crops": samples_digest(crops.samples), "start": load_start(start)[1].fingerprint, **asdict(turn)}
    plan = _Plan.of(out, facts, resume=resume)
    model: Path | str = start
    for number in range(1, turns + 1):
        adapted, trained = out / f"adapted{number}", out / f"trained{number}"
        if adapted.name not in plan.done:
            say(f"turn {number} of {turns}: adapting {model}")
            recipe = AdaptRecipe(rounds=turn.rounds, steps=turn.steps, seed=turn.seed)
            adapt(recipe, crops, model, adapted, resume=(adapted / CHECKPOINT).exists())
            plan.note(adapted.name)
        if trained.name not in plan.done:
            say(f"turn {number} of {turns}: grouping by {adapted}")
            people = _found(crops, adapted, out, number)
            say(f"turn {number} of {turns}: {people.count:,} people; training on them")
            train(_recipe(people, adapted, turn), _named(people, out), trained, resume=(trained / CHECKPOINT).exists())
            plan.note(trained.name)
        model = trained
    return Path(model)


@dataclass
class _Plan:
    """What a run began with, and which of its steps are done."""

    file: Path
    facts: dict[str, Any]
    done: list[str]

    @classmethod
    def of(cls, out: Path, facts: dict[str, Any], *, resume: bool) -> _Plan:
        """Claim a folder, or see that it holds a run that began with the same."""
        file = out / PLAN
        if not resume:
            if out.is_dir() and any(out.iterdir()):
                way = "go on with it (--resume), or " if file.exists() else ""
                raise SemreidError(f"{out} is not empty", fix=f"{way}choose another folder for --out")
            require_writable(file)
            write_json(file, {"began": facts, "done": []})
        elif not file.exists():
            raise SemreidError(f"{out} holds no run of `semreid selftrain` to go on with", fix="leave --resume out")
        before = parse_json(read_bytes(file), _SHAPE, file)
        if other := [name for name in facts if before.began.get(name) != facts[name]]:
            raise SemreidError(
                f"{out} began with other {' and '.join(other)}",
                fix="give what it began with, or choose another folder for --out",
            )
        return cls(file, facts, before.done)

    def note(self, step: str) -> None:
        """Keep that a step is done."""
        self.done.append(step)
        write_json(self.file, {"began": self.facts, "done": self.done})


def _found(crops: Crops, adapted: Path, out: Path, number: int) -> People:
    """Tell who is who, and leave it as `semreid group` does."""
    with progress("decoding") as told:
        people = find_people(load_model(adapted), crops, progress=told)
    write_people(people, out / f"people{number}.csv")
    write_text(out / f"people{number}.html", people_page(people, str(adapted)))
    if people.count < 2:
        raise SemreidError(
            f"all crops that are alike at all were taken for one person: see {out / f'people{number}.html'}",
            fix="give crops of more people; nothing can be learned from one",
        )
    return people


def _recipe(people: People, adapted: Path, turn: Turn) -> Recipe:
    """The recipe that `train` takes where none is named, on the adapted trunk, with the contrast of docs/adapt.md.

    Pictures are as large as the recipe's, or as those of the adapted model if they are larger.
    """
    best, across, start = load_recipe(BEST), people.meet_cameras, read_card(adapted).model
    height, width = max(best.data.size, tuple(start["size"]))
    data = replace(
        best.data,
        height=height,
        width=width,
        identities=min(best.data.identities, people.count),
        meeting="camera" if across else "chance",
    )
    trunk = {name: start[name] for name in ("trunk", "width", "last_stride")}
    return replace(
        best,
        seed=turn.seed,
        model=replace(best.model, weights=str(adapted), **trunk),
        data=data,
        schedule=replace(best.schedule, epochs=turn.epochs),
        contrast=BatchContrastRecipe(weight=1, pairs="cameras" if across else "all"),
        losses={**best.losses, "fusion.diversity": {turn.epochs - 1: 0.01}},
    )


def _named(people: People, out: Path) -> ReIDDataset:
    """The crops of each group as those of a person."""
    crops, groups = people.crops, people.groups
    rows: Groups = np.flatnonzero(groups >= 0)
    named = (
        replace(crops.samples[row], pid=int(groups[row]) + 1, camid=max(int(crops.cameras[row]), 0))
        for row in rows.tolist()
    )
    return ReIDDataset(f"{crops.name}, people found by a machine", out, tuple(named), (), (), terms=crops.terms)
