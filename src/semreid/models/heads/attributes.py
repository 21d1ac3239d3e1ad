"""Attribute head: teaches the trunk to name what people wear (the attribute facilitator of MagnifierNet, version 1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.models.heads.base import Head
from semreid.models.trunk import Bottleneck, Maps


class Attributes(Head):
    """Look at each group of attributes where it is seen: bottleneck → a soft mask a group → pooled map → classifier.

    Loss: ``bce``, the mean over all attributes. It serves training only: no embedding.

    Args:
        source: Name of the map to read.
        channels: Channels of that map.
        groups: Number of attributes by group, in the order of the columns of the attributes.
    """

    needs = ("attributes",)
    training_only = ("block", "attention", "classifiers")

    def __init__(self, source: str, channels: int, groups: Mapping[str, int]) -> None:
        super().__init__()
        self.source = source
        self.block = Bottleneck(channels, channels // Bottleneck.expansion)
        self.attention = nn.Conv2d(channels, len(groups), 1)
        self.classifiers = nn.ModuleList(nn.Linear(channels, count) for count in groups.values())

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute ``bce``."""
        logits = self.logits(maps[self.source]).float()
        wanted = batch.attributes
        if wanted is None or wanted.shape != logits.shape:
            found = "none" if wanted is None else str(wanted.shape[1])
            raise SemreidError(
                f"this model learns {logits.shape[1]} attributes, and the data have {found}",
                fix="let model.options.attributes tell the number of columns in each group of attributes.csv, or learn "
                "without attributes: model.options.attributes=null",
            )
        return {"bce": F.binary_cross_entropy_with_logits(logits, wanted.float())}

    def logits(self, features: Tensor) -> Tensor:
        """Compute the score of every attribute, (B, A), from the map (B, C, h, w)."""
        masks = torch.sigmoid(self.attention(self.block(features)).float()).flatten(2)
        pooled = masks @ features.float().flatten(2).transpose(1, 2) / masks.sum(dim=2, keepdim=True)
        scores = [classifier(vector) for classifier, vector in zip(self.classifiers, pooled.unbind(1), strict=True)]
        return torch.cat(scores, dim=1)

    def embed(self, maps: Maps) -> None:
        """There is no embedding."""
