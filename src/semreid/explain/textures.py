"""What a model believes that a person looks like from all sides: its texture, worn by a body that can be turned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semreid.atlas import SIZE, fill_gutters
from semreid.data.images import read_image, resize
from semreid.errors import SemreidError
from semreid.explain.pictures import Picture
from semreid.models.model import ReIDModel
from semreid.people.body import Body, build_body
from semreid.people.camera import linear
from semreid.people.poses import Figure, Pose, take_pose
from semreid.people.render import Light, View, bounding_box, project, render
from semreid.people.shape import Shape, Silhouette
from semreid.people.skeleton import BONE, BONES
from semreid.plots import drawn

SIDES = {"front": 0.0, "right": 90.0, "back": 180.0, "left": 270.0}
LIGHT = Light((0.3, 0.5, 0.8), (0.45, 0.45, 0.44), (0.72, 0.72, 0.74))
HEIGHT, WIDTH, GAP, DPI = 256, 128, 12, 150
GAMMA = 2.2


@cache
def _mannequin() -> tuple[Body, Figure]:
    """An average body in tight clothes, arms a little away from it."""
    body = build_body(Shape(), Silhouette())
    angles = np.zeros((len(BONES), 3), np.float32)
    for side in ("left", "right"):
        angles[BONE[f"{side}_upper_arm"]] = 0.0, 0.28, 0.0
        angles[BONE[f"{side}_lower_arm"]] = 0.18, 0.0, 0.0
        angles[BONE[f"{side}_thigh"]] = 0.0, 0.06, 0.1
    return body, take_pose(body, Pose(angles))


def wear(texture: NDArray[np.uint8], yaw: float) -> Picture:
    """Draw a body that wears a texture.

    Args:
        texture: RGB over the atlas, (256, 256, 3).
        yaw: Degrees by which the body is turned: 0 faces the viewer, 90 shows its right side.

    Returns:
        RGB on white, (256, 128, 3).

    Raises:
        SemreidError: If the texture has another shape.

    Example:
        >>> picture = wear(np.full((256, 256, 3), (200, 30, 30), np.uint8), yaw=180)
        >>> picture.shape, picture[0, 0].tolist(), bool((picture[128, 64, 0] > picture[128, 64, 1] + 60).all())
        ((256, 128, 3), [255, 255, 255], True)
    """
    if texture.shape != (SIZE, SIZE, 3):
        raise SemreidError(
            f"a texture has shape {texture.shape}, not {(SIZE, SIZE, 3)}", fix="give RGB uint8 over the whole atlas"
        )
    body, figure = _mannequin()
    seen = project(figure, View(yaw=yaw, elevation=6.0))
    _, top, _, bottom = bounding_box(seen)
    half, middle = 0.53 * (bottom - top), (top + bottom) / 2
    box = (-half * WIDTH / HEIGHT, middle - half, half * WIDTH / HEIGHT, middle + half)
    albedo = linear(fill_gutters(texture))
    shown = render(seen, body.faces, albedo, box, (HEIGHT, WIDTH), light=LIGHT, ambient_share=body.shade, supersample=3)
    light = shown.colour + 1 - shown.alpha[..., None]
    return np.rint(255 * light.clip(0, 1) ** (1 / GAMMA)).astype(np.uint8)


def texture_row(crop: Picture, texture: NDArray[np.uint8]) -> Picture:
    """Lay out a crop, its texture, and the body that wears it from all `SIDES`.

    Args:
        crop: RGB, any size.
        texture: RGB over the atlas, (256, 256, 3).

    Returns:
        RGB of 256 rows.
    """
    panels = [resize(crop, (HEIGHT, WIDTH)), texture, *(wear(texture, yaw) for yaw in SIDES.values())]
    white = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, white)][:-1])


def save_textures(model: ReIDModel, images: Sequence[Path], target: Path) -> None:
    """Draw crops with their textures, and bodies that wear them, into a PNG file.

    Raises:
        SemreidError: If matplotlib is missing, an image cannot be read, the model paints no textures, or the file
            cannot be written.
    """
    crops = [read_image(path) for path in images]
    textures = np.rint(255 * model.texture(crops, flip=True).transpose(0, 2, 3, 1)).astype(np.uint8)
    rows = [texture_row(crop, texture) for crop, texture in zip(crops, textures, strict=True)]
    picture = np.vstack([part for row in rows for part in (row, np.full((GAP, row.shape[1], 3), 255, np.uint8))])
    height, width = picture.shape[0] / DPI, picture.shape[1] / DPI
    with drawn(target, width + 0.1, height + 0.25, dpi=DPI) as figure:
        axes = figure.add_axes((0.05 / (width + 0.1), 0.0, width / (width + 0.1), height / (height + 0.25)))
        axes.imshow(picture, aspect="auto")
        axes.set_axis_off()
        for column, title in enumerate(("crop", "texture", *SIDES)):
            centre = WIDTH / 2 + column * (WIDTH + GAP) + (column > 1) * WIDTH + (column == 1) * WIDTH / 2
            axes.text(centre, -8, title, ha="center", fontsize=9)
