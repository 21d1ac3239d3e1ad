"""Colours, cloth and prints, painted as functions of a place on the body in metres.

Patterns repeat after one metre around the body, the circumference of the torso chart, so that they close at its
seam. Colours are CIELAB (D65) where they are drawn and sRGB in [0, 1] where they are painted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from semreid.people.palette import Image, Lab, srgb

SOFT = 0.007
"""Width of a painted edge in metres: about one texel."""
_FIELD = 256


@dataclass(frozen=True)
class Fabric:
    """A cloth.

    Attributes:
        base: Main colour.
        kind: Name of the weave, a key of ``WEAVES``.
        accents: Further colours of the weave, as many as it needs.
        scale: Size of the repeat in metres.
        duty: Share of the repeat covered by the first accent.
        seed: Decides random places of the weave.
        grain: Strength of the fine noise.
    """

    base: Lab
    kind: str = "plain"
    accents: tuple[Lab, ...] = ()
    scale: float = 0.06
    duty: float = 0.5
    seed: int = 0
    grain: float = 0.012


def ramp(distance: Image, soft: float = SOFT) -> Image:
    """Coverage of the side where ``distance`` is positive, with an edge ``soft`` wide."""
    return (distance / np.float32(soft) + np.float32(0.5)).clip(0, 1)


def stripes(place: Image, period: float, duty: float, phase: float = 0.0) -> Image:
    """Coverage of stripes that cover ``duty`` of each period; a whole number of periods fits one metre."""
    period = 1 / max(1, round(1 / period))
    from_centre = np.abs((place / period + phase) % 1 - 0.5) * period
    return ramp((duty * period / 2 - from_centre).astype(np.float32))


@cache
def field(octave: int, seed: int) -> Image:
    """Return a periodic smooth noise field with values in [0, 1], evenly spread, (256, 256).

    ``octave`` is how many cycles of its finest waves fit into it, ``seed`` which one of several it is.
    """
    white = np.random.default_rng((octave, seed)).standard_normal((_FIELD, _FIELD))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_FIELD, 1 / _FIELD), np.fft.fftfreq(_FIELD, 1 / _FIELD)))
    smooth = np.fft.ifft2(np.fft.fft2(white) * np.exp(-((frequency / octave) ** 2)) * (frequency > 0)).real
    rank = smooth.ravel().argsort().argsort().reshape(smooth.shape)
    return (rank / rank.max()).astype(np.float32)


def noise(x: Image, y: Image, scale: float, seed: int) -> Image:
    """Sample smooth noise in [0, 1] whose blotches are about ``scale`` metres wide."""
    octave = 12
    repeat = max(1, round(1 / (scale * 2 * octave)))
    start = np.random.default_rng(seed).integers(_FIELD, size=2)
    columns, rows = np.broadcast_arrays(x * (repeat * _FIELD) + start[0], y * (repeat * _FIELD) + start[1])
    maps = np.mod(columns, _FIELD).astype(np.float32), np.mod(rows, _FIELD).astype(np.float32)
    wrapped = np.pad(field(octave, seed % 5), ((0, 1), (0, 1)), mode="wrap")
    return np.asarray(cv2.remap(wrapped, *maps, cv2.INTER_LINEAR), np.float32)


def _mix(below: Image, colour: Image, cover: Image) -> Image:
    return below + cover[..., None] * (colour - below)


def _across(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    for step, accent in enumerate(cloth.accents):
        cover = stripes(y, cloth.scale, cloth.duty / (1 + step), 0.37 * step)
        below = _mix(below, srgb(accent), np.broadcast_to(cover, below.shape[:2]))
    return below


def _along(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    cover = stripes(x, cloth.scale, cloth.duty)
    return _mix(below, srgb(cloth.accents[0]), np.broadcast_to(cover, below.shape[:2]))


def _check(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    cover = (stripes(x, cloth.scale, cloth.duty) + stripes(y, cloth.scale, cloth.duty)) / 2
    return _mix(below, srgb(cloth.accents[0]), cover)


def _plaid(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    draws = np.random.default_rng(cloth.seed).uniform(0.3, 1, (len(cloth.accents), 3))
    for step, (accent, (width, strength, phase)) in enumerate(zip(cloth.accents, draws, strict=True)):
        duty = cloth.duty * width / (1 + 1.5 * step)
        for place in (x, y):
            cover = 0.75 * strength * stripes(place, cloth.scale, duty, phase)
            below = _mix(below, srgb(accent), np.broadcast_to(cover, below.shape[:2]))
    return below


def _dots(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    period = 1 / max(1, round(1 / cloth.scale))
    row = np.floor(y / period)
    dx, dy = (x / period + row % 2 / 2) % 1 - 0.5, y / period % 1 - 0.5
    cover = ramp(((0.18 + 0.25 * cloth.duty - np.hypot(dx, dy)) * period).astype(np.float32))
    return _mix(below, srgb(cloth.accents[0]), cover)


def _blotches(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    for step, accent in enumerate(cloth.accents):
        value = noise(x, y, cloth.scale, cloth.seed + step)
        below = _mix(below, srgb(accent), ramp(value - (1 - cloth.duty / 1.5), 0.12))
    return below


def _gradient(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    cover = ((y - 0.08) / (0.2 + cloth.duty)).clip(0, 1)
    return _mix(below, srgb(cloth.accents[0]), np.broadcast_to(cover, below.shape[:2]))


def _diamonds(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    cover = (stripes(x + y, cloth.scale, cloth.duty) + stripes(x - y, cloth.scale, cloth.duty)) / 2
    return _mix(below, srgb(cloth.accents[0]), cover)


def _zigzag(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    tooth = np.abs(x / cloth.scale % 1 - 0.5) * cloth.scale
    return _mix(below, srgb(cloth.accents[0]), stripes(y + tooth.astype(np.float32), cloth.scale, cloth.duty))


def _quilted(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    wobble = 0.01 * noise(x, y, 0.08, cloth.seed)
    across = (y + wobble) / cloth.scale % 1
    bulge = np.sin(np.pi * across).clip(0) ** 0.7  # at a seam, rounding can leave a little less than 0
    return below * (0.72 + 0.42 * bulge)[..., None].astype(np.float32)


def _melange(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    return below * (0.9 + 0.2 * noise(x, y, 0.012, cloth.seed))[..., None]


def _knit(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    ribs = np.broadcast_to(stripes(x, cloth.scale, 0.4), below.shape[:2])
    return below * (1 - 0.14 * ribs)[..., None]


def _worn(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    return below * (0.92 + 0.1 * noise(x, y, 0.03, cloth.seed) + 0.06 * noise(x, y, 0.12, cloth.seed + 1))[..., None]


def _plain(cloth: Fabric, x: Image, y: Image, below: Image) -> Image:
    return below


WEAVES: dict[str, tuple[Callable[[Fabric, Image, Image, Image], Image], int]] = {
    "plain": (_plain, 0),
    "melange": (_melange, 0),
    "knit": (_knit, 0),
    "quilted": (_quilted, 0),
    "worn": (_worn, 0),
    "stripes": (_across, 1),
    "stripes2": (_across, 2),
    "pinstripes": (_along, 1),
    "check": (_check, 1),
    "plaid": (_plaid, 3),
    "dots": (_dots, 1),
    "floral": (_blotches, 3),
    "camouflage": (_blotches, 3),
    "gradient": (_gradient, 1),
    "diamonds": (_diamonds, 1),
    "zigzag": (_zigzag, 1),
}
"""How each kind of cloth is painted, and how many accents it needs."""


def weave(cloth: Fabric, x: Image, y: Image) -> Image:
    """Paint a cloth: sRGB in about [0, 1], (H, W, 3).

    ``x`` is in metres around the body from the front centre to the person's left, (1, W); ``y`` in metres down from the
    base of the neck, (H, 1).
    """
    shape = np.broadcast_shapes(x.shape, y.shape)
    below = np.broadcast_to(srgb(cloth.base), (*shape, 3))
    painted = WEAVES[cloth.kind][0](cloth, x, y, below)
    start = np.random.default_rng(cloth.seed).integers(64, size=2)
    fine = field(90, 0)[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1], None] - 0.5
    broad = noise(x, y, 0.09, cloth.seed + 7)[..., None] - 0.5
    return (painted * (1 + 2 * cloth.grain * broad) + cloth.grain * fine).astype(np.float32)
