"""Galleries in Parquet files: damage, foreign files, and writes that fail."""

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semreid.errors import SemreidError
from semreid.gallery import Entry, Filter, Gallery, memory, milvus, parquet
from semreid.gallery.enroll import enroll_features
from semreid.gallery.entry import Meta
from semreid.gallery.parquet import KEY, read_features
from tests.gallery.helpers import DIM, MODEL, make_rows
from tests.test_files import as_nobody


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with Gallery.open(tmp_path / "g.parquet", dim=DIM, fingerprint=MODEL) as gallery:
        gallery.add(*make_rows(20))
    return tmp_path / "g.parquet"


def rewrite(file: Path, **columns: object) -> None:
    """Put other columns into a gallery file."""
    table = pq.read_table(file)
    for name, column in columns.items():
        table = table.drop_columns(name) if column is None else table.set_column(
            table.column_names.index(name), name, column
        )  # fmt: skip
    pq.write_table(table, file)


def test_a_file_is_a_gallery_again_and_nothing_lies_beside_it(file: Path) -> None:
    with Gallery.open(file) as gallery:
        assert (gallery.count(), gallery.dim, gallery.fingerprint) == (20, DIM, MODEL)
    assert [path.name for path in file.parent.iterdir()] == ["g.parquet"]


def test_a_gallery_is_not_exported_over_itself_where_others_may_have_written(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.parquet"
    link.symlink_to(file)
    with Gallery.open(file) as seen, Gallery.open(file) as other:
        other.remove(["id0000"])
        with pytest.raises(SemreidError, match="this gallery itself"):
            seen.export_parquet(link)
        assert seen.export_parquet(tmp_path / "copy.parquet") == 20


@pytest.mark.parametrize("name", ["q.jpg", "rows.csv", "noext"])
def test_an_export_has_the_name_of_a_gallery(file: Path, name: str) -> None:
    place = file.with_name(name)
    place.write_bytes(b"mine")
    with Gallery.open(file) as gallery, pytest.raises(SemreidError, match="an export has a name that ends in .parquet"):
        gallery.export_parquet(place)
    assert place.read_bytes() == b"mine"


def test_an_export_replaces_an_earlier_one_and_nothing_else(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, export = tmp_path / "other.parquet", tmp_path / "export.parquet"
    with Gallery.open(other, dim=DIM, fingerprint=MODEL) as theirs, Gallery.open(file) as gallery:
        theirs.add(*make_rows(3))
        before = other.read_bytes()
        assert gallery.export_parquet(export) == 20
        gallery.remove(["id0000"])
        assert gallery.export_parquet(export) == 19  # the backup of every night
        with pytest.raises(SemreidError, match="other.parquet is there already, and is no untouched export of"):
            gallery.export_parquet(other)
        with pytest.raises(SemreidError, match="export.parquet is there already") as caught:
            theirs.export_parquet(export)
        assert "another file" in caught.value.fix
    monkeypatch.chdir(tmp_path)
    with Gallery.open("g.parquet") as gallery:
        assert gallery.export_parquet("export.parquet") == 19
    with Gallery.open(export) as copy:
        copy.add(np.eye(DIM)[:1], [Entry("mine", pid="anna")])
    with Gallery.open(file) as gallery, pytest.raises(SemreidError, match="export.parquet is there already"):
        gallery.export_parquet(export)
    export.write_bytes(b"no Parquet file")
    with Gallery.open(file) as gallery, pytest.raises(SemreidError, match="export.parquet is there already"):
        gallery.export_parquet(export)
    assert (other.read_bytes(), export.read_bytes()) == (before, b"no Parquet file")


def test_an_empty_gallery_leaves_no_file(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "new" / "g.parquet", dim=3) as gallery:
        assert gallery.count() == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, -1])
