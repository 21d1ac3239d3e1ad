"""Paint an outfit over the body atlas: each garment is laid over what is beneath it, chart by chart."""

from __future__ import annotations

from functools import cache
from math import pi
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.people.atlas import ANKLE_OF_FOOT, CHARTS, CHIN, KNEE, SIZE, WAIST, fill_gutters
from semreid.people.garments import Bag, Feet, Head, Lower, Print, Upper
from semreid.people.patterns import Fabric, Image, Lab, noise, ramp, srgb, weave

if TYPE_CHECKING:
    from semreid.people.wardrobe import Outfit

# Size of a chart on a body of average size: metres around, metres along, metres below the neck where it begins,
# metres to the person's left of the front centre where its angle 0 is.
_METRES = {"torso": (1.0, 0.62, 0.0, 0.0), "head": (0.56, 0.30, -0.30, 0.0), "backpack": (0.9, 0.45, 0.0, 0.0),
           "bag": (0.8, 0.35, 0.0, 0.0), "arm": (0.32, 0.60, 0.045, 0.27), "leg": (0.5, 0.85, 0.50, 0.09),
           "hand": (0.2, 0.18, 0.0, 0.0), "foot": (0.26, 0.26, 0.0, 0.0)}  # fmt: skip
_NO_BAG = np.float32(0.5)
_BACK = pi


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


def paint(outfit: Outfit) -> NDArray[np.uint8]:
    """Paint an outfit over the atlas; see :func:`semreid.people.wardrobe.paint`."""
    texture = np.full((SIZE, SIZE, 3), _NO_BAG, np.float32)
    _torso(Patch(texture, "torso"), outfit)
    _head(Patch(texture, "head"), outfit)
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


def _skin(patch: Patch, head: Head) -> None:
    patch.lay(head.skin)
    mottled = 0.98 + 0.04 * noise(patch.around, patch.along, 0.06, head.seed)
    patch.rgb *= mottled[..., None]


def _darker(colour: Lab, factor: float) -> Lab:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


# Torso


def _torso(patch: Patch, outfit: Outfit) -> None:
    upper, lower = outfit.upper, outfit.lower
    _skin(patch, outfit.head)
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
        _print(patch, one)
    painted = patch.rgb.copy()
    patch.rgb[:] = before
    patch.lay(painted, cover)
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
    top = WAIST + 0.02
    cover = patch.below(top)
    patch.lay(lower.fabric, cover)
    patch.shade(0.8, patch.rows(top + 0.05, top + 0.06))
    if lower.kind in ("jeans", "trousers", "cargo", "shorts"):
        patch.shade(0.75, np.minimum(patch.columns(0.0, 0.03), patch.below(top)))
        for side in (-1, 1):
            _back_pocket(patch, lower, side)
    if lower.belt is not None:
        patch.lay(lower.belt, patch.rows(top, top + 0.055))
        patch.lay((70.0, 0.0, 12.0), np.minimum(patch.rows(top, top + 0.055), patch.columns(0.0, 0.1)))


def _back_pocket(patch: Patch, lower: Lower, side: int) -> None:
    outer = np.minimum(patch.rows(0.74, 0.94), patch.columns(_BACK - side * 0.55, 0.36))
    inner = np.minimum(patch.rows(0.755, 0.925), patch.columns(_BACK - side * 0.55, 0.31))
    patch.shade(0.72, outer - inner)


