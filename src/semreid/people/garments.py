"""Garments, heads and bags as data: all that decides how they are painted and what shape they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from semreid.people.palette import Lab
from semreid.people.patterns import Fabric
from semreid.people.shape import Silhouette

Gender = Literal["female", "male"]
Season = Literal["warm", "mild", "cold"]
Hair = Literal["none", "short", "bob", "long", "bun", "ponytail"]
Hat = Literal["none", "cap", "beanie", "brim"]
Hood = Literal["none", "up", "down"]
BagKind = Literal["backpack", "hand", "shoulder"]


@dataclass(frozen=True)
class Print:
    """Something printed on the upper garment: a number, text, a picture or a badge.

    Attributes:
        kind: "text", "number", "picture", "badge" or "bar".
        back: On the back instead of the front.
        x: Centre, metres to the person's left of the middle.
        y: Centre, metres below the neck.
        size: Height in metres.
        colours: Ink colours, two.
        seed: Decides letters and shapes.
    """

    kind: str
    back: bool
    x: float
    y: float
    size: float
    colours: tuple[Lab, Lab]
    seed: int


@dataclass(frozen=True)
class Upper:
    """The upper garment, with what is worn under it.

    Attributes:
        kind: T-shirt, shirt, jacket and so on.
        fabric: Its cloth.
        sleeve: Where its sleeves end, t on the arm; 0 sleeveless.
        neck: "crew", "v", "scoop", "boat", "collar", "turtle" or "hood".
        depth: Depth of the neckline in metres.
        hem: Where it ends, t on the torso; from 1 on it hangs ``hem - 1`` lower (1 more: knee-long).
        bulk: Thickness as a share of stature.
        opening: Half width of an open front in radians; 0 is closed.
        closure: "none", "zip", "buttons" or "placket".
        trim: Colour of closure, cuffs and other details.
        cut: Colour blocking: "none", "raglan", "sleeves", "yoke", "chest", "bottom", "sides" or "stripe".
        block: Colour of the blocks.
        ribbed: Cuffs and hem in the trim colour.
        pockets: "none", "chest" or "hips".
        prints: What is printed on it.
        inner: Cloth of what is worn under it, visible at the neck, in the opening and below.
        inner_sleeve: Where the sleeves of the inner garment end, t on the arm.
        inner_hem: Where the inner garment ends, t on the torso.
        hood: "none", "down" or "up".
        belt: Belt around the waist of a coat or dress.
    """

    kind: str
    fabric: Fabric
    sleeve: float
    neck: str = "crew"
    depth: float = 0.05
    hem: float = 1.0
    bulk: float = 0.005
    opening: float = 0.0
    closure: str = "none"
    trim: Lab = (50.0, 0.0, 0.0)
    cut: str = "none"
    block: Lab = (50.0, 0.0, 0.0)
    ribbed: bool = False
    pockets: str = "none"
    prints: tuple[Print, ...] = ()
    inner: Fabric | None = None
    inner_sleeve: float = 0.0
    inner_hem: float = 0.0
    hood: Hood = "none"
    belt: Lab | None = None


@dataclass(frozen=True)
class Lower:
    """Trousers or skirt.

    Attributes:
        kind: "jeans", "trousers", "leggings", "track", "cargo", "shorts", "skirt" or "dress" (the lower part of one).
        fabric: Its cloth.
        end: Where it ends, t on the leg.
        bulk: Thickness at the thigh, share of stature.
        cuff: Thickness at the end.
        flare: Widening of a skirt.
        fade: Strength of the fading on thigh and knee.
        stripe: Colour of a stripe along the side.
        belt: Colour of a belt.
        turn_up: Turned-up ends show the lighter inside.
        creased: Ironed creases.
    """

    kind: str
    fabric: Fabric
    end: float
    bulk: float = 0.006
    cuff: float = 0.006
    flare: float = 0.02
    fade: float = 0.0
    stripe: Lab | None = None
    belt: Lab | None = None
    turn_up: bool = False
    creased: bool = False

    @property
    def is_skirt(self) -> bool:
        """Whether both legs share it."""
        return self.kind in ("skirt", "dress")


@dataclass(frozen=True)
class Feet:
    """Shoes and what covers the leg above them.

    Attributes:
        kind: "trainers", "leather", "boots", "ballerinas" or "sandals".
        colour: Main colour.
        accent: Colour of stripes and laces.
        sole: Colour of the sole.
        shaft: Where the shaft of boots begins, t on the leg; 1 without.
        sock: Colour of socks or tights; None shows skin.
        sock_top: Where they begin, t on the leg; 0 for tights.
        seed: Decides the pattern of the shoe.
    """

    kind: str
    colour: Lab
    accent: Lab
    sole: Lab
    shaft: float
    sock: Lab | None
    sock_top: float
    seed: int


@dataclass(frozen=True)
class Head:
    """Skin, hair, face and what is worn on the head.

    Attributes:
        skin: Colour of the skin.
        hair: Colour of the hair.
        style: Style of the hair.
        bulk: Thickness of the hair, share of stature.
        hairline: Where the forehead begins, t on the head.
        fringe: How far a fringe covers the forehead, 0 to 1.
        parting: Angle of the parting.
        length: How far long hair falls over the back, t on the torso.
        parted: Whether some of long hair falls over the shoulders to the front.
        beard: Strength of a beard, 0 to 1.
        glasses: Colour of glasses; None without.
        mask: Colour of a face mask; None without.
        hat: Kind of hat.
        hat_colour: Its colour.
        hat_accent: Colour of its badge or band; often its own.
        scarf: Cloth of a scarf around the neck; None without.
        seed: Decides face and strands.
    """

    skin: Lab
    hair: Lab
    style: Hair
    bulk: float
    hairline: float
    fringe: float
    parting: float
    length: float
    parted: bool
    beard: float
    glasses: Lab | None
    mask: Lab | None
    hat: Hat
    hat_colour: Lab
    hat_accent: Lab
    scarf: Fabric | None
    seed: int


@dataclass(frozen=True)
class Bag:
    """A backpack, a bag in the hand or one hanging from the shoulder.

    Attributes:
        kind: "backpack", "hand" or "shoulder".
        fabric: Its cloth.
        accent: Colour of pocket, flap or badge.
        strap: Colour of the straps.
        size: Size relative to the usual one.
        layout: Which of the arrangements of panels.
        label: Colour of a label; None without.
        across: Whether the strap of a shoulder bag runs across the chest.
        side: +1: carried on the left, -1: on the right.
    """

    kind: BagKind
    fabric: Fabric
    accent: Lab
    strap: Lab
    size: float
    layout: int
    label: Lab | None
    across: bool
    side: int


@dataclass(frozen=True)
class Outfit:
    """The looks of a person, all that a seed decides about them except body and pose.

    Attributes:
        gender: Whose styles the clothes follow.
        season: Which weather they are for.
        upper: Upper garment and what is under it.
        lower: Trousers or skirt.
        feet: Shoes, socks or tights.
        head: Skin, hair, face and headwear.
        backpack: Backpack, or None.
        bag: Bag in the hand or from the shoulder, or None.
        watch: Whether there is a watch on the left wrist.
    """

    gender: Gender
    season: Season
    upper: Upper
    lower: Lower
    feet: Feet
    head: Head
    backpack: Bag | None
    bag: Bag | None
    watch: bool

    @property
    def silhouette(self) -> Silhouette:
        """The geometry that fits what is painted."""
        upper, lower, head = self.upper, self.lower, self.head
        hanging = upper.hem - 0.9
        trouser_end = lower.end if not lower.is_skirt else 0.0
        shaft = self.feet.shaft
        return Silhouette(
            torso_bulk=upper.bulk,
            sleeve_bulk=0.6 * upper.bulk,
            sleeve_end=max(upper.sleeve, upper.inner_sleeve),
            hem=float(np.clip(hanging, 0.01, 1.2)) if upper.hem > 0.72 and upper.kind != "dress" else 0.0,
            hem_flare=0.004 + lower.bulk + (0.012 if upper.kind == "coat" else 0.0),
            leg_bulk=lower.bulk,
            cuff_bulk=max(lower.cuff, 0.004 if shaft < 1 else 0.0),
            trouser_end=trouser_end,
            skirt_end=lower.end if lower.is_skirt else 0.0,
            skirt_flare=lower.flare,
            hair="short" if upper.hood == "up" else head.style,
            hair_bulk=head.bulk if head.style != "none" else 0.0,
            hat=head.hat if upper.hood != "up" else "none",
            hood=upper.hood,
            backpack=0.0 if self.backpack is None else self.backpack.size,
            bag="none" if self.bag is None or self.bag.kind == "backpack" else self.bag.kind,
            bag_size=0.15 if self.bag is None else 0.15 * self.bag.size,
        )
