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
from semreid.errors import SemreidError
from semreid.explain.people import people_page
from semreid.files import exclusive, is_temporary, write_json, write_text
from semreid.functional.grouping import Groups
from semreid.models.card import CARD, read_card
from semreid.models.loading import load_model
from semreid.reading import read_json, reading
from semreid.training.adapt import adapt, facts_of, load_start
from semreid.training.loop import train
from semreid.training.recipe import BEST, AdaptRecipe, Recipe, load_recipe
from semreid.training.record import CHECKPOINT, RECIPE, run_files
from semreid.verification.people import People, find_people, write_people

PLAN = "selftrain.json"


@dataclass(frozen=True)
class _Plan:
    """What a run began with, and which of its steps are done: what its file holds."""

    began: dict[str, Any]
    done: list[str]


_SHAPE = TypeAdapter(_Plan)
_NAMES = {"seen": "cameras, tracks or times of the crops, or words of people on them,"}
"""What facts are called where the key does not tell."""


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
    facts = {**_begun_with(crops, start), **asdict(turn)}
    with exclusive(out / PLAN, patience=1):
        done = [name for name in _done(out, facts, resume=resume) if (out / name / CARD).exists()]
        write_json(out / PLAN, asdict(_Plan(facts, done)))
        steps = [out / f"{what}{number}" for number in range(1, turns + 1) for what in ("adapted", "trained")]
        whole = [row for row, step in enumerate(steps) if step.name in done]
        for row in range(max(whole, default=-1) + 1, len(steps)):  # what came before one that is there is not needed
            step, before = steps[row], steps[row - 1] if row else start
            say(f"turn {row // 2 + 1} of {turns}: {step.name}, from {before}")
            _require_way_on(step)
            if row % 2 == 0:
                recipe = AdaptRecipe(rounds=turn.rounds, steps=turn.steps, seed=turn.seed)
                adapt(recipe, crops, before, step, resume=(step / CHECKPOINT).exists())
            else:
                _train(crops, Path(before), step, row // 2 + 1, turn)
            done.append(step.name)
            write_json(out / PLAN, asdict(_Plan(facts, done)))
    return steps[-1]


def _begun_with(crops: Crops, start: Path | str) -> dict[str, str]:
    """What decides what comes of it, beside the turns."""
    facts = facts_of(crops, load_start(start)[1])
    return {"crops": facts["sha256"], "start": facts["start"], "seen": facts["seen"]}


def _require_way_on(step: Path) -> None:
    if run_files(step) and not (step / CHECKPOINT).exists():
        raise SemreidError(
            f"{step} is not known to be done, and has no {CHECKPOINT} to go on from",
            fix=f"remove {step} and give the same command again: it does this step anew",
        )


def _done(out: Path, facts: dict[str, Any], *, resume: bool) -> list[str]:
    """Which steps of the run in a folder are done; anything but one that began with the same is refused."""
    file = out / PLAN
    if not any(each.is_file() and not (each == file or is_temporary(each)) for each in out.rglob("*")):
        if resume and not file.exists():
            raise SemreidError(f"{out} holds no run of `semreid selftrain` to go on with", fix="leave --resume out")
        return []  # also where nothing came of what was tried before
    if not file.exists():
        kept = f" and no {PLAN}, without which no run goes on" if resume else ""
        raise SemreidError(f"{out} holds other files{kept}", fix="choose another folder for --out")
    if not resume:
        raise SemreidError(f"{out} holds a run", fix="go on with it (--resume), or choose another folder for --out")
    anew = "choose another folder for --out; the last model in this one can be the start there (--from)"
    with reading(file, anew):
        before = read_json(file, _SHAPE, anew)
        changed = [_NAMES.get(name, name) for name in facts if before.began[name] != facts[name]]
    if changed:
        raise SemreidError(
            f"{out} began with other {' and '.join(changed)}",
            fix=f"give what it began with, or {anew}",
        )
    return before.done


def _train(crops: Crops, adapted: Path, out: Path, number: int, turn: Turn) -> None:
    """Tell who is who, and learn it."""
    people = _found(crops, adapted, out.parent, number)
    say(f"{people.count:,} people; training on them")
    begun = out / RECIPE  # which names the folder as it was called then
    recipe = load_recipe(begun) if begun.exists() else _recipe(people, adapted, turn)
    train(recipe, _named(people, out.parent), out, resume=(out / CHECKPOINT).exists())


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
    """The recipe that `train` takes where none is named, on the adapted trunk.

    Pictures are as large as the recipe's, or as those of the adapted model if they are larger.
    """
    best, start = load_recipe(BEST), read_card(adapted).model
    height, width = max(best.data.size, tuple(start["size"]))
    data = replace(
        best.data,
        height=height,
        width=width,
        identities=min(best.data.identities, people.count),
    )
    trunk = {name: start[name] for name in ("trunk", "width", "last_stride")}
    return replace(
        best,
        seed=turn.seed,
        model=replace(best.model, weights=str(adapted), **trunk),
        data=data,
        schedule=replace(best.schedule, epochs=turn.epochs),
        losses={**best.losses, "fusion.diversity": {turn.epochs - 1: 0.01}},
    )


def _named(people: People, out: Path) -> ReIDDataset:
    """The crops of each group as those of a person."""
    crops, groups = people.crops, people.groups
    known = (crops.cameras >= 0).all()  # half-known cameras are worse than none
    cameras = crops.cameras if known else np.zeros_like(crops.cameras)
    rows: Groups = np.flatnonzero(groups >= 0)
    named = (replace(crops.samples[row], pid=int(groups[row]) + 1, camid=int(cameras[row])) for row in rows.tolist())
    name, root = f"{crops.name}, people found by a machine", crops.root or out
    return ReIDDataset(name, root, tuple(named), (), (), terms=crops.terms)
