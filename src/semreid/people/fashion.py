"""What people wear, and how often: outfits drawn with the statistics of clothes in public places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from semreid.people.garments import Bag, BagKind, Feet, Gender, Hair, Hat, Head, Hood, Lower, Print, Season, Upper
from semreid.people.palette import (
    ACCENT,
    BAG,
    DARK,
    LOWER,
    OUTER,
    SHOE,
    SKIRT,
    UPPER,
    Generator,
    Lab,
    draw_apart,
    draw_colour,
    draw_near,
    pick,
    shaded,
)
from semreid.people.patterns import WEAVES, Fabric

_HAIR = {"black": 55, "espresso": 21, "brown": 11, "blond": 5, "gray": 5, "auburn": 2, "dyed": 1}
_HAIR_COLOURS = {
    "black": (11, 3, 2.5, 1.5, 60, 30), "espresso": (19, 4, 8, 3, 55, 8), "brown": (32, 6, 17, 4, 62, 7),
    "blond": (62, 9, 25, 6, 82, 5), "gray": (58, 14, 3, 2, 80, 30), "auburn": (31, 6, 28, 6, 48, 7),
    "dyed": (45, 12, 40, 12, 180, 104),
}  # fmt: skip


def seed(rng: Generator) -> int:
    """Draw a seed for the details of a garment."""
    return int(rng.integers(2**31))


def draw_fabric(rng: Generator, weights: Mapping[str, float], kinds: Mapping[str, float]) -> Fabric:
    """Draw a cloth of one of the given kinds, its main colour from the given families."""
    kind = pick(rng, kinds)
    base = draw_colour(rng, weights)
    accents: tuple[Lab, ...] = ()
    for _ in range(WEAVES[kind][1]):
        accents += (draw_apart(rng, ACCENT, (base, *accents)),)
    scale = {
        "quilted": (0.05, 0.1),
        "knit": (0.025, 0.05),
        "plaid": (0.05, 0.16),
        "dots": (0.02, 0.06),
        "pinstripes": (0.012, 0.05),
    }
    low, high = np.log(scale.get(kind, (0.025, 0.13)))
    repeat = float(np.exp(rng.uniform(low, high)))
    return Fabric(base, kind, accents, repeat, rng.uniform(0.2, 0.7), seed(rng), rng.uniform(0.008, 0.03))


_PLAIN = {"plain": 62, "melange": 12, "worn": 6, "stripes": 9, "stripes2": 3, "dots": 1.5, "floral": 3, "gradient": 2,
          "camouflage": 1, "diamonds": 0.7, "zigzag": 0.8, "check": 1, "plaid": 1}  # fmt: skip
_WOVEN = {"plain": 46, "check": 13, "plaid": 20, "pinstripes": 9, "stripes": 3, "dots": 3, "floral": 5, "melange": 3}
_KNITTED = {"plain": 40, "melange": 20, "knit": 20, "stripes": 10, "stripes2": 4, "diamonds": 3, "zigzag": 3}
_LADIES = {"plain": 50, "floral": 14, "dots": 7, "stripes": 7, "gradient": 4, "check": 5, "plaid": 4, "zigzag": 2,
           "melange": 4, "pinstripes": 3}  # fmt: skip
_COATS = {"plain": 66, "melange": 14, "worn": 6, "quilted": 9, "plaid": 3, "check": 2}
_JACKETS = {"plain": 58, "quilted": 20, "worn": 8, "melange": 8, "camouflage": 3, "plaid": 3}
_CLOTHS: dict[str, tuple[Mapping[str, float], Mapping[str, float]]] = {
    "T-shirt": (UPPER, _PLAIN), "tank": (UPPER, _PLAIN), "polo": (UPPER, _PLAIN), "shirt": (UPPER, _WOVEN),
    "blouse": (UPPER, _LADIES), "sweater": (UPPER, _KNITTED), "hoodie": (OUTER, _PLAIN),
    "jacket": (OUTER, _JACKETS), "coat": (OUTER, _COATS), "cardigan": (OUTER, _KNITTED), "suit": (DARK, _COATS),
    "vest": (OUTER, _JACKETS), "dress": (SKIRT, _LADIES), "skirt": (SKIRT, _LADIES),
    "jeans": ({"denim": 42, "washed": 13, "navy": 19, "black": 16, "charcoal": 8, "white": 1.5}, {"worn": 1}),
    "trousers": (LOWER, {"plain": 80, "melange": 10, "worn": 5, "pinstripes": 0.4, "plaid": 1, "check": 0.6,
                         "camouflage": 1.5}),
    "shorts": ({**LOWER, "beige": 12, "washed": 9, "blue": 5, "red": 3},
               {"plain": 62, "worn": 15, "melange": 8, "camouflage": 4, "plaid": 6, "check": 3, "floral": 2}),
}  # fmt: skip
_UPPERS: dict[Season, dict[str, float]] = {
    "warm": {"T-shirt": 55, "polo": 9, "shirt": 17, "tank": 5, "blouse": 5, "dress": 6, "vest": 1},
    "mild": {"T-shirt": 14, "shirt": 16, "sweater": 15, "hoodie": 16, "jacket": 19, "cardigan": 7, "polo": 4,
             "suit": 4, "blouse": 5, "dress": 3, "vest": 2},
    "cold": {"jacket": 42, "coat": 26, "hoodie": 10, "sweater": 9, "suit": 3, "vest": 5, "cardigan": 3},
}  # fmt: skip
_LOWERS: dict[Season, dict[str, float]] = {
    "warm": {"jeans": 28, "trousers": 19, "shorts": 27, "leggings": 6, "track": 5, "cargo": 3, "skirt": 6},
    "mild": {"jeans": 42, "trousers": 27, "shorts": 4, "leggings": 9, "track": 8, "cargo": 4, "skirt": 5},
    "cold": {"jeans": 44, "trousers": 30, "leggings": 11, "track": 8, "cargo": 4, "skirt": 3},
}  # fmt: skip
_LADIES_FIRST = {"blouse": 2.2, "dress": 2.4, "cardigan": 1.6, "skirt": 3.0, "leggings": 2.2, "tank": 1.3, "shirt": 0.7,
                 "polo": 0.4, "hoodie": 0.8, "suit": 0.5, "cargo": 0.4, "shorts": 0.8}  # fmt: skip
_GENTS_FIRST = {"blouse": 0.0, "dress": 0.0, "cardigan": 0.4, "skirt": 0.0, "leggings": 0.1}


def _leaning(weights: Mapping[str, float], gender: Gender) -> dict[str, float]:
    lean = _LADIES_FIRST if gender == "female" else _GENTS_FIRST
    return {kind: weight * lean.get(kind, 1.0) for kind, weight in weights.items()}


def _sleeve(rng: Generator, kind: str, season: Season) -> float:
    if kind == "vest" or (kind == "tank") or (kind == "dress" and rng.random() < 0.4):
        return 0.0
    short = kind in ("T-shirt", "polo", "dress") or (kind in ("shirt", "blouse") and season == "warm")
    long_share = 0.35 if kind == "T-shirt" and season == "mild" else 0.12
    if short and rng.random() > long_share:
        return rng.uniform(0.22, 0.52)
    pushed = {"warm": 0.35, "mild": 0.15, "cold": 0.04}[season]
    return rng.uniform(0.55, 0.9) if rng.random() < pushed else rng.uniform(0.95, 1.0)


def _hem(rng: Generator, kind: str, gender: Gender) -> float:
    if kind == "coat":
        return rng.uniform(1.3, 2.05)
    if kind == "dress":
        return 1.0
    tucked = {"shirt": 0.35, "blouse": 0.35, "T-shirt": 0.1, "polo": 0.2, "tank": 0.2, "sweater": 0.06}.get(kind, 0)
    if rng.random() < tucked:
        return rng.uniform(0.66, 0.71)
    short = rng.uniform(0.76, 0.94)
    return short if rng.random() < (0.35 if gender == "female" else 0.15) else rng.uniform(0.94, 1.2)


_NECKS: dict[str, dict[str, float]] = {
    "T-shirt": {"crew": 75, "v": 15, "scoop": 8}, "tank": {"scoop": 70, "v": 20, "crew": 10}, "polo": {"collar": 1},
    "shirt": {"collar": 1}, "blouse": {"crew": 30, "v": 30, "collar": 30, "boat": 10}, "hoodie": {"hood": 1},
    "sweater": {"crew": 60, "v": 20, "turtle": 20}, "jacket": {"collar": 45, "turtle": 25, "hood": 30},
    "coat": {"collar": 55, "turtle": 15, "hood": 30}, "cardigan": {"v": 70, "crew": 30}, "suit": {"collar": 1},
    "vest": {"turtle": 50, "v": 30, "hood": 20}, "dress": {"crew": 30, "v": 30, "scoop": 30, "boat": 10},
}  # fmt: skip
_BULK = {"sweater": 0.009, "hoodie": 0.012, "jacket": 0.014, "coat": 0.018, "vest": 0.012, "suit": 0.010,
         "cardigan": 0.008}  # fmt: skip
_OPEN = {"jacket": 0.4, "coat": 0.35, "cardigan": 0.75, "suit": 0.75, "hoodie": 0.2, "vest": 0.5, "shirt": 0.16}
_CUTS = {"raglan": 2, "sleeves": 4, "yoke": 3, "chest": 2, "bottom": 2, "sides": 1.5, "stripe": 1.5}


def draw_upper(rng: Generator, gender: Gender, season: Season, dresses: bool = True) -> Upper:
    """Draw an upper garment and what is worn under it."""
    weights = _leaning(_UPPERS[season], gender)
    if not dresses:
        weights.pop("dress", None)
    kind = pick(rng, weights)
    fabric = draw_fabric(rng, *_CLOTHS[kind])
    opening = rng.uniform(0.12, 0.75) if rng.random() < _OPEN.get(kind, 0) else 0.0
    neck = pick(rng, _NECKS[kind])
    blocked = rng.random() < {"T-shirt": 0.1, "hoodie": 0.18, "jacket": 0.25, "vest": 0.2, "sweater": 0.12}.get(kind, 0)
    upper = Upper(
        kind=kind,
        fabric=fabric,
        sleeve=_sleeve(rng, kind, season),
        neck=neck,
        depth=rng.uniform(0.1, 0.24) if kind in ("cardigan", "suit") else rng.uniform(0.02, 0.14),
        hem=_hem(rng, kind, gender),
        bulk=_BULK.get(kind, 0.005) * rng.uniform(0.7, 1.4) * (1.5 if fabric.kind == "quilted" else 1),
        opening=opening,
        closure=_closure(rng, kind),
        trim=draw_colour(rng, ACCENT) if rng.random() < 0.35 else shaded(fabric.base, rng.uniform(-14, 14)),
        cut=pick(rng, _CUTS) if blocked else "none",
        block=draw_apart(rng, ACCENT, (fabric.base,)),
        ribbed=kind in ("sweater", "hoodie", "polo", "jacket") and rng.random() < 0.35,
        pockets=pick(
            rng, {"none": 1, "chest": kind in ("shirt", "T-shirt"), "hips": kind in ("hoodie", "jacket", "coat")}
        ),
        prints=_prints(rng, kind, fabric, opening),
        hood=_hood(rng, neck, season),
        belt=draw_colour(rng, BAG) if kind in ("coat", "dress") and rng.random() < 0.3 else None,
    )
    return _layered(rng, upper, season)


def _closure(rng: Generator, kind: str) -> str:
    ways = {"polo": "placket", "shirt": "buttons", "suit": "buttons", "cardigan": "buttons"}
    if kind in ways:
        return ways[kind]
    if kind in ("jacket", "vest"):
        return "zip" if rng.random() < 0.85 else "buttons"
    return pick(rng, {"coat": {"zip": 4, "buttons": 6}, "hoodie": {"zip": 5, "none": 5}}.get(kind, {"none": 1}))


def _hood(rng: Generator, neck: str, season: Season) -> Hood:
    if neck != "hood":
        return "none"
    return "up" if rng.random() < (0.15 if season == "cold" else 0.06) else "down"


def _layered(rng: Generator, upper: Upper, season: Season) -> Upper:
    outer = upper.kind in ("jacket", "coat", "cardigan", "suit", "vest", "hoodie")
    if not (outer or upper.opening or (upper.hem > 0.74 and rng.random() < 0.06)):
        return upper
    kind = pick(rng, {"T-shirt": 5, "shirt": 3, "sweater": 2}) if upper.kind != "suit" else "shirt"
    fabric = draw_fabric(rng, *_CLOTHS[kind])
    if upper.kind == "suit" and rng.random() < 0.6:
        fabric = replace(fabric, base=draw_colour(rng, {"white": 3, "sky": 1}), kind="plain")
    sleeve = _sleeve(rng, kind, season) if upper.kind == "vest" else 0.0
    below = min(upper.hem, 1.0) + rng.uniform(0.03, 0.1) if rng.random() < 0.3 else 0.0
    return replace(upper, inner=fabric, inner_sleeve=sleeve, inner_hem=below if upper.hem < 1 else 0.0)


def _prints(rng: Generator, kind: str, fabric: Fabric, opening: float) -> tuple[Print, ...]:
    share = {"T-shirt": 0.5, "hoodie": 0.45, "sweater": 0.25, "jacket": 0.35, "tank": 0.4, "polo": 0.25, "vest": 0.2}
    if fabric.kind not in ("plain", "melange", "worn", "quilted", "gradient") or rng.random() > share.get(kind, 0):
        return ()
    return draw_prints(rng, fabric, bool(opening), small=kind in ("jacket", "polo", "vest"))


def draw_prints(rng: Generator, fabric: Fabric, is_open: bool, small: bool = False) -> tuple[Print, ...]:
    """Draw one or two prints of a garment: at the front, at the back or on both, each side its own.

    An open front cannot be printed; at the front of a ``small`` one there is only a badge.
    """
    places = (True,) if is_open else pick(rng, {(False,): 5.0, (True,): 2.5, (False, True): 2.5})
    return tuple(_print(rng, fabric, back, small) for back in places)


def _print(rng: Generator, fabric: Fabric, back: bool, small: bool) -> Print:
    ink = draw_apart(rng, ACCENT, (fabric.base,), 30)
    colours = ink, draw_apart(rng, ACCENT, (fabric.base, ink))
    if not back and (small or rng.random() < 0.3):
        return Print("badge", back, rng.choice((-1, 1)) * 0.09, rng.uniform(0.15, 0.2), rng.uniform(0.03, 0.06),
                     colours, seed(rng))  # fmt: skip
    kind = pick(rng, {"text": 4, "number": 1.5, "picture": 4, "bar": 1})
    size = {"text": rng.uniform(0.04, 0.16), "bar": rng.uniform(0.04, 0.1)}.get(kind, rng.uniform(0.1, 0.26))
    return Print(kind, back, rng.uniform(-0.02, 0.02), rng.uniform(0.16, 0.3), float(size), colours, seed(rng))


def draw_lower(rng: Generator, gender: Gender, season: Season, upper: Upper) -> Lower:
    """Draw what is worn below; to a dress belongs its own lower part."""
    if upper.kind == "dress":
        return Lower("dress", upper.fabric, _skirt_end(rng, season), flare=rng.uniform(0.0, 0.05))
    kind = "trousers" if upper.kind == "suit" and rng.random() < 0.75 else pick(rng, _leaning(_LOWERS[season], gender))
    fabric = draw_fabric(rng, *_CLOTHS.get(kind, _CLOTHS["trousers"]))
    if (upper.kind, kind) in (("suit", "trousers"), ("hoodie", "track"), ("jacket", "track")) and rng.random() < 0.5:
        fabric = replace(upper.fabric, kind="plain")
    end = rng.uniform(0.22, 0.52) if kind == "shorts" else rng.uniform(0.93, 1.0)
    if kind == "skirt":
        end = _skirt_end(rng, season)
    elif kind in ("jeans", "leggings", "trousers") and rng.random() < 0.14:
        end = rng.uniform(0.68, 0.92)
    tight = kind == "leggings" or (kind == "jeans" and rng.random() < 0.45)
    bulk = rng.uniform(0.001, 0.003) if tight else rng.uniform(0.003, 0.01)
    wide = 0.0 if tight else pick(rng, {0.0: 9, 0.01: 2, 0.022: 0.6}) * rng.uniform(0.5, 1)
    return Lower(
        kind,
        fabric,
        end,
        bulk=bulk,
        cuff=bulk + wide,
        flare=rng.uniform(0.0, 0.05),
        fade=rng.uniform(0, 0.45) if kind == "jeans" else 0.0,
        stripe=draw_apart(rng, ACCENT, (fabric.base,)) if kind == "track" and rng.random() < 0.7 else None,
        belt=draw_colour(rng, {"black": 5, "brown": 4, "white": 1}) if rng.random() < 0.5 else None,
        turn_up=kind in ("jeans", "shorts", "trousers") and rng.random() < 0.15,
        creased=kind == "trousers" and rng.random() < 0.4,
    )


def _skirt_end(rng: Generator, season: Season) -> float:
    return rng.uniform(0.24, 0.5) if rng.random() < (0.65 if season == "warm" else 0.5) else rng.uniform(0.5, 0.9)


def draw_feet(rng: Generator, gender: Gender, season: Season, lower: Lower) -> Feet:
    """Draw shoes, and socks or tights where legs are bare."""
    kinds = {"trainers": 58, "leather": 22, "boots": 2 if season == "warm" else 14}
    kinds |= {"ballerinas": 15 if gender == "female" else 0, "sandals": 10 if season == "warm" else 0}
    kind = pick(rng, kinds)
    colour = draw_colour(rng, {"black": 6, "brown": 4} if kind in ("leather", "boots") else SHOE)
    sole = draw_colour(rng, {"white": 5, "black": 3, "beige": 1} if kind == "trainers" else {"black": 4, "brown": 1})
    tights = lower.is_skirt and rng.random() < {"warm": 0.15, "mild": 0.55, "cold": 0.9}[season]
    socks = rng.random() < 0.75 and kind in ("trainers", "leather", "boots")
    return Feet(
        kind,
        colour,
        draw_colour(rng, ACCENT),
        sole,
        shaft=float(rng.choice((rng.uniform(0.55, 0.7), rng.uniform(0.8, 0.95)))) if kind == "boots" else 1.0,
        sock=draw_colour(rng, {"black": 5, "white": 3, "gray": 2, "navy": 1, "beige": 1}) if tights or socks else None,
        sock_top=0.0 if tights else rng.uniform(0.7, 0.97),
        seed=seed(rng),
    )


_STYLES: dict[Gender, dict[Hair, float]] = {
    "female": {"long": 40, "ponytail": 18, "bob": 18, "bun": 10, "short": 14},
    "male": {"short": 89, "none": 7, "bob": 3, "ponytail": 0.5, "bun": 0.5},
}
_HATS: dict[Hat, float] = {"none": 89, "cap": 8, "brim": 3}
_COLD_HATS: dict[Hat, float] = {"none": 80, "cap": 6, "beanie": 12, "brim": 2}


def _skin(rng: Generator) -> Lab:
    """Draw a tone along the range of human skin, from very light to very dark."""
    depth = rng.beta(1.1, 1.6)
    light = 77 - 48 * depth + 2 * rng.standard_normal()
    red = 8 + 9 * np.sin(np.pi * min(1.0, depth + 0.1)) + 1.5 * rng.standard_normal()
    yellow = 13 + 11 * np.sin(np.pi * (0.15 + 0.75 * depth)) + 1.5 * rng.standard_normal()
    return float(light), float(red), float(yellow)


def draw_head(rng: Generator, gender: Gender, season: Season) -> Head:
    """Draw skin, hair, face and headwear."""
    style = pick(rng, _STYLES[gender])
    colour = draw_colour(rng, BAG)
    mask = pick(rng, {"none": 93, "white": 3, "sky": 2, "black": 2})
    return Head(
        skin=_skin(rng),
        hair=draw_near(rng, _HAIR_COLOURS[pick(rng, _HAIR)]),
        style=style,
        bulk=rng.uniform(0.003, 0.012) if style == "short" else rng.uniform(0.006, 0.016),
        hairline=rng.uniform(0.17, 0.27) if gender == "male" else rng.uniform(0.2, 0.27),
        fringe=rng.uniform(0.2, 1) if rng.random() < 0.5 else 0.0,
        parting=rng.uniform(-0.8, 0.8),
        length=rng.uniform(0.08, 0.42),
        parted=rng.random() < 0.35,
        beard=rng.uniform(0.15, 0.9) if gender == "male" and rng.random() < 0.28 else 0.0,
        glasses=draw_colour(rng, {"black": 6, "brown": 2, "silver": 2}) if rng.random() < 0.22 else None,
        mask=None if mask == "none" else draw_colour(rng, {mask: 1}),
        hat=pick(rng, _COLD_HATS if season == "cold" else _HATS),
        hat_colour=colour,
        hat_accent=draw_apart(rng, ACCENT, (colour,)) if rng.random() < 0.5 else colour,
        scarf=draw_fabric(rng, UPPER, _KNITTED) if rng.random() < (0.2 if season == "cold" else 0.01) else None,
        seed=seed(rng),
    )


def draw_bag(rng: Generator, kinds: Mapping[BagKind, float]) -> Bag:
    """Draw a bag of one of the given kinds."""
    kind = pick(rng, kinds)
    weaves = {"plain": 74, "worn": 10, "melange": 5, "camouflage": 2, "floral": 3, "check": 2, "stripes": 2}
    fabric = draw_fabric(rng, BAG, weaves)
    plain = rng.random() < 0.6
    return Bag(
        kind,
        fabric,
        accent=shaded(fabric.base, rng.uniform(-12, 16)) if plain else draw_apart(rng, ACCENT, (fabric.base,)),
        strap=fabric.base if rng.random() < 0.5 else draw_colour(rng, {"black": 7, "brown": 2, "gray": 1}),
        size=rng.uniform(0.75, 1.2),
        layout=int(rng.integers(4)),
        label=draw_apart(rng, ACCENT, (fabric.base,)) if rng.random() < 0.35 else None,
        across=kind == "shoulder" and rng.random() < 0.55,
        side=int(rng.choice((-1, 1))),
    )
