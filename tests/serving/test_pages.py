import html
import re
from dataclasses import replace

import pytest

from semreid.gallery import Entry, Gallery
from semreid.serving.pages import PAGE
from semreid.serving.templating import HERE, short_time, span_text
from tests.conftest import draw_figure
from tests.serving.conftest import Stripes, calibration, png

FIGURE = png(draw_figure(3, 1, 9))
PARTIAL = {"HX-Request": "true"}


def rows_on(page: str) -> list[str]:
    return re.findall(r'class="face" href="/\?id=([^"]+)"', page)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_first_page_offers_the_gallery_and_its_filters(client):
    client.get("/api/gallery")  # counted
    page = client.get("/").text
    assert len(rows_on(page)) == PAGE
    assert re.findall(r'name="camid" value="(\d+)"', page) == ["1", "2"]
    assert "2023-11-14 22:13:20 to 2023-11-15 21:13:20 UTC" in page
    assert 'type="datetime-local"' in page


def test_filters_come_later_where_the_gallery_is_not_counted_yet(client):
    client.get("/api/gallery")  # the count at the start is over
    client.service.stats.known = None
    assert 'hx-get="/filters"' in client.get("/").text
    assert 'name="camid"' in client.get("/filters").text


def test_many_cameras_become_a_list_and_seconds_stay_seconds(serving):
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    gallery.add([[1.0] * 24] * 30, [Entry(id=str(i), camid=i, timestamp=i) for i in range(30)])
    page = serving(gallery=gallery).get("/filters").text
    assert '<select name="camid" multiple' in page
    assert 'type="number"' in page
    assert "0:00:00 to 0:00:29" in page


def test_a_gallery_without_cameras_and_times_has_no_such_filters(serving):
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    gallery.add([[1.0] * 24], [Entry(id="a")])
    client = serving(gallery=gallery)
    page = client.get("/filters").text
    assert "datetime-local" not in page
    assert 'name="since"' not in page
    assert "Camera unknown" in client.get("/").text


def test_an_upload_is_answered_with_cards_in_order(client):
    expected = client.post("/api/search", files={"image": ("a.png", FIGURE)}).json()["matches"]
    page = client.post("/search", files={"image": ("a.png", FIGURE)}, headers=PARTIAL).text
    assert "<html" not in page
    assert rows_on(page) == [match["row"]["id"] for match in expected]
    scores = re.findall(r"<b>(-?[\d.]+)</b>", page)
    assert scores == [f"{match['similarity']:.3f}" for match in expected]
    assert "data:image/jpeg;base64," in page
    assert "not calibrated" in page


def test_without_scripts_the_same_comes_as_a_whole_page(client):
    page = client.post("/search", files={"image": ("a.png", FIGURE)}).text
    assert "<html" in page
    assert len(rows_on(page)) == 24


def test_without_scripts_the_form_keeps_what_was_asked(client):
    """Else the next search would look at more than was wanted, and nobody would notice."""
    client.get("/api/gallery")  # counted
    asked = {
        "camid": "2",
        "since": "2023-11-14T23:00:00",
        "until": "2023-11-15T20:00:01",
        "pid": 'a "3" & b',
        "tags": "night, gate",
        "query_camid": "0",
        "k": "48",
        "rerank": "true",
    }
    page = client.post("/search", data={**asked, "id": "3_c1_0"}).text
    there = re.findall(r'<input[^>]*? name="(\w+)"[^>]*? value="([^"]*)"', page)
    fields = {name: html.unescape(value) for name, value in there}
    for name in ("since", "until", "pid", "tags", "query_camid"):
        assert fields[name] == asked[name], name
    assert "<option selected>48</option>" in page
    assert re.search(r'name="camid" value="2" checked', page)
    assert 'name="rerank" value="true" checked' in page
    again = client.post("/search", data=fields | {"id": "3_c1_0", "camid": "2", "k": "48"})
    assert text_of(again.text).count("Nothing passes the filter") == text_of(page).count("Nothing passes the filter")


