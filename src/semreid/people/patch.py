"""A chart of the body atlas while it is painted: places on it in metres and radians, and soft brushes."""

from __future__ import annotations

from math import pi

import numpy as np

from semreid.atlas import CHARTS
from semreid.people.garments import Head
from semreid.people.palette import Image, Lab, srgb
from semreid.people.patterns import Fabric, noise, ramp, weave

# Size of a chart on a body of average size: metres around, metres along, metres below the neck where it begins,
# metres to the person's left of the front centre where its angle 0 is.
_METRES = {"torso": (1.0, 0.62, 0.0, 0.0), "head": (0.56, 0.30, -0.30, 0.0), "backpack": (0.9, 0.45, 0.0, 0.0),
           "bag": (0.8, 0.35, 0.0, 0.0), "arm": (0.32, 0.60, 0.045, 0.27), "leg": (0.5, 0.85, 0.50, 0.09),
           "hand": (0.2, 0.18, 0.0, 0.0), "foot": (0.26, 0.26, 0.0, 0.0)}  # fmt: skip
BACK = pi


class Patch:
    """A chart being painted.

    Attributes:
        rgb: Its window of the texture, (h, w, 3) sRGB in [0, 1]; a view.
        angle: Angle of each column, (1, w).
        t: Place along the axis of each row, (h, 1).
        around: Metres from angle 0 along the surface, (1, w).
        along: Metres from t = 0, (h, 1).
        x: Metres to the person's left of the front centre of the body, (1, w).
        y: Metres below the base of the neck, (h, 1).
        side: +1 left, -1 right, 0 in the middle.
    """

    def __init__(self, texture: Image, name: str) -> None:
        chart = CHARTS[name]
        girth, length, top, offset = _METRES[name.rpartition("_")[2]]
        self.rgb: Image = texture[chart.window]
        self.angle: Image = chart.angle[None]
        self.t: Image = chart.t[:, None]
        self.around: Image = self.angle * np.float32(girth / (2 * pi))
        self.along: Image = self.t * np.float32(length)
        self.x: Image = (self.around + np.float32(offset)) * (chart.side or 1)
        self.y: Image = self.along + np.float32(top)
        self.side = chart.side
        self.length = length
        self.turn = girth / (2 * pi)

    def lay(self, paint: Lab | Fabric | Image, cover: Image | float = 1.0) -> None:
        """Lay a colour, a cloth or a picture over the patch where ``cover`` says so."""
        if isinstance(paint, Fabric):
            paint = weave(paint, self.x, self.y)
        elif isinstance(paint, tuple):
            paint = srgb(paint)
        cover = np.broadcast_to(np.float32(cover), self.rgb.shape[:2])
        self.rgb += cover[..., None] * (paint - self.rgb)

    def shade(self, factor: float, cover: Image) -> None:
        """Multiply the patch by a factor where ``cover`` says so: a seam, a fold, a faded place."""
        self.rgb *= 1 + (np.float32(factor) - 1) * np.broadcast_to(cover, self.rgb.shape[:2])[..., None]

    def confine(self, before: Image, cover: Image) -> None:
        """Bring back what was there ``before`` outside of ``cover``."""
        cover = np.broadcast_to(cover, self.rgb.shape[:2])
        self.rgb[:] = before + cover[..., None] * (self.rgb - before)

    def bands(self, period: float, width: float) -> Image:
        """Cover rings ``width`` wide in every ``period`` along the axis, in metres."""
        return ramp(width / 2 - np.abs((self.along / period) % 1 - 0.5) * period)

    def above(self, t: float | Image) -> Image:
        """Cover what lies above ``t``."""
        return ramp((np.float32(t) - self.t) * self.length)

    def below(self, t: float | Image) -> Image:
        """Cover what lies below ``t``."""
        return ramp((self.t - np.float32(t)) * self.length)

    def rows(self, low: float, high: float) -> Image:
        """Cover a ring between two places along the axis."""
        return np.minimum(self.below(low), self.above(high))

    def columns(self, centre: float, half: float | Image) -> Image:
        """Cover a strip along the axis: its middle and half its width in radians."""
        away = np.abs((self.angle - centre + pi) % (2 * pi) - pi)
        return ramp((half - away) * self.turn)

    def spot(self, centre: float, t: float, half_wide: float, half_high: float) -> Image:
        """Cover an ellipse; its place and half axes in radians and t."""
        away = np.abs((self.angle - centre + pi) % (2 * pi) - pi) / half_wide
        return ramp((1 - np.hypot(away, (self.t - t) / half_high)) * (half_high * self.length))


def lay_skin(patch: Patch, head: Head) -> None:
    """Paint skin all over a patch."""
    patch.lay(head.skin)
    mottled = 0.98 + 0.04 * noise(patch.around, patch.along, 0.06, head.seed)
    patch.rgb *= mottled[..., None]


def darker(colour: Lab, factor: float) -> Lab:
    """Scale a colour towards black."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def strands(patch: Patch, head: Head) -> Image:
    """Paint hair all over a patch."""
    shine = noise(patch.around, patch.along * 0.2, 0.008, head.seed)
    return (srgb(head.hair) * (0.75 + 0.5 * shine)[..., None]).astype(np.float32)
