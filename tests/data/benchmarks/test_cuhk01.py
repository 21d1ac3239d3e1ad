import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.sample import num_identities
from semreid.errors import SemreidError


@pytest.fixture(scope="module")
def root(touch_once):
    """CUHK01 at its published size."""
    return touch_once(f"{pid:04d}{i:03d}.png" for pid in range(1, 972) for i in range(1, 5))


def test_both_settings_and_shots_at_full_size(root):
    for size, shots in ((486, "multi"), (486, "single"), (100, "multi"), (100, "single")):
        dataset = load_dataset(f"cuhk01/{size}-{shots}:{root}")
        assert dataset.warnings == ()
        assert num_identities(dataset.train) == 971 - size
        assert num_identities(dataset.gallery) == size
        assert len(dataset.query) == len(dataset.gallery) == 2 * size
        assert dataset.protocol.gallery_shots == ("all" if shots == "multi" else "single")
        assert shots in dataset.protocol.note


def test_views_are_cameras_and_splits_differ(root):
    first, second = (load_dataset(f"cuhk01/486-multi/{n}:{root}") for n in (0, 1))
    assert {(s.path.name[4:7], s.camid) for s in first.query} == {("001", 0), ("002", 0)}
    assert {(s.path.name[4:7], s.camid) for s in first.gallery} == {("003", 1), ("004", 1)}
    test_ids = [{s.pid for s in dataset.query} for dataset in (first, second)]
    assert test_ids[0] != test_ids[1]
    assert test_ids[0].isdisjoint(s.pid for s in first.train)
    assert first == load_dataset(f"cuhk01:{root}")


def test_the_campus_folder_wrong_names_and_counts(touch):
    root = touch(f"campus/{pid:04d}{i:03d}.png" for pid in (1, 2) for i in range(1, 5))
    dataset = load_dataset(f"cuhk01/100-multi:{root}")
    assert len(dataset.query) == 4
    assert "published are 871 and 3,484" in dataset.warnings[0]
    touch(["campus/1_c2.png"])
    with pytest.raises(SemreidError, match=r"1_c2\.png: the file name does not follow PPPPNNN\.png"):
        load_dataset(f"cuhk01:{root}")


def test_what_is_no_image_that_can_be_read_is_named_wherever_the_images_lie(touch):
    root = touch([*(f"{pid:04d}{i:03d}.png" for pid in (1, 2) for i in range(1, 5)), "0003001.heic"])
    assert "1 files (1 .heic)" in load_dataset(f"cuhk01/100-multi:{root}").warnings[-1]
