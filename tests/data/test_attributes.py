from pathlib import Path

import pytest

from semreid.data.attributes import read_attributes
from semreid.data.sample import Sample
from semreid.errors import SemreidError

SAMPLES = [Sample(Path(f"{i}.png"), pid, 1) for i, pid in enumerate((7, 3, 7))]


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "attributes.csv").write_text(text)
    return tmp_path / "attributes.csv"


def test_every_sample_gets_the_row_of_its_person(tmp_path: Path) -> None:
    table = read_attributes(write(tmp_path, "pid,hat,bag\n3,0,1\n0007,1,0\n9,1,1\n"), SAMPLES)
    assert table.tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read"),
        ("person,hat\n3,0\n", "the columns are person, hat"),
        ("pid\n3\n", "the columns are pid"),
        ("pid,hat\n3,2\n7,0\n", "row 2 is no row of attributes: 3,2"),
        ("pid,hat\n3,0\n7\n", "row 3 is no row of attributes: 7"),
        ("pid,hat\nx,0\n", "row 2 is no row"),
        ("pid,hat\n3,0\n3,1\n", "row 3: person 3 is there twice"),
        ("pid,hat\n3,0\n", "lacks 1 people, such as 7"),
    ],
)
def test_wrong_files_say_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SemreidError, match=message) as caught:
        read_attributes(write(tmp_path, text), SAMPLES)
    assert caught.value.fix


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="learns from attributes, and cannot read .*attributes.csv"):
        read_attributes(tmp_path / "attributes.csv", SAMPLES)
