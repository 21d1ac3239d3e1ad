from pathlib import Path

import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.benchmarks.cuhk03_np import PUBLISHED
from semreid.data.sample import num_identities
from semreid.errors import SemreidError


@pytest.fixture
def root(write_images):
    return write_images(
        f"{boxes}/{part}/{pid:04d}_c{c}_{i}.png"
        for boxes in ("labeled", "detected")
        for part, pid, i in (("bounding_box_train", 1, 1), ("query", 2, 1), ("bounding_box_test", 2, 2))
        for c in (1, 2)
    )


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_a_variant_is_found_from_above_and_by_itself(root, boxes):
    above = load_dataset(f"cuhk03-np/{boxes}:{root}")
    itself = load_dataset(f"cuhk03-np/{boxes}:{root / boxes}")
    assert above == itself
    assert above.name == f"cuhk03-np/{boxes}"
    assert above.root == root / boxes
    assert [len(part) for part in (above.train, above.query, above.gallery)] == [2, 2, 2]
    assert len(above.warnings) == 3


def test_the_default_is_labeled(root):
    assert load_dataset(f"cuhk03-np:{root}").name == "cuhk03-np/labeled"


def test_one_variant_is_not_taken_for_the_other(root):  # docs/protocols.md, bug 19
    with pytest.raises(SemreidError, match="ask for cuhk03-np/labeled"):
        load_dataset(f"cuhk03-np/detected:{root / 'labeled'}")


def test_published_counts():
    totals = {boxes: sum(count.images for count in parts.values()) for boxes, parts in PUBLISHED.items()}
    assert totals == {"labeled": 14_096, "detected": 14_097}


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_camera_pair_1_of_the_real_data_set(real_crops: Path, boxes: str):
    dataset = load_dataset(f"cuhk03-np/{boxes}:{real_crops}")
    parts = (dataset.train, dataset.query, dataset.gallery)
    assert [(num_identities(part), len(part)) for part in parts] == [(593, 5_778), (150, 300), (150, 1_161)]
    assert {s.camid for part in parts for s in part} == {1, 2}
    assert len(dataset.warnings) == 3
    assert all("do not report" in warning for warning in dataset.warnings)
