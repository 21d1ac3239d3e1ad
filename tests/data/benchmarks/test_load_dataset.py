from pathlib import Path

import pytest

from semreid.data.benchmarks import BENCHMARKS, describe_benchmarks, load_dataset
from semreid.errors import SemreidError

NAMES = {
    *("market1501", "cuhk03", "cuhk03-np", "msmt17", "partial-reid", "partial-ilids", "occluded-reid"),
    *("occluded-duke", "dukemtmc", "cuhk01", "viper", "people", "folder"),
}


def test_every_name_is_known_and_described():
    assert set(BENCHMARKS) == NAMES
    text = describe_benchmarks()
    assert all(f"{name}: " in text for name in NAMES)
    assert "classic-labeled[/0-19]" in text


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("market1501", "not of the form"),
        ("market1501:", "not of the form"),
        ("", "not of the form"),
        ("markt1501:/d", "did you mean 'market1501'"),
        ("zzz:/d", "the names are market1501, cuhk03,"),
        ("cuhk03-np/label:/d", "its variants are labeled, detected"),
        ("market1501/v1:/d", "it has none: write market1501:PATH"),
        ("cuhk03/classic-labeled/20:/d", r"classic-labeled\[/0-19\]"),
        ("cuhk03/np-labeled/0:/d", "has no variant"),
        ("viper/half/x:/d", r"half\[/0-9\]"),
        ("viper/half/:/d", r"half\[/0-9\]"),
        ("cuhk03-np:/no/such/folder", "there is no /no/such/folder"),
        ("folder:/no/such/table.csv", "there is no /no/such/table.csv\n  way out: check the path"),
    ],
)
def test_a_wrong_spec_is_one_error_with_the_way_out(spec, says):
    with pytest.raises(SemreidError, match=says) as error:
        load_dataset(spec)
    assert error.value.fix


def test_only_the_first_colon_separates(write_images):
    root = write_images(f"a:b/{part}/0001_c{c}_1.jpg" for part in ("query", "gallery") for c in (1, 2))
    assert len(load_dataset(f"folder:{root}/a:b").query) == 2


def test_a_file_is_no_benchmark_folder(tmp_path):
    (tmp_path / "market.zip").touch()
    with pytest.raises(SemreidError, match="is not a folder"):
        load_dataset(f"market1501:{tmp_path}/market.zip")


def test_home_is_expanded(monkeypatch, write_images):
    root = write_images("d/query/0001_c1_1.jpg d/gallery/0001_c2_1.jpg")
    monkeypatch.setenv("HOME", str(root))
    assert load_dataset("folder:~/d").root == root / "d"


@pytest.mark.parametrize("spec", [None, Path("people:x"), 3, b"people:x"])
def test_what_is_no_text_is_refused_as_other_words_are(spec: object) -> None:
    with pytest.raises(SemreidError, match="is not of the form NAME"):
        load_dataset(spec)  # type: ignore[arg-type]
