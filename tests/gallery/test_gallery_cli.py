"""``semreid gallery`` as a user meets it, and what is left of it after kill -9."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semreid import distributed
from semreid.gallery import Entry, Gallery
from semreid.models.card import Card, save_model
from semreid.models.zoo import create_model
from tests.conftest import draw_figure, write_image

SETTINGS = {"name": "baseline", "num_ids": 1, "trunk": "resnet18", "width": 0.25, "size": [64, 32]}


def save(folder: Path, **changes: object) -> Path:
    settings = {**SETTINGS, **changes}
    model = create_model(**{**settings, "size": tuple(settings["size"])})
    save_model(folder, model, Card(settings, trained_on={}, terms="none", seed=0))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crops")
    for pid in range(4):
        for camid in (1, 2):
            for image in range(3):
                name = f"person{pid}/{image:04d}_c{camid}.png"
                write_image(root / name, draw_figure(pid, camid, image))
    return root


@pytest.mark.parametrize("name", ["g.db", "g.parquet"])
def test_the_main_job(run, crops: Path, model: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    where = ["--gallery", place]
    code, out, err = run("gallery", "add", crops, *where, "--model", model, "--batch-size", 10, "--tag", "day")
    assert (code, out) == (0, f"24 rows added to {place}, 0 replaced, 0 there before\n")
    assert err == "10 of 24 are in the gallery\n20 of 24 are in the gallery\n24 of 24 are in the gallery\n"
    assert "0 rows added" in run("gallery", "add", crops, *where, "--model", model)[1]

    query = crops / "person1" / "0000_c1.png"
    code, out, err = run("gallery", "search", query, *where, "--model", model, "-k", 3, "--other-cameras", "--json")
    assert (code, err) == (0, "")
    matches = json.loads(out)["results"][0]["matches"]
    assert [m["camid"] for m in matches] == [2, 2, 2]
    assert [set(m) for m in matches] == [{"similarity", "id", "path", "pid", "camid", "timestamp", "box", "tags"}] * 3
    everything = run("gallery", "search", crops, *where, "--model", model, "--json").out  # at any depth
    assert len(json.loads(everything)["results"]) == 24
    table = run("gallery", "search", crops / "person1", *where, "--model", model, "--pid", "person3", "--rerank")[1]
    assert table.count("person3") > 6
    assert "person2" not in table

    assert json.loads(run("gallery", "info", *where, "--json")[1])["cameras"] == {"1": 12, "2": 12}
    assert "24 crops of 4 people" in run("gallery", "info", *where)[1]
    assert run("gallery", "remove", *where, "--pid", "person3", "--camid", 1)[1].startswith("3 rows removed")
    code, out, err = run("gallery", "remove", *where, matches[0]["id"], "nobody")
    assert (code, out.startswith("1 rows removed"), "has no row 'nobody' (1 of 2 ids)" in err) == (0, True, True)
    assert run("gallery", "export", tmp_path / "export.parquet", *where)[1].startswith("20 rows")
    copy = ["--gallery", tmp_path / "copy.db"]
    assert run("gallery", "import", tmp_path / "export.parquet", *copy)[1].startswith("20 rows added")
    assert json.loads(run("gallery", "info", *copy, "--json")[1]) == json.loads(
        run("gallery", "info", *where, "--json")[1]
    )


def test_enrolling_people_and_searching_in_time(run, crops: Path, model: Path, tmp_path: Path) -> None:
    add = ["--gallery", tmp_path / "g.parquet", "--model", model]
    lines = [f"{crops}/person0/000{i}_c1.png,0,{i},{1_700_000_000 + i}" for i in range(3)]
    (tmp_path / "seen.csv").write_text("\n".join(["path,pid,camid,timestamp", *lines]))
    code, _, err = run("gallery", "add", tmp_path / "seen.csv", *add)
    assert (code, "not read" in err) == (0, False)
    (tmp_path / "more.csv").write_text("\n".join(["path,pid,camid,Tags,box", *(f"{line},1" for line in lines)]))
    code, _, err = run("gallery", "add", tmp_path / "more.csv", *add)
    assert (code, "more.csv: tags and box are not read: --tag gives" in err) == (0, True)
    assert run("gallery", "add", crops / "person1", *add, "--pid", "alice", "--camid", 9, "--tag", "known")[0] == 0
    info = json.loads(run("gallery", "info", *add[:2], "--json")[1])
    assert (info["people"], info["unknown"], info["cameras"]) == (1, 3, {"0": 1, "1": 1, "2": 1, "9": 6})

    def found(*options: object) -> list[dict]:
        result = run("gallery", "search", crops / "person0" / "0000_c1.png", *add, "--json", *options)
        return json.loads(result[1])["results"][0]["matches"]

    assert {m["timestamp"] for m in found("--since", "2023-11-14T22:13:21")} == {1_700_000_001, 1_700_000_002}
    told = run("gallery", "info", *add[:2]).out
    assert "times 2023-11-14T22:13:20Z to 2023-11-14T22:13:22Z" in told
    assert "2023-11-14T22:13:21Z" in run("gallery", "search", crops / "person0" / "0001_c1.png", *add).out
    assert len(found("--since", "2023-11-14T23:13:21+01:00", "--until", "1700000002")) == 1
    assert {m["pid"] for m in found("--tag", "known")} == {"alice"}
    assert (
        run("gallery", "add", crops / "person1", *add, "--pid", "[/x]", "--replace")[0] == 0
    )  # no markup of the terminal
    assert "[/x]" in run("gallery", "search", crops / "person1" / "0000_c1.png", *add)[1]


def test_data_sets_and_features(run, crops: Path, model: Path, tmp_path: Path) -> None:
    add = ["--gallery", tmp_path / "g.db", "--model", model]
    assert "rows added" in run("gallery", "add", "--data", f"folder:{crops}", "--split", "all", *add)[1]
    run("embed", model, crops, "--out", tmp_path / "f.parquet")
    code, out, _ = run("gallery", "add", tmp_path / "f.parquet", *add)
    assert (code, out.splitlines()[-1]) == (0, f"0 rows added to {tmp_path}/g.db, 0 replaced, 24 there before")
    again = run("gallery", "add", tmp_path / "f.parquet", *add, "--tag", "night", "--camid", 7)
    assert "the 24 that were there stay as they are: --replace gives them what the options say" in again.err
    assert "stay as they are" not in run("gallery", "add", tmp_path / "f.parquet", *add).err
    assert run("gallery", "add", tmp_path / "f.parquet", *add, "--tag", "night", "--camid", 7, "--replace").code == 0
    with Gallery.open(tmp_path / "g.db") as gallery:
        rows = [row for rows, _ in gallery.scan() for row in rows]
    assert {(row.camid, row.tags) for row in rows} == {(7, ("night",))}
    assert {row.pid for row in rows} == {f"person{i}" for i in range(4)}


def test_a_gallery_is_made_anew_for_another_model_and_loses_no_name(
    run, filled: Path, other: Path, tmp_path: Path
) -> None:
    add = ["gallery", "add", "--from", filled, "--gallery", tmp_path / "new.db", "--model", other]
    code, out, err = run(*add)
    assert (code, out.splitlines()[-1]) == (0, f"6 rows added to {tmp_path}/new.db, 0 replaced, 0 there before"), err
    with Gallery.open(filled) as old, Gallery.open(tmp_path / "new.db") as new:
        rows = [entry for entries, _ in old.scan() for entry in entries]
        assert new.get([row.id for row in rows]) == rows
        assert new.fingerprint != old.fingerprint


def test_one_process_reads_the_other_gallery_for_all(
    run, filled: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .db folder belongs to one process at a time: under torchrun, the others would be refused."""
    opened, alone, open_it, by_first = [], [], Gallery.open, distributed.by_first

    def noted_open(uri: object, **meta: object) -> Gallery:
        opened.append((str(uri), bool(alone)))
        return open_it(uri, **meta)

    def noted_first(work: object) -> object:
        alone.append(work)
        try:
            return by_first(work)
        finally:
            alone.pop()

    monkeypatch.setattr(Gallery, "open", noted_open)
    monkeypatch.setattr(distributed, "by_first", noted_first)
    place = tmp_path / "new.parquet"
    assert run("gallery", "add", "--from", filled, "--gallery", place, "--model", other).code == 0
    assert opened == [(str(filled), True), (str(place), False)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "--gallery", "{tmp}/none.db"], "there is no gallery at"),
        (
            ["info", "--gallery", "memory:"],
            "memory: is empty, and gone when the command ends\n  way out: keep the gallery",
        ),
        (["add", "{crops}", "--gallery", "memory:", "--model", "{model}"], "memory: is empty, and gone when"),
        (["search", "{query}", "--gallery", "{tmp}/none.parquet", "--model", "{model}"], "there is no gallery at"),
        (["add", "{tmp}/none", "--gallery", "{tmp}/g.db", "--model", "{model}"], "none\n  way out: give an image"),
        (["add", "{crops}", "--gallery", "{tmp}/g.sqlite", "--model", "{model}"], "names no gallery"),
        (["add", "{crops}", "--gallery", "{tmp}/g.db", "--model", "{tmp}/none"], "no model card"),
        (["import", "{tmp}/none.parquet", "--gallery", "{tmp}/g.db"], "there is no file"),
        (["export", "{query}/x.parquet", "--gallery", "{filled}"], "cannot write"),
        (["add", "{crops}", "--gallery", "{filled}", "--model", "{other}"], "they cannot be compared"),
        (["search", "{query}", "--gallery", "{filled}", "--model", "{other}"], "they cannot be compared"),
        (["search", "{query}", "--gallery", "{filled}", "--model", "{model}", "--camid", "7"], "no row that passes"),
        (["search", "{tmp}/x.png", "--gallery", "{filled}", "--model", "{model}"], "cannot read"),
        (["search", "{query}", "--gallery", "{filled}", "--model", "{model}", "--since", "noon"], "the time 'noon'"),
        (["search", "{query}", "--gallery", "{filled}", "--model", "{model}", "--parts"], "knows no body regions"),
        (["remove", "--gallery", "{filled}", "typo", "slip"], "has no row 'typo' (2 of 2 ids)\n  way out: "),
        (["remove", "--gallery", "{filled}", "--tag", "typo"], "has no row that passes the filter\n  way out: "),
        (["remove", "--gallery", "{filled}"], "is said nowhere\n  way out: give ids of rows, or"),
        (["remove", "--gallery", "{filled}", "x", "--pid", "y"], "is said twice: by ids and by a filter\n  way out: "),
        (["add", "{crops}", "--gallery", "{tmp}/g.db", "--split", "all"], "--split has no meaning for"),
        (["add", "x.parquet", "--gallery", "{tmp}/g.db", "--unlabelled"], "--unlabelled has no meaning for x.parquet"),
        (["add", "x.PARQUET", "--gallery", "{tmp}/g.db", "--skip-corrupt"], "way out: leave out --skip-corrupt"),
        (["add", "--data", "folder:x", "--gallery", "{tmp}/g.db", "--unlabelled"], "no meaning for folder:x"),
        (["add", "{crops}", "--gallery", "{tmp}/g.db", "--pid", "-1"], "pid '-1' names no person"),
    ],
)
def test_what_cannot_be_done_is_one_message_with_exit_status_1(
    run, crops: Path, model: Path, filled: Path, other: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    names = {"tmp": tmp_path, "crops": crops, "model": model, "filled": filled, "other": other}
    names |= {"query": crops / "person0" / "0000_c1.png"}
    code, out, err = run("gallery", *(a.format(**names) for a in arguments))
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, crops: Path, model: Path) -> Path:
    from semreid.gallery.enroll import crops_below, enroll
    from semreid.models.loading import load_embedder

    embedder = load_embedder(model)
    file = tmp_path_factory.mktemp("filled") / "g.parquet"
    with Gallery.open(file, dim=embedder.dim, fingerprint=embedder.fingerprint) as gallery:
        enroll(gallery, embedder, crops_below(crops / "person0"))
    return file


