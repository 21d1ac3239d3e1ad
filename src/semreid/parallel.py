"""Work on many files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with the number of items done and the number of all."""


def cores() -> int:
    """Count the processors that this process may use: fewer than the machine has where somebody said so (taskset).

    Returns:
        Their number, at least 1.
    """
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def parallel(
    function: Callable[[Item], Result], items: Sequence[Item], progress: Progress | None = None
) -> list[Result]:
    """Map files, in threads if each takes long enough.

    OpenCV and hashing let go of the interpreter lock while they work. But a crop is read in a fifth of a millisecond:
    threads lose more in taking the lock in turns than they gain, twice as long on two cores, more on sixteen.

    Args:
        function: What to do with each item.
        items: The items.
        progress: Told how far it is, now and then.

    Returns:
        The results, in order.

    Example:
        >>> parallel(abs, [-1, 2])
        [1, 2]
    """
    began = perf_counter()
    first = [function(item) for item in items[:_FIRST]]
    if perf_counter() - began < len(first) * _WORTH_A_THREAD:
        return _told(chain(first, map(function, items[_FIRST:])), len(items), progress)
    with ThreadPoolExecutor(cores()) as pool:
        return _told(chain(first, pool.map(function, items[_FIRST:])), len(items), progress)


def pieces(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a list into parts of at most ``size``.

    Yields:
        The parts, in order; none of an empty list.

    Example:
        >>> list(pieces("abcde", 2))
        ['ab', 'cd', 'e']
    """
    return (items[start : start + size] for start in range(0, len(items), size))


def _told(results: Iterable[Result], count: int, progress: Progress | None) -> list[Result]:
    found = []
    for done, result in enumerate(results, 1):
        found.append(result)
        if progress is not None and (done % 100 == 0 or done == count):
            progress(done, count)
    return found


_FIRST = 16
"""Items that tell how long one takes."""
_WORTH_A_THREAD = 2e-3
"""Seconds."""


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map in a thread that is one item ahead of whoever uses the results.

    Yields:
        The results, in order.

    Example:
        >>> list(ahead(abs, [-1, 2, -3]))
        [1, 2, 3]
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Result] | None = None
        for item in items:
            following = pool.submit(function, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
