"""The main job in one command: take crops or make people, fill a gallery, search it, explain; train first if asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semreid.data.benchmarks import load_dataset
from semreid.data.doctor import Diagnosis, diagnose
from semreid.data.sample import ReIDDataset, Sample
from semreid.errors import SemreidError
from semreid.evaluation.protocol import Evaluation, evaluate_in_full
from semreid.explain.cli import write_explanation, write_report
from semreid.explain.explanation import explain
from semreid.files import write_json
from semreid.gallery import Gallery
from semreid.gallery.enroll import crops_of_data, enroll
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.models.shipped import DEFAULT
from semreid.parallel import Progress
from semreid.people.dataset import PeopleRecipe, synthesize
from semreid.training.loop import train
from semreid.training.recipe import parse_recipe

SETTINGS: dict[str, Any] = {
    "model": {"trunk": "resnet18", "width": 0.5, "weights": "scratch", "options": {"pool": "gem"}},
    "data": {"height": 128, "width": 64},
    "augment": {"pad": 6, "erase_area": [0.02, 0.3]},
    "optim": {"name": "adamw", "lr": 2e-3, "weight_decay": 0.05, "decay_norms": False},
    "schedule": {"epochs": 12, "warmup_epochs": 2, "decay": "cosine"},
}
"""A short version of the tiny baseline."""
PEOPLE = PeopleRecipe(identities=160, images_per_identity=6, height=128, width=64)
"""Who is made where no data are given: 40 of them to find. No model that ships learned them: their seed is another."""
LEARNED = PeopleRecipe(identities=480, images_per_identity=8, height=128, width=64)
"""Who is made where a model is to be trained first: 360 people to learn from, 120 to find."""
RULE = (
    "This query was chosen by a rule: of all {count:,} queries, ordered by how well each is answered (average "
    "precision), it is the one in the middle. Half of the searches are answered better, half worse."
)


def run_demo(data: str, out: Path, *, trained: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Do the main job on a data set.

    Args:
        data: ``NAME[/VARIANT]:PATH``; synthetic people are made if empty.
        out: Folder to make; gets ``people`` (where made), ``run`` (the model, where one is trained), ``report.json``
            and ``report.html``, ``gallery.parquet``, and ``search`` with the explained matches of a query.
        trained: Train a small model on the data first, instead of taking the one that ships.
        progress: Told how many people are made.

    Returns:
        The report.

    Raises:
        SemreidError: If the data cannot be evaluated honestly, no model ships with this installation, or ``out`` holds
            a demo already.
    """
    model = None if trained else load_model()
    if not data:
        data = f"people:{synthesize(LEARNED if trained else PEOPLE, out / 'people', progress=progress)}"
    dataset = load_dataset(data)
    diagnosis = diagnose(dataset)
    if not diagnosis.healthy:
        raise SemreidError(diagnosis.findings[0].what, fix=f"semreid doctor {data} lists all findings")
    model = model or _learn(dataset, diagnosis, out / "run")
    evaluation = evaluate_in_full(model, dataset)
    report = evaluation.report.to_json()
    write_json(out / "report.json", report)
    write_report(evaluation, str(out / "run") if trained else DEFAULT, html=out / "report.html")
    _search(model, data, evaluation, out)
    return report


def _learn(dataset: ReIDDataset, diagnosis: Diagnosis, run: Path) -> ReIDModel:
    identities = min(16, diagnosis.parts["train"].identities)
    return train(parse_recipe({**SETTINGS, "data": {**SETTINGS["data"], "identities": identities}}), dataset, run)


def middle_query(evaluation: Evaluation) -> tuple[Sample, int]:
    """Choose the query that `RULE` speaks of.

    Args:
        evaluation: What all queries were answered with.

    Returns:
        The query, and of how many it is the one in the middle: those that have a true match.
    """
    ap = np.zeros(len(evaluation.query)) if evaluation.ap is None else evaluation.ap
    ordered = np.argsort(ap, kind="stable")[: np.isfinite(ap).sum()]  # NaN, of queries without a match, come last
    return evaluation.query[ordered[len(ordered) // 2]], len(ordered)


def _search(model: ReIDModel, data: str, evaluation: Evaluation, out: Path) -> None:
    """Fill a gallery, and look in it for somebody."""
    chosen, count = middle_query(evaluation)
    distinct = list(dict.fromkeys((sample.path, sample.item) for sample in evaluation.query))
    known = crops_of_data(data, "query")[distinct.index((chosen.path, chosen.item))].entry
    with Gallery.open(out / "gallery.parquet", dim=model.dim, fingerprint=model.fingerprint) as gallery:
        enroll(gallery, model, crops_of_data(data, "gallery"))
        found = explain(model, known.path, gallery, pid=known.pid, camid=known.camid, other_cameras=True)
    write_explanation(replace(found, chosen=RULE.format(count=count)), out / "search")
