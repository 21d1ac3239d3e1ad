"""How kernels are run: on chunks of rows, by plain threads.

They release the GIL. Unlike Numba's own parallel loops, this works beside forked data loaders and from several threads
at once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

CHUNKS = (64, 1024)  # rows, at least and at most: a call is soon forgotten, and what it returns stays small
T = TypeVar("T")


def in_threads(kernel: Callable[..., T], rows: int, *arguments: object) -> list[T]:
    """Call ``kernel(start, stop, *arguments)`` for consecutive chunks of rows; its results in order."""
    threads = torch.get_num_threads()
    chunk = min(max(CHUNKS[0], rows // (4 * threads)), CHUNKS[1])  # four for each thread balance them
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda start: kernel(start, min(start + chunk, rows), *arguments), range(0, rows, chunk)))