def test_the_camera_of_a_query_is_what_is_stated_or_else_what_its_name_tells(run, crops, model, tmp_path: Path) -> None:
    where = ["--gallery", tmp_path / "g.parquet", "--model", model]
    run("gallery", "add", crops, *where)
    query = write_image(tmp_path / "crop.png", draw_figure(1, 1, 0))
    search = ["gallery", "search", query, *where, "--other-cameras", "--json"]
    code, _, err = run(*search)
    assert (
        code,
        "crop.png does not tell its camera" in err,
        "way out: state it, if it is the same of all: --query-camid" in err,
    ) == (
        1,
        True,
        True,
    )
    code, out, _ = run(*search, "--query-camid", 1)
    assert (code, {m["camid"] for m in json.loads(out)["results"][0]["matches"]}) == (0, {2})
    told = ["gallery", "search", crops / "person1" / "0000_c2.png", *search[3:]]
    assert {m["camid"] for m in json.loads(run(*told).out)["results"][0]["matches"]} == {1}
    assert {m["camid"] for m in json.loads(run(*told, "--query-camid", 1).out)["results"][0]["matches"]} == {2}


@pytest.mark.parametrize("options", [["-k", 0], ["-k", 16_385], ["--camid", -1], ["--query-camid", -1]])
def test_numbers_that_can_never_be_right_are_wrong_usage(run, crops, filled, options: list[object]) -> None:
    assert run("gallery", "search", crops / "person0" / "0000_c1.png", "--gallery", filled, *options).code == 2


