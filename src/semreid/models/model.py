"""A model: a trunk, a few heads, and all it takes to turn crops into embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from semreid.data.augment import IMAGENET_MEAN
from semreid.data.batch import Batch
from semreid.data.images import read_image, resize
from semreid.errors import SemreidError
from semreid.models.heads import Annotation, Head
from semreid.models.trunk import Maps, Trunk

Image = NDArray[np.uint8] | Path | str
"""A crop: RGB uint8 array (H, W, 3), or a path to an image file."""

IMAGENET_STD = (0.229, 0.224, 0.225)


class ReIDModel(nn.Module):
    """One trunk, many heads. Preprocessing is part of the model, so it can never be wrong.

    Args:
        trunk: Computes named maps from normalised images.
        heads: Head by name, in the order they run; a head may read what earlier ones wrote.
        size: Input height and width in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: Trunk, heads: Mapping[str, Head], size: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = cast("nn.Module", trunk)
        self.heads = nn.ModuleDict(heads)
        self.size = size
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return sum(head.dim for head in self._heads())

    @property
    def needs(self) -> set[Annotation]:
        """Annotations that the heads learn from."""
        return {annotation for head in self._heads() for annotation in head.needs}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    def maps(self, images: Tensor) -> Maps:
        """Compute the trunk maps.

        Args:
            images: RGB (B, 3, H, W), float in [0, 1] or uint8.

        Returns:
            The maps by name.
        """
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images
        return cast("Maps", self.trunk((scaled - self.mean) / self.std))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute all losses of a batch.

        Args:
            batch: The batch.

        Returns:
            Unweighted scalar by name, ``HEAD.LOSS``, such as ``identity.triplet``.
        """
        maps = self.maps(batch.images)
        named = {name: cast("Head", head).losses(maps, batch) for name, head in self.heads.items()}
        return {f"{name}.{loss}": value for name, found in named.items() for loss, value in found.items()}

    def forward(self, images: Tensor) -> Tensor:
        """Compute raw embeddings.

        Args:
            images: RGB (B, 3, H, W), float in [0, 1] or uint8.

        Returns:
            The heads' blocks side by side, (B, dim), not normalised.
        """
        maps = self.maps(images)
        blocks = [block for head in self._heads() if (block := head.embed(maps)) is not None]
        return torch.cat(blocks, 1)

    @torch.inference_mode()
    def embed_batch(self, images: Tensor, *, flip: bool = False) -> Tensor:
        """Compute L2-normalised embeddings of images of the right size, in evaluation mode.

        Args:
            images: RGB (B, 3, H, W), float in [0, 1] or uint8, on any device.
            flip: Add the raw embedding of the mirrored image before normalising (test-time augmentation).

        Returns:
            Unit vectors (B, dim) in float32.
        """
        training = self.training
        self.eval()
        images = images.to(self.device)
        raw = self(images).float()
        if flip:
            raw = raw + self(images.flip(-1)).float()
        self.train(training)
        return F.normalize(raw)

    def embed(self, images: Iterable[Image], *, batch_size: int = 64, flip: bool = False) -> NDArray[np.float32]:
        """Compute L2-normalised embeddings of crops.

        Args:
            images: RGB uint8 arrays (H, W, 3) of any size, or paths.
            batch_size: Images a step; bounds the memory.
            flip: Average with the mirrored image (test-time augmentation).

        Returns:
            Unit vectors (N, dim) in float32.

        Raises:
            SemreidError: If an image cannot be read or is no RGB image, or there is none.

        Example:
            >>> from semreid.models.zoo import create_model
            >>> model = create_model("baseline", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
            >>> model.embed([np.zeros((80, 40, 3), np.uint8)]).shape
            (1, 128)
        """
        if isinstance(images, (str, Path)):
            raise SemreidError(f"embed() takes a list of images, not one ({images})", fix=f"embed(['{images}'])")
        blocks = [
            self.embed_batch(self._prepare(chunk), flip=flip).cpu().numpy() for chunk in _chunks(images, batch_size)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.dim), np.float32)

    def info(self, size: tuple[int, int] | None = None) -> dict[str, object]:
        """Describe the model in numbers.

        Args:
            size: Input height and width to count the operations at; the model's own if None.

        Returns:
            ``parameters_without_classifiers``, ``embedding_dim``, ``macs`` per image, ``heads``, ``input``.
        """
        size = size or self.size
        trained_only = {
            id(p)
            for head in self._heads()
            for name, p in head.named_parameters()
            if name.split(".")[0] in head.training_only
        }
        counter = FlopCounterMode(display=False)
        training = self.training
        with torch.no_grad(), counter:
            self.eval()(torch.zeros(1, 3, *size, device=self.device))
        self.train(training)
        return {
            "parameters_without_classifiers": sum(p.numel() for p in self.parameters() if id(p) not in trained_only),
            "embedding_dim": self.dim,
            "macs": counter.get_total_flops() // 2,
            "heads": list(self.heads),
            "input": list(size),
        }

    def _prepare(self, images: Sequence[Image]) -> Tensor:
        arrays = [read_image(image) if isinstance(image, (str, Path)) else image for image in images]
        for array in arrays:
            if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
                raise SemreidError(
                    f"an image has shape {array.shape} and type {array.dtype}",
                    fix="give RGB uint8 arrays (H, W, 3)",
                )
        stacked = np.stack([resize(array, self.size) for array in arrays])
        return torch.from_numpy(stacked).permute(0, 3, 1, 2)

    def _heads(self) -> Iterator[Head]:
        return (cast("Head", head) for head in self.heads.values())


def _chunks(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    iterator = iter(images)
    while chunk := list(islice(iterator, size)):
        yield chunk
