import pytest
from hypothesis import given
from hypothesis import strategies as st

from semreid.data.benchmarks import load_dataset
from semreid.data.benchmarks.msmt17 import IMAGE_NAME, PUBLISHED
from semreid.errors import SemreidError

LISTS = {
    "train": ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_000_15_0303noon_0015_1.jpg 1"],
    "val": ["0001/0001_001_02_0303morning_0015_0.jpg 1"],
    "query": ["0000/0000_000_03_0303morning_0020_0.jpg 0"],
    "gallery": ["0000/0000_001_04_0303evening_0020_0.jpg 0", "0001/0001_000_05_0303noon_0020_0.jpg 1"],
}


@pytest.fixture(params=[("V1", "train", "test"), ("V2", "mask_train_v2", "mask_test_v2")], ids=["V1", "V2"])
def release(request, write_images):
    version, train, test = request.param
    for part, lines in LISTS.items():
        folder = train if part in ("train", "val") else test
        root = write_images(f"{folder}/{line.split()[0]}" for line in lines)
        (root / f"list_{part}.txt").write_text("\n".join(lines) + "\n")
    return root, version


@pytest.fixture
def root(release):
    return release[0]


def test_lists_cameras_and_version(release):
    root, version = release
    dataset = load_dataset(f"msmt17:{root}")
    assert [s.camid for s in dataset.train] == [1, 15, 2]
    assert [s.camid for s in dataset.query + dataset.gallery] == [3, 4, 5]
    assert dataset.protocol.note == f"MSMT17 {version}, trained on trainval"
    assert dataset.name == "msmt17/trainval"
    assert len(dataset.warnings) == 3


def test_train_and_test_people_never_share_an_id_nor_0(root):  # docs/protocols.md, bug 12
    for variant in ("train", "trainval"):
        dataset = load_dataset(f"msmt17/{variant}:{root}")
        assert {s.pid for s in dataset.train} == {1, 2}
        assert {s.pid for s in dataset.query} == {3}
        assert {s.pid for s in dataset.gallery} == {3, 4}


def test_the_two_training_conventions(root):
    assert len(load_dataset(f"msmt17/train:{root}").train) == 2
    assert len(load_dataset(f"msmt17/trainval:{root}").train) == 3
    assert PUBLISHED["trainval"]["train"].images - PUBLISHED["train"]["train"].images == 2_373
    assert PUBLISHED["train"]["query"].images == 11_659
    assert PUBLISHED["train"]["gallery"].images == 82_161


def test_a_listed_image_that_is_missing_is_loud(root):  # docs/protocols.md, bug 20
    with (root / "list_gallery.txt").open("a") as file:
        file.write("0007/0007_000_05_0303noon_0020_0.jpg 7\n")
    with pytest.raises(SemreidError, match=r"list_gallery\.txt, line 3: there is no image .*0007_000_05"):
        load_dataset(f"msmt17:{root}")


@pytest.mark.parametrize("line", ["0000/0000_000_03_0303morning_0020_0.jpg", "a.jpg x", "a.jpg -1", "0"])
def test_a_wrong_line_is_named(root, line):
    (root / "list_query.txt").write_text(f"\n{line}\n")
    with pytest.raises(SemreidError, match=r"list_query\.txt, line 2: .* is not of the form 'PATH PID'"):
        load_dataset(f"msmt17:{root}")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_without_its_lists_it_cannot_be_judged(root, content):
    path = root / "list_query.txt"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(SemreidError, match=r"list_query\.txt"):
        load_dataset(f"msmt17:{root}")


def test_a_name_without_camera_is_named(root, release, write_images):
    folder = "test" if release[1] == "V1" else "mask_test_v2"
    write_images(f"{folder}/0000/portrait.jpg")
    (root / "list_query.txt").write_text("0000/portrait.jpg 0\n")
    with pytest.raises(SemreidError, match=r"portrait\.jpg: the file name does not follow"):
        load_dataset(f"msmt17:{root}")


def test_without_images_it_says_what_to_point_to(tmp_path):
    with pytest.raises(SemreidError, match=r"no folder .*train"):
        load_dataset(f"msmt17:{tmp_path}")


@given(*[st.integers(0, 9_999)] * 2, st.integers(1, 15), st.sampled_from(["morning", "noon", "afternoon"]))
def test_the_camera_is_the_third_field(pid, number, camid, time):
    match = IMAGE_NAME.match(f"{pid:04d}_{number:03d}_{camid:02d}_0303{time}_0015_0.jpg")
    assert match is not None
    assert int(match[1]) == camid
