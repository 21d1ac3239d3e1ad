"""The table behind `memory:` galleries: what it shares with later ones never shows."""

import random
import time
from pathlib import Path

import numpy as np
import pytest

from semreid.gallery.entry import Entry, Filter, Meta
from semreid.gallery.memory import MemoryStore

EVERYTHING = Filter()


def rows_of(store: MemoryStore) -> dict[str, tuple[str | None, float]]:
    found = {}
    for entries, vectors in store.scan(EVERYTHING, vectors=True):
        found |= {e.id: (e.pid, float(v[0])) for e, v in zip(entries, vectors, strict=True)}
    return found


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_writes_and_removals_is_that_of_a_dict(seed: int) -> None:
    draw, store, expected = random.Random(seed), MemoryStore(Meta(2, "of one model")), {}
    for step in range(200):
        if expected and draw.random() < 0.4:
            ids = draw.sample([*expected], min(len(expected), draw.randint(1, 6)))
            store.delete(ids)
            for id_ in ids:
                del expected[id_]
        else:
            ids = draw.sample([f"row {i}" for i in range(40)], draw.randint(1, 6))
            values, people = [draw.random() for _ in ids], [draw.choice([None, "anna", "bo", f"{step}"]) for _ in ids]
            entries = [Entry(id=id_, pid=pid) for id_, pid in zip(ids, people, strict=True)]
            store.write(entries, np.array([[value, 0] for value in values], np.float32))
            for id_, pid, value in zip(ids, people, values, strict=True):
                expected.pop(id_, None)  # a replaced row moves to the end
                expected[id_] = pid, float(np.float32(value))
        assert [*rows_of(store).items()] == [*expected.items()]
        assert store.count(Filter(pids=("anna",))) == sum(pid == "anna" for pid, _ in expected.values())
        asked = [*expected][:3]
        assert [*store.entries([*asked, "nobody"])] == asked
        assert store.vectors(asked)[:, 0].tolist() == [expected[id_][1] for id_ in asked]
        best = store.search(np.array([[1, 0]], np.float32), 1, EVERYTHING)[0]
        nearest = sorted(expected, key=lambda id_: -expected[id_][1])[:1]
        assert [match.entry.id for match in best] == nearest


def test_a_scan_goes_on_over_the_rows_that_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semreid.gallery.memory.SCAN", 2)
    store = MemoryStore(Meta(1, "of one model"))
    store.write([Entry(id=f"{i}", pid="before") for i in range(6)], np.ones((6, 1), np.float32))
    scan = store.scan(EVERYTHING, vectors=True)
    seen = list(next(scan)[0])
    store.write([Entry(id=f"{i}", pid="after") for i in range(4, 9)], np.zeros((5, 1), np.float32))
    store.delete(["0", "3"])
    for entries, vectors in scan:
        seen += entries
        assert vectors.tolist() == [[1.0]] * len(entries)
    assert [(entry.id, entry.pid) for entry in seen] == [(f"{i}", "before") for i in range(6)]
    assert [*rows_of(store)] == ["1", "2", "4", "5", "6", "7", "8"]


def test_rows_that_could_not_be_kept_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(Meta(1, "of one model"), tmp_path / "g.parquet")
    vectors = np.ones((2, 1), np.float32)
    store.write([Entry(id="a"), Entry(id="b")], vectors)
    with monkeypatch.context() as full, pytest.raises(OSError, match="no space"):
        full.setattr("semreid.gallery.memory.write_gallery", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        store.write([Entry(id="b", pid="late"), Entry(id="c")], vectors)
    with monkeypatch.context() as full, pytest.raises(OSError, match="no space"):
        full.setattr("semreid.gallery.memory.write_gallery", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        store.write([Entry(id="lost"), Entry(id="c")], vectors)
    assert rows_of(store) == {"a": (None, 1.0), "b": (None, 1.0)}
    assert store.entries(["c", "lost"]) == {}
    store.write([Entry(id="d"), Entry(id="e")], vectors)
    assert [*rows_of(store)] == [*rows_of(MemoryStore.load(tmp_path / "g.parquet"))] == ["a", "b", "d", "e"]
    assert store.entries(["c", "lost"]) == {}


def test_a_row_more_or_less_costs_little_in_a_large_table() -> None:
    """Nothing is copied for it but a byte a row, and for a removal the ids."""
    store, count = MemoryStore(Meta(64, "of one model")), 60_000
    began = time.process_time()
    store.write([Entry(id=f"{i}") for i in range(count)], np.ones((count, 64), np.float32))
    whole, began = time.process_time() - began, time.process_time()
    for i in range(20):
        store.write([Entry(id=f"new {i}")], np.ones((1, 64), np.float32))
        store.delete([f"{i}"])
    assert (time.process_time() - began) / 20 < whole / 10
    assert store.count(EVERYTHING) == count
