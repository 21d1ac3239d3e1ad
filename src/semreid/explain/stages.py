"""What the stages of PMM look at, and what is taken from each because the one before relied on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from semreid.data.images import resize
from semreid.errors import SemreidError
from semreid.explain.pictures import Picture, heat_over
from semreid.models.heads import Multistage
from semreid.models.model import ReIDModel
from semreid.plots import drawn

SIZE, BESIDE, EDGE = (256, 128), 2, (209, 73, 91)
PANEL, MARGIN = (0.95, 1.9), 0.1  # inches


class StageView(NamedTuple):
    """What one stage does with crops.

    Attributes:
        heat: Grad-CAM of the likeliest training identity, (N, h, w).
        replaced: Positions that were replaced before it looked, (N, h, w) bool; none in the first stage.
        negatives: Crop that they were taken from, (N,); the crop itself where they were made zero.
    """

    heat: NDArray[np.float32]
    replaced: NDArray[np.bool_]
    negatives: NDArray[np.int64]


def stage_views(model: ReIDModel, crops: Sequence[Picture]) -> list[StageView]:
    """Go through the stages of a model as its training does: each on what the one before leaves to it.

    Args:
        model: A model with a multi-stage head, such as ``pmm``.
        crops: N RGB crops of as many people, any size.

    Returns:
        One view for each stage.

    Raises:
        SemreidError: If the model has no stages, or there are fewer than two crops.
    """
    head = next((head for head in model.heads.values() if isinstance(head, Multistage)), None)
    if head is None:
        raise SemreidError("this model has no stages to look at", fix="use pmm, bdb or another one with such a head")
    if len(crops) < 2:
        raise SemreidError("one crop leaves nobody to take blocks from", fix="give crops of several people")
    batch = torch.from_numpy(np.stack([resize(crop, model.size) for crop in crops])).permute(0, 3, 1, 2)
    with torch.inference_mode(False), model.evaluating(), torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)  # the same crops, the same picture
        maps = model.maps(batch.to(model.device))
        passes = list(head.passes(maps, torch.arange(len(crops), device=model.device)))
    nothing, own = torch.zeros_like(passes[0].cam(), dtype=torch.bool), torch.arange(len(crops))
    return [
        StageView(
            seen.cam().cpu().numpy(),
            (nothing if seen.view.replaced is None else seen.view.replaced).cpu().numpy(),
            (own if seen.view.negatives is None else seen.view.negatives).cpu().numpy(),
        )
        for seen in passes
    ]


def save_stages(model: ReIDModel, crops: Sequence[Picture], target: Path) -> None:
    """Draw what each stage looks at, and what is replaced before the next one looks, into a PNG file.

    Raises:
        SemreidError: If matplotlib is missing, the model has no stages, or the file cannot be written.
    """
    views, crops = stage_views(model, crops), [resize(crop, SIZE) for crop in crops]
    titles = ["crop", "stage I", *(text for n in range(2, len(views) + 1) for text in ("mixed", f"stage {'I' * n}"))]
    rows, width = -(-len(crops) // BESIDE), len(titles) + 0.4
    wide, high = (BESIDE * width - 0.4) * PANEL[0] + MARGIN, rows * PANEL[1] + 0.4
    with drawn(target, wide, high, dpi=150) as figure:
        for index in range(len(crops)):
            left, bottom = index % BESIDE * width, rows - 1 - index // BESIDE
            for column, picture in enumerate(_panels(views, crops, index)):
                x, y = MARGIN + (left + column) * PANEL[0], MARGIN + bottom * PANEL[1]
                axes = figure.add_axes((x / wide, y / high, 0.94 * PANEL[0] / wide, 0.97 * PANEL[1] / high))
                axes.imshow(picture)
                axes.set_axis_off()
                if index < BESIDE:
                    axes.set_title(titles[column], fontsize=9, pad=5, fontweight="normal", loc="center")


def _panels(views: Sequence[StageView], crops: Sequence[Picture], index: int) -> list[Picture]:
    """The crop, then what each stage is given (but for the first) and where it looks."""
    panels = [crops[index]]
    for stage, view in enumerate(views):
        given = pasted(crops[index], crops[view.negatives[index]], view.replaced[index])
        panels += [given] * (stage > 0) + [heat_over(given, view.heat[index])]
    return panels


def pasted(picture: Picture, donor: Picture, replaced: NDArray[np.bool_]) -> Picture:
    """Replace blocks of a picture by those of another, or by black if it is the same, and draw their edges.

    Args:
        picture: RGB (H, W, 3).
        donor: RGB (H, W, 3).
        replaced: Positions on any grid over the whole picture, (h, w).

    Returns:
        RGB (H, W, 3).
    """
    height, width = picture.shape[:2]
    mask = cv2.resize(replaced.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    other = np.zeros_like(picture) if donor is picture else donor
    mixed = np.where(mask[..., None] > 0, other, picture)
    edges = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]
    return cv2.drawContours(mixed, edges, -1, EDGE, 2).astype(np.uint8, copy=False)
