"""Crops of a gallery whose people are to be found, and what people said of them."""

from pathlib import Path

import numpy as np
import pytest

from semreid.data.crops import crops_at
from semreid.data.images import read_image
from semreid.errors import SemreidError
from semreid.gallery import Entry, Gallery
from semreid.gallery.crops import read_crop
from semreid.gallery.enroll import crops_below
from semreid.gallery.said import said_of
from semreid.gallery.unlabelled import crops_in, row_of, with_words
from tests.conftest import draw_figure, write_image
from tests.gallery.helpers import DIM


def fill(gallery: Gallery, entries: list[Entry]) -> None:
    gallery.upsert(np.random.default_rng(0).normal(size=(len(entries), DIM)), entries)


def test_rows_tell_cameras_times_tracks_boxes_and_people(gallery: Gallery, tmp_path: Path) -> None:
    files = [str(write_image(tmp_path / f"{i}.png", draw_figure(i, 1, 0))) for i in range(4)]
    frame = str(write_image(tmp_path / "frame.png", np.concatenate([draw_figure(p, 1, 0) for p in (7, 8)], axis=1)))
    rows = [
        Entry("a", files[0], "anna", 3, 5.5, tags=("track:7",)),
        Entry("b", files[1], "group-1", 3, None, tags=("grouped", "track:7")),
        Entry("c", files[2], "bert", 4, 1.0, tags=("split:k:left", "track:7")),
        Entry("d", files[3], None, None, None, tags=("split:k:stayed", "door")),
        Entry("e", frame, "bert", 4, 2.0, box=(32, 0, 64, 64)),
        Entry("f", frame, tags=("not-a-person",), box=(0, 0, 32, 64)),
        Entry("g", "", "anna"),
    ]
    fill(gallery, rows)
    crops = crops_in(gallery)
    assert sorted(crops.ids) == ["a", "b", "c", "d", "e"]
    at = {id_: i for i, id_ in enumerate(crops.ids)}
    assert [int(crops.cameras[at[id_]]) for id_ in "abcde"] == [3, 3, 4, -1, 4]
    np.testing.assert_array_equal(crops.times[[at[id_] for id_ in "abcde"]], [5.5, np.nan, 1, np.nan, 2])
    tracks = [int(crops.tracks[at[id_]]) for id_ in "abcde"]
    assert tracks[0] == tracks[1] != tracks[2] >= 0  # 7 of another camera is another track
    assert tracks[3] == tracks[4] == -1
    for row in rows[:5]:
        np.testing.assert_array_equal(read_image(crops.samples[at[row.id]]), read_crop(row))
    np.testing.assert_array_equal(read_image(crops.samples[at["e"]]), draw_figure(8, 1, 0))
    assert str(crops.samples[at["e"]]).endswith("frame.png#xywh=32,0,32,64")
    assert crops.people == ()
    said = crops.said
    assert said is not None
    people = [int(said.people[at[id_]]) for id_ in "abcde"]
    assert people[1] == people[3] == -1
    assert people[2] == people[4] != people[0]
    assert said.apart.tolist() == [[at["d"], people[2]]]
    assert "1 rows that name no picture were left out" in crops.warnings[-1]


def test_a_track_that_no_gallery_keeps_is_told_by_its_crop(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", draw_figure(1, 1, 0))
    (tmp_path / "c.csv").write_text(f"path,track\na.png,{'7' * 200}\n")
    with pytest.raises(SemreidError, match=r"a\.png: tag 'track:7+'\.\.\. is longer than 128 bytes"):
        row_of(crops_at(tmp_path / "c.csv"), 0)


def test_the_order_is_that_of_the_content(gallery: Gallery, tmp_path: Path) -> None:
    for i in range(6):
        write_image(tmp_path / "in" / f"{i}_c1.png", draw_figure(i, 1, 0))
    fill(gallery, [crop.entry for crop in crops_below(tmp_path / "in")])
    assert crops_in(gallery).samples == crops_at(tmp_path / "in").samples


def test_without_pictures_there_is_nothing_to_see(gallery: Gallery) -> None:
    for rows in ([], [Entry("a"), Entry("b", pid="anna")]):
        fill(gallery, rows)
        with pytest.raises(SemreidError, match="none names its picture") as caught:
            crops_in(gallery)
        assert "gallery add" in caught.value.fix


def test_pictures_that_are_gone_are_left_out_on_the_users_word(gallery: Gallery, tmp_path: Path) -> None:
    files = [str(write_image(tmp_path / f"{i}.png", draw_figure(i, 1, 0))) for i in range(3)]
    fill(gallery, [Entry(f"{i}", path, f"p{i}") for i, path in enumerate(files)])
    Path(files[1]).unlink()
    crops = crops_in(gallery, skip_corrupt=True)
    assert sorted(crops.ids) == ["0", "2"]
    assert crops.corrupt_skipped == 1
    assert crops.said is not None
    assert crops.said.people.tolist() == [0, 1]


def test_crops_from_elsewhere_get_what_was_said_of_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,track\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(4)))
    for i in range(4):
        write_image(tmp_path / f"{i}.png", draw_figure(i, 1, 0))
    gallery = Gallery.open("memory:", dim=DIM)
    crops = crops_at(tmp_path / "t.csv")
    assert with_words(crops, gallery).said is None
    assert {row_of(crops, i).tags for i in range(4)} == {("track:0",), ("track:1",)}
    rows = [
        Entry(path=str(tmp_path / "0.png"), pid="anna"),
        Entry(path=str(tmp_path / "1.png"), tags=("not-a-person",)),
        Entry(path=str(tmp_path / "2.png"), pid="group-1", tags=("grouped",)),
    ]
    fill(gallery, rows)
    known = with_words(crops, gallery)
    names = [sample.path.name for sample in known.samples]
    assert sorted(names) == ["0.png", "2.png", "3.png"]
    assert known.said is not None
    assert {name: int(p) for name, p in zip(names, known.said.people, strict=True)} == {
        "0.png": 0,
        "2.png": -1,
        "3.png": -1,
    }
    tracks = dict(zip(names, known.tracks.tolist(), strict=True))
    assert tracks["0.png"] == tracks["2.png"] != tracks["3.png"]


def test_whose_word_counts() -> None:
    assert said_of([Entry("a"), Entry("b", pid="group-1", tags=("grouped",))]) is None
    later = [  # those who stayed were named since; one of those who left went on to another person
        Entry("a", pid="anna", tags=("split:k:stayed",)),
        Entry("b", pid="bert", tags=("split:k:left",)),
        Entry("c", pid="carl", tags=("split:k:left",)),
        Entry("d", pid="group-4", tags=("grouped", "split:k:stayed", "split:z:stayed")),
        Entry("e", tags=("split:z:left",)),  # nobody says any more who it is
    ]
    said = said_of(later)
    assert said is not None
    assert said.people.tolist() == [0, 1, 2, -1, -1]
    assert said.apart.tolist() == [[3, 1], [3, 2]]
