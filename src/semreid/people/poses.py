"""Poses: how people walk, stand and carry, and the skinning that moves a body into them."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.people import _kernels
from semreid.people.body import Body, hip_bag_x
from semreid.people.skeleton import BONE, BONES

Array = NDArray[Any]

KEYPOINTS = {
    "head": "head", "neck": "chest", "left_shoulder": "left_upper_arm", "right_shoulder": "right_upper_arm",
    "left_elbow": "left_lower_arm", "right_elbow": "right_lower_arm", "left_wrist": "left_hand",
    "right_wrist": "right_hand", "left_hip": "left_thigh", "right_hip": "right_thigh", "left_knee": "left_shin",
    "right_knee": "right_shin", "left_ankle": "left_foot", "right_ankle": "right_foot",
}  # fmt: skip
"""Keypoints and the bones that start there, in the order of :attr:`Figure.keypoints`."""


@dataclass(frozen=True)
class Pose:
    """Angles of the joints in radians.

    Attributes:
        angles: Flexion, abduction and twist of each bone (bones, 3). Flexion bends limbs and trunk forward (knees
            backward); abduction moves limbs away from the body and the trunk to its left; twist turns limbs
            outward and the trunk to its left.
        bag_side: +1: a bag is carried on the left, -1: on the right.
        name: What the person does.
    """

    angles: Array
    bag_side: int = 1
    name: str = "stand"

    def mirrored(self) -> Pose:
        """Return the same pose with left and right exchanged."""
        swap = [BONE[_other_side(name)] for name in BONES]
        angles = self.angles[swap].copy()
        angles[: BONE["head"] + 1, 1:] *= -1  # limbs' angles are relative to their side, the trunk's are not
        return Pose(angles, -self.bag_side, self.name)


@dataclass(frozen=True)
class Figure:
    """A body in a pose, in metres, feet on y = 0.

    Attributes:
        vertices: Positions (V, 3).
        normals: Outward unit normals (V, 3).
        keypoints: Positions (14, 3) of :data:`KEYPOINTS`.
    """

    vertices: Array
    normals: Array
    keypoints: Array


def take_pose(body: Body, pose: Pose) -> Figure:
    """Move a body into a pose by linear blend skinning."""
    turn, shift = _bone_motions(body, pose)
    vertices, normals = _kernels.skin(body.weights, turn, shift, body.vertices, body.normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    starts = [BONE[bone] for bone in KEYPOINTS.values()]
    keypoints = np.einsum("bij,bj->bi", turn[starts], body.joints[starts]) + shift[starts]
    keypoints[0] = turn[BONE["head"]] @ (body.joints[BONE["head"]] + (0, 0.08, 0.02)) + shift[BONE["head"]]
    keypoints[1] = turn[BONE["head"]] @ body.joints[BONE["head"]] + shift[BONE["head"]]
    floor = np.array([0, vertices[:, 1].min(), 0], np.float32)
    scale = body.shape.stature
    return Figure((vertices - floor) * scale, normals, ((keypoints - floor) * scale).astype(np.float32))


def _bone_motions(body: Body, pose: Pose) -> tuple[Array, Array]:
    """Return rotation (bones, 3, 3) and translation (bones, 3) of each bone from rest."""
    turn, shift = np.empty((len(BONES), 3, 3), np.float32), np.zeros((len(BONES), 3), np.float32)
    for name, parent in BONES.items():
        i = BONE[name]
        own = _rotation(name, pose.angles[i])
        own_shift = body.joints[i] - own @ body.joints[i]
        if parent:
            p = BONE[parent]
            turn[i], shift[i] = turn[p] @ own, turn[p] @ own_shift + shift[p]
        else:
            turn[i], shift[i] = own, own_shift
    _hang_bag(body, pose, turn, shift)
    return turn, shift


def _hang_bag(body: Body, pose: Pose, turn: Array, shift: Array) -> None:
    """Let the bag follow what carries it; it was built on the left side of the body at rest."""
    bag = BONE["bag"]
    turn[bag] = np.eye(3)
    at_hip = body.silhouette.bag == "shoulder"
    carrier = BONE["pelvis"] if at_hip else BONE["left_hand" if pose.bag_side > 0 else "right_hand"]
    x = hip_bag_x(body.silhouette.bag_size) if at_hip else body.joints[BONE["left_hand"], 0]
    rest = np.array([x, 0.45, 0], np.float32)
    held = rest * (pose.bag_side, 1, 1)
    shift[bag] = turn[carrier] @ held + shift[carrier] - rest


def _rotation(name: str, angles: Array) -> Array:
    flexion, abduction, twist = (float(a) for a in angles)
    side = -1 if name.startswith("right") else 1
    upright = name in ("pelvis", "spine", "chest", "head")
    x = flexion if upright or name.endswith("shin") else -flexion
    z = -abduction if upright else abduction * side
    y = twist * side
    cx, sx, cy, sy, cz, sz = cos(x), sin(x), cos(y), sin(y), cos(z), sin(z)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (about_z @ about_x @ about_y).astype(np.float32)


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    return "left_" + name.removeprefix("right_") if name.startswith("right_") else name


def draw_pose(body: Body, rng: np.random.Generator, bag_side: int = 1) -> Pose:
    """Draw what a person does as a camera passes: mostly walking, arms never symmetric.

    Bags and backpacks decide what the hands do; ``bag_side`` is 1 where a bag is carried on the left, else -1.
    """
    angles = np.zeros((len(BONES), 3), np.float32)
    walks = rng.random() < 0.75
    phase, stride = rng.uniform(0, 2 * pi), rng.uniform(0.25, 0.7) if walks else rng.uniform(0.0, 0.12)
    for side, offset in (("left", 0.0), ("right", pi)):
        _step(angles, side, phase + offset, stride, rng)
        _swing(angles, side, phase + offset + pi, stride, rng)
    angles[BONE["spine"]] = rng.normal(0.05, 0.05), rng.normal(0, 0.03), rng.normal(0, 0.08)
    angles[BONE["chest"]] = (
        rng.normal(0.03, 0.05),
        rng.normal(0, 0.03),
        0.15 * stride * sin(phase) + rng.normal(0, 0.08),
    )
    angles[BONE["head"]] = rng.normal(0.12, 0.15), rng.normal(0, 0.07), rng.normal(0, 0.3)
    name = _use_hands(angles, body, bag_side, rng)
    return Pose(angles, bag_side, f"{'walk' if walks else 'stand'} {name}")


def _step(angles: Array, side: str, phase: float, stride: float, rng: np.random.Generator) -> None:
    forward = stride * sin(phase) + 0.06
    lifted = max(0.0, cos(phase))  # the leg that swings forward bends at the knee
    knee = 0.06 + 1.7 * stride * lifted * rng.uniform(0.7, 1.2) + 0.5 * stride * max(0.0, -sin(phase))
    angles[BONE[f"{side}_thigh"]] = forward, rng.uniform(0.0, 0.07), rng.normal(0.1, 0.08)
    angles[BONE[f"{side}_shin"], 0] = knee
    angles[BONE[f"{side}_foot"], 0] = 0.7 * (knee - forward) * (0.4 + 0.6 * (1 - lifted))


def _swing(angles: Array, side: str, phase: float, stride: float, rng: np.random.Generator) -> None:
    reach = stride * rng.uniform(0.3, 1.2)
    angles[BONE[f"{side}_upper_arm"]] = reach * sin(phase), rng.uniform(0.08, 0.28), rng.normal(-0.1, 0.25)
    angles[BONE[f"{side}_lower_arm"]] = rng.uniform(0.12, 0.5) + 0.5 * reach * max(0.0, sin(phase)), 0, 0


_HANDS = {  # upper arm: flexion, abduction, twist; lower arm: flexion
    "pocket": ((-0.20, 0.32, -0.5), 0.75),
    "phone at the ear": ((0.75, 0.45, -0.35), 2.25),
    "strap": ((0.45, 0.15, -0.35), 2.05),
    "forearm up": ((0.15, 0.15, -0.5), 1.45),
    "looking at a phone": ((0.45, 0.1, -0.55), 1.65),
    "hand in front": ((0.1, 0.15, -0.9), 1.2),
    "hand on the hip": ((-0.35, 0.65, -0.9), 1.55),
    "hand behind": ((-0.5, 0.2, -0.7), 0.7),
    "pointing": ((1.2, 0.3, 0.0), 0.3),
}
_BOTH = {
    "crossed arms": ((0.45, 0.10, -1.0), 1.75),
    "carrying in front": ((0.3, 0.1, -0.35), 1.5),
    "both pockets": ((-0.15, 0.32, -0.5), 0.8),
    "reading": ((0.55, 0.05, -0.6), 1.6),
}


def _use_hands(angles: Array, body: Body, bag_side: int, rng: np.random.Generator) -> str:
    """Give the hands something to do; a hand with a bag hangs down, a backpack's strap may be held."""
    done = []
    carries = body.silhouette.bag == "hand"
    if not carries and rng.random() < 0.18:
        name = str(rng.choice(list(_BOTH)))
        for side in ("left", "right"):
            _place(angles, side, *_BOTH[name], rng)
        return name
    for side, sign in (("left", 1), ("right", -1)):
        if carries and sign == bag_side:
            _place(angles, side, (rng.normal(0, 0.15), 0.14, 0.0), 0.15, rng)
            done.append("bag")
        elif rng.random() < 0.33:
            odds = np.array([3, 1.5, 3 if body.silhouette.backpack or body.silhouette.bag == "shoulder" else 0.3,
                             3, 3, 2, 0.7, 0.6, 0.4])  # fmt: skip
            name = str(rng.choice(list(_HANDS), p=odds / odds.sum()))
            _place(angles, side, *_HANDS[name], rng)
            done.append(name)
    return ", ".join(done) or "arms free"


def _place(angles: Array, side: str, upper: tuple[float, ...], elbow: float, rng: np.random.Generator) -> None:
    angles[BONE[f"{side}_upper_arm"]] = np.array(upper) + rng.normal(0, 0.1, 3)
    angles[BONE[f"{side}_lower_arm"], 0] = max(0.05, elbow + rng.normal(0, 0.15))
