"""Shows a model the person alone, so that no street behind anybody tells who it is."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from semreid.models.heads import REGIONS, Parser
from semreid.models.trunk import Maps, Trunk

BACKGROUND = REGIONS.index("background")
_EDGE = 8
"""How steeply a pixel turns from person to background: almost a step, as in the masks that a model learns with, but one
that the rounding of another runtime cannot throw over."""
_NORM = 6
"""Exponent of the mean that takes the colour of a background: its bright surfaces tell most of the light."""
_GREY = 0.01
"""Weight, as a share of the picture, of a grey surface that every background has: alone, it changes nothing."""


class Foreground(nn.Module):
    """Finds what a parser takes for background, which the model then fades to the mean colour.

    A finished parser (``recipes/tiny/parser.yaml``) is part of the model, and works at the size of its own input, so it
    costs a large model next to nothing. It stays as it is: in evaluation mode, and without gradients for its weights.

    Args:
        trunk: Trunk of the parser.
        parser: Its head.
        size: Its input height and width.
        white_balance: In use, the model first takes the background for grey, and undoes the cast that it shows: cameras
            differ in theirs, which say nothing of who is there. Not in training, where casts teach to see past what
            is left.
    """

    def __init__(self, trunk: Trunk, parser: Parser, size: tuple[int, int], white_balance: bool = False) -> None:
        super().__init__()
        self.white_balance = white_balance
        self.trunk, self.parser, self.size = cast("nn.Module", trunk), parser, size
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Foreground:
        """Stay in evaluation mode, whatever the model around it does."""
        return super().train(False)

    def forward(self, images: Tensor, regions: Tensor | None = None) -> Tensor:
        """Find the background.

        Args:
            images: Normalised images (B, 3, H, W).
            regions: Part labels (B, H, W) where they are known, as in training; then the parser has nothing to do.

        Returns:
            Share of background of each pixel, (B, 1, H, W): 0 or 1, but for those of which the parser is not sure.
        """
        if regions is None:
            return harden(_resized(self._background(images), images.shape[-2:]))
        return (regions == BACKGROUND)[:, None].to(images.dtype)

    def _background(self, images: Tensor) -> Tensor:
        maps = cast("Maps", self.trunk(_resized(images, self.size)))
        self.parser.embed(maps)
        return maps["parsing"].float().softmax(dim=1)[:, BACKGROUND, None]


def harden(probability: Tensor) -> Tensor:
    """Move probabilities, of any shape, towards 0 or 1, whichever is nearer: their odds to the power of 8.

    A model learns with exact masks. A background that a parser is half sure of, faded by half, is like nothing it saw.

    Example:
        >>> import torch
        >>> [round(float(share), 4) for share in harden(torch.tensor([0.0, 0.3, 0.5, 0.7, 1.0]))]
        [0.0, 0.0011, 0.5, 0.9989, 1.0]
    """
    yes, no = probability**_EDGE, (1 - probability) ** _EDGE
    return yes / (yes + no)


def white_balanced(images: Tensor, background: Tensor) -> Tensor:
    """Undo the cast of each image that its background shows, taken for grey (shades of grey, Minkowski norm 6).

    Args:
        images: RGB (B, 3, H, W) in [0, 1].
        background: Share of background (B, 1, H, W). Where there is none, an image stays as it is.

    Returns:
        The images, each channel times a gain, in [0, 1].

    Example:
        >>> import torch
        >>> bluish = torch.tensor([0.4, 0.4, 0.8]).view(1, 3, 1, 1).expand(1, 3, 8, 4)
        >>> balanced = white_balanced(bluish, torch.ones(1, 1, 8, 4))
        >>> [round(float(channel), 1) for channel in balanced[0, :, 0, 0]]
        [0.5, 0.5, 0.5]
    """
    weight = background.float().mean((2, 3), keepdim=True)
    bright = (images.float().pow(_NORM) * background.float()).mean((2, 3), keepdim=True)
    colour = ((bright + _GREY * 0.5**_NORM) / (weight + _GREY)).pow(1 / _NORM)
    return (images * (colour.mean(1, keepdim=True) / colour)).clamp(0, 1)


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear")
