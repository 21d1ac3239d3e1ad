import os
import threading
from time import sleep

import pytest

from semreid.parallel import ahead, cores, parallel


def test_the_next_item_is_made_while_one_is_used() -> None:
    began = {item: threading.Event() for item in range(4)}

    def make(item: int) -> int:
        began[item].set()
        return item * item

    for i, made in enumerate(ahead(make, range(4))):
        assert made == i * i
        assert i == 3 or began[i + 1].wait(timeout=10)


def test_an_error_reaches_the_consumer_in_its_turn() -> None:
    results = ahead(lambda x: 1 // x, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_comes_from_nothing() -> None:
    assert list(ahead(abs, [])) == []


@pytest.mark.parametrize(("seconds", "alone"), [(0.0, True), (0.003, False)])
def test_threads_are_taken_only_where_an_item_takes_long(seconds: float, alone: bool) -> None:
    told: list[tuple[int, int]] = []

    def work(item: int) -> tuple[int, int]:
        sleep(seconds)
        return item * item, threading.get_ident()

    found = parallel(work, range(230), lambda *place: told.append(place))
    assert [square for square, _ in found] == [item * item for item in range(230)]
    assert ({thread for _, thread in found} == {threading.get_ident()}) == alone
    assert told == [(100, 230), (200, 230), (230, 230)]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors can be chosen on Linux alone")
def test_only_the_processors_that_may_be_used_count() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)
