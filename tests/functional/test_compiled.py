import threading

import numba
import numpy as np

from semreid.compiled import compiled
from semreid.functional._threads import in_threads
from semreid.functional.ranking import rank_distances


def double(values):
    return values * 2


def test_where_no_cache_can_be_written_the_kernel_is_compiled_without(monkeypatch):
    njit = numba.njit

    def without_locator(function, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", without_locator)
    assert compiled(double)(np.ones(2)).tolist() == [2, 2]


def test_chunks_come_back_in_order_and_cover_every_row():
    assert in_threads(lambda start, stop, offset: (start + offset, stop), 130, 1000) == [
        (1000, 64),
        (1064, 128),
        (1128, 130),
    ]


def test_ranking_may_run_in_several_threads_at_once():
    distances = np.random.default_rng(0).random((200, 300))
    ids = np.arange(200) % 20, np.arange(300) % 20, np.zeros(200, int), np.ones(300, int)
    scores: list[float] = []
    threads = [threading.Thread(target=lambda: scores.append(rank_distances(distances, *ids).mAP)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scores == [rank_distances(distances, *ids).mAP] * 4
