import numpy as np
import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.sample import num_identities
from semreid.errors import SemreidError
from semreid.functional import rank_distances


@pytest.fixture(scope="module")
def root(touch_once):
    """VIPeR at its published size; ids start at 000."""
    return touch_once(
        f"{cam}/{pid:03d}_{angle}.bmp" for cam, angle in (("cam_a", 45), ("cam_b", 90)) for pid in range(632)
    )


def test_a_half_at_full_size(root):
    dataset = load_dataset(f"viper:{root}")
    assert dataset.warnings == ()
    assert [num_identities(part) for part in (dataset.train, dataset.query)] == [316, 316]
    assert {s.pid for s in dataset.train}.isdisjoint(s.pid for s in dataset.query)
    assert {s.pid for s in dataset.train + dataset.query} == set(range(1, 633))  # none is 0, the distractor


def test_each_query_meets_one_match_in_the_other_camera(root):
    dataset = load_dataset(f"viper/half/3:{root}")
    assert dataset.protocol.junk == "same-camera"
    assert dataset.query == dataset.gallery
    for query in dataset.query[::50]:
        kept = [g for g in dataset.gallery if g.camid != query.camid]
        assert len(kept) == 316
        assert sum(g.pid == query.pid for g in kept) == 1


def test_the_union_of_directions_is_the_mean_of_the_swapped_trials(root):
    dataset = load_dataset(f"viper:{root}")
    pids, camids = (np.array([getattr(s, name) for s in dataset.query]) for name in ("pid", "camid"))
    distances = np.random.default_rng(0).random((len(pids), len(pids)))
    union = rank_distances(distances, pids, pids, camids, camids, junk=dataset.protocol.junk)
    trials = []
    for camera in (0, 1):
        q, g = camids == camera, camids != camera
        trials.append(rank_distances(distances[np.ix_(q, g)], pids[q], pids[g], camids[q], camids[g]))
    assert union.mAP == pytest.approx(np.mean([trial.mAP for trial in trials]))
    assert union.cmc == pytest.approx(np.mean([trial.cmc for trial in trials], axis=0))


def test_ten_halves_are_fixed_and_differ(root):
    halves = [frozenset(s.pid for s in load_dataset(f"viper/half/{n}:{root}").train) for n in range(10)]
    assert len(set(halves)) == 10
    assert sorted(halves[0])[:5] == FIRST


FIRST = [3, 4, 7, 9, 10]  # published with the loader: must never change


def test_missing_camera_and_wrong_name(touch):
    root = touch(["cam_a/000_45.bmp", "cam_b/x_90.bmp"])
    with pytest.raises(SemreidError, match=r"x_90\.bmp: the file name does not follow III_AAA\.bmp"):
        load_dataset(f"viper:{root}")
    (root / "cam_b").rename(root / "camera_b")
    with pytest.raises(SemreidError, match=r"no folder .*cam_b"):
        load_dataset(f"viper:{root}")