def _cut(patch: Patch, upper: Upper) -> None:
    near = np.abs(patch.angle)
    cover = {
        "raglan": ramp(np.abs(near - pi / 2) * 0 + (0.16 - patch.along) - 0.16 * np.abs(np.cos(patch.angle))),
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
    {"zip": _zip, "buttons": _buttons, "placket": _placket}.get(upper.closure, _nothing)(patch, upper)
    _pockets(patch, upper)
    if upper.ribbed:
        patch.lay(upper.trim, patch.below(min(upper.hem, 1.0) - 0.06))
    else:
        patch.shade(0.85, patch.rows(min(upper.hem, 1.0) - 0.04, min(upper.hem, 1.0) - 0.025))
    if upper.belt is not None:
        patch.lay(upper.belt, patch.rows(WAIST - 0.03, WAIST + 0.04))


def _nothing(patch: Patch, upper: Upper) -> None:
    """Paint no closure."""


def _zip(patch: Patch, upper: Upper) -> None:
    patch.lay(upper.trim, patch.columns(0.0, 0.055))
    patch.shade(0.6, patch.columns(0.0, 0.02))


def _buttons(patch: Patch, upper: Upper) -> None:
    patch.shade(0.82, patch.columns(0.09, 0.025))
    ring = np.abs((patch.along / 0.09) % 1 - 0.5) * 0.09
    patch.lay(upper.trim, np.minimum(ramp(0.009 - ring), patch.columns(0.02, 0.06)))


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
        patch.lay(_darker(upper.fabric.base, 0.9), np.minimum(patch.above(0.06), 1 - patch.columns(0.0, 0.15)))
        patch.shade(0.75, patch.rows(0.06, 0.075))
    elif upper.neck in ("crew", "v", "scoop"):
        rim = _neckline(patch, upper.neck, upper.depth) - _neckline(patch, upper.neck, upper.depth + 0.018)
        patch.lay(upper.trim, 0.8 * rim.clip(0, 1))
    elif upper.neck == "hood" and upper.hood == "down":
        patch.shade(0.72, np.minimum(patch.rows(0.17, 0.2), patch.columns(_BACK, 1.1)))
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
    half = (1.9 if long else 0.3) - (1.4 if long else 0.0) * patch.t
    cover = np.minimum(patch.columns(_BACK, half), patch.above(end))
    if long and head.seed % 3 == 0:  # some of it falls over the shoulders to the front
        front = np.maximum(patch.columns(0.95, 0.3), patch.columns(-0.95, 0.3))
        cover = np.maximum(cover, np.minimum(front, patch.above(0.8 * end)))
    patch.lay(_strands(patch, head), cover)


def _straps(patch: Patch, bag: Bag) -> None:
    for side in (-1, 1):
        lean = 0.62 + 0.9 * (patch.t - 0.3).clip(0, 1) ** 2 * 4
        cover = np.minimum(patch.columns(0.0, lean + 0.13) - patch.columns(0.0, lean - 0.13), patch.rows(0.0, 0.62))
        patch.lay(bag.strap, np.minimum(cover.clip(0, 1), patch.angle * side > 0))
    patch.shade(0.8, np.minimum(patch.columns(0.0, 0.5), patch.rows(0.33, 0.34)) * (bag.layout == 0))
    patch.lay(bag.strap, np.minimum(patch.columns(_BACK, 0.8), patch.rows(0.14, 0.7)) * 0.85)


def _shoulder_strap(patch: Patch, bag: Bag) -> None:
    carried = bag.side * pi / 2
    if not bag.across:
        patch.lay(bag.strap, np.minimum(patch.columns(bag.side * 0.75, 0.1), patch.above(0.55)))
        patch.lay(bag.strap, np.minimum(patch.columns(_BACK - bag.side * 0.75, 0.1), patch.above(0.55)))
        return
    # From the other shoulder to the hip where the bag hangs, at the front and at the back.
    for face in (0.0, _BACK):
        turned = (patch.angle - face + pi) % (2 * pi) - pi
        sign = bag.side if face == 0.0 else -bag.side
        line = sign * (-0.75 + 2.3 * patch.t)
        cover = ramp((0.1 - np.abs(turned - line)) * patch.turn * 0.8)
        patch.lay(bag.strap, np.minimum(cover, np.abs(turned) < abs(carried)))


def _print(patch: Patch, one: Print) -> None:
    inks = np.zeros((*patch.rgb.shape[:2], 2), np.float32)
    middle = np.array((patch.rgb.shape[1] / 2 + one.x / patch.turn / (2 * pi) * patch.rgb.shape[1], one.y * 104 / 0.62))
    _PRINTS[one.kind](inks, middle, one, np.random.default_rng(one.seed))
    if one.back:
        inks = np.roll(inks, patch.rgb.shape[1] // 2, axis=1)
    for ink in range(2):
        patch.lay(one.colours[ink], inks[..., ink])


def _text(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    letters = "ABCDEFGHIKLMNOPRSTUVXYZ"
    lines = int(rng.integers(1, 4))
    for line in range(lines):
        word = "".join(rng.choice(list(letters), int(rng.integers(3, 9))))
        shifted = middle + np.array((0, (line - lines / 2) * 105 * one.size / lines))
        _write(inks[..., line % 2], word, shifted, one.size / lines)


def _number(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    _write(inks[..., 0], str(rng.integers(1, 100)), middle, one.size)


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


def _badge(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    x, y = _grid(inks, middle)
    inks[..., 0] = np.minimum(ramp(one.size / 2 - np.abs(x)), ramp(one.size / rng.uniform(2, 4) - np.abs(y)))
    inks[..., 1] = ramp(one.size / 5 - np.hypot(x, y)) * float(rng.random() < 0.5)


def _bar(inks: Image, middle: NDArray[np.float64], one: Print, rng: np.random.Generator) -> None:
    x, y = _grid(inks, middle)
    inks[..., 0] = np.minimum(ramp(0.15 - np.abs(x)), ramp(one.size / 2 - np.abs(y)))
    inks[..., 1] = np.minimum(inks[..., 0], ramp(one.size / 6 - np.abs(y)))


_PRINTS = {"text": _text, "number": _number, "picture": _picture, "badge": _badge, "bar": _bar}


# Limbs


def _arm(patch: Patch, outfit: Outfit) -> None:
    upper = outfit.upper
    _skin(patch, outfit.head)
    if outfit.head.seed % 5 == 0 and patch.side > 0:
        patch.lay((18.0, 0.0, 0.0), patch.rows(0.955, 0.985))  # a watch
    if upper.inner is not None and upper.inner_sleeve:
        patch.lay(upper.inner, patch.above(upper.inner_sleeve))
    if upper.sleeve == 0.0:
        if upper.kind == "vest":
            patch.lay(upper.fabric, patch.above(0.05))
        return
    before = patch.rgb.copy()
    patch.lay(upper.fabric)
    _sleeve_details(patch, upper)
    painted = patch.rgb.copy()
    patch.rgb[:] = before
    patch.lay(painted, patch.above(upper.sleeve))


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
    _skin(patch, head)
    for angle in (-2.4, -0.8, 0.8, 2.4):
        patch.shade(0.82, np.minimum(patch.columns(angle, 0.12), patch.below(0.55)))


def _leg(patch: Patch, outfit: Outfit) -> None:
    lower, feet = outfit.lower, outfit.feet
    _skin(patch, outfit.head)
    patch.shade(0.9, patch.spot(0.0, KNEE, 0.7, 0.05))
    if feet.sock is not None:
        patch.lay(feet.sock, patch.below(feet.sock_top))
    over = lower.kind == "leggings" or lower.end < feet.shaft or lower.bulk < 0.004
    if feet.shaft < 1 and not over:
        _shaft(patch, feet)
    before = patch.rgb.copy()
    patch.lay(lower.fabric)
    _leg_details(patch, lower)
    painted = patch.rgb.copy()
    patch.rgb[:] = before
    patch.lay(painted, patch.above(lower.end))
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
        light = _darker(lower.fabric.base, 1.0)
        patch.lay((min(92.0, light[0] + 22), light[1] * 0.6, light[2] * 0.6), patch.below(lower.end - 0.045))


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
    patch.lay(feet.sole, patch.columns(_BACK, pi - thick))


def _trainer(patch: Patch, feet: Feet, rng: np.random.Generator) -> None:
    style = int(rng.integers(4))
    laces = np.minimum(patch.columns(0.0, 0.5), patch.rows(0.45, 0.75))
    ring = np.abs((patch.along / 0.022) % 1 - 0.5) * 0.022
    patch.lay(feet.accent, np.minimum(laces, ramp(0.007 - ring)))
    flank = np.maximum(patch.columns(1.5, 0.6), patch.columns(-1.5, 0.6))
    if style == 0:
        patch.lay(feet.accent, np.minimum(flank, stripes_of(patch, 0.04)) * patch.rows(0.35, 0.75))
    elif style == 1:
        patch.lay(feet.accent, patch.below(0.85))
    elif style == 2:
        patch.lay(feet.accent, np.minimum(flank, patch.rows(0.3, 0.6)))


def stripes_of(patch: Patch, period: float) -> Image:
    """Cover every other ring of a patch."""
    ring = np.abs((patch.along / period) % 1 - 0.5) * period
    return ramp(period / 4 - ring)


# Head


def _strands(patch: Patch, head: Head) -> Image:
    strands = noise(patch.around, patch.along * 0.2, 0.008, head.seed)
    return (srgb(head.hair) * (0.75 + 0.5 * strands)[..., None]).astype(np.float32)


def _head(patch: Patch, outfit: Outfit) -> None:
    head, upper = outfit.head, outfit.upper
    _skin(patch, head)
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
    dark = _darker(head.hair, 0.7)
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
        patch.lay(_strands(patch, head), head.beard * (jaw - bare).clip(0, 1))
    if head.glasses is not None:
        for side in (-1, 1):
            rim = patch.spot(side * 0.37, 0.405, 0.28, 0.062) - patch.spot(side * 0.37, 0.405, 0.21, 0.042)
            patch.lay(head.glasses, rim.clip(0, 1))
        patch.lay(
            head.glasses,
            np.minimum(patch.rows(0.385, 0.405), 1 - patch.columns(_BACK, pi - 1.5)) * (np.abs(patch.angle) > 0.6),
        )


def _hair(patch: Patch, head: Head) -> None:
    if head.style == "none":
        patch.shade(0.93, patch.above(0.3))
        return
    strands = _strands(patch, head)
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
    patch.lay(strands, patch.above(end.astype(np.float32)))
    if head.style in ("bun", "ponytail"):
        patch.shade(0.7, patch.spot(_BACK, 0.25 if head.style == "bun" else 0.4, 0.3, 0.08))
    patch.shade(0.75, np.minimum(patch.columns(head.parting, 0.05), patch.above(head.hairline)) * (head.fringe > 0.5))


def _neck(patch: Patch, head: Head, upper: Upper) -> None:
    patch.shade(0.85, np.minimum(patch.rows(CHIN, CHIN + 0.1), patch.columns(0.0, 1.3)))
    if upper.neck == "turtle":
        patch.lay(upper.fabric, patch.below(0.84))
    elif upper.neck in ("collar", "hood"):
        patch.lay(upper.fabric, np.minimum(patch.below(0.87), 1 - patch.columns(0.0, 0.5)))
    if head.scarf is not None:
        patch.lay(head.scarf, patch.below(0.78))


def _hat(patch: Patch, head: Head) -> None:
    if head.hat == "none":
        return
    edge = {"cap": 0.29, "beanie": 0.3, "brim": 0.29}[head.hat]
    crown = patch.above(edge)
    patch.lay(Fabric(head.hat_colour, "knit" if head.hat == "beanie" else "plain", (), 0.03, 0.5, head.seed), crown)
    if head.hat == "cap":
        patch.shade(0.8, np.minimum(crown, patch.below(edge - 0.03)))
        patch.lay(head.hat_accent, patch.spot(0.0, 0.2, 0.3, 0.05) * (head.seed % 2))
    elif head.hat == "beanie":
        patch.lay(head.hat_accent, np.minimum(crown, patch.below(edge - 0.07)) * (head.seed % 3 == 0))
    else:
        patch.lay(head.hat_accent, np.minimum(crown, patch.below(edge - 0.06)))


# Bags


def _backpack(patch: Patch, bag: Bag) -> None:
    patch.lay(bag.fabric)
    outer = patch.columns(_BACK, 1.25)
    pocket = {0: (0.5, 0.92), 1: (0.35, 0.62), 2: (0.62, 0.95), 3: (0.0, 0.4)}[bag.layout]
    patch.lay(bag.accent, np.minimum(outer, patch.rows(*pocket)))
    for edge in pocket:
        patch.shade(0.6, np.minimum(outer, patch.rows(edge - 0.015, edge + 0.015)))
    patch.shade(0.65, patch.rows(0.14, 0.17))
    patch.lay(bag.strap, np.maximum(patch.columns(pi / 2, 0.08), patch.columns(-pi / 2, 0.08)) * (bag.layout % 2))
    if bag.seed % 3 == 0:
        patch.lay((88.0, 0.0, 2.0), patch.spot(_BACK, sum(pocket) / 2, 0.35, 0.07))


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
    if bag.seed % 3 == 0:
        for side in (-1, 1):
            patch.lay((88.0, 0.0, 2.0), patch.spot(side * pi / 2, 0.55, 0.45, 0.13))


# Folds


@cache
def fold_fields() -> NDArray[np.float32]:
    """Return periodic fields of cloth folds, means 0 and values in about [-1, 1], (6, 256, 256)."""
    return np.stack([_fold_field(index) for index in range(6)])


def _fold_field(index: int) -> Image:
    rng = np.random.default_rng((41, index))
    fx, fy = np.meshgrid(np.fft.fftfreq(SIZE, 1 / SIZE), np.fft.fftfreq(SIZE, 1 / SIZE))
    total = np.zeros((SIZE, SIZE))
    for turn in rng.uniform(-0.7, 0.7, 3):
        across, along = fy * np.cos(turn) - fx * np.sin(turn), fx * np.cos(turn) + fy * np.sin(turn)
        filtered = np.exp(-(((np.hypot(across, 0) - 9) / 5) ** 2) - (along / 5) ** 2)
        wave = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * filtered).real
        total += wave / wave.std()
    ridged = np.tanh(total / 2.2)
    return (ridged - ridged.mean()).astype(np.float32)
