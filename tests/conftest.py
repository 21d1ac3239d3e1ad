"""Figures, crops that a small network can tell apart in seconds, in the true Market-1501 layout; the command line."""

import contextlib
import os
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch

from benchmarks._packing import pack
from semreid.cli import main
from semreid.data.benchmarks import load_dataset
from semreid.data.sample import ReIDDataset
from semreid.files import write_json
from semreid.functional.calibration import Calibration, calibrate
from semreid.models import shipped
from semreid.models.card import Card, read_card, save_model
from semreid.models.loading import fill_foreground
from semreid.models.zoo import create_model

torch.set_num_threads(1)  # the tests share the cores among their workers


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a store cache of its own."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEMREID_CACHE", str(cache))
    return cache


class Result(NamedTuple):
    """What a command returns and prints."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command line, in this process: ``run("evaluate", folder, ...)``."""

    def command(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["semreid", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
            sys.exit(0)
        return Result(int(caught.value.code or 0), *capfd.readouterr())

    return command


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond ``room`` bytes: what a full disk looks like to one who writes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def draw_figure(pid: int, camid: int, image: int, height: int = 64, width: int = 32) -> np.ndarray:
    """RGB crop: head, shirt and trousers in the colours of the identity, before the grey of the camera."""
    colours = np.random.default_rng(pid).integers(0, 256, (2, 3))
    noise = np.random.default_rng((pid, camid, image))
    crop = np.full((height, width, 3), 60 + 40 * camid, np.float64)
    x = width // 2 + int(noise.integers(-2, 3))
    crop[2:12, x - 4 : x + 4] = (200, 160, 130)
    crop[12:36, x - 9 : x + 9] = colours[0]
    crop[36:62, x - 7 : x + 7] = colours[1]
    return np.clip(crop + noise.normal(0, 8, crop.shape), 0, 255).astype(np.uint8)


def draw_mask(pid: int, camid: int, image: int, height: int = 64, width: int = 32) -> np.ndarray:
    """Part labels of `draw_figure`: head, torso and upper legs."""
    x = width // 2 + int(np.random.default_rng((pid, camid, image)).integers(-2, 3))
    mask = np.zeros((height, width), np.uint8)
    mask[2:12, x - 4 : x + 4] = 1
    mask[12:36, x - 9 : x + 9] = 2
    mask[36:62, x - 7 : x + 7] = 5
    return mask


def write_image(path: Path, image: np.ndarray) -> Path:
    """Write an RGB or label image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path


def write_figures(root: Path, train: int = 6, test: int = 5, cameras: int = 2, images: int = 3) -> Path:
    """Write train, query (first image per identity and camera) and gallery folders."""
    for pid in range(1, train + test + 1):
        for camid in range(1, cameras + 1):
            for image in range(images):
                if pid <= train:
                    folder = "bounding_box_train"
                else:
                    folder = "bounding_box_test" if image else "query"
                name = f"{pid:04d}_c{camid}s1_{image:06d}_00.png"
                write_image(root / folder / name, draw_figure(pid, camid, image))
    return root


def launch(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    """Set what torchrun tells one of two processes."""
    for name, value in (("RANK", number), ("LOCAL_RANK", number), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)


def write_crops(root: Path) -> Path:
    """Write crops of eight other people by two cameras, three of each."""
    for pid in range(40, 48):
        for camid in (1, 2):
            for image in range(3):
                write_image(root / f"{pid}_c{camid}_{image}.png", draw_figure(pid, camid, image))
    return root


@pytest.fixture(scope="session")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of figures; read only."""
    return write_figures(tmp_path_factory.mktemp("figures"))


@pytest.fixture(scope="session")
def figure_masks(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of the figures to train on; read only."""
    root = tmp_path_factory.mktemp("annotations")
    for path in (figures / "bounding_box_train").iterdir():
        pid, camid, image = int(path.name[:4]), int(path.name[6]), int(path.name[10:16])
        write_image(root / "masks" / path.parent.name / path.name, draw_mask(pid, camid, image))
    return root


@pytest.fixture(scope="session")
def figure_data(figures: Path) -> ReIDDataset:
    """The figures as a data set."""
    return load_dataset(f"people:{figures}")


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model for each that ships, of random weights; read only."""
    folder, runs = tmp_path_factory.mktemp("shipped"), tmp_path_factory.mktemp("runs")
    small = {"trunk": "resnet18", "width": 0.125, "last_stride": 2, "size": (64, 32)}
    write_run(runs / "people-parser", {"name": "parser", **small})
    write_run(runs / "people-painter", {"name": "san_pg", **small, "decoder_blocks": 3})
    foreground = {"foreground": {**small, "white_balance": True}}
    medium = {"trunk": "resnet50_ibn_a", "width": 0.125, "size": (96, 48), "parts": ["parsing", "srb", "sfb", "stages"]}
    write_run(runs / "people-s", {"name": "baseline", **small, "pool": "gem", **foreground}, runs / "people-parser")
    write_run(runs / "people-m", {"name": "unified", **medium, "dim": 16, **foreground}, runs / "people-parser")
    for name in ("people-parser", "people-painter", "people-s", "people-m"):
        pack(runs / name, name, folder, commit="0123abc", commands=[f"semreid train {name}.yaml"])
    for name in ("people-s", "people-m"):
        file = folder / f"{name}.json"
        card = read_card(file)
        assert card.shipped is not None
        write_json(file, replace(card, calibration=some_calibration(card.shipped.fingerprint)).to_json())
    return folder


def write_run(folder: Path, arguments: dict[str, Any], parser: Path | None = None) -> None:
    """Write a run folder of a model that learned nothing."""
    torch.manual_seed(len(str(arguments)))
    model = create_model(**arguments, num_ids=3)
    if parser is not None:
        assert model.foreground is not None
        fill_foreground(model.foreground, parser)
    trained_on = {"dataset": "people", "identities": 3, "images": 12, "sha256": "ab", "pretrained": "scratch"}
    save_model(folder, model, Card(model={**arguments, "num_ids": 3}, trained_on=trained_on, terms="free", seed=7))


def some_calibration(fingerprint: str) -> Calibration:
    """Calibrate on made-up features of synthetic people."""
    rng = np.random.default_rng(0)
    pids, camids = np.repeat(np.arange(60), 4), np.tile([1, 1, 2, 2], 60)
    features = rng.normal(size=(60, 16))[pids] + rng.normal(size=(240, 16))
    calibration, _ = calibrate(features / np.linalg.norm(features, axis=1, keepdims=True), pids, camids)
    return replace(calibration, fingerprint=fingerprint, made_on={"dataset": "people"})


@pytest.fixture
def stand_ins(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have small models ship, whichever this checkout has."""
    monkeypatch.setattr(shipped, "FOLDER", packed)
    return packed


@pytest.fixture
def real_market() -> Path:
    """Market-1501 with its attributes, where the developer has it; tests that want it are skipped elsewhere."""
    path = os.environ.get("SEMREID_MARKET1501")
    if not path:
        pytest.skip("no real crops: set SEMREID_MARKET1501 to a folder with market_attribute.mat")
    return Path(path)


@pytest.fixture
def real_crops() -> Path:
    """Camera pair 1 of CUHK03 as folders, where the developer has it; tests that want it are skipped elsewhere."""
    path = os.environ.get("SEMREID_CUHK03P1")
    if not path:
        pytest.skip("no real crops: set SEMREID_CUHK03P1 to a folder with labeled/ and detected/")
    return Path(path)
