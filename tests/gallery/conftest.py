"""The same gallery, kept in every way there is: the contract tests run once for each."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from semreid.gallery import Gallery
from tests.gallery.helpers import DIM, MODEL, LiteServer, drop


@pytest.fixture(scope="session")
def lite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteServer]:
    server = LiteServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


SERVER = os.environ.get("SEMREID_MILVUS_URI", "")  # of a Milvus server, such as that of test_milvus_server.py


@pytest.fixture(params=["memory", "parquet", "lite", "lite-server", *(["milvus-server"] if SERVER else [])])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a gallery may be made."""
    places = {"memory": "memory:", "parquet": str(tmp_path / "g.parquet"), "lite": str(tmp_path / "g.db")}
    if request.param in places:
        yield places[request.param]
    elif request.param == "lite-server":
        yield request.getfixturevalue("lite_server").uri()
    else:
        name = f"g{uuid.uuid4().hex}"
        yield f"{SERVER}#{name}"
        drop(SERVER, name)


@pytest.fixture
def gallery(uri: str) -> Iterator[Gallery]:
    with Gallery.open(uri, dim=DIM, fingerprint=MODEL) as opened:
        yield opened
