"""Studies: rows of recipes that are trained, judged and compared; what the scripts about them share."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from semreid import distributed, load_dataset, load_model
from semreid.evaluation.protocol import Evaluation, evaluate
from semreid.files import write_json
from semreid.functional import rank_features
from semreid.functional.ranking import Junk, Ranking
from semreid.people.dataset import work_alone
from semreid.training.loop import train
from semreid.training.recipe import LossWeight, Recipe, load_recipe
from semreid.training.record import CHECKPOINT

ROOT = Path(__file__).parents[1]
WEIGHTS = "model.safetensors"
Sides = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Features of query and gallery."""
Study = Mapping[str, list[str]]
"""Recipe and overrides by the name of the row."""
QUICK: Study = {
    "baseline": ["recipes/tiny/baseline.yaml"],
    "average pooling": ["recipes/tiny/baseline.yaml", "model.options={}"],
}
QUICK_OVERRIDES = ["data.height=32", "data.width=16", "model.width=0.1", "data.identities=4", "schedule.epochs=2"]


class Task(NamedTuple):
    """A row to be trained on something with a seed.

    Attributes:
        row: Its name in the study.
        recipe: Recipe file and overrides.
        seed: The seed.
        data: NAME:PATH of what it learns from, and then
        annotations: the folder of its masks and textures, if it is another.
        table: Where the row belongs.
        folder: The run.
        stretch: Epochs, as a multiple of those of the recipe.
    """

    row: str
    recipe: list[str]
    seed: int
    data: str
    annotations: Path | None
    table: str
    folder: Path
    stretch: float = 1.0

    @property
    def record(self) -> Path:
        """What is kept of it: answers, epochs and seconds."""
        return self.folder.with_name(f"{self.folder.name}.json")

    def settings(self) -> Recipe:
        """The recipe, read."""
        return stretched(recipe_of(self.recipe, [f"seed={self.seed}"]), self.stretch)


class Answers(NamedTuple):
    """What models of several seeds answer to the queries that have a true match.

    Attributes:
        ap: Average precision of each, (S, Q).
        first: Whether the first match is right, (S, Q).
        pids: Who is asked for, (Q,).
    """

    ap: NDArray[np.float64]
    first: NDArray[np.float64]
    pids: NDArray[np.int64]


def read_study(file: Path) -> Study:
    """Read a study: a YAML file of rows."""
    study: Study = yaml.safe_load(file.read_text(encoding="utf-8"))
    return study


