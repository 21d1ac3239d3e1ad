"""A small gallery of figures, a model that can be computed by hand, and servers over them."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

from semreid.functional.calibration import Calibration, calibrate
from semreid.gallery import Entry, Gallery
from semreid.models.embedder import prepared_batches
from semreid.serving.app import create_app
from semreid.serving.guard import Access
from semreid.serving.service import Service
from tests.conftest import draw_figure, write_image

NOON = 1_700_000_000.0


class Stripes:
    """Embeds a crop as the colours of its eight stripes, so that anybody can compute it."""

    dim, size, fingerprint, blocks = 24, (64, 32), "5" * 32, {"stripes": 24}

    def __init__(self):
        self.batches = []

    def embed(self, images, *, batch_size=64, flip=False):
        return np.concatenate([self.step(batch, flip) for batch in prepared_batches(images, self.size, batch_size)])

    def step(self, batch, flip):
        self.batches.append((len(batch), flip))
        colours = batch.reshape(len(batch), 8, 8, 32, 3).mean((2, 3)).reshape(len(batch), 24) - 100
        return (colours / np.linalg.norm(colours, axis=1, keepdims=True)).astype(np.float32)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def calibration(flip: bool = False, fingerprint: str = Stripes.fingerprint) -> Calibration:
    rng = np.random.default_rng(0)
    pids, camids = np.repeat(np.arange(100), 4), np.tile([1, 2], 200)
    features = rng.normal(size=(100, 16))[pids] + 0.5 * rng.normal(size=(400, 16))
    found, _ = calibrate(features, pids, camids, fars=[0.1, 0.01])
    return replace(found, flip=flip, fingerprint=fingerprint)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Six people, two cameras, two pictures of each."""
    for pid in range(1, 7):
        for camid in (1, 2):
            for image in (0, 1):
                write_image(tmp_path / "crops" / f"{pid}_c{camid}_{image}.png", draw_figure(pid, camid, image))
    return tmp_path / "crops"


@pytest.fixture
def gallery(crops: Path) -> Gallery:
    """The crops, an hour apart; camera 2 saw them at night."""
    gallery = Gallery.open("memory:", dim=Stripes.dim, fingerprint=Stripes.fingerprint)
    files = sorted(crops.iterdir())
    entries = [
        Entry(
            id=file.stem,
            path=str(file),
            pid=file.stem[0],
            camid=int(file.stem[3]),
            timestamp=NOON + 3600 * hour,
            tags=("night",) if file.stem[3] == "2" else (),
        )
        for hour, file in enumerate(files)
    ]
    gallery.add(Stripes().embed(files), entries)
    return gallery


@pytest.fixture
def serving(gallery: Gallery, crops: Path):
    """Makes a client of a server with other settings."""
    with contextlib.ExitStack() as stack:

        def start(access=None, gallery=gallery, **settings):
            service = Service(gallery, Stripes(), **{"images": [crops], **settings})
            app = create_app(service, access)
            client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
            client.service = service
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(serving) -> TestClient:
    """A client of a server that only reads."""
    return serving()


@contextlib.contextmanager
def listening(service: Service, access: Access | None = None) -> Iterator[str]:
    """A real server in a thread; yields its address."""
    config = uvicorn.Config(create_app(service, access), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
