"""What the benchmark scripts share: a clock, the memory used, and features of a made-up crowd."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
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
