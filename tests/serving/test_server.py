"""The command, as a process: it serves, other commands work with what it owns, and it ends when told to."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from semreid.cli import app
from semreid.errors import SemreidError
from semreid.gallery import Entry, Gallery
from semreid.gallery.store import without_password
from semreid.models.card import Card, save_model
from semreid.models.zoo import create_model
from semreid.serving import require_web, server
from semreid.serving.server import access_at, open_service, serve
from semreid.serving.service import Service
from tests.serving.conftest import Stripes, calibration

MODEL = {"name": "baseline", "num_ids": 1, "trunk": "resnet18", "width": 0.25, "size": (64, 32)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_model(tmp_path / "run", create_model(**MODEL), Card(model=MODEL, trained_on={}, terms="", seed=0))
    return tmp_path / "run"


def semreid(*words: object, **settings) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "semreid", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **settings)


@pytest.mark.timeout(400)
def test_one_process_owns_a_lite_file_and_commands_work_with_it(run, crops, tmp_path):
    pytest.importorskip("milvus_lite")
    uri = tmp_path / "g.db"
    words = ["serve", "--gallery", uri, "--model", run, "--port", "0", "--images", crops, "--uploads", tmp_path / "up"]
    command = [sys.executable, "-m", "semreid", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            said = ""
            while "serving" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            assert "no probabilities" in said
            served = f"serve:{re.search(r'http://[0-9.:]+', said)[0]}"
            added = semreid("gallery", "add", crops, "--gallery", served, "--model", run)
            assert added.returncode == 0, added.stderr
            assert "24 rows added" in added.stdout
            found = semreid("gallery", "search", crops / "3_c1_0.png", "--gallery", served, "--model", run, "-k", 1)
            assert "3_c1_0.png" in found.stdout.replace("\n", "")
            owned = semreid("gallery", "info", "--gallery", uri)
            assert owned.returncode == 1
            assert "another process" in owned.stderr
            assert "Traceback" not in owned.stderr
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        assert process.wait() in (0, -signal.SIGINT, 130)
        assert "Traceback" not in rest
    with Gallery.open(uri) as gallery:
        assert gallery.count() == 24


def test_what_cannot_be_served_is_said_before_a_model_is_loaded(tmp_path):
    for words, message in (
        (["--host", "0.0.0.0"], "everybody who reaches this machine"),
        (["--token", "short"], "can be guessed"),
    ):
        with pytest.raises(SemreidError, match=message):
            CliRunner().invoke(app, ["serve", "--gallery", "x.db", "--model", "none", *words], catch_exceptions=False)


def test_the_line_that_tells_where_it_serves_tells_no_password(monkeypatch):
    judge = SimpleNamespace(reason="")
    gallery = SimpleNamespace(uri=without_password("http://me:secret@host:19530#people"))
    monkeypatch.setattr("semreid.cli.embedder_of", lambda _: Stripes())
    monkeypatch.setattr(server, "open_service", lambda *_, **__: SimpleNamespace(judge=judge, gallery=gallery))
    monkeypatch.setattr(server, "serve", lambda *_, ready, **__: ready("http://127.0.0.1:1"))
    words = ["serve", "--gallery", "http://me:secret@host:19530#people", "--model", "none"]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output.replace("\n", " ")
    assert "serving http://host:19530#people at http://127.0.0.1:1" in said


def test_folders_for_pictures_must_be_folders(tmp_path):
    (tmp_path / "file").touch()
    for settings in ({"images": [tmp_path / "none"]}, {"images": [tmp_path], "uploads": tmp_path / "file"}):
        with pytest.raises(SemreidError, match="(none|file) is no folder for pictures"):
            open_service(str(tmp_path / "g.parquet"), Stripes(), **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_calibration_of_another_model_is_refused(tmp_path):
    Gallery.open(tmp_path / "g.parquet", dim=24, fingerprint=Stripes.fingerprint).add(np.eye(24)[:1], [Entry("a")])
    settings = {"images": [tmp_path], "uploads": tmp_path / "up", "calibration": tmp_path / "calibration.json"}
    for fingerprint in ("other", Stripes.fingerprint):
        found = asdict(calibration(fingerprint=fingerprint))
        settings["calibration"].write_text(json.dumps({"calibration": found}))
        if fingerprint == "other":
            with pytest.raises(SemreidError, match="the calibration is that of another model"):
                open_service(str(tmp_path / "g.parquet"), Stripes(), **settings)
            continue
        service = open_service(str(tmp_path / "g.parquet"), Stripes(), **settings)
        assert service.judge.reason == ""
        service.close()


@pytest.mark.parametrize("uploads", [None, "up"])
def test_a_gallery_that_would_be_gone_with_the_server_is_refused(tmp_path, uploads):
    with pytest.raises(SemreidError, match="memory: is empty, and gone when the command ends") as caught:
        open_service("memory:", Stripes(), images=[tmp_path], uploads=uploads and tmp_path / uploads)
    assert "FILE.parquet" in caught.value.fix
    assert not list(tmp_path.iterdir())


def test_the_token_can_come_from_the_environment(tmp_path):
    with pytest.raises(SemreidError, match="can be guessed"):
        environment = {"SEMREID_SERVE_TOKEN": "short"}
        words = ["serve", "--gallery", "x.db", "--model", "none"]
        CliRunner(env=environment).invoke(app, words, catch_exceptions=False)


def test_a_port_that_is_taken_is_told(gallery, crops):
    service = Service(gallery, Stripes(), images=[crops])
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(SemreidError, match="cannot listen") as caught:
            serve(service, access_at("127.0.0.1"), port=other.getsockname()[1])
        assert "--port" in caught.value.fix
    service.close()


def test_a_host_that_can_be_no_name_is_told(gallery, crops):
    service, host = Service(gallery, Stripes(), images=[crops]), "a" * 64
    with pytest.raises(SemreidError, match=f"cannot listen at {host}, port 80"):
        serve(service, access_at(host, no_token=True), host=host, port=80)
    service.close()


def test_another_models_gallery_cannot_be_served(run, tmp_path):
    Gallery.open(tmp_path / "g.parquet", dim=128, fingerprint="other").add([[1.0] * 128], [Entry(id="a")])
    done = semreid("serve", "--gallery", tmp_path / "g.parquet", "--model", run)
    assert done.returncode == 1
    assert "cannot be compared" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SemreidError, match="uvicorn") as caught:
        require_web()
    assert "semreid[serve]" in caught.value.fix


def test_a_home_folder_is_found_or_told_to_be_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    for settings, wrong in (
        ({"uploads": Path("~nobody-at-all/x")}, "there can be no '~nobody-at-all/x'"),
        ({"images": [Path("~nobody-at-all/x")]}, "there can be no '~nobody-at-all/x'"),
        ({"uploads": Path("~/file")}, "file is no folder for pictures"),
    ):
        with pytest.raises(SemreidError, match=wrong):
            open_service(str(tmp_path / "g.parquet"), Stripes(), **{"images": [], **settings})
    service = open_service(str(tmp_path / "g.parquet"), Stripes(), images=[], uploads=Path("~/up"))
    assert service.uploads == tmp_path / "up"
    service.close()


def test_a_folder_for_uploads_that_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "up").mkdir()
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path).name != "up")
    with pytest.raises(SemreidError, match="cannot write .*up/picture.png: .*Permission denied"):
        open_service(str(tmp_path / "g.parquet"), Stripes(), images=[], uploads=tmp_path / "up")
    assert not (tmp_path / "g.parquet").exists()
