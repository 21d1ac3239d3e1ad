"""Colours: CIELAB (D65) where they are drawn, sRGB in [0, 1] where they are painted, words where they are described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Generator = np.random.Generator
Image = NDArray[np.floating[Any]]
Lab = tuple[float, float, float]
K = TypeVar("K")

_HUES = ((15, "pink"), (42, "red"), (72, "orange"), (104, "yellow"), (190, "green"), (300, "blue"), (342, "purple"))
# Families of clothing colours: lightness, chroma and hue (degrees), each with its spread.
FAMILIES: dict[str, tuple[float, ...]] = {
    "black": (18, 5, 2.5, 1.5, 270, 90), "charcoal": (33, 5, 2.5, 1.5, 270, 60), "gray": (53, 8, 2.5, 1.5, 260, 60),
    "silver": (73, 5, 2.5, 1.5, 260, 60), "white": (90, 2.5, 2.5, 1.5, 95, 60), "cream": (84, 4, 11, 3, 88, 8),
    "navy": (19, 5, 15, 6, 282, 9), "denim": (33, 8, 16, 5, 268, 7), "washed": (62, 8, 14, 4, 260, 8),
    "blue": (42, 9, 38, 10, 281, 9), "sky": (70, 7, 21, 6, 255, 12), "teal": (44, 11, 24, 7, 205, 16),
    "green": (42, 11, 32, 11, 150, 14), "olive": (38, 8, 18, 6, 108, 9), "beige": (65, 9, 18, 5, 82, 7),
    "brown": (31, 8, 20, 7, 60, 9), "yellow": (79, 6, 58, 15, 88, 6), "orange": (61, 7, 60, 12, 58, 8),
    "red": (41, 7, 54, 10, 29, 6), "burgundy": (24, 5, 28, 7, 17, 8), "pink": (69, 9, 28, 9, 2, 14),
    "magenta": (46, 8, 50, 10, 350, 10), "purple": (35, 9, 31, 10, 312, 10), "lavender": (68, 7, 19, 6, 305, 10),
}  # fmt: skip
# How often each family is worn.
DARK = {"black": 34, "charcoal": 13, "gray": 7, "navy": 12}
_TAIL = dict.fromkeys(("teal", "olive", "burgundy", "cream", "lavender", "yellow", "orange", "purple"), 1.7)
UPPER = {**_TAIL, "black": 24, "charcoal": 9, "gray": 8, "silver": 4, "white": 14, "navy": 8, "denim": 2, "blue": 7,
          "sky": 5, "green": 4, "beige": 4, "brown": 3, "red": 6, "pink": 4, "magenta": 1.5, "cream": 3}  # fmt: skip
OUTER = {**UPPER, **DARK, "white": 5, "silver": 5, "sky": 2, "beige": 6, "brown": 5, "olive": 5, "denim": 4}
LOWER = {**DARK, "denim": 12, "washed": 4, "beige": 7, "brown": 4, "olive": 3, "white": 2, "silver": 1.5, "cream": 1,
          "blue": 2, "burgundy": 1.5, "red": 1.5, "green": 1, "pink": 1, "purple": 0.7, "teal": 0.7}  # fmt: skip
SKIRT = {**UPPER, "black": 26, "navy": 9, "denim": 8}
SHOE = {**DARK, "white": 20, "brown": 9, "silver": 6, "beige": 4, "red": 3.5, "blue": 3, "pink": 2, "green": 1,
         "yellow": 1, "orange": 1}  # fmt: skip
BAG = {**UPPER, "black": 32, "brown": 9, "navy": 9, "charcoal": 9, "red": 7, "white": 4}
ACCENT = {**UPPER, "white": 26, "black": 20}


def srgb(lab: Lab) -> Image:
    """Convert CIELAB to sRGB in [0, 1], clipped to the gamut, (3,).

    >>> srgb((100.0, 0.0, 0.0)).round(2).tolist()
    [1.0, 1.0, 1.0]
    """
    light, a, b = lab
    fy = (light + 16) / 116
    f = np.array((fy + a / 500, fy, fy - b / 200))
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.95047, 1.0, 1.08883)
    linear = np.array(((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))) @ xyz
    linear = linear.clip(0, 1)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear).astype(np.float32)


def colour_name(lab: Lab) -> str:
    """Name a colour as people do who label surveillance pictures.

    >>> colour_name((20.0, 1.0, -3.0)), colour_name((40.0, 55.0, 30.0))
    ('black', 'red')
    """
    light, a, b = lab
    chroma, hue = float(np.hypot(a, b)), float(np.degrees(np.arctan2(b, a)) % 360)
    if chroma < (10 if light < 30 else 8) or light < 12:
        return "black" if light < 27 else "gray" if light < 78 else "white"
    name = next((name for end, name in _HUES if hue < end), "pink")
    if name == "red" and light > 58 and chroma < 45:
        return "pink"
    if name in ("orange", "yellow") and chroma < 38:
        return "brown" if light < 55 else "beige" if light < 86 else "white"
    return name


def pick(rng: Generator, weights: Mapping[K, float]) -> K:
    """Draw a key with a probability in proportion to its weight."""
    names = list(weights)
    total = np.cumsum([weights[name] for name in names])
    return names[int(np.searchsorted(total, rng.random() * total[-1], side="right"))]


def about(rng: Generator, mean: float, spread: float, low: float, high: float) -> float:
    """Draw from a normal distribution, clipped."""
    return float(np.clip(mean + spread * rng.standard_normal(), low, high))


def draw_near(rng: Generator, family: tuple[float, ...]) -> Lab:
    """Draw a colour of a family: lightness, chroma and hue, each with its spread."""
    light, d_light, chroma, d_chroma, hue, d_hue = family
    light = about(rng, light, d_light, 9, 93)
    chroma = about(rng, chroma, d_chroma, 0, 90)
    angle = np.radians(about(rng, hue, d_hue, hue - 2 * d_hue, hue + 2 * d_hue))
    return light, float(chroma * np.cos(angle)), float(chroma * np.sin(angle))


def draw_colour(rng: Generator, weights: Mapping[str, float]) -> Lab:
    """Draw a colour: first its family, then a place around its centre."""
    return draw_near(rng, FAMILIES[pick(rng, weights)])


def draw_apart(rng: Generator, weights: Mapping[str, float], others: tuple[Lab, ...], distance: float = 25) -> Lab:
    """Draw a colour that stands out against others."""
    colour = draw_colour(rng, weights)
    for _ in range(8):
        if all(np.hypot(np.hypot(colour[0] - o[0], colour[1] - o[1]), colour[2] - o[2]) > distance for o in others):
            break
        colour = draw_colour(rng, weights)
    return colour


def shaded(colour: Lab, step: float) -> Lab:
    """Make a colour lighter, or darker where ``step`` is negative."""
    return float(np.clip(colour[0] + step, 6, 93)), colour[1], colour[2]