def test_a_form_with_nothing_chosen_lists_what_passes_the_filter(client):
    empty = {"image": ("", b"")}
    fields = {"id": "", "camid": "2", "since": "", "until": "", "pid": "", "tags": "", "query_camid": "", "k": "24"}
    page = client.post("/search", data=fields, files=empty, headers=PARTIAL).text
    assert len(rows_on(page)) == 12
    assert all(id_[3] == "2" for id_ in rows_on(page))
    nothing = client.post("/search", data={"pid": "nobody"}, headers=PARTIAL).text
    assert "Nothing passes the filter" in nothing


def test_more_rows_come_when_asked_for(serving):
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    gallery.add([[1.0] * 24] * 60, [Entry(id=f"r{i:02d}") for i in range(60)])
    client = serving(gallery=gallery)
    found = rows_on(first := client.get("/").text)
    assert '{"offset": 24}' in first
    for offset in (24, 48):
        part = client.post("/search", data={"offset": offset}, headers=PARTIAL).text
        assert "<ol" not in part
        found += rows_on(part)
    assert found == [f"r{i:02d}" for i in range(60)]
    assert "Show more" not in part


def test_a_picked_row_shows_others_and_marks_its_person(serving):
    client = serving(calibration=calibration())
    client.get("/api/gallery")
    page = client.get("/", params={"id": "3_c1_0"}).text
    assert "3_c1_0" not in rows_on(page)
    assert page.count("pid hit") == 3
    assert "before looking 17 %, one in 6; calibrated on 100 people" in page
    assert "same camera" in page
    assert 'name="id" value="3_c1_0"' in page


def test_comparing_two_rows(serving):
    client = serving(calibration=calibration())
    page = client.get("/compare", params={"id": ["3_c1_0", "3_c2_0"]})
    assert "ccepted as one person" in page.text
    assert "<html" in page.text
    partial = client.get("/compare", params={"id": ["3_c1_0", "3_c2_0"]}, headers=PARTIAL).text
    assert "<html" not in partial
    assert "False-accept rate" in partial
    again = client.post("/compare", data={"id": ["3_c1_0", "3_c2_0"], "far": "", "prior": "0.01"}, headers=PARTIAL).text
    assert "1.0 %" in text_of(again)


def test_comparing_says_why_there_is_no_probability(client):
    assert "not calibrated" in client.get("/compare", params={"id": ["3_c1_0", "3_c2_0"]}).text
    assert client.get("/compare").status_code == client.get("/compare", params={"id": "3_c1_0"}).status_code == 200


def test_the_gallery_page_counts(serving, tmp_path):
    page = text_of(serving(calibration=calibration(), uploads=tmp_path).get("/gallery").text)
    for text in ("24", "Camera 1", "calibrated on 100 people", "can be added", Stripes.fingerprint):
        assert text in page
    assert "only reads" in text_of(serving(calibration=replace(calibration(), fingerprint="")).get("/gallery").text)


def test_the_page_for_programs_lists_the_routes(client):
    page = text_of(client.get("/programs").text)
    assert "POST /api/search Find the rows that look most like a crop" in page
    assert "DELETE /api/gallery" in page


@pytest.mark.parametrize("path", ["/nothing", "/?id=nobody", "/compare?id=nobody"])
def test_what_goes_wrong_is_told_on_a_page(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert 'role="alert"' in response.text
    assert "Back to the search" in response.text
    assert "<html" not in client.get(path, headers=PARTIAL).text


def test_files_that_pages_name_are_there(client):
    pages = [client.get(path).text for path in ("/", "/compare", "/gallery", "/programs", "/login")]
    named = {name for page in pages for name in re.findall(r'(?:href|src)="(/static/[^"#]+)', page)}
    assert {name.rpartition(".")[2] for name in named} == {"css", "js", "svg"}
    for name in named:
        assert client.get(name).status_code == 200
    icons = {name for page in pages for name in re.findall(r"icons\.svg#(\w+)", page)}
    assert icons <= set(re.findall(r'<symbol id="(\w+)"', (HERE / "static/icons.svg").read_text()))
    assert "htmx 4" in (HERE / "static/htmx.LICENSE").read_text()


def test_odd_times_are_shown():
    assert short_time(None) == ""
    assert short_time(1e300) == f"{1e300:,.0f} s"
    assert span_text(1714746127.0, 1714832527.0) == "2024-05-03 14:22:07 to 2024-05-04 14:22:07 UTC"
