"""What can go wrong around Milvus: other processes, servers that vanish, foreign data."""

import builtins
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.gallery import Gallery, milvus
from tests.gallery.helpers import DIM, MODEL, LiteServer, make_rows


def test_one_process_owns_a_lite_gallery(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "g.db"
    with Gallery.open(place, dim=DIM) as gallery:
        gallery.add(*make_rows(3))
    other = LiteServer(place)  # so we have let go of it
    with pytest.raises(SemreidError, match="another process has it open, or it is damaged") as caught:
        Gallery.open(place)
    assert "semreid serve" in caught.value.fix
    other.kill()
    with Gallery.open(place) as gallery:
        assert gallery.count() == 3
    assert "Traceback" not in capfd.readouterr().err


def test_what_milvus_says_tells_no_password() -> None:
    pymilvus = pytest.importorskip("pymilvus")
    address = "http://me:secret@host:1"
    with (
        pytest.raises(SemreidError, match=r"^http://host:1: cannot read: no \[http://host:1\]") as caught,
        milvus._translated(address, "cannot read"),
    ):
        raise pymilvus.exceptions.MilvusException(message=f"no [{address}]")
    assert "secret" not in str(caught.value)


def test_a_full_disk_is_told_as_such_and_costs_no_acknowledged_row(tmp_path: Path) -> None:
    script = f"""
import resource, signal
from semreid.gallery import Gallery
from tests.gallery.helpers import make_rows
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
vectors, entries = make_rows(2000)
with Gallery.open({str(tmp_path / "g.db")!r}, dim=8) as gallery:
    for start in range(0, 2000, 20):
        try:
            gallery.add(vectors[start:start + 20], entries[start:start + 20])
        except ValueError as error:
            print(start, error)
            break
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    safe, said = done.stdout.split(maxsplit=1)
    assert said.startswith(f"{tmp_path}/g.db: cannot write: ")
    assert "way out: see that the disk has free space" in said
    assert int(safe) > 0
    with Gallery.open(tmp_path / "g.db") as gallery:
        assert gallery.count() == int(safe)


def test_an_idle_connection_is_not_hung_up_on_for_its_pings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pymilvus

    asked: dict[str, Any] = {}

    class Client(pymilvus.MilvusClient):
        def __init__(self, *args: object, **named: object) -> None:
            asked.update(named)
            super().__init__(*args, **named)

    monkeypatch.setattr(pymilvus, "MilvusClient", Client)
    Gallery.open(tmp_path / "g.db", dim=DIM).close()
    options = asked["grpc_options"]
    assert options["grpc.keepalive_time_ms"] >= 300_000  # what gRPC servers allow when nobody told them otherwise,
    assert not options["grpc.keepalive_permit_without_calls"]  # and that only while something is asked


def test_a_server_that_goes_away_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server = LiteServer(tmp_path / "data")
    uri = server.uri()
    vectors, entries = make_rows(40)
    gallery = Gallery.open(uri, dim=DIM, fingerprint=MODEL)
    gallery.add(vectors[:10], entries[:10])
    server.kill()
    monkeypatch.setattr(milvus, "TIMEOUT", 1.0)
    for ask in (
        lambda: gallery.add(vectors, entries),
        lambda: gallery.search(vectors[:1]),
        gallery.count,
        lambda: list(gallery.scan()),
        lambda: gallery.remove(["id0001"]),
        lambda: Gallery.open(uri),
    ):
        with pytest.raises(SemreidError, match="cannot (read|search|count|open|connect)") as caught:
            ask()
        assert "rows that were acknowledged are safe" in caught.value.fix
    monkeypatch.undo()
    server.start()
    try:
        assert rows_when_back(gallery) == 10
        assert gallery.search(vectors[3:4], 1)[0][0].entry.id == "id0003"  # though it has let go of the collection
        with Gallery.open(uri, dim=DIM, fingerprint=MODEL) as again:
            assert again.add(vectors, entries) == (30, 0, 10)
    finally:
        server.kill()
    gallery.close()
    assert "Traceback" not in capfd.readouterr().err


def rows_when_back(gallery: Gallery) -> int:
    """Ask an open gallery again and again: it finds the server by itself, in seconds."""
    for _ in range(180):
        with contextlib.suppress(SemreidError):
            return gallery.count()
        time.sleep(0.5)
    raise AssertionError("the server is back, but the gallery did not notice")


def test_a_server_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus, "TIMEOUT", 1.0)
    with pytest.raises(SemreidError, match="http://127.0.0.1:9: cannot connect") as caught:
        Gallery.open("http://user:secret@127.0.0.1:9", dim=DIM)
    assert "secret" not in str(caught.value)


def test_a_collection_of_somebody_else_is_left_alone(lite_server: LiteServer) -> None:
    from pymilvus import MilvusClient

    uri = lite_server.uri()
    address, _, name = uri.partition("#")
    client = MilvusClient(address)
    client.create_collection(name, dimension=DIM)
    with pytest.raises(SemreidError, match="a collection '.*' that is no gallery"):
        Gallery.open(uri, dim=DIM)
    assert client.has_collection(name)
    client.close()


@pytest.mark.parametrize("name", ["a-b", "1a", "a b", "a;drop", "x" * 256])
def test_names_that_milvus_would_not_take(name: str) -> None:
    with pytest.raises(SemreidError, match="cannot name a gallery"):
        Gallery.open(f"http://127.0.0.1:9#{name}", dim=DIM)


@pytest.mark.parametrize("options", ["ef=many", "ef", "consistency=weak", "ef=-1"])
def test_options_that_make_no_sense(options: str) -> None:
    with pytest.raises(SemreidError, match=f"cannot read the options '{options}'"):
        Gallery.open(f"http://127.0.0.1:9?{options}#g", dim=DIM)


def test_an_index_of_another_kind_is_searched_with_the_parameters_of_the_uri(lite_server: LiteServer) -> None:
    from pymilvus import MilvusClient

    address, _, name = lite_server.uri().partition("#")
    vectors, entries = make_rows(40)
    with Gallery.open(f"{address}?ef=40&consistency=Bounded#{name}", dim=DIM) as gallery:
        gallery.add(vectors, entries)
        client = MilvusClient(address)
        client.flush(name)
        client.release_collection(name)
        client.drop_index(name, "vector")
        index = client.prepare_index_params()
        index.add_index("vector", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 200})
        client.create_index(name, index)
        client.load_collection(name)
        client.close()
        assert gallery.recall(vectors[:5], k=5) == 1
        assert gallery.search(vectors[:1], 1)[0][0].entry == entries[0]


def test_another_process_searches_what_this_one_has_closed(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g.db", dim=DIM) as gallery:
        gallery.add(*make_rows(3))
    search = "from semreid.gallery import Gallery; print(Gallery.open('g.db').search([[1.0] * 8])[0][2].entry.id)"
    done = subprocess.run([sys.executable, "-c", search], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:5]) == (0, "id000"), done.stderr


def test_a_collection_that_the_server_has_released_is_loaded_again(lite_server: LiteServer) -> None:
    from pymilvus import MilvusClient

    address, _, name = lite_server.uri().partition("#")
    vectors, entries = make_rows(5)
    with Gallery.open(f"{address}#{name}", dim=DIM) as gallery:
        gallery.add(vectors, entries)
        client = MilvusClient(address)
        client.release_collection(name)
        assert gallery.search(vectors[2:3], 1)[0][0].entry == entries[2]
        client.release_collection(name)
        assert gallery.get(["id0004"]) == entries[4:]
        client.close()


def test_what_is_no_lite_gallery_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file.db").write_text("SQLite format 3")
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "folder.db" / "mine.txt").write_text("precious")
    for name in ("file.db", "folder.db"):
        with pytest.raises(SemreidError, match=f"{name} is no gallery of Milvus Lite"):
            Gallery.open(tmp_path / name, dim=DIM)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file.db", "folder.db", "mine.txt"]


def test_without_the_packages_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: object) -> object:
        if name == "pymilvus":
            raise ImportError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(SemreidError, match="needs pymilvus") as caught:
        Gallery.open(tmp_path / "g.db", dim=DIM)
    assert caught.value.fix == "pip install 'semreid[milvus]'"


def test_many_new_rows_are_flushed_before_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus, "LITE_UNFLUSHED", 25)
    vectors, entries = make_rows(60)

    def files() -> int:
        return len(list((tmp_path / "g.db").rglob("data_*.parquet")))

    with Gallery.open(tmp_path / "g.db", dim=DIM) as gallery:
        gallery.search(vectors[:1])
        gallery.add(vectors[:40], entries[:40])
        assert files() == 0
        assert gallery.search(vectors[:1], 1)[0][0].entry.id == "id0000"
        assert files() == 1
        gallery.add(vectors[40:], entries[40:])
        assert gallery.search(vectors[50:51], 1)[0][0].entry.id == "id0050"
        assert files() == 1  # 20 are few
        gallery.remove([entry.id for entry in entries[:30]])
        assert gallery.search(vectors[35:36], 40)[0][0].entry.id == "id0035"
        assert files() == 2
        np.testing.assert_array_equal(gallery.vectors(["id0035"]), vectors[35:36])
        assert gallery.count() == 30


def test_a_lite_gallery_that_may_not_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite writes even to search; as it is, it would say that somebody else has the gallery open."""
    (tmp_path / "g.db").mkdir()
    (tmp_path / "g.db" / "LOCK").touch()
    monkeypatch.setattr(os, "access", lambda path, *_, **__: "g.db" not in str(path))
    with pytest.raises(SemreidError, match="g.db may not be written, and Milvus Lite writes there even to search"):
        Gallery.open(tmp_path / "g.db")
    monkeypatch.setattr(os, "access", lambda path, *_, **__: False)
    with pytest.raises(SemreidError, match=r"cannot write .*new\.db"):
        Gallery.open(tmp_path / "new.db", dim=3)
