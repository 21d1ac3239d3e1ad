"""Grad-CAM without a backward pass through the network: which positions of a map raise a score.

Grad-CAM weighs each channel with the mean over space of the score's gradient, sums the weighted channels and
keeps what is positive. Where a score sees the map through global pooling only, that mean is already known from
the gradient of the pooled vector: average pooling gives each of the n positions 1/n of it, max pooling gives all
of it to one position, and the sum over the positions is the same. So the chain of layers below the map need not
be touched, neither by a second backward pass nor by hooks (docs/pmm.md#the-figure-in-words).

Averaging the gradient over space also forgets where it was. `hires_cam` keeps it in place; for average pooling the
two are the same, but for the values below zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semreid.errors import SemreidError


def grad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Compute Grad-CAMs (Selvaraju et al., 2017) from the gradient of a score per channel.

    Args:
        maps: Feature maps, (B, C, h, w).
        gradient: Sum over positions of the gradient of the score with respect to ``maps``, (B, C). For global
            average and max pooling it is the gradient with respect to the pooled vectors; otherwise it is
            ``map_gradient.sum(dim=(2, 3))``.

    Returns:
        Maps, (B, h, w), float32, not negative. Zero everywhere if no position raises the score.

    Raises:
        SemreidError: If the shapes do not fit.

    Example:
        >>> maps = torch.tensor([[[[1.0, 0.0, 2.0]], [[0.0, 6.0, 3.0]]]])
        >>> pooled = maps.mean(dim=(2, 3)).requires_grad_()
        >>> (gradient,) = torch.autograd.grad(3 * pooled[:, 0].sum() - pooled[:, 1].sum(), pooled)
        >>> grad_cam(maps, gradient)
        tensor([[[1., 0., 1.]]])
    """
    _require(maps, gradient, maps.shape[:2])
    with torch.autocast(maps.device.type, enabled=False):  # positions are ranked by these values
        raised = torch.einsum("bchw,bc->bhw", maps.float(), gradient.float())
    return raised.relu() / (maps.shape[2] * maps.shape[3])


def hires_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Compute activation maps with the gradient kept at its position (HiResCAM, Draelos and Carin, 2020).

    Where a score is linear in the map, each value is exactly what its position adds to the score.

    Args:
        maps: Feature maps, (B, C, h, w).
        gradient: Gradient of the score with respect to ``maps``, (B, C, h, w).

    Returns:
        Maps, (B, h, w), float32; negative where a position lowers the score.

    Raises:
        SemreidError: If the shapes do not fit.

    Example:
        >>> maps = torch.tensor([[[[1.0, 0.0, -2.0]]]], requires_grad=True)
        >>> (gradient,) = torch.autograd.grad(3 * maps.sum(), maps)
        >>> hires_cam(maps.detach(), gradient)
        tensor([[[ 3.,  0., -6.]]])
    """
    _require(maps, gradient, maps.shape)
    return (maps.float() * gradient.float()).sum(dim=1)


def _require(maps: Tensor, gradient: Tensor, shape: torch.Size) -> None:
    if maps.ndim != 4 or gradient.shape != shape:
        raise SemreidError(
            f"maps (B, C, h, w) of shape {tuple(maps.shape)} came with a gradient of shape {tuple(gradient.shape)}",
            fix="grad_cam takes the gradient summed over positions, (B, C); hires_cam that of every position",
        )
