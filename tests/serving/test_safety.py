"""Nothing that a stranger sends may break, leak or overload anything; each refusal says why."""

import asyncio
import io
import logging
import struct
import threading
import zlib
from itertools import pairwise
from urllib.parse import unquote

import httpx2
import numpy as np
import pytest
from starlette.datastructures import URL

from semreid.errors import SemreidError
from semreid.gallery import Entry, Gallery
from semreid.serving import guard
from semreid.serving.answers import picture_url
from semreid.serving.app import create_app
from semreid.serving.guard import Access
from semreid.serving.pictures import MAX_UPLOAD, plain_name
from semreid.serving.server import access_at, open_service
from semreid.serving.service import Service
from tests.conftest import draw_figure, write_image
from tests.serving.conftest import Stripes, png

TOKEN = "a-long-enough-token"
FIGURE = png(draw_figure(3, 1, 0))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def blank_png(width: int, height: int) -> bytes:
    """A small file that unfolds to width × height pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100), 9)) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    import cv2

    return cv2.imencode(".jpg", draw_figure(3, 1, 0, 256, 128))[1].tobytes()


UPLOADS = {
    "text": b"hello, I am no image",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "empty": b"",
    "half a JPEG header": jpeg()[:100],
    "half a PNG": FIGURE[: len(FIGURE) // 3],
    "100 megapixels": blank_png(10_000, 10_000),
    "a bomb of 4 gigapixels": blank_png(65_535, 65_535),
    "zip": b"PK\x03\x04" + bytes(200),
    "noise": np.random.default_rng(0).bytes(4096),
}


@pytest.mark.parametrize("kind", UPLOADS)
@pytest.mark.parametrize("route", ["/api/search", "/api/compare", "/api/gallery", "/search"])
def test_what_is_no_image_is_refused_with_a_reason(serving, tmp_path, kind, route):
    client = serving(uploads=tmp_path / "up")
    other = {"id": "3_c1_0"} if "compare" in route else {}
    response = client.post(route, files={"image": ("../../etc/x<b>.jpg", UPLOADS[kind])}, data=other)
    assert response.status_code == 422
    assert "Traceback" not in response.text
    assert "etc" not in response.text
    if "api" in route:
        assert response.json()["error"].startswith("x<b>.jpg")
        assert response.json()["fix"]
    else:
        assert "x&lt;b&gt;.jpg" in response.text
    assert client.get("/api/gallery").json()["rows"] == 24
    assert not list(tmp_path.glob("up/**/*.png"))


def test_a_truncated_jpeg_is_refused_or_seen_never_half_stored(client):
    response = client.post("/api/search", files={"image": ("a.jpg", jpeg()[:-400])})
    assert response.status_code in (200, 422)  # decoders may fill the end with grey
    assert response.json()


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_beyond_the_bound_is_refused_before_it_is_read(client, announced):
    sent = 0

    def body():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(64):
            sent += 2**20
            yield bytes(2**20)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if announced:
        headers["Content-Length"] = str(64 * 2**20)
    response = client.post("/api/search", content=body(), headers=headers)
    assert response.status_code == 413
    assert f"{MAX_UPLOAD >> 20} MiB" in response.json()["error"]


def test_a_body_that_never_ends_is_given_up(client, monkeypatch):
    monkeypatch.setattr(guard, "SLOWEST", 0.2)

    async def trickle():
        app = create_app(client.service)
        sent = []

        async def never():
            await asyncio.sleep(20)

        scope = {"type": "http", "method": "POST", "path": "/api/search", "query_string": b"", "root_path": ""}
        kind = (b"content-type", b"multipart/form-data; boundary=x")
        scope |= {"headers": [(b"host", b"localhost"), kind], "scheme": "http", "http_version": "1.1"}

        async def send(message):
            sent.append(message)

        await app(scope, never, send)
        return sent[0]["status"]

    assert asyncio.run(trickle()) == 408


@pytest.mark.parametrize("length", ["-1", "1e3", "x"])
def test_a_length_that_is_no_number_is_refused(client, length):
    assert client.post("/api/search", content=b"", headers={"Content-Length": length}).status_code == 413


INJECTIONS = [
    '" or id != "',
    "' or 1=1 --",
    '"] or camid in [1',
    "\\",
    '\\" or pid != "',
    "a\nb",
    "\x00",
    "{{7*7}}",
    "%",
    "é" * 99,
]


@pytest.mark.parametrize(("uri", "text"), [("lite", INJECTIONS[0]), *(("memory:", text) for text in INJECTIONS)])
def test_no_filter_says_more_than_it_may(serving, tmp_path, uri, text):
    if uri == "lite":
        pytest.importorskip("milvus_lite")
    gallery = Gallery.open(f"{tmp_path}/g.db" if uri == "lite" else uri, dim=24, fingerprint=Stripes.fingerprint)
    gallery.add(np.eye(24)[:2], [Entry(id="a", pid="1", camid=1, tags=("x",)), Entry(id="b", pid="2", camid=2)])
    client = serving(gallery=gallery)
    for field in ("pid", "tag", "tags"):
        response = client.post("/api/search", data={field: text, "id": "a"})
        assert response.status_code in (200, 422), response.text
        assert not response.json().get("matches")
    for field in ("since", "until", "camid", "k", "query_camid"):
        assert client.post("/api/search", data={field: text, "id": "a"}).status_code == 422
    for path in ("/picture", "/api/gallery/row"):
        assert client.get(path, params={"id": text}).status_code in (404, 422)
    assert client.get("/", params={"id": text}).status_code in (404, 422)
    assert "49" not in client.get("/", params={"id": "{{7*7}}"}).text


def test_pictures_come_from_below_their_folders_only(serving, crops, tmp_path):
    secret = write_image(tmp_path / "secret.png", draw_figure(1, 1, 1))
    (crops / "link.png").symlink_to(secret)
    (crops / "loop.png").symlink_to(crops / "loop.png")
    (crops / "folder.png").mkdir()
    (crops / "text.png").write_text("root:x:0:0")
    (crops / "plain.txt").write_text("root:x:0:0")
    paths = [
        secret,
        crops / ".." / "secret.png",
        "../secret.png",
        "/etc/passwd",
        crops / "link.png",
        crops / "loop.png",
    ]
    paths += [crops / "folder.png", crops / "text.png", crops / "plain.txt", "", "\0", "a" * 4000, "#", f"{secret}#1"]
    paths += [f"{crops}/plain.txt#item", crops / "gone.png"]
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    gallery.add(np.ones((len(paths), 24)), [Entry(id=f"r{i}", path=str(p)) for i, p in enumerate(paths)])
    client = serving(gallery=gallery)
    for row, path in enumerate(paths):
        response = client.get(picture_url(f"r{row}"))
        assert response.status_code == 404, path
        assert "root:x" not in response.text
        assert "secret" not in response.text
    good = Entry(id="good", path="3_c1_0.png")  # relative to the folder
    gallery.add(np.ones((1, 24)), [good])
    assert client.get(picture_url("good")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/../etc/passwd", "/static/"]
)
def test_no_other_file_is_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("../../a.jpg", "a.jpg"),
        ("C:\\x\\a.jpg", "a.jpg"),
        ("", "the picture"),
        ("/", "the picture"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("x" * 200, "x" * 80),
    ],
)
def test_names_of_uploads_are_tamed(name, plain):
    assert plain_name(name) == plain


def test_every_answer_has_security_headers(client):
    for path in ("/", "/healthz", "/nothing", "/static/app.css", "/api/gallery"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert client.get("/").headers["cache-control"] == "no-store"


def test_pages_hold_no_script_or_style_that_the_policy_would_stop(client):
    for path in ("/", "/?id=3_c1_0", "/compare?id=3_c1_0&id=3_c2_0", "/gallery", "/programs", "/login"):
        page = client.get(path).text
        assert "<script>" not in page
        assert "style=" not in page
        assert " onclick=" not in page


def test_texts_of_a_gallery_are_shown_as_texts(serving):
    evil = "<img src=x onerror=alert(1)>\"'&"
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    gallery.add(np.eye(24)[:2], [Entry(id=evil, pid=evil, tags=(evil,)), Entry(id="b")])
    client = serving(gallery=gallery)
    for path in ("/", "/?id=b", f"/compare?{httpx2.QueryParams({'id': evil})}"):
        page = client.get(path)
        assert page.status_code == 200
        assert "<img src=x" not in page.text


def test_without_a_token_only_requests_to_this_machine_are_answered(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/api/gallery", headers={"Host": "evil.example:8000"}).json()["fix"]
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_server_cannot_write_or_ask(serving, tmp_path, headers):
    client = serving(uploads=tmp_path)
    assert client.delete("/api/gallery", params={"id": "3_c1_0"}, headers=headers).status_code == 403
    assert client.post("/api/search", data={"id": "3_c1_0"}, headers=headers).status_code == 403
    assert client.get("/api/gallery").json()["rows"] == 24
    own = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/search", data={"id": "3_c1_0"}, headers=own).status_code == 200


def test_a_token_is_wanted_everywhere_but_for_health_and_style(serving):
    client = serving(Access(TOKEN, local=False))
    for path in ("/api/gallery", "/metrics", "/openapi.json", picture_url("3_c1_0"), "/api/store/about"):
        response = client.get(path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert client.get(path, headers={"Authorization": "Bearer wrong-but-as-long"}).status_code == 401
        assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/gallery", follow_redirects=False).headers["location"] == "/login"
    partial = client.post("/search", headers={"HX-Request": "true"})
    assert partial.headers["hx-redirect"] == "/login"
    for path in ("/healthz", "/static/app.css", "/login"):
        assert client.get(path).status_code == 200


def test_who_needs_no_token_is_told_by_the_path_that_is_answered(serving, monkeypatch):
    """The address of a request is what its Host header says, in some versions of the framework whatever that says."""
    client = serving(Access(TOKEN, local=False))
    assert client.get("/api/gallery", headers={"Host": "h/login?"}).status_code == 401
    monkeypatch.setattr("starlette.requests.Request.url", URL("http://h/login?/api/gallery"))
    assert client.get("/api/gallery").json()["error"] == "a token is needed"


def test_a_person_types_the_token_once(serving):
    client = serving(Access(TOKEN, local=False))
    assert client.post("/login", data={"token": "wrong"}).status_code == 403
    assert client.get("/gallery", follow_redirects=False).status_code == 303
    entered = client.post("/login", data={"token": f" {TOKEN} "}, follow_redirects=False)
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert client.get("/gallery", follow_redirects=False).status_code == 200


def test_wrong_tokens_are_slowed_down_after_ten(serving, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(guard.time, "monotonic", lambda: now)
    client = serving(Access(TOKEN, local=False))
    right, wrong = ({"Authorization": f"Bearer {token}"} for token in (TOKEN, "wrong-but-as-long"))
    assert [client.get("/api/gallery", headers=wrong).status_code for _ in range(5)] == [401] * 5
    assert client.get("/api/gallery", headers=right).status_code == 200
    assert [client.post("/login", data={"token": "wrong"}).status_code for _ in range(6)] == [403] * 5 + [429]
    refused = client.get("/api/gallery", headers=right)  # else guessing on would still pay
    assert (refused.status_code, refused.headers["retry-after"], "wrong tokens" in refused.text) == (429, "10", True)
    assert client.get("/healthz").status_code == 200
    now += guard.PAUSE
    assert [client.get("/api/gallery", headers=wrong).status_code for _ in range(2)] == [401, 429]
    now += guard.PAUSE
    assert client.get("/api/gallery", headers=right).status_code == 200


def test_addresses_that_guess_are_remembered_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(guard, "ADDRESSES", 3)
    guesses = guard.Guesses()
    for address in "abcd":
        guesses.spend(address)
    assert [round(guesses.left(address)) for address in "abcd"] == [10, 9, 9, 9]


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "nonsense", '"x'])
def test_other_charsets_are_refused(serving, charset):
    client = serving(Access(TOKEN, local=False))
    body = '--BB\r\nContent-Disposition: form-data; name="token"\r\n\r\n\\ud800\r\n--BB--\r\n'
    kind = {"Content-Type": f"multipart/form-data; boundary=BB; charset={charset}"}
    answer = client.post("/login", content=body, headers=kind)
    assert (answer.status_code, "UTF-8" in answer.text) == (415, True)
    kind = {"Content-Type": "multipart/form-data; boundary=BB; charset=UTF-8"}
    assert client.post("/login", content=body, headers=kind).status_code == 403


def test_a_form_may_hold_letters_as_they_are(serving, tmp_path):
    """Browsers encode them; programs such as `curl -d` do not."""
    client = serving(uploads=tmp_path)
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    for person, name in pairwise(("3", "Jürgen", "王", "a%2Bb", "50%25")):
        said = client.post("/api/people/name", content=f"person={person}&name={name}".encode(), headers=kind)
        assert said.status_code == 200, said.text
        assert client.service.gallery.get(["3_c1_0"])[0].pid == unquote(name)
    for body in (b"person=50%25&name=J\xfcrgen", b"person=50%25&name=J\xc3"):
        refused = client.post("/api/people/name", content=body, headers=kind)
        assert (refused.status_code, "another charset than UTF-8" in refused.text) == (415, True)


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/gallery", "/static/app.css", "/nothing"])
def test_head_is_answered_as_get_without_the_body(client, path):
    asked, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (asked.status_code, b"")
    assert head.headers["content-type"] == asked.headers["content-type"]


def test_a_wrong_method_is_told_the_right_ones(client):
    refused = client.put("/api/search")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_nobody_enters_where_there_is_no_token(client):
    assert client.post("/login", data={"token": ""}).status_code == 403


@pytest.mark.parametrize("token", ["short", "x" * 15])
def test_tokens_that_can_be_guessed_are_refused(token):
    with pytest.raises(SemreidError, match="guessed"):
        Access(token)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_listening_to_others_needs_a_token_or_a_word(host):
    with pytest.raises(SemreidError, match="everybody who reaches this machine") as caught:
        access_at(host)
    assert "--no-token" in caught.value.fix
    assert not access_at(host, TOKEN).local
    assert not access_at(host, no_token=True).token
    assert access_at("localhost").local


def test_another_models_gallery_is_refused_at_the_start(tmp_path):
    uri = f"{tmp_path}/g.parquet"
    Gallery.open(uri, dim=24, fingerprint="other").add(np.eye(24)[:1], [Entry(id="a")])
    with pytest.raises(SemreidError, match="cannot be compared"):
        open_service(uri, Stripes(), images=[tmp_path])
    with pytest.raises(SemreidError, match="there is no gallery"):
        open_service(f"{tmp_path}/none.parquet", Stripes(), images=[tmp_path])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/nothing", 404),
        ("PUT", "/api/search", 405),
        ("GET", "/api/search", 405),
        ("GET", "/picture", 422),
    ],
)
def test_wrong_paths_and_methods_are_told(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"k": 0}, "k"),
        ({"k": 501}, "k"),
        ({"k": "many"}, "k"),
        ({"query_camid": 2**31}, "query_camid"),
        ({"query_camid": "9" * 5000}, "query_camid"),
        ({"camid": -1}, "camid"),
        ({"prior": 1}, "prior"),
        ({"since": "noon"}, "noon"),
    ],
)
def test_fields_out_of_range_are_named(client, fields, names):
    response = client.post("/api/search", data={"id": "3_c1_0", **fields})
    assert response.status_code == 422
    assert names in response.json()["error"]
    assert response.json()["fix"]


def test_text_where_a_file_should_be_is_told_in_the_words_of_http(client):
    answer = client.post("/api/search", data={"image": "a.png"}).json()
    assert answer["error"] == "image: is no file; files are sent as multipart/form-data"
    assert "/programs" in answer["fix"]


def test_a_vector_that_is_not_there_is_told_as_404(client):
    answer = client.post("/api/store/vectors", json={"ids": ["3_c1_0", "nobody"]})
    assert (answer.status_code, "no row 'nobody'" in answer.json()["error"]) == (404, True)


def test_both_or_neither_query_is_refused(client):
    assert client.post("/api/search").json()["fix"] == "send an image, or the id of a row"
    both = client.post("/api/search", data={"id": "3_c1_0"}, files={"image": ("a.png", FIGURE)})
    assert both.status_code == 422
    unknown = client.post("/api/search", data={"exclude_same_camera": "true"}, files={"image": ("a.png", FIGURE)})
    assert "camera" in unknown.json()["error"]


def away(*_args, **_options):
    raise SemreidError("http://milvus:19530: cannot search: connection refused", fix="see that the server runs")


def test_a_gallery_that_goes_away_is_told_as_503(client, monkeypatch):
    assert client.get("/api/gallery").status_code == 200  # the count that starts with the server is over
    for name in ("search", "get", "count", "stats", "scan", "vectors"):
        monkeypatch.setattr(client.service.gallery, name, away)
    requests = [
        ("POST", "/api/search"),
        ("GET", "/api/gallery"),
        ("GET", "/healthz"),
        ("GET", "/"),
        ("GET", "/gallery"),
    ]
    client.service.stats.known = None
    for method, path in requests:
        files = {"image": ("a.png", FIGURE)} if method == "POST" else None
        response = client.request(method, path, files=files)
        assert response.status_code == 503, path
        assert "connection refused" in response.text
        assert response.headers["retry-after"]
        assert "Traceback" not in response.text
    assert "semreid_gallery_up 0" in client.get("/metrics").text
    monkeypatch.undo()
    assert client.get("/healthz").status_code == 200


def test_a_gallery_that_never_answers_is_given_up(client, monkeypatch):
    from semreid.serving import service

    release = threading.Event()
    monkeypatch.setattr(client.service.gallery, "count", lambda: release.wait(20))
    monkeypatch.setattr(service.Service.ask, "__kwdefaults__", {"patience": 0.05})
    response = client.get("/healthz")
    release.set()
    assert response.status_code == 503
    assert "did not answer" in response.json()["error"]


def test_a_bug_is_logged_and_not_shown(client, monkeypatch, caplog):
    monkeypatch.setattr(client.service.gallery, "search", lambda *_a, **_o: 1 / 0)
    with caplog.at_level(logging.ERROR):
        response = client.post("/api/search", data={"id": "3_c1_0"})
    assert response.status_code == 500
    number = response.json()["error"].rpartition(" ")[2].rstrip(")")
    assert "division" not in response.text
    assert number in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "content-security-policy" in response.headers


def test_a_model_that_fails_once_answers_the_next_request(client, monkeypatch):
    embedder = client.service.embedding.embedder
    monkeypatch.setattr(embedder, "step", lambda *_a: 1 / 0)
    assert client.post("/api/search", files={"image": ("a.png", FIGURE)}).status_code == 500
    monkeypatch.undo()
    assert client.post("/api/search", files={"image": ("a.png", FIGURE)}).status_code == 200


def test_a_crowd_waits_its_turn_and_what_is_too_much_is_told(gallery, crops, monkeypatch):
    monkeypatch.setattr(guard, "WAITING", 30)
    hold = threading.Event()

    class Slow(Stripes):
        def step(self, batch, flip):
            hold.wait(90)
            return super().step(batch, flip)

    async def crowd():
        app = create_app(Service(gallery, Slow(), images=[crops]))
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=30) as client:
            asked = [
                asyncio.create_task(client.post("/api/search", files={"image": ("a.png", FIGURE)})) for _ in range(60)
            ]
            while sum(task.done() for task in asked) < 60 - guard.ACTIVE - guard.WAITING:
                await asyncio.sleep(0.01)  # until those that are too many are told so
            hold.set()
            return [response.status_code for response in await asyncio.gather(*asked)]

    statuses = asyncio.run(crowd())
    assert statuses.count(200) == guard.ACTIVE + 30
    assert statuses.count(503) == 60 - guard.ACTIVE - 30


def test_a_crowd_goes_through_the_model_together(gallery, crops):
    async def crowd():
        service = Service(gallery, Stripes(), images=[crops])
        app = create_app(service)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1") as client:
            ask = lambda: client.post("/api/search", files={"image": ("a.png", FIGURE)})  # noqa: E731
            responses = await asyncio.gather(*(ask() for _ in range(200)))
        return service, responses

    service, responses = asyncio.run(crowd())
    assert {response.status_code for response in responses} == {200}
    first = responses[0].json()
    assert all(response.json() == first for response in responses)
    batches = service.embedding.embedder.batches
    assert sum(size for size, _ in batches) == 200 == service.embedding.embedded
    assert max(size for size, _ in batches) <= 16


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Starlette leaves its file to the GC
def test_an_upload_that_stops_in_the_middle_is_a_bad_request(client):
    body = io.BytesIO(b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc').read()
    response = client.post("/api/search", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert 400 <= response.status_code < 500
    assert response.json()["error"]
