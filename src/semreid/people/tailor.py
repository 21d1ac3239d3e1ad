"""Paint an outfit over the body atlas: each garment is laid over what is beneath it, chart by chart."""

from __future__ import annotations

from math import pi

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.atlas import ANKLE_OF_FOOT, KNEE, SIZE, fill_gutters
from semreid.people.garments import Bag, Feet, Head, Lower, Outfit, Upper
from semreid.people.palette import Image, Lab, shaded
from semreid.people.patch import BACK, Patch, darker, lay_skin, strands
from semreid.people.patterns import noise, ramp
from semreid.people.portrait import lay_head
from semreid.people.prints import lay_print

_NO_BAG = np.float32(0.5)
_TROUSER_TOP = 0.66
_BELT = 0.6
_WATCH, _BUCKLE = (18.0, 0.0, 0.0), (70.0, 0.0, 12.0)


def paint(outfit: Outfit) -> NDArray[np.uint8]:
    """Paint the texture of an outfit: unlit albedo over the atlas, sRGB, (256, 256, 3).

    Gutters continue their charts; the charts of bags that are not carried are mid-grey.
    """
    texture = np.full((SIZE, SIZE, 3), _NO_BAG, np.float32)
    _torso(Patch(texture, "torso"), outfit)
    lay_head(Patch(texture, "head"), outfit)
    for side in ("left", "right"):
        _arm(Patch(texture, f"{side}_arm"), outfit)
        _hand(Patch(texture, f"{side}_hand"), outfit.head)
        _leg(Patch(texture, f"{side}_leg"), outfit)
        _foot(Patch(texture, f"{side}_foot"), outfit.feet, outfit.head.skin)
    if outfit.backpack is not None:
        _backpack(Patch(texture, "backpack"), outfit.backpack)
    if outfit.bag is not None:
        _bag(Patch(texture, "bag"), outfit.bag)
    return fill_gutters((texture.clip(0.07, 0.95) * 255).round().astype(np.uint8))


def _torso(patch: Patch, outfit: Outfit) -> None:
    upper, lower = outfit.upper, outfit.lower
    lay_skin(patch, outfit.head)
    if lower.kind != "dress":
        _waist(patch, lower)
    if upper.inner is not None:
        hem = max(upper.inner_hem, 0.66) if upper.inner_hem or upper.opening else upper.hem
        patch.lay(upper.inner, np.minimum(patch.above(hem), _neckline(patch, "crew", 0.03)))
    cover = _upper_cover(patch, upper)
    before = patch.rgb.copy()
    patch.lay(upper.fabric)
    _cut(patch, upper)
    _details(patch, upper)
    for one in upper.prints:
        lay_print(patch, one)
    patch.confine(before, cover)
    _edges(patch, upper)
    _over_torso(patch, outfit)


def _upper_cover(patch: Patch, upper: Upper) -> Image:
    cover = np.minimum(patch.above(upper.hem), _neckline(patch, upper.neck, upper.depth))
    if upper.opening:
        cover = np.minimum(cover, 1 - patch.columns(0.0, _opening(patch, upper)))
    if upper.sleeve == 0.0 and upper.kind in ("tank", "dress"):
        cover = np.minimum(cover, 1 - _armholes(patch))
    return cover


def _opening(patch: Patch, upper: Upper) -> Image:
    return upper.opening * (0.55 + 0.9 * patch.t)


def _armholes(patch: Patch) -> Image:
    left, right = (patch.spot(centre, 0.1, 0.5, 0.13) for centre in (pi / 2, -pi / 2))
    return np.maximum(left, right)


def _neckline(patch: Patch, neck: str, depth: float) -> Image:
    """Cover what lies below the neckline; ``depth`` in metres at the front."""
    near = np.abs(patch.angle)
    if neck in ("turtle", "hood") or (neck == "collar" and depth < 0.03):
        return np.ones_like(patch.angle + patch.t)
    shape = {
        "v": (1 - near / 0.9).clip(0, 1),
        "collar": 0.6 * (1 - near / 0.7).clip(0, 1),
        "boat": 0.4 * np.ones_like(near),
    }
    dip = shape.get(neck, np.sqrt((1 - (near / 1.2) ** 2).clip(0, 1)))
    return ramp(patch.along - (0.015 + depth * dip))


