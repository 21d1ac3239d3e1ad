import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.benchmarks.market1501 import PUBLISHED
from semreid.data.images import read_image
from semreid.errors import SemreidError

TRAIN = [f"bounding_box_train/0002_c{c}s1_00045{i}_0{i}.jpg" for c in (1, 2) for i in (1, 2)]
QUERY = ["query/0001_c1s1_001051_00.jpg", "query/0001_c2s1_001051_00.jpg"]
PEOPLE = [f"bounding_box_test/0001_c{c}s1_001{i}51_01.jpg" for c in (1, 2) for i in (1, 2)]
DISTRACTOR = "bounding_box_test/0000_c3s2_000051_04.jpg"
JUNK = ["bounding_box_test/-1_c1s1_000401_03.jpg", "bounding_box_test/-1_c6s4_000401_03.jpg"]


@pytest.fixture
def root(write_images):
    return write_images([*TRAIN, *QUERY, *PEOPLE, DISTRACTOR, *JUNK])


def test_junk_goes_and_distractors_stay(root):  # docs/protocols.md, bugs 3 and 17
    dataset = load_dataset(f"market1501:{root}")
    assert [s.pid for s in dataset.gallery] == [0, 1, 1, 1, 1]
    assert dataset.junk_removed == 2
    assert {s.pid for s in dataset.train} == {2}
    assert [(s.pid, s.camid) for s in dataset.query] == [(1, 1), (1, 2)]
    assert dataset.protocol.junk == "same-pid-and-camera"
    assert dataset.name == "market1501"
    assert "no redistribution" in dataset.terms


def test_counts_are_the_published_ones_or_loudly_not(root):
    assert PUBLISHED["train"] == (751, 12_936)
    assert PUBLISHED["query"] == (750, 3_368)
    assert PUBLISHED["gallery"] == (751, 15_913)  # 750 people, and pid 0
    warnings = load_dataset(f"market1501:{root}").warnings
    assert [w.split()[1] for w in warnings] == ["train", "query", "gallery"]
    assert "published are 751 and 12,936" in warnings[0]


def test_junk_and_distractors_never_train(write_images, root):
    write_images("bounding_box_train/-1_c1s1_000001_00.jpg bounding_box_train/0000_c1s1_000001_00.jpg")
    assert {s.pid for s in load_dataset(f"market1501:{root}").train} == {2}


@pytest.mark.parametrize("folder", ["bounding_box_train", "query", "bounding_box_test"])
def test_a_missing_or_empty_folder_is_named(root, folder):
    for file in (root / folder).iterdir():
        file.unlink()
    with pytest.raises(SemreidError, match=f"{folder} holds no image"):
        load_dataset(f"market1501:{root}")
    (root / folder).rmdir()
    with pytest.raises(SemreidError, match=f"no folder .*{folder}"):
        load_dataset(f"market1501:{root}")


def test_a_name_without_camera_is_named(write_images, root):
    write_images("query/0001_001051_00.jpg")
    with pytest.raises(SemreidError, match=r"0001_001051_00\.jpg: .* PPPP_cCsS_FFFFFF_BB\.jpg"):
        load_dataset(f"market1501:{root}")


def test_a_corrupt_image_is_listed_by_the_loader_and_named_by_the_reader(root):
    (root / QUERY[0]).write_bytes(b"\xff\xd8\xff\xe0 cut")
    dataset = load_dataset(f"market1501:{root}")
    with pytest.raises(SemreidError, match="0001_c1s1_001051_00"):
        read_image(dataset.query[0])
    assert read_image(dataset.query[1]).shape == (8, 4, 3)


def test_synthetic_people_have_the_same_layout_and_no_published_counts(root):
    dataset = load_dataset(f"people:{root}")
    assert dataset.name == "people"
    assert dataset.warnings == ()
    assert len(dataset.gallery) == 5
    assert "synthetic" in dataset.terms
