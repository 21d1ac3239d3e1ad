"""From feature maps to vectors: over the whole image, or over each body region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from semreid.errors import SemreidError


def avg_pool(maps: Tensor) -> Tensor:
    """Average every channel over the image.

    Args:
        maps: Feature maps, (B, C, h, w).

    Returns:
        Vectors, (B, C); those of maps in half precision in float32, in which they are added up.

    Raises:
        SemreidError: If ``maps`` does not have four dimensions.

    Example:
        >>> avg_pool(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[2.]])
    """
    _positions(maps)
    return maps.mean(dim=(2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))


def max_pool(maps: Tensor) -> Tensor:
    """Take the largest value of every channel; the gradient goes to one position.

    Args:
        maps: Feature maps, (B, C, h, w).

    Returns:
        Vectors, (B, C).

    Raises:
        SemreidError: If ``maps`` does not have four dimensions.

    Example:
        >>> max_pool(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[3.]])
    """
    _positions(maps)
    return maps.permute(0, 2, 3, 1).flatten(1, 2).max(dim=1).values  # in the order of memory where channels are last


_FLOOR = 1e-6  # keeps a power and its gradient finite


def gem_pool(maps: Tensor, p: Tensor | float = 3.0) -> Tensor:
    """Generalised mean: ``p = 1`` is the average, a large ``p`` comes near the maximum.

    Computed in float32 also under autocast, because powers overflow in half precision, and of values divided by the
    largest one, because they vanish in float32, too: a channel of zeros would have no gradient from p = 7.5 on.

    Args:
        maps: Feature maps, (B, C, h, w); values below 1e-6 count as that.
        p: The exponent, a number or a learned scalar or (C,) tensor; must be positive, which of a tensor
            is not checked: that would wait for the device.

    Returns:
        Vectors, (B, C), float32.

    Raises:
        SemreidError: If ``maps`` does not have four dimensions, or the number ``p`` is not positive.

    Example:
        >>> gem_pool(torch.tensor([[[[1.0, 7.0]]]]), p=2.0)
        tensor([[5.]])
    """
    if not isinstance(p, Tensor) and not p > 0:
        raise SemreidError(f"no generalised mean has the exponent {p}", fix="give a positive one; 1 is the average")
    exponent = p[..., None] if isinstance(p, Tensor) and p.ndim else p
    values = _positions(maps).float().clamp(min=_FLOOR)
    largest = values.detach().amax(dim=2, keepdim=True)
    return largest[..., 0] * (values / largest).pow(exponent).mean(dim=2).pow(1.0 / p)


def region_pool(maps: Tensor, labels: Tensor, num_regions: int) -> Tensor:
    """Take the maximum of every channel over each region of a label map, all regions in one pass.

    A region that covers no position gives zeros and passes no gradient. Otherwise the value is the true
    maximum inside the region, whatever the sign. For features that are not negative, the usual case
    after a ReLU, the maximum therefore equals that of the map multiplied by the region's binary mask.

    Args:
        maps: Feature maps, (B, C, h, w).
        labels: Region index of every position, (B, h, w), integer; what is not in ``[0, num_regions)`` is in no region.
        num_regions: Number of regions R.

    Returns:
        Region vectors, (B, R, C).

    Raises:
        SemreidError: If ``labels`` does not lie on the grid of ``maps``.

    Example:
        >>> maps, labels = torch.tensor([[[[1.0, 3.0, 5.0]]]]), torch.tensor([[[0, 0, 2]]])
        >>> region_pool(maps, labels, num_regions=3)[0, :, 0]
        tensor([3., 0., 5.])
    """
    _positions(maps)
    _require_grid(labels, expected=(maps.shape[0], *maps.shape[2:]))
    rows = maps.permute(0, 2, 3, 1)  # no copy where the channels are last in memory
    batch, channels = maps.shape[:2]
    first, nowhere = torch.arange(batch, device=labels.device)[:, None, None] * num_regions, batch * num_regions
    inside = (labels >= 0) & (labels < num_regions)
    segments = torch.where(inside, labels + first, nowhere).flatten()
    top: Tensor = _SegmentMax.apply(  # type: ignore[no-untyped-call]
        rows.reshape(-1, channels), segments, nowhere + 1
    )
    return top[:nowhere].view(batch, num_regions, channels)


class _SegmentMax(torch.autograd.Function):
    """Maximum over the rows (N, C) of each segment, zeros for an empty one; equal maxima share the gradient.

    PyTorch's own backward walks the scattered index element by element; this one moves whole rows.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, segments: Tensor, num_segments: int) -> Tensor:
        index = segments[:, None].expand(rows.shape)
        empty = rows.new_zeros(num_segments, rows.shape[1])
        top = empty.scatter_reduce(0, index, rows, reduce="amax", include_self=False)
        ctx.save_for_backward(rows, segments, top)
        return top

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, segments, top = ctx.saved_tensors  # type: ignore[attr-defined]
        winners = (rows == top[segments]).to(gradient.dtype)
        ties = torch.zeros_like(gradient).index_add_(0, segments, winners)
        return winners.mul_((gradient / ties.clamp_(min=1))[segments]), None, None


