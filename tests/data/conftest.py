"""Small generated files in the true layouts: coloured noise, never a person."""

import functools
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest


def noise(name: str, height: int = 8, width: int = 4) -> np.ndarray:
    """RGB noise that depends on the name only."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[[str | Iterable[str]], Path]:
    """Write an image for each relative path (a list, or one string of words); return the root."""

    def write(names: str | Iterable[str]) -> Path:
        for name in names.split() if isinstance(names, str) else names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), noise(name)[..., ::-1])
        return tmp_path

    return write


@pytest.fixture
def touch(tmp_path: Path) -> Callable[[Iterable[str]], Path]:
    """Write empty files: for loaders, which read names only."""
    return functools.partial(write_names, tmp_path)


@pytest.fixture(scope="module")
def touch_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Iterable[str]], Path]:
    """Write empty files at full published size, once for all tests of a module; these must not change them."""
    return functools.partial(write_names, tmp_path_factory.mktemp("full_size"))


def write_names(root: Path, names: Iterable[str]) -> Path:
    """Write an empty file for each relative path."""
    for name in names:
        path = root / name
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        path.touch()
    return root


PEOPLE = (4, 2, 1, 1, 1)
EMPTY_SLOTS = {(1, 2, 5), (1, 2, 10), (2, 1, 6)}
TEST_SETS = [[(1, 1), (2, 1)], [(1, 3), (5, 1)]] + [[(3, 1)]] * 18


def crop_in_slot(boxes: str, pair: int, person: int, slot: int) -> np.ndarray:
    """The crop in a slot of the generated CUHK03 file; height and width tell a transposed one."""
    return noise(f"{boxes}/{pair}/{person}/{slot}", height=6 + person, width=3 + pair)


@pytest.fixture
def crop_of() -> Callable[..., np.ndarray]:
    """What the slots of ``raw_cuhk03`` hold."""
    return crop_in_slot


@pytest.fixture
def raw_cuhk03(tmp_path: Path) -> Path:
    """A folder with a cuhk-03.mat as MATLAB 7.3 writes it: references to references, arrays transposed."""
    with h5py.File(tmp_path / "cuhk-03.mat", "w") as file:
        heap = file.create_group("#refs#")

        def put(array: np.ndarray, dtype: object = None) -> h5py.Reference:
            return heap.create_dataset(str(len(heap)), data=array, dtype=dtype).ref

        def slot_of(boxes: str, pair: int, person: int, slot: int) -> h5py.Reference:
            if (pair, person, slot) not in EMPTY_SLOTS:
                return put(crop_in_slot(boxes, pair, person, slot).T)
            reference = put(np.zeros(2, np.uint64))
            file[reference].attrs["MATLAB_empty"] = 1
            return reference

        for boxes in ("labeled", "detected"):
            pairs = []
            for pair, people in enumerate(PEOPLE, start=1):
                cells = np.empty((10, people), object)
                for slot, person in np.ndindex(cells.shape):
                    cells[slot, person] = slot_of(boxes, pair, person + 1, slot + 1)
                pairs.append(put(cells, h5py.ref_dtype))
            file.create_dataset(boxes, data=np.array([pairs], object), dtype=h5py.ref_dtype)
        sets = [put(np.array(people, np.float64).T) for people in TEST_SETS]
        file.create_dataset("testsets", data=np.array([sets], object), dtype=h5py.ref_dtype)
    return tmp_path
