"""The wardrobe: what a person looks like apart from the body, drawn from a seed and painted over the body atlas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from semreid.atlas import CHARTS, CHIN, SIZE
from semreid.people import fashion
from semreid.people.garments import BagKind, Gender, Outfit, Season
from semreid.people.palette import Generator, colour_name, pick


def draw_outfit(rng: Generator) -> Outfit:
    """Draw the looks of a new person; the same state of the generator gives the same outfit.

    >>> a, b = (draw_outfit(np.random.default_rng(7)) for _ in range(2))
    >>> a == b
    True
    """
    gender: Gender = "female" if rng.random() < 0.47 else "male"
    season: Season = pick(rng, {"warm": 4, "mild": 4, "cold": 2})
    return _dressed(rng, gender, season)


def _dressed(rng: Generator, gender: Gender, season: Season, dresses: bool = True) -> Outfit:
    upper = fashion.draw_upper(rng, gender, season, dresses)
    lower = fashion.draw_lower(rng, gender, season, upper)
    carries = pick(rng, {"none": 43, "backpack": 29, "bag": 24, "both": 4})
    hand: dict[BagKind, float] = {"hand": 5, "shoulder": 5 if gender == "female" else 4}
    return Outfit(
        gender=gender,
        season=season,
        upper=upper,
        lower=lower,
        feet=fashion.draw_feet(rng, gender, season, lower),
        head=fashion.draw_head(rng, gender, season),
        backpack=fashion.draw_bag(rng, {"backpack": 1}) if carries in ("backpack", "both") else None,
        bag=fashion.draw_bag(rng, hand if carries == "bag" else {"hand": 1}) if carries in ("bag", "both") else None,
        watch=rng.random() < 0.25,
    )


def relative(outfit: Outfit, rng: Generator) -> Outfit:
    """Draw somebody who is easily mistaken for the wearer of an outfit: a hard negative.

    It shares the upper or the lower garment, or everything but one detail; see ``RELATIONS``.
    """
    return RELATIONS[pick(rng, _RELATION_WEIGHTS)](outfit, rng)


def _same_upper(outfit: Outfit, rng: Generator) -> Outfit:
    other = _dressed(rng, outfit.gender, outfit.season, dresses=False)
    if outfit.lower.kind == "dress":
        return replace(other, upper=outfit.upper, lower=outfit.lower)
    return replace(other, upper=outfit.upper)


def _same_lower(outfit: Outfit, rng: Generator) -> Outfit:
    if outfit.lower.kind == "dress":
        return _same_upper(outfit, rng)
    return replace(_dressed(rng, outfit.gender, outfit.season, dresses=False), lower=outfit.lower)


def _same_clothes(outfit: Outfit, rng: Generator) -> Outfit:
    """Change the person and what they carry, as among those who wear a uniform."""
    other = _dressed(rng, outfit.gender, outfit.season)
    return replace(outfit, head=other.head, bag=other.bag, backpack=other.backpack)


def _other_bag(outfit: Outfit, rng: Generator) -> Outfit:
    if outfit.backpack is None:
        return replace(outfit, backpack=fashion.draw_bag(rng, {"backpack": 1}))
    return replace(outfit, backpack=None)


def _other_feet(outfit: Outfit, rng: Generator) -> Outfit:
    return replace(outfit, feet=fashion.draw_feet(rng, outfit.gender, outfit.season, outfit.lower))


def _other_head(outfit: Outfit, rng: Generator) -> Outfit:
    return replace(outfit, head=fashion.draw_head(rng, outfit.gender, outfit.season))


def _other_logo(outfit: Outfit, rng: Generator) -> Outfit:
    fresh = fashion.draw_prints(rng, outfit.upper.fabric, bool(outfit.upper.opening))
    return replace(outfit, upper=replace(outfit.upper, prints=fresh))


def _other_shade(outfit: Outfit, rng: Generator) -> Outfit:
    fabric = outfit.upper.fabric
    light, a, b = fabric.base
    step = rng.uniform(9, 16) * (1 if rng.random() < 0.5 else -1)
    step = step if 8 < light + step < 92 else -step
    turn = rng.uniform(-0.35, 0.35)
    base = (light + step, a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn))
    upper = replace(outfit.upper, fabric=replace(fabric, base=base))
    dress = outfit.lower.kind == "dress"
    return replace(outfit, upper=upper, lower=replace(outfit.lower, fabric=upper.fabric) if dress else outfit.lower)


RELATIONS: dict[str, Callable[[Outfit, Generator], Outfit]] = {
    "upper": _same_upper,
    "lower": _same_lower,
    "clothes": _same_clothes,
    "bag": _other_bag,
    "feet": _other_feet,
    "head": _other_head,
    "logo": _other_logo,
    "shade": _other_shade,
}
"""What a relative shares ("upper", "lower", "clothes") or what alone sets them apart (the rest)."""
_RELATION_WEIGHTS = {"upper": 3, "lower": 3, "clothes": 1, "bag": 1, "feet": 1, "head": 1, "logo": 1, "shade": 2}


def folds(outfit: Outfit, rng: Generator) -> NDArray[np.float32]:
    """Draw the shading of cloth folds in one picture.

    It is a factor of the light, 0.3 to 1.7 and 1 on skin, over the atlas, (256, 256).
    """
    fields = _fold_fields()
    first, second = rng.integers(len(fields), size=2)
    shift = rng.integers(256, size=(2, 2))
    mixed = np.roll(fields[first], shift[0], (0, 1)) + np.roll(fields[second][:, ::-1], shift[1], (0, 1))
    _close_seam(mixed)
    factor: NDArray[np.float32] = mixed * _fold_strength(outfit, rng.uniform(1.0, 3.2)) + np.float32(1)
    return factor.clip(0.3, 1.7)


@cache
def _fold_fields() -> NDArray[np.float32]:
    """Return periodic fields of cloth folds, means 0 and values in about [-1, 1], (6, 256, 256)."""
    return np.stack([_fold_field(index) for index in range(6)])


def _fold_field(index: int) -> NDArray[np.float32]:
    rng = np.random.default_rng((41, index))
    fx, fy = np.meshgrid(np.fft.fftfreq(SIZE, 1 / SIZE), np.fft.fftfreq(SIZE, 1 / SIZE))
    total = np.zeros((SIZE, SIZE))
    for turn in rng.uniform(-0.7, 0.7, 3):
        across, along = fy * np.cos(turn) - fx * np.sin(turn), fx * np.cos(turn) + fy * np.sin(turn)
        filtered = np.exp(-(((np.abs(across) - 9) / 5) ** 2) - (along / 5) ** 2)
        wave = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * filtered).real
        total += wave / wave.std()
    ridged = np.tanh(total / 2.2)
    return np.asarray(ridged - ridged.mean(), np.float32)


def _close_seam(field: NDArray[np.float32]) -> None:
    """Let the folds of the torso run across its seam: fade its last columns into what precedes its first ones."""
    over, (rows, columns) = 16, CHARTS["torso"].window
    last, before = field[rows, columns.stop - over : columns.stop], field[rows, columns.start - over : columns.start]
    last += np.linspace(0, 1, over, dtype=np.float32) * (before - last)


def _fold_strength(outfit: Outfit, strength: float) -> NDArray[np.float32]:
    upper = np.float32(strength * (0.06 + 3 * min(outfit.upper.bulk, 0.02)))
    lower = np.float32(strength * (0.06 + 4 * min(outfit.lower.bulk, 0.014)))
    amount = np.zeros((256, 256), np.float32)
    amount[CHARTS["torso"].window] = upper
    if outfit.upper.hood == "up":
        amount[CHARTS["head"].window] = upper
    elif outfit.head.scarf is not None:
        rows, columns = CHARTS["head"].window
        amount[rows.start + int(CHIN * CHARTS["head"].height) + 6 : rows.stop, columns] = upper
    for side in ("left", "right"):
        sleeve = max(outfit.upper.sleeve, outfit.upper.inner_sleeve)
        _top_rows(amount, f"{side}_arm", sleeve)[:] = upper
        _top_rows(amount, f"{side}_leg", outfit.lower.end)[:] = lower
    return amount


def _top_rows(texture: NDArray[np.float32], name: str, t: float) -> NDArray[np.float32]:
    chart = CHARTS[name]
    return texture[chart.top : chart.top + round(t * chart.height), chart.left : chart.left + chart.width]


def attributes(outfit: Outfit) -> dict[str, str]:
    """Describe an outfit with attributes like those of Market-1501."""
    upper, lower, head = outfit.upper, outfit.lower, outfit.head
    kind = "none" if outfit.bag is None else outfit.bag.kind
    return {
        "gender": outfit.gender,
        "hair": "long" if head.style in ("long", "ponytail", "bob") else "short",
        "sleeve": "long" if max(upper.sleeve, upper.inner_sleeve) > 0.6 else "short",
        "upper": upper.kind,
        "upper_pattern": upper.fabric.kind,
        "upper_colour": colour_name(upper.fabric.base),
        "lower": "dress" if lower.is_skirt else "pants",
        "lower_length": "short" if lower.end < 0.6 else "long",
        "lower_colour": colour_name(lower.fabric.base),
        "shoe_colour": colour_name(outfit.feet.colour),
        "hat": _yes(head.hat != "none" and upper.hood != "up"),
        "hood": upper.hood,
        "backpack": _yes(outfit.backpack is not None),
        "bag": _yes(kind == "shoulder"),
        "handbag": _yes(kind == "hand"),
        "glasses": _yes(head.glasses is not None),
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"
