"""What can be asked of one gallery and one model, by pages and programs alike; nothing here knows of HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from anyio import CapacityLimiter, fail_after, to_thread

from semreid.data.images import resize
from semreid.data.names import camera_of
from semreid.errors import SemreidError
from semreid.explain.parts import knows_regions, regions_over
from semreid.explain.pictures import jpeg
from semreid.files import exclusive, user_path
from semreid.functional.calibration import Calibration, Verdict
from semreid.gallery import Entry, Filter, Gallery, Match, Stats
from semreid.gallery.corrections import CorrectionError, Corrections, Step
from semreid.gallery.crops import Image
from semreid.gallery.entry import Vectors, derived_id
from semreid.gallery.gallery import ANY
from semreid.gallery.parts import PartOrder
from semreid.gallery.roster import Roster, roster
from semreid.gallery.store import ChangedError, How, NoSuchRowError, Written
from semreid.models.embedder import Embedder
from semreid.models.model import ReIDModel
from semreid.models.parts import Parts
from semreid.serving.embedding import EmbeddingThread, Vector
from semreid.serving.errors import RequestError
from semreid.serving.pictures import Pictures, discard, keep, plain_name, read_upload
from semreid.verification.judgement import Judge

READERS, DECODERS = 4, 2
SHOWN = 384  # longest side of a picture, in pixels
PATIENCE = 30.0
"""Seconds until a gallery that does not answer is given up."""
LOOKING = 300.0
"""The same for a search that reads and embeds pictures again."""
STATUS: dict[type[SemreidError], int] = {NoSuchRowError: 404, ChangedError: 409, CorrectionError: 422}
"""Of what is not the gallery's own trouble."""
COUNTING_SHARE = 0.01
"""Part of the time that counting a gallery anew may take."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Crop:
    """A crop that somebody asks about: an upload, or a row of the gallery.

    Attributes:
        image: RGB at the size of the model, if it was needed.
        picture: JPEG to show, if it was needed.
        entry: The row; None for an upload.
        camid: Camera that took it, as the row or the name of the uploaded file says; None if unknown.
    """

    image: Image | None = None
    picture: bytes = b""
    entry: Entry | None = None
    camid: int | None = None


class Found(NamedTuple):
    """What a search found.

    Attributes:
        matches: Best first.
        probabilities: That each shows the person of the query; None where nothing can be said.
        prior: Probability before looking that they stand on; None without probabilities.
        reason: Why there are none.
    """

    matches: list[Match]
    probabilities: list[float | None]
    prior: float | None
    reason: str


class Compared(NamedTuple):
    """How alike two crops are.

    Attributes:
        similarity: Cosine similarity.
        verdict: Probability and decision, if the model is calibrated for such a pair.
        reason: Why there is none.
    """

    similarity: float
    verdict: Verdict | None
    reason: str


class _Regions:
    """The body regions of crops, from a model that a thread of its own uses, too."""

    def __init__(self, model: ReIDModel, turn: Lock) -> None:
        self._model, self._turn = model, turn

    def embed(self, images: Iterable[Image | Path | str], *, parts: Literal[True]) -> Parts:
        crops = list(images)  # read before it is our turn
        with self._turn:
            return self._model.embed(crops, parts=parts)


class Counted(Generic[T]):
    """What takes long to count: counted again only when some time has passed or rows were written here.

    Attributes:
        known: What was counted last; None if nothing was yet.
    """

    def __init__(self, count: Callable[[], Awaitable[T]]) -> None:
        self.known: T | None = None
        self._count, self._turn, self._fresh_until = count, asyncio.Lock(), 0.0

    async def __call__(self) -> T:
        """Return what is counted."""
        async with self._turn:
            if self.known is None or time.monotonic() > self._fresh_until:
                start = self._fresh_until = time.monotonic()
                self.known = await self._count()
                now = time.monotonic()
                if self._fresh_until == start:  # else rows were written while it counted: it may not know them
                    self._fresh_until = now + (now - start) / COUNTING_SHARE
            return self.known

    def outdate(self) -> None:
        """Say that it may be otherwise by now."""
        self._fresh_until = 0.0


class Service:
    """Searches, compares, counts and adds, with bounded threads and memory.

    Every question raises `RequestError` where the gallery does not answer, a row or a picture is not there, an
    upload cannot be read, or rows may not be written.

    Args:
        gallery: The gallery.
        embedder: The model that made it.
        calibration: Of this model, if there is one.
        images: Folders whose pictures may be shown.
        uploads: Folder for the pictures of rows that are added; None: nobody may add or remove.

    Raises:
        SemreidError: If the gallery is that of another model, or another service keeps its corrections in ``uploads``.
    """

    def __init__(
        self,
        gallery: Gallery,
        embedder: Embedder,
        *,
        calibration: Calibration | None = None,
        images: list[Path],
        uploads: Path | None = None,
    ) -> None:
        gallery.require(embedder)
        uploads = uploads and user_path(uploads)
        self.gallery, self.uploads = gallery, uploads
        self.judge = Judge(embedder, calibration)
        self.corrections: Corrections | None = None
        """What people say of the crops, where they may."""
        self._held = ExitStack()
        if uploads:
            self.corrections, self._held = _corrections(gallery, uploads)
        self.pictures = Pictures([*images, *([uploads] if uploads else [])])
        self.embedding = EmbeddingThread(embedder)
        self.size = embedder.size
        self.regions = (
            _Regions(embedder, self.embedding.turn)
            if isinstance(embedder, ReIDModel) and knows_regions(embedder)
            else None
        )
        """What sees the body regions, if the model looks at them."""
        self.stats: Counted[Stats] = Counted(lambda: self.ask(gallery.stats, patience=None))
        """The gallery in numbers."""
        self.roster: Counted[Roster] = Counted(lambda: self.ask(roster, gallery))
        """Who is in it."""
        self._writing = asyncio.Lock()
        self._readers, self._decoders = CapacityLimiter(READERS), CapacityLimiter(DECODERS)

    async def upload(self, file: BinaryIO, name: str) -> Crop:
        """Take an image file that its sender calls ``name``."""

        def read() -> Crop:
            image = read_upload(file, name)
            return Crop(resize(image, self.size), jpeg(image, SHOWN), camid=camera_of(Path(plain_name(name))))

        return await to_thread.run_sync(read, limiter=self._decoders)

    async def row(self, id_: str) -> Crop:
        """Take a row of the gallery by its id, without its picture."""
        entry = (await self.ask(self.gallery.get, [id_]))[0]
        if entry is None:
            raise RequestError(404, f"the gallery has no row {id_[:128]!r}", "it may have been removed")
        return Crop(entry=entry, camid=entry.camid)

    async def picture(self, entry: Entry, *, parts: bool = False) -> bytes:
        """Read the picture of a row as JPEG; with ``parts``, the body regions that the model sees lie over it."""
        regions = self._require_regions(404) if parts else None

        def read() -> bytes:
            image = self.pictures.read(entry)
            over = regions_over(image, regions.embed([image], parts=True).labels[0]) if regions else image
            return jpeg(over, SHOWN)

        return await to_thread.run_sync(read, limiter=self._decoders)

    async def search(
        self,
        crop: Crop,
        k: int,
        where: Filter = ANY,
        *,
        camid: int | None = None,
        exclude_same_camera: bool = False,
        rerank: bool = False,
        parts: bool = False,
        prior: float | None = None,
    ) -> Found:
        """Find the rows that look most like a crop; a row does not find itself.

        Args:
            crop: The crop.
            k: How many, at least 1.
            where: Which rows to consider.
            camid: Camera of the crop, if it is another than it says itself.
            exclude_same_camera: Leave out what the same camera saw.
            rerank: Re-rank the best, as `Gallery.search` does.
            parts: Let the body regions that both show order the best, as `PartOrder` does.
            prior: Probability that a row shows the person, before looking; None: as `uniform_prior`, once the
                people of the gallery are counted.

        Raises:
            SemreidError: If the camera must be known and is not, or the prior is not between 0 and 1.
        """
        camid = crop.camid if camid is None else camid
        if exclude_same_camera and camid is None:
            raise RequestError(422, "the camera of the query is not known", "say which camera took it")
        if rerank and parts:
            raise RequestError(422, "re-ranking by neighbours and by regions exclude each other", "ask for one of them")
        order = await self._order(crop) if parts else None
        vector = order.vectors[0] if order else await self._vector(crop)
        excluded = [camid] if exclude_same_camera else None
        ask = partial(self.gallery.search, where=where, query_camids=excluded, rerank=rerank, reorder=order)
        patience = LOOKING if parts else PATIENCE
        found = (await self.ask(ask, vector[None], k + (crop.entry is not None), patience=patience))[0]
        own = crop.entry.id if crop.entry else ""
        matches = [match for match in found if match.entry.id != own][:k]
        return Found(matches, *self.judge.chances(matches, camid, prior, lambda: self.stats.known))

    async def compare(self, a: Crop, b: Crop, *, far: float | None = None, prior: float = 0.5) -> Compared:
        """Compare two crops.

        Args:
            a: A crop.
            b: Another crop.
            far: False-accept rate to decide at; None for the usual one.
            prior: Probability that they show one person, before looking.

        Returns:
            How alike they are.

        Raises:
            SemreidError: If no threshold is known for the rate, or the prior is not between 0 and 1.
        """
        vectors = await asyncio.gather(*(self._vector(crop, flip=self.judge.flip) for crop in (a, b)))
        similarity = float(np.clip(vectors[0] @ vectors[1], -1, 1))
        verdict, reason = self.judge.verdict(similarity, (a.camid, b.camid), far=far, prior=prior)
        return Compared(similarity, verdict, reason)

    async def add(self, file: BinaryIO, name: str, entry: Entry) -> tuple[Entry, bool]:
        """Add an uploaded crop to the gallery; the same picture again is left as it is.

        Args:
            file: The image file.
            name: How its sender calls it; tells its camera, unless ``entry`` does.
            entry: What is known of it; its path is set here, and its id derived from that unless given.

        Returns:
            The row as it is now in the gallery, and whether it is new.

        Raises:
            SemreidError: If the picture cannot be stored.
        """
        folder = self._require_writable()

        def read() -> tuple[Image, Image]:
            image = read_upload(file, name)
            return image, resize(image, self.size)

        image, resized = await to_thread.run_sync(read, limiter=self._decoders)
        vector = await self.embedding.embed(resized)
        camid = camera_of(Path(plain_name(name))) if entry.camid is None else entry.camid

        def add() -> tuple[Entry, bool]:
            path, fresh = keep(image, folder, entry.id)
            try:
                placed = replace(entry, path=str(path), camid=camid)
                placed = replace(placed, id=entry.id or derived_id(placed, vector))
                new = bool(self.gallery.add(vector[None], [placed]).new)
                known = placed if new else self.gallery.get([placed.id])[0] or placed
            except Exception:
                if fresh:  # no row names it; sent again, it is kept again
                    path.unlink(missing_ok=True)
                raise
            if known.path != placed.path:
                path.unlink(missing_ok=True)
            return known, new

        return await self._written(add)

    async def put(self, vectors: Vectors, entries: list[Entry], how: How) -> Written:
        """Add, replace or renew rows (N, D) that were embedded elsewhere, and say what became of them."""
        self._require_writable()
        return await self._written(getattr(self.gallery, how), vectors, entries)

    async def exchange(self, before: list[Entry], after: list[Entry], *, partly: bool) -> int:
        """Change what is known of rows that are still as somebody saw them, and say how many they were."""
        self._require_writable()
        return await self._written(partial(self.gallery.exchange, partly=partly), before, after)

    async def delete(self, ids: list[str]) -> int:
        """Delete rows, and their pictures if they were uploaded here; say how many there were."""
        folder = self._require_writable()

        def delete() -> int:
            entries = self.gallery.get(ids)
            deleted = self.gallery.remove(ids)
            for entry in filter(None, entries):
                discard(entry.path, folder)
            return deleted

        return await self._written(delete)

    async def rows(self, where: Filter, offset: int, limit: int) -> list[Entry]:
        """List up to ``limit`` rows behind the first ``offset``, in the order in which the gallery has them."""

        def some() -> list[Entry]:
            entries = chain.from_iterable(batch for batch, _ in self.gallery.scan(where))
            return list(islice(entries, offset, offset + limit))

        return await self.ask(some)

    async def ask(self, question: Callable[..., T], *arguments: object, patience: float | None = PATIENCE) -> T:
        """Ask the gallery, in a thread. What was asked was checked: what it raises is its own trouble, or a picture's.

        Args:
            question: A method of the gallery.
            *arguments: For the method.
            patience: Seconds until it is given up; None to wait.
        """
        try:
            with fail_after(patience):
                return await to_thread.run_sync(
                    partial(question, *arguments), limiter=self._readers, abandon_on_cancel=True
                )
        except TimeoutError as error:
            raise RequestError(503, f"the gallery did not answer within {patience:.0f} s", "ask again later") from error
        except RequestError:
            raise
        except SemreidError as error:
            status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 503)
            raise RequestError(status, error.what, error.fix) from error

    async def correct(self, say: Callable[[Corrections], Step]) -> Step:
        """Say something of crops."""
        self._require_writable()
        assert self.corrections is not None
        return await self._written(say, self.corrections)

    async def settle(self) -> None:
        """Wait for what is being written."""
        async with self._writing:
            return

    def close(self) -> None:
        """End the thread and let go of the gallery."""
        self.embedding.stop()
        self.gallery.close()
        self._held.close()

    async def _order(self, crop: Crop) -> PartOrder:
        """The order of candidates by the regions that they share with a crop."""
        regions = self._require_regions(422)

        def look() -> PartOrder:
            image = crop.image
            if image is None:
                assert crop.entry is not None
                image = self._read(crop.entry)
            return PartOrder(regions, [image], self._read)

        return await to_thread.run_sync(look, limiter=self._decoders)

    def _read(self, entry: Entry) -> Image:
        """The crop of a row at the size of the model."""
        return resize(self.pictures.read(entry), self.size)

    def _require_regions(self, status: int) -> _Regions:
        if self.regions is None:
            raise RequestError(
                status, "this model does not look at body regions", "serve one that does, such as people-s"
            )
        return self.regions

    async def _vector(self, crop: Crop, *, flip: bool = False) -> Vector:
        """The vector of a crop: a row's own, unless it is wanted averaged with the mirror image."""
        if crop.image is not None:
            return await self.embedding.embed(crop.image, flip=flip)
        entry = crop.entry
        assert entry is not None
        if not flip:
            vector: Vector = (await self.ask(self.gallery.vectors, [entry.id]))[0]
            return vector
        image = await to_thread.run_sync(self._read, entry, limiter=self._decoders)
        return await self.embedding.embed(image, flip=True)

    def _require_writable(self) -> Path:
        if self.uploads is None:
            raise RequestError(
                403, "this server only reads its gallery", "start it with --uploads FOLDER to let rows be added"
            )
        return self.uploads

    async def _written(self, write: Callable[..., T], *arguments: object) -> T:
        """Write in a thread, one at a time, rows and their pictures; the gallery is then counted anew if asked for.

        It keeps its turn until it has written, also if nobody waits for it any more.
        """

        async def turn() -> T:
            async with self._writing:
                try:
                    return await self.ask(write, *arguments, patience=None)
                finally:
                    self.stats.outdate()
                    self.roster.outdate()

        return await asyncio.shield(asyncio.create_task(turn()))


def _corrections(gallery: Gallery, uploads: Path) -> tuple[Corrections, ExitStack]:
    """The corrections of a gallery, and what keeps others from writing the same file until it is closed."""
    file = uploads / _steps_of(gallery)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(file, patience=0))
        except SemreidError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            raise SemreidError(
                f"another server keeps the corrections of {gallery.uri} in {uploads}",
                fix="use that one (serve:http://HOST:PORT), or stop it first; else give another --uploads FOLDER",
            ) from error
        return Corrections(gallery, file), stack.pop_all()


def _steps_of(gallery: Gallery) -> str:
    """The file of a gallery's steps: several galleries may have one folder for uploads, and each several names."""
    return f"corrections-{blake2b(os.fsencode(gallery.place), digest_size=4).hexdigest()}.json"