def test_queries_that_cannot_be_read_are_left_out_if_it_is_said(run, crops, model, filled, tmp_path: Path) -> None:
    for name in ("a_c1.png", "b.png"):
        write_image(tmp_path / "q" / name, draw_figure(0, 1, 0))
    (tmp_path / "q" / "zero_c1.png").touch()
    search = ["gallery", "search", tmp_path / "q", "--gallery", filled, "--model", model, "--json"]
    code, out, err = run(*search)
    assert (code, out, "zero_c1.png is empty" in err, "--skip-corrupt" in err) == (1, "", True, True)
    code, out, err = run(*search, "--skip-corrupt")
    assert (code, "skipped: " in err) == (0, True)
    assert [Path(found["query"]).name for found in json.loads(out)["results"]] == ["a_c1.png", "b.png"]
    code, out, err = run(*search, "--skip-corrupt", "--other-cameras")
    assert (code, out, "(1 of 2 queries)" in err, "the same of all: --query-camid" in err) == (1, "", True, True)
    code, out, err = run("gallery", "search", tmp_path / "q" / "zero_c1.png", *search[3:], "--skip-corrupt")
    assert (code, out, "none of the 1 images can be read" in err) == (1, "", True)
    code, out, err = run("gallery", "search", tmp_path / "q" / "nope.jpg", *search[3:])
    assert (code, out, "nope.jpg" in err, "check its name" in err, "--skip-corrupt" in err) == (
        1,
        "",
        True,
        True,
        False,
    )


