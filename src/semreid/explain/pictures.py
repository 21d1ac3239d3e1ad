"""Pictures for pages: crops of bounded size, heat over them, and all of it inside the file."""

from __future__ import annotations

from base64 import b64encode

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""RGB (H, W, 3)."""

SIDE = 320
"""Longest side that is stored, in pixels: sharp at half the size on any screen."""
STRONGEST = 0.72  # opacity of the hottest spot: the crop below stays to be seen
QUALITY = 88


def fitted(picture: Picture, side: int = SIDE) -> Picture:
    """Shrink a picture until it fits; a small one stays as it is.

    Args:
        picture: RGB (H, W, 3).
        side: The longest side that is wanted.

    Returns:
        RGB, of the same proportions.

    Example:
        >>> fitted(np.zeros((640, 300, 3), np.uint8)).shape
        (320, 150, 3)
    """
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(1, round(n * scale)) for n in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def heat_over(picture: Picture, heat: NDArray[np.float32]) -> Picture:
    """Lay heat over a picture that loses most of its colour, from clear (none) to yellow (the most in it).

    Args:
        picture: RGB (H, W, 3).
        heat: Heat on any grid over the whole picture, (h, w); below zero it is none.

    Returns:
        RGB, as `fitted`.
    """
    base = fitted(picture)
    height, width = base.shape[:2]
    smooth: NDArray[np.float32] = (
        cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC).clip(0).astype(np.float32)
    )
    level: NDArray[np.float32] = smooth / np.maximum(smooth.max(), np.finfo(np.float32).tiny)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.uint8)
    return tinted(base, colours, STRONGEST * level)


def tinted(picture: Picture, colours: NDArray[np.uint8], opacity: NDArray[np.float32]) -> Picture:
    """Take most of its colour out of a picture, and lay other colours over it.

    Args:
        picture: RGB (H, W, 3).
        colours: RGB (H, W, 3).
        opacity: From 0, where the picture is seen, to 1, where the colours are, (H, W).

    Returns:
        RGB (H, W, 3).
    """
    grey = 0.55 * picture.mean(axis=2, keepdims=True) + 0.45 * picture
    mixed: NDArray[np.float64] = grey + opacity[..., None] * (colours - grey)
    return np.rint(mixed).astype(np.uint8)


def jpeg(picture: Picture, side: int = SIDE) -> bytes:
    """Encode a picture anew, so that nothing of a file but its pixels is kept.

    Args:
        picture: RGB (H, W, 3); shrunk as by `fitted`.
        side: The longest side that is wanted.

    Returns:
        A JPEG file.
    """
    return cv2.imencode(".jpg", fitted(picture, side)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def data_uri(content: bytes) -> str:
    """Write a JPEG file as an address, so that a page can hold it.

    Returns:
        A ``data:`` URI.
    """
    return f"data:image/jpeg;base64,{b64encode(content).decode()}"
