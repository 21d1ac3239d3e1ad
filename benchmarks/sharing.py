"""Bulk embedding by several processes: two of one thread each against one of two threads, `semreid embed` end to end.

python benchmarks/sharing.py                 ResNet-50 at 256x128, 512 images (minutes)
python benchmarks/sharing.py --quick         seconds, a small network; for a test

The processes of `torchrun` share the images and write one file. Start-up is taken off: it is what embedding a single
image takes in the same way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pyarrow.parquet as pq
import torch

from _timing import command_line, timed
from semreid.models.card import Card, save_model
from semreid.models.zoo import create_model

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
WAYS: Mapping[str, tuple[list[str], int]] = {
    "one process, two threads": ([], 2),
    "two processes, one thread each": (TORCHRUN, 1),
}
"""What stands before ``-m semreid``, and the threads of each process."""


def make_model(folder: Path, quick: bool) -> None:
    arguments = {"name": "baseline", "num_ids": 1, "trunk": "resnet50", "size": (256, 128)}
    if quick:
        arguments |= {"trunk": "resnet18", "width": 0.25, "size": (64, 32)}
    torch.manual_seed(0)
    folder.mkdir()
    save_model(folder, create_model(**arguments), Card(arguments, {}, "made up", 0))  # type: ignore[arg-type]


def make_images(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        coarse = rng.integers(0, 256, (16, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i:05d}.jpg"), cv2.resize(coarse, (128, 256)))


def embed(way: str, root: Path, images: Path) -> float:
    """Seconds."""
    launcher, threads = WAYS[way]
    command = [sys.executable, *launcher, "-m", "semreid", "embed", str(root / "run"), str(images)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    file = root / f"{threads}.parquet"
    work = [*command, "--out", str(file)]
    return timed(lambda: subprocess.run(work, env=environment, check=True, capture_output=True))[1]


def main() -> None:
    quick = command_line(__doc__).parse_args().quick
    count = 200 if quick else 512
    with TemporaryDirectory() as name:
        root = Path(name)
        make_model(root / "run", quick)
        make_images(root / "one", 1)
        make_images(root / "all", count)
        rates = {}
        for way in WAYS:
            start_up = 0.0 if quick else embed(way, root, root / "one")
            rates[way] = count / max(embed(way, root, root / "all") - start_up, 1e-3)
            print(f"{way:31} {rates[way]:7.1f} images/s", flush=True)
        one, two = (pq.read_table(root / f"{threads}.parquet") for threads in (2, 1))
        assert one["path"] == two["path"]
        ours, theirs = (np.stack(table["vector"].to_numpy()) for table in (two, one))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        single, both = rates.values()
        print(f"two processes: {both / single:.2f} x, the same rows in the same order")


if __name__ == "__main__":
    main()
