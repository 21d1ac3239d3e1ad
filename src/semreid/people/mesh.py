"""The mesh that every body has: one tube for each chart of the atlas, of rings of vertices around an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.atlas import CHARTS, Chart, angle_around

Array = NDArray[Any]


@dataclass(frozen=True)
class Tube:
    """The vertices of one chart: a grid of rings, closed at the seam by a second column of vertices there.

    Attributes:
        chart: The chart.
        start: Index of its first vertex.
        rings: Number of rings.
        segments: Number of faces around.
    """

    chart: Chart
    start: int
    rings: int
    segments: int

    @property
    def vertices(self) -> slice:
        """Where its vertices stand among all."""
        return slice(self.start, self.start + self.rings * (self.segments + 1))


_GRID = {
    "head": (20, 24), "torso": (24, 28), "backpack": (10, 20), "bag": (8, 16),
    "left_arm": (20, 14), "right_arm": (20, 14), "left_leg": (24, 18), "right_leg": (24, 18),
    "left_hand": (7, 10), "right_hand": (7, 10), "left_foot": (9, 12), "right_foot": (9, 12),
}  # fmt: skip


@cache
def tubes() -> dict[str, Tube]:
    """Return the tubes of the mesh by the name of their chart."""
    found, start = {}, 0
    for name, (rings, segments) in _GRID.items():
        found[name] = Tube(CHARTS[name], start, rings, segments)
        start += rings * (segments + 1)
    return found


@cache
def texture_coordinates() -> Array:
    """Return u and v of every vertex, (V, 2); the same for every body."""
    blocks = []
    for tube in tubes().values():
        t, around = np.meshgrid(ring_t(tube), _around(tube), indexing="ij")
        blocks.append(tube.chart.uv(around, t).reshape(-1, 2))
    return np.concatenate(blocks)


@cache
def triangles(name: str) -> NDArray[np.int32]:
    """Return the triangles of a tube as indices of all vertices, (T, 3), counter-clockwise from outside."""
    tube = tubes()[name]
    columns = tube.segments + 1
    ring, column = (grid.ravel() for grid in np.meshgrid(np.arange(tube.rings - 1), np.arange(tube.segments)))
    a = tube.start + ring * columns + column
    b, c, d = a + 1, a + columns, a + columns + 1
    right = tube.chart.side < 0 if tube.chart.side else column < tube.segments // 2
    right = np.broadcast_to(right, a.shape)[:, None]  # the right half of the body is cut as the mirrored left half
    first = np.where(right, np.stack((a, c, d), 1), np.stack((a, c, b), 1))
    second = np.where(right, np.stack((a, d, b), 1), np.stack((b, c, d), 1))
    return np.concatenate((first, second)).astype(np.int32)


def ring_t(tube: Tube) -> Array:
    """Return t of every ring, (rings,)."""
    return np.linspace(0, 1, tube.rings, dtype=np.float32)


def _around(tube: Tube) -> Array:
    return np.linspace(0, 1, tube.segments + 1, dtype=np.float32)


def theta_of(tube: Tube) -> Array:
    """Return the angle around the axis of every column, (columns,); 0 is in front."""
    return angle_around(_around(tube), tube.chart.side)


def rings_around(tube: Tube, y: Array, radii: Sequence[Array], power: float = 2.2) -> Array:
    """Place rings around the vertical axis; radii (wide, front, back) are (rings,) or (rings, columns) each."""
    theta = theta_of(tube)
    wide, front, back = (r if r.ndim == 2 else r[:, None] for r in radii)
    radius = rounded(theta, power)
    ahead = np.cos(theta)
    x = wide * np.sin(theta) * radius * (tube.chart.side or 1)
    z = np.where(ahead > 0, front, back) * ahead * radius
    return np.stack((x, np.broadcast_to(y if y.ndim == 2 else y[:, None], x.shape), z), -1)


def rounded(theta: Array, power: float) -> Array:
    """Radius of the unit superellipse at each angle: 2 is a circle, more is a rounded box."""
    corners = np.abs(np.sin(theta)) ** power + np.abs(np.cos(theta)) ** power
    return (corners ** (-1 / power)).astype(np.float32)


def grid_normals(grid: Array) -> Array:
    """Return the outward unit normals of a grid of rings, (rings, columns, 3)."""
    ring = np.gradient(grid, axis=0)
    turn = grid[:, :-1]
    turn = np.roll(turn, -1, 1) - np.roll(turn, 1, 1)
    normal = np.cross(ring, np.concatenate((turn, turn[:, :1]), 1))
    return (normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def profile(table: NDArray[np.float64], t: Array) -> tuple[Array, ...]:
    """Interpolate the columns of a table smoothly: cubic Hermite, slopes limited so that nothing overshoots."""
    knots, values = table[:, 0], table[:, 1:].T
    step, rise = np.diff(knots), np.diff(values, axis=1)
    slope = rise / step
    both = slope[:, 1:] * slope[:, :-1]
    inner = np.where(both > 0, 2 * both / np.where(both > 0, slope[:, 1:] + slope[:, :-1], 1), 0)
    tangent = np.concatenate((slope[:, :1], inner, slope[:, -1:]), 1)
    i = np.clip(np.searchsorted(knots, t, side="right") - 1, 0, step.size - 1)
    s = (t - knots[i]) / step[i]
    h = step[i]
    mixed = (
        values[:, i] * (1 + 2 * s) * (1 - s) ** 2
        + values[:, i + 1] * s**2 * (3 - 2 * s)
        + h * (tangent[:, i] * s * (1 - s) ** 2 - tangent[:, i + 1] * s**2 * (1 - s))
    )
    return tuple(mixed.astype(np.float32))


def smoothstep(x: Array | float, low: float, high: float) -> Array:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    s = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)
    return s * s * (3 - 2 * s)