def test_a_file_cut_short_is_called_damaged(file: Path, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(SemreidError, match="g.parquet is damaged or no Parquet file"):
        Gallery.open(file)


def test_a_file_that_may_not_be_read_is_not_called_damaged() -> None:
    """Whoever made it again would lose all that somebody said in it."""
    with as_nobody() as folder:
        file = folder / "g.parquet"
        with Gallery.open(file, dim=2, fingerprint="m") as gallery:
            gallery.add([[1.0, 0.0]], [Entry(id="a", pid="anna")])
        file.chmod(0)
        with pytest.raises(SemreidError, match=r"cannot read .*g\.parquet: Permission denied") as caught:
            Gallery.open(file)
        assert caught.value.fix == "check its permissions"


def test_a_folder_that_is_called_like_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "g.parquet").mkdir()
    with pytest.raises(SemreidError, match=r"g\.parquet is no file"):
        Gallery.open(tmp_path / "g.parquet")


def test_damage_in_the_middle_is_found(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4:600] = b"\xff" * 596
    file.write_bytes(content)
    with pytest.raises(SemreidError, match="g.parquet"):
        Gallery.open(file)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "is a Parquet file, but no gallery"),
        (b"{", "the header of .*g.parquet"),
        (b"[]", "the header of .*g.parquet"),
        (b'{"format": 1, "dim": 8}', "the header of .*g.parquet"),
        (b'{"format": 9, "dim": 8, "fingerprint": ""}', "has gallery format 9; this version reads 1"),
    ],
)
def test_files_with_another_header(file: Path, header: bytes | None, message: str) -> None:
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata(None if header is None else {KEY: header}), file)
    with pytest.raises(SemreidError, match=message):
        Gallery.open(file)


def lists(*rows: list | None) -> pa.Array:
    return pa.array([*rows, *[[1.0] * DIM] * (20 - len(rows))], pa.list_(pa.float32()))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vector": None}, "has no column 'vector'"),
        ({"vector": pa.array(range(20))}, "'vector' is not a list of numbers in every row"),
        ({"vector": lists(None)}, "'vector' is not a list of numbers in every row"),
        ({"vector": lists([1.0] * (DIM - 1), [1.0] * (DIM + 1))}, "vectors of 7 and 9 and 8 values"),
        ({"vector": lists([None] * DIM)}, "without nulls"),
        ({"path": pa.array(range(20))}, "row 0: path 0 is not a text"),
        ({"camid": pa.array([1] * 19 + [-1])}, "row 19: camid -1 is not a whole number"),
        ({"timestamp": pa.array([1.0] * 19 + [float("nan")])}, "row 19: timestamp nan is not a number"),
        (
            {"timestamp": pa.array(["noon"] * 20)},
            "row 0: cannot read the time 'noon'\n  way out: write seconds, or ISO",
        ),
        ({"tags": pa.array([["a\nb"]] * 20)}, "row 0: tag 'a\\\\nb' holds a control character"),
    ],
)
def test_rows_that_no_gallery_can_hold_are_named(file: Path, columns: dict, message: str) -> None:
    rewrite(file, **columns)
    with pytest.raises(SemreidError, match=message):
        Gallery.open(file)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float64())])
def test_lists_of_any_kind_are_vectors(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"vector": pa.array([[0.6, 0.8], [1, 0]], kind)}), tmp_path / "f.parquet")
    ((_, vectors),) = read_features(tmp_path / "f.parquet", Meta(2, ""))
    np.testing.assert_array_equal(vectors, np.array([[0.6, 0.8], [1, 0]], np.float32))


@pytest.mark.parametrize("how", ["open", "import"])
def test_nan_and_doubled_rows_are_found(file: Path, how: str) -> None:
    gallery = Gallery.open("memory:", dim=DIM, fingerprint=MODEL)
    read = Gallery.open if how == "open" else gallery.import_parquet
    rewrite(file, vector=lists([np.nan] * DIM))
    with pytest.raises(SemreidError, match="zero or hold NaN or infinity, the first in row 0"):
        read(file)
    rewrite(file, vector=lists(), id=pa.array(["same"] * 20))
    with pytest.raises(SemreidError, match="rows 0 and 1 have the same id 'same'"):
        read(file)
    assert gallery.count() == 0


def test_an_id_that_comes_again_in_a_later_batch_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(file, id=pa.array([f"id{i % 15}" for i in range(20)]))
    monkeypatch.setattr(parquet, "READ", 12)
    with pytest.raises(SemreidError, match="g.parquet: an id comes twice"):
        Gallery.open(file)


