"""The main job in one command: make people (or take crops), look at the data, train, judge, embed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semreid.data.benchmarks import load_dataset
from semreid.data.doctor import diagnose
from semreid.data.parallel import Progress
from semreid.errors import SemreidError
from semreid.evaluation.embeddings import embed_files
from semreid.evaluation.protocol import evaluate
from semreid.files import write_json
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
        out: Folder to make; gets ``people`` (where made), ``run``, ``report.json`` and ``features.parquet``.
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
    report = evaluate(model, dataset).to_json()
    write_json(out / "report.json", report)
    folder = dataset.query[0].path.parent
    embed_files(model, folder, out / "features.parquet")
    return report
