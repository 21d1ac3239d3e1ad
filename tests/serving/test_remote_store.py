"""A gallery behind a server keeps the contract of every gallery, and says what went wrong on the way."""

import http.server
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from semreid.errors import SemreidError
from semreid.gallery import Entry, Filter, Gallery
from semreid.gallery import remote as client_module
from semreid.gallery.store import ChangedError
from semreid.gallery.wire import pack
from semreid.serving.app import create_app
from semreid.serving.guard import Access
from semreid.serving.service import Service
from tests.gallery.helpers import DIM, MODEL, LiteServer, make_rows
from tests.gallery.test_contract import (  # noqa: F401 - they run here too, on the gallery below
    test_a_candidate_that_is_removed_meanwhile_is_left_out,
    test_adding_again_changes_nothing_and_upsert_replaces,
    test_an_open_gallery_can_be_opened_again_in_the_same_process,
    test_bad_questions,
    test_export_and_import,
    test_filters_and_exact_ranking,
    test_no_text_breaks_out_of_a_filter,
    test_removing_by_id_and_by_filter,
    test_renewing_keeps_what_was_said,
    test_reranking_puts_the_candidates_into_k_reciprocal_order,
    test_rows_are_exchanged_while_they_are_as_they_were,
    test_rows_come_back_as_they_were_given,
    test_searching_while_another_thread_writes,
    test_stats,
    test_the_camera_of_each_query_can_be_left_out,
    test_vectors_get_unit_length_and_unit_vectors_stay_bit_for_bit,
)
from tests.serving.conftest import listening

TOKEN = "a-long-enough-token"
EMBEDDER = SimpleNamespace(dim=DIM, fingerprint=MODEL, size=(8, 8))


def service(gallery, uploads=None):
    return Service(gallery, EMBEDDER, images=[], uploads=uploads)


@pytest.fixture
def owned():
    """What the server keeps."""
    return Gallery.open("memory:", dim=DIM, fingerprint=MODEL)


@pytest.fixture
def uri(owned, tmp_path):
    with listening(service(owned, tmp_path)) as address:
        yield f"serve:{address}"


@pytest.fixture
def gallery(uri):
    """The same, from afar."""
    return Gallery.open(uri, dim=DIM, fingerprint=MODEL)


def test_what_is_large_travels_in_parts(gallery, owned, monkeypatch):
    monkeypatch.setattr(client_module, "REQUEST_BYTES", 1)
    monkeypatch.setattr(client_module, "REQUEST_HITS", 5)
    monkeypatch.setattr(client_module, "REQUEST_IDS", 3)
    vectors, entries = make_rows(20)
    assert gallery.add(vectors, entries).new == 20
    assert [m.entry.id for ms in gallery.search(vectors, 3) for m in ms] == [
        m.entry.id for ms in owned.search(vectors, 3) for m in ms
    ]
    np.testing.assert_array_equal(gallery.vectors([e.id for e in entries]), vectors)
    assert gallery.remove([e.id for e in entries]) == 20


@pytest.mark.parametrize(
    "write",
    [
        lambda far, vectors, seen: far.exchange(seen, [replace(row, pid="group-7") for row in seen], partly=True),
        lambda far, vectors, seen: far.renew(vectors, [Entry(row.id, pid="7", tags=("grouped",)) for row in seen]),
        lambda far, vectors, seen: far.add(vectors, [Entry(row.id, pid="group-7") for row in seen]),
    ],
    ids=["exchange", "renew", "add"],
)
def test_what_somebody_says_at_the_last_moment_stays(gallery, owned, monkeypatch, write):
    """A machine looks, somebody names a crop on the page of the server, and the machine writes."""
    vectors, seen = make_rows(3)
    seen = [replace(row, pid=None, tags=()) for row in seen]
    owned.add(vectors, seen)
    send = gallery._store._send

    def late(operation, body):
        if operation not in ("entries", "vectors"):
            owned.upsert(vectors[1:2], [replace(seen[1], pid="anna")])
        return send(operation, body)

    monkeypatch.setattr(gallery._store, "_send", late)
    write(gallery, vectors, seen)
    assert owned.get([seen[1].id]) == [replace(seen[1], pid="anna")]


def test_all_or_none_are_exchanged_also_in_parts(gallery, owned, monkeypatch):
    monkeypatch.setattr(client_module, "REQUEST_BYTES", 3 * 2048)
    vectors, seen = make_rows(8)
    owned.add(vectors, seen)
    after = [replace(row, pid="anna") for row in seen]
    assert gallery.exchange(seen, after) == 8
    assert gallery.exchange(after, seen) == 8
    owned.upsert(vectors[7:], [replace(seen[7], pid="bert")])
    before = owned.get([row.id for row in seen])
    with pytest.raises(ChangedError, match="1 of 2 crops are no longer as they were"):
        gallery.exchange(seen, after)
    assert owned.get([row.id for row in seen]) == before


def test_a_question_with_many_queries_is_no_larger_than_a_server_takes(gallery, owned, monkeypatch):
    vectors, entries = make_rows(20)
    owned.add(vectors, entries)
    sent, send = [], gallery._store._send
    monkeypatch.setattr(client_module, "REQUEST_BYTES", 6 * DIM * 4)
    monkeypatch.setattr(gallery._store, "_send", lambda *asked: [sent.append(asked[1].queries), send(*asked)][1])
    assert len(gallery.search(vectors, 1)) == 20
    assert len(sent) == 5
    assert max(map(len, sent)) <= 6 * DIM * 4


