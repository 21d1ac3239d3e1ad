from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semreid.data.sample import ReIDDataset, Sample
from semreid.data.split import hold_out, query_and_gallery, without_leaked
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate_features


def make(pids: range, cameras: int = 2, images: int = 3) -> tuple[Sample, ...]:
    return tuple(Sample(Path(f"{p}_{c}_{i}"), p, c) for p in pids for c in range(cameras) for i in range(images))


def test_first_image_of_each_identity_and_camera_is_the_query() -> None:
    query, gallery = query_and_gallery(make(range(1, 3)))
    assert [s.path.name for s in query] == ["1_0_0", "1_1_0", "2_0_0", "2_1_0"]
    assert len(gallery) == 8
    assert not set(query) & set(gallery)


def test_only_image_of_a_camera_is_both() -> None:
    samples = make(range(1, 2), cameras=2, images=1)
    assert query_and_gallery(samples) == (samples, samples)


def test_hold_out_splits_identities_and_never_touches_the_test_set() -> None:
    dataset = ReIDDataset("toy", Path(), make(range(1, 11)), make(range(50, 52)), make(range(50, 52)))
    kept, validation = hold_out(dataset, 0.3, seed=1)
    assert validation is not None
    held = {s.pid for s in validation.query}
    assert len(held) == 3
    assert held == {s.pid for s in validation.gallery}
    assert held.isdisjoint({s.pid for s in kept})
    assert len(kept) + len(validation.query) + len(validation.gallery) == len(dataset.train)
    assert validation.name == "toy (held out)"
    assert hold_out(dataset, 0.3, seed=1)[0] == kept
    assert hold_out(dataset, 0.3, seed=2)[0] != kept


def test_nothing_held_out() -> None:
    dataset = ReIDDataset("toy", Path(), make(range(1, 4)), (), ())
    assert hold_out(dataset, 0, seed=0) == (dataset.train, None)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_too_few_identities_on_a_side(share: float) -> None:
    dataset = ReIDDataset("toy", Path(), make(range(1, 6)), (), ())
    with pytest.raises(SemreidError, match=r"cannot hold out .* of 5 training identities"):
        hold_out(dataset, share, seed=0)


@pytest.mark.parametrize("camera_of", [lambda _: 0, lambda pid: pid % 3], ids=["one camera", "one each"])
def test_held_out_people_of_one_camera_each_can_be_judged(camera_of: Callable[[int], int]) -> None:
    train = tuple(Sample(Path(f"{p}_{i}"), p, camera_of(p)) for p in range(1, 11) for i in range(1 if p % 2 else 3))
    kept, validation = hold_out(ReIDDataset("toy", Path(), train, (), ()), 0.5, seed=0)
    assert validation is not None
    query, gallery = validation.query, validation.gallery
    assert all(s in train for s in kept)
    assert {s.camid for s in query} == {0}
    assert {s.camid for s in gallery} == {1}
    assert [s.path.name for s in query] == [f"{s.pid}_0" for s in query]
    assert not {s.path for s in query} & {s.path for s in gallery}
    assert len(kept) + len(query) + len(gallery) == len(train)
    several = {s.pid for s in query}
    assert several == {pid for pid in {s.pid for s in gallery} if pid % 2 == 0}
    features = np.eye(10, dtype=np.float32)
    report = evaluate_features(
        *(features[[s.pid - 1 for s in side]] for side in (query, gallery)), query, gallery, validation.protocol
    )
    assert report.counts["valid_queries"] == len(several) > 0
    assert report.metrics["mAP"] == 100
    assert "query 0, gallery 1" in validation.protocol.note


def test_cameras_stay_what_they_are_where_somebody_is_seen_by_two() -> None:
    train = (*make(range(1, 10), cameras=1), *make(range(10, 11)))
    found = [hold_out(ReIDDataset("toy", Path(), train, (), ()), 0.5, seed=seed)[1] for seed in range(4)]
    for validation in found:
        assert validation is not None
        assert set(validation.query + validation.gallery) <= set(train) or 10 not in {s.pid for s in validation.query}
    assert {10 in {s.pid for s in validation.query} for validation in found if validation} == {False, True}


def test_held_out_people_of_one_image_each_are_refused() -> None:
    dataset = ReIDDataset("toy", Path(), make(range(1, 11), cameras=1, images=1), (), ())
    with pytest.raises(SemreidError, match="none of these 3 has two images"):
        hold_out(dataset, 0.3, seed=0)


def test_a_query_file_in_the_gallery_under_another_camera_is_dropped() -> None:
    query = (Sample(Path("a"), 1, 1), Sample(Path("m"), 1, 1, item="x"))
    gallery = (Sample(Path("a"), 1, 1), Sample(Path("a"), 1, 2), Sample(Path("m"), 1, 2, item="y"))
    assert without_leaked(query, gallery) == (gallery[0], gallery[2])


def test_of_a_file_that_is_asked_under_two_cameras_no_copy_is_found_for_free() -> None:
    query = (Sample(Path("a"), 1, 1), Sample(Path("a"), 1, 2), Sample(Path("b"), 1, 2))
    gallery = (*query, Sample(Path("a"), 1, 3), Sample(Path("c"), 1, 1))
    assert without_leaked(query, gallery) == (query[2], gallery[-1])


def test_crops_of_one_picture_are_not_each_other() -> None:
    first, second = ((float(x), 0.0, float(x + 8), 20.0) for x in (0, 10))
    query = (Sample(Path("a"), 1, 1, box=first),)
    gallery = (Sample(Path("a"), 2, 2, box=second), Sample(Path("a"), 1, 2, box=first))
    assert without_leaked(query, gallery) == gallery[:1]
