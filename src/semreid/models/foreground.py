"""Shows a model the person alone, so that no street behind anybody tells who it is."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from semreid.models.heads import REGIONS, Parser
from semreid.models.trunk import Maps, Trunk

BACKGROUND = REGIONS.index("background")


class Foreground(nn.Module):
    """Fades to the mean colour what a parser takes for background.

    A finished parser (``recipes/tiny/parser.yaml``) is part of the model, and works at the size of its own input, so it
    costs a large model next to nothing. It stays as it is: in evaluation mode, and without gradients for its weights.

    Args:
        trunk: Trunk of the parser.
        parser: Its head.
        size: Its input height and width.
    """

    def __init__(self, trunk: Trunk, parser: Parser, size: tuple[int, int]) -> None:
        super().__init__()
        self.trunk, self.parser, self.size = cast("nn.Module", trunk), parser, size
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Foreground:
        """Stay in evaluation mode, whatever the model around it does."""
        return super().train(False)

    def forward(self, images: Tensor, regions: Tensor | None = None) -> Tensor:
        """Fade the background.

        Args:
            images: Normalised images (B, 3, H, W), whose mean colour is zero.
            regions: Part labels (B, H, W) where they are known, as in training; then the parser has nothing to do.

        Returns:
            The images, each pixel times the probability that it shows the person.
        """
        if regions is None:
            return images * (1 - _resized(self._background(images), images.shape[-2:]))
        return images * (regions != BACKGROUND)[:, None]

    def _background(self, images: Tensor) -> Tensor:
        maps = cast("Maps", self.trunk(_resized(images, self.size)))
        self.parser.embed(maps)
        return maps["parsing"].float().softmax(dim=1)[:, BACKGROUND, None]


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear")
