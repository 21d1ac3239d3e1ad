"""Where in two crops their similarity comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semreid.data.images import resize
from semreid.explain.evidence import Evidence, Layer
from semreid.explain.pictures import Picture, heat_over
from semreid.functional.gradcam import hires_cam
from semreid.models.model import ReIDModel
from semreid.models.trunk import Maps

Heat = NDArray[np.float32]


class PairHeat(NamedTuple):
    """Where in the crops of pairs their similarity comes from.

    Attributes:
        query: Of the query for each pair, (K, h, w).
        match: Of the matches, (K, h, w).
    """

    query: Heat
    match: Heat


def pair_heat(model: ReIDModel, query: Picture, matches: Sequence[Picture]) -> PairHeat:
    """Compute how much the positions of two crops add to their cosine similarity.

    The similarity is taken apart on the trunk maps of each crop: gradient times map (`hires_cam`), with the lengths
    of the embeddings held fixed. Letting them vary asks what would *raise* the similarity, which says nothing where
    the two agree already; averaging the gradient over space, as plain Grad-CAM does, says little where the pooling is
    not an average. Gradients go through the heads only, never through the trunk. If the heads read several maps,
    the finest one sets the grid and the others are added.

    Args:
        model: The model.
        query: RGB crop, any size.
        matches: K RGB crops, any size.

    Returns:
        The heat; what takes away from the similarity counts as 0. For non-negative maps that heads only average,
        the sum is the similarity.

    Example:
        >>> from semreid.models.zoo import create_model
        >>> model = create_model("baseline", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
        >>> crops = np.random.default_rng(0).integers(0, 256, (3, 80, 40, 3), np.uint8)
        >>> pair_heat(model, crops[0], crops[1:]).match.shape
        (2, 4, 2)
    """
    batch = np.stack([resize(crop, model.size) for crop in (query, *matches)])
    training = model.training
    model.eval()
    with torch.no_grad():
        maps = model.maps(torch.from_numpy(batch).permute(0, 3, 1, 2).to(model.device))
    sides = [
        {name: m[:1].expand(len(matches), -1, -1, -1).requires_grad_() for name, m in maps.items()},
        {name: m[1:].requires_grad_() for name, m in maps.items()},
    ]
    left, right = (model.embed_maps(dict(side)) for side in sides)
    similarities = _toward(left, right) + _toward(right, left)
    inputs = [m for side in sides for m in side.values()]
    gradients = torch.autograd.grad(similarities.sum(), inputs, allow_unused=True)
    model.train(training)
    split = len(maps)
    heats = [_heat(side, g) for side, g in zip(sides, (gradients[:split], gradients[split:]), strict=True)]
    return PairHeat(*(heat.cpu().numpy() for heat in heats))


def heat_evidence(model: ReIDModel, query: Picture, matches: Sequence[Picture]) -> list[Evidence]:
    """Show the heat of each pair over its crops: a source.

    Args:
        model: The model.
        query: RGB crop.
        matches: K RGB crops.

    Returns:
        One layer for each pair.
    """
    heat = pair_heat(model, query, matches)
    seen = [(heat_over(query, q), heat_over(m, h)) for m, q, h in zip(matches, *heat, strict=True)]
    return [Evidence((Layer("what makes them similar", *pair),)) for pair in seen]


def _toward(embeddings: Tensor, others: Tensor) -> Tensor:
    """Cosine similarities (K,) that have a gradient for directions of ``embeddings`` only: no lengths, no others."""
    similarities: Tensor = (embeddings * F.normalize(others.detach())).sum(dim=1) / embeddings.detach().norm(dim=1)
    return similarities


def _heat(maps: Maps, gradients: Sequence[Tensor | None]) -> Tensor:
    """Add the heat (K, h, w) of those maps that the score depends on, spread over the finest grid."""
    cams = [hires_cam(m.detach(), g) for m, g in zip(maps.values(), gradients, strict=True) if g is not None]
    finest = max((cam.shape[1:] for cam in cams), key=lambda grid: grid.numel())
    spread = [F.interpolate(cam[:, None], finest, mode="bilinear") * cam[0].numel() / finest.numel() for cam in cams]
    return torch.cat(spread, 1).sum(1)
