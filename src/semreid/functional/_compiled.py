"""How inner loops are compiled and run.

Kernels release the GIL and run on chunks of rows by plain threads: unlike Numba's own parallel loops this
works beside forked data loaders and from several threads at once. Modules with kernels are imported where
they are used, so that nobody waits for Numba in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import torch

CHUNKS = (64, 1024)  # rows, at least and at most: a call is soon forgotten, and what it returns stays small
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile ``function``; keep the machine code on disk where a place for it can be written."""
    import numba

    fastmath = {"reassoc", "contract"}  # sums may become vector instructions; NaN stays NaN
    try:
        return cast("F", numba.njit(function, nogil=True, fastmath=fastmath, cache=True))
    except RuntimeError:  # read-only installation and no home folder: compile anew in every process
        return cast("F", numba.njit(function, nogil=True, fastmath=fastmath))


def in_threads(kernel: Callable[..., T], rows: int, *arguments: object) -> list[T]:
    """Call ``kernel(start, stop, *arguments)`` for consecutive chunks of rows; its results in order."""
    threads = torch.get_num_threads()
    chunk = min(max(CHUNKS[0], rows // (4 * threads)), CHUNKS[1])  # four for each thread balance them
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda start: kernel(start, min(start + chunk, rows), *arguments), range(0, rows, chunk)))
