"""3x3 convolutions with fewer multiplications, for fp32 on CPUs whose runtime multiplies as often as there are weights.

Winograd's minimal filtering F(4x4, 3x3) computes a tile of 4x4 outputs from 6x6 inputs with 36 multiplications
instead of 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.3).
On maps as small as those of the last stages, entering and leaving the transformed domain, with borders and
overlaps, is one matrix product each, so all of it is made of ordinary products.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

_IN = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0]]
_IN += [[0, 4, 0, -5, 0, 1]]
_KERNEL = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]  # times 24
_OUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
WORTH_IT = 0.6
"""Largest share of the multiplications of the plain convolution at which the detour pays."""


class WinogradConv(nn.Module):
    """A 3x3 convolution of stride 1 and padding 1 on maps of a fixed size, computed by F(4x4, 3x3).

    Args:
        conv: The convolution.
        height: Height of its input, a multiple of 4.
        width: Width of its input, a multiple of 4.
    """

    enter: Tensor
    leave: Tensor
    spread: Tensor

    def __init__(self, conv: nn.Conv2d, height: int, width: int) -> None:
        super().__init__()
        self.conv, self.size, self.tiles = conv, (height, width), height * width // 16
        into = torch.einsum("hti,wuj->hwijtu", _enter(height), _enter(width))
        out = torch.einsum("ith,juw->ijtuhw", _leave(height), _leave(width))
        kernel = torch.tensor(_KERNEL) / 24
        self.register_buffer("enter", into.reshape(height * width, -1).T.contiguous())  # (36 tiles, h w)
        self.register_buffer("leave", out.reshape(-1, height * width))  # (36 tiles, h w)
        self.register_buffer("spread", torch.kron(kernel, kernel))  # (36, 9)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, D, h, w)."""
        batch, c_out, c_in = maps.shape[0], *self.conv.weight.shape[:2]
        kernels = (self.spread @ self.conv.weight.reshape(-1, 9).T).view(36, c_out, c_in).transpose(1, 2)
        tiles = (self.enter @ maps.flatten(2).transpose(1, 2)).view(batch, 36, self.tiles, c_in)
        products = tiles.transpose(0, 1).reshape(36, -1, c_in) @ kernels
        found = products.view(36, batch, self.tiles, c_out).transpose(0, 1).reshape(batch, -1, c_out)
        out = (found.transpose(1, 2) @ self.leave).view(batch, c_out, *self.size)
        return out if self.conv.bias is None else out + self.conv.bias[:, None, None]


def with_winograd(model: nn.Module, images: Tensor) -> nn.Module:
    """Copy a network, in evaluation mode, and replace the convolutions for which it pays.

    A trial run on images tells the sizes of the maps; the copy shares no parameters with the network.
    """
    model = copy.deepcopy(model)
    sizes: dict[str, set[tuple[int, int]]] = {}

    def watch(name: str, conv: nn.Conv2d) -> Any:  # noqa: ANN401 - torch names no type for its handles
        return conv.register_forward_pre_hook(lambda _, args: sizes.setdefault(name, set()).add(args[0].shape[2:]))

    convs = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    handles = [watch(name, conv) for name, conv in convs.items()]
    with torch.inference_mode():
        model(images)
    for handle in handles:
        handle.remove()
    for name, seen in sizes.items():
        if len(seen) == 1 and pays(convs[name], *(size := next(iter(seen)))):
            model.set_submodule(name, WinogradConv(convs[name], *size))
    return model


def pays(conv: nn.Conv2d, height: int, width: int) -> bool:
    """Tell whether Winograd's way applies to a convolution of maps (height, width) and saves enough.

    Example:
        >>> pays(nn.Conv2d(512, 512, 3, padding=1), 16, 8), pays(nn.Conv2d(64, 64, 3, padding=1), 64, 32)
        (True, False)
    """
    shape = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode
    if shape != ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") or height % 4 or width % 4:
        return False
    plain = 9 * conv.in_channels * conv.out_channels  # multiplications per position
    detour = 36 / 16 * height * width * (conv.in_channels + conv.out_channels)
    return plain / 4 + detour <= WORTH_IT * plain


def _enter(length: int) -> Tensor:
    """Matrix (length, tiles, 6) from a padded line to its transformed, overlapping tiles."""
    matrix = torch.zeros(length + 2, length // 4, 6)
    for tile in range(length // 4):
        matrix[4 * tile : 4 * tile + 6, tile] = torch.tensor(_IN, dtype=torch.float).T
    return matrix[1:-1]


def _leave(length: int) -> Tensor:
    """Matrix (6, tiles, length) from transformed tiles back to a line."""
    matrix = torch.zeros(6, length // 4, length)
    for tile in range(length // 4):
        matrix[:, tile, 4 * tile : 4 * tile + 4] = torch.tensor(_OUT, dtype=torch.float).T
    return matrix
