"""What a model with body regions says of crops, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semreid.errors import SemreidError
from semreid.functional.pooling import region_share
from semreid.models.heads import REGIONS
from semreid.models.trunk import Maps


@dataclass(frozen=True, eq=False)
class Parts:
    """Embeddings of N crops and what they are made of; all vectors have unit length.

    Attributes:
        embedding: What ``embed`` returns without ``parts``, (N, dim).
        blocks: Each head's share of it by the head's name, (N, D), normalised on its own.
        regions: A vector for each body region, (N, R, C); zeros where the region is not visible.
        visibility: Share of the crop that each region covers, (N, R); 0 where it is not visible.
        labels: Region of every position of the feature map, (N, h, w): indices into `REGIONS`.
        names: Names of the R regions.
    """

    embedding: NDArray[np.float32]
    blocks: Mapping[str, NDArray[np.float32]]
    regions: NDArray[np.float32]
    visibility: NDArray[np.float32]
    labels: NDArray[np.uint8]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.embedding)

    @staticmethod
    def concatenate(parts: Sequence[Parts]) -> Parts:
        """Put batches of one model behind one another.

        Args:
            parts: At least one.
        """
        return Parts(
            np.concatenate([p.embedding for p in parts]),
            {name: np.concatenate([p.blocks[name] for p in parts]) for name in parts[0].blocks},
            np.concatenate([p.regions for p in parts]),
            np.concatenate([p.visibility for p in parts]),
            np.concatenate([p.labels for p in parts]),
            parts[0].names,
        )


class RawParts(NamedTuple):
    """Parts as the heads compute them, before any normalisation.

    Attributes:
        blocks: Embedding block by head, (B, D).
        regions: Region vectors, (B, R, C); zeros where the region is not visible.
        visibility: Share of each region, (B, R).
        labels: Region labels, (B, h, w).
    """

    blocks: dict[str, Tensor]
    regions: Tensor
    visibility: Tensor
    labels: Tensor


def read_parts(blocks: dict[str, Tensor], maps: Maps) -> RawParts:
    """Take what the heads left in the maps.

    Args:
        blocks: Embedding block by head, (B, D).
        maps: The maps after all heads ran.

    Raises:
        SemreidError: If no head knows body regions.
    """
    if "region_vectors" not in maps:
        raise SemreidError("this model knows no body regions", fix="use one with a fusion head, such as magnifiernet")
    regions, labels = maps["region_vectors"], maps["regions"]
    visibility = region_share(labels, len(REGIONS))[:, -regions.shape[1] :]
    return RawParts(blocks, regions * (visibility > 0)[..., None], visibility, labels)


def normalise_parts(views: Sequence[RawParts]) -> Parts:
    """Add up views of the same crops and normalise every vector.

    Args:
        views: The crops as they are and, for test-time augmentation, mirrored; the labels are those of the first.

    Returns:
        The parts, on the CPU.
    """
    blocks = {name: torch.stack([v.blocks[name].float() for v in views]).sum(0) for name in views[0].blocks}
    regions = torch.stack([v.regions.float() for v in views]).sum(0)
    return Parts(
        F.normalize(torch.cat(list(blocks.values()), dim=1)).cpu().numpy(),
        {name: F.normalize(block).cpu().numpy() for name, block in blocks.items()},
        F.normalize(regions, dim=2).cpu().numpy(),
        torch.stack([v.visibility for v in views]).mean(0).cpu().numpy(),
        views[0].labels.to(torch.uint8).cpu().numpy(),
        REGIONS[-regions.shape[1] :],
    )