def test_another_model_is_refused(uri):
    with pytest.raises(SemreidError, match="cannot be compared"):
        Gallery.open(uri, dim=DIM, fingerprint="other")
    with pytest.raises(SemreidError, match="values"):
        Gallery.open(uri, dim=DIM + 1, fingerprint=MODEL)


def test_a_server_that_only_reads_refuses_and_changes_nothing(owned):
    vectors, entries = make_rows(3)
    owned.add(vectors, entries)
    with listening(service(owned)) as address:
        gallery = Gallery.open(f"serve:{address}")
        for write in (lambda: gallery.upsert(vectors, entries), lambda: gallery.remove([entries[0].id])):
            with pytest.raises(SemreidError, match="only reads") as caught:
                write()
            assert "--uploads" in caught.value.fix
        assert gallery.count() == 3


def test_the_token_comes_from_the_environment(owned, monkeypatch):
    with listening(service(owned), Access(TOKEN)) as address:
        monkeypatch.delenv("SEMREID_SERVE_TOKEN", raising=False)
        with pytest.raises(SemreidError, match="wants a token"):
            Gallery.open(f"serve:{address}")
        monkeypatch.setenv("SEMREID_SERVE_TOKEN", TOKEN)
        assert Gallery.open(f"serve:{address}").count() == 0


@pytest.mark.parametrize("token", ["пароль-пароль-пароль", f"{TOKEN}\n", f" {TOKEN}"])
def test_a_token_that_cannot_be_sent_is_told_on_both_sides(uri, monkeypatch, token):
    with pytest.raises(SemreidError, match="programs could not send this token"):
        Access(token)
    monkeypatch.setenv("SEMREID_SERVE_TOKEN", token)
    with pytest.raises(SemreidError, match="the token in SEMREID_SERVE_TOKEN is none that a server takes"):
        Gallery.open(uri)


@pytest.mark.parametrize("uri", ["serve:", "serve:localhost:8000", "serve:file:///etc/passwd", "serve:ftp://x"])
def test_addresses_that_are_none(uri):
    with pytest.raises(SemreidError, match="names no server"):
        Gallery.open(uri)


def test_nobody_there():
    with pytest.raises(SemreidError, match="cannot be reached") as caught:
        Gallery.open("serve:http://127.0.0.1:1")
    assert "semreid serve" in caught.value.fix


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[1, 2]", b"", b'{"dim": "x"}'])
@pytest.mark.parametrize("status", [200, 500])
def test_somebody_else_there(answer, status):
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request).start()
        with pytest.raises(SemreidError, match="does not answer as|broke off"):
            Gallery.open(f"serve:http://127.0.0.1:{server.server_port}")


def test_trouble_in_the_middle_of_going_through_is_told(gallery, owned, monkeypatch):
    vectors, entries = make_rows(6)
    owned.add(vectors, entries)
    original = owned.scan

    def broken(where, *, vectors):
        yield next(original(where, vectors=vectors))
        raise SemreidError("the disk is gone", fix="get another")

    monkeypatch.setattr(owned, "scan", broken)
    seen = gallery.scan()
    assert len(next(seen)[0]) == 6
    with pytest.raises(SemreidError, match="the disk is gone"):
        next(seen)


@pytest.mark.parametrize(
    "body",
    [
        {"queries": "!", "k": 1, "where": {}},
        {"queries": "AAAA", "k": 1, "where": {}},
        {"queries": "", "k": 1, "where": {}},
        {"queries": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "k": 10**9, "where": {}},
        {"queries": "", "k": 1, "where": {"camids": ["x"]}},
        {"queries": "", "k": 1, "where": {"pids": ["\n"]}},
        {"k": 1},
        [],
    ],
)
def test_malformed_questions_are_refused(owned, tmp_path, body):
    client = TestClient(create_app(service(owned, tmp_path)), base_url="http://127.0.0.1")
    assert client.post("/api/store/search", json=body).status_code == 422
    assert client.post("/api/store/search", content=b"{").status_code == 422
    assert client.post("/api/store/entries", json={"ids": ["a\nb"]}).status_code == 422
    for ids, vectors in (("ab", ""), ("a", pack(np.zeros((1, DIM)))), ("aa", pack(np.eye(DIM)[:2]))):
        rows = {"entries": [{"id": id_} for id_ in ids], "vectors": vectors}
        assert client.post("/api/store/put", json={**rows, "how": "upsert"}).status_code == 422
    for before, after in (("a", "b"), ("a", ""), ("aa", "aa")):
        rows = {name: [{"id": id_} for id_ in ids] for name, ids in (("before", before), ("after", after))}
        assert client.post("/api/store/exchange", json={**rows, "partly": True}).status_code == 422
    assert client.post("/api/store/delete", json={"ids": []}).json() == {"deleted": 0}
    assert owned.count() == 0


def test_a_database_that_is_killed_is_told(tmp_path, monkeypatch):
    pytest.importorskip("milvus_lite")
    database = LiteServer(tmp_path)
    try:
        kept = Gallery.open(database.uri(), dim=DIM, fingerprint=MODEL)
        vectors, entries = make_rows(3)
        kept.add(vectors, entries)
        with listening(service(kept)) as address:
            gallery = Gallery.open(f"serve:{address}")
            assert gallery.count() == 3
            database.kill()
            monkeypatch.setattr(Service.ask, "__kwdefaults__", {"patience": 2.0})
            with pytest.raises(SemreidError, match=r"cannot|did not answer"):
                gallery.search(vectors[:1], 1, where=Filter(camids=[1]))
    finally:
        database.kill()
