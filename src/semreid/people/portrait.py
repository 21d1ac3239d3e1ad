"""Paint the head: face, hair, neck and headwear."""

from __future__ import annotations

from math import pi

import numpy as np

from semreid.atlas import CHIN
from semreid.people.garments import Head, Outfit, Upper
from semreid.people.patch import BACK, Patch, darker, lay_skin, strands
from semreid.people.patterns import Fabric, noise, ramp


def lay_head(patch: Patch, outfit: Outfit) -> None:
    """Paint the head of a person."""
    head, upper = outfit.head, outfit.upper
    lay_skin(patch, head)
    _face(patch, head)
    _hair(patch, head)
    if head.mask is not None:
        patch.lay(head.mask, np.minimum(patch.columns(0.0, 1.15), patch.rows(0.47, CHIN + 0.04)))
        patch.shade(0.85, np.minimum(patch.columns(0.0, 1.15), patch.rows(0.57, 0.59)))
    _neck(patch, head, upper)
    _hat(patch, head)
    if upper.hood == "up":
        patch.lay(upper.fabric, 1 - patch.spot(0.0, 0.46, 0.85, 0.27))
        patch.shade(0.75, patch.spot(0.0, 0.46, 0.95, 0.29) - patch.spot(0.0, 0.46, 0.85, 0.27))


def _face(patch: Patch, head: Head) -> None:
    dark = darker(head.hair, 0.7)
    for side in (-1, 1):
        patch.shade(0.72, patch.spot(side * 0.36, 0.40, 0.26, 0.055) * 0.7)
        patch.lay((86.0, 1.0, 3.0), patch.spot(side * 0.36, 0.405, 0.15, 0.022) * 0.8)
        patch.lay((16.0, 3.0, 6.0), patch.spot(side * 0.36, 0.405, 0.085, 0.026))
        patch.lay(dark, patch.spot(side * 0.37, 0.355, 0.22, 0.018) * 0.8)
        patch.shade(0.82, patch.spot(side * 1.5, 0.44, 0.16, 0.07))  # ears
    patch.shade(1.08, patch.spot(0.0, 0.46, 0.09, 0.09))
    patch.shade(0.78, patch.spot(0.0, 0.53, 0.16, 0.018))
    light, a, b = head.skin
    patch.lay((light * 0.78, a + 12, b), patch.spot(0.0, 0.59, 0.24, 0.022) * 0.8)
    if head.beard:
        jaw = np.minimum(patch.rows(0.5, CHIN + 0.05), patch.columns(0.0, 1.35))
        bare = np.maximum(patch.spot(0.0, 0.46, 0.8, 0.1), patch.spot(0.0, 0.59, 0.22, 0.02))
        patch.lay(strands(patch, head), head.beard * (jaw - bare).clip(0, 1))
    if head.glasses is not None:
        for side in (-1, 1):
            rim = patch.spot(side * 0.37, 0.405, 0.28, 0.062) - patch.spot(side * 0.37, 0.405, 0.21, 0.042)
            patch.lay(head.glasses, rim.clip(0, 1))
        patch.lay(
            head.glasses,
            np.minimum(patch.rows(0.385, 0.405), 1 - patch.columns(BACK, pi - 1.5)) * (np.abs(patch.angle) > 0.6),
        )


def _hair(patch: Patch, head: Head) -> None:
    if head.style == "none":
        patch.shade(0.93, patch.above(0.3))
        return
    cover = strands(patch, head)
    near = np.abs(patch.angle)
    uneven = 0.03 * noise(patch.around, patch.along * 0, 0.03, head.seed + 1)
    line = head.hairline + uneven + 0.1 * head.fringe * ramp(0.9 - near, 0.3)
    line = line + 0.05 * np.minimum(np.abs(patch.angle - head.parting), 1) * (head.fringe > 0)
    sides = {"long": 1.0, "bob": 0.68 + 0.2 * head.length, "ponytail": 0.5, "bun": 0.5}.get(head.style, 0.42)
    nape = {"long": 1.0, "bob": 0.72 + 0.25 * head.length}.get(head.style, 0.66 + 0.1 * head.length)
    face = {"long": 0.85, "bob": 0.9}.get(head.style, 1.15)
    turn = ((near - face) / 0.25).clip(0, 1)
    behind = ((near - 1.75) / 0.35).clip(0, 1)
    end = line + turn * (sides - line) + behind * (nape - sides)
    hairy = patch.above(end)
    if head.style == "ponytail":
        hairy = np.maximum(hairy, patch.columns(BACK, 0.36))
    patch.lay(cover, hairy)
    if head.style in ("bun", "ponytail"):
        patch.shade(0.7, patch.spot(BACK, 0.25 if head.style == "bun" else 0.4, 0.3, 0.08))
    patch.shade(0.75, np.minimum(patch.columns(head.parting, 0.05), patch.above(head.hairline)) * (head.fringe > 0.5))


def _neck(patch: Patch, head: Head, upper: Upper) -> None:
    patch.shade(0.85, np.minimum(patch.rows(CHIN, CHIN + 0.1), patch.columns(0.0, 1.3)))
    if upper.neck == "turtle":
        patch.lay(upper.fabric, patch.below(0.84))
    elif upper.hood == "down":
        patch.lay(upper.fabric, np.minimum(patch.below(0.79), patch.columns(BACK, pi - 1.0)))
        patch.shade(0.7, np.minimum(patch.rows(0.79, 0.82), patch.columns(BACK, pi - 1.0)))
    elif upper.neck in ("collar", "hood"):
        patch.lay(upper.fabric, np.minimum(patch.below(0.87), 1 - patch.columns(0.0, 0.5)))
    if head.scarf is not None:
        patch.lay(head.scarf, patch.below(0.78))


def _hat(patch: Patch, head: Head) -> None:
    if head.hat == "none":
        return
    edge = 0.33
    crown = patch.above(edge)
    patch.lay(Fabric(head.hat_colour, "knit" if head.hat == "beanie" else "plain", (), 0.03, 0.5, head.seed), crown)
    if head.hat == "cap":
        patch.shade(0.75, np.minimum(crown, patch.below(edge - 0.03)))
        patch.lay(head.hat_accent, patch.spot(0.0, 0.2, 0.3, 0.05))
    else:
        patch.lay(head.hat_accent, np.minimum(crown, patch.below(edge - (0.07 if head.hat == "beanie" else 0.06))))
