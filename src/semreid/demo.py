"""The main job in one command: make people (or take crops), train, judge, fill a gallery, search it, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semreid.data.benchmarks import load_dataset
from semreid.data.doctor import diagnose
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate_in_full
from semreid.explain.cli import write_explanation, write_report
from semreid.explain.explanation import explain
from semreid.files import write_json
from semreid.gallery import Gallery
from semreid.gallery.enroll import crops_of_data, enroll
from semreid.models.model import ReIDModel
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
PEOPLE = PeopleRecipe(identities=480, images_per_identity=8, height=128, width=64)
"""Who is made where no data are given: 360 people to learn from, 120 to find."""


def run_demo(data: str, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Do the main job on a data set.

    Args:
        data: ``NAME[/VARIANT]:PATH``; synthetic people are made if empty.
        out: Folder to make; gets ``people`` (where made), ``run`` (the model), ``report.json`` and ``report.html``,
            ``gallery.parquet``, and ``search`` with the explained matches of a query.
        progress: Told how many people are made.

    Returns:
        The report.

    Raises:
        SemreidError: If the data cannot be evaluated honestly, or ``out`` holds a demo already.
    """
    if not data:
        data = f"people:{synthesize(PEOPLE, out / 'people', progress=progress)}"
    dataset = load_dataset(data)
    diagnosis = diagnose(dataset)
    if not diagnosis.healthy:
        raise SemreidError(diagnosis.findings[0].what, fix=f"semreid doctor {data} lists all findings")
    identities = min(16, diagnosis.parts["train"].identities)
    recipe = parse_recipe({**SETTINGS, "data": {**SETTINGS["data"], "identities": identities}})
    model = train(recipe, dataset, out / "run")
    evaluation = evaluate_in_full(model, dataset)
    report = evaluation.report.to_json()
    write_json(out / "report.json", report)
    write_report(evaluation, str(out / "run"), html=out / "report.html")
    _search(model, data, out)
    return report


def _search(model: ReIDModel, data: str, out: Path) -> None:
    """Fill a gallery, and look in it for the first person that is asked for."""
    with Gallery.open(out / "gallery.parquet", dim=model.dim, fingerprint=model.fingerprint) as gallery:
        enroll(gallery, model, crops_of_data(data, "gallery"))
        query = crops_of_data(data, "query")[0]
        known = query.entry
        found = explain(model, known.path, gallery, pid=known.pid, camid=known.camid, other_cameras=True)
        write_explanation(found, out / "search")
