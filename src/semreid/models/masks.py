"""Part masks of crops, as models that parse tell them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.functional.regions import likeliest_regions
from semreid.models.model import ReIDModel

Image = NDArray[np.uint8]


def part_masks(parsers: Sequence[ReIDModel], images: Sequence[Image]) -> tuple[list[Image], list[float]]:
    """Tell which body region every pixel of crops shows.

    Several parsers are averaged, and each with what it tells of the mirror image.

    Args:
        parsers: Models with a parsing head, one or more.
        images: RGB uint8 arrays (H, W, 3) of any size.

    Returns:
        Labels of each crop at its own size, (H, W) uint8, by `likeliest_regions`; and how sure the parsers are of each:
        the mean probability of the likeliest region.

    Raises:
        SemreidError: If a model does not parse, or an image is no RGB image.
    """
    votes = [parser.parse(images, flip=True).transpose(0, 2, 3, 1) for parser in parsers]
    parsed = [_mask([vote[i] for vote in votes], image) for i, image in enumerate(images)]
    return [mask for mask, _ in parsed], [confidence for _, confidence in parsed]


def _mask(votes: Sequence[NDArray[np.float32]], image: Image) -> tuple[Image, float]:
    size = image.shape[1::-1]
    probabilities = np.mean([cv2.resize(vote, size, interpolation=cv2.INTER_LINEAR) for vote in votes], axis=0)
    return likeliest_regions(probabilities), float(probabilities.max(axis=2).mean())
