"""Parsing head: finds the body regions that other heads pool over (the mask module of MagnifierNet)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.distributed import gather
from semreid.errors import SemreidError
from semreid.functional.losses import class_balanced_cross_entropy
from semreid.functional.pooling import region_share, resize_labels
from semreid.models.heads.base import REGIONS, Head
from semreid.models.trunk import Maps

MaskSource = Literal["offline", "predicted"]
LabelResize = Literal["nearest", "bilinear"]
_WIDTH = 256  # channels between the two convolutions, as released


def batch_share(labels: Tensor) -> Tensor:
    """Count which share of the global batch each region covers, (R,) float32, by labels (B, h, w) of this process."""
    return gather(region_share(labels, len(REGIONS))).mean(dim=0)


class Parsing(Head):
    """Tell the body region of every position, at twice the resolution of the map.

    Writes ``parsing``, the logits (B, R, 2h, 2w), and ``regions``, labels on the grid of another map: at inference
    the likeliest, in training those of the part masks. Loss: ``pixel``. No embedding.

    Args:
        source: Name of the map to read.
        channels: Channels of that map.
        grid: Name of the map on whose grid the regions are wanted.
        masks: Regions in training: from the part masks (``offline``) or, as at inference, ``predicted``.
        label_resize: How part masks are brought to the grid of the logits (see `resize_labels`).
    """

    needs = ("regions",)
    weights: Mapping[str, float] = {"pixel": 2.0}

    def __init__(
        self,
        source: str,
        channels: int,
        *,
        grid: str,
        masks: MaskSource = "offline",
        label_resize: LabelResize = "nearest",
    ) -> None:
        super().__init__()
        self.source, self.grid, self.masks, self.label_resize = source, grid, masks, label_resize
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(channels, _WIDTH, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(_WIDTH),
            nn.ReLU(inplace=True),
            nn.Conv2d(_WIDTH, len(REGIONS), 1),
        )
        for layer in (self.decoder[0], self.decoder[3]):
            nn.init.normal_(cast("Tensor", layer.weight), std=0.001)
        nn.init.zeros_(cast("Tensor", self.decoder[3].bias))

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute ``pixel``, in which every region of the global batch weighs the same."""
        if batch.regions is None:
            raise SemreidError("this model learns from part masks, and the batch has none", fix="set Batch.regions")
        logits: Tensor = self.decoder(maps[self.source])
        labels = resize_labels(batch.regions, logits.shape[2:], self.label_resize)
        self._write(maps, logits, labels if self.masks == "offline" else logits.argmax(dim=1))
        return {"pixel": class_balanced_cross_entropy(logits, labels, batch_share(labels))}

    def embed(self, maps: Maps) -> None:
        """Write the likeliest regions; there is no embedding."""
        logits: Tensor = self.decoder(maps[self.source])
        self._write(maps, logits, logits.argmax(dim=1))

    def _write(self, maps: Maps, logits: Tensor, labels: Tensor) -> None:
        maps["parsing"] = logits
        maps["regions"] = resize_labels(labels, maps[self.grid].shape[2:])
