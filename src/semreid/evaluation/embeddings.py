"""Embedding image files into a Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semreid import distributed
from semreid.data.images import read_good
from semreid.data.listing import list_images
from semreid.data.names import camera_below
from semreid.errors import SemreidError
from semreid.files import atomic_path
from semreid.models.embedder import Embedder
from semreid.parallel import Progress, ahead, pieces
from semreid.seal import seal

COLUMNS, FINGERPRINT = ["path", "camid", "vector"], b"semreid.fingerprint"
Names = tuple[str, int | None]
"""Path and camera."""
CHUNK = 128  # images read at once, while the model works on those before


def embed_files(
    model: Embedder,
    images: Path | str,
    out: Path | str,
    *,
    flip: bool = False,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
) -> tuple[int, list[str]]:
    """Embed an image or all images below a folder into a Parquet file, in bounded memory.

    The next images are decoded while the model works. Under ``torchrun``, the processes share the images, and the first
    writes the file that one process with as many threads would write, byte for byte.

    Columns: ``path`` (string), ``camid`` (int32, null where neither file name nor folder tells it), ``vector``
    (fixed-size list of float32, L2-normalised).

    Args:
        model: The model.
        images: Image or folder.
        out: The Parquet file; written whole or not at all.
        flip: Average with the mirrored image.
        skip_corrupt: Leave out images that cannot be read.
        progress: Told how far it is.

    Returns:
        Number of embeddings written, and one message for each image left out; as far as the first process knows them.

    Raises:
        SemreidError: If there is no image, one cannot be read (without ``skip_corrupt``), or ``out`` cannot be written,
            or is something else than what this function writes.
    """
    images, out = Path(images), Path(out)
    _require_own(out)
    paths = distributed.by_first(lambda: [images] if images.is_file() else list_images(images, nested=True))
    known = [(path, (str(path), camera_below(path, images))) for path in paths]  # all are judged before the work
    skipped: list[str] = []
    done = 0
    work = partial(_embedded, model, flip=flip, skip_corrupt=skip_corrupt)
    with _writer(out, model) if distributed.rank() == 0 else nullcontext() as writer:
        for names, vectors, problems in distributed.shared(work, list(pieces(known, CHUNK))):
            assert writer is not None
            if names:
                rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), model.dim)
                writer.write_table(pa.table([*map(list, zip(*names, strict=True)), rows], schema=writer.schema))
            skipped += problems
            done += len(names) + len(problems)
            if progress is not None:
                progress(done, len(paths))
    return done - len(skipped), skipped


def _require_own(out: Path) -> None:
    """Refuse to replace what is not embeddings alone: a gallery, or a table to which somebody has added columns."""
    if not out.is_file() or not out.stat().st_size:
        return
    try:
        schema = pq.read_schema(out)
        is_own = schema.names == COLUMNS and FINGERPRINT in (schema.metadata or {})
    except (OSError, pa.ArrowException):
        is_own = False
    if not is_own:
        raise SemreidError(
            f"{out} is there, and is no file that `semreid embed` wrote: it will not be written over",
            fix="choose another file, or remove this one",
        )


@contextmanager
def _writer(out: Path, model: Embedder) -> Iterator[pq.ParquetWriter]:
    """Open the file; it is there once it is complete."""
    vector = pa.list_(pa.float32(), model.dim)
    fields = zip(COLUMNS, (pa.string(), pa.int32(), vector), strict=True)
    schema = pa.schema(list(fields), metadata={FINGERPRINT: model.fingerprint.encode()})
    with atomic_path(out) as temporary:
        with pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
            yield writer
        seal(temporary)


def _embedded(
    model: Embedder, chunks: Iterable[Sequence[tuple[Path, Names]]], *, flip: bool, skip_corrupt: bool
) -> Iterator[tuple[list[Names], np.ndarray, list[str]]]:
    """Yield for each chunk path and camera of what could be read, its vectors, and a message for each other image."""
    for names, images, problems in ahead(partial(read_good, size=model.size, skip_corrupt=skip_corrupt), chunks):
        yield names, model.embed(images, flip=flip) if images else np.zeros((0, model.dim), np.float32), problems
