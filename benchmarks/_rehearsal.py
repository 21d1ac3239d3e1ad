"""What the scripts that judge models do with ``--quick``: a few synthetic people, and random weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from semreid import load_dataset
from semreid.data.sample import ReIDDataset
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.people.dataset import PeopleRecipe, synthesize


@contextmanager
def rehearsal(identities: int, images: int, name: str = "baseline") -> Iterator[tuple[ReIDModel, ReIDDataset]]:
    """Yield a small untrained model, and people whose pictures are there as long as that lasts."""
    with TemporaryDirectory() as folder:
        people = Path(folder) / "people"
        synthesize(PeopleRecipe(identities=identities, images_per_identity=images, height=64, width=32), people)
        model = create_model(name, 1, trunk="resnet18", width=0.1, size=(64, 32)).eval()
        yield model, load_dataset(f"people:{people}")
