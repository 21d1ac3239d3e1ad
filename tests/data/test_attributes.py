import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from semreid.data.attributes import MARKET_GROUPS, attribute_file, read_attributes
from semreid.data.benchmarks import load_dataset
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
        ("pid,hat\n,0\n", "row 2 is no row"),
        ("pid,hat\n3,0\n3,1\n", "row 3: person 3 is there twice"),
        ("pid,hat\n3,0\n", "lacks 1 people, such as 7"),
    ],
)
def test_wrong_files_say_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SemreidError, match=message) as caught:
        read_attributes(write(tmp_path, text), SAMPLES)
    assert caught.value.fix


@pytest.mark.parametrize("people", [range(12), ["alice", "bob", "10", "2.0", "-"]], ids=["from 0", "names"])
def test_whoever_is_numbered_anew_keeps_the_row_of_the_name(tmp_path: Path, people: Sequence[object]) -> None:
    for person in people:
        for name in ("a.png", "b.png"):
            (tmp_path / str(person)).mkdir(exist_ok=True)
            (tmp_path / str(person) / name).touch()
    rows = {str(person): [int(bit) for bit in f"{i:04b}"] for i, person in enumerate(people)}
    file = write(tmp_path, "pid,a,b,c,d\n" + "".join(f"{p},{','.join(map(str, row))}\n" for p, row in rows.items()))
    dataset = load_dataset(f"folder:{tmp_path}")
    assert any("numbered anew" in warning for warning in dataset.warnings)
    samples = dataset.train + dataset.query
    assert read_attributes(file, samples).tolist() == [rows[s.path.parent.name] for s in samples]


def test_benchmarks_whose_numbers_are_lifted_are_looked_up_as_their_files_number_people(tmp_path: Path) -> None:
    for camera in ("cam_a", "cam_b"):
        (tmp_path / camera).mkdir()
        for person in range(4):
            (tmp_path / camera / f"{person:03d}_00.bmp").touch()
    dataset = load_dataset(f"viper:{tmp_path}")
    file = write(tmp_path, "pid,even\n0,1\n1,0\n2,1\n3,0\n")
    samples = dataset.train + dataset.query
    assert read_attributes(file, samples).flatten().tolist() == [int(s.path.name[2] in "02") for s in samples]


def test_two_people_of_one_number_are_not_guessed_at(tmp_path: Path) -> None:
    samples = [Sample(Path("a"), 1, 1, identity="7"), Sample(Path("b"), 2, 1, identity="007")]
    with pytest.raises(SemreidError, match="'7' and '007' of the data would both get the row of 7"):
        read_attributes(write(tmp_path, "pid,hat\n7,0\n"), samples)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="learns from attributes, and cannot read .*attributes.csv"):
        read_attributes(tmp_path / "attributes.csv", SAMPLES)