def _waist(patch: Patch, lower: Lower) -> None:
    top = _TROUSER_TOP
    cover = patch.below(top)
    patch.lay(lower.fabric, cover)
    patch.shade(0.8, patch.rows(top + 0.055, top + 0.065))
    if lower.kind in ("jeans", "trousers", "cargo", "shorts"):
        patch.shade(0.75, np.minimum(patch.columns(0.0, 0.03), patch.below(top)))
        for side in (-1, 1):
            _back_pocket(patch, lower, side)
    if lower.belt is not None:
        patch.lay(lower.belt, patch.rows(top, top + 0.055))
        patch.lay(_BUCKLE, np.minimum(patch.rows(top, top + 0.055), patch.columns(0.0, 0.1)))


def _back_pocket(patch: Patch, lower: Lower, side: int) -> None:
    outer = np.minimum(patch.rows(0.74, 0.94), patch.columns(BACK - side * 0.55, 0.36))
    inner = np.minimum(patch.rows(0.755, 0.925), patch.columns(BACK - side * 0.55, 0.31))
    patch.shade(0.72, outer - inner)


def _cut(patch: Patch, upper: Upper) -> None:
    cover = {
        "raglan": ramp(0.16 - patch.along - 0.16 * np.abs(np.cos(patch.angle))),
        "yoke": patch.above(0.27),
        "chest": patch.rows(0.3, 0.44),
        "bottom": patch.below(0.52),
        "sides": np.maximum(patch.columns(pi / 2, 0.4), patch.columns(-pi / 2, 0.4)),
        "stripe": patch.rows(0.34, 0.39),
    }.get(upper.cut)
    if cover is not None:
        patch.lay(upper.block, cover)


def _details(patch: Patch, upper: Upper) -> None:
    for side in (-1, 1):
        patch.shade(0.85, np.minimum(patch.columns(side * pi / 2, 0.03), patch.below(0.25)))
    if upper.closure != "none":
        {"zip": _zip, "buttons": _buttons, "placket": _placket}[upper.closure](patch, upper)
    _pockets(patch, upper)
    if upper.ribbed:
        patch.lay(upper.trim, patch.below(min(upper.hem, 1.0) - 0.06))
    else:
        patch.shade(0.85, patch.rows(min(upper.hem, 1.0) - 0.04, min(upper.hem, 1.0) - 0.025))
    if upper.belt is not None:
        patch.lay(upper.belt, patch.rows(_BELT - 0.03, _BELT + 0.04))


def _zip(patch: Patch, upper: Upper) -> None:
    patch.lay(upper.trim, patch.columns(0.0, 0.055))
    patch.shade(0.6, patch.columns(0.0, 0.02))


def _buttons(patch: Patch, upper: Upper) -> None:
    patch.shade(0.82, patch.columns(0.09, 0.025))
    patch.lay(upper.trim, np.minimum(patch.bands(0.09, 0.018), patch.columns(0.02, 0.06)))


def _placket(patch: Patch, upper: Upper) -> None:
    cover = np.minimum(patch.columns(0.0, 0.1), patch.above(0.3))
    patch.lay(upper.trim, 0.7 * cover)
    patch.shade(0.7, np.minimum(patch.columns(0.0, 0.03), patch.above(0.3)))


def _pockets(patch: Patch, upper: Upper) -> None:
    if upper.pockets == "chest":
        outer = np.minimum(patch.rows(0.3, 0.44), patch.columns(0.55, 0.3))
        patch.shade(0.8, outer - np.minimum(patch.rows(0.315, 0.425), patch.columns(0.55, 0.26)))
    if upper.pockets == "hips":
        for side in (-1, 1):
            slant = ramp(0.008 - np.abs((patch.t - 0.76) * 0.62 - 0.25 * (side * patch.around - 0.13)))
            patch.shade(0.6, np.minimum(slant, patch.columns(side * 0.75, 0.35)))


