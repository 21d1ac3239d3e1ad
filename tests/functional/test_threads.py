import threading

import numpy as np

from semreid.functional._threads import in_threads
from semreid.functional.ranking import rank_distances


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
