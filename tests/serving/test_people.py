"""Who is who, corrected on pages and by programs: what is said stays, and nobody speaks over anybody."""

import contextlib
import os
import re
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import httpx2
import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.gallery import Entry, Gallery
from semreid.gallery.said import is_free
from semreid.gallery.unlabelled import crops_in
from semreid.serving.guard import Access
from semreid.serving.people import CROPS, PAGE
from semreid.serving.service import Service
from semreid.verification.people import find_people, name_in_gallery
from tests.serving.conftest import Stripes, listening
from tests.serving.test_pages import text_of
from tests.serving.test_safety import TOKEN

FILLED = {"1": "group-1", "2": "group-1", "3": "group-2", "4": "group-3"}
"""Whom a machine took the people of the crops for: the first two for one; 5 was named, and 6 is of nobody known."""


@pytest.fixture
def grouped(gallery: Gallery) -> Gallery:
    rows = [row for batch, _ in gallery.scan() for row in batch]
    machine = [replace(r, pid=FILLED[r.pid], tags=(*r.tags, "grouped")) if r.pid in FILLED else r for r in rows]
    gallery.exchange(rows, [replace(row, pid=None) if row.pid == "6" else row for row in machine])
    return gallery


@pytest.fixture
def client(serving, grouped, tmp_path: Path):
    """A client of a server that may be corrected; it does not follow where it is sent on."""
    client = serving(uploads=tmp_path / "up")
    client.follow_redirects = False
    return client


def say(client, action: str, **fields):
    return client.post(f"/api/people/{action}", data=fields)


def people(client, show: str = "people") -> dict[str, int]:
    found = client.get("/api/people", params={"show": show}).json()["shown"]
    return {person["name"]: person["crops"] for person in found}


def test_programs_list_who_is_there(client):
    found = client.get("/api/people").json()
    assert {name: found[name] for name in ("groups", "people", "nobody", "not_people")} == {
        "groups": 3,
        "people": 1,
        "nobody": 4,
        "not_people": 0,
    }
    first = found["shown"][0]
    assert (first["name"], first["crops"], first["by_machine"], first["cameras"]) == ("group-1", 8, 8, [1, 2])
    assert client.get(first["faces"][0]["picture"]).status_code == 200
    assert [len(client.get("/api/people", params=p).json()["shown"]) for p in ({"limit": 2}, {"offset": 2})] == [2, 1]
    crops = client.get("/api/people/crops", params={"person": "group-1"}).json()
    assert len(crops) == 8
    assert {crop["pid"] for crop in crops} == {"group-1"}
    assert client.get("/api/people/crops", params={"person": "nix"}).status_code == 404


def test_programs_say_who_is_who_and_take_it_back(client, grouped):
    before = {row.id: row for batch, _ in grouped.scan() for row in batch}
    split = say(client, "split", person="group-1", id=[f"2_c{c}_{i}" for c in (1, 2) for i in (0, 1)]).json()
    assert split == {
        "number": 1,
        "what": "4 crops of group-1 show group-4",
        "person": "group-4",
        "crops": 8,
        "undone": False,
    }
    assert say(client, "merge", person=["group-4", "group-2"], name="bert").json()["person"] == "bert"
    assert say(client, "name", person="group-3", name="  carl ").json()["person"] == "carl"
    assert say(client, "not-a-person", id=["6_c1_0"]).json()["what"] == "1 crop of nobody known shows no person"
    assert people(client) == {"bert": 8, "5": 4, "carl": 4}
    assert people(client, "groups") == {"group-1": 4}
    found = client.get("/api/people").json()
    assert (found["nobody"], found["not_people"]) == (3, 1)
    assert [step["number"] for step in found["steps"]] == [4, 3, 2, 1]
    for number in (4, 3, 2, 1):
        assert say(client, "undo", number=number).json()["undone"]
    assert {row.id: row for batch, _ in grouped.scan() for row in batch} == before
    twice = say(client, "undo", number=1)
    assert (twice.status_code, twice.json()["error"]) == (409, "step 1 was undone already")


