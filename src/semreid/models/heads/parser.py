"""Parser head: tells the body region of every pixel. What a teacher that makes part masks learns with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.distributed import gather
from semreid.errors import SemreidError
from semreid.functional.losses import soft_overlap
from semreid.functional.pooling import resize_labels
from semreid.models.heads.base import REGIONS, Head
from semreid.models.trunk import Maps, Trunk

_WIDTH = 32  # channels on the way up


class Parser(Head):
    """From the deepest map of the trunk up to the finest, then one sub-pixel convolution to the size of the image.

    A lower arm is four pixels wide in a crop of 128×64, so every finer map is added on the way up and nothing is
    interpolated at the end. Writes ``parsing``, the logits (B, R, H, W). Losses: ``pixel``, the cross entropy of the
    pixels, and ``overlap``, one minus the mean over the regions of their soft intersection over union in the global
    batch, which a small region moves as much as a large one. No embedding.

    Args:
        trunk: The trunk; all its maps are read.
    """

    needs = ("regions",)

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.scale = min(trunk.strides.values())
        deepest_first = reversed(trunk.channels.items())
        self.lateral = nn.ModuleDict({name: nn.Conv2d(channels, _WIDTH, 1) for name, channels in deepest_first})
        self.smooth = nn.ModuleDict({name: _conv_block() for name in self.lateral})
        self.classify = nn.Conv2d(_WIDTH, len(REGIONS) * self.scale**2, 3, padding=1)

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute ``pixel`` and ``overlap``."""
        if batch.regions is None:
            raise SemreidError("this model learns from part masks, and the batch has none", fix="set Batch.regions")
        logits = maps["parsing"] = self._logits(maps).float()
        labels = resize_labels(batch.regions, logits.shape[2:]).long()
        shared, joint = (gather(area).sum(dim=0) for area in soft_overlap(logits, labels))
        return {"pixel": F.cross_entropy(logits, labels), "overlap": 1 - (shared / joint).mean()}

    def embed(self, maps: Maps) -> None:
        """Write the logits; there is no embedding."""
        maps["parsing"] = self._logits(maps)

    def _logits(self, maps: Maps) -> Tensor:
        found: Tensor | None = None
        for name, lateral in self.lateral.items():
            here = lateral(maps[name])
            if found is not None:
                here = here + F.interpolate(found, here.shape[-2:], mode="bilinear")
            found = self.smooth[name](here)
        return F.pixel_shuffle(self.classify(found), self.scale)


def _conv_block() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(_WIDTH), nn.ReLU(inplace=True)
    )
