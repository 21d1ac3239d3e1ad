"""Losses of SAN: of the texture that a decoder paints, and of the maps it paints it from.

Maps of an aligned decoder show the same body point at the same place for everybody, so they can be compared place by
place. Like all losses, these are computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semreid.errors import SemreidError
from semreid.host import from_host


class Triplets(NamedTuple):
    """Rows of a batch to be compared.

    Attributes:
        anchor: Rows, (T,).
        positive: Rows of the same person, (T,).
        negative: Rows of another person, (T,).
        counts: Which of the triplets there are, (T,) bool: their number follows from the labels, and to learn it, one
            would have to wait for the device.

    Several sets of them stack: (S, T) each.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    counts: Tensor


def random_triplets(pids: Tensor) -> Triplets:
    """Choose, for every image, another one of the same person and one of somebody else, both at random.

    An only image of a person is its own positive; where there is nobody else, there is no triplet. Draws from
    PyTorch's own generator, which the training loop sets alike on all processes.

    Args:
        pids: Person ids, (B,).

    Returns:
        A triplet for every image.

    Raises:
        SemreidError: If there is no image.

    Example:
        >>> _, positive, negative, _ = random_triplets(torch.tensor([4, 4, 7, 7]))
        >>> positive.tolist(), (negative // 2).tolist()
        ([1, 0, 3, 2], [1, 1, 0, 0])
    """
    _require_people(pids)
    other = pids[:, None] != pids
    lot = from_host(lambda: torch.rand(other.shape).fill_diagonal_(-1), pids.device)  # itself: its person's last image
    positive = lot.masked_fill(other, -2).argmax(dim=1)
    negative = lot.where(other, -2).argmax(dim=1)
    return Triplets(torch.arange(len(pids), device=pids.device), positive, negative, other.any(dim=1))


def next_person_triplets(pids: Tensor, block: int) -> Triplets:
    """Choose as the released code of SAN does: a triplet for every person but the last, with the next in the batch.

    With images numbered from 0 within each person, the first block compares images 0 and 1 with image 0 of the next
    person, the second 1 and 2 with 1, the third 2 and 3 with 2, the fourth 3 and 0 with 0. Numbers beyond the last
    image begin anew.

    Args:
        pids: Person ids, images of a person behind one another, (B,).
        block: Number of the decoder block, from 0.

    Returns:
        A triplet for every image, of which those of first images of a person count.

    Raises:
        SemreidError: If there is no image.

    Example:
        >>> *rows, counts = next_person_triplets(torch.arange(3).repeat_interleave(4), block=1)
        >>> [row[counts].tolist() for row in rows]
        [[1, 5], [2, 6], [5, 9]]
    """
    _require_people(pids)
    place, size = torch.arange(len(pids), device=pids.device), len(pids)
    begins = F.pad(pids[1:] != pids[:-1], (1, 0), value=True)
    starts = torch.where(begins, place, size)
    following = F.pad(starts.flip(0).cummin(0).values.flip(0)[1:], (0, 1), value=size)  # where the next person begins
    after = following.clamp(max=size - 1)

    def image(number: int, first: Tensor) -> Tensor:
        """Of the person whose first image that is."""
        rows: Tensor = first + number % (following[first] - first)
        return rows

    rows = image(block, place), image(block + 1, place), image(block % 3, after)
    return Triplets(*rows, begins & (following < size))


def _require_people(pids: Tensor) -> None:
    if pids.ndim != 1 or not len(pids):
        raise SemreidError(f"expected pids (B,) of one image or more; got shape {tuple(pids.shape)}")


def aligned_triplet(
    maps: Sequence[Tensor], triplets: Triplets, margin: float = 0.3, *, channel_mean: bool = False
) -> Tensor:
    """Triplet loss on maps that are compared place by place.

    The distance is the squared difference, summed over channels and averaged over places.

    Args:
        maps: Maps of the same images by several layers, (B, C, h, w) each.
        triplets: Rows to compare, the same for all layers, or a set for each.
        margin: Hinge margin.
        channel_mean: Average over channels, too (the released code of SAN), instead of summing.

    Returns:
        The loss of each triplet by each layer, (S, T), float32; 0 of those that do not count.

    Raises:
        SemreidError: If a map does not have four dimensions, or there is none.

    Example:
        >>> maps = torch.tensor([0.0, 0.1, 0.5]).view(3, 1, 1, 1).expand(3, 2, 4, 4)
        >>> aligned_triplet([maps], random_triplets(torch.tensor([1, 1, 2])))[0, 0]  # 2 · 0.1² - 2 · 0.5² + 0.3 < 0
        tensor(0.)
    """
    if not maps or any(each.ndim != 4 for each in maps):
        raise SemreidError(f"expected maps (B, C, h, w); got shapes {[tuple(each.shape) for each in maps]}")
    products = torch.stack([_products(each, channel_mean) for each in maps])
    lengths = products.diagonal(dim1=1, dim2=2)
    distances = lengths[:, :, None] + lengths[:, None] - 2 * products
    anchor, positive, negative, counts = triplets
    first = anchor * distances.shape[1]
    pairs = torch.cat((first + positive, first + negative), -1).expand(len(distances), -1)
    near, far = distances.flatten(1).gather(1, pairs).chunk(2, 1)
    return F.relu(near - far + margin) * counts


def _products(maps: Tensor, channel_mean: bool) -> Tensor:
    """Products of all pairs of maps, averaged, (B, B): by matrices, so that no map is copied for a triplet."""
    with torch.autocast(maps.device.type, enabled=False):
        flat = maps.float().permute(0, 2, 3, 1).flatten(1)  # in the order of memory where the channels are last
        flat = flat - flat.mean(dim=0)  # what all have in common would cost digits
        return flat @ flat.T / (flat.shape[1] if channel_mean else maps.shape[2:].numel())


def texture_l1(predicted: Tensor, textures: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean absolute difference of textures.

    Args:
        predicted: Textures, (B, 3, H, W).
        textures: What they should be, (B, 3, H, W).
        valid: Texels that count, (H, W) bool; all if None.

    Returns:
        The mean over images, channels and texels, a float32 scalar.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> texture_l1(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5))
        tensor(0.5000)
    """
    fits = predicted.shape == textures.shape and (valid is None or valid.shape == predicted.shape[2:])
    if predicted.ndim != 4 or not fits:
        shapes = [tuple(t.shape) for t in (predicted, textures, valid) if t is not None]
        raise SemreidError(f"expected two stacks of textures (B, 3, H, W), valid (H, W); got shapes {shapes}")
    if valid is None:
        return F.l1_loss(predicted.float(), textures.float())
    difference = (predicted.float() - textures.float()).abs().mean(dim=(0, 1))
    return (difference * valid).sum() / valid.sum()
