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


@torch.inference_mode(False)  # callers may be in it
def pair_heat(model: ReIDModel, query: Picture, matches: Sequence[Picture]) -> PairHeat:
    """Compute how much the positions of two crops add to their cosine similarity.

    The similarity is taken apart on the trunk maps of each crop: gradient times map (`hires_cam`), with the lengths
    of the embeddings held fixed. Letting them vary asks what would *raise* the similarity, which says nothing where
    the two agree already; averaging the gradient over space, as plain Grad-CAM does, says little where the pooling is
    not an average. What belongs to no position, such as the shift of a neck, is spread evenly. Gradients go through
    the heads only, never through the trunk. If the heads read several maps, the finest one sets the grid and the
    others are added.

    Returns:
        The heat; over each crop it adds up to the similarity. Negative where a position takes away from it.

    Example:
        >>> from semreid.models.zoo import create_model
        >>> model = create_model("baseline", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
        >>> crops = np.random.default_rng(0).integers(0, 256, (3, 80, 40, 3), np.uint8)
        >>> pair_heat(model, crops[0], crops[1:]).match.shape
        (2, 4, 2)
    """
    batch = np.stack([resize(crop, model.size) for crop in (query, *matches)])
    with model.evaluating():
        with torch.no_grad():
            maps = model.maps(torch.from_numpy(batch).permute(0, 3, 1, 2).to(model.device))
            left = {name: m[:1].expand(len(matches), -1, -1, -1) for name, m in maps.items()}
            right = {name: m[1:] for name, m in maps.items()}
            queries, found = model.embed_maps(dict(left)), model.embed_maps(dict(right))
        return PairHeat(_taken_apart(model, left, found), _taken_apart(model, right, queries))


def heat_evidence(model: ReIDModel, query: Picture, matches: Sequence[Picture]) -> list[Evidence]:
    """Show the heat of each pair over its crops: a source.

    Returns:
        One layer for each pair.
    """
    heat = pair_heat(model, query, matches)
    seen = [(heat_over(query, q), heat_over(m, h)) for m, q, h in zip(matches, *heat, strict=True)]
    return [Evidence((Layer("what makes them similar", *pair),)) for pair in seen]


@torch.enable_grad()
def _taken_apart(model: ReIDModel, maps: Maps, others: Tensor) -> Heat:
    """What the positions of maps of K crops add to the similarity with ``others`` (K, D), (K, h, w)."""
    leaves = {name: m.detach().requires_grad_() for name, m in maps.items()}
    embeddings = model.embed_maps(dict(leaves))
    similarity = (embeddings * F.normalize(others)).sum(dim=1) / embeddings.detach().norm(dim=1)
    gradients = torch.autograd.grad(similarity.sum(), list(leaves.values()), allow_unused=True)
    cams = [hires_cam(m.detach(), g) for m, g in zip(leaves.values(), gradients, strict=True) if g is not None]
    heat = _on_finest_grid(cams)
    rest = similarity.detach() - heat.sum(dim=(1, 2))
    complete: Heat = (heat + (rest / heat[0].numel())[:, None, None]).cpu().numpy()
    return complete


def _on_finest_grid(cams: Sequence[Tensor]) -> Tensor:
    """Add maps (K, h, w) of different grids, each spread over the finest one without changing its sum."""
    finest = max((cam.shape[1:] for cam in cams), key=lambda grid: grid.numel())
    spread = [F.interpolate(cam[:, None], finest, mode="bilinear") * cam[0].numel() / finest.numel() for cam in cams]
    return torch.cat(spread, 1).sum(1)
