"""Places: what a camera sees behind the people, painted once per camera in true perspective and cropped many times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.files import atomic_path
from semreid.people import materials
from semreid.people.camera import Camera
from semreid.people.materials import DENSITY, Image, Rng

PERSON = 1.7
"""Height in metres of the person pictures are framed for."""
FILL = 0.9
"""Share of the height of the picture that the person fills."""
_VIEW = (640, 960)  # of the whole camera picture
_PIXELS = 250.0  # height of a person in the middle of it
_BRIGHTEST = 1.6  # light that views and things still tell apart
_FAR = 40.0


@dataclass(frozen=True, eq=False)
class Place:
    """The surroundings of one camera.

    Attributes:
        camera: The camera.
        view: What it sees without people: square root of linear light / 1.6, uint8 (640, 960, 3).
        things: What stands before people here: name and RGBA picture of the same kind, ``DENSITY`` pixels per metre.
    """

    camera: Camera
    view: NDArray[np.uint8]
    things: tuple[tuple[str, NDArray[np.uint8]], ...]


@dataclass(frozen=True)
class _Upright:
    """An upright rectangle: a wall, or something on a picture with transparency.

    ``away`` metres behind the origin, turned by ``turn`` radians, from ``left`` metres along it.
    """

    texture: Image
    away: float
    turn: float
    left: float = -1e3
    repeats: bool = True


def encode(light: Image) -> NDArray[np.uint8]:
    """Store linear light in 8 bits, finer in the dark."""
    return (np.sqrt(np.clip(light / _BRIGHTEST, 0, 1)) * 255 + 0.5).astype(np.uint8)


def decode(stored: NDArray[np.uint8]) -> Image:
    """Undo ``encode``."""
    root = np.float32(np.sqrt(_BRIGHTEST) / 255) * stored
    return root * root


_shelf: Path | None = None


def share_places(folder: Path | None) -> None:
    """Let processes that work side by side build each place once, and read it from a folder after that.

    A folder is for one network of cameras; None shares nothing.
    """
    global _shelf  # of the process, as the cache of `build_place` is
    _shelf = folder


@lru_cache(maxsize=256)
def build_place(camera: Camera) -> Place:
    """Build the place that a camera sees; its seed decides it.

    It is kept in this process, and where there is a folder for it (`share_places`) also there.
    """
    if _shelf is None:
        return _build_place(camera)
    file = _shelf / f"{camera.camid}.npz"
    if file.exists():
        with np.load(file) as kept:
            view, *things = ((name, kept[name]) for name in kept)
        return Place(camera, view[1], tuple((name.partition(" ")[2], thing) for name, thing in things))
    place = _build_place(camera)
    things = [(f"{number} {name}", thing) for number, (name, thing) in enumerate(place.things)]
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, view=place.view, **dict(things))
    return place


def _build_place(camera: Camera) -> Place:
    rng = np.random.default_rng([camera.seed, 0x91])
    indoor = camera.weather == "indoor"
    view = _paint_view(camera, rng, indoor)
    kinds = [k for k, (_, _, _, inside) in materials.THINGS.items() if k != "bench" and (inside or not indoor)]
    chosen = rng.choice(kinds, size=4)
    light = np.asarray(camera.sky_colour) + 0.35 * np.asarray(camera.sun_colour)
    things = tuple((str(kind), _lit(materials.thing(str(kind), rng), light)) for kind in chosen)
    return Place(camera, view, things)


def _lit(rgba: Image, light: NDArray[np.floating]) -> NDArray[np.uint8]:
    colour = encode(materials.linear_paint(rgba[..., :3]) * light.astype(np.float32))
    return np.dstack((colour, (rgba[..., 3] * 255).astype(np.uint8)))


# --- geometry -----------------------------------------------------------------------------------------------------


def _eye(camera: Camera) -> tuple[float, float, float, float]:
    """Height and distance (horizontal) of the lens, sine and cosine of the angle it looks down."""
    down = np.radians(camera.elevation)
    height = max(0.15, PERSON / 2 + camera.distance * float(np.sin(down)))
    return height, camera.distance * float(np.cos(down)), float(np.sin(down)), float(np.cos(down))


def _focal(camera: Camera) -> float:
    return _PIXELS * camera.distance / PERSON


def _rays(camera: Camera) -> tuple[Image, Image, Image]:
    """Direction (x, y, z) in which each pixel of the view looks, (640, 960) each."""
    _, _, sine, cosine = _eye(camera)
    height, width = _VIEW
    right = ((np.arange(width, dtype=np.float32) - width / 2) / _focal(camera))[None]
    up = ((height / 2 - np.arange(height, dtype=np.float32)) / _focal(camera))[:, None]
    ones = np.ones(_VIEW, np.float32)
    return right * ones, (up * cosine - sine) * ones, (-cosine - up * sine) * ones


def project(camera: Camera, x: float, y: float, z: float) -> tuple[float, float]:
    """Column and row of the view at which a point in the world appears."""
    eye_y, eye_z, sine, cosine = _eye(camera)
    up, ahead = y - eye_y, eye_z - z
    depth = ahead * cosine - up * sine
    rise = up * cosine + ahead * sine
    focal = _focal(camera)
    return _VIEW[1] / 2 + focal * x / depth, _VIEW[0] / 2 - focal * rise / depth


# --- painting the view --------------------------------------------------------------------------------------------


def _paint_view(camera: Camera, rng: Rng, indoor: bool) -> NDArray[np.uint8]:
    rays = _rays(camera)
    light = _horizon(camera, rng, indoor)
    nearest = np.full(_VIEW, np.inf, np.float32)
    _lay_floor(light, nearest, rays, camera, rng, indoor)
    for upright in _uprights(camera, rng, indoor):
        _stand(light, nearest, rays, camera, upright)
    return encode(cv2.GaussianBlur(light, (0, 0), 0.6))


def _horizon(camera: Camera, rng: Rng, indoor: bool) -> Image:
    """What is seen above everything: the sky or a hall, and far things out of focus."""
    height, width = _VIEW
    far = materials.blurred_scene(height, width, rng, rng.uniform(4, 12))
    light = np.asarray(camera.sky_colour, np.float32)
    if not indoor:
        skyline = np.clip(rng.uniform(0.2, 0.5) + 0.1 * materials.noise(1, width, 60, rng), 0, 1)
        sky = np.linspace(0, 1, height, dtype=np.float32)[:, None] < skyline
        far[sky] = np.float32(rng.uniform(0.8, 1.0))
        far = cv2.GaussianBlur(far, (0, 0), 3)
    return materials.linear_paint(far) * light


def _lay_floor(
    light: Image, nearest: Image, rays: tuple[Image, Image, Image], camera: Camera, rng: Rng, indoor: bool
) -> None:
    eye_y, eye_z, _, _ = _eye(camera)
    ray_x, ray_y, ray_z = rays
    t = -eye_y / np.minimum(ray_y, -1e-4)
    hit = (ray_y < -1e-4) & (-ray_z * t < _FAR)
    if not hit.any():
        return
    box = _bounds(hit)
    t, hit = np.where(hit, t, 0)[box], hit[box]
    x, z = ray_x[box] * t, eye_z + ray_z[box] * t
    turn = np.float32(rng.uniform(0, np.pi))
    u = (x * np.cos(turn) - z * np.sin(turn)) * DENSITY + 512
    v = (x * np.sin(turn) + z * np.cos(turn)) * DENSITY + 512
    floor = materials.linear_paint(_sample(_floor_texture(rng, indoor), u, v, t / camera.distance))
    sun = np.asarray(camera.sun_colour, np.float32) * np.float32(camera.sun[1])
    lit = 0.9 * np.asarray(camera.sky_colour, np.float32) + sun * _sunlit(x, z, camera, rng)[..., None]
    light[box][hit] = (floor * lit)[hit]
    nearest[box][hit] = t[hit]


def _floor_texture(rng: Rng, indoor: bool) -> Image:
    choices = {name: share for name, (_, share, inside) in materials.FLOORS.items() if inside or not indoor}
    names, shares = list(choices), np.array(list(choices.values()))
    return materials.FLOORS[rng.choice(names, p=shares / shares.sum())][0](1024, 1024, rng)


def _sample(texture: Image, u: Image, v: Image, far: Image) -> Image:
    """Look a texture up; where it is far away, in a blurred copy, as a lens would mix its grains."""

    def look_up(picture: Image) -> Image:
        return cv2.remap(picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    fine = look_up(texture)
    share = np.clip((far - 1.3) / 2, 0, 1)
    if not share.any():
        return fine
    return fine + (look_up(cv2.GaussianBlur(texture, (0, 0), 3)) - fine) * share[..., None]


def _sunlit(x: Image, z: Image, camera: Camera, rng: Rng) -> Image:
    """Share of the sun that reaches the floor: shadows of houses and trees, pools of lamp light."""
    if camera.weather == "sun":
        kind = rng.choice(["open", "edge", "tree"], p=[0.4, 0.35, 0.25])
        sharp = 8.0
    else:
        kind, sharp = rng.choice(["open", "tree"]), 0.4
    if kind == "open":
        return np.ones_like(x)
    if kind == "edge":
        angle = rng.uniform(0, np.pi)
        return np.clip(0.5 + sharp * (np.cos(angle) * x + np.sin(angle) * z + rng.normal(0, 1)), 0, 1)
    spots = materials.noise(256, 256, 14, rng)
    found = cv2.remap(
        spots,
        (x * 20 + 128).astype(np.float32),
        (z * 20 + 128).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.clip(0.5 + sharp * 0.4 * found, 0, 1)


def _uprights(camera: Camera, rng: Rng, indoor: bool) -> list[_Upright]:
    """A wall behind, perhaps one around the corner, and things in front of them, nearest last."""
    away = float(np.exp(rng.uniform(np.log(1.2), np.log(9))))
    turn = float(rng.normal(0, 0.35))
    found = []
    if indoor or rng.random() < 0.75:
        tall = rng.uniform(2.5, 4.0) if rng.random() < 0.75 else rng.uniform(0.8, 2.0)
        paint = materials.WALLS[rng.integers(len(materials.WALLS))]
        found.append(_Upright(paint(int(tall * DENSITY), 1024, rng), away, turn))
    if rng.random() < 0.35:
        paint = materials.WALLS[rng.integers(len(materials.WALLS))]
        side = float(rng.choice([-1, 1])) * rng.uniform(0.9, 1.4)
        found.append(_Upright(paint(int(3 * DENSITY), 1024, rng), rng.uniform(1.5, 4), turn + side))
    kinds = [k for k, (_, _, _, inside) in materials.THINGS.items() if inside or not indoor]
    for distance in sorted(rng.uniform(1.0, max(away, 1.1), rng.integers(0, 5)).tolist(), reverse=True):
        kind = str(rng.choice(kinds))
        left = -1e3 if kind == "railing" else rng.uniform(-4, 3)
        found.append(_Upright(materials.thing(kind, rng), distance, turn, left, kind == "railing"))
    return found


def _stand(light: Image, nearest: Image, rays: tuple[Image, Image, Image], camera: Camera, upright: _Upright) -> None:
    """Paint an upright rectangle into the view, where nothing nearer is."""
    eye_y, eye_z, _, _ = _eye(camera)
    sine, cosine = float(np.sin(upright.turn)), float(np.cos(upright.turn))  # the normal is (sine, 0, cosine)
    ray_x, ray_y, ray_z = rays
    facing = np.minimum(sine * ray_x + cosine * ray_z, -1e-3)
    t = -(upright.away + cosine * eye_z) / facing
    y = eye_y + ray_y * t
    along = ray_x * t * cosine - (eye_z + ray_z * t) * sine - (0 if upright.repeats else upright.left)
    tall, wide = upright.texture.shape[0] / DENSITY, upright.texture.shape[1] / DENSITY
    inside = (t > 0) & (t < np.minimum(nearest, 3 * _FAR)) & (y >= -0.01) & (y < tall)
    if not upright.repeats:
        inside &= (along >= 0) & (along < wide)
    if not inside.any():
        return
    box = _bounds(inside)
    t, y, along, inside = t[box], y[box], along[box], inside[box]
    texels = _sample(upright.texture, along * DENSITY, (tall - y) * DENSITY, t / camera.distance)
    alpha = texels[..., 3] * inside if texels.shape[2] == 4 else inside.astype(np.float32)
    light[box] += (_lit_wall(texels[..., :3], y, camera, sine, cosine) - light[box]) * alpha[..., None]
    nearest[box] = np.where(alpha > 0.5, t, nearest[box])


def _bounds(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest rectangle around what is true."""
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)