def test_where_no_image_can_be_read_nothing_is_added_and_that_is_an_error(run, filled, other, tmp_path: Path) -> None:
    with Gallery.open(filled) as old:
        rows = [replace(row, path=f"{row.path}.gone") for rows, _ in old.scan() for row in rows]
        with Gallery.open(tmp_path / "moved.parquet", dim=old.dim, fingerprint=old.fingerprint) as moved:
            moved.add(old.vectors([row.id for row in rows]), rows)
    new = tmp_path / "new.parquet"
    add = ["gallery", "add", "--from", tmp_path / "moved.parquet", "--gallery", new, "--model", other, "--skip-corrupt"]
    code, out, err = run(*add)
    assert (code, out, new.exists()) == (1, "", False)
    assert "0 of 6 are in the gallery" in err
    assert "none of the 6 images can be read, such as: cannot read" in err


def test_pictures_that_were_sent_to_a_server_are_not_forgotten(run, tmp_path: Path) -> None:
    sent = f"/srv/up/0f/{'0f' * 16}.png"
    with Gallery.open(tmp_path / "g.parquet", dim=3) as gallery:
        gallery.add(np.eye(3), [Entry("a", sent), Entry("b", "/crops/b.png"), Entry("c", sent, tags=("late",))])
    where = ["--gallery", tmp_path / "g.parquet"]
    assert run("gallery", "remove", "b", *where).err == ""
    for what in (["a"], ["--tag", "late"]):
        code, out, err = run("gallery", "remove", *what, *where)
        assert (code, out.startswith("1 rows removed")) == (0, True)
        assert f"1 pictures that were sent to a server stay on its disk, such as {sent}: delete them" in err


