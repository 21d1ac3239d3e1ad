from pathlib import Path

import pytest
import torch

from semreid.gallery import Entry, Gallery
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from tests.conftest import draw_figure, write_image


@pytest.fixture(scope="session")
def model() -> ReIDModel:
    torch.manual_seed(0)
    return create_model("baseline", num_ids=3, trunk="resnet18", width=0.25, size=(64, 32)).eval()


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three people before two cameras, two crops each: ``P_cC_I.png``."""
    folder = tmp_path_factory.mktemp("crops")
    names = [(pid, camid, image) for pid in (1, 2, 3) for camid in (1, 2) for image in (1, 2)]
    return [write_image(folder / f"{p}_c{c}_{i}.png", draw_figure(p, c, i, 80, 40)) for p, c, i in names]


@pytest.fixture
def gallery(model: ReIDModel, crops: list[Path]) -> Gallery:
    """All crops; nobody has said who person 3 is."""
    gallery = Gallery.open("memory:", dim=model.dim, fingerprint=model.fingerprint)
    pids = [path.name[0] for path in crops]
    entries = [
        Entry(path=str(path), pid=None if pid == "3" else pid, camid=int(path.name[3]), timestamp=60.0 * row)
        for row, (path, pid) in enumerate(zip(crops, pids, strict=True))
    ]
    gallery.add(model.embed(crops), entries)
    return gallery
