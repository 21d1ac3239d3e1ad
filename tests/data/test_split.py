from pathlib import Path

import pytest

from semreid.data.sample import ReIDDataset, Sample
from semreid.data.split import hold_out, query_and_gallery
from semreid.errors import SemreidError


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