def test_a_write_that_fails_changes_neither_file_nor_memory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SemreidError("cannot write: No space left on device")

    before = file.read_bytes()
    gallery = Gallery.open(file)
    vectors, entries = make_rows(25)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "write_gallery", full)
        for change in (lambda: gallery.upsert(vectors, entries), lambda: gallery.remove(["id0000"])):
            with pytest.raises(SemreidError, match="No space left"):
                change()
    assert file.read_bytes() == before
    assert gallery.count() == 20
    assert gallery.upsert(vectors[::-1], entries) == (5, 20, 0)
    np.testing.assert_array_equal(Gallery.open(file).vectors(["id0000", "id0024"]), vectors[[24, 0]])


def test_files_of_other_tools_keep_what_they_know(tmp_path: Path) -> None:
    """Half-precision vectors, and only some of the columns."""
    table = pa.table({"id": ["a", "b"], "vector": pa.array([[1.0] * 4, [0, 0, 0, 2.0]], pa.list_(pa.float16()))})
    header = json.dumps({"format": 1, "dim": 4, "fingerprint": ""}).encode()
    pq.write_table(table.replace_schema_metadata({KEY: header}), tmp_path / "g.parquet")
    with Gallery.open("memory:", dim=4) as gallery:
        gallery.import_parquet(tmp_path / "g.parquet")
        assert gallery.get(["a", "b"]) == [Entry(id="a"), Entry(id="b")]
        np.testing.assert_array_equal(gallery.vectors(["a", "b"]), [[0.5] * 4, [0, 0, 0, 1]])


MOMENT = datetime(2024, 5, 3, 14, 22, 7, 500_000)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (pa.array(["2024-05-03T14:22:07.5", " 90.5 ", "", None]), [1714746127.5, 90.5, None, None]),
        (pa.array(["2024-05-03T16:22:07.5+02:00"]).dictionary_encode(), [1714746127.5]),
        (pa.array([MOMENT, None], pa.timestamp("ns")), [1714746127.5, None]),
        (pa.array([MOMENT], pa.timestamp("ms", tz="Europe/Berlin")), [1714746127.5]),
        (pa.array([MOMENT.date()], pa.date32()), [1714694400.0]),
        (pa.array([5, None]), [5.0, None]),
    ],
)
def test_times_are_read_as_tables_have_them(tmp_path: Path, times: pa.Array, seconds: list[float | None]) -> None:
    vectors = pa.array([[1.0] * 4] * len(times), pa.list_(pa.float32()))
    pq.write_table(pa.table({"timestamp": times, "vector": vectors}), tmp_path / "f.parquet")
    ((entries, _),) = read_features(tmp_path / "f.parquet", Meta(4, ""))
    assert [entry.timestamp for entry in entries] == seconds


@pytest.mark.parametrize("time", [1_714_564_800_000, 20_240_501_123_000.0])
def test_numbers_that_are_no_seconds_are_told_by_their_row(tmp_path: Path, time: float) -> None:
    """Milliseconds, and the stamps of cameras."""
    vectors = pa.array([[1.0] * 4] * 2, pa.list_(pa.float32()))
    pq.write_table(pa.table({"timestamp": pa.array([1.0, time]), "vector": vectors}), tmp_path / "f.parquet")
    with pytest.raises(SemreidError, match=f"f.parquet, row 1: the time {time:.0f}, read as seconds, is beyond"):
        list(read_features(tmp_path / "f.parquet", Meta(4, "")))


FORMLESS = ["", "memory", "g.sqlite", "ftp://host", "ftp://host/g.db", "ftp://host/g.parquet", "gallery", "/tmp"]
BROKEN = ["http://[::1", "http://host:99999", "serve:http://[::1", "~nobody-at-all/g.db", f"{'x' * 300}.parquet"]