@pytest.mark.parametrize(
    ("action", "fields", "status", "error"),
    [
        ("merge", {"person": ["group-1", "nix"]}, 404, "no person 'nix'"),
        ("merge", {"person": "group-1"}, 422, "one person cannot be merged"),
        ("merge", {"person": ["group-1", "group-2"], "name": "5"}, 422, "there is a person 5 already"),
        ("name", {"person": "nix", "name": "anna"}, 404, "no person 'nix'"),
        ("name", {"person": "group-1"}, 422, "the name ''"),
        ("name", {"name": "anna"}, 422, "0 people"),
        ("name", {"person": ["group-1", "group-2"], "name": "anna"}, 422, "2 people"),
        ("name", {"person": "group-1", "name": "x" * 257}, 422, "longer than 256"),
        ("name", {"person": "group-1", "name": "a\x00b"}, 422, "control character"),
        ("split", {"person": "group-1"}, 422, "no crop is chosen"),
        ("split", {"person": "group-1", "id": "nix"}, 404, "not in the gallery"),
        ("split", {"person": "group-1", "id": "3_c1_0"}, 409, "not of group-1 any more"),
        ("split", {"person": "group-1", "id": "1_c1_0", "seen": "0" * 16}, 409, "group-1 is not as you saw it"),
        ("not-a-person", {}, 422, "no crop is chosen"),
        ("undo", {"number": 7}, 404, "no step 7"),
        ("undo", {"number": -1}, 422, "number"),
        ("explode", {}, 422, "action"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(client, grouped, tmp_path, action, fields, status, error):
    before = [row for batch, _ in grouped.scan() for row in batch]
    answer = say(client, action, **fields)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "fix"})
    assert error in answer.json()["error"]
    page = client.post(f"/people/{action}", data=fields)
    assert page.status_code == status
    assert "Back to the people" in page.text
    assert [row for batch, _ in grouped.scan() for row in batch] == before
    assert not list((tmp_path / "up").glob("[!.]*"))


def test_two_servers_do_not_keep_the_steps_of_one_gallery_in_one_folder(serving, grouped, tmp_path):
    first = serving(uploads=tmp_path / "up")
    with pytest.raises(SemreidError, match="another server keeps the corrections of memory: in .*up") as caught:
        Service(grouped, Stripes(), images=[], uploads=tmp_path / "up")
    assert "stop it first" in caught.value.fix
    assert say(first, "name", person="group-1", name="anna").status_code == 200
    other = Gallery.open(tmp_path / "other.parquet", dim=24, fingerprint=Stripes.fingerprint)
    Service(other, Stripes(), images=[], uploads=tmp_path / "up").close()  # several galleries may have one folder
    first.service.close()
    again = Service(grouped, Stripes(), images=[], uploads=tmp_path / "up")
    assert [step.what for step in again.corrections.steps] == ["group-1 is anna"]
    again.close()


def test_a_gallery_has_one_file_of_steps_whatever_it_is_called(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    named = Gallery.open(tmp_path / "real" / "g.parquet", dim=24, fingerprint=Stripes.fingerprint)
    named.add(np.eye(24)[:1], [Entry("a")])
    place = str(tmp_path / "real" / "g.parquet")
    with contextlib.closing(Service(named, Stripes(), images=[], uploads=tmp_path / "up")) as service:
        service.corrections.split(None, ["a"], "anna")
        for other in ("link/g.parquet", "real/../real/g.parquet"):
            with pytest.raises(SemreidError, match="another server keeps the corrections"):
                Service(Gallery.open(tmp_path / other), Stripes(), images=[], uploads=tmp_path / "up")
    former = f"corrections-{blake2b(place.encode(), digest_size=4).hexdigest()}.json"  # what it has always been called
    assert [file.name for file in (tmp_path / "up").glob("corrections-*")] == [former]


def test_people_are_counted_again_once_somebody_has_written(client, grouped, monkeypatch):
    scans, scan = [], grouped.scan
    monkeypatch.setattr(grouped, "scan", lambda *asked, **how: [scans.append(asked), scan(*asked, **how)][1])
    client.get("/api/people")
    seen = len(scans)
    client.service.roster._fresh_until = float("inf")
    client.get("/people")
    assert people(client, "groups")["group-1"] == 8
    assert len(scans) == seen
    assert say(client, "name", person="group-1", name="anna").status_code == 200
    assert people(client) == {"anna": 8, "5": 4}
    client.service.roster._fresh_until = float("inf")
    grouped.upsert(np.eye(24)[:1], [Entry("new", pid="bert")])  # by somebody else, so the page is old
    assert say(client, "name", person="nix", name="carl").status_code == 404
    assert people(client) == {"anna": 8, "5": 4, "bert": 1}  # "look again" finds it


def test_every_step_that_is_kept_can_be_taken_back_on_the_page_and_by_programs(client):
    for number in range(1, 13):
        assert say(client, "name", person="group-1" if number == 1 else f"n{number - 1}", name=f"n{number}").is_success
    assert [step["number"] for step in client.get("/api/people").json()["steps"]] == list(range(12, 0, -1))
    for page in ("/people", "/people/crops?person=5"):
        numbers = re.findall(r'name="number" value="(\d+)"', client.get(page).text)
        assert numbers == [str(number) for number in range(12, 0, -1)]


def test_two_people_at_two_screens_do_not_speak_over_each_other(client):
    state = {person["name"]: person["state"] for person in client.get("/api/people").json()["shown"]}
    assert say(client, "merge", person=["group-1", "group-2"], seen=list(state.values())).status_code == 200
    late = say(client, "name", person="group-1", name="anna", seen=state["group-1"])
    assert late.status_code == 409
    assert "look again" in late.json()["fix"]
    assert say(client, "split", person="group-2", id="3_c1_0", seen=state["group-2"]).status_code == 409
    assert people(client) == {"group-1": 12, "5": 4}


def test_a_server_that_only_reads_shows_but_does_not_change(serving, grouped):
    client = serving()
    for action in ("merge", "split", "name", "not-a-person", "undo"):
        for path in (f"/api/people/{action}", f"/people/{action}"):
            answer = client.post(path, data={"person": ["group-1", "group-2"], "name": "x", "id": "1_c1_0"})
            assert answer.status_code == 403
            assert "--uploads" in answer.text
    for path in ("/people", "/people/crops?person=group-1", "/people/crops?of=nobody"):
        page = client.get(path).text
        assert "<button" not in page.partition("<main")[2].partition("</main")[0]
        assert 'type="checkbox"' not in page
    assert "--uploads" in client.get("/people").text
    assert people(client, "groups") == {"group-1": 8, "group-2": 4, "group-3": 4}


def test_a_gallery_whose_file_is_read_only_is_told_and_stays(serving, grouped, tmp_path, monkeypatch):
    rows, place = [row for batch, _ in grouped.scan() for row in batch], tmp_path / "g.parquet"
    with Gallery.open(place, dim=24, fingerprint=Stripes.fingerprint) as kept:
        kept.add(grouped.vectors([row.id for row in rows]), rows)
    client = serving(gallery=Gallery.open(place), uploads=tmp_path / "up")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, *_, **__: "g.parquet" not in str(path))  # root may write everything
        answer = say(client, "name", person="group-1", name="anna")
    assert answer.status_code == 503
    assert "g.parquet: it is read-only" in answer.json()["error"]
    assert client.get("/api/people").json()["steps"] == []
    assert people(client, "groups") == {"group-1": 8, "group-2": 4, "group-3": 4}
    assert say(client, "name", person="group-1", name="anna").status_code == 200


def test_who_may_not_write_may_not_correct(serving, grouped, tmp_path):
    client = serving(Access(TOKEN, local=False), uploads=tmp_path)
    word = {"person": "group-2", "name": "anna"}
    assert client.post("/api/people/name", data=word).status_code == 401
    assert client.post("/people/name", data=word, follow_redirects=False).headers["location"] == "/login"
    token = {"Authorization": f"Bearer {TOKEN}"}
    foreign = {**token, "Origin": "https://evil.example"}
    for path in ("/api/people/name", "/people/name"):
        assert client.post(path, data=word, headers=foreign).status_code == 403
    assert client.get("/api/people", headers=token).json()["people"] == 1
    assert client.post("/api/people/name", data=word, headers=token).status_code == 200


def test_pages_show_people_and_lead_on(client):
    page = client.get("/people").text
    assert [name for name in ("group-1", "group-2", "group-3") if f"<b>{name}</b>" in page] == [
        "group-1",
        "group-2",
        "group-3",
    ]
    assert "8 crops, cameras 1, 2" in text_of(page)
    states = re.findall(r'name="seen" value="(\w+)"', page)
    assert len(states) == 3
    done = client.post("/people/merge", data={"person": ["group-2", "group-3"], "seen": states, "name": ""})
    assert (done.status_code, done.headers["location"]) == (303, "/people?step=1")
    after = client.get(done.headers["location"]).text
    assert "group-2 and group-3 are one person, group-2" in after
    assert '<input type="hidden" name="number" value="1">' in after
    assert "<b>group-2</b>" not in after
    assert "<b>group-2</b>" in client.get("/people?show=people").text
    undone = client.post("/people/undo", data={"number": "1"})
    assert "Undone: group-2 and group-3" in client.get(undone.headers["location"]).text

    person = client.get("/people/crops", params={"person": "group-1"}).text
    assert len(re.findall(r'name="id" value="', person)) == 8
    assert {"group-2", "5"} <= set(re.findall(r"<b>(.*?)</b>", person))  # who looks most like
    split = client.post("/people/split", data={"person": "group-1", "id": ["1_c1_0"], "name": ""})
    assert split.headers["location"] == "/people/crops?step=2&person=group-1"
    assert "What was said last" in client.get(split.headers["location"]).text
    rest = [f"{p}_c{c}_{i}" for p in "12" for c in (1, 2) for i in (0, 1)][1:]
    assert client.post("/people/not-a-person", data={"person": "group-1", "id": rest}).headers["location"] == (
        "/people?step=3"
    )
    nobody = client.get("/people/crops?of=nobody").text
    assert len(re.findall(r'name="id" value="6_', nobody)) == 4
    named = client.post("/people/split", data={"id": ["6_c1_0"], "name": "6"})
    assert client.get(named.headers["location"]).text.count('name="id" value="6_') == 3
    assert len(re.findall(r'name="id"', client.get("/people/crops?of=not-a-person").text)) == 7
    assert client.get("/people/crops?person=nix").status_code == 404


def test_a_named_person_has_crops_to_confirm(client, grouped):
    rows = [row for row in grouped.get(["6_c1_0", "6_c1_1"]) if row is not None]
    grouped.exchange(rows, [replace(row, pid="5", tags=(*row.tags, "grouped")) for row in rows])  # a machine proposes
    assert "2 to confirm" in text_of(client.get("/people?show=people").text)
    page = client.get("/people/crops?person=5").text
    assert page.count('class="guess"') == 2
    assert "All are right" in page
    assert client.post("/people/name", data={"person": "5", "name": "5"}).status_code == 303
    assert "to confirm" not in client.get("/people?show=people").text
    assert say(client, "name", person="5", name="5").status_code == 422


def test_long_lists_come_in_pages(serving, tmp_path):
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    many, big = PAGE + 3, CROPS + 5
    rows = [Entry(f"r{i:03d}", pid=f"p{i}" if i < many else "big") for i in range(many + big)]
    gallery.add(np.random.default_rng(0).normal(size=(len(rows), 24)), rows)
    client = serving(gallery=gallery, uploads=tmp_path)
    first = client.get("/people?show=people").text
    assert first.count('class="pick"') == PAGE
    assert "offset=24" in first
    assert client.get("/people?show=people&offset=24").text.count('class="pick"') == many + 1 - PAGE
    crops = client.get("/people/crops?person=big").text
    assert crops.count('name="id"') == CROPS
    last = client.get(f"/people/crops?person=big&offset={CROPS}").text
    assert last.count('name="id"') == 5
    assert "Previous" in last


def test_lists_of_people_go_on_to_their_end(serving, tmp_path):
    many = 10_000 + 2 * PAGE
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    gallery.add(np.eye(24)[np.arange(many) % 24], [Entry(f"r{i}", pid=f"p{i:05d}") for i in range(many)])
    gallery.add(np.eye(24)[np.arange(many) % 24], [Entry(f"n{i}") for i in range(many)])
    client = serving(gallery=gallery, uploads=tmp_path)
    page = client.get(f"/people?show=people&offset={many - 2 * PAGE}").text
    assert page.count('class="pick"') == PAGE
    (further,) = re.findall(r'href="([^"]*)">Next', page)
    last = client.get(further.replace("&amp;", "&")).text
    assert f"<b>p{many - 1:05d}</b>" in last
    assert client.get(f"/people/crops?offset={many - 1}").text.count('name="id"') == 1
    for path in ("/people", "/people/crops", "/api/people"):
        assert client.get(path, params={"offset": 2**53}).status_code == 200
        assert client.get(path, params={"offset": 2**70}).status_code == 422


def test_names_are_shown_as_texts(serving, tmp_path):
    hostile = '"><script>alert(1)</script>&{{7*7}}'
    gallery = Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint)
    gallery.add(np.eye(24)[:3], [Entry("a", pid=hostile), Entry('b"<i>', pid=hostile), Entry("c", pid="other")])
    client = serving(gallery=gallery, uploads=tmp_path)
    client.post("/people/name", data={"person": "other", "name": f"{hostile}2"})
    for path, params in (("/people?show=people&step=1", {}), ("/people/crops", {"person": hostile})):
        page = client.get(path, params=params).text if params else client.get(path).text
        assert "<script>alert" not in page
        assert "<i>" not in page
        assert "49" not in page