def _lit_wall(painted: Image, y: Image, camera: Camera, sine: float, cosine: float) -> Image:
    """Light of a wall that faces (sine, 0, cosine): from the sky, the sun, and less of both near the floor."""
    sun = max(0.0, sine * camera.sun[0] + cosine * camera.sun[2])
    colour = 0.8 * np.asarray(camera.sky_colour, np.float32) + np.float32(sun) * np.asarray(
        camera.sun_colour, np.float32
    )
    shade = 1 - 0.35 * np.exp(-np.maximum(y, 0) / np.float32(0.3))
    return materials.linear_paint(painted) * colour * shade[..., None]


# --- cropping -----------------------------------------------------------------------------------------------------


def background(place: Place, rng: Rng, size: tuple[int, int]) -> Image:
    """Crop the place as it is behind a person who fills about 90 % of the height of the picture.

    It is linear light RGB, (H, W, 3), at most 1.6; where the person stands is drawn.
    """
    camera = place.camera
    x, z = rng.uniform(-1.6, 1.6), rng.uniform(-0.9, 0.9)
    column, foot = project(camera, x, 0.0, z)
    _, head = project(camera, x, PERSON, z)
    tall = (foot - head) / FILL
    wide = tall * size[1] / size[0]
    top, left = head - (1 - FILL) / 2 * tall, column - wide / 2
    left = float(np.clip(left, 0, _VIEW[1] - 1 - wide))
    top = float(np.clip(top, 0, _VIEW[0] - 1 - tall))
    window = place.view[int(top) : int(top + tall) + 1, int(left) : int(left + wide) + 1]
    how = cv2.INTER_AREA if tall > size[0] else cv2.INTER_LINEAR
    return decode(np.asarray(cv2.resize(window, (size[1], size[0]), interpolation=how), np.uint8))
