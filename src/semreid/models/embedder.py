"""What gallery, verification and serving need of a model: crops in, unit vectors out, and who made them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from semreid.data.images import as_rgb, read_image, resize
from semreid.errors import SemreidError
from semreid.models.parts import Parts

Image = NDArray[np.uint8] | Path | str
"""A crop: RGB uint8 array (H, W, 3), or a path to an image file. An image of Pillow is taken, too."""
Join = Literal["equal", "plain"]


class Embedder(ABC):
    """What embeds crops: a model, or a file exported from one.

    Attributes:
        size: Input height and width in pixels; crops of any size are resized to it.
    """

    size: tuple[int, int]

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of the embedding."""

    @property
    @abstractmethod
    def blocks(self) -> dict[str, int]:
        """Width of each head's share of the embedding, in order."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hexadecimal digest of the embedding function; an exported file has that of the model it came from.

        Vectors of two embedders may be compared exactly when their fingerprints are equal.
        """

    @property
    @abstractmethod
    def join(self) -> Join:
        """How the blocks of several heads became one embedding."""

    @overload
    def embed(
        self,
        images: Iterable[Image],
        *,
        batch_size: int = ...,
        flip: bool = ...,
        parts: Literal[False] = ...,
        unit: bool = ...,
    ) -> NDArray[np.float32]: ...

    @overload
    def embed(
        self, images: Iterable[Image], *, batch_size: int = ..., flip: bool = ..., parts: Literal[True]
    ) -> Parts: ...

    def embed(
        self,
        images: Iterable[Image],
        *,
        batch_size: int = 64,
        flip: bool = False,
        parts: bool = False,
        unit: bool = True,
    ) -> NDArray[np.float32] | Parts:
        """Compute L2-normalised embeddings of crops.

        Args:
            images: RGB uint8 arrays (H, W, 3) of any size, or paths.
            batch_size: Images a step; bounds the memory.
            flip: Average with the mirrored image (test-time augmentation).
            parts: Return what the embeddings are made of, too; for models with body regions.
            unit: Normalise; if not, embeddings keep their lengths, as papers that compare raw features have it.

        Returns:
            Unit vectors (N, dim) in float32, or the `Parts` that hold them.

        Raises:
            SemreidError: If an image cannot be read or is no RGB image, or the model has no embedding or, for parts, no
                regions.

        Example:
            >>> from semreid.models.zoo import create_model
            >>> model = create_model("baseline", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
            >>> model.embed([np.zeros((80, 40, 3), np.uint8)]).shape
            (1, 128)
        """
        batches = prepared_batches(images, self.size, batch_size)
        if parts:
            return Parts.concatenate([self._embed_parts(batch, flip) for batch in batches])
        return np.concatenate([self._embed_rows(batch, flip, unit) for batch in batches])

    @abstractmethod
    def _embed_rows(self, batch: NDArray[np.uint8], flip: bool, unit: bool) -> NDArray[np.float32]:
        """Embed images of the right size (B, height, width, 3)."""

    @abstractmethod
    def _embed_parts(self, batch: NDArray[np.uint8], flip: bool) -> Parts:
        """Tell what their embeddings are made of."""


def prepared_batches(images: Iterable[Image], size: tuple[int, int], batch_size: int) -> Iterator[NDArray[np.uint8]]:
    """Read, check and resize crops, a batch at a time.

    Args:
        images: RGB uint8 arrays (H, W, 3) of any size, or paths.
        size: Height and width to resize to.
        batch_size: Images in a batch.

    Yields:
        Images (B, height, width, 3); of no images, one batch of none, so that results have their shape.

    Raises:
        SemreidError: If an image cannot be read or is no RGB image, or a batch is to have no image.
    """
    if isinstance(images, (str, Path)):
        raise SemreidError(f"embed() takes a list of images, not one ({images})", fix=f"embed(['{images}'])")
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise SemreidError(f"batch_size={batch_size!r} is no number of images", fix="give a whole number from 1 on")
    numbered = enumerate(images)
    chunks = iter(lambda: list(islice(numbered, batch_size)), [])
    for chunk in chain([next(chunks, [])], chunks):
        batch = [_prepare(number, image, size) for number, image in chunk]
        yield np.array(batch, np.uint8).reshape(-1, *size, 3)


def _prepare(number: int, image: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return resize(read_image(image) if isinstance(image, (str, Path)) else as_rgb(image, f"image {number}"), size)