def _edges(patch: Patch, upper: Upper) -> None:
    """Paint collars, lapels and the trim of necklines over the garment."""
    if upper.opening:
        edge = patch.columns(0.0, _opening(patch, upper) + 0.06) - patch.columns(0.0, _opening(patch, upper))
        patch.lay(upper.trim, np.minimum(edge.clip(0, 1), patch.above(upper.hem)))
    if upper.neck == "collar":
        patch.lay(darker(upper.fabric.base, 0.9), np.minimum(patch.above(0.06), 1 - patch.columns(0.0, 0.15)))
        patch.shade(0.75, patch.rows(0.06, 0.075))
    elif upper.neck in ("crew", "v", "scoop"):
        rim = _neckline(patch, upper.neck, upper.depth) - _neckline(patch, upper.neck, upper.depth + 0.018)
        patch.lay(upper.trim, 0.8 * rim.clip(0, 1))
    elif upper.neck == "hood" and upper.hood == "down":
        patch.shade(0.72, np.minimum(patch.rows(0.17, 0.2), patch.columns(BACK, 1.1)))
    if upper.kind == "suit":
        width = (0.10 + 1.6 * (upper.depth + 0.12 - patch.along)).clip(0, 0.35)
        patch.shade(0.7, (patch.columns(0.0, width + 0.2) - patch.columns(0.0, width + 0.12)).clip(0, 1))


def _over_torso(patch: Patch, outfit: Outfit) -> None:
    head = outfit.head
    if head.scarf is not None:
        patch.lay(head.scarf, patch.above(0.09))
        patch.lay(head.scarf, np.minimum(patch.rows(0.05, 0.5), patch.columns(0.25, 0.16)))
    if head.style in ("long", "ponytail") and outfit.upper.hood != "up":
        _falling_hair(patch, head)
    if outfit.backpack is not None:
        _straps(patch, outfit.backpack)
    if outfit.bag is not None and outfit.bag.kind == "shoulder":
        _shoulder_strap(patch, outfit.bag)


def _falling_hair(patch: Patch, head: Head) -> None:
    long = head.style == "long"
    ragged = 0.04 * noise(patch.around, patch.along * 0, 0.02, head.seed)
    end = head.length + ragged
    half = 1.5 - 1.2 * patch.t if long else np.full_like(patch.t, 0.3)
    cover = np.minimum(patch.columns(BACK, half), ramp((end - patch.t) * patch.length, 0.03))
    if long and head.parted:
        front = np.maximum(patch.columns(0.95, 0.3), patch.columns(-0.95, 0.3))
        cover = np.maximum(cover, np.minimum(front, patch.above(0.8 * end)))
    patch.lay(strands(patch, head), cover)


def _straps(patch: Patch, bag: Bag) -> None:
    for side in (-1, 1):
        lean = 0.62 + 0.9 * (patch.t - 0.3).clip(0, 1) ** 2 * 4
        cover = np.minimum(patch.columns(0.0, lean + 0.13) - patch.columns(0.0, lean - 0.13), patch.rows(0.0, 0.62))
        patch.lay(bag.strap, np.minimum(cover.clip(0, 1), patch.angle * side > 0))
    patch.shade(0.8, np.minimum(patch.columns(0.0, 0.5), patch.rows(0.33, 0.34)) * (bag.layout == 0))
    patch.lay(bag.strap, np.minimum(patch.columns(BACK, 0.8), patch.rows(0.14, 0.7)) * 0.85)


