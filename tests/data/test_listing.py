import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.data.images import IMAGE_SUFFIXES, read_image
from semreid.data.listing import (
    Count,
    expect_counts,
    hashed_order,
    left_out,
    lift_pids,
    list_images,
    parse_market,
    require_folder,
)
from semreid.data.names import MARKET_NAME
from semreid.data.sample import ReIDDataset, Sample
from semreid.errors import SemreidError
from semreid.gallery.enroll import crops_below


@given(
    pid=st.integers(-1, 99_999),
    width=st.integers(1, 6),
    camid=st.integers(0, 99),
    rest=st.sampled_from(["s1_001051_00.jpg", "_f0046985.jpg", "_2.png", ".jpg", "s3_c5_9.jpg"]),
)
def test_market_names_give_back_their_numbers(pid, width, camid, rest):
    name = f"{pid if pid < 0 else str(pid).zfill(width)}_c{camid}{rest}"
    match = MARKET_NAME.match(name)
    assert match is not None
    assert tuple(map(int, match.groups())) == (pid, camid)


@given(st.text("0٣7-_cCs. x", max_size=12))
def test_other_names_never_give_a_negative_camera_or_a_crash(name):
    match = MARKET_NAME.match(name)
    if match is not None:
        assert int(match[2]) >= 0
        assert name.startswith(match[1])


def test_only_the_base_name_is_parsed(write_images):  # docs/protocols.md, bug 2
    root = write_images("0012_c3/7_c2_set/0005_c1s1_000001_00.jpg")
    (sample,) = parse_market(root / "0012_c3" / "7_c2_set")
    assert (sample.pid, sample.camid) == (5, 1)


def test_junk_is_minus_one_and_never_one(write_images):  # docs/protocols.md, bug 17
    assert [s.pid for s in parse_market(write_images("-1_c1s1_000001_00.jpg"))] == [-1]


def test_listing_is_sorted_and_skips_what_is_no_image(write_images):
    root = write_images("b_2.jpg a_1.PNG c_3.tif ._a_1.jpg .hidden.png")
    (root / "Thumbs.db").touch()
    assert [p.name for p in list_images(root)] == ["a_1.PNG", "b_2.jpg", "c_3.tif"]


@pytest.fixture
def linked(write_images, tmp_path):
    """Links to a file and to folders, one of them back in a circle; what is no image, and a pipe called like one."""
    write_images("away/1.jpg away/deep/2.png in/3.gif in/masks/3.png")
    root = tmp_path / "in"
    (root / "folder").symlink_to("../away")
    (root / "4.jfif").symlink_to("../away/1.jpg")
    (tmp_path / "away" / "round").symlink_to("../in")
    (root / "broken.jpg").symlink_to("nowhere")
    (root / "itself.jpg").symlink_to("itself.jpg")
    os.mkfifo(root / "pipe.png")
    (root / "5.heic").touch()
    (root / "README").touch()
    return root


def test_links_are_followed_and_everything_else_is_counted_and_named(linked):
    found = [str(path.relative_to(linked)) for path in list_images(linked, nested=True)]
    assert found == ["3.gif", "4.jfif", "folder/1.jpg", "folder/deep/2.png"]
    line = left_out(linked)
    assert line.startswith("5 files (1 .heic, 1 without suffix, 2 .jpg, 1 .png), such as ")
    assert f"such as {linked / 'broken.jpg'}, a link to nowhere, where nothing is: left out" in line
    (linked / "broken").mkdir()
    (linked / "broken.jpg").rename(linked / "broken" / "a.jpg")
    with pytest.raises(SemreidError, match="holds no image that can be read: .* a link to nowhere") as caught:
        list_images(linked / "broken")
    assert "put what is missing back there" in caught.value.fix
    assert left_out(linked / "folder" / "deep") == ""


