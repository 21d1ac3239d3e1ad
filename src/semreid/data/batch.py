"""The one object that crosses from the data to the heads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """A training batch on the device of the model.

    Attributes:
        images: RGB in [0, 1], (B, 3, H, W); the model normalises.
        pids: Class index of each image among the training identities, (B,) int64.
        camids: Camera ids, (B,) int64.
        regions: Part labels 0 to 7, 255 where nobody knows, (B, H, W) uint8, or None where the data has no masks.
        textures: Aligned body textures in [0, 1], (B, 3, side, side), or those of the synthetic images alone where the
            others have none, or None.
        attributes: Attributes 0 or 1, (B, A) uint8, or None where the data has none.
        synthetic: How many of the last images are synthetic ones that join the batch; their class index is -1.
    """

    images: Tensor
    pids: Tensor
    camids: Tensor
    regions: Tensor | None = None
    textures: Tensor | None = None
    attributes: Tensor | None = None
    synthetic: int = 0

    def joined_by(self, synthetic: Batch) -> Batch:
        """Append synthetic images to real ones.

        Args:
            synthetic: A batch with the same fields, or with textures where this one has none.

        Returns:
            All images, in this order.
        """
        ours, others = self.tensors(), synthetic.tensors()
        both = {name: torch.cat([part[name] for part in (ours, others) if name in part]) for name in (ours | others)}
        return Batch(**both, synthetic=len(synthetic.pids))

    @property
    def num_real(self) -> int:
        """Number of images that are not synthetic: the first ones."""
        return len(self.pids) - self.synthetic

    def real(self) -> Batch:
        """Return the batch without synthetic images, and without textures if there are any."""
        if not self.synthetic:
            return self
        return Batch(**{name: each[: self.num_real] for name, each in self.tensors().items() if name != "textures"})

    def tensors(self) -> dict[str, Any]:
        """Return the tensors that are there, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}