def _shoulder_strap(patch: Patch, bag: Bag) -> None:
    carried = bag.side * pi / 2
    if not bag.across:
        patch.lay(bag.strap, np.minimum(patch.columns(bag.side * 0.75, 0.1), patch.above(0.55)))
        patch.lay(bag.strap, np.minimum(patch.columns(BACK - bag.side * 0.75, 0.1), patch.above(0.55)))
        return
    # From the other shoulder to the hip where the bag hangs, at the front and at the back.
    for face in (0.0, BACK):
        turned = (patch.angle - face + pi) % (2 * pi) - pi
        sign = bag.side if face == 0.0 else -bag.side
        line = sign * (-0.75 + 2.3 * patch.t)
        cover = ramp((0.1 - np.abs(turned - line)) * patch.turn * 0.8)
        patch.lay(bag.strap, np.minimum(cover, np.abs(turned) < abs(carried)))


def _arm(patch: Patch, outfit: Outfit) -> None:
    upper = outfit.upper
    lay_skin(patch, outfit.head)
    if outfit.watch and patch.side > 0:
        patch.lay(_WATCH, patch.rows(0.955, 0.985))
    if upper.inner is not None and upper.inner_sleeve:
        patch.lay(upper.inner, patch.above(upper.inner_sleeve))
    if upper.sleeve == 0.0:
        if upper.kind == "vest":
            patch.lay(upper.fabric, patch.above(0.05))
        return
    before = patch.rgb.copy()
    patch.lay(upper.fabric)
    _sleeve_details(patch, upper)
    patch.confine(before, patch.above(upper.sleeve))


def _sleeve_details(patch: Patch, upper: Upper) -> None:
    if upper.cut in ("raglan", "sleeves"):
        patch.lay(upper.block)
    elif upper.cut == "stripe":
        patch.lay(upper.block, patch.columns(pi / 2, 0.35))
    elif upper.cut == "yoke":
        patch.lay(upper.block, patch.above(0.2))
    cuff = upper.sleeve - (0.06 if upper.sleeve > 0.6 else 0.035)
    if upper.ribbed:
        patch.lay(upper.trim, patch.below(cuff))
    else:
        patch.shade(0.85, patch.rows(cuff, cuff + 0.012))


def _hand(patch: Patch, head: Head) -> None:
    lay_skin(patch, head)
    for angle in (-2.4, -0.8, 0.8, 2.4):
        patch.shade(0.82, np.minimum(patch.columns(angle, 0.12), patch.below(0.55)))


def _leg(patch: Patch, outfit: Outfit) -> None:
    lower, feet = outfit.lower, outfit.feet
    lay_skin(patch, outfit.head)
    patch.shade(0.9, patch.spot(0.0, KNEE, 0.7, 0.05))
    if feet.sock is not None:
        patch.lay(feet.sock, patch.below(feet.sock_top))
    over = lower.kind == "leggings" or lower.end < feet.shaft or lower.bulk < 0.004
    if feet.shaft < 1 and not over:
        _shaft(patch, feet)
    before = patch.rgb.copy()
    if lower.is_skirt:  # the lateral half of each leg runs around half of the body, like the torso above
        patch.x = patch.angle * np.float32(patch.side / (2 * pi))
    patch.lay(lower.fabric)
    _leg_details(patch, lower)
    patch.confine(before, patch.above(lower.end))
    if feet.shaft < 1 and over:
        _shaft(patch, feet)


def _shaft(patch: Patch, feet: Feet) -> None:
    patch.lay(feet.colour, patch.below(feet.shaft))
    patch.shade(0.75, patch.rows(feet.shaft, feet.shaft + 0.015))


def _leg_details(patch: Patch, lower: Lower) -> None:
    if lower.fade:
        worn = np.maximum(patch.spot(0.15, 0.27, 0.9, 0.2), 0.8 * patch.spot(0.0, KNEE, 0.8, 0.1))
        patch.shade(1 + 1.1 * lower.fade, cv2.GaussianBlur(worn, (0, 0), 4))
    if lower.is_skirt:
        patch.shade(0.88, patch.rows(lower.end - 0.025, lower.end - 0.015))
        return
    patch.shade(0.8, patch.columns(pi / 2, 0.05))
    if lower.stripe is not None:
        patch.lay(lower.stripe, patch.columns(pi / 2, 0.22))
    if lower.creased:
        patch.shade(1.25, patch.columns(0.0, 0.06))
    if lower.kind == "cargo":
        outer = np.minimum(patch.rows(0.3, 0.48), patch.columns(pi / 2, 0.75))
        patch.shade(0.7, outer - np.minimum(patch.rows(0.31, 0.47), patch.columns(pi / 2, 0.69)))
        patch.shade(0.7, np.minimum(patch.rows(0.34, 0.35), patch.columns(pi / 2, 0.75)))
    if lower.turn_up:
        patch.lay(shaded(lower.fabric.base, 20), patch.below(lower.end - 0.045))


