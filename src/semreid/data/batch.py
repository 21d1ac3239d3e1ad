"""The one object that crosses from the data to the heads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """A training batch on the device of the model.

    Attributes:
        images: RGB in [0, 1], (B, 3, H, W); the model normalises.
        pids: Class index of each image among the training identities, (B,) int64.
        camids: Camera ids, (B,) int64.
        regions: Part labels 0 to 7, (B, H, W) uint8, or None where the data has no masks.
        textures: Aligned body textures in [0, 1], (B, 3, 256, 256), or those of the synthetic images alone where the
            others have none, or None.
        synthetic: True for synthetic images that join the batch, (B,) bool, or None where there are none; their
            class index is -1.
        attributes: Attributes 0 or 1, (B, A) uint8, or None where the data has none.
    """

    images: Tensor
    pids: Tensor
    camids: Tensor
    regions: Tensor | None = None
    textures: Tensor | None = None
    synthetic: Tensor | None = None
    attributes: Tensor | None = None

    def real(self) -> Batch:
        """Return the batch without synthetic images, and without textures if there are any."""
        if self.synthetic is None:
            return self
        left: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("textures", "synthetic")
        }
        return Batch(**{name: value if value is None else value[~self.synthetic] for name, value in left.items()})
