"""What every gallery does, wherever its rows are kept."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.functional import k_reciprocal_rerank
from semreid.gallery import Entry, Filter, Gallery, memory, milvus
from semreid.gallery.said import NOT_A_PERSON
from semreid.gallery.store import ChangedError, NoSuchRowError
from tests.gallery.helpers import DIM, MODEL, make_rows

ROWS = 40
ANY = Filter()
HOSTILE = [
    '"',
    "'",
    "\\",
    '\\"',
    '" or camid >= 0 or "',
    "x' or 1 == 1",
    "%",
    "_",
    "{0}",
    "ü",
    "日本",
    "😀",
    "\u2028",
    "$meta",
]


def allows(where: Filter, entry: Entry) -> bool:
    """The filter in plain words."""
    return (
        (not where.camids or entry.camid in where.camids)
        and entry.camid not in where.exclude_camids
        and (where.since is None or (entry.timestamp is not None and entry.timestamp >= where.since))
        and (where.until is None or (entry.timestamp is not None and entry.timestamp < where.until))
        and (not where.pids or entry.pid in where.pids)
        and all(tag in entry.tags for tag in where.tags)
    )


def ids(gallery: Gallery, where: Filter = ANY) -> list[str]:
    return sorted(entry.id for entries, _ in gallery.scan(where) for entry in entries)


def test_rows_come_back_as_they_were_given(gallery: Gallery) -> None:
    vectors, entries = make_rows(ROWS)
    assert gallery.add(vectors, entries) == (ROWS, 0, 0)
    assert gallery.count() == ROWS
    names = [entry.id for entry in entries]
    assert gallery.get([*names, "nobody"]) == [*entries, None]
    np.testing.assert_array_equal(gallery.vectors(names[::-1]), vectors[::-1])
    batches = list(gallery.scan(vectors=True))
    found = {e.id: (e, v) for es, vs in batches for e, v in zip(es, vs, strict=True)}
    assert [found[name][0] for name in names] == entries
    np.testing.assert_array_equal([found[name][1] for name in names], vectors)


def test_adding_again_changes_nothing_and_upsert_replaces(gallery: Gallery) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors[:30], entries[:30])
    renamed = [Entry(id=entry.id, pid="somebody else") for entry in entries]
    assert gallery.add(vectors[::-1], renamed) == (ROWS - 30, 0, 30)
    assert gallery.get(["id0000", "id0035"]) == [entries[0], Entry(id="id0035", pid="somebody else")]
    assert gallery.upsert(vectors[::-1], renamed) == (0, ROWS, 0)
    assert gallery.count() == ROWS
    assert gallery.get(["id0000"]) == [renamed[0]]
    np.testing.assert_array_equal(gallery.vectors(["id0000"]), vectors[-1:])


def test_ids_come_from_path_and_box_or_else_from_the_content(gallery: Gallery) -> None:
    vectors, _ = make_rows(4)
    placed = [Entry(path="/a.jpg"), Entry(path="/a.jpg", box=(0, 0, 1, 1)), Entry(path="/b.jpg"), Entry(camid=1)]
    assert gallery.add(vectors, placed).new == 4
    other = np.roll(vectors, 1, axis=0)
    assert gallery.add(other, placed) == (1, 0, 3)  # a path stays what it is; other content is another row
    assert all(len(name) == 32 for name in ids(gallery))


FILTERS = [
    Filter(),
    Filter(camids=[1]),
    Filter(camids=[0, 2, 77]),
    Filter(exclude_camids=[0, 1]),
    Filter(since=11),
    Filter(until=11),
    Filter(since=-3.5, until=1e300),
    Filter(since=11, until=31),
    Filter(pids=["p1", "p5", "nobody"]),
    Filter(tags=["day"]),
    Filter(tags=['the "gate"', "day"]),
    Filter(camids=[1, 2], exclude_camids=[2], since=3, until=35, pids=["p1", "p3"], tags=["day"]),
    Filter(camids=[77]),
    Filter(pids=["nobody"]),
]


def test_filters_and_exact_ranking(gallery: Gallery) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    queries, _ = make_rows(5, seed=1)
    for where in FILTERS:
        wanted = [row for row, entry in enumerate(entries) if allows(where, entry)]
        assert ids(gallery, where) == [entries[row].id for row in wanted], where
        assert gallery.count(where) == len(wanted)
        similarity = queries.astype(np.float64) @ vectors[wanted].T.astype(np.float64)
        for line, matches in zip(similarity, gallery.search(queries, 7, where=where), strict=True):
            best = np.argsort(-line)[:7]
            assert [match.entry for match in matches] == [entries[wanted[i]] for i in best], where
            np.testing.assert_allclose([match.similarity for match in matches], line[best], atol=1e-6)


def test_the_camera_of_each_query_can_be_left_out(gallery: Gallery) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    cameras = [0, None, 2, 0]
    found = gallery.search(vectors[:4], ROWS, where=Filter(exclude_camids=[1]), query_camids=cameras)
    for camid, matches in zip(cameras, found, strict=True):
        wanted = {e.id for e in entries if e.camid != 1 and (camid is None or e.camid != camid)}
        assert {match.entry.id for match in matches} == wanted


def test_reranking_puts_the_candidates_into_k_reciprocal_order(gallery: Gallery) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    query = make_rows(1, seed=2)[0]
    plain = [match.entry.id for match in gallery.search(query, ROWS)[0]]
    order = np.argsort(k_reciprocal_rerank(query, gallery.vectors(plain))[0], kind="stable")
    found = gallery.search(query, 6, rerank=True)[0]
    assert [match.entry.id for match in found] == [plain[i] for i in order[:6]]
    assert gallery.search(query, 6, where=Filter(camids=[77]), rerank=True) == [[]]


def test_a_candidate_that_is_removed_meanwhile_is_left_out(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    search = gallery._store.search

    def found_and_removed(*arguments: Any) -> Any:
        found = search(*arguments)
        gallery.remove(["id0003"])
        return found

    monkeypatch.setattr(gallery._store, "search", found_and_removed)
    found = gallery.search(vectors[3:4], ROWS, rerank=True)[0]
    assert sorted(match.entry.id for match in found) == sorted({entry.id for entry in entries} - {"id0003"})
    with pytest.raises(NoSuchRowError, match="no row 'id0003'"):
        gallery._store.vectors(["id0001", "id0003"])


def test_exact_search_has_full_recall(gallery: Gallery) -> None:
    with pytest.raises(SemreidError, match="nothing to find: 2 queries, 0 rows"):
        gallery.recall(GOOD)
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    assert gallery.recall(vectors[:10], k=7) == 1


def test_recall_is_the_share_of_the_nearest_that_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery.open("memory:", dim=DIM)
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    nearest = gallery.search(vectors[:2], 4)
    half = [nearest[0][:1] + nearest[0][2:], nearest[1][:1]]  # four of eight
    monkeypatch.setattr(gallery, "search", lambda *_, **__: half)
    assert gallery.recall(vectors[:2], k=4) == 0.5


def test_of_rows_that_are_equally_near_any_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SCAN", 4)
    gallery = Gallery.open("memory:", dim=2)
    gallery.add([[1, 0]] * 10 + [[0, 1]], [Entry(id=f"{i:02d}") for i in range(11)])
    assert [match.entry.id for match in gallery.search([[1, 0]], 2)[0]] == ["00", "01"]
    assert gallery.recall([[1, 0]], k=2) == 1


def test_of_rows_that_are_equally_near_the_first_come_first_however_many_are_asked_for() -> None:
    gallery = Gallery.open("memory:", dim=2)
    near = [[1, 0], [0.8, 0.6]]
    gallery.add([near[i % 3 == 0] for i in range(1000)], [Entry(id=f"{i:04d}") for i in range(1000)])
    found = [match.entry.id for match in gallery.search([[1, 0]], 1000)[0]]
    assert found == [f"{i:04d}" for i in sorted(range(1000), key=lambda i: (i % 3 == 0, i))]
    for k in (1, 3, 10, 667, 700):
        assert [match.entry.id for match in gallery.search([[1, 0]], k)[0]] == found[:k]


def test_rows_are_exchanged_while_they_are_as_they_were(gallery: Gallery) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    after = [replace(entry, pid="anna", tags=("said",)) for entry in entries[:10]]
    assert gallery.exchange(entries[:10], after) == 10
    assert gallery.exchange(entries[10:12], entries[10:12]) == 0  # nothing to do
    names = [entry.id for entry in entries]
    assert gallery.get(names) == [*after, *entries[10:]]
    np.testing.assert_array_equal(gallery.vectors(names), vectors)
    other = [replace(entry, pid="bert") for entry in entries[5:15]]
    with pytest.raises(ChangedError, match="5 of 10 crops are no longer as they were"):
        gallery.exchange(entries[5:15], other)
    assert gallery.get(names) == [*after, *entries[10:]]
    gallery.remove([names[14]])
    assert gallery.exchange(entries[5:15], other, partly=True) == 4
    assert gallery.get(names) == [*after, *other[5:9], None, *entries[15:]]


def test_renewing_keeps_what_was_said(gallery: Gallery) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors[:10], [replace(entry, pid="anna", tags=("said",)) for entry in entries[:10]])
    assert gallery.renew(vectors[::-1], [Entry(entry.id) for entry in entries]) == (ROWS - 10, 10, 0)
    known = [replace(entry, pid="anna", tags=("said",)) for entry in entries[:10]]
    assert gallery.get([entry.id for entry in entries]) == [*known, *(Entry(entry.id) for entry in entries[10:])]
    np.testing.assert_array_equal(gallery.vectors([entry.id for entry in entries]), vectors[::-1])


def test_removing_by_id_and_by_filter(gallery: Gallery) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    assert gallery.remove(["id0000", "id0001", "nobody"]) == 2
    gone = Filter(pids=["p3"], since=0)
    wanted = [entry.id for entry in entries[2:] if not allows(gone, entry)]
    assert gallery.remove(where=gone) == ROWS - 2 - len(wanted)
    assert ids(gallery) == wanted
    assert gallery.remove(where=gone) == 0
    assert gallery.count() == len(wanted)
    assert not {m.entry.id for m in gallery.search(vectors[:1], ROWS)[0]} - set(wanted)
    for wrong in ({}, {"ids": ["id0002"], "where": Filter(camids=[1])}):
        with pytest.raises(SemreidError, match=r"to remove is said (nowhere|twice.*)\n  way out: give ids"):
            gallery.remove(**wrong)
    assert gallery.add(vectors, entries).new == ROWS - len(wanted)


def test_stats(gallery: Gallery) -> None:
    empty = {"rows": 0, "people": 0, "unknown": 0, "cameras": {}, "first": None, "last": None}
    assert gallery.stats().to_json() == {**empty, "dim": DIM, "fingerprint": MODEL}
    gallery.add(*make_rows(ROWS))
    stats = gallery.stats().to_json()
    assert stats["cameras"] == {"0": 12, "1": 11, "2": 11, "unknown": 6}
    assert (stats["rows"], stats["people"], stats["unknown"], stats["first"], stats["last"]) == (ROWS, 6, 10, 1.0, 39.0)
    gallery.add(np.eye(DIM)[:1], [Entry(id="a sign", tags=(NOT_A_PERSON,))])
    assert (gallery.stats().rows, gallery.stats().unknown) == (ROWS + 1, 10)


def test_more_rows_than_a_batch(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus, "REQUEST_ROWS", 7)
    monkeypatch.setattr(milvus, "PAGE_ROWS", 7)
    monkeypatch.setattr(milvus, "LITE_UNFLUSHED", 20)
    monkeypatch.setattr(memory, "SCAN", 7)
    vectors, entries = make_rows(ROWS)
    for start in range(0, ROWS, 15):
        gallery.add(vectors[start : start + 15], entries[start : start + 15])
    batches = [entries for entries, _ in gallery.scan()]
    assert max(map(len, batches)) <= 7
    assert sorted(entry.id for batch in batches for entry in batch) == [entry.id for entry in entries]
    assert gallery.upsert(vectors, entries) == (0, ROWS, 0)
    assert len(gallery.search(vectors, 3)) == ROWS
    assert gallery.remove([entry.id for entry in entries]) == ROWS
    assert gallery.count() == 0


def test_export_and_import(gallery: Gallery, tmp_path: Path) -> None:
    vectors, entries = make_rows(ROWS)
    gallery.add(vectors, entries)
    assert gallery.export_parquet(tmp_path / "export.parquet") == ROWS
    with Gallery.open(tmp_path / "export.parquet") as copy:  # an export is itself a gallery
        assert copy.fingerprint == MODEL
        assert ids(copy) == ids(gallery)
        np.testing.assert_array_equal(copy.vectors(ids(copy)), gallery.vectors(ids(copy)))
        copy.upsert(vectors[:1], [Entry(id="id0000", pid="new")])
    gallery.remove(["id0000", "id0001"])
    assert gallery.import_parquet(tmp_path / "export.parquet") == (2, 0, ROWS - 2)
    assert gallery.get(["id0000", "id0001"]) == [Entry(id="id0000", pid="new"), entries[1]]
    assert gallery.import_parquet(tmp_path / "export.parquet", replace_known=True) == (0, ROWS, 0)


def test_what_another_model_made_is_refused(uri: str, tmp_path: Path) -> None:
    if uri != "memory:":
        with pytest.raises(SemreidError, match="there is no gallery at"):
            Gallery.open(uri)
    with Gallery.open(uri, dim=DIM, fingerprint=MODEL) as gallery:
        gallery.add(*make_rows(3))
        with Gallery.open("memory:", dim=DIM, fingerprint="other") as other:
            other.export_parquet(tmp_path / "other.parquet")
        with pytest.raises(SemreidError, match=r"of model other; these are of model abc123: they cannot"):
            gallery.import_parquet(tmp_path / "other.parquet")
    if uri == "memory:":
        return
    with pytest.raises(SemreidError, match=f"holds vectors of {DIM} values, not 9"):
        Gallery.open(uri, dim=9, fingerprint=MODEL)
    with pytest.raises(SemreidError, match="of model abc123; these are of model other"):
        Gallery.open(uri, dim=DIM, fingerprint="other")
    with Gallery.open(uri) as again:
        assert (again.dim, again.fingerprint, again.count()) == (DIM, MODEL, 3)


GOOD = np.eye(DIM, dtype=np.float32)[:2]


@pytest.mark.parametrize(
    ("vectors", "entries", "message"),
    [
        (np.full((2, DIM), np.nan), [Entry("a"), Entry("b")], "2 row vectors are zero or hold NaN or infinity"),
        ([[1] * DIM, [np.inf] * DIM], [Entry("a"), Entry("b")], "first in row 1"),
        ([[1] * DIM, [0] * DIM], [Entry("a"), Entry("b")], "first in row 1"),
        (GOOD[:, :5], [Entry("a"), Entry("b")], r"shape \(2, 5\)"),
        (GOOD[None], [Entry("a"), Entry("b")], r"shape \(1, 2, 8\)"),
        (["a"], [Entry("a")], "not an array of numbers"),
        (GOOD, [Entry("a")], "2 vectors came with 1 entries"),
        (GOOD, [Entry("a"), Entry("a")], "rows 0 and 1 have the same id 'a'"),
        (GOOD, [Entry(path="/a"), Entry(path="/a")], "rows 0 and 1 have the same id"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_kept(vectors, entries, message: str) -> None:
    gallery = Gallery.open("memory:", dim=DIM)
    for write in (gallery.add, gallery.upsert):
        with pytest.raises(SemreidError, match=message):
            write(vectors, entries)
    assert gallery.count() == 0


@pytest.mark.parametrize("where", [{"camid": 1}, "camid==1", None, 1])
@pytest.mark.parametrize("question", [lambda g, w: g.search([[1.0] * DIM], where=w), lambda g, w: g.count(w),
                                      lambda g, w: g.scan(w), lambda g, w: g.remove(where=w)])  # fmt: skip
def test_what_is_no_filter_is_refused(where: Any, question: Any) -> None:
    with Gallery.open("memory:", dim=DIM) as gallery, pytest.raises(SemreidError, match="no filter") as caught:
        question(gallery, where)
    assert caught.value.fix == "write Filter(camids=[1], tags=['night'])"


@pytest.mark.parametrize(("values", "fix"), [({"camids": 1}, "camids=[1]"), ({"pids": "a"}, "pids=['a']"),
                                             ({"tags": 5}, "tags=[5]")])  # fmt: skip
def test_a_filter_of_one_value_says_how_it_is_written(values: dict[str, Any], fix: str) -> None:
    with pytest.raises(SemreidError, match="must be a list, not") as caught:
        Filter(**values)
    assert caught.value.fix == fix


def test_a_folder_may_be_named_as_the_tab_key_completes_it(tmp_path: Path) -> None:
    pytest.importorskip("pymilvus")
    with Gallery.open(tmp_path / "g.db", dim=DIM) as gallery:
        gallery.add([[1.0] * DIM], [Entry(id="a")])
        with Gallery.open(f"{tmp_path}/g.db/") as again:
            assert (again.uri, again.count()) == (str(tmp_path / "g.db"), 1)


def test_bad_questions(gallery: Gallery) -> None:
    gallery.add(*make_rows(3))
    for k in (0, -1, 16_385, 2.5, True):
        with pytest.raises(SemreidError, match="k is"):
            gallery.search(GOOD, k)
    with pytest.raises(SemreidError, match="query vectors are zero or hold NaN"):
        gallery.search(np.full((1, DIM), np.nan))
    with pytest.raises(SemreidError, match="2 queries have 1 cameras"):
        gallery.search(GOOD, query_camids=[1])
    with pytest.raises(SemreidError, match="no row 'nobody'"):
        gallery.vectors(["id0000", "nobody"])
    with pytest.raises(SemreidError, match="must be a list, not the text 'id0000'"):
        gallery.get("id0000")
    assert gallery.search(np.zeros((0, DIM))) == []
    assert (gallery.get([]), gallery.vectors([]).shape, gallery.add([], [])) == ([], (0, DIM), (0, 0, 0))
    assert len(gallery.search(GOOD[0], 16_384)[0]) == 3


def test_vectors_get_unit_length_and_unit_vectors_stay_bit_for_bit(gallery: Gallery) -> None:
    vectors, entries = make_rows(2)
    gallery.add([vectors[0] * 7, vectors[1]], entries)
    stored = gallery.vectors(["id0000", "id0001"])
    np.testing.assert_allclose(stored[0], vectors[0], atol=1e-6)
    assert stored[1].tobytes() == vectors[1].tobytes()
    assert gallery.search(vectors[1] * 5, 1)[0][0].similarity == pytest.approx(1)


def test_no_text_breaks_out_of_a_filter(gallery: Gallery) -> None:
    vectors, _ = make_rows(len(HOSTILE))
    gallery.add(vectors, [Entry(id=t, pid=t, tags=(t, "all"), camid=1, path=t) for t in HOSTILE])
    for t in HOSTILE:
        where = Filter(pids=[t, "nobody"], tags=["all", t], camids=[1])
        assert ids(gallery, where) == [t]
        assert [m.entry.path for m in gallery.search(vectors[:1], 9, where=where)[0]] == [t]
    assert [entry and entry.pid for entry in gallery.get([*HOSTILE, '"]'])] == [*HOSTILE, None]
    assert gallery.remove(HOSTILE[::2]) == len(HOSTILE[::2])
    assert ids(gallery) == sorted(HOSTILE[1::2])


def test_searching_while_another_thread_writes(gallery: Gallery) -> None:
    vectors, entries = make_rows(200)
    gallery.add(vectors[:20], entries[:20])
    failures: list[BaseException] = []

    def search() -> None:
        try:
            while not done.is_set():
                assert gallery.search(vectors[:1], 1)[0][0].entry.id == "id0000"
                assert gallery.count() >= 20
        except BaseException as error:
            failures.append(error)

    done = threading.Event()
    readers = [threading.Thread(target=search) for _ in range(3)]
    for reader in readers:
        reader.start()
    for start in range(20, 200, 30):
        gallery.add(vectors[start : start + 30], entries[start : start + 30])
    gallery.remove([entry.id for entry in entries[100:150]])
    done.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert gallery.count() == 150


def test_an_open_gallery_can_be_opened_again_in_the_same_process(uri: str) -> None:
    if uri.startswith("memory:") or uri.endswith(".parquet"):
        pytest.skip("each opening is a table of its own")
    with Gallery.open(uri, dim=DIM) as first, Gallery.open(uri) as second:
        first.add(*make_rows(3))
        assert second.count() == 3
        second.close()
        second.close()
        assert first.count() == 3


def test_only_the_same_rows_are_exchanged(gallery: Gallery) -> None:
    gallery.add(np.eye(DIM)[:2], entries := [Entry(id="a", pid="anna"), Entry(id="b", pid="bert")])
    for before, after in (
        (entries[:1], [Entry(id="b", pid="anna")]),
        (entries, entries[:1]),
        (entries, entries[::-1]),
        (entries[:1] * 2, entries[:1] * 2),
    ):
        with pytest.raises(SemreidError, match="not the same ones in the same order, each once"):
            gallery.exchange(before, after)
    assert gallery.get(["a", "b"]) == entries
    np.testing.assert_array_equal(gallery.vectors(["a", "b"]), np.eye(DIM, dtype=np.float32)[:2])


def test_ids_may_come_from_anything_that_goes_through_them(gallery: Gallery) -> None:
    gallery.add(np.eye(DIM)[:3], entries := [Entry(id=name) for name in "abc"])
    assert gallery.get(name for name in "ac") == [entries[0], entries[2]]  # type: ignore[arg-type]
    assert gallery.remove(np.array(["a", "c"])) == 2  # type: ignore[arg-type]
    assert gallery.get("b" for _ in range(1)) == entries[1:2]  # type: ignore[arg-type]


def test_no_similarity_is_above_one(gallery: Gallery) -> None:
    vector = np.full((1, DIM), (1 + 9e-6) / np.sqrt(DIM), np.float32)
    gallery.add(vector, [Entry(id="a")])
    assert gallery.search(vector)[0][0].similarity == 1
    assert gallery.search(-vector)[0][0].similarity == -1
