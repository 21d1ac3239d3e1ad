import pytest
from hypothesis import given
from hypothesis import strategies as st

from semreid.data.benchmarks import load_dataset
from semreid.data.benchmarks.partial import LEADING_ID
from semreid.data.sample import num_identities
from semreid.errors import SemreidError

FOLDERS = ("partial_body_images", "occluded_body_images", "whole_body_images")


@pytest.fixture(scope="module")
def partial_reid(touch_once):
    """Partial-REID at its published size."""
    return touch_once(f"{f}/{pid:03d}_{i:03d}.jpg" for f in FOLDERS for pid in range(1, 61) for i in range(1, 6))


@pytest.mark.parametrize("probe", ["partial", "occluded"])
@pytest.mark.parametrize("shots", ["", "-single"])
def test_partial_reid_variants_at_full_size(partial_reid, probe, shots):
    dataset = load_dataset(f"partial-reid/{probe}{shots}:{partial_reid}")
    assert dataset.warnings == ()
    assert dataset.train == ()
    assert {s.path.parent.name for s in dataset.query} == {f"{probe}_body_images"}
    assert (num_identities(dataset.query), len(dataset.query)) == (60, 300)
    assert (num_identities(dataset.gallery), len(dataset.gallery)) == (60, 300)
    protocol = dataset.protocol
    expected = ("single", 10, False) if shots else ("all", 1, True)
    assert (protocol.gallery_shots, protocol.repeats, protocol.has_map) == expected
    assert protocol.ranks == (1, 3, 5, 10)  # as the tables
    assert f"{probe} probes" in dataset.protocol.note


def test_the_number_of_an_image_is_no_camera(partial_reid):  # docs/protocols.md, bug 1
    dataset = load_dataset(f"partial-reid:{partial_reid}")
    assert {s.camid for s in dataset.query} == {0}
    assert {s.camid for s in dataset.gallery} == {1}
    query = dataset.query[0]
    same_number = [g for g in dataset.gallery if g.path.name == query.path.name]
    assert [g.pid == query.pid and g.camid != query.camid for g in same_number] == [True]  # a match, not junk
    kept = [g for g in dataset.gallery if g.pid == query.pid and g.camid != query.camid]
    assert len(kept) == 5


@pytest.mark.parametrize(
    ("probe", "whole", "name"),
    [
        ("partial_body_images", "whole_body_images", "{:03d}.jpg"),
        ("Probe", "Gallery", "{}.bmp"),
        ("Probe", "Gallery", "{:03d}_2.png"),
    ],
)
def test_partial_ilids_packagings_at_full_size(touch, probe, whole, name):
    root = touch(f"{folder}/{name.format(pid)}" for folder in (probe, whole) for pid in range(1, 120))
    dataset = load_dataset(f"partial-ilids:{root}")
    assert dataset.warnings == ()
    assert {s.pid for s in dataset.query} == {s.pid for s in dataset.gallery} == set(range(1, 120))
    assert {(s.camid, g.camid) for s, g in zip(dataset.query, dataset.gallery, strict=True)} == {(0, 1)}


def test_occluded_reid_at_full_size(touch):
    folders = ("occluded_body_images", "whole_body_images")
    root = touch(f"{f}/{pid:03d}/{pid:03d}_{i:02d}.tif" for f in folders for pid in range(1, 201) for i in range(1, 6))
    dataset = load_dataset(f"occluded-reid:{root}")
    assert dataset.warnings == ()
    assert len(dataset.query) == len(dataset.gallery) == 1_000
    assert {s.camid for s in dataset.query} == {0}


def test_people_counted_from_0_are_no_distractors(touch):
    root = touch(f"{folder}/{pid}.jpg" for folder in ("Probe", "Gallery") for pid in range(3))
    dataset = load_dataset(f"partial-ilids:{root}")
    assert [s.pid for s in dataset.query] == [s.pid for s in dataset.gallery] == [1, 2, 3]
    assert "published are 119 and 119" in dataset.warnings[0]


def test_a_probe_without_its_whole_body_is_loud(touch):
    root = touch(
        ["partial_body_images/006_001.jpg", "partial_body_images/007_001.jpg", "whole_body_images/006_001.jpg"]
    )
    with pytest.raises(SemreidError, match=r"person 7 has no image in .*whole_body_images"):
        load_dataset(f"partial-reid:{root}")


def test_missing_folders_and_wrong_names(touch, tmp_path):
    with pytest.raises(SemreidError, match=r"no folder .*occluded_body_images"):
        load_dataset(f"partial-reid/occluded:{tmp_path}")
    root = touch(f"{folder}/alice.jpg" for folder in FOLDERS)
    with pytest.raises(SemreidError, match=r"alice\.jpg: the file name does not follow"):
        load_dataset(f"partial-reid:{root}")


@given(st.integers(0, 999), st.integers(0, 999), st.sampled_from([".jpg", ".tif", "_001.jpg", "_c2.png"]))
def test_the_id_is_the_text_before_the_underscore(pid, width, rest):
    name = str(pid).zfill(width % 5) + rest
    match = LEADING_ID.match(name)
    assert match is not None
    assert int(match[1]) == pid