def resize_labels(labels: Tensor, size: Sequence[int], mode: Literal["nearest", "bilinear"] = "nearest") -> Tensor:
    """Bring a label map to another grid.

    ``nearest`` takes position ``k * H // h``: where the receptive field of a strided convolution's output k is
    centred. ``bilinear`` interpolates the indices and rounds them, which makes labels up along every border (half
    of foot and background is lower arm); it is what the released MagnifierNet does.

    Args:
        labels: Region indices, (B, H, W), integer.
        size: Height and width of the grid.
        mode: ``nearest`` or ``bilinear``.

    Returns:
        Region indices, (B, h, w), of the same type.

    Raises:
        SemreidError: If ``labels`` is not an integer tensor of three dimensions.

    Example:
        >>> labels = torch.tensor([[[0, 0, 7, 7, 7, 7, 0, 0]]])
        >>> resize_labels(labels, (1, 2)).tolist(), resize_labels(labels, (1, 2), "bilinear").tolist()
        ([[[0, 7]]], [[[4, 4]]])
    """
    _require_grid(labels)
    if mode == "bilinear":
        blurred = F.interpolate(labels[:, None].float(), tuple(size), mode="bilinear", align_corners=False)
        return blurred[:, 0].round().to(labels.dtype)
    rows, cols = (
        torch.arange(n, device=labels.device) * full // n for n, full in zip(size, labels.shape[1:], strict=True)
    )
    return labels[:, rows[:, None], cols]


def region_share(labels: Tensor, num_regions: int) -> Tensor:
    """Share of the image that each region covers; a region is visible where it is above zero.

    Args:
        labels: Region index of every position, (B, h, w), integer.
        num_regions: Number of regions R.

    Returns:
        Shares, (B, R), float32; rows sum to 1 where every label lies in ``[0, R)``.

    Raises:
        SemreidError: If ``labels`` is not an integer tensor of three dimensions.

    Example:
        >>> region_share(torch.tensor([[[0, 0, 0, 2]]]), num_regions=3)
        tensor([[0.7500, 0.0000, 0.2500]])
    """
    _require_grid(labels)
    return _one_hot(labels, num_regions).float().mean(dim=(1, 2))


def _one_hot(labels: Tensor, num_regions: int) -> Tensor:
    """(B, h, w, R) bool; unlike ``F.one_hot`` it needs no look at the values, hence no wait for the GPU."""
    return labels[..., None] == torch.arange(num_regions, device=labels.device)


def _positions(maps: Tensor) -> Tensor:
    if maps.ndim != 4:
        raise SemreidError(f"expected maps of shape (B, C, h, w); got {tuple(maps.shape)}")
    return maps.flatten(2)


def _require_grid(labels: Tensor, expected: tuple[int, ...] | None = None) -> None:
    if labels.is_floating_point() or labels.ndim != 3 or (expected and labels.shape != expected):
        raise SemreidError(
            f"expected integer labels of shape {expected or '(B, h, w)'}; "
            f"got {labels.dtype} of shape {tuple(labels.shape)}",
            fix="resize the label map to the feature map (nearest neighbour) first",
        )
