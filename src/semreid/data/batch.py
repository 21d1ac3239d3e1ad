"""The one object that crosses from the data to the heads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from semreid.host import from_host


@dataclass(frozen=True, slots=True)
class Batch:
    """A training batch on the device of the model.

    Attributes:
        images: RGB in [0, 1], (B, 3, H, W); the model normalises.
        pids: Class index of each image among the training identities, (B,) int64.
        camids: Camera ids, (B,) int64.
        regions: Part labels 0 to 7, (B, H, W) uint8, or None where the data has no masks.
        textures: Aligned body textures in [0, 1], (B, 3, side, side), or those of the synthetic images alone where the
            others have none, or None.
        synthetic: True for synthetic images that join the batch, (B,) bool, or None where there are none; their
            class index is -1. Best kept on the host: to look at it there, nobody must wait for the device.
        attributes: Attributes 0 or 1, (B, A) uint8, or None where the data has none.
    """

    images: Tensor
    pids: Tensor
    camids: Tensor
    regions: Tensor | None = None
    textures: Tensor | None = None
    synthetic: Tensor | None = None
    attributes: Tensor | None = None

    def joined_by(self, synthetic: Batch) -> Batch:
        """Append synthetic images to real ones.

        Args:
            synthetic: A batch with the same fields, or with textures where this one has none.

        Returns:
            All images, in this order.
        """
        both: dict[str, Any] = {}
        for field in fields(self):
            parts = [part for batch in (self, synthetic) if (part := getattr(batch, field.name)) is not None]
            both[field.name] = torch.cat(parts) if parts else None
        count = len(self.images) + len(synthetic.images)
        both["synthetic"] = torch.arange(count) >= len(self.images)
        return Batch(**both)

    def real(self) -> Batch:
        """Return the batch without synthetic images, and without textures if there are any."""
        if self.synthetic is None:
            return self
        kept: dict[str, Any] = {}
        rows = self.rows(synthetic=False)
        for field in fields(self):
            value = getattr(self, field.name)
            left_out = value is None or field.name in ("textures", "synthetic")
            kept[field.name] = None if left_out else value[rows]
        return Batch(**kept)

    def rows(self, *, synthetic: bool) -> Tensor:
        """Return which rows are synthetic, or which are not, (N,) on the device of the images."""
        made = self.synthetic
        assert made is not None
        return from_host(lambda: (made == synthetic).nonzero().squeeze(1), self.images.device)
