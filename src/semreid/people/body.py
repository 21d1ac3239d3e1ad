"""The body: a humanoid mesh built by code, its shape and clothing as geometry, its skeleton.

Coordinates: x to the person's left, y up, z forward; lengths are shares of stature until the very end. The mesh is
a handful of tubes, one for each chart of the atlas: rings of vertices around a body axis whose radii come from a
short table of profiles. Shape, clothes, hair and hats widen and bend these profiles; nothing else changes, so every
vertex of every body keeps its texel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import pi
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semreid.atlas import CHARTS, Chart

Array = NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """Proportions of a person.

    Attributes:
        stature: Height in metres.
        girth: Thickness of trunk and limbs relative to the average (0.8 slim to 1.35 heavy).
        hips: Width of the hips relative to the average.
        shoulders: Width of the shoulders relative to the average.
        belly: Depth added to the belly, share of stature (0 to 0.04).
        bust: Depth added to the chest, share of stature (0 to 0.02).
        legs: Length of the legs relative to the average.
        arms: Length of the arms relative to the average.
        head: Size of the head relative to the average.
    """

    stature: float = 1.70
    girth: float = 1.0
    hips: float = 1.0
    shoulders: float = 1.0
    belly: float = 0.0
    bust: float = 0.0
    legs: float = 1.0
    arms: float = 1.0
    head: float = 1.0


@dataclass(frozen=True)
class Silhouette:
    """What clothes, hair and bags add to the outline of a body. Lengths are shares of stature unless said.

    Attributes:
        torso_bulk: Thickness of what covers the trunk (0.003 T-shirt to 0.03 winter jacket).
        sleeve_bulk: Thickness of the sleeves.
        sleeve_end: Where the sleeves end, t on the arm chart (0 sleeveless, 1 wrist).
        hem: How far the upper garment hangs down: 0 tucked in, 0.3 hip, 1 knee-long coat. The bottom of the
            torso chart hangs with it.
        hem_flare: Widening at the hem.
        leg_bulk: Thickness of the trousers at the thigh.
        cuff_bulk: Thickness at the lower end of the trousers (more than ``leg_bulk``: wide-legged).
        trouser_end: Where the trousers end, t on the leg chart (0.35 shorts, 1 full length).
        skirt_end: Where the skirt or dress ends, t on the leg chart; 0 is no skirt. The skirt is the leg
            charts widened until they meet.
        skirt_flare: Widening of the skirt at its end.
        hair: Style of the hair.
        hair_bulk: Thickness of the hair.
        hat: Kind of hat.
        hood: Hood up over the head, down on the back, or none.
        backpack: Size of a backpack relative to the usual one; 0 is none.
        bag: Bag in the hand, at the hip from the shoulder, or none.
        bag_size: Height of the bag.
    """

    torso_bulk: float = 0.005
    sleeve_bulk: float = 0.004
    sleeve_end: float = 0.4
    hem: float = 0.2
    hem_flare: float = 0.005
    leg_bulk: float = 0.006
    cuff_bulk: float = 0.006
    trouser_end: float = 1.0
    skirt_end: float = 0.0
    skirt_flare: float = 0.03
    hair: Literal["none", "short", "bob", "long", "bun", "ponytail"] = "short"
    hair_bulk: float = 0.008
    hat: Literal["none", "cap", "beanie", "brim"] = "none"
    hood: Literal["none", "up", "down"] = "none"
    backpack: float = 0.0
    bag: Literal["none", "hand", "shoulder"] = "none"
    bag_size: float = 0.15


# Profiles of the average body: each row is t and then, at that t, y and the radii; lengths as shares of stature.
# Torso and head: half width, depth to the front, depth to the back.
_TORSO = np.array([
    [0.00, 0.845, 0.030, 0.030, 0.030], [0.05, 0.842, 0.042, 0.034, 0.036], [0.10, 0.832, 0.075, 0.040, 0.045],
    [0.16, 0.815, 0.098, 0.050, 0.055], [0.24, 0.785, 0.102, 0.062, 0.062], [0.34, 0.745, 0.099, 0.068, 0.062],
    [0.46, 0.695, 0.093, 0.062, 0.056], [0.60, 0.635, 0.083, 0.054, 0.048], [0.72, 0.580, 0.088, 0.056, 0.056],
    [0.84, 0.530, 0.098, 0.056, 0.068], [0.93, 0.495, 0.097, 0.052, 0.064], [1.00, 0.470, 0.080, 0.040, 0.045],
])  # fmt: skip
_HEAD = np.array([
    [0.00, 1.000, 0.002, 0.002, 0.002], [0.06, 0.997, 0.018, 0.022, 0.024], [0.15, 0.985, 0.032, 0.038, 0.042],
    [0.28, 0.960, 0.042, 0.051, 0.055], [0.42, 0.930, 0.044, 0.054, 0.058], [0.55, 0.905, 0.043, 0.053, 0.052],
    [0.65, 0.885, 0.038, 0.052, 0.042], [0.70, 0.872, 0.031, 0.046, 0.034], [0.76, 0.864, 0.030, 0.028, 0.032],
    [0.85, 0.850, 0.031, 0.027, 0.032], [1.00, 0.820, 0.036, 0.030, 0.036],
])  # fmt: skip
# Limbs: radius to the side, to the front, to the back.
_LEG = np.array([
    [0.00, 0.535, 0.030, 0.030, 0.030], [0.06, 0.510, 0.048, 0.050, 0.060], [0.15, 0.465, 0.050, 0.052, 0.056],
    [0.30, 0.395, 0.045, 0.047, 0.045], [0.45, 0.320, 0.038, 0.038, 0.038], [0.51, 0.285, 0.034, 0.036, 0.034],
    [0.60, 0.245, 0.034, 0.032, 0.038], [0.72, 0.190, 0.036, 0.030, 0.042], [0.85, 0.120, 0.026, 0.024, 0.028],
    [0.95, 0.065, 0.021, 0.020, 0.024], [1.00, 0.040, 0.022, 0.022, 0.026],
])  # fmt: skip
_ARM = np.array([
    [0.00, 0.826, 0.004, 0.004, 0.004], [0.03, 0.820, 0.019, 0.020, 0.020], [0.08, 0.806, 0.029, 0.031, 0.031],
    [0.16, 0.780, 0.032, 0.033, 0.033], [0.30, 0.735, 0.027, 0.028, 0.028], [0.45, 0.680, 0.024, 0.025, 0.025],
    [0.53, 0.645, 0.022, 0.023, 0.024], [0.62, 0.610, 0.023, 0.024, 0.024], [0.75, 0.560, 0.019, 0.021, 0.021],
    [0.90, 0.515, 0.014, 0.017, 0.017], [1.00, 0.485, 0.013, 0.016, 0.016],
])  # fmt: skip
_HAND = np.array([
    [0.00, 0.490, 0.012, 0.014, 0.014], [0.15, 0.474, 0.012, 0.020, 0.018], [0.40, 0.448, 0.012, 0.026, 0.022],
    [0.70, 0.418, 0.010, 0.021, 0.020], [0.90, 0.398, 0.008, 0.014, 0.014], [1.00, 0.388, 0.001, 0.002, 0.002],
])  # fmt: skip
# Feet: z, half width, height of the instep, and the sole at 0.
_FOOT = np.array([
    [0.00, -0.036, 0.004, 0.020, 0.0], [0.06, -0.030, 0.018, 0.048, 0.0], [0.20, -0.008, 0.022, 0.060, 0.0],
    [0.35, 0.016, 0.023, 0.056, 0.0], [0.60, 0.056, 0.027, 0.038, 0.0], [0.80, 0.086, 0.028, 0.028, 0.0],
    [0.95, 0.108, 0.020, 0.020, 0.0], [1.00, 0.113, 0.004, 0.010, 0.0],
])  # fmt: skip
# Bags: y from the middle, half width, depth to the front, depth to the back, all relative to the height of the bag.
_BACKPACK = np.array([
    [0.00, 0.50, 0.01, 0.01, 0.01], [0.06, 0.49, 0.22, 0.02, 0.12], [0.16, 0.44, 0.31, 0.02, 0.22],
    [0.50, 0.02, 0.33, 0.02, 0.30], [0.84, -0.42, 0.33, 0.02, 0.34], [0.95, -0.49, 0.30, 0.02, 0.26],
    [1.00, -0.50, 0.01, 0.01, 0.01],
])  # fmt: skip
_BAG = np.array([
    [0.00, 0.50, 0.01, 0.01, 0.01], [0.08, 0.47, 0.08, 0.50, 0.50], [0.50, 0.00, 0.14, 0.58, 0.58],
    [0.92, -0.46, 0.16, 0.60, 0.60], [1.00, -0.50, 0.01, 0.01, 0.01],
])  # fmt: skip

HIP_X, SHOULDER_X = 0.050, 0.108
NECK_Y, SPINE_Y, CHEST_Y = 0.845, 0.600, 0.690
SHOULDER_Y, ELBOW_Y, WRIST_Y = 0.800, 0.645, 0.487
HIP_Y, KNEE_Y, ANKLE_Y = 0.510, 0.285, 0.050

BONES: dict[str, str] = {
    "pelvis": "",
    "spine": "pelvis",
    "chest": "spine",
    "head": "chest",
    **{f"{side}_upper_arm": "chest" for side in ("left", "right")},
    **{f"{side}_lower_arm": f"{side}_upper_arm" for side in ("left", "right")},
    **{f"{side}_hand": f"{side}_lower_arm" for side in ("left", "right")},
    **{f"{side}_thigh": "pelvis" for side in ("left", "right")},
    **{f"{side}_shin": f"{side}_thigh" for side in ("left", "right")},
    **{f"{side}_foot": f"{side}_shin" for side in ("left", "right")},
    "bag": "",
}
"""Bones and their parents, parents first. The bag hangs: it follows a hand or the hip without its rotation."""
BONE = {name: index for index, name in enumerate(BONES)}


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
        t, around = np.meshgrid(_ring_t(tube), _around(tube), indexing="ij")
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


def _ring_t(tube: Tube) -> Array:
    return np.linspace(0, 1, tube.rings, dtype=np.float32)


def _around(tube: Tube) -> Array:
    return np.linspace(0, 1, tube.segments + 1, dtype=np.float32)


def _theta(tube: Tube) -> Array:
    around = _around(tube)
    if tube.chart.side == 0:
        return (around - 0.5) * 2 * pi
    return (around if tube.chart.side > 0 else 1 - around) * 2 * pi - pi / 2


@dataclass(frozen=True)
class Body:
    """A dressed body at rest: upright, arms hanging.

    Attributes:
        shape: Its proportions.
        silhouette: Its clothing.
        vertices: Positions (V, 3), shares of stature.
        normals: Outward unit normals (V, 3).
        weights: Share of each bone in the motion of each vertex (V, bones).
        shade: Share of the ambient light that reaches each vertex (V,).
        faces: Triangles (T, 3); bags only where there are any.
        joints: Where each bone starts (bones, 3).
    """

    shape: Shape
    silhouette: Silhouette
    vertices: Array
    normals: Array
    weights: Array
    shade: Array
    faces: NDArray[np.int32]
    joints: Array


def draw_shape(rng: np.random.Generator, female: bool) -> Shape:
    """Draw the proportions of a person.

    Args:
        rng: Source of randomness.
        female: From which of two overlapping populations.

    Returns:
        The proportions.
    """
    heavy = float(np.clip(rng.normal(0, 1), -1.6, 2.6))

    def near(mean: float, deviation: float) -> float:
        return float(mean + deviation * np.clip(rng.normal(), -2, 2))

    return Shape(
        stature=near(1.62 if female else 1.74, 0.065),
        girth=near(1.08 if female else 1.15, 0.05) + 0.09 * heavy,
        hips=near(1.06 if female else 0.97, 0.04),
        shoulders=near(0.92 if female else 1.04, 0.035),
        belly=max(0.0, 0.010 * heavy),
        bust=near(0.012, 0.004) if female else 0.0,
        legs=near(1.0, 0.025),
        arms=near(1.0, 0.02),
        head=near(1.1, 0.04) * (1.67 / 1.70),
    )


def build_body(shape: Shape, silhouette: Silhouette) -> Body:
    """Build a dressed body at rest.

    Args:
        shape: Its proportions.
        silhouette: What clothes, hair and bags add.

    Returns:
        The body.
    """
    grids = {
        "head": _head(shape, silhouette),
        "torso": _torso(shape, silhouette),
        "backpack": _backpack(shape, silhouette),
        "bag": _bag(silhouette),
    }
    for side in ("left", "right"):
        grids[f"{side}_arm"] = _arm(side, shape, silhouette)
        grids[f"{side}_leg"] = _leg(side, shape, silhouette)
        grids[f"{side}_hand"] = _limb(f"{side}_hand", _HAND, SHOULDER_X * shape.shoulders, 2.2)
        grids[f"{side}_foot"] = _foot(side)
    ordered = [grids[name] for name in tubes()]
    vertices = np.concatenate([grid.reshape(-1, 3) for grid in ordered]).astype(np.float32)
    normals = np.concatenate([_grid_normals(grid).reshape(-1, 3) for grid in ordered])
    weights = _weights(silhouette, vertices)
    vertices = _proportion(vertices, _arm_vertices(), shape)
    joints = _proportion(_joints(shape), np.array([bone.endswith(("arm", "hand")) for bone in BONES]), shape)
    missing = [name for name in ("backpack", "bag") if not _worn(name, silhouette)]
    for name in missing:  # a point inside the body, so that no bounding box sees it
        vertices[tubes()[name].vertices] = joints[BONE["pelvis"]]
        weights[tubes()[name].vertices] = np.eye(len(BONES))[BONE["pelvis"]]
    faces = np.concatenate([triangles(name) for name in tubes() if name not in missing])
    return Body(shape, silhouette, vertices, normals, weights, _ambient_share(), faces, joints)


def _worn(name: str, silhouette: Silhouette) -> bool:
    return silhouette.backpack > 0 if name == "backpack" else silhouette.bag != "none"


def _profile(table: NDArray[np.float64], t: Array) -> tuple[Array, ...]:
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


def _smoothstep(x: Array | float, low: float, high: float) -> Array:
    s = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)
    return s * s * (3 - 2 * s)


def _rounded(theta: Array, power: float) -> Array:
    """Radius of the unit superellipse at each angle: 2 is a circle, more is a rounded box."""
    corners = np.abs(np.sin(theta)) ** power + np.abs(np.cos(theta)) ** power
    return (corners ** (-1 / power)).astype(np.float32)


def _rings(tube: Tube, y: Array, radii: Sequence[Array], power: float = 2.2) -> Array:
    """Place rings around the vertical axis; radii (wide, front, back) are (rings,) or (rings, columns) each."""
    theta = _theta(tube)
    wide, front, back = (r if r.ndim == 2 else r[:, None] for r in radii)
    radius = _rounded(theta, power)
    ahead = np.cos(theta)
    x = wide * np.sin(theta) * radius * (tube.chart.side or 1)
    z = np.where(ahead > 0, front, back) * ahead * radius
    return np.stack((x, np.broadcast_to(y if y.ndim == 2 else y[:, None], x.shape), z), -1)


def _torso(shape: Shape, silhouette: Silhouette) -> Array:
    tube = tubes()["torso"]
    t = _ring_t(tube)
    y, wide, front, back = _profile(_TORSO, t)
    girth = 1 + (shape.girth - 1) * _smoothstep(t, 0.05, 0.3)
    shoulders = 1 + (shape.shoulders - 1) * (1 - _smoothstep(t, 0.3, 0.6)) * _smoothstep(t, 0.02, 0.15)
    hips = 1 + (shape.hips - 1) * _smoothstep(t, 0.6, 0.85)
    cloth = silhouette.torso_bulk * _smoothstep(t, 0.03, 0.15)
    belly = shape.belly * np.exp(-(((t - 0.62) / 0.16) ** 2))
    bust = shape.bust * np.exp(-(((t - 0.36) / 0.07) ** 2))
    wide = wide * girth * shoulders * hips + cloth
    front, back = front * girth + belly + bust + cloth, back * girth + cloth
    if silhouette.hem > 0:  # what hangs over the hips falls straight from the widest place above
        hanging = _smoothstep(t, 0.66, 0.9)
        flare = silhouette.hem_flare * _smoothstep(t, 0.66, 1.0) + cloth + 0.004
        hip = shape.girth * np.array([0.100 * shape.hips, 0.062, 0.072])
        wide, front, back = (
            np.maximum(r, r * (1 - hanging) + (h + flare) * hanging)
            for r, h in zip((wide, front, back), hip, strict=True)
        )
        y = y - _smoothstep(t, 0.66, 1.0) * silhouette.hem * 0.22
    grid = _rings(tube, y, (wide, front, back), 2.4)
    grid[-1] *= (0.2, 1, 0.2)  # closed below
    return grid


def _head(shape: Shape, silhouette: Silhouette) -> Array:
    tube = tubes()["head"]
    t, away = _ring_t(tube)[:, None], np.abs(_theta(tube))[None] / pi  # away: 0 at the face, 1 at the back
    y, wide, front, back = (column[:, None] for column in _profile(_HEAD, t[:, 0]))
    nose = 0.010 * np.exp(-((away / 0.06) ** 2) - ((t - 0.50) / 0.06) ** 2)
    cover, drop, behind = _hair(silhouette, t, away)
    grown = (cover + _hat(silhouette, t, away)) * _smoothstep(t, 0, 0.08)  # closed at the crown
    grid = _rings(tube, y - drop, (wide + grown, front + grown + nose, back + grown + behind), 2.0)
    grid[..., 2] += 0.005
    scale = 1 + (shape.head - 1) * (1 - _smoothstep(t, 0.75, 1.0))
    return (grid - (0, NECK_Y, 0)) * scale[..., None] + (0, NECK_Y, 0)


def _hair(silhouette: Silhouette, t: Array, away: Array) -> tuple[Array, Array, Array]:
    """Return what hair adds all around, how far it hangs down, and what it adds behind."""
    none = np.zeros(np.broadcast_shapes(t.shape, away.shape), np.float32)
    style = silhouette.hair
    if style == "none":
        return none, none, none
    line = 0.24 + 0.26 * _smoothstep(away, 0.2, 0.45) + 0.28 * _smoothstep(away, 0.5, 0.7)
    if style in ("bob", "long"):
        line = line + _smoothstep(away, 0.25, 0.4) * {"bob": 0.35, "long": 1.0}[style]
    cover = silhouette.hair_bulk * _smoothstep(line - t, -0.02, 0.06)
    back, low = _smoothstep(away, 0.28, 0.5), _smoothstep(t, 0.55, 1.0)
    narrow = np.exp(-(((1 - away) / 0.09) ** 2))
    if style == "bob":
        return cover + 0.014 * back * _smoothstep(t, 0.5, 0.75), 0.02 * back * low, none
    if style == "long":
        return cover + 0.022 * back * _smoothstep(t, 0.5, 0.8), 0.13 * back * low, 0.028 * back * low
    if style == "bun":
        return cover, none, 0.035 * np.exp(-(((1 - away) / 0.16) ** 2) - ((t - 0.24) / 0.07) ** 2)
    if style == "ponytail":
        return cover, 0.10 * narrow * low, 0.045 * narrow * _smoothstep(t, 0.2, 0.35)
    return cover, none, none


def _hat(silhouette: Silhouette, t: Array, away: Array) -> Array:
    """Return what a hat or hood adds all around."""
    added: Array = np.zeros(np.broadcast_shapes(t.shape, away.shape), np.float32)
    rim = np.exp(-(((t - 0.29) / 0.035) ** 2))
    if silhouette.hat != "none":
        added = added + {"cap": 0.006, "beanie": 0.011, "brim": 0.008}[silhouette.hat] * (1 - _smoothstep(t, 0.3, 0.36))
    if silhouette.hat == "cap":
        added = added + 0.050 * rim * (1 - _smoothstep(away, 0.15, 0.32))
    if silhouette.hat == "brim":
        added = added + 0.045 * rim
    if silhouette.hood == "up":
        face = (1 - _smoothstep(away, 0.2, 0.3)) * _smoothstep(t, 0.2, 0.3)
        added = added + 0.020 * (1 - face)
    if silhouette.hood == "down":
        added = added + 0.034 * _smoothstep(t, 0.78, 0.92) * _smoothstep(away, 0.35, 0.6)
    return added


def _limb(name: str, table: NDArray[np.float64], x: Array | float, power: float, girth: Array | float = 1.0) -> Array:
    tube = tubes()[name]
    y, *radii = _profile(table, _ring_t(tube))
    grid = _rings(tube, y, [r * girth for r in radii], power)
    grid[..., 0] += np.broadcast_to(x, y.shape)[:, None] * tube.chart.side
    return grid


def _arm(side: str, shape: Shape, silhouette: Silhouette) -> Array:
    t = _ring_t(tubes()[f"{side}_arm"])
    _, *radii = _profile(_ARM, t)
    sleeve = silhouette.sleeve_bulk * (1 - _smoothstep(t - silhouette.sleeve_end, -0.02, 0.03)) * _smoothstep(t, 0, 0.1)
    girth = 0.45 + 0.55 * shape.girth + sleeve / radii[1]
    return _limb(f"{side}_arm", _ARM, SHOULDER_X * shape.shoulders, 2.1, girth)


def _leg(side: str, shape: Shape, silhouette: Silhouette) -> Array:
    tube = tubes()[f"{side}_leg"]
    t = _ring_t(tube)
    _, *radii = _profile(_LEG, t)
    cuff = silhouette.leg_bulk + (silhouette.cuff_bulk - silhouette.leg_bulk) * _smoothstep(t, 0.1, 0.95)
    cloth = cuff * (1 - _smoothstep(t - silhouette.trouser_end, -0.01, 0.03)) * _smoothstep(t, 0.02, 0.12)
    girth = 1 + (shape.girth - 1) * (1 - 0.7 * _smoothstep(t, 0.3, 0.8)) + cloth / radii[1]
    x = HIP_X * (shape.hips * (1 - _smoothstep(t, 0, 0.6)) + 0.9 * _smoothstep(t, 0, 0.6))
    grid = _limb(f"{side}_leg", _LEG, x, 2.1, girth)
    if silhouette.skirt_end == 0:
        return grid
    covered = _smoothstep(silhouette.skirt_end - t, -0.005, 0.01)[:, None, None]
    return grid * (1 - covered) + _half_skirt(tube, shape, silhouette) * covered


def _half_skirt(tube: Tube, shape: Shape, silhouette: Silhouette) -> Array:
    """Widen a leg to its half of a skirt: its rings run around laterally and straight through the middle medially."""
    t, theta = _ring_t(tube)[:, None], _theta(tube)[None]
    y, *_ = _profile(_LEG, t[:, 0])
    flare = silhouette.leg_bulk + silhouette.skirt_flare * t / max(silhouette.skirt_end, 0.2)
    x = np.maximum(np.sin(theta), 0.01) * (0.102 * shape.hips * shape.girth + flare) * tube.chart.side
    z = np.cos(theta) * (0.066 * shape.girth + flare)
    return np.stack((x, np.broadcast_to(y[:, None], x.shape), z), -1)


def _foot(side: str) -> Array:
    tube = tubes()[f"{side}_foot"]
    z, half, top, sole = _profile(_FOOT, _ring_t(tube))
    theta = _theta(tube)
    radius = _rounded(theta, 2.6)
    x = half[:, None] * np.sin(theta) * radius * tube.chart.side + HIP_X * 0.9 * tube.chart.side
    y = (top + sole)[:, None] / 2 + ((top - sole)[:, None] / 2) * np.cos(theta) * radius
    return np.stack((x, y, np.broadcast_to(z[:, None], x.shape)), -1)


def _backpack(shape: Shape, silhouette: Silhouette) -> Array:
    tube = tubes()["backpack"]
    y, *radii = _profile(_BACKPACK, _ring_t(tube))
    height = 0.26 * max(silhouette.backpack, 0.1)
    grid = _rings(tube, 0.715 + y * height, [r * height for r in radii], 4.0)
    grid[..., 2] -= 0.060 * shape.girth + silhouette.torso_bulk
    return grid


def _bag(silhouette: Silhouette) -> Array:
    tube = tubes()["bag"]
    y, *radii = _profile(_BAG, _ring_t(tube))
    height = silhouette.bag_size
    grid = _rings(tube, y * height, [r * height for r in radii], 4.0)
    at_hip = silhouette.bag == "shoulder"
    grid[..., 0] += hip_bag_x(height) if at_hip else SHOULDER_X
    grid[..., 1] += 0.50 if at_hip else 0.40 - height / 2
    return grid


def hip_bag_x(height: float) -> float:
    """Return how far from the middle of the body a bag of that height hangs at the hip."""
    return 0.115 + 0.14 * height


def _grid_normals(grid: Array) -> Array:
    ring = np.gradient(grid, axis=0)
    turn = grid[:, :-1]
    turn = np.roll(turn, -1, 1) - np.roll(turn, 1, 1)
    normal = np.cross(ring, np.concatenate((turn, turn[:, :1]), 1))
    return (normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def _joints(shape: Shape) -> Array:
    """Place the joints of the average body, with its widths."""
    joints = np.zeros((len(BONES), 3), np.float32)
    joints[: BONE["head"] + 1, 1] = HIP_Y, SPINE_Y, CHEST_Y, NECK_Y
    for side, sign in (("left", 1), ("right", -1)):
        for bone, x, y in (
            ("upper_arm", SHOULDER_X * shape.shoulders, SHOULDER_Y),
            ("lower_arm", SHOULDER_X * shape.shoulders, ELBOW_Y),
            ("hand", SHOULDER_X * shape.shoulders, WRIST_Y),
            ("thigh", HIP_X * shape.hips, HIP_Y),
            ("shin", HIP_X * 0.9, KNEE_Y),
            ("foot", HIP_X * 0.9, ANKLE_Y),
        ):
            joints[BONE[f"{side}_{bone}"], :2] = sign * x, y
    return joints


def _proportion(points: Array, of_arm: NDArray[np.bool_], shape: Shape) -> Array:
    """Lengthen legs and arms; all above the hips moves up by what the legs gain."""
    x, y, z = points.T
    gain = HIP_Y * (shape.legs - 1)
    arm = SHOULDER_Y + (y - SHOULDER_Y) * shape.arms + gain
    other = np.where(y < HIP_Y, y * shape.legs, y + gain)
    return np.stack((x, np.where(of_arm, arm, other), z), 1).astype(np.float32)


@cache
def _arm_vertices() -> NDArray[np.bool_]:
    """Which vertices move with the length of the arms."""
    return np.concatenate(
        [np.full(tube.rings * (tube.segments + 1), name.endswith(("arm", "hand"))) for name, tube in tubes().items()]
    )


def _weights(silhouette: Silhouette, vertices: Array) -> Array:
    weights = np.zeros((len(vertices), len(BONES)), np.float32)
    for name, tube in tubes().items():
        rows = weights[tube.vertices]
        t = np.repeat(_ring_t(tube), tube.segments + 1)
        for bone, share in _bone_shares(name, t, vertices[tube.vertices], silhouette).items():
            rows[:, BONE[bone]] = share
    return weights


def _bone_shares(name: str, t: Array, points: Array, silhouette: Silhouette) -> dict[str, Array | float]:
    """Return how much of each bone's motion the vertices of a tube take part in."""
    side, _, limb = name.partition("_")
    if name == "backpack":
        return {"chest": 1.0}
    if name == "bag":
        return {"bag": 1.0}
    if name == "head":
        down = _smoothstep(t, 0.78, 1.0)
        return {"head": 1 - down, "chest": down}
    if name == "torso":
        return _torso_shares(t, points, silhouette)
    if limb == "arm":
        bend, cap = _smoothstep(t, 0.46, 0.60), 0.3 * (1 - _smoothstep(t, 0, 0.08))
        return {"chest": cap, f"{side}_upper_arm": (1 - cap) * (1 - bend), f"{side}_lower_arm": bend}
    if limb == "leg":
        return _leg_shares(side, t, points, silhouette)
    return {f"{side}_{limb}": 1.0}


