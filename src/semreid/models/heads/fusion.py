"""Semantic Fusion Branch (SFB) of MagnifierNet: pool each body region, then read the regions one after the other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.functional.losses import label_smoothed_cross_entropy, semantic_diversity
from semreid.functional.pooling import region_pool
from semreid.models.heads.base import REGIONS, Head
from semreid.models.heads.identity import BNNeck, id_classifier, recognition_losses
from semreid.models.heads.parsing import batch_share
from semreid.models.trunk import Bottleneck, Maps

Cell = Literal["lstm", "gru", "concat"]


class Recurrent(nn.Module):
    """Sequential fusion: a recurrent cell reads region after region; its last state is the result.

    The loop is spelled out because it can then be exported, counted and differentiated in every mode.

    Args:
        cell: ``lstm`` or ``gru``.
        channels: Width of a region vector and of the state.
    """

    def __init__(self, cell: Literal["lstm", "gru"], channels: int) -> None:
        super().__init__()
        self.dim = channels
        self.cell = (nn.LSTMCell if cell == "lstm" else nn.GRUCell)(channels, channels)

    def forward(self, regions: Tensor) -> Tensor:
        """Fuse (B, R, C) to (B, C)."""
        first, *rest = regions.unbind(dim=1)
        state = self.cell(first)
        for region in rest:
            state = self.cell(region, state)
        hidden: Tensor = state[0] if isinstance(state, tuple) else state
        return hidden


class Concatenation(nn.Module):
    """The alternative that sequential fusion is measured against: regions made narrow, side by side.

    Args:
        channels: Width of a region vector.
        regions: Number of regions R.
    """

    def __init__(self, channels: int, regions: int) -> None:
        super().__init__()
        self.dim = regions * (channels // regions)
        self.narrow = nn.Conv1d(regions * channels, self.dim, 1, groups=regions, bias=False)

    def forward(self, regions: Tensor) -> Tensor:
        """Fuse (B, R, C) to (B, dim)."""
        fused: Tensor = self.narrow(regions.flatten(1)[..., None])[..., 0]
        return fused


class RegionHeads(nn.Module):
    """A BNNeck and an identity classifier for each region, all in one pass.

    Args:
        regions: Number of regions R.
        channels: Width of a region vector.
        num_ids: Number of training identities.
    """

    def __init__(self, regions: int, channels: int, num_ids: int) -> None:
        super().__init__()
        self.neck = BNNeck(regions * channels)
        self.classifiers = nn.Parameter(torch.empty(regions, channels, num_ids))
        nn.init.normal_(self.classifiers, std=0.001)

    def forward(self, regions: Tensor) -> Tensor:
        """Normalise region vectors (B, R, C)."""
        normalised: Tensor = self.neck(regions.flatten(1))
        return normalised.view(regions.shape)

    def losses(self, regions: Tensor, pids: Tensor) -> Tensor:
        """Compute the label-smoothed identity loss of each region, (R,)."""
        return label_smoothed_cross_entropy(self(regions).transpose(0, 1) @ self.classifiers, pids)


class Fusion(Head):
    """Bottleneck → semantic aligned pooling, one vector a region → sequential fusion → BNNeck.

    Reads ``regions``, writes ``region_vectors``. An empty region is a vector of zeros: still a step of the fusion,
    without effect on the diversity. Losses: ``id`` and ``triplet`` of the fused feature; ``diversity``, the mean
    cosine similarity of the region vectors; with ``region_heads`` also ``regions``, the sum of the identity losses
    of the regions, each multiplied by β, the sigmoid of its share of the batch. Embedding: the fused feature after
    the BNNeck.

    Args:
        source: Name of the map to read.
        channels: Channels of that map.
        num_ids: Number of training identities.
        cell: What fuses: ``lstm``, ``gru`` or, for comparison, ``concat``.
        background: Read the background first, as a region among others.
        region_heads: Teach every region alone, too, as the released code does and the paper's figure does not.
    """

    training_only = ("classifier", "region_heads.classifiers")

    def __init__(
        self,
        source: str,
        channels: int,
        num_ids: int,
        *,
        cell: Cell = "lstm",
        background: bool = True,
        region_heads: bool = True,
    ) -> None:
        super().__init__()
        self.source, self.first = source, 0 if background else 1
        regions = len(REGIONS) - self.first
        self.block = Bottleneck(channels, channels // Bottleneck.expansion)
        self.fuse = Concatenation(channels, regions) if cell == "concat" else Recurrent(cell, channels)
        self.dim = self.fuse.dim
        self.neck = BNNeck(self.dim)
        self.classifier = id_classifier(self.dim, num_ids)
        self.region_heads = RegionHeads(regions, channels, num_ids) if region_heads else None
        self.weights = {"diversity": 0.01, **({"regions": 0.0125} if region_heads else {})}

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute ``id``, ``triplet``, ``diversity`` and, where asked for, ``regions``."""
        regions = self._pool(maps)
        feature = self.fuse(regions)
        found = recognition_losses(feature, self.classifier(self.neck(feature)), batch.pids)
        found["diversity"] = semantic_diversity(regions)
        if self.region_heads is not None:
            area = torch.sigmoid(batch_share(maps["regions"])[self.first :])
            found["regions"] = (area * self.region_heads.losses(regions, batch.pids)).sum()
        return found

    def embed(self, maps: Maps) -> Tensor:
        """Compute the fused feature after the BNNeck, (B, dim)."""
        regions = self._pool(maps)
        maps["region_vectors"] = regions if self.region_heads is None else self.region_heads(regions)
        feature: Tensor = self.neck(self.fuse(regions))
        return feature

    def _pool(self, maps: Maps) -> Tensor:
        """Semantic aligned pooling: the maximum of each region, (B, R, C)."""
        return region_pool(self.block(maps[self.source]), maps["regions"], len(REGIONS))[:, self.first :]
