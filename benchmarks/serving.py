"""Concurrent searches through `semreid serve`, against decoding, embedding and searching one by one without a server.

python benchmarks/serving.py            200 at a time, 1,000 in all, 100,000 rows in memory
python benchmarks/serving.py --quick    seconds; for a test
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from _timing import command_line, crowd, kibibytes, timed
from semreid.data.images import decode_image
from semreid.gallery import Entry, Filter, Gallery
from semreid.models.card import Card, save_model
from semreid.models.embedder import Embedder
from semreid.models.zoo import create_model

MODEL = {"name": "baseline", "num_ids": 1, "trunk": "resnet18", "width": 0.5, "size": (128, 64)}
TOP = 24
CAMERA = Filter(camids=[3])


class Load(NamedTuple):
    """What is asked of the server."""

    rows: int
    searches: int
    at_once: int


def make_crops(count: int) -> list[bytes]:
    """JPEG crops of coloured noise, as large as those of a surveillance camera."""
    rng = np.random.default_rng(0)
    crops = (cv2.resize(rng.integers(0, 256, (16, 8, 3), np.uint8), (128, 256)) for _ in range(count))
    return [cv2.imencode(".jpg", crop)[1].tobytes() for crop in crops]


def fill(uri: str, embedder: Embedder, rows: int) -> None:
    """A gallery of a made-up crowd; what the vectors are does not change how long a search takes."""
    data = crowd(1, rows, embedder.dim)
    entries = [Entry(id=f"{i:032x}", camid=int(camid)) for i, camid in enumerate(data.g_camids)]
    with Gallery.open(uri, dim=embedder.dim, fingerprint=embedder.fingerprint) as gallery:
        gallery.add(data.gallery, entries)


@contextmanager
def served(uri: str, run: Path) -> Iterator[tuple[int, int]]:
    """The port and process id of a server."""
    command = [sys.executable, "-m", "semreid", "serve", "--gallery", uri, "--model", str(run), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        port = next(match for line in process.stderr if (match := re.search(r"127\.0\.0\.1:(\d+)", line)))
        try:
            yield int(port[1]), process.pid
        finally:
            process.terminate()


def ask(port: int, crop: bytes) -> tuple[int, float]:
    """Status of a search, and the seconds it took."""
    mark = uuid.uuid4().hex
    fields = {"k": TOP, "camid": CAMERA.camids[0]}
    texts = "".join(f'--{mark}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items())
    head = f'{texts}--{mark}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = head.encode() + crop + f"\r\n--{mark}--\r\n".encode()
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/api/search", body, {"Content-Type": f"multipart/form-data; boundary={mark}"})
    with connection.getresponse() as response:
        response.read()
    connection.close()
    return response.status, time.perf_counter() - start


def one_by_one(gallery: Gallery, embedder: Embedder, crops: list[bytes]) -> None:
    for crop in crops:
        gallery.search(embedder.embed([decode_image(crop)]), TOP, where=CAMERA)


def measure(load: Load) -> None:
    crops = make_crops(load.searches)
    model = create_model(**MODEL)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        run, uri = Path(folder) / "run", f"{folder}/gallery.parquet"
        save_model(run, model, Card(model=MODEL, trained_on={}, terms="", seed=0))
        fill(uri, model, load.rows)
        with served(uri, run) as (port, process), ThreadPoolExecutor(load.at_once) as crowd_:
            ask(port, crops[0])
            before = kibibytes("VmRSS", process)
            answers, seconds = timed(lambda: list(crowd_.map(lambda crop: ask(port, crop), crops)))
            growth = (kibibytes("VmHWM", process) - before) / 1024
        bare_crops = crops[: max(1, load.searches // 4)]
        with Gallery.open(uri) as gallery:
            one_by_one(gallery, model, crops[:2])
            _, bare = timed(lambda: one_by_one(gallery, model, bare_crops))
    report(load, answers, seconds, growth, bare / len(bare_crops))


def report(load: Load, answers: list[tuple[int, float]], seconds: float, growth: float, bare: float) -> None:
    failed = sum(status != 200 for status, _ in answers)
    p50, p95 = np.percentile([took for _, took in answers], [50, 95])
    print(f"{load.searches:,} searches, {load.at_once} at once, among {load.rows:,} rows: {failed} failed")
    print(f"  latency p50 {p50:.2f} s, p95 {p95:.2f} s; the process grew by {growth:.0f} MiB")
    rate = load.searches / seconds
    print(f"  {rate:.1f} searches/s, one by one without a server {1 / bare:.1f}/s: {rate * bare:.2f} x")


def main() -> None:
    measure(Load(2000, 40, 20) if command_line(__doc__).parse_args().quick else Load(100_000, 1000, 200))


if __name__ == "__main__":
    main()
