import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.functional import distance, identify_open_set
from tests.functional.test_pairs import crowd

FARS = (0.3, 0.1, 0.02)


def split(noise=0.8, people=40, seed=0):
    """Query and gallery; some people are in only one of them, some gallery images are junk."""
    features, pids, camids = crowd(people=people, noise=noise, seed=seed)
    asks = np.arange(len(pids)) % 3 == 0
    g_pids = pids[~asks].copy()
    g_pids[::17] = -1
    g_pids[g_pids == pids[0]] = 100_000  # nobody finds the first person
    return features[asks], features[~asks], pids[asks], g_pids, camids[asks], camids[~asks]


def naive(query, gallery, q_pids, g_pids, q_camids, g_camids, threshold, separate=False):
    """Search as a watch list would: once for the stranger, once for the known person."""
    alarms, right, known = [], [], 0
    for vector, pid, camid in zip(query, q_pids, q_camids, strict=True):
        entries = []
        for other, other_pid, other_camid in zip(gallery, g_pids, g_camids, strict=True):
            if other_pid < 0 or (camid == other_camid and (separate or pid == other_pid)):
                continue
            score = np.dot(vector, other) / np.linalg.norm(vector) / np.linalg.norm(other)
            entries.append((score, other_pid == pid))
        alarms.append(max(score for score, same in entries if not same) >= threshold)
        if any(same for _, same in entries):
            known += 1
            score, same = max(entries)
            right.append(same and score >= threshold)
    return np.mean(alarms), np.mean(right), known


@pytest.mark.parametrize("junk", ["same-pid-and-camera", "same-camera"])
def test_rates_are_those_of_searching_one_by_one(junk):
    data = split()
    for far, point in zip(FARS, identify_open_set(*data, FARS, junk=junk), strict=True):
        alarms, right, known = naive(*data, point.threshold, separate=junk == "same-camera")
        assert point.far.value == pytest.approx(alarms)
        assert point.dir.value == pytest.approx(right)
        assert known < len(data[0])
        assert alarms <= far
        lower, _, _ = naive(*data, point.threshold - 1e-5, separate=junk == "same-camera")
        assert lower > far  # no lower threshold would keep the rate


def test_blocks_change_nothing(monkeypatch):
    data = split()
    expected = identify_open_set(*data, FARS)
    monkeypatch.setattr(distance, "BLOCK_VALUES", 500)
    for point, whole in zip(identify_open_set(*data, FARS), expected, strict=True):
        assert point.dir.value == pytest.approx(whole.dir.value)
        assert point.threshold == pytest.approx(whole.threshold, abs=1e-6)


def test_a_tie_with_a_stranger_is_no_identification():
    vectors = np.eye(4)
    gallery = vectors[[0, 0, 1, 3]]  # persons 1 and 2 look the same, 3 does not
    point = identify_open_set(vectors[:2], gallery, [1, 3], [1, 2, 3, 4], [0, 0], [1] * 4, [0.5])[0]
    assert point.threshold < 1
    assert (point.far.value, point.dir.value) == (0.5, 0.5)
    assert point.gallery == 4


def test_rare_alarms_need_many_people():
    known = [point.far.is_known for point in identify_open_set(*split(people=200), (0.2, 0.001))]
    assert known == [True, False]


def test_bad_input_is_refused():
    data = split(people=4)
    with pytest.raises(SemreidError, match="unknown junk rule 'all'"):
        identify_open_set(*data, FARS, junk="all")
    with pytest.raises(SemreidError, match="false-alarm rate lies between 0 and 1; got 2"):
        identify_open_set(*data, [2])
    with pytest.raises(SemreidError, match="no query has a true match"):
        identify_open_set(*data[:3], data[3] + 1_000_000, *data[4:], FARS)
    with pytest.raises(SemreidError, match="do not fit to pids"):
        identify_open_set(data[0][:-1], *data[1:], FARS)
    with pytest.raises(SemreidError, match="negative id"):
        identify_open_set(*data[:2], -1 - data[2], *data[3:], FARS)


@pytest.mark.parametrize("count", [100, 200, 57])
def test_as_many_alarms_as_the_rate_allows_whatever_its_product_rounds_to(count):
    rng = np.random.default_rng(0)
    query, gallery = (rng.normal(size=(count, 8)) for _ in range(2))
    ids = np.arange(count), np.arange(count), np.zeros(count, int), np.ones(count, int)
    for far in (0.29, 0.57, 0.58, 0.07):
        point = identify_open_set(query, gallery, *ids, [far])[0]
        assert round(point.far.value * count) == max(k for k in range(count) if k / count <= far)
