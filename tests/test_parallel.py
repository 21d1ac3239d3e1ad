import threading

import pytest

from semreid.parallel import ahead


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
