from pathlib import Path

import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.sample import ReIDDataset
from tests.conftest import write_image
from tests.teachers.glass import SIZE, person


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Eight people in the Market layout; one crop is larger than the others."""
    root = tmp_path / "crowd"
    for pid in range(1, 9):
        for camid in (1, 2):
            part = "bounding_box_train" if pid <= 4 else "query" if camid == 1 else "bounding_box_test"
            size = (128, 64) if pid == 3 else SIZE
            write_image(root / part / f"{pid:04d}_c{camid}s1_000000_00.png", person(10 * pid + camid, *size)[0])
    return root


@pytest.fixture
def crowd_data(crowd: Path) -> ReIDDataset:
    return load_dataset(f"people:{crowd}")
