"""Painted surfaces of places: floors, walls and things that stand about, in perceived brightness (0 to 1).

Everything is drawn at ``DENSITY`` pixels per metre. Floors and walls are RGB and continue by reflection at their
borders; things are RGBA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
Rng = np.random.Generator
Paint = Callable[[int, int, Rng], Image]
DENSITY = 128
"""Pixels per metre."""


def linear_paint(painted: Image) -> Image:
    """Linear light of perceived brightness."""
    return np.clip(painted, 0.02, 1) ** np.float32(2.2)


def noise(height: int, width: int, cell: float, rng: Rng, stretch: float = 1.0) -> Image:
    """Smooth noise, about ±1; its features are ``cell`` pixels wide, and ``stretch`` times as long along columns."""
    small = rng.standard_normal((int(height / cell / stretch) + 2, int(width / cell) + 2), np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def mottle(height: int, width: int, rng: Rng) -> Image:
    """Stains of all sizes, about ±1."""
    sizes = (10, 40, 160)
    layers = [noise(height, width, s, rng) * w for s, w in zip(sizes, (0.3, 0.4, 0.5), strict=True)]
    return np.sum(layers, axis=0)


def grey(rng: Rng, low: float, high: float, tint: float = 0.025) -> Image:
    """A nearly neutral colour."""
    return (rng.uniform(low, high) * (1 + rng.normal(0, tint, 3))).astype(np.float32)


def vivid(rng: Rng, calm: float = 1.0) -> Image:
    """A colour as things are painted: mostly red, yellow, green or blue, seldom pure; ``calm`` below 1 mutes it."""
    hue = rng.choice([5, 40, 130, 212]) + rng.normal(0, 15) if rng.random() < 0.85 else rng.uniform(0, 360)
    hsv = np.array([[[hue % 360, calm * rng.beta(2, 2.5), rng.uniform(0.2, 0.9)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def _material(height: int, width: int, colour: Image, stain: float, speckle: float, rng: Rng) -> Image:
    texture = 1 + stain * mottle(height, width, rng) + speckle * noise(height, width, 1.5, rng)
    return colour * texture[..., None]


def _joints(height: int, width: int, cell: tuple[int, int], thick: int, shift: float = 0.0) -> NDArray[np.bool_]:
    """Where the joints of a running bond are; ``shift`` moves every other row by that share of a brick."""
    rows, cols = np.arange(height)[:, None], np.arange(width)[None]
    along = cols + np.int64(shift * cell[1]) * (rows // cell[0] % 2)
    return (rows % cell[0] < thick) | (along % cell[1] < thick)


def _bricks(height: int, width: int, cell: tuple[int, int], spread: float, rng: Rng, shift: float = 0.0) -> Image:
    """A random brightness per brick, (height, width)."""
    rows, cols = np.arange(height)[:, None], np.arange(width)[None]
    along = (cols + np.int64(shift * cell[1]) * (rows // cell[0] % 2)) // cell[1]
    each = rng.normal(1, spread, (height // cell[0] + 1, int(along.max()) + 1)).astype(np.float32)
    return each[np.broadcast_to(rows // cell[0], along.shape), along]


def _masonry(height: int, width: int, colour: Image, cell: tuple[int, int], rng: Rng, shift: float) -> Image:
    """Tiles, slabs or bricks with joints."""
    base = _material(height, width, colour, rng.uniform(0.01, 0.06), rng.uniform(0.0, 0.1), rng)
    base *= _bricks(height, width, cell, rng.uniform(0.01, 0.1), rng, shift)[..., None]
    joint = colour * rng.uniform(0.4, 0.8) if rng.random() < 0.7 else colour * 0.5 + 0.45
    base[_joints(height, width, cell, int(rng.integers(1, 5)), shift)] = joint
    return base


def _cell(rng: Rng, low: float, high: float) -> int:
    """A length in pixels, drawn in metres."""
    return max(4, int(DENSITY * np.exp(rng.uniform(np.log(low), np.log(high)))))


# --- floors -------------------------------------------------------------------------------------------------------


def _asphalt(height: int, width: int, rng: Rng) -> Image:
    base = _material(height, width, grey(rng, 0.3, 0.62), rng.uniform(0.02, 0.08), rng.uniform(0.05, 0.22), rng)
    if rng.random() < 0.4:  # a painted line
        start, thick = rng.integers(0, width), _cell(rng, 0.08, 0.3)
        worn = np.clip(0.8 + 0.3 * noise(height, thick, 6, rng), 0, 1)[..., None]
        line = base[:, start : start + thick]
        line += (grey(rng, 0.8, 0.9, 0.1) - line) * worn[:, : line.shape[1]]
    return base


def _slabs(height: int, width: int, rng: Rng) -> Image:
    cell = _cell(rng, 0.3, 1.5)
    return _masonry(height, width, grey(rng, 0.35, 0.8), (cell, int(cell * rng.choice([1, 1.5, 2]))), rng, 0.5)


def _floor_tiles(height: int, width: int, rng: Rng) -> Image:
    cell = _cell(rng, 0.1, 0.8)
    colour = grey(rng, 0.4, 0.9, 0.06) if rng.random() < 0.8 else vivid(rng, 0.5)
    base = _masonry(height, width, colour, (cell, cell), rng, 0.0)
    if rng.random() < 0.3:  # chequered or striped
        rows, cols = np.arange(height)[:, None] // cell, np.arange(width)[None] // cell
        chosen = (rows + cols) % 2 == 0 if rng.random() < 0.5 else np.broadcast_to(cols % 4 == 0, (height, width))
        base[chosen] *= rng.uniform(0.5, 0.9)
    return base


def _paving(height: int, width: int, rng: Rng) -> Image:
    colour = np.array([0.6, 0.42, 0.35], np.float32) * rng.uniform(0.7, 1.2)
    colour = colour if rng.random() < 0.5 else grey(rng, 0.4, 0.65, 0.05)
    return _masonry(height, width, colour, (_cell(rng, 0.08, 0.12), _cell(rng, 0.15, 0.25)), rng, 0.5)


def _grass(height: int, width: int, rng: Rng) -> Image:
    colour = np.array([0.4, 0.48, 0.22], np.float32) * rng.uniform(0.6, 1.1)
    blades = noise(height, width, 1.5, rng, 3.0) * 0.25 + noise(height, width, 12, rng) * 0.1
    dry = np.clip(noise(height, width, 90, rng), 0, 1)[..., None] * np.array([0.12, 0.02, 0.02], np.float32)
    return (colour + dry) * (1 + blades[..., None])


def _carpet(height: int, width: int, rng: Rng) -> Image:
    colour = vivid(rng, 0.8) * rng.uniform(0.4, 0.9) if rng.random() < 0.6 else grey(rng, 0.2, 0.6)
    base = _material(height, width, colour, 0.03, rng.uniform(0.05, 0.15), rng)
    if rng.random() < 0.5:
        cell = _cell(rng, 0.1, 0.7)
        base *= _bricks(height, width, (cell, cell), 0.08, rng)[..., None]
    return base


def _planks(height: int, width: int, rng: Rng) -> Image:
    colour = np.array([0.62, 0.47, 0.33], np.float32) * rng.uniform(0.5, 1.3)
    cell = (_cell(rng, 0.8, 2.0), _cell(rng, 0.07, 0.2))
    base = _masonry(height, width, colour, cell, rng, 0.0)
    return base * (1 + 0.06 * noise(height, width, 3, rng, 25.0)[..., None])


def _polished(height: int, width: int, rng: Rng) -> Image:
    base = _material(height, width, grey(rng, 0.5, 0.9, 0.04), 0.04, 0.08, rng)
    base[_joints(height, width, (_cell(rng, 0.6, 1.2),) * 2, 1)] *= 0.8
    lamps = np.clip(noise(height, width, 120, rng) - 0.7, 0, 0.5)  # reflections of lamps and windows
    return base + lamps[..., None]


FLOORS: dict[str, tuple[Paint, float, bool]] = {
    # painter, how common, also indoors
    "asphalt": (_asphalt, 0.25, False),
    "slabs": (_slabs, 0.2, True),
    "tiles": (_floor_tiles, 0.2, True),
    "paving": (_paving, 0.12, False),
    "grass": (_grass, 0.06, False),
    "carpet": (_carpet, 0.07, True),
    "planks": (_planks, 0.04, True),
    "polished": (_polished, 0.12, True),
}


# --- walls; their bottom row stands on the floor ------------------------------------------------------------------


def _concrete(height: int, width: int, rng: Rng) -> Image:
    base = _material(height, width, grey(rng, 0.35, 0.9, 0.05), rng.uniform(0.02, 0.08), rng.uniform(0, 0.08), rng)
    streaks = np.clip(noise(height, width, 10, rng, 20.0), -1, 0.2) * rng.uniform(0, 0.08)
    return base * (1 + streaks[..., None])


def _wall_tiles(height: int, width: int, rng: Rng) -> Image:
    colour = grey(rng, 0.4, 0.95, 0.05) if rng.random() < 0.75 else vivid(rng, 0.7)
    tall = _cell(rng, 0.04, 0.4)
    return _masonry(height, width, colour, (tall, int(tall * rng.choice([0.5, 1, 2]))), rng, 0.0)


def _brickwork(height: int, width: int, rng: Rng) -> Image:
    colour = np.array([0.58, 0.36, 0.28], np.float32) * rng.uniform(0.7, 1.3) + rng.normal(0, 0.04, 3).astype(
        np.float32
    )
    return _masonry(height, width, colour, (_cell(rng, 0.065, 0.09), _cell(rng, 0.2, 0.26)), rng, 0.5)


def _panels(height: int, width: int, rng: Rng) -> Image:
    colour = vivid(rng, 0.7) if rng.random() < 0.4 else grey(rng, 0.3, 0.95, 0.05)
    cell = (_cell(rng, 0.5, 3.0), _cell(rng, 0.4, 1.5))
    base = _material(height, width, colour, 0.02, 0.01, rng)
    base *= _bricks(height, width, cell, 0.04, rng)[..., None]
    base[_joints(height, width, cell, 3)] *= 0.6
    return base


def _corrugated(height: int, width: int, rng: Rng) -> Image:
    colour = vivid(rng, 0.7) if rng.random() < 0.3 else grey(rng, 0.4, 0.8, 0.05)
    axis = int(rng.integers(2))
    wave = np.sin(np.arange((height, width)[axis], dtype=np.float32) * (2 * np.pi / _cell(rng, 0.05, 0.2)))
    wave = 1 + rng.uniform(0.05, 0.25) * (wave[:, None] if axis == 0 else wave[None])
    return _material(height, width, colour, 0.03, 0.02, rng) * wave[..., None].astype(np.float32)


def blurred_scene(height: int, width: int, rng: Rng, blur: float = 6.0) -> Image:
    """Something far or behind glass: blocks and lights out of focus."""
    scene = np.ones((height, width, 3), np.float32) * grey(rng, 0.2, 0.8, 0.06)
    for _ in range(rng.integers(10, 40)):
        top, left = int(rng.integers(-20, height)), int(rng.integers(-40, width))
        bottom, right = top + int(rng.integers(8, height // 2 + 9)), left + int(rng.integers(8, width // 3 + 9))
        scene[max(top, 0) : bottom, max(left, 0) : right] = (
            vivid(rng, 0.8) if rng.random() < 0.3 else grey(rng, 0.1, 0.95)
        )
    return cv2.GaussianBlur(scene, (0, 0), blur)


def _windows(height: int, width: int, rng: Rng) -> Image:
    dark = rng.uniform(0.2, 0.9)
    glass = blurred_scene(height, width, rng, rng.uniform(2, 10)) * dark
    glare = np.clip(noise(height, width, 150, rng), 0, 1)[..., None] * rng.uniform(0, 0.4)
    glass += glare
    frames = _joints(height, width, (_cell(rng, 0.8, 3.0), _cell(rng, 0.6, 2.0)), _cell(rng, 0.04, 0.15))
    glass[frames] = grey(rng, 0.1, 0.95)
    return glass


def _hedge(height: int, width: int, rng: Rng) -> Image:
    return foliage(height, width, rng)[..., :3]


def _striped(height: int, width: int, rng: Rng) -> Image:
    """A wall whose lower part has another colour or material."""
    upper, lower = (PLAIN_WALLS[rng.integers(len(PLAIN_WALLS))](height, width, rng) for _ in range(2))
    border = height - _cell(rng, 0.2, 1.5)
    upper[border:] = lower[border:]
    if rng.random() < 0.5:
        thick = _cell(rng, 0.04, 0.2)
        upper[border - thick : border] = vivid(rng) if rng.random() < 0.5 else grey(rng, 0.1, 0.9)
    return upper


def _furnished(height: int, width: int, rng: Rng) -> Image:
    """A wall with doors, posters and signs."""
    wall = PLAIN_WALLS[rng.integers(len(PLAIN_WALLS))](height, width, rng)
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.4:
            patch, tall, wide, low = _door, _cell(rng, 2.0, 2.3), _cell(rng, 0.8, 1.8), 0
        else:
            patch, tall, wide, low = poster, _cell(rng, 0.3, 1.4), _cell(rng, 0.3, 2.0), _cell(rng, 0.8, 1.6)
        bottom, left = max(height - low, height // 2), int(rng.integers(0, width - 16))
        hole = wall[max(0, bottom - tall) : bottom, left : left + wide]
        hole[:] = patch(hole.shape[0], hole.shape[1], rng)
    return wall


def _door(height: int, width: int, rng: Rng) -> Image:
    door = _windows(height, width, rng) if rng.random() < 0.5 else _panels(height, width, rng)
    frame = int(rng.integers(3, 12))
    colour = grey(rng, 0.1, 0.95)
    door[:frame], door[:, :frame], door[:, -frame:] = colour, colour, colour
    return door


def poster(height: int, width: int, rng: Rng) -> Image:
    """A poster or sign: background, shapes, lines of writing."""
    sheet = np.ones((height, width, 3), np.float32) * vivid(rng)
    for _ in range(rng.integers(1, 6)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(rng.uniform(0.05, 0.4) * min(height, width)) + 1
        cv2.circle(sheet, centre, radius, vivid(rng).tolist(), -1, cv2.LINE_AA)
    ink = vivid(rng).tolist()
    for row in range(int(rng.integers(4, 30)), height - 4, int(rng.integers(10, 40))):
        end = int(rng.uniform(0.3, 0.95) * width)
        cv2.line(sheet, (width // 20, row), (end, row), ink, int(rng.integers(2, 6)), cv2.LINE_AA)
    return sheet


PLAIN_WALLS: list[Paint] = [_concrete, _wall_tiles, _brickwork, _panels, _corrugated]
WALLS: list[Paint] = [*PLAIN_WALLS, _windows, _hedge, _striped, _striped, _furnished, _furnished]


# --- things, RGBA -------------------------------------------------------------------------------------------------


def _solid(rgb: Image, alpha: Image | None = None) -> Image:
    opacity = np.ones(rgb.shape[:2], np.float32) if alpha is None else alpha
    return np.dstack((rgb, opacity)).astype(np.float32)


def foliage(height: int, width: int, rng: Rng) -> Image:
    """Leaves, with gaps and a ragged outline towards the top and the sides."""
    colour = np.array([0.3, 0.42, 0.18], np.float32) * rng.uniform(0.6, 1.3) + rng.normal(0, 0.03, 3).astype(np.float32)
    cell = rng.uniform(2, 7)
    leaves = noise(height, width, cell, rng) * 0.35 + noise(height, width, 5 * cell, rng) * 0.25
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    cols = np.linspace(-1, 1, width, dtype=np.float32)[None]
    inside = np.minimum(3 * rows, 3 * (1 - np.abs(cols))) + 0.5 * noise(height, width, 4 * cell, rng) - 0.4
    rgb = np.clip(colour * np.maximum(1 + leaves[..., None], 0.15), 0, 1)
    return _solid(rgb, np.clip(4 * (inside + 0.3 * leaves), 0, 1))


def railing(height: int, width: int, rng: Rng) -> Image:
    """A railing: hand rail, posts and bars, a wire grid, glass or sheet metal."""
    colour = grey(rng, 0.15, 0.9) if rng.random() < 0.6 else vivid(rng)
    rgb = np.ones((height, width, 3), np.float32) * colour
    alpha = np.zeros((height, width), np.float32)
    kind = rng.choice(["bars", "grid", "rails", "glass", "sheet"], p=[0.3, 0.3, 0.2, 0.1, 0.1])
    thin = int(rng.integers(1, 6))
    if kind == "bars":
        alpha[:, np.arange(width) % _cell(rng, 0.08, 0.2) < thin + 1] = 1
    elif kind == "grid":
        cell = _cell(rng, 0.04, 0.12)
        alpha[_joints(height, width, (cell, cell), min(thin, cell // 3))] = 1
    elif kind == "rails":
        alpha[np.arange(height) % _cell(rng, 0.15, 0.4) < 2 * thin] = 1
    else:
        alpha[:] = 1.0 if kind == "sheet" else rng.uniform(0.15, 0.5)
    rail, post = _cell(rng, 0.03, 0.12), _cell(rng, 0.03, 0.1)
    framed = np.zeros((height, width), np.bool_)
    framed[:rail] = framed[-rail - 12 : -12] = True
    framed[:, np.arange(width) % _cell(rng, 0.9, 2.0) < post] = True
    alpha[framed] = 1
    rgb[framed] *= rng.uniform(0.6, 1.2)
    rgb[: rail // 2] *= 1.15
    return _solid(rgb, cv2.GaussianBlur(alpha, (0, 0), 0.6))


def low_wall(height: int, width: int, rng: Rng) -> Image:
    """A parapet, counter, planter or big box with a lighter top."""
    body = PLAIN_WALLS[rng.integers(len(PLAIN_WALLS))](height, width, rng)
    top = _cell(rng, 0.03, 0.25)
    body[:top] = body[:top] * 0.6 + 0.35
    body[top : top + 3] *= 0.7
    return _solid(body)


def pole(height: int, width: int, rng: Rng) -> Image:
    """A round post, lamp post or pillar."""
    colour = grey(rng, 0.1, 0.9) if rng.random() < 0.75 else vivid(rng)
    across = np.linspace(-1, 1, width, dtype=np.float32)
    round_shade = 0.6 + 0.5 * np.sqrt(np.maximum(1 - (across - rng.uniform(-0.4, 0.4)) ** 2, 0.05))
    rgb = _material(height, width, colour, 0.03, 0.04, rng)
    if rng.random() < 0.75:
        rgb *= round_shade[:, None]
    if rng.random() < 0.25:  # warning bands
        rgb[np.arange(height) // _cell(rng, 0.1, 0.3) % 2 == 0] = vivid(rng)
    return _solid(rgb)


def box(height: int, width: int, rng: Rng) -> Image:
    """A box, bin, machine or cabinet with a front of its own."""
    face = poster(height, width, rng) if rng.random() < 0.3 else _panels(height, width, rng)
    edge = max(2, min(height, width) // 12)
    face[:edge] = face[:edge] * 0.5 + 0.4
    face[:, -edge:] *= 0.6
    return _solid(face)


def car(height: int, width: int, rng: Rng) -> Image:
    """A parked car from the side."""
    colour = vivid(rng) if rng.random() < 0.35 else grey(rng, 0.08, 0.95)
    rgb = np.ones((height, width, 3), np.float32) * colour
    alpha = np.zeros((height, width), np.float32)

    def polygon(points: list[tuple[float, float]], target: Image, value: float | list[float]) -> None:
        corners = (np.array(points) * (width, height)).astype(np.int32)
        cv2.fillPoly(target, [corners], value, cv2.LINE_AA)

    body = [(0.0, 0.8), (0.01, 0.5), (0.2, 0.42), (0.32, 0.05), (0.72, 0.03), (0.86, 0.42), (0.99, 0.5), (1.0, 0.8)]
    polygon(body, alpha, 1.0)
    rgb *= np.linspace(1.15, 0.7, height, dtype=np.float32)[:, None, None]
    glass = grey(rng, 0.08, 0.3).tolist()
    polygon([(0.24, 0.42), (0.34, 0.1), (0.51, 0.09), (0.51, 0.42)], rgb, glass)
    polygon([(0.54, 0.42), (0.54, 0.09), (0.7, 0.08), (0.8, 0.42)], rgb, glass)
    for x in (0.2, 0.8):
        for radius, value in ((0.24, 0.06), (0.13, 0.5)):
            centre = (int(x * width), int(0.76 * height))
            cv2.circle(alpha, centre, int(radius * height), 1.0, -1, cv2.LINE_AA)
            cv2.circle(rgb, centre, int(radius * height), (value,) * 3, -1, cv2.LINE_AA)
    return _solid(rgb, alpha)


def bench(height: int, width: int, rng: Rng) -> Image:
    """A bench with back rest and legs."""
    colour = _planks(height, width, rng) if rng.random() < 0.5 else np.ones((height, width, 3), np.float32) * vivid(rng)
    rows, cols = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    slats = (rows < 0.6) & (rows * 10 % 2 < 1.4)
    legs = (rows > 0.6) & ((np.abs(cols - 0.1) < 0.03) | (np.abs(cols - 0.9) < 0.03))
    return _solid(colour, (slats | legs).astype(np.float32))


THINGS: dict[str, tuple[Paint, tuple[float, float], tuple[float, float], bool]] = {
    # painter, height and width in metres (least, most), also indoors
    "railing": (railing, (0.8, 1.3), (4.0, 6.0), True),
    "low wall": (low_wall, (0.4, 1.2), (1.0, 5.0), True),
    "pole": (pole, (3.0, 4.0), (0.05, 0.28), True),
    "box": (box, (0.4, 1.5), (0.4, 1.2), True),
    "bush": (foliage, (0.5, 1.6), (0.8, 3.0), False),
    "car": (car, (1.3, 1.6), (3.6, 4.4), False),
    "bench": (bench, (0.8, 0.9), (1.2, 2.0), True),
}


def thing(kind: str, rng: Rng) -> Image:
    """Paint something that stands about, one of ``THINGS``: RGBA, its bottom row on the floor."""
    paint, tall, wide, _ = THINGS[kind]
    height, width = int(rng.uniform(*tall) * DENSITY), int(rng.uniform(*wide) * DENSITY)
    return paint(max(height, 8), max(width, 8), rng)
