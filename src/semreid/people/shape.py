"""The proportions of a person, and what clothes, hair and bags add to the outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Proportions of a person.

    Attributes:
        stature: Height in metres.
        girth: Thickness of trunk and limbs relative to the average (0.8 slim to 1.35 heavy).
        hips: Width of the hips relative to the average.
        shoulders: Width of the shoulders relative to the average.
        belly: Depth added to the belly, share of stature (0 to 0.04).
        bust: Depth added to the chest, share of stature (0 to 0.02).
        legs: Length of the legs relative to the average.
        arms: Length of the arms relative to the average.
        head: Size of the head relative to the average.
    """

    stature: float = 1.70
    girth: float = 1.0
    hips: float = 1.0
    shoulders: float = 1.0
    belly: float = 0.0
    bust: float = 0.0
    legs: float = 1.0
    arms: float = 1.0
    head: float = 1.0


@dataclass(frozen=True)
class Silhouette:
    """What clothes, hair and bags add to the outline of a body. Lengths are shares of stature unless said.

    Attributes:
        torso_bulk: Thickness of what covers the trunk (0.003 T-shirt to 0.03 winter jacket).
        sleeve_bulk: Thickness of the sleeves.
        sleeve_end: Where the sleeves end, t on the arm chart (0 sleeveless, 1 wrist).
        hem: How far the upper garment hangs down: 0 tucked in, 0.3 hip, 1 knee-long coat. The bottom of the
            torso chart hangs with it.
        hem_flare: Widening at the hem.
        leg_bulk: Thickness of the trousers at the thigh.
        cuff_bulk: Thickness at the lower end of the trousers (more than ``leg_bulk``: wide-legged).
        trouser_end: Where the trousers end, t on the leg chart (0.35 shorts, 1 full length).
        skirt_end: Where the skirt or dress ends, t on the leg chart; 0 is no skirt. The skirt is the leg
            charts widened until they meet.
        skirt_flare: Widening of the skirt at its end.
        hair: Style of the hair.
        hair_bulk: Thickness of the hair.
        hat: Kind of hat.
        hood: Hood up over the head, down on the back, or none.
        backpack: Size of a backpack relative to the usual one; 0 is none.
        bag: Bag in the hand, at the hip from the shoulder, or none.
        bag_size: Height of the bag.
    """

    torso_bulk: float = 0.005
    sleeve_bulk: float = 0.004
    sleeve_end: float = 0.4
    hem: float = 0.2
    hem_flare: float = 0.005
    leg_bulk: float = 0.006
    cuff_bulk: float = 0.006
    trouser_end: float = 1.0
    skirt_end: float = 0.0
    skirt_flare: float = 0.03
    hair: Literal["none", "short", "bob", "long", "bun", "ponytail"] = "short"
    hair_bulk: float = 0.008
    hat: Literal["none", "cap", "beanie", "brim"] = "none"
    hood: Literal["none", "up", "down"] = "none"
    backpack: float = 0.0
    bag: Literal["none", "hand", "shoulder"] = "none"
    bag_size: float = 0.15


def draw_shape(rng: np.random.Generator, female: bool) -> Shape:
    """Draw the proportions of a person, from one of two overlapping populations."""
    heavy = float(np.clip(rng.normal(0, 1), -1.6, 2.6))

    def near(mean: float, deviation: float) -> float:
        return float(mean + deviation * np.clip(rng.normal(), -2, 2))

    return Shape(
        stature=near(1.62 if female else 1.74, 0.065),
        girth=near(1.08 if female else 1.15, 0.05) + 0.09 * heavy,
        hips=near(1.06 if female else 0.97, 0.04),
        shoulders=near(0.92 if female else 1.04, 0.035),
        belly=max(0.0, 0.010 * heavy),
        bust=near(0.012, 0.004) if female else 0.0,
        legs=near(1.0, 0.025),
        arms=near(1.0, 0.02),
        head=near(1.1, 0.04) * (1.67 / 1.70),
    )
