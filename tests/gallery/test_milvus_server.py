"""The contract on a real Milvus server, which the package ``milvus`` brings along.

It unpacks 450 MB and takes a while, so nobody gets it unasked: ``pip install milvus==2.3.5`` to run this.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    milvus = pytest.importorskip("milvus", reason="the package milvus (2.3.5) is not installed")
    started = milvus.MilvusServer()
    started.set_base_dir(str(tmp_path / "milvus"))
    try:
        started.start()
    except (OSError, RuntimeError, TimeoutError) as error:
        started.stop()
        pytest.skip(f"the Milvus server cannot start here: {error}")
    yield f"http://127.0.0.1:{started.listen_port}"
    process = started.server_proc
    try:
        started.stop()
    except subprocess.TimeoutExpired:  # it grants 4 seconds, and has killed it then
        process.wait()
        started.stop()


@pytest.mark.timeout(600)
def test_contract(server: str) -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-k", "milvus-server", str(HERE / "test_contract.py")]
    done = subprocess.run(
        command, env={**os.environ, "SEMREID_MILVUS_URI": server}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "failed" not in done.stdout