@pytest.mark.parametrize("uri", [*FORMLESS, *BROKEN])
@pytest.mark.parametrize("dim", [None, 3])
def test_what_names_no_gallery(uri: str, dim: int | None) -> None:
    with pytest.raises(SemreidError, match="names no gallery") as caught:
        Gallery.open(uri, dim=dim)
    assert "the forms are FILE.parquet" in caught.value.fix


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://127.0.0.1:9#people.db", "'people.db' cannot name a gallery"),
        ("http://127.0.0.1:9/people.db", "http://127.0.0.1:9/people.db: cannot connect"),
        ("serve:http://127.0.0.1:9/people.db", "http://127.0.0.1:9/people.db cannot be reached"),
    ],
)
def test_an_address_that_ends_like_a_file_is_no_file(
    uri: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(milvus, "TIMEOUT", 1.0)
    with pytest.raises(SemreidError, match=re.escape(says)):
        Gallery.open(uri, dim=DIM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:secret@[::1",
        "http://me:secret@host:99999",
        "http://me:sec/ret@host",
        "http://me:sec#ret@host",
        "ftp://me:secret@host",
        "serve:ftp://me:secret@host",
        "serve:http://me:secret@host",
        "serve:http://me:secret@[::1",
        "me:secret@host:19530",
        "http:/me:secret@host",
    ],
)
def test_no_message_tells_a_password(uri: str) -> None:
    with pytest.raises(SemreidError, match="gallery|serve") as caught:
        Gallery.open(uri)
    assert not re.search("me:|sec|ret", f"{caught.value.what} {caught.value.fix}".replace("SEMREID_SERVE_TOKEN", ""))


def test_a_fingerprint_is_told_as_it_is(tmp_path: Path, run) -> None:
    Gallery.open(tmp_path / "g.parquet", dim=2, fingerprint="[/x]").add([[1, 0]], [Entry("a")])
    code, out, _ = run("gallery", "info", "--gallery", tmp_path / "g.parquet")
    assert (code, out.splitlines()[-1]) == (
        0,
        "1 crops of 0 people, 1 of nobody known; no times; 2 values a vector, model [/x]",
    )


def test_rows_of_a_filter_are_removed_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes, write = [], memory.write_gallery
    monkeypatch.setattr(memory, "SCAN", 4)
    monkeypatch.setattr(memory, "write_gallery", lambda *asked: [writes.append(asked), write(*asked)][1])
    gallery = Gallery.open(file)
    assert gallery.remove(where=Filter(exclude_camids=[77])) == 20
    assert (len(writes), Gallery.open(file).count()) == (1, 0)
    assert gallery.remove(where=Filter(exclude_camids=[77])) == 0
    assert len(writes) == 1


def test_an_import_does_not_write_a_file_for_every_batch(file: Path, tmp_path: Path) -> None:
    rows = 3 * parquet.BATCH
    with Gallery.open("memory:", dim=2) as many:
        many.add(np.tile([1.0, 0.0], (rows, 1)), [Entry(str(i)) for i in range(rows)])
        many.export_parquet(tmp_path / "many.parquet")
    with Gallery.open(tmp_path / "copy.parquet", dim=2) as copy:
        commits, commit = [], copy._store._commit
        copy._store._commit = lambda table: [commits.append(table.size), commit(table)][1]
        assert copy.import_parquet(tmp_path / "many.parquet").new == rows
    assert commits == [rows]


def test_a_password_is_not_shown_where_the_gallery_is_named() -> None:
    gallery = Gallery("http://me:secret@host:19530#people", memory.MemoryStore(Meta(2, "")))
    assert gallery.uri == "http://host:19530#people"
    with pytest.raises(SemreidError, match="of http://host:19530#people to remove"):
        gallery.remove()


def test_memory_must_know_how_wide_its_vectors_are() -> None:
    with pytest.raises(SemreidError, match="say how wide"):
        Gallery.open("memory:")
    with pytest.raises(SemreidError, match="cannot have 0 values"):
        Gallery.open("memory:", dim=0)


WRITER = """
import sys
from semreid.gallery import Entry, Gallery
name, file = sys.argv[1:]
gallery = Gallery.open(file, dim=2)
print("open", flush=True)
sys.stdin.readline()
for i in range(30):
    gallery.add([[1, i]], [Entry(id=f"{name}{i}")])
    print(f"{name}{i}", flush=True)
"""


def test_two_writers_and_a_kill_lose_no_acknowledged_row(tmp_path: Path) -> None:
    file = tmp_path / "g.parquet"
    command = [sys.executable, "-c", WRITER]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(subprocess.Popen([*command, name, file], stdin=PIPE, stdout=PIPE, text=True))
            for name in "ab"
        ]
        assert [writer.stdout.readline() for writer in writers] == ["open\n"] * 2
        for writer in writers:
            writer.stdin.write("\n")
            writer.stdin.flush()
        acknowledged = [writers[0].stdout.readline().strip() for _ in range(10)]
        writers[0].kill()
        for writer in writers:  # not communicate(), which misses the lines that readline() took ahead into its buffer
            acknowledged += writer.stdout.read().split()
    assert [writer.returncode for writer in writers] == [-9, 0]
    assert {f"b{i}" for i in range(30)} <= set(acknowledged)
    with Gallery.open(file, dim=2) as gallery:
        assert all(gallery.get(acknowledged))
        assert gallery.count() - len(acknowledged) in (0, 1)  # a row may be safe before anybody was told
        gallery.add([[1, 1]], [Entry(id="last")])
    assert [path.name for path in tmp_path.iterdir()] == ["g.parquet"]