def test_body_regions_decide_where_the_model_knows_them(run, crops: Path, tmp_path: Path) -> None:
    where = ["--gallery", tmp_path / "g.parquet", "--model", save(tmp_path / "parted", name="magnifiernet")]
    assert run("gallery", "add", crops, *where)[0] == 0
    query = crops / "person0" / "0000_c1.png"
    code, out, err = run("gallery", "search", query, *where, "-k", 4, "--parts", "--other-cameras", "--json")
    assert (code, err) == (0, "")
    assert {m["camid"] for m in json.loads(out)["results"][0]["matches"]} == {2}


def test_usage_errors_exit_with_2(run, crops: Path) -> None:
    assert run("gallery", "add", "--gallery", "g.db", "--model", "baseline")[0] == 2
    assert run("gallery", "add", crops, "--data", "folder:x", "--gallery", "g.db", "--model", "baseline")[0] == 2
    assert run("gallery", "add", crops, "--from", "x.db", "--gallery", "g.db", "--model", "baseline")[0] == 2
    assert run("gallery", "add", crops)[0] == 2


@pytest.mark.parametrize("name", ["g.db", "g.parquet"])
def test_kill_9_in_the_middle_loses_no_acknowledged_row(run, model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "many"
    for i in range(600):
        write_image(folder / "x" / f"{i:04d}_c1.png", draw_figure(i % 20, 1, i))
    place = tmp_path / name
    command = [sys.executable, "-m", "semreid", "gallery", "add", str(folder)]
    command += ["--gallery", str(place), "--model", str(model), "--batch-size", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as add:
        for line in add.stderr:
            acknowledged = int(line.split()[0])
            if acknowledged >= 80:
                add.send_signal(signal.SIGKILL)
                break
        acknowledged = max([acknowledged, *(int(line.split()[0]) for line in add.stderr)])
    assert add.returncode == -signal.SIGKILL
    with Gallery.open(place) as gallery:
        there = gallery.count()
    assert acknowledged <= there < 600
    code, out, _ = run("gallery", "add", folder, "--gallery", place, "--model", model)
    assert (code, out) == (0, f"{600 - there} rows added to {place}, 0 replaced, {there} there before\n")
    with Gallery.open(place) as gallery:
        rows = [entry.path for entries, _ in gallery.scan() for entry in entries]
    assert sorted(rows) == sorted(map(str, (folder / "x").iterdir()))


def test_what_is_left_out_is_said(run, crops: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "a_c1.gif").symlink_to(crops / "person1" / "0000_c1.png")
    (tmp_path / "crops" / "b_c2.heic").touch()
    line = f"warning: 1 files (1 .heic), such as {tmp_path / 'crops' / 'b_c2.heic'}: left out"
    code, out, err = run("gallery", "add", tmp_path / "crops", "--gallery", tmp_path / "g.parquet", "--model", model)
    assert (code, out.startswith("1 rows added")) == (0, True)
    assert line in err
    code, out, err = run("embed", model, tmp_path / "crops", "--out", tmp_path / "e.parquet")
    assert (code, out.startswith("1 embeddings")) == (0, True)
    assert line in err