def _foot(patch: Patch, feet: Feet, skin: Lab) -> None:
    rng = np.random.default_rng(feet.seed)
    patch.lay(feet.colour)
    if feet.kind == "sandals":
        patch.lay(skin)
        patch.lay(feet.colour, np.maximum(patch.rows(0.6, 0.72), patch.rows(0.1, 0.18)))
    if feet.kind == "trainers":
        _trainer(patch, feet, rng)
    if feet.kind == "leather":
        patch.shade(0.7, patch.rows(0.78, 0.81))
    if feet.kind in ("ballerinas", "sandals", "leather", "trainers"):
        reach = 0.72 if feet.kind == "ballerinas" else ANKLE_OF_FOOT + 0.08
        patch.lay(feet.sock or skin, np.minimum(patch.rows(0.1, reach), patch.columns(0.0, 0.9)))
    thick = {"trainers": 2.2, "boots": 2.35}.get(feet.kind, 2.5)
    patch.lay(feet.sole, patch.columns(BACK, pi - thick))


def _trainer(patch: Patch, feet: Feet, rng: np.random.Generator) -> None:
    style = int(rng.integers(4))
    laces = np.minimum(patch.columns(0.0, 0.5), patch.rows(0.45, 0.75))
    patch.lay(feet.accent, np.minimum(laces, patch.bands(0.022, 0.012)))
    flank = np.maximum(patch.columns(1.5, 0.6), patch.columns(-1.5, 0.6))
    if style == 0:
        patch.lay(feet.accent, np.minimum(flank, patch.bands(0.04, 0.02)) * patch.rows(0.35, 0.75))
    elif style == 1:
        patch.lay(feet.accent, patch.below(0.85))
    elif style == 2:
        patch.lay(feet.accent, np.minimum(flank, patch.rows(0.3, 0.6)))


def _backpack(patch: Patch, bag: Bag) -> None:
    patch.lay(bag.fabric)
    outer = patch.columns(BACK, 1.25)
    pocket = {0: (0.5, 0.92), 1: (0.35, 0.62), 2: (0.62, 0.95), 3: (0.0, 0.4)}[bag.layout]
    patch.lay(bag.accent, np.minimum(outer, patch.rows(*pocket)))
    for edge in pocket:
        patch.shade(0.6, np.minimum(outer, patch.rows(edge - 0.015, edge + 0.015)))
    patch.shade(0.65, patch.rows(0.14, 0.17))
    patch.lay(bag.strap, np.maximum(patch.columns(pi / 2, 0.08), patch.columns(-pi / 2, 0.08)) * (bag.layout % 2))
    if bag.label is not None:
        patch.lay(bag.label, np.minimum(patch.columns(BACK, 0.35), patch.rows(pocket[0] + 0.08, pocket[0] + 0.2)))


def _bag(patch: Patch, bag: Bag) -> None:
    patch.lay(bag.fabric)
    faces = np.maximum(patch.columns(pi / 2, 0.95), patch.columns(-pi / 2, 0.95))
    if bag.layout == 0:
        patch.lay(bag.accent, patch.above(0.45))
    elif bag.layout == 1:
        patch.lay(bag.accent, np.minimum(faces, patch.rows(0.35, 0.7)))
    elif bag.layout == 2:
        patch.lay(bag.accent, patch.below(0.75))
    patch.shade(0.65, patch.rows(0.1, 0.14))
    if bag.label is not None:
        for side in (-1, 1):
            patch.lay(bag.label, patch.spot(side * pi / 2, 0.55, 0.45, 0.13))