def test_galleries_that_are_open_at_once_see_what_others_wrote_before_they_write(file: Path) -> None:
    vectors, entries = make_rows(30)
    left, right = Gallery.open(file), Gallery.open(file)
    assert left.add(vectors[:25], entries[:25]) == (5, 0, 20)
    assert right.add(vectors, entries) == (5, 0, 25)
    assert left.remove(["id0029"]) == 1
    assert right.remove(["id0029", "id0000"]) == 1
    left.upsert(vectors[:1], entries[:1])
    file.unlink()
    assert left.remove(["id0001"]) == 1  # whoever lost the file has the rows still
    assert sorted(e.id for batch, _ in Gallery.open(file).scan() for e in batch) == [
        entry.id for i, entry in enumerate(entries) if i not in (1, 29)
    ]


def test_a_gallery_of_another_model_that_came_meanwhile_is_left_as_it_is(file: Path) -> None:
    gallery = Gallery.open(file)
    file.unlink()
    with Gallery.open(file, dim=DIM, fingerprint="another") as other:
        other.add(*make_rows(3))
    before = file.read_bytes()
    with pytest.raises(SemreidError, match="model"):
        gallery.remove(["id0000"])
    assert file.read_bytes() == before


def without_digest(file: Path) -> bytearray:
    """A gallery file as earlier versions wrote it."""
    content = bytearray(file.read_bytes())
    place = content.rindex(b"semreid1")
    del content[place : place + 40]
    return content


def test_files_without_a_digest_are_read(file: Path) -> None:
    rows = next(iter(Gallery.open(file).scan()))[0]
    file.write_bytes(without_digest(file))
    assert next(iter(Gallery.open(file).scan()))[0] == rows
    table = pq.read_table(file)
    Gallery.open(file).remove(["id0000"])
    assert pq.read_table(file).equals(table.slice(1))  # a file like any other to other tools
    pq.write_table(table, file)
    assert Gallery.open(file).count() == 20


def test_a_flipped_bit_is_found_wherever_it_is(file: Path) -> None:
    """In the pages, in what is between them, in the footer: all of its end, and a few hundred places before."""
    content = file.read_bytes()
    vectors, entries = next(iter(Gallery.open(file).scan()))[::-1]
    places = np.random.default_rng(0).choice(8 * len(content) - 100, 300, replace=False).tolist()
    for place in [*places, *range(8 * len(content) - 100, 8 * len(content))]:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        try:
            found = next(iter(Gallery.open(file).scan()))
        except SemreidError:
            continue
        assert content.index(b"semreid1") <= place // 8 < content.index(b"semreid1") + 8  # as if there was no digest
        assert found[0] == entries
        np.testing.assert_array_equal(found[1], vectors)


@pytest.mark.parametrize("column", ["vector", "id", "camid", "timestamp"])
def test_a_flipped_bit_of_a_page_is_found_without_a_digest(file: Path, column: str) -> None:
    content = without_digest(file)
    metadata = pq.ParquetFile(file).metadata
    chunks = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
    chunk = next(chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)
    content[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 1  # behind the header, among the values
    file.write_bytes(content)
    with pytest.raises(SemreidError, match="g.parquet is damaged"):
        Gallery.open(file)
    with (
        pytest.raises(SemreidError, match="g.parquet is damaged"),
        Gallery.open("memory:", dim=DIM, fingerprint=MODEL) as gallery,
    ):
        enroll_features(gallery, file)
