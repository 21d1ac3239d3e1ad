from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.errors import SemreidError
from semreid.tracking import read_boxes


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 10**6),
            st.integers(0, 10**6),
            st.floats(-100, 5000),
            st.floats(-100, 5000),
            st.floats(0.5, 900),
            st.floats(0.5, 900),
        ),
        min_size=1,
        max_size=20,
        unique_by=lambda box: box[:2],
    ),
    st.sampled_from([",", ", ", ";", " ", "\t"]),
)
def test_what_is_written_is_read(tmp_path_factory, rows, separator):
    path = tmp_path_factory.mktemp("boxes") / "t.txt"
    path.write_text("".join(separator.join(map(repr, (*row, 0.9, -1, -1, -1))) + "\n\n" for row in rows))
    boxes = read_boxes(path)
    ordered = sorted(rows)
    assert boxes.frames.tolist() == [row[0] for row in ordered]
    assert boxes.tracks.tolist() == [row[1] for row in ordered]
    expected = np.array([(left, top, left + width, top + height) for _, _, left, top, width, height in ordered])
    np.testing.assert_allclose(boxes.corners, expected)
    assert not boxes.shares


def test_rows_that_do_not_count_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("2,7,1,2,3,4,0.5\n1,7,1,2,3,4,0,-1,-1\n1,-1,1,2,3,4,0.9\n1, 8, 1, 2, 3, 4\n")
    boxes = read_boxes(tmp_path / "t.txt")
    assert (boxes.frames.tolist(), boxes.tracks.tolist(), boxes.left_out) == ([1, 2], [8, 7], 2)


def test_labels_of_ultralytics(tmp_path: Path) -> None:
    (tmp_path / "gate_1.txt").write_text("0 0.5 0.5 0.25 0.5 4\n2 0.5 0.5 0.1 0.1 5\n0 0.2 0.2 0.1 0.1\n")
    (tmp_path / "gate_12.txt").write_text("0 0.25 0.5 0.25 0.5 4\n0 0.2 0.2 0.1 0.1\n")
    boxes = read_boxes(tmp_path)
    assert (boxes.frames.tolist(), boxes.tracks.tolist(), boxes.left_out) == ([1, 12], [4, 4], 3)
    assert boxes.shares
    np.testing.assert_allclose(boxes.in_pixels(100, 200).corners, [[75, 25, 125, 75], [25, 25, 75, 75]])


def test_a_confidence_of_one_is_no_track(tmp_path: Path) -> None:
    first, second = tmp_path / "gate_1.txt", tmp_path / "gate_2.txt"
    first.write_text("0 0.5 0.5 0.25 0.5 0.91 4\n2 0.5 0.5 0.1 0.1 0.8 5\n0 0.2 0.2 0.1 0.1 0.77\n")
    second.write_text("0 0.25 0.5 0.25 0.5 1\n0 0.25 0.5 0.25 0.5 0.5 7\n")
    boxes = read_boxes(tmp_path)
    assert (boxes.frames.tolist(), boxes.tracks.tolist(), boxes.left_out) == ([1, 2], [4, 7], 3)
    first.write_text("0 0.5 0.5 0.25 0.5 0.91\n")
    second.write_text("0 0.5 0.5 0.25 0.5 1\n")
    with pytest.raises(SemreidError, match="no box of a track; 2 rows"):
        read_boxes(tmp_path)
    first.write_text("0 0.5 0.5 0.25 0.5 x\n")
    with pytest.raises(SemreidError, match=r"gate_1.txt, line 1: 'x', where a number"):
        read_boxes(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no box of a track; 0 rows"),
        ("1,-1,1,2,3,4\n", "no box of a track; 1 rows"),
        ("1,2,3,4,5\n", "line 1: 5 columns, where frame,track,left,top"),
        ("1,2,3,4,5,6\nframe,id,x,y,w,h\n", "line 2: 'frame', where a number"),
        ("1,2,nan,4,5,6\n", "line 1: nan, where a finite number"),
        ("0,2,3,4,5,6\n", "a frame of 0, where whole numbers from 1"),
        ("1.5,2,3,4,5,6\n", "a frame of 1.5"),
        ("1,2.5,3,4,5,6\n", "a track of 2.5"),
        ("1,1e300,3,4,5,6\n", r"a track of 1e\+300"),
        ("1,2,3,4,0,6\n", "a box of 0×6 at 3, 4"),
        ("1,2,1e308,1e308,1e308,1e308\n", r"line 1: a box of 1e\+308×1e\+308 at 1e\+308"),
        ("1,2,3,-1e300,5,6\n", r"a box of 5×6 at 3, -1e\+300"),
        ("1,2,3,4,5,6\n1,2,8,4,5,6\n", "track 2 is in frame 1 twice"),
        ("1;2;3,5;4;5;6\n", "line 1: '3,5', where a number"),
    ],
)
def test_wrong_rows_are_told_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(SemreidError, match=said) as told:
        read_boxes(tmp_path / "t.txt")
    assert told.value.fix


def test_wrong_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="no boxes at"):
        read_boxes(tmp_path / "none.txt")
    (tmp_path / "t.txt").write_bytes(b"1,1,\xff")
    with pytest.raises(SemreidError, match="no readable text"):
        read_boxes(tmp_path / "t.txt")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "gate.txt").write_text("0 0.5 0.5 0.25 0.5 4\n")
    with pytest.raises(SemreidError, match="does not tell its frame"):
        read_boxes(tmp_path / "labels")
    (tmp_path / "labels" / "gate.txt").rename(tmp_path / "labels" / "gate_1.txt")
    (tmp_path / "labels" / "gate_2.txt").write_text("0 0.5 0.5 0.25\n")
    with pytest.raises(SemreidError, match=r"gate_2.txt, line 1: 4 columns"):
        read_boxes(tmp_path / "labels")


def test_what_a_shell_wrote_in_utf_16_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("1,7,1,2,3,4\r\n2,7,1,2,3,5\r\n".encode("utf-16"))
    assert read_boxes(tmp_path / "t.txt").frames.tolist() == [1, 2]
