"""The main job in one command: take crops or make people, fill a gallery, search it, explain; train first if asked."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from semreid.console import command
from semreid.data.benchmarks import load_dataset
from semreid.data.doctor import Diagnosis, diagnose
from semreid.data.sample import ReIDDataset, Sample
from semreid.data.store import samples_digest
from semreid.errors import SemreidError
from semreid.evaluation.protocol import Evaluation, evaluate
from semreid.explain.cli import write_explanation
from semreid.explain.explanation import explain
from semreid.explain.page import evaluation_page
from semreid.files import require_outside, user_path, write_json, write_text
from semreid.gallery import Gallery
from semreid.gallery.enroll import crops_of_data, enroll
from semreid.models.card import CARD
from semreid.models.loading import load_model, told_untrained
from semreid.models.model import ReIDModel
from semreid.models.shipped import DEFAULT
from semreid.parallel import Progress
from semreid.people.dataset import PeopleRecipe, is_made, synthesize
from semreid.reading import Object, read_json
from semreid.training.loop import train
from semreid.training.recipe import parse_recipe
from semreid.training.record import CHECKPOINT

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
NOTE = "demo.json"
"""The file of a demo that notes what it shows."""
RULE = (
    "This query was chosen by a rule: of all {count:,} queries, ordered by how well each is answered (average "
    "precision), it is the one in the middle. Half of the searches are answered better, half worse."
)


def run_demo(
    data: str, out: Path, *, model: str = DEFAULT, trained: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Do the main job on a data set. Done again, it goes on with what it made before.

    Args:
        data: ``NAME[/VARIANT]:PATH``; synthetic people are made if empty.
        out: Folder to make; gets ``people`` (where made), ``demo.json`` (what is shown), ``run`` (the model, where one
            is trained), ``report.json`` and ``report.html``, ``gallery.parquet``, and ``search`` with the explained
            matches of a query.
        model: Name of a model that ships, or run folder.
        trained: Train a small model on the data first, instead of taking that one.
        progress: Told how many people are made.

    Raises:
        SemreidError: If the data cannot be evaluated honestly, there is no such model, or ``out`` holds something else,
            the demo of other data, of these before they changed, or of another model, or lies among the data.
    """
    _require_own(out, data)
    name = str(out / "run") if trained else model
    embedder = None if trained else told_untrained(model, load_model(model))
    if embedder is not None:
        embedder.require_embedding()
    if not data:
        people, folder = LEARNED if trained else PEOPLE, out / "people"
        made = folder if is_made(people, folder) else synthesize(people, folder, progress=progress)
        data = f"people:{made}"
    dataset = load_dataset(data)
    diagnosis = diagnose(dataset)
    if not diagnosis.healthy:
        raise SemreidError(diagnosis.findings[0].what, fix=f"{command('doctor', data)} lists all findings")
    if not dataset.query:
        raise SemreidError(
            f"{data} has training images alone: nothing can be searched", fix="give data with a test split"
        )
    shown = {"data": f"{dataset.name}:{dataset.root.absolute()}", "model": embedder.fingerprint if embedder else ""}
    _claim(out, {**shown, "content": _content(dataset)})
    embedder = embedder or _learn(dataset, diagnosis, out / "run")
    evaluation = evaluate(embedder, dataset)
    report = evaluation.to_json()
    write_json(out / "report.json", report)
    write_text(out / "report.html", evaluation_page(evaluation, name))
    _search(embedder, data, evaluation, out)
    return report


def _require_own(out: Path, data: str) -> None:
    """Keep the files of a demo out of folders that somebody else has filled: in one of crops, they would be crops."""
    made = set() if data else {"people", "people.partial"}  # all that a demo has before it notes what it shows
    found = {path.name for path in out.iterdir() if not path.name.startswith(".")} if out.is_dir() else set()
    if not (out / NOTE).is_file() and (strange := sorted(found - made)):
        raise SemreidError(
            f"{out} is no folder of a demo: it holds {strange[0]}", fix="choose a new folder, or an empty one: --out"
        )
    if location := data.partition(":")[2]:
        require_outside(out, user_path(location))


def _content(dataset: ReIDDataset) -> str:
    """A digest of what a data set holds: files, pictures, people and cameras."""
    samples = (*dataset.train, *dataset.query, *dataset.gallery)
    files = "\0".join(f"{sample.path.absolute()}#{sample.item}" for sample in samples)
    return samples_digest(samples) + blake2b(files.encode(), digest_size=16).hexdigest()


def _claim(out: Path, shown: dict[str, str]) -> None:
    """Keep crops of other data, or that are gone, and vectors of other models, out of the gallery of a demo."""
    file = out / NOTE
    before = read_json(file, Object) if file.is_file() else shown
    if any(before.get(name) != shown[name] for name in ("data", "model")):
        raise SemreidError(f"{out} holds the demo of other data or another model", fix="choose another folder: --out")
    if before.get("content", shown["content"]) != shown["content"]:  # versions before this one did not note it
        raise SemreidError(
            f"{out} holds a demo of {shown['data']} from before its pictures, people or cameras changed",
            fix="remove that folder, or choose another one: --out",
        )
    write_json(file, shown)


def _learn(dataset: ReIDDataset, diagnosis: Diagnosis, run: Path) -> ReIDModel:
    if (run / CARD).is_file():
        return load_model(run)
    identities = min(16, diagnosis.parts["train"].identities)
    recipe = parse_recipe({**SETTINGS, "data": {**SETTINGS["data"], "identities": identities}})
    return train(recipe, dataset, run, resume=(run / CHECKPOINT).is_file())


def middle_query(evaluation: Evaluation) -> tuple[Sample, int]:
    """Choose the query that `RULE` speaks of.

    Returns:
        The query, and of how many it is the one in the middle: those that have a true match.
    """
    ap = np.zeros(len(evaluation.query)) if evaluation.ap is None else evaluation.ap
    ordered = np.argsort(ap, kind="stable")[: np.isfinite(ap).sum()]  # NaN, of queries without a match, come last
    return evaluation.query[ordered[len(ordered) // 2]], len(ordered)


def _search(model: ReIDModel, data: str, evaluation: Evaluation, out: Path) -> None:
    """Fill a gallery, and look in it for somebody."""
    chosen, count = middle_query(evaluation)
    distinct = list(dict.fromkeys(sample.place for sample in evaluation.query))
    known = crops_of_data(data, "query")[distinct.index(chosen.place)].entry
    with Gallery.open(out / "gallery.parquet", dim=model.dim, fingerprint=model.fingerprint) as gallery:
        enroll(gallery, model, crops_of_data(data, "gallery"))
        found = explain(model, known.path, gallery, pid=known.pid, camid=known.camid, other_cameras=True)
    write_explanation(replace(found, chosen=RULE.format(count=count)), out / "search")
