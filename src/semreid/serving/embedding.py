"""One thread that embeds what any number of requests bring, as many at a time as wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semreid.models.embedder import Embedder

BATCH = 16
Vector = NDArray[np.float32]


class _Job(NamedTuple):
    image: NDArray[np.uint8]
    flip: bool
    done: Future[Vector]


class EmbeddingThread:
    """Runs a model in one thread, so that a crowd of requests neither fights for the cores nor fills the memory.

    What comes while the model is busy waits, and goes through it together.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.embedded = 0
        self.turn = threading.Lock()
        """Held while the model works; for whoever else must use it."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="embedding", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of images that wait for the model."""
        return self._jobs.qsize()

    async def embed(self, image: NDArray[np.uint8], *, flip: bool = False) -> Vector:
        """Embed a crop when its turn comes.

        Args:
            image: RGB (H, W, 3).
            flip: Average with the mirrored image.

        Returns:
            Unit vector (D,).

        Raises:
            SemreidError: As ``embedder.embed``.
        """
        job = _Job(image, flip, Future())
        self._jobs.put(job)
        return await asyncio.wrap_future(job.done)

    def stop(self) -> None:
        """Finish what waits, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        going = True
        while going:
            jobs = [self._jobs.get()]
            with contextlib.suppress(Empty):  # what waits already goes along
                while len(jobs) < BATCH:
                    jobs.append(self._jobs.get_nowait())
            going = None not in jobs
            for flip, some in groupby((job for job in jobs if job), key=lambda job: job.flip):
                self._embed(list(some), flip=flip)

    def _embed(self, jobs: list[_Job], *, flip: bool) -> None:
        jobs = [job for job in jobs if job.done.set_running_or_notify_cancel()]
        try:
            with self.turn:
                vectors = self.embedder.embed([job.image for job in jobs], batch_size=BATCH, flip=flip)
        except Exception as error:  # the thread must outlive whatever a model raises; each caller gets it
            for job in jobs:
                job.done.set_exception(error)
            return
        self.embedded += len(jobs)
        for job, vector in zip(jobs, vectors, strict=True):
            job.done.set_result(vector)
