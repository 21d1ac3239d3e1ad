"""Identity head with BNNeck: the global branch of Bag of Tricks and of most systems after it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.distributed import gather
from semreid.functional.losses import batch_hard_triplet, center_loss, label_smoothed_cross_entropy
from semreid.functional.pooling import avg_pool, gem_pool, max_pool
from semreid.models.heads.base import Head
from semreid.models.trunk import Maps

Pooling = Literal["avg", "max", "gem"]
Embedding = Literal["bnneck", "pooled", "fc512"]


class GlobalPool(nn.Module):
    """Global pooling of maps (B, C, h, w) to (B, C) in float32.

    Args:
        kind: ``avg``, ``max`` or ``gem`` (generalised mean with a learned exponent that starts at 3).
    """

    def __init__(self, kind: Pooling) -> None:
        super().__init__()
        self.kind = kind
        if kind == "gem":
            self.p = nn.Parameter(torch.tensor(3.0))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (B, C, h, w) to (B, C)."""
        if self.kind == "gem":
            return gem_pool(maps, self.p)
        return (avg_pool if self.kind == "avg" else max_pool)(maps).float()


class BNNeck(nn.BatchNorm1d):
    """Batch normalisation between the triplet and the identity loss, its shift frozen at zero.

    Args:
        dim: Width of the feature.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.bias.requires_grad = False


def id_classifier(dim: int, num_ids: int) -> nn.Linear:
    """Make a bias-free identity classifier with small weights."""
    classifier = nn.Linear(dim, num_ids, bias=False)
    nn.init.normal_(classifier.weight, std=0.001)
    return classifier


def recognition_losses(
    feature: Tensor, logits: Tensor, pids: Tensor, *, margin: float | None = 0.3
) -> dict[str, Tensor]:
    """Compute the two losses that teach a feature to tell people apart.

    Args:
        feature: Feature before the BNNeck, (B, D), or the features of several stages, (S, B, D).
        logits: Scores of the training identities after it, (B, num_ids) or (S, B, num_ids).
        pids: Training labels, (B,).
        margin: Triplet margin; None for the soft margin.

    Returns:
        ``id``, and ``triplet`` mined in the global batch; scalars, or (S,).
    """
    return {
        "id": label_smoothed_cross_entropy(logits, pids),
        "triplet": batch_hard_triplet(gather(feature, dim=-2), gather(pids), margin),
    }


def _embedding(channels: int) -> nn.Sequential:
    """Make the embedding layer of the released code of SAN: 512 numbers, none of them negative."""
    return nn.Sequential(nn.Linear(channels, 512), nn.BatchNorm1d(512), nn.ReLU())


class Identity(Head):
    """Pool a map; triplet loss before, label-smoothed identity loss after a BNNeck.

    Losses: ``id``, ``triplet`` and, with ``center``, ``center``. Embedding: the feature after the BNNeck.

    Args:
        source: Name of the map to read.
        channels: Channels of that map.
        num_ids: Number of training identities.
        pool: Global pooling.
        center: Add the center loss.
        embedding: ``bnneck``; ``pooled``: no BNNeck, the pooled feature serves all ends; ``fc512``: no BNNeck, 512
            numbers from a linear layer, normalised and without negative ones, do.
    """

    training_only = ("classifier", "centers")

    def __init__(
        self,
        source: str,
        channels: int,
        num_ids: int,
        *,
        pool: Pooling = "avg",
        center: bool = False,
        embedding: Embedding = "bnneck",
    ) -> None:
        super().__init__()
        self.source = source
        self.dim = 512 if embedding == "fc512" else channels
        self.pool = GlobalPool(pool)
        self.reduce = _embedding(channels) if embedding == "fc512" else nn.Identity()
        self.neck = BNNeck(self.dim) if embedding == "bnneck" else nn.Identity()
        self.classifier = id_classifier(self.dim, num_ids)
        self.centers: Tensor | None
        self.register_buffer("centers", torch.zeros(num_ids, self.dim) if center else None)
        self.weights = {"center": 5e-4} if center else {}

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute ``id``, ``triplet`` and, where asked for, ``center``."""
        feature = self.reduce(self.pool(maps[self.source]))
        logits = self.classifier(self.neck(feature))
        found = recognition_losses(feature, logits, batch.pids)
        if self.centers is not None:
            found["center"] = center_loss(feature, batch.pids, self.centers)
            self._move_centers(gather(feature).detach(), gather(batch.pids))
        return found

    def embed(self, maps: Maps) -> Tensor:
        """Compute the feature after the BNNeck if there is one, (B, dim)."""
        feature: Tensor = self.neck(self.reduce(self.pool(maps[self.source])))
        return feature

    def _move_centers(self, feature: Tensor, pids: Tensor) -> None:
        """Move each centre towards the mean of its features, more slowly where there are few of them."""
        assert self.centers is not None
        step = torch.zeros_like(self.centers).index_add_(0, pids, feature - self.centers[pids])
        count = step.new_zeros(len(step)).index_add_(0, pids, torch.ones_like(pids, dtype=step.dtype))
        self.centers += 0.5 * step / (1 + count)[:, None]
