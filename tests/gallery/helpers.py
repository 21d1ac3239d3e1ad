"""What the gallery tests share: rows with every fact, and a Milvus Lite server in a process of its own."""

import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np

from semreid.gallery import Entry

DIM = 8
MODEL = "abc123"


class LiteServer:
    """Milvus Lite behind a port, in a process of its own: what a server looks like, ready in a second."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder)]
        self.command += ["--host", "127.0.0.1", "--port", str(self.port)]
        self.start()

    def start(self) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, **quiet)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the Lite server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}#g{uuid.uuid4().hex}"


def drop(server: str, name: str) -> None:
    from pymilvus import MilvusClient

    client = MilvusClient(server)
    client.drop_collection(name)
    client.close()


def make_rows(rows: int, seed: int = 0) -> tuple[np.ndarray, list[Entry]]:
    """Rows with every fact present in some and absent in others, and no two similarities alike."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, DIM)).astype(np.float32)
    entries = [
        Entry(
            id=f"id{i:04d}",
            path=f"/crops/{i}.jpg" if i % 5 else "",
            pid=f"p{i % 6}" if i % 4 else None,
            camid=i % 3 if i % 7 else None,
            timestamp=float(i) if i % 2 else None,
            box=(0.5, 1, 10, 20.25) if i % 3 else None,
            tags=("day", 'the "gate"')[: i % 3],
        )
        for i in range(rows)
    ]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), entries


class Stub:
    """An embedder whose vectors are the mean colours of image blocks; remembers how many images it has seen."""

    dim, size, fingerprint = DIM, (16, 8), MODEL

    def __init__(self) -> None:
        self.seen = 0

    def embed(self, images, *, batch_size: int = 64, flip: bool = False) -> np.ndarray:
        pixels = np.stack(list(images)).astype(np.float32)
        assert pixels.shape[1:] == (*self.size, 3)
        self.seen += len(pixels)
        blocks = pixels.reshape(len(pixels), DIM, -1).mean(axis=2) + 1
        return blocks / np.linalg.norm(blocks, axis=1, keepdims=True)