def _torso_shares(t: Array, points: Array, silhouette: Silhouette) -> dict[str, Array | float]:
    x, y = points[:, 0], points[:, 1]
    up, high = _smoothstep(y, 0.55, 0.63), _smoothstep(y, 0.63, 0.73)
    follow = 0.55 * _smoothstep(t, 0.80, 1.0) * min(1.0, silhouette.hem * 1.5)  # coats follow the legs
    left = _smoothstep(x, -0.07, 0.07)
    return {
        "pelvis": (1 - up) * (1 - follow),
        "left_thigh": (1 - up) * follow * left,
        "right_thigh": (1 - up) * follow * (1 - left),
        "spine": up - up * high,
        "chest": up * high,
    }


def _leg_shares(side: str, t: Array, points: Array, silhouette: Silhouette) -> dict[str, Array | float]:
    pelvis = 0.6 * (1 - _smoothstep(t, 0, 0.14))
    bend = _smoothstep(t, 0.45, 0.58)
    skirt = _smoothstep(silhouette.skirt_end - t, -0.01, 0.01) if silhouette.skirt_end else np.zeros_like(t)
    left = _smoothstep(points[:, 0], -0.09, 0.09)
    other, own_side = ("right", left) if side == "left" else ("left", 1 - left)
    bare = 1 - skirt
    return {
        "pelvis": bare * pelvis + skirt * 0.35,
        f"{side}_thigh": bare * (1 - pelvis) * (1 - bend) + skirt * 0.65 * own_side,
        f"{other}_thigh": skirt * 0.65 * (1 - own_side),
        f"{side}_shin": bare * bend * (1 - pelvis),
    }


@cache
def _ambient_share() -> Array:
    """Return what share of the sky each vertex sees: less between the legs, under arms, chin and hem."""
    blocks = []
    for name, tube in tubes().items():
        t, theta = np.meshgrid(_ring_t(tube), _theta(tube), indexing="ij")
        share = np.ones_like(t)
        medial = np.clip(-np.sin(theta), 0, 1)
        if name == "head":
            share -= 0.4 * np.exp(-(((t - 0.78) / 0.07) ** 2)) * np.clip(np.cos(theta), 0, 1)
        if name == "torso":
            share -= 0.3 * np.abs(np.sin(theta)) ** 4 * _smoothstep(t, 0.15, 0.3) * (1 - _smoothstep(t, 0.7, 0.9))
        if name.endswith("arm"):
            share -= 0.35 * medial * (1 - _smoothstep(t, 0.3, 0.8))
        if name.endswith("leg"):
            share -= 0.45 * medial * (1 - _smoothstep(t, 0.3, 0.8)) + 0.25 * (1 - _smoothstep(t, 0.05, 0.2))
        if name.endswith("foot"):
            share -= 0.5 * np.clip(-np.cos(theta), 0, 1)
        blocks.append(share.ravel())
    return np.concatenate(blocks).astype(np.float32)
