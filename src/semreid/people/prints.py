"""What is printed on garments: numbers, text, pictures and badges."""

from __future__ import annotations

from math import pi

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.people.garments import Print
from semreid.people.palette import Image
from semreid.people.patch import Patch
from semreid.people.patterns import noise, ramp


def lay_print(patch: Patch, one: Print) -> None:
    """Print something on the torso."""
    inks = np.zeros((*patch.rgb.shape[:2], 2), np.float32)
    middle = np.array((patch.rgb.shape[1] / 2 + one.x / patch.turn / (2 * pi) * patch.rgb.shape[1], one.y * 104 / 0.62))
    _PRINTS[one.kind](inks, middle, one, np.random.default_rng(one.seed))
    if one.back:
        inks = np.roll(inks, patch.rgb.shape[1] // 2, axis=1)
    for ink in range(2):
        patch.lay(one.colours[ink], inks[..., ink])


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVXYZ"), int(rng.integers(3, 9))))


def _text(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    lines = int(rng.integers(1, 4))
    for line in range(lines):
        shifted = middle + np.array((0, (line - lines / 2) * 105 * one.size / lines))
        _write(inks[..., line % 2], _word(rng), shifted, one.size / lines)


def _number(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    _write(inks[..., 0], str(rng.integers(1, 100)), middle, one.size)
    if rng.random() < 0.5:
        _write(inks[..., 1], _word(rng), middle - np.array((0, 105 * one.size)), 0.035)


def _write(ink: Image, word: str, middle: NDArray[np.float64], size: float) -> None:
    """Write a word, its middle in texels, letters ``size`` metres high but the whole at most 26 cm wide."""
    drawn = np.zeros((64, 512), np.uint8)
    cv2.putText(drawn, word, (8, 48), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 6, cv2.LINE_AA)
    left, top, width, height = cv2.boundingRect(drawn)
    tall = max(3, round(size * 0.62 * 168))
    wide = max(3, min(round(tall * width / height * 0.7), 27))
    letters = cv2.resize(drawn[top : top + height, left : left + width], (wide, tall), interpolation=cv2.INTER_AREA)
    row, column = (max(0, int(c)) for c in (middle[1] - tall / 2, middle[0] - wide / 2))
    window = ink[row : row + tall, column : column + wide]
    np.maximum(window, letters[: window.shape[0], : window.shape[1]] / np.float32(255), out=window)


def _grid(inks: Image, middle: NDArray[np.float64]) -> tuple[Image, Image]:
    """Metres from the middle of a print, to the side and down."""
    rows, columns = inks.shape[:2]
    x = (np.arange(columns, dtype=np.float32) - np.float32(middle[0]))[None] / columns
    y = (np.arange(rows, dtype=np.float32) - np.float32(middle[1]))[:, None] * np.float32(0.62 / rows)
    return x, y


def _picture(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    x, y = _grid(inks, middle)
    half = one.size / 2
    outline = (
        ramp(half - np.hypot(x, y))
        if rng.random() < 0.4
        else np.minimum(ramp(half - np.abs(x)), ramp(half - np.abs(y)))
    )
    blotches = noise(x, y, float(rng.uniform(0.03, 0.09)), one.seed)
    inks[..., 0] = outline * (1.0 if rng.random() < 0.5 else ramp(blotches - 0.4, 0.1))
    inks[..., 1] = outline * ramp(noise(x, y, 0.05, one.seed + 1) - 0.6, 0.1)
    if rng.random() < 0.4:
        _write(inks[..., 0], _word(rng), middle + np.array((0, 95 * one.size)), 0.03)


def _badge(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    x, y = _grid(inks, middle)
    inks[..., 0] = np.minimum(ramp(one.size / 2 - np.abs(x)), ramp(one.size / rng.uniform(2, 4) - np.abs(y)))
    inks[..., 1] = ramp(one.size / 5 - np.hypot(x, y)) * float(rng.random() < 0.5)


def _bar(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    x, y = _grid(inks, middle)
    inks[..., 0] = np.minimum(ramp(0.15 - np.abs(x)), ramp(one.size / 2 - np.abs(y)))
    inks[..., 1] = np.minimum(inks[..., 0], ramp(one.size / 6 - np.abs(y)))


_PRINTS = {"text": _text, "number": _number, "picture": _picture, "badge": _badge, "bar": _bar}