def slug(text: str) -> str:
    """The letters and digits of a name, for files."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def recipe_of(row: list[str], overrides: Iterable[str] = ()) -> Recipe:
    """Read the recipe of a row, with what $NAME stands for from the environment."""
    recipe, *own = row
    return load_recipe(ROOT / recipe, [*(fill_in(override) for override in own), *overrides])


def fill_in(override: str) -> str:
    """Put in what $NAME stands for, from the environment."""
    try:
        return Template(override).substitute(os.environ)
    except KeyError as error:
        raise SystemExit(f"{override}: set {error.args[0]} in the environment") from error


def stretched(recipe: Recipe, factor: float) -> Recipe:
    """The same course in more or fewer epochs; only the warm-up stays as long as it is."""

    def moved(weight: LossWeight) -> LossWeight:
        return {round(factor * epoch): w for epoch, w in weight.items()} if isinstance(weight, dict) else weight

    plan = recipe.schedule
    milestones = tuple(round(factor * epoch) for epoch in plan.milestones)
    plan = replace(plan, epochs=max(1, round(factor * plan.epochs)), milestones=milestones)
    return replace(recipe, schedule=plan, losses={name: moved(weight) for name, weight in recipe.losses.items()})


def work_on(tasks: list[Task], tests: list[str], *, flip: bool, processes: int) -> None:
    """Train and judge what is not done yet, in so many processes of one thread each, or in this one."""
    todo = [task for task in {task.folder: task for task in tasks}.values() if missing(task, tests, flip)]
    for number, task in enumerate(_each_done(todo, tests, flip, processes), 1):
        print(f"{number} of {len(todo)} done: {task.folder}", flush=True)


def _each_done(todo: list[Task], tests: list[str], flip: bool, processes: int) -> Iterator[Task]:
    if processes == 1:
        yield from (do(task, tests, flip) for task in todo)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        pending = [pool.submit(do, task, tests, flip) for task in todo]
        try:
            yield from (future.result() for future in as_completed(pending))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one_thread() -> None:
    work_alone()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a training that is stopped goes on from its checkpoint


def do(task: Task, tests: list[str], flip: bool) -> Task:
    """Train and judge a row, as far as that is not done."""
    kept = read_record(task)
    if not (task.folder / WEIGHTS).exists():
        kept = learn(task)
    answers = kept.setdefault("answers", {})
    for test in missing(task, tests, flip):
        answers[key(test, flip)] = judge(task.folder, test, flip)
        write_json(task.record, kept)
    return task


def learn(task: Task) -> dict[str, Any]:
    """Train, from the checkpoint if there is one; return what is to be kept of it."""
    settings, resume = task.settings(), (task.folder / CHECKPOINT).exists()
    began = time.perf_counter(), time.process_time()
    train(settings, load_dataset(task.data), task.folder, annotations=task.annotations, resume=resume)
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    (task.folder / CHECKPOINT).unlink()  # as large as three models
    plan = {"row": task.row, "seed": task.seed, "data": task.data, "epochs": settings.schedule.epochs}
    return plan if resume else plan | dict(zip(("seconds", "processor_seconds"), seconds, strict=True))


def read_record(task: Task) -> dict[str, Any]:
    """What is kept of a run so far."""
    kept: dict[str, Any] = json.loads(task.record.read_text(encoding="utf-8")) if task.record.exists() else {}
    return kept


def missing(task: Task, tests: list[str], flip: bool) -> list[str]:
    """On what it was not judged yet."""
    known = read_record(task).get("answers", {})
    return [test for test in tests if key(test, flip) not in known]


def key(test: str, flip: bool) -> str:
    """Name of the answers to a test."""
    return f"{test} --flip" if flip else test


def judge(folder: Path, test: str, flip: bool) -> dict[str, list[float]]:
    """Average precision and first answer of every query that has a true match, and its person."""
    dataset, model = load_dataset(test), load_model(folder).to(distributed.local_device())
    judged = evaluate(model, dataset, flip=flip)
    ranking = ranked(judged, (judged.query_features, judged.gallery_features), dataset.protocol.junk)
    pids = np.array([sample.pid for sample in judged.query])
    columns = {"ap": ranking.ap, "first": (ranking.first_rank == 1) * 1.0, "pids": pids}
    return {name: column[ranking.valid].tolist() for name, column in columns.items()}


def ranked(judged: Evaluation, sides: Sides, junk: Junk) -> Ranking:
    """Rank the images that were judged by features, such as those of some heads alone."""
    ids = [np.array([getattr(s, i) for s in x]) for i in ("pid", "camid") for x in (judged.query, judged.gallery)]
    return rank_features(*sides, *ids, junk=junk)


def answers_of(tasks: Iterable[Task], test: str, flip: bool) -> dict[int, dict[str, list[float]]]:
    """The answers of those runs of a row that are done, by seed."""
    records = ((task.seed, read_record(task).get("answers", {})) for task in tasks)
    return {seed: answers[key(test, flip)] for seed, answers in records if key(test, flip) in answers}


def gathered(found: Mapping[int, dict[str, list[float]]], seeds: Iterable[int]) -> Answers:
    """The answers of some seeds, together."""
    runs = [found[seed] for seed in seeds]
    ap, first = (np.array([run[name] for run in runs]) for name in ("ap", "first"))
    return Answers(ap, first, np.array(runs[0]["pids"]))