COLOURS = [f"up{c}" for c in ("black", "white", "red", "purple", "yellow", "gray", "blue", "green")]
COLOURS += [f"down{c}" for c in ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown")]
OTHERS = ("backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender")


def market(path: Path, people: dict[str, dict[str, dict[str, int]]], **changes: object) -> Path:
    """Write the file of Market-1501: who is what, by half and id of four digits; all else is no, all are young."""
    halves = {}
    for half, them in people.items():
        columns = {name: np.array([them[pid].get(name, 1) for pid in them]) for name in ("age", *COLOURS, *OTHERS)}
        halves[half] = {**columns, "image_index": np.array(list(them), object)} | changes
    savemat(path / "market_attribute.mat", {"market_attribute": halves})
    return path / "market_attribute.mat"


PEOPLE = {
    "train": {"0007": {"age": 3, "hat": 2, "upred": 2}, "0003": {"gender": 2, "bag": 2, "downbrown": 2, "up": 2}},
    "test": {"0009": {"backpack": 2}, "0010": {"age": 4}},
}
NAMES = [name for group in MARKET_GROUPS.values() for name in group]


def test_those_of_market_become_the_outputs_of_magnifiernet_by_name(tmp_path: Path) -> None:
    samples = [*SAMPLES, Sample(Path("x.png"), 9, 1), Sample(Path("y.png"), 10, 1)]
    table = read_attributes(market(tmp_path, PEOPLE), samples)
    found = [{name for name, value in zip(NAMES, row, strict=True) if value} for row in table.tolist()]
    hat, bag = {"adult", "hat", "upred"}, {"young", "gender", "bag", "downbrown", "up"}
    assert found == [hat, bag, hat, {"young", "backpack"}, {"old"}]
    assert [len(group) for group in MARKET_GROUPS.values()] == [5, 2, 10, 13]
    assert {*NAMES} == {"young", "teenager", "adult", "old", *COLOURS, *OTHERS}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hat": np.array([0, 1])}, "the column hat does not hold a number from 1 to 2 for each of 2 people"),
        ({"age": np.array([1, 5])}, "the column age does not hold a number from 1 to 4"),
        ({"up": np.array([1, 2, 1])}, "the column up does not hold"),
        ({"down": "none"}, "the column down does not hold"),
        ({"image_index": np.array(["0007", "0007"], object)}, "a person is there twice"),
        ({"image_index": np.array(["0007", "x"], object)}, "is no file of attributes of Market-1501"),
        ({"image_index": 3}, "a person is there twice|does not hold"),
    ],
)
def test_a_wrong_file_of_market_says_what_is_wrong(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(SemreidError, match=message) as caught:
        read_attributes(market(tmp_path, PEOPLE, **changes), SAMPLES)
    assert "market_attribute.mat" in str(caught.value)
    assert caught.value.fix


def test_a_file_of_something_else_or_half_a_file(tmp_path: Path) -> None:
    file = market(tmp_path, PEOPLE)
    whole = file.read_bytes()
    for content in (b"", b"pid,hat\n7,1\n", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(SemreidError, match="is no file of attributes of Market-1501"):
            read_attributes(file, SAMPLES)
    savemat(file, {"labels": np.arange(3)})
    with pytest.raises(SemreidError, match="'market_attribute' is missing"):
        read_attributes(file, SAMPLES)
    with pytest.raises(SemreidError, match="lacks 1 people, such as 5") as caught:
        read_attributes(market(tmp_path, PEOPLE), [Sample(Path("z.png"), 5, 1)])
    assert "not those of market_attribute.mat" in caught.value.fix


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, place: int, bit: int) -> None:
    file = market(tmp_path, PEOPLE)
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= 1 << bit
    file.write_bytes(content)
    with contextlib.suppress(SemreidError):
        assert read_attributes(file, SAMPLES).shape == (3, 30)


def test_where_attributes_are_looked_for(tmp_path: Path) -> None:
    data, labels = tmp_path / "data", tmp_path / "labels"
    data.mkdir()
    labels.mkdir()
    assert attribute_file(None, data) == data / "attributes.csv"
    assert attribute_file(labels, data) == labels / "attributes.csv"
    ours = market(data, PEOPLE)
    assert attribute_file(None, data) == attribute_file(labels, data) == attribute_file(ours, labels) == ours
    (labels / "attributes.csv").touch()
    assert attribute_file(labels, data) == labels / "attributes.csv"


def test_the_true_file(real_market: Path) -> None:
    file = real_market / "market_attribute.mat"
    people = read_attributes(file, [Sample(Path("x.png"), pid, 1) for pid in (2, 7, 1)])
    found = [{name for name, value in zip(NAMES, row, strict=True) if value} for row in people.tolist()]
    assert found[0] == {"teenager", "up", "down", "clothes", "upred", "downblue"}
    assert found[1] == {"teenager", "up", "down", "clothes", "upwhite", "bag", "downblack"}
    assert found[2] == {"teenager", "gender", "hair", "up", "down", "upwhite", "downwhite"}


def test_blank_lines_and_semicolons_are_read_over(tmp_path: Path) -> None:
    samples = [Sample(Path("a.jpg"), 1, 1), Sample(Path("b.jpg"), 2, 1)]
    (tmp_path / "attributes.csv").write_text("pid;hat;bag\n1;0;1\n\n2;1;0\n\n")
    assert read_attributes(tmp_path / "attributes.csv", samples).tolist() == [[0, 1], [1, 0]]
