"""What stands before and passes behind a person, and the shadow on the floor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.people.camera import Camera, Image
from semreid.people.materials import DENSITY
from semreid.people.places import FILL, PERSON, Place, decode

Rng = np.random.Generator
Cutout = tuple[Image, Image]
"""Colours, linear light (H, W, 3), and opacity (H, W) of something cut out."""


def occlude(place: Place, rng: Rng, size: tuple[int, int], sprites: Sequence[Cutout]) -> Cutout | None:
    """Put something before the person, as often as is usual here: a thing of this place or somebody else.

    ``sprites`` are other people, cut out tightly; what comes back is a layer of the ``size`` of the picture.
    """
    if rng.random() >= place.camera.occlusion:
        return None
    layer = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    if rng.random() < 0.5:
        _passer_before(layer, place.camera, rng, sprites)
    else:
        _thing_before(layer, place, rng)
    return layer


def crowd(place: Place, rng: Rng, size: tuple[int, int], sprites: Sequence[Cutout]) -> Cutout | None:
    """Let one to three others pass behind the person, as often as is usual here.

    ``sprites`` are other people, cut out tightly; what comes back is a layer of the ``size`` of the picture.
    """
    if rng.random() >= place.camera.crowding:
        return None
    layer = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    for behind in sorted(rng.uniform(0.4, 6, rng.integers(1, 4)), reverse=True):
        _paste_person(layer, place.camera, rng, sprites, behind, rng.uniform(-0.2, 1.2))
    return layer


def _passer_before(layer: Cutout, camera: Camera, rng: Rng, sprites: Sequence[Cutout]) -> None:
    """Somebody nearer to the camera, who mostly enters from a side and at times hides half of the person."""
    across = float(
        rng.choice([rng.uniform(-0.1, 0.25), rng.uniform(0.75, 1.1), rng.uniform(0.2, 0.8)], p=[0.44, 0.44, 0.12])
    )
    nearer = rng.uniform(0.4, 1.5) if 0.2 < across < 0.8 else rng.uniform(0.3, 1.0)
    _paste_person(layer, camera, rng, sprites, -nearer, across)


def _paste_person(
    layer: Cutout, camera: Camera, rng: Rng, sprites: Sequence[Cutout], behind: float, across: float
) -> None:
    """Paste one of ``sprites`` standing ``behind`` metres farther away, centred at ``across`` of the width."""
    rgb, alpha = sprites[int(rng.integers(len(sprites)))]
    height, width = layer[1].shape
    down = np.radians(camera.elevation)
    zoom = camera.distance / (camera.distance + behind * np.cos(down))
    tall = FILL * height * zoom * rng.uniform(0.9, 1.08)
    rise = behind * np.sin(down) * zoom / PERSON * FILL * height
    bottom = height * (1 + FILL) / 2 - rise
    if rng.random() < 0.5:
        rgb, alpha = rgb[:, ::-1], alpha[:, ::-1]
    wide = tall * alpha.shape[1] / alpha.shape[0]
    weighted = np.dstack((rgb * alpha[..., None], alpha)).astype(np.float32)
    left = across * width - wide / 2
    fitted, where = _fit(weighted, bottom - tall, left, tall / alpha.shape[0], (height, width))
    _lay_over(layer, where, fitted[..., :3], fitted[..., 3])


def _thing_before(layer: Cutout, place: Place, rng: Rng) -> None:
    kind, stored = place.things[rng.integers(len(place.things))]
    height, width = layer[1].shape
    scale = FILL * height / PERSON / DENSITY * rng.uniform(0.95, 1.3)
    wide = stored.shape[1] * scale
    if kind == "pole":
        top = float(-rng.uniform(0.05, 0.3) * height)
        left = rng.uniform(-0.8 * wide, width - 0.2 * wide)
    else:
        top = height * rng.uniform(0.55, 0.85)
        left = _side(rng, width, wide) if rng.random() < 0.5 else _across(rng, width, wide)
    fitted, where = _fit(stored, top, left, scale, (height, width))
    alpha = fitted[..., 3] * np.float32(1 / 255)
    _lay_over(layer, where, decode(fitted[..., :3]) * alpha[..., None], alpha)


def _across(rng: Rng, width: int, wide: float) -> float:
    """Left border of something all the way across, as far as it is wide enough."""
    return float(rng.uniform(min(0.0, width - wide), max(0.0, width - wide)))


def _side(rng: Rng, width: int, wide: float) -> float:
    """Left border of something that reaches in from one side."""
    reach = rng.uniform(0.15, 0.7) * width
    return float(reach - wide if rng.random() < 0.5 else width - reach)


def _fit(
    picture: NDArray[Any], top: float, left: float, scale: float, size: tuple[int, int]
) -> tuple[NDArray[Any], tuple[slice, slice]]:
    """Scale a picture and put its corner at (top, left); what is inside of the layer, and where that is."""
    if scale < 0.6:  # warping reads single pixels
        small = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture, scale = cv2.resize(picture, small, interpolation=cv2.INTER_AREA), 1.0
    ends = (top + picture.shape[0] * scale, left + picture.shape[1] * scale)
    row, col = max(0, int(np.floor(top))), max(0, int(np.floor(left)))
    height, width = (min(n, int(np.ceil(end))) - start for n, end, start in zip(size, ends, (row, col), strict=True))
    if min(height, width) <= 0:
        return np.zeros((0, 0, 4), picture.dtype), (slice(0, 0), slice(0, 0))
    shift = np.array([[scale, 0, left - col], [0, scale, top - row]], np.float32)
    return cv2.warpAffine(picture, shift, (width, height)), (slice(row, row + height), slice(col, col + width))


def _lay_over(layer: Cutout, where: tuple[slice, slice], light: Image, alpha: Image) -> None:
    """Lay a picture over a part of a layer, in place; ``light`` is already weighted by ``alpha``."""
    rgb, opacity = layer[0][where], layer[1][where]
    under = opacity * (1 - alpha)
    opacity[:] = under + alpha
    rgb *= under[..., None]
    rgb += light
    rgb /= np.maximum(opacity, 1e-6)[..., None]


def cast_shadow(camera: Camera, person: Image) -> Image:
    """Shade the floor about a person of the opacity (H, W): what to multiply the background by, in (0, 1]."""
    height, width = person.shape
    rows = np.flatnonzero(person.max(1) > 0.5)
    foot = float(rows[-1]) if rows.size else height - 1.0
    sine, cosine = np.sin(np.radians(camera.elevation)), np.cos(np.radians(camera.elevation))
    x, y, z = camera.sun
    sideways, down = -x / y / cosine, -z / y * max(sine, 0.05) / cosine  # per pixel of height above the floor
    turn = np.array([[1, -sideways, sideways * foot], [0, -down, foot * (1 + down)]], np.float32)
    if abs(down) < 0.05:
        turn[1] = (0, -0.05, foot * 1.05)
    shadow = cv2.warpAffine(person, turn, (width, height))
    soft = {"sun": 0.006, "dusk": 0.03, "overcast": 0.04, "indoor": 0.03}[camera.weather] * height
    shadow = cv2.GaussianBlur(shadow, (0, 0), soft)
    sun = max(camera.sun_colour) * y
    return (1 - 0.9 * sun / (sun + max(camera.sky_colour)) * shadow).astype(np.float32)
