import asyncio
import json
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from semreid.errors import SemreidError
from semreid.gallery import Entry, Filter, Gallery
from semreid.gallery.parts import PartOrder
from semreid.models.zoo import create_model
from semreid.serving.answers import picture_url
from semreid.serving.app import create_app
from semreid.serving.service import Service
from tests.conftest import draw_figure
from tests.serving.conftest import NOON, Stripes, calibration, png


def search(client, image=None, **fields):
    files = {"image": ("a.png", image, "image/png")} if image else None
    return client.post("/api/search", data=fields, files=files)


def ids(response):
    assert response.status_code == 200, response.text
    return [match["row"]["id"] for match in response.json()["matches"]]


def test_an_upload_finds_what_its_vector_is_nearest_to(client, gallery):
    image = draw_figure(3, 1, 9)
    query = Stripes().embed([image])[0]
    entries, vectors = next(gallery.scan(vectors=True))
    expected = sorted(zip(vectors @ query, (entry.id for entry in entries), strict=True), reverse=True)

    matches = search(client, png(image), k=5).json()["matches"]

    assert [match["row"]["id"] for match in matches] == [id_ for _, id_ in expected[:5]]
    assert [match["similarity"] for match in matches] == pytest.approx([float(s) for s, _ in expected[:5]], abs=1e-5)
    assert matches[0]["row"]["pid"] == "3"


def test_a_row_finds_others_but_not_itself(client):
    found = ids(search(client, id="3_c1_0", k=500))
    assert len(found) == 23
    assert "3_c1_0" not in found
    assert found[0] == "3_c1_1"


@pytest.mark.parametrize(
    ("fields", "keeps"),
    [
        ({"camid": 2}, lambda e: e.camid == 2),
        ({"camid": [1, 2]}, lambda e: True),
        ({"exclude_camid": 1}, lambda e: e.camid != 1),
        ({"pid": ["2", "4"]}, lambda e: e.pid in "24"),
        ({"tag": "night"}, lambda e: "night" in e.tags),
        ({"tags": "night, gate"}, lambda e: False),
        (
            {"since": str(NOON), "until": "2023-11-15T01:13:20+01:00"},
            lambda e: e.timestamp < NOON + 7200,
        ),
        ({"since": "2023-11-15T00:13:20"}, lambda e: e.timestamp >= NOON + 7200),
        ({"exclude_same_camera": "true", "query_camid": 1}, lambda e: e.camid == 2),
        ({"pid": "", "tag": "", "tags": " , ", "since": "", "camid": []}, lambda e: True),
    ],
)
def test_filters_leave_what_they_ask_for(client, gallery, fields, keeps):
    entries = next(gallery.scan())[0]
    found = ids(search(client, png(draw_figure(1, 1, 0)), k=100, **fields))
    assert sorted(found) == sorted(entry.id for entry in entries if keeps(entry))


@pytest.mark.parametrize(
    ("fields", "error", "fix"),
    [
        ({"camids": 1}, "there is no field 'camids' in the form", "did you mean camid?"),
        ({"exclude_camids": 2}, "no field 'exclude_camids'", "did you mean exclude_camid?"),
        ({"until_": 5}, "no field 'until_'", "did you mean until?"),
        ({"xyzzy": 5}, "no field 'xyzzy'", "its fields are image, id, k,"),
        ({"k": [3, 4]}, "k is given 2 times in the form", "give it once"),
        ({"id": ["3_c1_0", "4_c1_0"]}, "id is given 2 times", "give it once"),
    ],
)
def test_a_field_that_is_misspelt_or_said_twice_is_refused(client, fields, error, fix):
    answer = search(client, **{"id": "3_c1_0", **fields})
    assert answer.status_code == 422
    assert error in answer.json()["error"]
    assert answer.json()["fix"].startswith(fix)


def test_two_images_are_no_search_and_no_row(serving, tmp_path, gallery):
    client = serving(uploads=tmp_path / "up")
    two = [("image", (f"{i}.png", png(draw_figure(i, 1, 0)), "image/png")) for i in (1, 2)]
    for path in ("/api/search", "/api/gallery"):
        answer = client.post(path, files=two)
        assert (answer.status_code, answer.json()["error"]) == (422, "image is given 2 times in the form")
    assert client.post("/api/compare", files=two).status_code == 200
    assert gallery.count() == 24


