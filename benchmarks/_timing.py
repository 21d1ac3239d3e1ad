"""What the benchmark scripts share: a clock, the memory used, and features of a made-up crowd."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of ``work`` and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def memory_growth(work: Callable[[], T]) -> tuple[T, float]:
    """The result of ``work`` and by how many GiB the peak of the process rose above its size before.

    Only meaningful while nothing before has been larger: call it first.
    """
    before = _kibibytes("VmRSS")
    result = work()
    return result, (_kibibytes("VmHWM") - before) / 2**20  # not ru_maxrss, which begins with that of the parent


Steps = Mapping[str, Callable[[str], Callable[[], object]]]
"""By name, what makes a training step of a size."""


def peak(script: str, name: str, size: str) -> float:
    """GiB by which two steps of a script make a fresh process grow."""
    command = [sys.executable, script, "--peak", name, "--size", size]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def compare_steps(about: str | None, sizes: Iterable[str], steps: Steps, compare: Callable[[str, int], None]) -> None:
    """The command line of a script that compares training steps: ``compare`` takes the size and how many rounds."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sizes, default="full")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peak", choices=steps, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        work = steps[arguments.peak](arguments.size)
        print(memory_growth(lambda: [work() for _ in range(2)])[1])
    else:
        compare("quick" if arguments.quick else arguments.size, 1 if arguments.quick else 3)


def _kibibytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


class Crowd(NamedTuple):
    """Queries and gallery of a data set: unit features, ids and cameras."""

    query: NDArray[np.float32]
    gallery: NDArray[np.float32]
    q_pids: NDArray[np.int64]
    g_pids: NDArray[np.int64]
    q_camids: NDArray[np.int64]
    g_camids: NDArray[np.int64]

    @property
    def ids(self) -> tuple[NDArray[np.int64], ...]:
        """The four label arrays in the order in which ranking takes them."""
        return self[2:]


def crowd(queries: int, gallery: int, dim: int = 512, images_per_identity: int = 24, seed: int = 0) -> Crowd:
    """Draw features from one cluster per identity, blurred enough that ranking is far from perfect."""
    rng = np.random.default_rng(seed)
    rows = queries + gallery
    centers = rng.standard_normal((max(2, rows // images_per_identity), dim), dtype=np.float32)
    pids = rng.integers(0, len(centers), rows)
    features = 2.5 * rng.standard_normal((rows, dim), dtype=np.float32)
    for start in range(0, rows, 4096):
        features[start : start + 4096] += centers[pids[start : start + 4096]]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    camids = rng.integers(0, 6, rows)
    return Crowd(
        features[:queries], features[queries:], pids[:queries], pids[queries:], camids[:queries], camids[queries:]
    )
