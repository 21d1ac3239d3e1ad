"""The body: a humanoid mesh built by code, its shape and clothing as geometry.

Coordinates: x to the person's left, y up, z forward; lengths are shares of stature until the very end. The mesh is
a handful of tubes, one for each chart of the atlas: rings of vertices around a body axis whose radii come from a
short table of profiles. Shape, clothes, hair and hats widen and bend these profiles; nothing else changes, so every
vertex of every body keeps its texel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import pi

import numpy as np
from numpy.typing import NDArray

from semreid.people.mesh import (
    Array,
    Tube,
    grid_normals,
    profile,
    ring_t,
    rings_around,
    rounded,
    smoothstep,
    theta_of,
    triangles,
    tubes,
)
from semreid.people.shape import Shape, Silhouette
from semreid.people.skeleton import (
    BONE,
    BONES,
    HIP_X,
    NECK_Y,
    SHOULDER_X,
    arm_vertices,
    bone_weights,
    place_joints,
    proportion,
)

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


def build_body(shape: Shape, silhouette: Silhouette) -> Body:
    """Build a dressed body at rest: its proportions, and what clothes, hair and bags add."""
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
    normals = np.concatenate([grid_normals(grid).reshape(-1, 3) for grid in ordered])
    weights = bone_weights(silhouette, vertices)
    vertices = proportion(vertices, arm_vertices(), shape)
    joints = proportion(place_joints(shape), np.array([bone.endswith(("arm", "hand")) for bone in BONES]), shape)
    missing = [name for name in ("backpack", "bag") if not _worn(name, silhouette)]
    for name in missing:  # a point inside the body, so that no bounding box sees it
        vertices[tubes()[name].vertices] = joints[BONE["pelvis"]]
        weights[tubes()[name].vertices] = np.eye(len(BONES))[BONE["pelvis"]]
    faces = np.concatenate([triangles(name) for name in tubes() if name not in missing])
    return Body(shape, silhouette, vertices, normals, weights, _ambient_share(), faces, joints)


def _worn(name: str, silhouette: Silhouette) -> bool:
    return silhouette.backpack > 0 if name == "backpack" else silhouette.bag != "none"


def _torso(shape: Shape, silhouette: Silhouette) -> Array:
    tube = tubes()["torso"]
    t = ring_t(tube)
    y, wide, front, back = profile(_TORSO, t)
    girth = 1 + (shape.girth - 1) * smoothstep(t, 0.05, 0.3)
    shoulders = 1 + (shape.shoulders - 1) * (1 - smoothstep(t, 0.3, 0.6)) * smoothstep(t, 0.02, 0.15)
    hips = 1 + (shape.hips - 1) * smoothstep(t, 0.6, 0.85)
    cloth = silhouette.torso_bulk * smoothstep(t, 0.03, 0.15)
    belly = shape.belly * np.exp(-(((t - 0.62) / 0.16) ** 2))
    bust = shape.bust * np.exp(-(((t - 0.36) / 0.07) ** 2))
    wide = wide * girth * shoulders * hips + cloth
    front, back = front * girth + belly + bust + cloth, back * girth + cloth
    if silhouette.hem > 0:  # what hangs over the hips falls straight from the widest place above
        hanging = smoothstep(t, 0.66, 0.9)
        flare = silhouette.hem_flare * smoothstep(t, 0.66, 1.0) + cloth + 0.004
        hip = shape.girth * np.array([0.100 * shape.hips, 0.062, 0.072])
        wide, front, back = (
            np.maximum(r, r * (1 - hanging) + (h + flare) * hanging)
            for r, h in zip((wide, front, back), hip, strict=True)
        )
        y = y - smoothstep(t, 0.66, 1.0) * silhouette.hem * 0.22
    grid = rings_around(tube, y, (wide, front, back), 2.4)
    grid[-1] *= (0.2, 1, 0.2)  # closed below
    return grid


def _head(shape: Shape, silhouette: Silhouette) -> Array:
    tube = tubes()["head"]
    t, away = ring_t(tube)[:, None], np.abs(theta_of(tube))[None] / pi  # away: 0 at the face, 1 at the back
    y, wide, front, back = (column[:, None] for column in profile(_HEAD, t[:, 0]))
    nose = 0.010 * np.exp(-((away / 0.06) ** 2) - ((t - 0.50) / 0.06) ** 2)
    cover, drop, behind = _hair(silhouette, t, away)
    grown = (cover + _hat(silhouette, t, away)) * smoothstep(t, 0, 0.08)  # closed at the crown
    grid = rings_around(tube, y - drop, (wide + grown, front + grown + nose, back + grown + behind), 2.0)
    grid[..., 2] += 0.005
    scale = 1 + (shape.head - 1) * (1 - smoothstep(t, 0.75, 1.0))
    return (grid - (0, NECK_Y, 0)) * scale[..., None] + (0, NECK_Y, 0)


def _hair(silhouette: Silhouette, t: Array, away: Array) -> tuple[Array, Array, Array]:
    """Return what hair adds all around, how far it hangs down, and what it adds behind."""
    none = np.zeros(np.broadcast_shapes(t.shape, away.shape), np.float32)
    style = silhouette.hair
    if style == "none":
        return none, none, none
    line = 0.24 + 0.26 * smoothstep(away, 0.2, 0.45) + 0.28 * smoothstep(away, 0.5, 0.7)
    if style in ("bob", "long"):
        line = line + smoothstep(away, 0.25, 0.4) * {"bob": 0.35, "long": 1.0}[style]
    cover = silhouette.hair_bulk * smoothstep(line - t, -0.02, 0.06)
    back, low = smoothstep(away, 0.28, 0.5), smoothstep(t, 0.55, 1.0)
    narrow = np.exp(-(((1 - away) / 0.09) ** 2))
    if style == "bob":
        return cover + 0.014 * back * smoothstep(t, 0.5, 0.75), 0.02 * back * low, none
    if style == "long":
        return cover + 0.022 * back * smoothstep(t, 0.5, 0.8), 0.13 * back * low, 0.028 * back * low
    if style == "bun":
        return cover, none, 0.035 * np.exp(-(((1 - away) / 0.16) ** 2) - ((t - 0.24) / 0.07) ** 2)
    if style == "ponytail":
        return cover, 0.10 * narrow * low, 0.045 * narrow * smoothstep(t, 0.2, 0.35)
    return cover, none, none


def _hat(silhouette: Silhouette, t: Array, away: Array) -> Array:
    """Return what a hat or hood adds all around."""
    added: Array = np.zeros(np.broadcast_shapes(t.shape, away.shape), np.float32)
    rim = np.exp(-(((t - 0.29) / 0.035) ** 2))
    if silhouette.hat != "none":
        added = added + {"cap": 0.006, "beanie": 0.011, "brim": 0.008}[silhouette.hat] * (1 - smoothstep(t, 0.3, 0.36))
    if silhouette.hat == "cap":
        added = added + 0.050 * rim * (1 - smoothstep(away, 0.15, 0.32))
    if silhouette.hat == "brim":
        added = added + 0.045 * rim
    if silhouette.hood == "up":
        face = (1 - smoothstep(away, 0.2, 0.3)) * smoothstep(t, 0.2, 0.3)
        added = added + 0.020 * (1 - face)
    if silhouette.hood == "down":
        added = added + 0.034 * smoothstep(t, 0.78, 0.92) * smoothstep(away, 0.35, 0.6)
    return added


def _limb(name: str, table: NDArray[np.float64], x: Array | float, power: float, girth: Array | float = 1.0) -> Array:
    tube = tubes()[name]
    y, *radii = profile(table, ring_t(tube))
    grid = rings_around(tube, y, [r * girth for r in radii], power)
    grid[..., 0] += np.broadcast_to(x, y.shape)[:, None] * tube.chart.side
    return grid


def _arm(side: str, shape: Shape, silhouette: Silhouette) -> Array:
    t = ring_t(tubes()[f"{side}_arm"])
    _, *radii = profile(_ARM, t)
    sleeve = silhouette.sleeve_bulk * (1 - smoothstep(t - silhouette.sleeve_end, -0.02, 0.03)) * smoothstep(t, 0, 0.1)
    girth = 0.45 + 0.55 * shape.girth + sleeve / radii[1]
    return _limb(f"{side}_arm", _ARM, SHOULDER_X * shape.shoulders, 2.1, girth)


def _leg(side: str, shape: Shape, silhouette: Silhouette) -> Array:
    tube = tubes()[f"{side}_leg"]
    t = ring_t(tube)
    _, *radii = profile(_LEG, t)
    cuff = silhouette.leg_bulk + (silhouette.cuff_bulk - silhouette.leg_bulk) * smoothstep(t, 0.1, 0.95)
    cloth = cuff * (1 - smoothstep(t - silhouette.trouser_end, -0.01, 0.03)) * smoothstep(t, 0.02, 0.12)
    girth = 1 + (shape.girth - 1) * (1 - 0.7 * smoothstep(t, 0.3, 0.8)) + cloth / radii[1]
    x = HIP_X * (shape.hips * (1 - smoothstep(t, 0, 0.6)) + 0.9 * smoothstep(t, 0, 0.6))
    grid = _limb(f"{side}_leg", _LEG, x, 2.1, girth)
    if silhouette.skirt_end == 0:
        return grid
    covered = smoothstep(silhouette.skirt_end - t, -0.005, 0.01)[:, None, None]
    return grid * (1 - covered) + _half_skirt(tube, shape, silhouette) * covered


def _half_skirt(tube: Tube, shape: Shape, silhouette: Silhouette) -> Array:
    """Widen a leg to its half of a skirt: its rings run around laterally and straight through the middle medially."""
    t, theta = ring_t(tube)[:, None], theta_of(tube)[None]
    y, *_ = profile(_LEG, t[:, 0])
    flare = silhouette.leg_bulk + silhouette.skirt_flare * t / max(silhouette.skirt_end, 0.2)
    x = np.maximum(np.sin(theta), 0.01) * (0.102 * shape.hips * shape.girth + flare) * tube.chart.side
    z = np.cos(theta) * (0.066 * shape.girth + flare)
    return np.stack((x, np.broadcast_to(y[:, None], x.shape), z), -1)


def _foot(side: str) -> Array:
    tube = tubes()[f"{side}_foot"]
    z, half, top, sole = profile(_FOOT, ring_t(tube))
    theta = theta_of(tube)
    radius = rounded(theta, 2.6)
    x = half[:, None] * np.sin(theta) * radius * tube.chart.side + HIP_X * 0.9 * tube.chart.side
    y = (top + sole)[:, None] / 2 + ((top - sole)[:, None] / 2) * np.cos(theta) * radius
    return np.stack((x, y, np.broadcast_to(z[:, None], x.shape)), -1)


def _backpack(shape: Shape, silhouette: Silhouette) -> Array:
    tube = tubes()["backpack"]
    y, *radii = profile(_BACKPACK, ring_t(tube))
    height = 0.26 * max(silhouette.backpack, 0.1)
    grid = rings_around(tube, 0.715 + y * height, [r * height for r in radii], 4.0)
    grid[..., 2] -= 0.060 * shape.girth + silhouette.torso_bulk
    return grid


def _bag(silhouette: Silhouette) -> Array:
    tube = tubes()["bag"]
    y, *radii = profile(_BAG, ring_t(tube))
    height = silhouette.bag_size
    grid = rings_around(tube, y * height, [r * height for r in radii], 4.0)
    at_hip = silhouette.bag == "shoulder"
    grid[..., 0] += hip_bag_x(height) if at_hip else SHOULDER_X
    grid[..., 1] += 0.50 if at_hip else 0.40 - height / 2
    return grid


def hip_bag_x(height: float) -> float:
    """Return how far from the middle of the body a bag of that height hangs at the hip."""
    return 0.115 + 0.14 * height


@cache
def _ambient_share() -> Array:
    """Return what share of the sky each vertex sees: less between the legs, under arms, chin and hem."""
    blocks = []
    for name, tube in tubes().items():
        t, theta = np.meshgrid(ring_t(tube), theta_of(tube), indexing="ij")
        share = np.ones_like(t)
        medial = np.clip(-np.sin(theta), 0, 1)
        if name == "head":
            share -= 0.4 * np.exp(-(((t - 0.78) / 0.07) ** 2)) * np.clip(np.cos(theta), 0, 1)
        if name == "torso":
            share -= 0.3 * np.abs(np.sin(theta)) ** 4 * smoothstep(t, 0.15, 0.3) * (1 - smoothstep(t, 0.7, 0.9))
        if name.endswith("arm"):
            share -= 0.35 * medial * (1 - smoothstep(t, 0.3, 0.8))
        if name.endswith("leg"):
            share -= 0.45 * medial * (1 - smoothstep(t, 0.3, 0.8)) + 0.25 * (1 - smoothstep(t, 0.05, 0.2))
        if name.endswith("foot"):
            share -= 0.5 * np.clip(-np.cos(theta), 0, 1)
        blocks.append(share.ravel())
    return np.concatenate(blocks).astype(np.float32)
