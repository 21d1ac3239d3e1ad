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
    assert (done.people, done.tracks, done.alone, done.unknown, done.twice) == (2, 2, 1, 1, 0)
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


def test_what_is_told_is_of_this_file(tmp_path: Path) -> None:
    people, boxes, out = tmp_path / "people.csv", tmp_path / "t.txt", tmp_path / "out.txt"
    people.write_text(PEOPLE)
    boxes.write_text("1,5,1,2,3,4\n2,5,1,2,3,4\n")
    done = link_tracks(boxes, people, out, camera=1)
    assert (done.people, done.tracks, done.alone, done.unknown) == (1, 1, 0, 0)
    for text in ("", "1,-1,1,2,3,4\n", "1,9,1,2,3,4\n"):  # 9 is a track of camera 2
        boxes.write_text(text)
        with pytest.raises(SemreidError, match=r"t.txt has no track of camera 1 that .*people.csv knows"):
            link_tracks(boxes, people, tmp_path / "none.txt", camera=1)
    boxes.write_text("1,10.5,1,2,3,4\n")
    with pytest.raises(SemreidError, match=r"line 1: a track of 10.5, where whole numbers"):
        link_tracks(boxes, people, tmp_path / "none.txt", camera=1)
    assert not (tmp_path / "none.txt").exists()


@pytest.mark.parametrize("labels", [False, True])
def test_somebody_in_two_places_of_a_frame_is_counted(tmp_path: Path, labels: bool) -> None:
    people, boxes = tmp_path / "people.csv", tmp_path / "boxes"
    people.write_text(PEOPLE.replace("/d,2,", "/d,1,"))
    frames = [("4", "5"), ("5", "6"), ("5", "4")]
    if labels:
        boxes.mkdir()
        for number, tracks in enumerate(frames):
            (boxes / f"v_{number}.txt").write_text("".join(f"0 0.5 0.5 0.1 0.2 {track}\n" for track in tracks))
    else:
        boxes.write_text("".join(f"{n},{track},1,2,3,4\n" for n, tracks in enumerate(frames, 1) for track in tracks))
    assert link_tracks(boxes, people, tmp_path / "out", camera=1).twice == 2


@pytest.mark.parametrize("person", ["-1", "0", "1e9", "99999999999999999999999"])
def test_a_person_has_a_whole_number_from_one(tmp_path: Path, person: str) -> None:
    (tmp_path / "people.csv").write_text(PEOPLE.replace("/d,2,", f"/d,{person},"))
    (tmp_path / "t.txt").write_text("1,4,1,2,3,4\n")
    with pytest.raises(SemreidError, match=r"people.csv"):
        link_tracks(tmp_path / "t.txt", tmp_path / "people.csv", tmp_path / "out.txt", camera=1)


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16"), (",", "utf-16")])
def test_a_spreadsheet_may_have_saved_the_people(tmp_path: Path, separator: str, encoding: str) -> None:
    (tmp_path / "people.csv").write_bytes(PEOPLE.replace(",", separator).encode(encoding))
    (tmp_path / "t.txt").write_text("1,4,1,2,3,4\n")
    assert link_tracks(tmp_path / "t.txt", tmp_path / "people.csv", tmp_path / "out.txt", camera=1).people == 1
