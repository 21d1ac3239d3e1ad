"""Work on many files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with the number of items done and the number of all."""


def parallel(
    function: Callable[[Item], Result], items: Sequence[Item], progress: Progress | None = None
) -> list[Result]:
    """Map in threads: OpenCV and hashing let go of the interpreter lock while they work.

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
    results = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(function, items), 1):
            results.append(result)
            if progress is not None and (done % 100 == 0 or done == len(items)):
                progress(done, len(items))
    return results


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map in a thread that is one item ahead of whoever uses the results.

    Args:
        function: What to do with each item.
        items: The items.

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