@pytest.mark.parametrize(
    ("method", "path", "error", "fix"),
    [
        ("POST", "/api/search?camid=1", "there is no field 'camid' in the address", "send it as a field of the form"),
        ("DELETE", "/api/gallery?id=1_c1_0&id=1_c1_1", "id is given 2 times in the address", "give it once"),
        ("GET", "/api/gallery?camid=2", "there is no field 'camid' in the address", "leave it out"),
        ("GET", "/api/people?limits=5", "no field 'limits'", "did you mean limit?"),
        ("GET", "/picture?id=1_c1_0&part=true", "no field 'part'", "did you mean parts?"),
    ],
)
def test_an_address_with_what_nobody_reads_is_refused(serving, tmp_path, gallery, method, path, error, fix):
    client = serving(uploads=tmp_path / "up")
    answer = client.request(method, path, data={"id": "3_c1_0"} if method == "POST" else None)
    assert answer.status_code == 422
    assert error in answer.json()["error"]
    assert answer.json()["fix"] == fix
    assert gallery.count() == 24


@pytest.mark.parametrize("path", ["/api/search", "/api/compare", "/api/gallery", "/api/people/name"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8"])
def test_a_body_that_is_no_form_is_told(serving, tmp_path, path, kind):
    answer = serving(uploads=tmp_path / "up").post(path, content='{"id": "3_c1_0"}', headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]) == (415, f"the body is {kind.partition(';')[0]}, not a form")
    assert "form fields" in answer.json()["fix"]


@pytest.mark.parametrize("path", ["/healthz?probe=1", "/metrics?job=semreid"])
def test_supervisors_may_add_to_the_address(client, path):
    assert client.get(path).status_code == 200


def test_a_row_knows_its_camera_and_reranking_keeps_the_set(client):
    plain = ids(search(client, id="3_c1_0", k=12, exclude_same_camera="true"))
    assert all(id_[3] == "2" for id_ in plain)
    assert sorted(ids(search(client, id="3_c1_0", k=12, exclude_same_camera="true", rerank="true"))) == sorted(plain)


def test_the_name_of_an_upload_tells_its_camera(client):
    image = png(draw_figure(3, 1, 9))
    for name, fields, camera in (("x_c2.png", {}, "1"), ("x_c2.png", {"query_camid": 1}, "2")):
        files = {"image": (name, image)}
        found = ids(client.post("/api/search", data={"exclude_same_camera": "true", **fields}, files=files))
        assert {id_[3] for id_ in found} == {camera}


def test_probabilities_need_a_calibration_and_say_so(client):
    answer = search(client, id="3_c1_0").json()
    assert {match["probability"] for match in answer["matches"]} == {None}
    assert answer["prior"] is None
    assert "semreid calibrate" in answer["no_probability"]


def test_probabilities_stand_on_the_number_of_people_and_on_two_cameras(serving):
    client, known = serving(calibration=calibration()), calibration()
    client.get("/api/gallery")  # counts it
    answer = search(client, id="3_c1_0", k=23).json()
    assert answer["prior"] == pytest.approx(1 / 6)
    for match in answer["matches"]:
        expected = known.probability(match["similarity"], prior=1 / 6)
        assert match["probability"] == (None if match["row"]["camid"] == 1 else pytest.approx(float(expected)))
    assert search(client, id="3_c1_0", prior="0.5").json()["prior"] == 0.5


def test_a_calibration_for_mirrored_embeddings_says_nothing_of_the_gallery(serving):
    client = serving(calibration=calibration(flip=True))
    answer = search(client, id="3_c1_0").json()
    assert "mirror" in answer["no_probability"]
    compared = client.post("/api/compare", data={"id": ["3_c1_0", "3_c2_0"]}).json()
    assert compared["probability"] is not None
    batches = client.service.embedding.embedder.batches  # but pairs are embedded anew, with mirroring: in one
    assert sum(size for size, _ in batches) == 2  # batch, or in two on a busy machine
    assert all(flip for _, flip in batches)


@pytest.mark.parametrize("other", ["6" * 32, ""])
def test_the_calibration_of_another_model_is_not_used(serving, other):
    client = serving(calibration=calibration(fingerprint=other))
    assert "another model" in client.post("/api/compare", data={"id": ["3_c1_0", "3_c2_0"]}).json()["no_probability"]


def test_comparing_gives_the_verdict_of_the_calibration(serving):
    client = serving(calibration=calibration())
    a, b = draw_figure(3, 1, 0), draw_figure(3, 2, 0)
    vectors = Stripes().embed([a, b])
    files = [("image", ("a.png", png(a))), ("image", ("b.png", png(b)))]
    answer = client.post("/api/compare", data={"far": "0.1", "prior": "0.2"}, files=files).json()
    verdict = calibration().verdict(float(vectors[0] @ vectors[1]), far=0.1, prior=0.2)
    assert answer["similarity"] == pytest.approx(verdict.score, abs=1e-5)
    assert answer["probability"] == pytest.approx(verdict.probability, rel=1e-3)
    assert answer["decision"]["same"] == verdict.same
    assert answer["decision"]["threshold"] == verdict.threshold
    mixed = client.post("/api/compare", data={"id": "3_c2_0", "far": "0.1"}, files=files[:1]).json()
    assert mixed["similarity"] == pytest.approx(answer["similarity"], abs=1e-5)


def test_two_crops_of_one_camera_get_no_probability(serving):
    answer = serving(calibration=calibration()).post("/api/compare", data={"id": ["3_c1_0", "3_c1_1"]}).json()
    assert answer["probability"] is None
    assert "camera 1" in answer["no_probability"]


@pytest.mark.parametrize("fields", [{}, {"id": "3_c1_0"}, {"id": ["3_c1_0"] * 3}])
def test_comparing_wants_two(client, fields):
    response = client.post("/api/compare", data=fields)
    assert response.status_code == 422
    assert "send two" in response.json()["fix"]


def test_the_gallery_in_numbers(client):
    answer = client.get("/api/gallery").json()
    assert (answer["rows"], answer["people"], answer["unknown"]) == (24, 6, 0)
    assert answer["cameras"] == {"1": 12, "2": 12}
    assert (answer["first"], answer["last"]) == (NOON, NOON + 23 * 3600)
    assert answer["fingerprint"] == Stripes.fingerprint
    assert (answer["writable"], answer["calibrated"]) == (False, False)


def test_a_row_and_its_picture(client):
    row = client.get("/api/gallery/row", params={"id": "3_c1_0"}).json()
    assert row["camid"] == 1
    picture = client.get(row["picture"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content[:3] == b"\xff\xd8\xff"


def test_rows_are_added_once_found_and_removed_with_their_picture(serving, tmp_path):
    client = serving(uploads=tmp_path / "up")
    image = png(draw_figure(9, 4, 0))
    facts = {"pid": "nine", "camid": "4", "timestamp": "2024-05-03T14:22:07", "tag": ["gate", "hall"]}
    answers = [client.post("/api/gallery", data=facts, files={"image": ("../x", image)}).json() for _ in range(2)]
    assert [answer["new"] for answer in answers] == [True, False]
    row = answers[0]["row"]
    assert (row["pid"], row["camid"], row["timestamp"], row["tags"]) == ("nine", 4, 1714746127.0, ["gate", "hall"])
    assert client.get("/api/gallery").json()["rows"] == 25
    assert ids(search(client, image, k=1)) == [row["id"]]
    assert client.get(row["picture"]).status_code == 200
    assert [path.suffix for path in (tmp_path / "up").rglob("[!.]*.*")] == [".png"]

    assert client.delete("/api/gallery", params={"id": row["id"]}).json() == {"removed": 1}
    assert client.delete("/api/gallery", params={"id": row["id"]}).json() == {"removed": 0}
    assert not list((tmp_path / "up").rglob("*.png"))
    assert client.get("/api/gallery").json()["rows"] == 24


def test_a_name_that_is_taken_keeps_its_row_and_no_file_is_shared(serving, tmp_path):
    client = serving(uploads=tmp_path / "up")
    first, second = png(draw_figure(8, 1, 0)), png(draw_figure(9, 1, 0))

    def add(id_, image, pid):
        return client.post("/api/gallery", data={"id": id_, "pid": pid}, files={"image": ("x.png", image)}).json()

    assert add("a", first, "eight")["new"]
    again = add("a", second, "nine")
    assert not again["new"]
    assert again["row"]["pid"] == "eight"
    assert add("b", first, "eight")["new"]
    assert len(list((tmp_path / "up").rglob("*.png"))) == 2
    client.delete("/api/gallery", params={"id": "a"})
    assert client.get(picture_url("b")).status_code == 200


def test_a_picture_whose_row_cannot_be_written_is_not_kept(serving, tmp_path, gallery, monkeypatch):
    client, files = serving(uploads=tmp_path / "up"), {"image": ("x.png", png(draw_figure(8, 1, 0)))}

    def full(*_):
        raise SemreidError("the disk is full", fix="make room there")

    with monkeypatch.context() as patch:
        patch.setattr(gallery, "add", full)
        assert client.post("/api/gallery", files=files).json()["error"] == "the disk is full"
    assert not list((tmp_path / "up").rglob("*.png"))
    row = client.post("/api/gallery", files=files).json()["row"]
    with monkeypatch.context() as patch:
        patch.setattr(gallery, "add", full)
        assert client.post("/api/gallery", files=files).status_code == 503
    assert Path(row["path"]).exists()  # a row names it


def test_removing_a_row_leaves_a_picture_that_was_there_before(serving, tmp_path, crops):
    client = serving(uploads=tmp_path / "up")
    assert client.delete("/api/gallery", params={"id": "3_c1_0"}).json() == {"removed": 1}
    assert (crops / "3_c1_0.png").exists()


def test_removing_a_row_leaves_a_picture_that_lay_in_the_folder_for_uploads(serving, crops):
    client = serving(uploads=crops)
    row = client.post("/api/gallery", files={"image": ("x.png", png(draw_figure(8, 1, 0)))}).json()["row"]
    for id_ in ("3_c1_0", row["id"]):
        assert client.delete("/api/gallery", params={"id": id_}).json() == {"removed": 1}
    assert (crops / "3_c1_0.png").exists()
    assert not Path(row["path"]).exists()


def add_x(client):
    answer = client.post("/api/gallery", data={"id": "x"}, files={"image": ("x.png", png(draw_figure(8, 1, 0)))})
    assert answer.status_code == 200
    return answer.json()


def test_a_row_that_is_removed_while_it_is_added_leaves_no_picture(serving, tmp_path, gallery, monkeypatch):
    client = serving(uploads=tmp_path / "up")
    add, deleted = gallery.add, []

    def slow(*rows):
        deleted.append(client.portal.start_task_soon(client.service.delete, ["x"]))
        time.sleep(0.1)  # it has looked for the row by now, or waits
        return add(*rows)

    monkeypatch.setattr(gallery, "add", slow)
    assert add_x(client)["new"]
    assert deleted[0].result(10) == 1
    assert gallery.get(["x"]) == [None]
    assert not list((tmp_path / "up").rglob("*.png"))


def test_a_row_that_comes_again_while_it_is_removed_has_its_picture(serving, tmp_path, monkeypatch):
    client = serving(uploads=tmp_path / "up")
    add_x(client)
    embedder = client.service.embedding.embedder
    embed = embedder.embed

    def late(*images, **settings):
        assert client.portal.call(client.service.delete, ["x"]) == 1
        return embed(*images, **settings)

    monkeypatch.setattr(embedder, "embed", late)
    again = add_x(client)
    assert again["new"]
    assert Path(again["row"]["path"]).exists()


def test_an_upload_that_cannot_be_embedded_leaves_no_picture(serving, tmp_path, monkeypatch):
    client = serving(uploads=tmp_path / "up")

    def broken(*_, **__):
        raise SemreidError("no memory", fix="try a smaller model")

    monkeypatch.setattr(client.service.embedding.embedder, "embed", broken)
    answer = client.post("/api/gallery", files={"image": ("x.png", png(draw_figure(8, 1, 0)))})
    assert answer.json()["error"] == "no memory"
    assert not list((tmp_path / "up").rglob("*.png"))


@pytest.mark.parametrize(
    ("name", "said", "camera"),
    [("0009_c3_x.jpg", {}, 3), ("0009_c3_x.jpg", {"camid": 0}, 0), ("x.jpg", {}, None), ("..\\a_c4.png", {}, 4)],
)
def test_a_row_has_the_camera_of_its_file_name_unless_another_is_stated(serving, tmp_path, name, said, camera):
    client = serving(uploads=tmp_path / "up")
    row = client.post("/api/gallery", data=said, files={"image": (name, png(draw_figure(8, 1, 0)))}).json()["row"]
    assert row["camid"] == camera


@pytest.mark.parametrize("pid", ["0", "0000", "-1"])
def test_nobody_is_called_like_nobody_or_junk(serving, tmp_path, gallery, pid):
    client = serving(uploads=tmp_path / "up")
    answer = client.post("/api/gallery", data={"pid": pid}, files={"image": ("x.png", png(draw_figure(8, 1, 0)))})
    assert (answer.status_code, gallery.count()) == (422, 24)
    assert answer.json()["error"].startswith(f"pid {pid!r} names no person")
    for action, fields in (
        ("name", {"person": "3"}),
        ("merge", {"person": ["3", "4"]}),
        ("split", {"person": "3", "id": "3_c1_0"}),
    ):
        answer = client.post(f"/api/people/{action}", data={**fields, "name": pid})
        assert (answer.status_code, pid in answer.json()["error"]) == (422, True), answer.text
    assert gallery.count(Filter(pids=[pid])) == 0


def test_uploads_may_lie_below_the_home_folder(serving, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    client = serving(uploads=Path("~/up"))
    row = client.post("/api/gallery", files={"image": ("x.png", png(draw_figure(8, 1, 0)))}).json()["row"]
    assert Path(row["path"]).is_relative_to(tmp_path / "home" / "up")
    assert client.get(row["picture"]).status_code == 200


def test_a_write_keeps_its_turn_also_if_nobody_waits_for_it_any_more(gallery, tmp_path):
    """As where a server that ends cancels what it still answers."""
    service = Service(gallery, Stripes(), images=[], uploads=tmp_path / "up")
    started, go_on, written = threading.Event(), threading.Event(), []

    def slow():
        started.set()
        assert go_on.wait(10)
        written.append("first")

    async def race():
        first = asyncio.create_task(service._written(slow))
        await asyncio.to_thread(started.wait, 10)
        first.cancel()
        second = asyncio.create_task(service._written(written.append, "second"))
        await asyncio.wait([first, second], timeout=0.05)
        assert first.cancelled()
        assert written == []
        go_on.set()
        await service.settle()
        await second

    asyncio.run(race())
    service.close()
    assert written == ["first", "second"]


def test_rows_that_are_written_while_the_gallery_is_counted_are_counted_next(serving, gallery, tmp_path, monkeypatch):
    client = serving(uploads=tmp_path / "up")
    service, stats = client.service, gallery.stats
    client.get("/api/gallery")

    def slow():
        found = stats()
        client.portal.call(service.put, np.eye(24, dtype=np.float32)[:1], [Entry(id="new")], "add")
        return found

    service.stats.outdate()
    monkeypatch.setattr(gallery, "stats", slow)
    assert client.get("/api/gallery").json()["rows"] == 24
    monkeypatch.setattr(gallery, "stats", stats)
    assert client.get("/api/gallery").json()["rows"] == 25


def test_a_server_that_only_reads_says_so(client):
    for response in (
        client.post("/api/gallery", files={"image": ("a.png", png(draw_figure(9, 1, 0)))}),
        client.delete("/api/gallery", params={"id": "3_c1_0"}),
    ):
        assert response.status_code == 403
        assert "--uploads" in response.json()["fix"]
    assert client.get("/api/gallery").json()["rows"] == 24


def test_an_empty_gallery_answers_with_nothing(serving):
    client = serving(gallery=Gallery.open("memory:", dim=Stripes.dim, fingerprint=Stripes.fingerprint))
    assert ids(search(client, png(draw_figure(1, 1, 0)))) == []
    assert client.get("/").status_code == client.get("/gallery").status_code == 200


def test_the_description_for_programs_names_every_field(client):
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {
        "/api/search",
        "/api/compare",
        "/api/gallery",
        "/api/gallery/row",
        "/api/people",
        "/api/people/crops",
        "/api/people/{action}",
        "/picture",
        "/healthz",
        "/metrics",
    }
    body = description["paths"]["/api/search"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    name = body.get("$ref", body.get("allOf", [{}])[0].get("$ref", "")).rpartition("/")[2]
    fields = description["components"]["schemas"][name]["properties"]
    assert {"image", "id", "camid", "exclude_camid", "since", "until", "pid", "tag", "k", "prior"} <= set(fields)
    assert all("description" in field for field in fields.values())
    json.dumps(description)


def test_a_model_with_body_regions_shows_them_over_the_picture(crops):
    model = create_model("magnifiernet", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
    gallery = Gallery.open("memory:", dim=model.dim, fingerprint=model.fingerprint)
    gallery.add(model.embed([crops / "3_c1_0.png"]), [Entry(id="a", path="3_c1_0.png")])
    app = create_app(Service(gallery, model, images=[crops]))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        plain, parts = (client.get(picture_url("a") + more) for more in ("", "&parts=true"))
        assert plain.status_code == parts.status_code == 200
        assert plain.content != parts.content
        assert "parts=true" in client.get("/").text


def test_body_regions_that_both_show_order_the_best(crops):
    model = create_model("magnifiernet", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
    files = sorted(crops.iterdir())
    gallery = Gallery.open("memory:", dim=model.dim, fingerprint=model.fingerprint)
    gallery.add(model.embed(files), [Entry(id=file.stem, path=str(file)) for file in files])
    with TestClient(create_app(Service(gallery, model, images=[crops])), base_url="http://127.0.0.1") as client:
        order = PartOrder(model, [files[3]])
        expected = [match.entry.id for match in gallery.search(order.vectors, k=24, reorder=order)[0]]
        upload = ids(search(client, files[3].read_bytes(), k=24, parts="true"))
        assert upload == expected != ids(search(client, files[3].read_bytes(), k=24))
        assert "regions that both show" in client.post("/search", data={"id": files[3].stem, "parts": "true"}).text
        of_row = ids(search(client, id=files[3].stem, k=23, parts="true"))
        assert of_row == [id_ for id_ in expected if id_ != files[3].stem]
        assert 'name="parts"' in client.get("/filters").text
        both = search(client, id=files[3].stem, parts="true", rerank="true")
        assert both.status_code == 422
        assert "exclude each other" in both.json()["error"]
        files[5].unlink()
        missing = search(client, id=files[3].stem, parts="true")
        assert missing.status_code == 404
        assert files[5].stem in missing.json()["error"]


def test_a_model_without_body_regions_says_so(client):
    for response in (client.get(picture_url("3_c1_0") + "&parts=true"), search(client, id="3_c1_0", parts="true")):
        assert response.status_code == (404 if response.request.method == "GET" else 422)
        assert "body regions" in response.json()["error"]
    assert "parts=true" not in client.get("/").text
    assert 'name="parts"' not in client.get("/filters").text


def test_box_and_container_item_name_a_part_of_a_file(serving, crops):
    frame = np.zeros((80, 100, 3), np.uint8)
    frame[10:70, 20:50] = (200, 30, 30)
    (crops / "frame.png").write_bytes(png(frame))
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    gallery.add(np.eye(24)[:1], [Entry(id="f", path=str(crops / "frame.png"), box=(20, 10, 50, 70))])
    client = serving(gallery=gallery)
    shown = cv2.imdecode(np.frombuffer(client.get(picture_url("f")).content, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (60, 30, 3)
    assert np.abs(shown.astype(int)[..., ::-1] - (200, 30, 30)).max() < 12
