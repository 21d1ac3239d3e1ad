import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.functional import distance
from semreid.functional.cameras import center_by_camera, centred, likeness_by_camera
from semreid.functional.ranking import rank_features


def naive(vectors, camids):
    out = np.empty_like(vectors)
    for i, camid in enumerate(camids):
        mine = np.mean([v for v, c in zip(vectors, camids, strict=True) if c == camid], axis=0)
        out[i] = (vectors[i] - mine) / np.linalg.norm(vectors[i] - mine)
    return out


def test_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    vectors, camids = rng.normal(size=(30, 5)), rng.integers(1, 4, 30)
    query, gallery = center_by_camera(vectors[:8], vectors[8:], camids[:8], camids[8:])
    np.testing.assert_allclose(np.concatenate((query, gallery)), naive(vectors, camids), atol=1e-6)


def test_what_a_camera_adds_to_all_its_crops_no_longer_counts():
    rng = np.random.default_rng(0)
    people, cameras = rng.normal(size=(20, 16)), 8 * rng.normal(size=(2, 16))
    pids, camids = np.repeat(np.arange(20), 2), np.tile([0, 1], 20)
    vectors = people[pids] + cameras[camids] + 0.3 * rng.normal(size=(40, 16))
    ids = pids, pids, camids, camids
    before = rank_features(vectors, vectors, *ids).mAP
    centred = center_by_camera(vectors, vectors, camids, camids)
    assert before < 0.6
    assert rank_features(*centred, *ids).mAP > 0.95


def test_cameras_must_be_given_for_every_vector():
    with pytest.raises(SemreidError, match=r"3 \+ 3 vectors, but 3 \+ 2 cameras"):
        center_by_camera(np.eye(3), np.eye(3), np.ones(3, int), np.ones(2, int))


def plainly(vectors, kinds, nearest):
    found = np.zeros((len(vectors), kinds.max() + 1))
    for i, vector in enumerate(vectors):
        for camera in range(kinds.max() + 1):
            alike = sorted((vector @ vectors[j] for j in np.flatnonzero(kinds == camera) if j != i), reverse=True)
            found[i, camera] = np.mean(alike[:nearest]) if alike else 0
    return found


@pytest.mark.parametrize("tile", [7, 2048])
@pytest.mark.parametrize("nearest", [1, 3, 50])
def test_likeness_is_that_of_a_plain_loop(nearest, tile, monkeypatch):
    monkeypatch.setattr(distance, "TILE", tile)
    rng = np.random.default_rng(1)
    vectors, kinds = rng.normal(size=(40, 4)), np.append(rng.integers(0, 3, 39), 3)  # the last camera has one crop
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(likeness_by_camera(vectors, kinds, nearest), plainly(vectors, kinds, nearest), atol=1e-6)


def test_vectors_that_differ_by_rounding_alone_become_zero():
    vectors = np.array([[0.6, 0.8], [0.6 + 1e-7, 0.8], [1, 0]], np.float32)
    assert not centred(vectors, np.array([1, 1, 2])).any()


def test_cameras_are_whole_numbers():
    with pytest.raises(SemreidError, match="cameras are of type float64"):
        center_by_camera(np.eye(3), np.eye(3), np.array([1, 2, np.nan]), np.ones(3))
