"""The renderer: a z-buffer with perspective-correct texture coordinates, light, parts and coverage for each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.atlas import SIZE, part_map
from semreid.people import _kernels
from semreid.people.mesh import texture_coordinates
from semreid.people.poses import Figure

Array = NDArray[Any]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom on the image plane of a camera (tangents of the angle from its axis)."""


@dataclass(frozen=True)
class View:
    """Where a camera sees a person from.

    Attributes:
        yaw: Degrees by which the person is turned: 0 faces the camera, 90 shows the right side.
        elevation: Degrees by which the camera looks down.
        distance: Metres from the camera to the middle of the person.
        roll: Degrees by which the camera is tilted.
    """

    yaw: float = 0.0
    elevation: float = 10.0
    distance: float = 6.0
    roll: float = 0.0


@dataclass(frozen=True)
class Light:
    """Light of a place: a distant lamp or sun, and what comes from everywhere.

    Attributes:
        direction: Towards the lamp in the camera's frame: right, up, and towards the camera (need not be unit).
        sun: RGB of the lamp.
        sky: RGB from everywhere.
    """

    direction: tuple[float, float, float]
    sun: tuple[float, float, float]
    sky: tuple[float, float, float]


@dataclass(frozen=True)
class Projection:
    """A figure as a camera sees it.

    Attributes:
        points: Vertices on the image plane, x right and y down, (V, 2).
        nearness: Reciprocal depth of the vertices, (V,).
        normals: Normals in the camera's frame: right, up, towards the camera, (V, 3).
        keypoints: Keypoints on the image plane, (14, 2).
    """

    points: Array
    nearness: Array
    normals: Array
    keypoints: Array


@dataclass(frozen=True)
class Rendering:
    """A rendered person.

    Attributes:
        colour: RGB (H, W, 3), multiplied by ``alpha``; linear light, or the albedo itself where unlit.
        alpha: Coverage (H, W), 0 to 1.
        parts: Part labels (H, W) uint8; above 0 exactly where at least half of the pixel is covered.
        uv: Texture coordinates (H, W, 2) of a visible point of each covered pixel; 0 elsewhere.
    """

    colour: Array
    alpha: Array
    parts: NDArray[np.uint8]
    uv: Array


def project(figure: Figure, view: View) -> Projection:
    """Look at a figure."""
    turn = camera_rotation(view)
    middle = np.array([0, figure.vertices[:, 1].max() / 2, 0], np.float32)
    seen = (figure.vertices - middle) @ turn.T
    marks = (figure.keypoints - middle) @ turn.T
    nearness = 1 / np.maximum(view.distance - seen[:, 2], 0.3)
    points = seen[:, :2] * nearness[:, None] * (1, -1)
    keypoints = marks[:, :2] / np.maximum(view.distance - marks[:, 2:], 0.3) * (1, -1)
    return Projection(*(a.astype(np.float32) for a in (points, nearness, figure.normals @ turn.T, keypoints)))


def camera_rotation(view: View) -> NDArray[np.float64]:
    """Return the rotation (3, 3) from a person's frame into the camera's: right, up, towards the camera."""
    yaw, down, roll = radians(view.yaw), radians(view.elevation), radians(view.roll)
    about_y = np.array([[cos(yaw), 0, sin(yaw)], [0, 1, 0], [-sin(yaw), 0, cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, cos(down), -sin(down)], [0, sin(down), cos(down)]])
    about_z = np.array([[cos(roll), -sin(roll), 0], [sin(roll), cos(roll), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def bounding_box(projection: Projection) -> Box:
    """Return the tight box around a projected figure: left, top, right, bottom on the image plane."""
    x, y = np.ascontiguousarray(projection.points.T)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def render(
    projection: Projection,
    faces: NDArray[np.int32],
    texture: Array,
    box: Box,
    size: tuple[int, int],
    *,
    light: Light | None = None,
    ambient_share: Array | None = None,
    relief: Array | None = None,
    supersample: int = 2,
) -> Rendering:
    """Render a person.

    Args:
        projection: The figure as seen.
        faces: Its triangles (T, 3), counter-clockwise from outside.
        texture: Colour of every texel (256, 256, 3): linear albedo, or anything to be shown unlit.
        box: What part of the image plane to show; it fills the image.
        size: Height and width in pixels.
        light: The light; unlit if None.
        ambient_share: Share of the sky that each vertex sees (V,); all of it if None.
        relief: Factor on the light at every texel (256, 256), for folds of cloth; 1 if None.
        supersample: Samples a pixel along each side.
    """
    height, width = (side * supersample for side in size)
    left, top, right, bottom = box
    scale = np.array([width / (right - left), height / (bottom - top)], np.float32)
    screen = (projection.points - np.array([left, top], np.float32)) * scale
    face, weights = _kernels.rasterise(screen, projection.nearness, faces, height, width)
    light_of = _light(projection.normals, light, ambient_share)
    folds = np.ones((SIZE, SIZE), np.float32) if relief is None else relief
    return Rendering(
        *_kernels.shade(
            face, weights, faces, projection.nearness, _texels(), light_of, texture, folds,
            part_map(), supersample,
        )
    )  # fmt: skip


@cache
def _texels() -> Array:
    return texture_coordinates() * SIZE


def _light(normals: Array, light: Light | None, ambient_share: Array | None) -> Array:
    """Return the RGB light on every vertex: the sun by Lambert, slightly wrapped; the sky as a hemisphere above."""
    if light is None:
        return np.ones((len(normals), 3), np.float32)
    towards = np.array(light.direction, np.float32) / np.linalg.norm(light.direction)
    lambert = np.clip((normals @ towards + 0.05) / 1.05, 0, None)
    sky = 0.5 + 0.5 * normals[:, 1]
    if ambient_share is not None:
        sky = sky * ambient_share
        lambert = lambert * (0.4 + 0.6 * ambient_share)
    return (lambert[:, None] * np.array(light.sun) + sky[:, None] * np.array(light.sky)).astype(np.float32)
