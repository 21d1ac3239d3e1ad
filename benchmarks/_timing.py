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
import torch
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")


def command_line(about: str | None) -> argparse.ArgumentParser:
    """A command line that says what a script is about, and takes ``--quick``."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="something small, to see that all of it runs")
    return parser


def timed(work: Callable[[], T], clock: Callable[[], float] = time.perf_counter) -> tuple[T, float]:
    """The result of ``work`` and the seconds it took."""
    start = clock()
    result = work()
    return result, clock() - start


def best_of(
    works: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Seconds of the best round of each work: other work on the machine slows a round, nothing speeds one up.

    The works take turns; the first round may warm up.
    """
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            best[name] = min(best[name], timed(work, clock)[1])
    return best


def memory_growth(work: Callable[[], T]) -> tuple[T, float]:
    """The result of ``work`` and by how many GiB the peak of the process rose above its size before.

    Only meaningful while nothing before has been larger: call it first.
    """
    before = kibibytes("VmRSS")
    result = work()
    return result, (kibibytes("VmHWM") - before) / 2**20  # not ru_maxrss, which begins with that of the parent


def kibibytes(name: str, process: int | str = "self") -> int:
    """A figure of /proc: VmRSS, what a process holds now, or VmHWM, the most it ever held."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1])


REFERENCE, OURS = "straightforward", "ours, float32"
Steps = Mapping[str, Callable[[str], Callable[[], dict[str, Tensor]]]]
"""By name, what makes a training step of a size, which gives its losses: `REFERENCE`, `OURS` and others."""


def compare_steps(
    about: str | None,
    script: str,
    sizes: Iterable[str],
    steps: Steps,
    check: Callable[[str], None] = lambda _: None,
) -> None:
    """The command line of a script that compares training steps: first their losses, then seconds and memory."""
    parser = command_line(about)
    parser.add_argument("--size", choices=sizes, default="full")
    parser.add_argument("--peak", choices=steps, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        work = steps[arguments.peak](arguments.size)
        print(memory_growth(lambda: [work() for _ in range(2)])[1])
        return
    size, rounds = ("quick", 1) if arguments.quick else (arguments.size, 3)
    check(size)
    works = {name: make(size) for name, make in steps.items()}
    first = {name: work() for name, work in works.items()}
    for name, expected in first[REFERENCE].items():
        torch.testing.assert_close(first[OURS][name], expected, rtol=1e-3, atol=1e-4)
    print("the first losses are equal")
    seconds = best_of(works, rounds)
    for name in steps:
        print(f"{name:16} {1e3 * seconds[name]:8.0f} ms a step, {seconds[REFERENCE] / seconds[name]:5.2f} x")
    memory = {name: _peak(script, name, size) for name in ([REFERENCE] if arguments.quick else steps)}
    for name, peak in memory.items():
        print(f"{name:16} peak memory {peak:.2f} GiB, {peak / memory[REFERENCE]:.0%}")


def _peak(script: str, name: str, size: str) -> float:
    """GiB by which two steps of a script make a fresh process grow."""
    command = [sys.executable, script, "--peak", name, "--size", size]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


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

    def __str__(self) -> str:
        return f"{len(self.query)} x {len(self.gallery)}, d = {self.query.shape[1]}"


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


def compare_ranking(about: str | None, rank: Callable[[Crowd], float], compare: Callable[[Crowd], None]) -> None:
    """The command line of a script that ranks: against references, or alone at any size. ``rank`` returns the mAP."""
    parser = command_line(about)
    parser.add_argument("--rows", type=int, help="queries and gallery together; skips the references")
    arguments = parser.parse_args()
    measure_ranking(rank, crowd(20, 100))  # compile
    if arguments.rows:
        queries = round(arguments.rows * 11659 / 93820)
        measure_ranking(rank, crowd(queries, arguments.rows - queries))
    else:
        compare(crowd(100, 900) if arguments.quick else crowd(3368, 15913))


def measure_ranking(rank: Callable[[Crowd], float], data: Crowd) -> None:
    """Print what a ranking takes, of time and memory."""
    (mean_ap, seconds), growth = memory_growth(lambda: timed(lambda: rank(data)))
    print(f"{data}: features to scores {seconds:.2f} s, peak growth {growth:.2f} GiB, mAP {mean_ap:.4f}")
