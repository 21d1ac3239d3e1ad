"""What the parts of `gpu.py` share: time, results that are on disk at once, sizes, and a way out of full memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from semreid.files import write_json

Size = tuple[int, int]


@dataclass(frozen=True)
class Scale:
    """How large everything is: as in the papers, or tiny to rehearse on a CPU.

    Attributes:
        trunk: Name and width of the trunk.
        sizes: Height and width of the input by system.
        people: P and K of a batch.
        images: Random images that steps are measured on.
        seconds: How long a step is measured.
        crowd: Queries and gallery for ranking.
        matrix: Side of the matrices whose product tells the card's peak.
        live: People and pictures of each in the store that other processes fill.
        processes: How many of them; 0 for all cores but one.
        start: People to wait for before training begins.
    """

    trunk: tuple[str, float]
    sizes: dict[str, Size]
    people: tuple[int, int]
    images: int
    seconds: float
    crowd: tuple[int, int]
    matrix: int
    live: tuple[int, int]
    processes: int
    start: int


SYSTEMS = ("baseline", "magnifiernet", "san", "pmm", "unified")
FULL = Scale(
    ("resnet50", 1.0),
    dict(zip(SYSTEMS, ((256, 128), (384, 192), (256, 128), (384, 128), (256, 128)), strict=True)),
    (16, 4), 1024, 2.0, (3368, 15913), 8192, (16_000, 8), 0, 256,
)  # fmt: skip
TINY = Scale(
    ("resnet18", 0.125), dict.fromkeys(SYSTEMS, (64, 32)), (4, 2), 32, 0.05, (20, 120), 256, (8, 3), 1, 4,
)  # fmt: skip


@dataclass
class Part:
    """What a part works with.

    Attributes:
        file: Where its results go.
        device: The GPU; the CPU in a rehearsal.
        scale: Sizes.
        end: When its time is over, by the monotonic clock.
        data: Folder that may hold ``market1501`` and ``cuhk03p1``.
        found: Results so far, by name.
    """

    file: Path
    device: torch.device
    scale: Scale
    end: float
    data: Path | None = None
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    def note(self, name: str, value: object) -> None:
        """Keep a result; it is on disk when this returns."""
        self.found[name] = value
        write_json(self.file, self.found)

    def attempt(self, name: str, work: Callable[[int], object], batch: int, seconds: float = 0.0) -> None:
        """Note what ``work(batch)`` returns, or why there is nothing: no other result is lost.

        Out of memory, it tries half the batch once, and notes both.

        Args:
            name: Name of the result.
            work: What to do.
            batch: Images in a batch.
            seconds: What it needs; with less time left it is not begun.
        """
        if self.left < seconds and self.device.type == "cuda":  # a rehearsal leaves nothing out
            self.note(name, {"left out": f"{self.left:.0f} s were left, and it needs {seconds:.0f}"})
            return
        failed: dict[str, str] = {}
        for size in (batch, batch // 2):
            try:
                self.note(name, {"batch": size, **failed, "result": work(size)})
            except torch.OutOfMemoryError as error:
                failed[f"out of memory at {size}"] = str(error).splitlines()[0]
            except Exception as error:  # one measurement must not cost the others
                self.note(name, {"batch": size, **failed, "error": f"{type(error).__name__}: {error}"})
                return
            else:
                return
            self.free()
        self.note(name, failed)

    def free(self) -> None:
        """Give back memory that nobody uses."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def rate(self, work: Callable[[], object], warm_up: int = 3) -> float:
        """How often ``work`` runs in a second: warmed up, then timed for as long as the scale says."""
        for _ in range(warm_up):
            work()
        once = self.seconds(work, 1)
        times = max(2, min(500, round(self.scale.seconds / once)))
        return times / self.seconds(work, times)

    def seconds(self, work: Callable[[], object], times: int) -> float:
        """How long ``work`` takes that many times."""
        self.wait()
        began = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return time.perf_counter() - began

    def peak(self) -> float:
        """GiB that were taken at most since `free`; 0 on a CPU, where it is not known."""
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
