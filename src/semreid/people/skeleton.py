"""The skeleton of a body: its joints, and which bones move which vertices."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from semreid.people.mesh import Array, ring_t, smoothstep, tubes
from semreid.people.shape import Shape, Silhouette

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


def place_joints(shape: Shape) -> Array:
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


def proportion(points: Array, of_arm: NDArray[np.bool_], shape: Shape) -> Array:
    """Lengthen legs and arms; all above the hips moves up by what the legs gain."""
    x, y, z = points.T
    gain = HIP_Y * (shape.legs - 1)
    arm = SHOULDER_Y + (y - SHOULDER_Y) * shape.arms + gain
    other = np.where(y < HIP_Y, y * shape.legs, y + gain)
    return np.stack((x, np.where(of_arm, arm, other), z), 1).astype(np.float32)


@cache
def arm_vertices() -> NDArray[np.bool_]:
    """Which vertices move with the length of the arms."""
    return np.concatenate(
        [np.full(tube.rings * (tube.segments + 1), name.endswith(("arm", "hand"))) for name, tube in tubes().items()]
    )


def bone_weights(silhouette: Silhouette, vertices: Array) -> Array:
    """Return the share of each bone in the motion of each vertex, (V, bones)."""
    weights = np.zeros((len(vertices), len(BONES)), np.float32)
    for name, tube in tubes().items():
        rows = weights[tube.vertices]
        t = np.repeat(ring_t(tube), tube.segments + 1)
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
        down = smoothstep(t, 0.78, 1.0)
        return {"head": 1 - down, "chest": down}
    if name == "torso":
        return _torso_shares(t, points, silhouette)
    if limb == "arm":
        bend, cap = smoothstep(t, 0.46, 0.60), 0.3 * (1 - smoothstep(t, 0, 0.08))
        return {"chest": cap, f"{side}_upper_arm": (1 - cap) * (1 - bend), f"{side}_lower_arm": bend}
    if limb == "leg":
        return _leg_shares(side, t, points, silhouette)
    return {f"{side}_{limb}": 1.0}


def _torso_shares(t: Array, points: Array, silhouette: Silhouette) -> dict[str, Array | float]:
    x, y = points[:, 0], points[:, 1]
    up, high = smoothstep(y, 0.55, 0.63), smoothstep(y, 0.63, 0.73)
    follow = 0.55 * smoothstep(t, 0.80, 1.0) * min(1.0, silhouette.hem * 1.5)  # coats follow the legs
    left = smoothstep(x, -0.07, 0.07)
    return {
        "pelvis": (1 - up) * (1 - follow),
        "left_thigh": (1 - up) * follow * left,
        "right_thigh": (1 - up) * follow * (1 - left),
        "spine": up - up * high,
        "chest": up * high,
    }


def _leg_shares(side: str, t: Array, points: Array, silhouette: Silhouette) -> dict[str, Array | float]:
    pelvis = 0.6 * (1 - smoothstep(t, 0, 0.14))
    bend = smoothstep(t, 0.45, 0.58)
    skirt = smoothstep(silhouette.skirt_end - t, -0.01, 0.01) if silhouette.skirt_end else np.zeros_like(t)
    left = smoothstep(points[:, 0], -0.09, 0.09)
    other, own_side = ("right", left) if side == "left" else ("left", 1 - left)
    bare = 1 - skirt
    return {
        "pelvis": bare * pelvis + skirt * 0.35,
        f"{side}_thigh": bare * (1 - pelvis) * (1 - bend) + skirt * 0.65 * own_side,
        f"{other}_thigh": skirt * 0.65 * (1 - own_side),
        f"{side}_shin": bare * bend * (1 - pelvis),
    }
