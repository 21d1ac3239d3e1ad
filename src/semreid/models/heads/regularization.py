"""Semantic Regularization Branch (SRB) of MagnifierNet: learn from a few body regions at a time.

Without it, a network rests on the easiest regions. Here some regions of all images of a batch are hidden before
pooling, others in the next batch, so each must learn to tell people apart. At inference nothing is hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.functional.losses import label_smoothed_cross_entropy
from semreid.functional.pooling import max_pool, region_pool
from semreid.host import from_host
from semreid.models.heads.base import REGIONS, Head
from semreid.models.heads.identity import BNNeck, id_classifier, recognition_losses
from semreid.models.heads.parsing import batch_share
from semreid.models.trunk import Bottleneck, Maps

UPPER, LOWER = range(1, 5), range(5, 8)
"""Head, torso, upper and lower arm; upper and lower leg, foot. The background always stays."""


def sample_regions() -> Tensor:
    """Draw the regions that stay: all but two of `UPPER` and one of `LOWER`, one of 18 outcomes.

    Draws from PyTorch's own generator, which the training loop sets alike on all processes before each step.

    Returns:
        Whether each region stays, (R,) bool, on the CPU.
    """
    upper = torch.randperm(len(UPPER))[:2] + UPPER.start
    lower = torch.randint(LOWER.start, LOWER.stop, (1,))
    kept = torch.ones(len(REGIONS), dtype=torch.bool)
    kept[torch.cat((upper, lower))] = False
    return kept


class Regularization(Head):
    """Bottleneck → hide regions (in training) → max pool → 1x1 → BNNeck.

    Reads ``regions``. Losses: ``id``, multiplied by β, the sigmoid of the share of the batch that stays visible,
    and with ``triplet`` also ``triplet``. Embedding: the feature after the BNNeck.

    Args:
        source: Name of the map to read.
        channels: Channels of that map.
        num_ids: Number of training identities.
        triplet: Add the triplet loss, as the paper's figure does and the released code does not.
    """

    training_only = ("classifier",)

    def __init__(self, source: str, channels: int, num_ids: int, *, triplet: bool = False) -> None:
        super().__init__()
        self.source, self.dim, self.triplet = source, channels, triplet
        self.block = Bottleneck(channels, channels // Bottleneck.expansion)
        self.reduce = nn.Linear(channels, channels, bias=False)
        self.neck = BNNeck(channels)
        self.classifier = id_classifier(channels, num_ids)

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute ``id`` and, where asked for, ``triplet`` from the regions that stay visible."""
        regions = maps["regions"]
        kept = from_host(sample_regions, regions.device)
        features = self.block(maps[self.source])
        stays = F.pad(kept, (0, 256 - len(kept)), value=True)  # what no region is known of, too
        # All that stays is one region: its maximum is that of the masked map, because features are not negative.
        feature = self.reduce(region_pool(features, stays[regions.long()], num_regions=2)[:, 1])
        logits = self.classifier(self.neck(feature))
        if self.triplet:
            found = recognition_losses(feature, logits, batch.pids)
        else:
            found = {"id": label_smoothed_cross_entropy(logits, batch.pids)}
        return found | {"id": found["id"] * torch.sigmoid((batch_share(regions) * kept).sum())}

    def embed(self, maps: Maps) -> Tensor:
        """Compute the feature of the whole image after the BNNeck, (B, channels)."""
        feature: Tensor = self.neck(self.reduce(max_pool(self.block(maps[self.source]))))
        return feature