def test_a_folder_of_what_cannot_be_read_says_what_it_holds(tmp_path):
    (tmp_path / "a.heic").touch()
    with pytest.raises(SemreidError, match=r"holds no image that can be read: 1 files \(1 \.heic\), such as .*a\.heic"):
        list_images(tmp_path)


def test_names_that_are_not_utf8_are_refused_before_any_work(write_images):
    root = write_images("ok_c1.jpg")
    Path(os.fsdecode(bytes(root) + b"/caf\xe9_c1.jpg")).touch()
    with pytest.raises(SemreidError, match=r"1 of 2 file names are not UTF-8, such as '.*caf\\udce9_c1\.jpg'") as error:
        list_images(root)
    assert "convmv" in error.value.fix


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)
SUFFIXES = st.sampled_from([*sorted(IMAGE_SUFFIXES), ".JPG", ".heic", ".avif", ".txt", ""])


@settings(deadline=None, max_examples=50)
@given(st.sets(st.tuples(st.sampled_from(["", "a/", "b/c/"]), NAMES, SUFFIXES), min_size=1, max_size=8))
def test_one_rule_for_images(names):
    with TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        for below, name, suffix in names - {("", "a", ""), ("", "b", ""), ("b/", "c", "")}:
            path = root / below / f"{name}{suffix}"
            if name in (".", "..") or len(path.name.encode()) > 255:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        files = {p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")}
        read = {path for path in files if "is empty" in complaint(path)}
        try:
            images = set(list_images(root, nested=True)) if root.is_dir() else set()
        except SemreidError:
            images = set()
        assert images == read
        assert (left_out(root) == "") is (images == files)
        if images != files:
            assert left_out(root).startswith(f"{len(files - images)} files ")
        if images:
            assert {Path(crop.entry.path) for crop in crops_below(root, unlabelled=True)} == images


def complaint(path):
    with pytest.raises(SemreidError) as error:
        read_image(path)
    return error.value.what


def test_missing_and_empty_folders_say_what_is_there(tmp_path):
    (tmp_path / "Market-1501").mkdir()
    with pytest.raises(SemreidError, match=r"no folder .*query") as error:
        require_folder(tmp_path / "query")
    assert "Market-1501" in error.value.fix
    with pytest.raises(SemreidError, match="is empty or missing"):
        require_folder(tmp_path / "gone" / "query")
    with pytest.raises(SemreidError, match="holds no image"):
        list_images(tmp_path / "Market-1501")


def test_a_name_without_camera_is_named_and_counted(write_images):
    says = r"0005_000001\.jpg: the file name does not follow PPPP_cC\.\.\. \(1 of 3 in this folder\)"
    with pytest.raises(SemreidError, match=says):
        parse_market(write_images("0001_c1.jpg 0002_cam02.jpg 0005_000001.jpg"))


def test_counts_differ_loudly_and_agree_silently():
    samples = (Sample(Path("a.jpg"), 1, 1), Sample(Path("b.jpg"), 1, 2))
    dataset = ReIDDataset("toy", Path(), samples, samples, samples)
    good = {"train": Count(1, 2), "query": Count(None, 2), "gallery": Count(1, None)}
    assert expect_counts(dataset, good).warnings == ()
    (warning,) = expect_counts(dataset, good | {"gallery": Count(1, 2_000)}).warnings
    assert warning.startswith("toy: gallery has 1 identities and 2 images, published are 1 and 2,000")


def test_lifting_keeps_everything_else():
    sample = Sample(Path("a.jpg"), 0, 3, "item", 1.5)
    assert lift_pids([sample], by=5) == (Sample(Path("a.jpg"), 5, 3, "item", 1.5),)


@given(st.sets(st.integers(0, 10_000), max_size=30), st.sampled_from("0123456789"))
def test_hashed_order_is_a_permutation_that_ignores_the_order_given(values, salt):
    order = hashed_order(values, salt)
    assert set(order) == values
    assert order == hashed_order(sorted(values, reverse=True), salt)
