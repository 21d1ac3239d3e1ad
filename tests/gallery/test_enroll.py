"""Images on their way into a gallery: who, where and when by their files, and runs that are broken off."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semreid.data.crops import crops_at
from semreid.errors import SemreidError
from semreid.evaluation.embeddings import embed_files
from semreid.gallery import Entry, Gallery
from semreid.gallery import enroll as enrolling
from semreid.gallery.corrections import Corrections
from semreid.gallery.enroll import annotated, crops_below, crops_of_data, crops_of_rows, enroll, enroll_features
from semreid.gallery.store import Written
from tests.conftest import draw_figure, write_figures, write_image
from tests.gallery.helpers import DIM, MODEL, Stub


def place(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_image(root / name, draw_figure(number, 1, 0))
    return root


def facts(crops) -> dict[str, tuple]:
    return {Path(c.entry.path).name: (c.entry.pid, c.entry.camid, c.entry.timestamp) for c in crops}


@pytest.fixture
def gallery() -> Gallery:
    return Gallery.open("memory:", dim=DIM, fingerprint=MODEL)


def test_identity_folders_name_people_and_file_names_cameras(tmp_path: Path) -> None:
    place(tmp_path, "alice/1_c3.png", "alice/2_c4s1.png", "bob/1.png", "-1/junk_c1.png", "0000/x_c2.png")
    wanted = {"1_c3.png": ("alice", 3, None), "2_c4s1.png": ("alice", 4, None), "1.png": ("bob", None, None)}
    assert facts(crops_below(tmp_path)) == {**wanted, "x_c2.png": (None, 2, None)}  # 0 is nobody in particular


def test_loose_images_single_images_and_unlabelled_folders_show_nobody_known(tmp_path: Path) -> None:
    place(tmp_path / "loose", "a_c1.png", "b.png")
    place(tmp_path / "days", "monday/c_c2.png", "tuesday/d.png")
    assert facts(crops_below(tmp_path / "loose")) == {"a_c1.png": (None, 1, None), "b.png": (None, None, None)}
    assert facts(crops_below(tmp_path / "loose" / "b.png")) == {"b.png": (None, None, None)}
    (tmp_path / "loose" / "new" / "week").mkdir(parents=True)  # a folder without images is nobody's
    assert facts(crops_below(tmp_path / "loose")) == {"a_c1.png": (None, 1, None), "b.png": (None, None, None)}
    unlabelled = crops_below(tmp_path / "days", unlabelled=True)
    assert facts(unlabelled) == {"c_c2.png": (None, 2, None), "d.png": (None, None, None)}
    assert facts(crops_below(tmp_path / "days"))["d.png"] == ("tuesday", None, None)


def test_folders_tell_the_same_cameras_to_all_who_take_a_tree_of_images(tmp_path: Path) -> None:
    place(tmp_path, "cam1/a.png", "day/cam2/b_c3.png", "day/c.png", "cam4/anna/d.png")
    seen = crops_at(tmp_path)
    known = {s.path.name: None if camera < 0 else camera for s, camera in zip(seen.samples, seen.cameras, strict=True)}
    assert known == {"a.png": 1, "b_c3.png": 3, "c.png": None, "d.png": 4}
    assert {name: camid for name, (_, camid, _) in facts(crops_below(tmp_path, unlabelled=True)).items()} == known
    embed_files(Stub(), tmp_path, tmp_path / "f.parquet")
    rows = pq.read_table(tmp_path / "f.parquet").to_pylist()
    assert {Path(row["path"]).name: row["camid"] for row in rows} == known


def test_csv_with_times(tmp_path: Path) -> None:
    place(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "rows.csv").write_text("path,pid,camid,timestamp\na.png,alice,1,10.5\nb.png,0,2,\nc.png,-1,2,3\n")
    wanted = {"a.png": ("alice", 1, 10.5), "b.png": (None, 2, None)}
    assert facts(crops_below(tmp_path / "rows.csv")) == wanted


@pytest.mark.parametrize(
    ("pid", "track", "wrong"),
    [
        ("x" * 257, "", "pid 'xxx.*longer than 256"),
        ("ann", "t" * 123, "tag 'track:ttt.*128"),
        ('"a\nb"', "", r"pid 'a\\nb' holds a control character"),
    ],
)
def test_a_row_that_no_gallery_can_hold_is_named(tmp_path: Path, pid: str, track: str, wrong: str) -> None:
    place(tmp_path, "a.png", "b.png")
    (tmp_path / "rows.csv").write_text(f"path,pid,track\na.png,ann,1\nb.png,{pid},{track}\n")
    with pytest.raises(SemreidError, match=rf"rows\.csv, row 3: {wrong}"):
        crops_below(tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_text(f"path,pid,track,split\na.png,ann,1,query\nb.png,{pid},{track},gallery\n")
    with pytest.raises(SemreidError, match=rf"rows\.csv, row 3: {wrong}"):
        crops_of_data(f"folder:{tmp_path / 'rows.csv'}")


def test_splits_of_data_sets(tmp_path: Path) -> None:
    write_figures(tmp_path / "f", train=2, test=2)
    spec = f"people:{tmp_path / 'f'}"
    assert len(crops_of_data(spec)) == 8
    assert len(crops_of_data(spec, "query")) == 4
    assert len(crops_of_data(spec, "all")) == 24
    assert facts(crops_of_data(spec))["0003_c2s1_000001_00.png"] == ("3", 2, None)
    with pytest.raises(SemreidError, match="no split 'test'"):
        crops_of_data(spec, "test")


def test_folder_data_keeps_names_and_invents_no_camera(tmp_path: Path) -> None:
    place(tmp_path, *(f"{who}/{i}.png" for who in ("ann", "bob", "cat", "dan") for i in range(3)))
    found = crops_of_data(f"folder:{tmp_path}")
    assert {c.entry.pid for c in found} < {"ann", "bob", "cat", "dan"}
    assert {c.entry.camid for c in found} == {None}
    assert {c.entry.id for c in found} < {c.entry.id for c in crops_below(tmp_path)}


def test_ids_depend_on_the_absolute_path_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path, "alice/1_c3.png")
    monkeypatch.chdir(tmp_path)
    relative, absolute = crops_below(Path("alice/1_c3.png")), crops_below(tmp_path)
    assert relative[0].entry.id == absolute[0].entry.id
    assert relative[0].entry.path == str(tmp_path / "alice/1_c3.png")


def test_what_the_user_says_of_all_crops(tmp_path: Path) -> None:
    crops = crops_below(place(tmp_path, "alice/1_c3.png"))
    said = annotated(crops, pid="bob", camid=7, tags=["night"])[0].entry
    assert (said.pid, said.camid, said.tags, said.id) == ("bob", 7, ("night",), crops[0].entry.id)
    assert annotated(crops) == crops


def test_a_second_run_reads_nothing_and_replacing_reads_all(gallery: Gallery, tmp_path: Path) -> None:
    crops = crops_below(place(tmp_path, *(f"alice/{i}_c3.png" for i in range(10))))
    told: list[tuple[int, int]] = []
    first, second, third = Stub(), Stub(), Stub()
    done = enroll(gallery, first, crops, batch_size=4, progress=lambda *at: told.append(at))
    assert (done, told, first.seen) == ((10, 0, 0, []), [(4, 10), (8, 10), (10, 10)], 10)
    assert gallery.get([crop.entry.id for crop in crops]) == [crop.entry for crop in crops]
    for crop in crops:
        Path(crop.entry.path).unlink()
    assert enroll(gallery, second, crops) == (0, 0, 10, [])
    assert second.seen == 0
    place(tmp_path, *(f"alice/{i}_c3.png" for i in range(10)))
    assert enroll(gallery, third, crops, replace_known=True) == (0, 10, 0, [])
    assert third.seen == 10


def test_what_was_said_by_hand_survives_renewing_until_the_files_tell_who_it_is(
    gallery: Gallery, tmp_path: Path
) -> None:
    crops = crops_below(place(tmp_path, "1.png", "2.png", "3.png"))
    enroll(gallery, Stub(), annotated(crops, camid=3, tags=["gate"]))
    corrections = Corrections(gallery, tmp_path / "steps.json")
    ids = [crop.entry.id for crop in crops]
    corrections.split(None, ids[:2], "anna")
    corrections.leave_out(ids[2:])
    renewed = [*annotated(crops[:1], tags=["night"]), *annotated(crops[1:2], pid="bert"), crops[2]]
    enroll(gallery, Stub(), renewed, replace_known=True)
    facts = [(row.pid, row.camid, row.tags) for row in gallery.get(ids) if row]
    assert facts == [("anna", 3, ("gate", "night")), ("bert", 3, ("gate",)), (None, 3, ("gate", "not-a-person"))]


def test_a_new_track_loses_no_name(gallery: Gallery, tmp_path: Path) -> None:
    place(tmp_path, "1.png")
    for track in (17, 18):
        (tmp_path / "t.csv").write_text(f"path,pid,track\n1.png,0,{track}\n")
        (crop,) = crops_below(tmp_path / "t.csv")
        enroll(gallery, Stub(), [crop], replace_known=True)
        if track == 17:
            Corrections(gallery, tmp_path / "steps.json").split(None, [crop.entry.id], "anna")
    assert gallery.get([crop.entry.id]) == [replace(crop.entry, pid="anna", tags=("track:18",))]


@pytest.mark.parametrize("replace_known", [False, True])
def test_what_is_said_while_crops_are_embedded_survives(tmp_path: Path, replace_known: bool) -> None:
    """By the page, which is another process, of a row that was not there when the crops were looked up."""
    crops = crops_below(place(tmp_path, "1.png", "2.png"))
    one, other = (Gallery.open(tmp_path / "g.parquet", dim=DIM, fingerprint=MODEL) for _ in range(2))
    said = [replace(crop.entry, pid="anna") for crop in crops]

    class Slow(Stub):
        def embed(self, images, **settings):
            if not other.count():
                other.add(np.eye(DIM)[:2], said)
            return super().embed(images, **settings)

    done = enroll(one, Slow(), crops, batch_size=1, replace_known=replace_known)
    assert done == ((0, 2, 0, []) if replace_known else (0, 0, 2, []))
    assert one.get([row.id for row in said]) == said


@pytest.mark.parametrize("pid", ["0", "00", "-1", "-7"])
def test_no_person_is_called_like_nobody_or_junk(gallery: Gallery, tmp_path: Path, pid: str) -> None:
    crops = crops_below(place(tmp_path, "1.png"))
    with pytest.raises(SemreidError, match=f"pid '{pid}' names no person") as caught:
        annotated(crops, pid=pid)
    assert caught.value.fix
    features(tmp_path / "f.parquet", path=["1.png", "2.png"], pid=[pid, "anna"])
    enroll_features(gallery, tmp_path / "f.parquet")
    people = [row.pid for rows, _ in gallery.scan() for row in rows]
    assert people == (["anna"] if pid.startswith("-") else [None, "anna"])


def test_who_is_named_for_all_is_no_word_of_a_machine(tmp_path: Path) -> None:
    (crop,) = crops_below(place(tmp_path, "1.png"))
    grouped = crop._replace(entry=replace(crop.entry, pid="group-1", tags=("door", "grouped")))
    assert annotated([grouped], pid="anna")[0].entry == replace(crop.entry, pid="anna", tags=("door",))


def test_a_table_without_people(tmp_path: Path) -> None:
    place(tmp_path, "1.png", "2.png")
    (tmp_path / "t.csv").write_text("path,camid,track\n1.png,3,17\n2.png,4,\n,,\n")
    assert facts(crops_below(tmp_path / "t.csv", unlabelled=True)) == {
        "1.png": (None, 3, None),
        "2.png": (None, 4, None),
    }
    (tmp_path / "t.csv").write_text("path,pid\n1.png,anna\n2.png,\n")
    assert [crop.entry.pid for crop in crops_below(tmp_path / "t.csv", unlabelled=True)] == ["anna", None]


def features(file: Path, **columns: object) -> Path:
    """A file as `semreid embed` writes it, with columns that a user has added."""
    rows = len(next(iter(columns.values())))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.eye(DIM, dtype=np.float32)[:rows].ravel()), DIM)
    pq.write_table(pa.table({**columns, "vector": fixed}).replace_schema_metadata(MADE_BY), file)
    return file


MADE_BY = {"semreid.fingerprint": MODEL}


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (None, "f.parquet does not tell which model made its vectors; those of the gallery are of abc123"),
        ([MODEL, "other"], "holds vectors of model other; these are of model abc123"),
        ([MODEL, None], "holds vectors of model nobody knows"),
        ([MODEL, MODEL], ""),
    ],
)
def test_a_file_without_metadata_must_tell_its_model_in_a_column(
    gallery: Gallery, tmp_path: Path, told: list[str | None] | None, wrong: str
) -> None:
    """As pandas leaves a file of `semreid embed`."""
    file = features(tmp_path / "f.parquet", id=["a", "b"], **({} if told is None else {"fingerprint": told}))
    pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    if not wrong:
        assert enroll_features(gallery, file).new == 2
        return
    with pytest.raises(SemreidError, match=wrong) as caught:
        enroll_features(gallery, file)
    assert told or "pandas drops it" in caught.value.fix
    assert gallery.count() == 0


def test_metadata_and_column_must_tell_the_same_model(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="vectors of model other"):
        enroll_features(gallery, features(tmp_path / "f.parquet", id=["a"], fingerprint=["other"]))


def test_vectors_of_nobody_knows_which_model_go_where_no_model_is_stated(tmp_path: Path) -> None:
    file = features(tmp_path / "f.parquet", id=["a", "b"])
    with pytest.raises(SemreidError, match="of model abc123; these are of no stated model"):
        enroll_features(Gallery.open("memory:", dim=DIM), file)
    pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    assert enroll_features(Gallery.open("memory:", dim=DIM), file).new == 2


@pytest.mark.parametrize(
    ("column", "cells", "values"),
    [
        ("camid", [3.0, float("nan")], [3, None]),
        ("camid", [3.0, None], [3, None]),
        ("pid", [7, 8], ["7", "8"]),
        ("pid", [7, 0], ["7", None]),
        ("pid", [7.0, float("nan")], ["7", None]),
        ("pid", ["007", None], ["007", None]),
    ],
)
def test_numbers_are_read_also_from_columns_with_gaps(
    gallery: Gallery, tmp_path: Path, column: str, cells: list, values: list
) -> None:
    """pandas makes fractions of whole numbers where some are unknown."""
    file = features(tmp_path / "f.parquet", path=["/a", "/b"], **{column: cells})
    assert enroll_features(gallery, file).new == 2
    found = sorted((entry for batch, _ in gallery.scan() for entry in batch), key=lambda entry: entry.path)
    assert [getattr(entry, column) for entry in found] == values


def test_ids_may_be_numbers_and_cameras_are_whole(gallery: Gallery, tmp_path: Path) -> None:
    assert enroll_features(gallery, features(tmp_path / "f.parquet", id=[5, 6])).new == 2
    assert [entry.id for batch, _ in gallery.scan() for entry in batch] == ["5", "6"]
    for wrong in (2.5, True):
        with pytest.raises(SemreidError, match=f"f.parquet, row 0: camid {wrong} is not a whole number"):
            enroll_features(gallery, features(tmp_path / "f.parquet", id=["a"], camid=[wrong]))


@pytest.mark.parametrize(
    ("tracks", "tags"),
    [
        ([5, 6], [("track:5",), ("track:6",)]),
        ([5.0, None], [("track:5",), ()]),
        ([float("nan"), 2.5], [(), ("track:2.5",)]),
        (["north-5", ""], [("track:north-5",), ()]),
    ],
)
def test_the_track_of_features_becomes_a_tag(gallery: Gallery, tmp_path: Path, tracks: list, tags: list) -> None:
    file = features(tmp_path / "f.parquet", id=["a", "b"], track=tracks, tags=[["door"], None])
    assert enroll_features(gallery, file).new == 2
    rows = gallery.get(["a", "b"])
    assert [tuple(tag for tag in row.tags if tag != "door") for row in rows if row] == tags
    assert "door" in rows[0].tags


@pytest.mark.parametrize(
    ("name", "meant"),
    [("camera", "camid"), ("Cam_ID", "camid"), ("person", "pid"), ("tracks", "track"), ("PID", "pid")],
)
def test_columns_of_features_that_a_gallery_calls_otherwise_are_refused(
    gallery: Gallery, tmp_path: Path, name: str, meant: str
) -> None:
    file = features(tmp_path / "f.parquet", id=["a", "b"], **{name: ["1", "2"]})
    with pytest.raises(SemreidError, match=f"f.parquet has a column '{name}' and no {meant}") as caught:
        enroll_features(gallery, file)
    assert caught.value.fix == f"call it {meant}, or remove it"
    assert gallery.count() == 0


def test_other_columns_of_features_are_passed_over(gallery: Gallery, tmp_path: Path) -> None:
    file = features(tmp_path / "f.parquet", id=["a"], score=[0.5], __index_level_0__=[7], camera=["x"], camid=[1])
    assert enroll_features(gallery, file).new == 1
    assert gallery.get(["a"]) == [Entry("a", camid=1)]


def test_what_the_user_says_of_all_features(gallery: Gallery, tmp_path: Path) -> None:
    file = features(tmp_path / "f.parquet", id=["a", "b"], tags=[["day"], []])
    assert enroll_features(gallery, file, pid="anna", camid=3, tags=["gate"]).new == 2
    rows = [Entry("a", pid="anna", camid=3, tags=("day", "gate")), Entry("b", pid="anna", camid=3, tags=("gate",))]
    assert gallery.get(["a", "b"]) == rows
    assert enroll_features(gallery, file, replace_known=True).replaced == 2
    assert gallery.get(["a", "b"]) == rows  # what was said stays


def test_the_track_of_a_table_becomes_a_tag(tmp_path: Path) -> None:
    place(tmp_path, "1.png", "2.png")
    (tmp_path / "t.csv").write_text("path,pid,track\n1.png,anna,17\n2.png,bert,\n")
    assert [crop.entry.tags for crop in crops_below(tmp_path / "t.csv")] == [("track:17",), ()]


def test_rows_of_a_gallery_are_embedded_anew_with_all_that_is_known(gallery: Gallery, tmp_path: Path) -> None:
    place(tmp_path, "1.png")
    rows = [Entry("mine", str(tmp_path / "1.png"), "anna", 3, 5.0, (0, 0, 4, 4), ("grouped",))]
    gallery.upsert(np.eye(DIM)[:1], rows)
    other = Gallery.open("memory:", dim=DIM, fingerprint=MODEL)
    assert enroll(other, Stub(), crops_of_rows(gallery)).new == 1
    assert other.get(["mine"]) == rows
    gallery.upsert(np.eye(DIM)[:1], [Entry("without")])
    with pytest.raises(SemreidError, match="1 of 2 rows of .* name no picture, such as without"):
        crops_of_rows(gallery)


def test_progress_is_told_only_of_what_is_in_the_gallery(gallery: Gallery, tmp_path: Path) -> None:
    crops = crops_below(place(tmp_path, *(f"alice/{i}.png" for i in range(10))))
    enroll(gallery, Stub(), crops, batch_size=3, progress=lambda done, _: counted.append((done, gallery.count())))
    assert counted == [(3, 3), (6, 6), (9, 9), (10, 10)]


counted: list[tuple[int, int]] = []


def test_where_writes_are_slow_there_are_few_and_what_waits_is_written_in_the_end(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops, add, writes = crops_below(place(tmp_path, *(f"alice/{i}.png" for i in range(10)))), gallery.add, []

    def slow(vectors: np.ndarray, entries: list[Entry]) -> Written:
        time.sleep(0.2)
        writes.append(len(entries))
        return add(vectors, entries)

    monkeypatch.setattr(enrolling, "SLOW", 0.1)
    monkeypatch.setattr(gallery, "add", slow)
    (tmp_path / "alice/8.png").write_bytes(b"no image")
    with pytest.raises(SemreidError, match=r"8\.png cannot be decoded"):
        enroll(gallery, Stub(), crops, batch_size=2)
    assert writes == [2, 2, 4]
    assert gallery.count() == 8
    assert enroll(gallery, Stub(), crops, batch_size=1, skip_corrupt=True)[:3] == (1, 0, 8)
    assert writes[3:] == [0, 0, 1]


def test_a_crop_that_a_table_lists_in_two_splits_becomes_one_row(gallery: Gallery, tmp_path: Path) -> None:
    place(tmp_path, "a.png", "b.png")
    lines = ("path,pid,camid,split", "a.png,ann,1,query", "a.png,ann,1,gallery", "b.png,bob,2,gallery")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    crops = crops_below(tmp_path / "rows.csv")
    assert [Path(crop.entry.path).name for crop in crops] == ["a.png", "b.png"]
    assert enroll(gallery, Stub(), crops).new == 2


def test_unreadable_images(gallery: Gallery, tmp_path: Path) -> None:
    crops = crops_below(place(tmp_path, *(f"alice/{i}.png" for i in range(6))))
    (tmp_path / "alice/4.png").write_bytes(b"no image")
    with pytest.raises(SemreidError, match=r"4\.png cannot be decoded") as caught:
        enroll(gallery, Stub(), crops, batch_size=2)
    assert "--skip-corrupt" in caught.value.fix
    assert gallery.count() == 4  # the batches before it are safe
    told: list[tuple[int, int]] = []
    done = enroll(gallery, Stub(), crops, batch_size=2, skip_corrupt=True, progress=lambda *at: told.append(at))
    assert (done.new, done.kept, len(done.skipped)) == (1, 4, 1)
    assert (told[-1], gallery.count()) == ((5, 6), 5)  # what was left out is not in the gallery


def test_another_model_is_refused_before_anything_is_read(gallery: Gallery, tmp_path: Path) -> None:
    class Other(Stub):
        fingerprint = "other"

    crops = crops_below(place(tmp_path, "alice/1.png"))
    (tmp_path / "alice/1.png").unlink()
    with pytest.raises(SemreidError, match="of model abc123; these are of model other"):
        enroll(gallery, Other(), crops)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["alice/a.png", "loose.png"],
            r"loose.png lies in no .* folder \(1 in all\)\n.* `semreid gallery add --unlabelled`",
        ),
        (["-1/a.png"], "holds no crop to add"),
        (["gallery/1_c1.png"], "no folder"),
        ([], "holds no image|has no sub-folder|no folder"),
    ],
)
def test_folders_that_cannot_be_understood(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(SemreidError, match=message):
        crops_below(place(tmp_path, *names))


def test_features_of_embed(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    vectors = np.eye(DIM, dtype=np.float32)[:3]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    table = pa.table({"path": ["a.png", "b_c2.png", "/x/c.png"], "camid": pa.array([None, 2, 3]), "vector": fixed})
    table = table.replace_schema_metadata(MADE_BY)
    pq.write_table(table, "features.parquet")
    assert enroll_features(gallery, Path("features.parquet")) == (3, 0, 0, [])
    assert enroll_features(gallery, Path("features.parquet")) == (0, 0, 3, [])
    assert enroll_features(gallery, Path("features.parquet"), replace_known=True) == (0, 3, 0, [])
    found = gallery.search(vectors[1], 1)[0][0].entry
    assert found == Entry(found.id, path=str(tmp_path / "b_c2.png"), camid=2)
    place(tmp_path, "b_c2.png")
    assert crops_below(tmp_path / "b_c2.png")[0].entry.id == found.id  # as if the image had been added
    with pytest.raises(SemreidError, match="vectors of 8 values of type float; the gallery wants 9"):
        enroll_features(Gallery.open("memory:", dim=DIM + 1, fingerprint=MODEL), Path("features.parquet"))
    with pytest.raises(SemreidError, match="there is no file"):
        enroll_features(gallery, Path("none.parquet"))
    pq.write_table(table.replace_schema_metadata({"semreid.fingerprint": "other"}), "other.parquet")
    with pytest.raises(SemreidError, match=r"other.parquet holds vectors of model other; these are of model abc123"):
        enroll_features(gallery, Path("other.parquet"))
