from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semreid.data.listing import (
    MARKET_NAME,
    Count,
    expect_counts,
    hashed_order,
    lift_pids,
    list_images,
    parse_market,
    require_folder,
)
from semreid.data.sample import ReIDDataset, Sample
from semreid.errors import SemreidError


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


def test_missing_and_empty_folders_say_what_is_there(tmp_path):
    (tmp_path / "Market-1501").mkdir()
    with pytest.raises(SemreidError, match=r"no folder .*query") as error:
        require_folder(tmp_path / "query")
    assert "Market-1501" in error.value.fix
    with pytest.raises(SemreidError, match="is empty or missing"):
        require_folder(tmp_path / "gone" / "query")
    with pytest.raises(SemreidError, match="holds no image"):
        list_images(tmp_path / "Market-1501")


def test_a_name_without_camera_is_one_error(write_images):
    with pytest.raises(SemreidError, match=r"0005_000001\.jpg: the file name does not follow"):
        parse_market(write_images("0005_000001.jpg"))


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