def test_an_empty_gallery_has_nobody(serving, tmp_path):
    client = serving(gallery=Gallery.open("memory:", dim=24, fingerprint=Stripes.fingerprint), uploads=tmp_path)
    assert "No machine has grouped this gallery yet" in client.get("/people").text
    assert "Nobody has a name yet" in client.get("/people?show=people").text
    assert "There is no such crop" in client.get("/people/crops?of=nobody").text


@pytest.mark.parametrize("name", ["g.db", "g.parquet"])
def test_a_machine_that_groups_anew_keeps_to_what_was_said(grouped, crops, tmp_path, name):
    """A person corrects; then a machine looks again, through the server that has the gallery open."""
    rows = [row for batch, _ in grouped.scan() for row in batch]
    with Gallery.open(tmp_path / name, dim=24, fingerprint=Stripes.fingerprint) as kept:
        kept.add(grouped.vectors([row.id for row in rows]), rows)
    service = Service(Gallery.open(tmp_path / name), Stripes(), images=[crops], uploads=tmp_path / "up")
    with listening(service) as address:
        for action, fields in (
            ("split", {"person": "group-1", "id": [f"2_c{c}_{i}" for c in (1, 2) for i in (0, 1)]}),
            ("merge", {"person": ["group-2", "group-3"], "name": "bert"}),
            ("not-a-person", {"person": "5", "id": ["5_c1_0"]}),
        ):
            assert httpx2.post(f"{address}/api/people/{action}", data=fields).status_code == 200
        with Gallery.open(f"serve:{address}") as far:
            said = [row for batch, _ in far.scan() for row in batch if not is_free(row)]
            seen = crops_in(far)
            again = find_people(Stripes(), seen, features=far.vectors(seen.ids), min_samples=2)
            name_in_gallery(again, far)
            assert far.get([row.id for row in said]) == said
            of = {id_: int(group) for id_, group in zip(seen.ids, again.groups, strict=True)}
    assert len({of[f"{p}_c1_0"] for p in "34"}) == 1
    assert of["2_c1_0"] not in {of[f"1_c{c}_{i}"] for c in (1, 2) for i in (0, 1)}
    assert "5_c1_0" not in of
