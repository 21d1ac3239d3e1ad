"""Body parts as evidence: where a model sees them, and how alike each is in the two crops."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.atlas import PART_COLOURS
from semreid.explain.evidence import Evidence, Layer, Part
from semreid.explain.pictures import Picture, fitted, tinted
from semreid.models.model import ReIDModel
from semreid.models.parts import Parts

COLORS = tuple(f"#{bytes(colour).hex()}" for colour in PART_COLOURS)
"""Of the labels 0 (background) to 7 (foot)."""
OPACITY = 0.6


def part_evidence(model: ReIDModel, query: Picture, matches: Sequence[Picture]) -> list[Evidence]:
    """Show the body regions of pairs: a source.

    Args:
        model: The model; without regions, there is nothing to show.
        query: RGB crop.
        matches: K RGB crops.

    Returns:
        A layer, and the similarity of every region, for each pair.
    """
    if not knows_regions(model):
        return [Evidence() for _ in matches]
    crops = (query, *matches)
    parts = model.embed(crops, parts=True)
    seen = [regions_over(crop, labels) for crop, labels in zip(crops, parts.labels, strict=True)]
    return [Evidence((Layer("body parts", seen[0], seen[k]),), _compared(parts, k)) for k in range(1, len(crops))]


def knows_regions(model: ReIDModel) -> bool:
    """Tell whether a model has vectors of body regions.

    Returns:
        Whether ``model.embed(..., parts=True)`` works.
    """
    maps = model.info()["maps"]
    return isinstance(maps, dict) and "region_vectors" in maps


def regions_over(picture: Picture, labels: NDArray[np.uint8]) -> Picture:
    """Lay the colours of body regions over a picture that loses most of its own.

    Args:
        picture: RGB (H, W, 3).
        labels: Region on any grid over the whole picture, (h, w), from 0 (background, left clear).

    Returns:
        RGB, as `fitted`.
    """
    base = fitted(picture)
    each = (labels[..., None] == np.arange(len(PART_COLOURS))).astype(np.float32)
    spread = cv2.resize(each, base.shape[1::-1], interpolation=cv2.INTER_CUBIC).argmax(axis=2)
    return tinted(base, PART_COLOURS[spread], (OPACITY * (spread > 0)).astype(np.float32))


def _compared(parts: Parts, match: int) -> tuple[Part, ...]:
    """Compare the regions of a match with those of row 0."""
    similarity = (parts.regions[0] * parts.regions[match]).sum(axis=1)
    areas = parts.visibility[[0, match]]
    colors = COLORS[-len(parts.names) :]
    return tuple(
        Part(name, float(similarity[r]) if areas[:, r].all() else None, (float(areas[0, r]), float(areas[1, r])), color)
        for r, (name, color) in enumerate(zip(parts.names, colors, strict=True))
    )
