"""The body atlas: which body point each texel of a 256 × 256 texture shows, the same for every body.

The surface is cut into charts. Each is a tube around a body axis, unrolled into a rectangle: columns run around
the axis (angle), rows run along it (t from 0 to 1). Charts of head, torso and bags stand in the middle, front
centre on u = 0.5 and seam at the back; those of the left limbs stand right of it, those of the right limbs are
their mirror images. So the texture of the mirrored person is the mirrored texture (docs/san.md#textures).

Angles are in radians: 0 looks forward, π backward. On middle charts +π/2 is the person's left; on limbs +π/2 is
lateral (away from the body), -π/2 medial, where the seam is. On feet 0 is the top, π the sole.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from math import pi
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SIZE = 256
"""Height and width of a texture in texels."""
VERSION = 1
"""Version of the atlas; textures of another version do not fit."""

# Where along their charts the body's landmarks are (t).
CHIN = 0.70
ELBOW = 0.53
KNEE = 0.51
ANKLE_OF_FOOT = 0.35


class Part(IntEnum):
    """Part labels of masks (docs/data.md#part-masks-and-textures)."""

    BACKGROUND = 0
    HEAD = 1
    TORSO = 2
    UPPER_ARM = 3
    LOWER_ARM = 4
    UPPER_LEG = 5
    LOWER_LEG = 6
    FOOT = 7


PART_COLOURS = np.array(
    [(139, 149, 155), (232, 176, 74), (194, 80, 79), (91, 141, 214), (69, 176, 165), (125, 98, 181), (121, 166, 72),
     (168, 113, 63)], np.uint8)  # fmt: skip
"""RGB by which people tell them apart in pictures, (8, 3)."""


@dataclass(frozen=True)
class Chart:
    """A rectangle of the atlas.

    Attributes:
        left: First column.
        top: First row.
        width: Number of columns.
        height: Number of rows.
        parts: Part labels along t: (label, t at which it ends), in order.
        side: 0 in the middle, +1 for the person's left limbs, -1 for the right.
    """

    left: int
    top: int
    width: int
    height: int
    parts: tuple[tuple[Part, float], ...]
    side: int = 0

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the chart in a texture."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def angle(self) -> Array:
        """Angle at the centre of each column, (width,)."""
        around = (np.arange(self.width, dtype=np.float32) + 0.5) / self.width
        return angle_around(around, self.side)

    @property
    def t(self) -> Array:
        """Position along the axis at the centre of each row, (height,)."""
        return (np.arange(self.height, dtype=np.float32) + 0.5) / self.height

    def uv(self, around: Array, t: Array) -> Array:
        """Place points of the tube in the atlas.

        Args:
            around: Share of the turn from the seam, in the direction of growing u, any shape.
            t: Position along the axis, same shape.

        Returns:
            u and v in [0, 1], (..., 2).
        """
        return np.stack((self.left + around * self.width, self.top + t * self.height), -1).astype(np.float32) / SIZE


def angle_around(around: Array, side: int) -> Array:
    """Return the angle at a share of the turn from the seam, in the direction of growing u, float32."""
    if side == 0:
        return ((around - 0.5) * 2 * pi).astype(np.float32)
    from_seam = around if side > 0 else 1 - around
    return (from_seam * 2 * pi - pi / 2).astype(np.float32)


def _pair(name: str, left: int, top: int, width: int, height: int, *parts: tuple[Part, float]) -> dict[str, Chart]:
    mirrored = SIZE - left - width
    return {
        f"left_{name}": Chart(left, top, width, height, parts, side=1),
        f"right_{name}": Chart(mirrored, top, width, height, parts, side=-1),
    }


CHARTS: dict[str, Chart] = {
    "head": Chart(76, 4, 104, 58, ((Part.HEAD, 1.0),)),
    "torso": Chart(76, 70, 104, 104, ((Part.TORSO, 1.0),)),
    "backpack": Chart(76, 182, 104, 36, ((Part.TORSO, 1.0),)),
    "bag": Chart(76, 226, 104, 26, ((Part.LOWER_ARM, 1.0),)),
    **_pair("arm", 188, 4, 64, 82, (Part.UPPER_ARM, ELBOW), (Part.LOWER_ARM, 1.0)),
    **_pair("leg", 188, 94, 64, 116, (Part.UPPER_LEG, KNEE), (Part.LOWER_LEG, 1.0)),
    **_pair("hand", 188, 218, 28, 34, (Part.LOWER_ARM, 1.0)),
    **_pair("foot", 224, 218, 28, 34, (Part.FOOT, 1.0)),
}
"""All charts by name. Gaps between them are at least 8 texels wide, so each has a gutter of 4."""


def part_map() -> NDArray[np.uint8]:
    """Return the part label of every texel, (256, 256); gutters carry the label of the nearest chart."""
    return _part_map().copy()


@cache
def _part_map() -> NDArray[np.uint8]:
    labels = np.zeros((SIZE, SIZE), np.uint8)
    for chart in CHARTS.values():
        ends = [end for _, end in chart.parts]
        along = np.array([int(part) for part, _ in chart.parts], np.uint8)[np.searchsorted(ends, chart.t)]
        labels[chart.window] = along[:, None]
    return fill_gutters(labels)


def valid_texels() -> NDArray[np.bool_]:
    """Return which texels belong to a chart, (256, 256)."""
    return _valid_texels().copy()


@cache
def _valid_texels() -> NDArray[np.bool_]:
    valid = np.zeros((SIZE, SIZE), np.bool_)
    for chart in CHARTS.values():
        valid[chart.window] = True
    return valid


@cache
def _nearest() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the nearest texel of a chart, for every texel."""
    valid = valid_texels()
    _, index = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, cols = np.nonzero(valid)
    place = np.empty(index.max() + 1, np.int64)
    place[index[valid]] = np.arange(rows.size)
    return rows[place[index]], cols[place[index]]


def fill_gutters(texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Continue the charts into the gutters, so that interpolation at their borders sees their own colours.

    Args:
        texture: Texture (256, 256, ...) whose charts are painted.

    Returns:
        The texture with every texel outside of the charts set to the nearest one inside.
    """
    filled: NDArray[np.uint8] = texture[_nearest()]
    return filled
