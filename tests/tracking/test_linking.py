from pathlib import Path

import pytest

from semreid.errors import SemreidError
from semreid.tracking import link_tracks

PEOPLE = """path,person,confidence,camera,time,track
/a,1,0.9,1,0.0,4
/b,1,0.9,1,1.0,4
/c,1,0.8,2,0.5,9
/d,2,0.9,1,0.2,5
/e,,,1,0.4,6
/f,,,2,0.4,7
/g,2,0.9,1,0.4,
"""


def test_tracks_bear_the_numbers_of_people(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "t.txt").write_text("1,4,1,2,3,4,0.9,-1\n1, 5, 1, 2, 3, 4\n2,6,1,2,3,4\n3,8,1,2,3,4\n3,-1,1,2,3,4\n")
    done = link_tracks(tmp_path / "t.txt", tmp_path / "people.csv", tmp_path / "out.txt", camera=1)
    assert (done.people, done.tracks, done.alone, done.unknown) == (2, 2, 1, 1)
    expected = "1,1,1,2,3,4,0.9,-1\n1,2,1,2,3,4\n2,3,1,2,3,4\n3,-1,1,2,3,4\n3,-1,1,2,3,4\n"
    assert (tmp_path / "out.txt").read_text() == expected
    (tmp_path / "u.txt").write_text("1,9,1,2,3,4\n1,7,1,2,3,4\n")
    link_tracks(tmp_path / "u.txt", tmp_path / "people.csv", tmp_path / "out2.txt", camera=2)
    assert (tmp_path / "out2.txt").read_text() == "1,1,1,2,3,4\n1,4,1,2,3,4\n"  # 4: nobody, and not the 3 of camera 1


def test_a_folder_of_labels_becomes_another(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "v_1.txt").write_text("0 0.5 0.5 0.1 0.2 0.9 4\n0 0.5 0.5 0.1 0.2 0.33\n")
    done = link_tracks(tmp_path / "labels", tmp_path / "people.csv", tmp_path / "out", camera=1)
    assert done.unknown == 0
    assert (tmp_path / "out" / "v_1.txt").read_text() == "0 0.5 0.5 0.1 0.2 0.9 1\n0 0.5 0.5 0.1 0.2 0.33\n"
    with pytest.raises(SemreidError, match="is there already"):
        link_tracks(tmp_path / "labels", tmp_path / "people.csv", tmp_path / "out", camera=1)


def test_what_cannot_be_linked_is_told_and_nothing_is_written_over(tmp_path: Path) -> None:
    people, boxes = tmp_path / "people.csv", tmp_path / "t.txt"
    people.write_text(PEOPLE)
    boxes.write_text("1,4,1,2,3,4\n")
    with pytest.raises(SemreidError, match="no track of camera 7; it has tracks of: 1, 2"):
        link_tracks(boxes, people, tmp_path / "out.txt", camera=7)
    for target in (boxes, people):
        with pytest.raises(SemreidError, match="will not be written over"):
            link_tracks(boxes, people, target, camera=1)
    assert (people.read_text(), boxes.read_text()) == (PEOPLE, "1,4,1,2,3,4\n")
    for wrong in ("path,person\n/a,1\n", "path,person,confidence,camera,time,track\n/a,x,,1,,4\n"):
        people.write_text(wrong)
        with pytest.raises(SemreidError, match=r"people.csv"):
            link_tracks(boxes, people, tmp_path / "out.txt", camera=1)
    with pytest.raises(SemreidError, match=r"none.csv"):
        link_tracks(boxes, tmp_path / "none.csv", tmp_path / "out.txt", camera=1)
    assert not (tmp_path / "out.txt").exists()
