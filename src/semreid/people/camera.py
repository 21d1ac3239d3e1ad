"""Surveillance cameras: where they hang, the light they see by, and what they make of it.

The cameras of one real network differ in viewpoint, light, white balance, exposure, contrast, saturation,
sharpness, resolution, noise and compression; that a network learns to see past these differences is what most
of re-identification is about. So cameras are drawn to differ strongly, and pictures of one camera mildly.

World axes: x to the right of the picture, y up, z horizontally towards the camera, in metres; the person stands at
the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.errors import SemreidError
from semreid.people.palette import about

Image = NDArray[Any]
Colour = tuple[float, float, float]
Weather = Literal["sun", "overcast", "dusk", "indoor"]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_STEPS = 2048  # of the tone curve
_WHITE = 2.0  # square root of the brightest light the tone curve tells apart


@dataclass(frozen=True)
class Camera:
    """One installed camera.

    Attributes:
        camid: Number of the camera in its network, from 1.
        seed: Seed of the place it sees.
        weather: Kind of light.
        elevation: Angle in degrees by which it looks down.
        distance: Metres to the people in the middle of its view.
        heading: Direction in degrees in which most people walk (or the opposite one): 0 towards the camera, 90 to
            the right of the picture.
        heading_spread: Standard deviation of that direction in degrees.
        sun: Unit vector towards the sun or the main lamp.
        sun_colour: Light from there on a surface facing it, linear RGB.
        sky_colour: Light from all around, linear RGB.
        matrix: From scene colours to camera colours, rows of 3 × 3: white balance, cross-talk.
        exposure: Gain of the light.
        gamma: Exponent of the tone curve (2.2 is usual).
        contrast: Slope of the tone curve about mid-grey.
        black: Brightness added to black: haze above 0, crushed shadows below.
        saturation: Gain of the colour.
        auto_exposure: How far each picture is pulled to the same mean brightness (0 not at all, 1 entirely).
        drift: Standard deviation of the logarithm of the exposure, and twice that of the white balance, from picture
            to picture.
        shade: Probability that a shadow lies across the picture.
        height: Typical height of a person in sensor pixels.
        blur: Standard deviation of the optical blur in sensor pixels.
        chroma_blur: Width in sensor pixels over which colour is smeared.
        motion: Probability of motion blur.
        sharpen: Strength of the sharpening; 1 and more makes halos.
        halo: Radius of the sharpening in sensor pixels.
        noise: Standard deviation of the noise, share of white.
        grain: Size of the grains of the noise in sensor pixels.
        jpeg_quality: Quality at which pictures are written.
        margin: Share of the person's height that boxes leave free on average, each side.
        margin_spread: Standard deviation of each side of the boxes, share of the height.
        occlusion: Probability that something stands before the person.
        crowding: Probability that somebody passes behind.
    """

    camid: int
    seed: int
    weather: Weather
    elevation: float
    distance: float
    heading: float
    heading_spread: float
    sun: Colour
    sun_colour: Colour
    sky_colour: Colour
    matrix: tuple[Colour, Colour, Colour]
    exposure: float
    gamma: float
    contrast: float
    black: float
    saturation: float
    auto_exposure: float
    drift: float
    shade: float
    height: int
    blur: float
    chroma_blur: float
    motion: float
    sharpen: float
    halo: float
    noise: float
    grain: float
    jpeg_quality: int
    margin: float
    margin_spread: float
    occlusion: float
    crowding: float


def linear(display: NDArray[np.uint8]) -> Image:
    """Turn painted 8-bit colours into the linear light that renderers add and multiply, in [0, 1].

    Example:
        >>> linear(np.array([0, 128, 255], np.uint8)).round(2).tolist()
        [0.0, 0.2199999988079071, 1.0]
    """
    return _linear_table()[display]


@lru_cache(1)
def _linear_table() -> Image:
    return (np.linspace(0, 1, 256, dtype=np.float32) ** 2.2).astype(np.float32)


def install_camera(seed: int, camid: int) -> Camera:
    """Draw a camera of a network, numbered from 1: the same for the same arguments; different ones differ strongly.

    Raises:
        SemreidError: A number is negative.
    """
    if seed < 0 or camid < 0:
        raise SemreidError(f"no camera {camid} of network {seed}", fix="use numbers from 0")
    rng = np.random.default_rng([seed, camid, 0xCA])
    weather: Weather = get_args(Weather)[rng.choice(4, p=[0.25, 0.3, 0.1, 0.35])]
    sun, sun_colour, sky_colour = _light(weather, rng)
    light = np.array(sky_colour) + 0.5 * np.array(sun_colour)
    return Camera(
        camid=camid,
        seed=int(rng.integers(2**31)),
        weather=weather,
        elevation=_elevation(rng),
        distance=rng.uniform(3, 9),
        heading=rng.uniform(0, 180),
        heading_spread=rng.uniform(8, 60),
        sun=sun,
        sun_colour=sun_colour,
        sky_colour=sky_colour,
        matrix=_matrix(light, rng),
        exposure=float(1.0 / (light @ LUMA) * np.exp(rng.normal(-0.45, 0.27))),
        gamma=about(rng, 2.2, 0.2, 1.7, 2.8),
        contrast=float(np.exp(about(rng, 0.32, 0.18, -0.25, 0.62))),
        black=rng.uniform(0.02, 0.14) if rng.random() < 0.25 else rng.uniform(-0.025, 0.02),
        saturation=float(np.exp(about(rng, -0.5, 0.35, -1.4, 0.3))),
        auto_exposure=rng.uniform(0, 0.5),
        drift=rng.uniform(0.02, 0.08),
        shade={"sun": 0.3, "overcast": 0.03, "dusk": 0.1, "indoor": 0.1}[weather] * rng.uniform(0.3, 1.5),
        motion=rng.uniform(0, 0.06),
        jpeg_quality=int(rng.integers(35, 96)),
        margin=rng.uniform(-0.015, 0.03),
        margin_spread=rng.uniform(0.005, 0.03),
        occlusion=rng.uniform(0.0, 0.12),
        crowding=rng.uniform(0.0, 0.3),
        **_sharpness(rng),
    )


def _elevation(rng: np.random.Generator) -> float:
    """Eye level, above the heads, or high on a wall."""
    low, high = ((-10, 5), (4, 18), (15, 38))[rng.choice(3, p=[0.15, 0.5, 0.35])]
    return float(rng.uniform(low, high))


def _warm(kelvin: float, tint: float = 0.0) -> NDArray[np.float64]:
    """Colour of a light that is warm (above 0) or cool (below), greenish (above 0) or pinkish, of luminance about 1."""
    gains: NDArray[np.float64] = np.exp(np.array([0.5, 0.0, -0.5]) * kelvin + np.array([-0.3, 0.3, -0.3]) * tint)
    return gains / (gains @ LUMA)


_LIGHTS: dict[Weather, tuple[float, ...]] = {
    # sun: least and most strength, warmth; sky: likewise
    "sun": (1.2, 2.6, 0.2, 0.2, 0.5, -0.3),
    "overcast": (0.2, 0.9, 0.0, 0.5, 0.9, -0.1),
    "dusk": (0.3, 1.0, 0.7, 0.25, 0.5, -0.25),
    "indoor": (0.5, 1.8, 0.35, 0.25, 0.6, 0.3),
}


def _light(weather: Weather, rng: np.random.Generator) -> tuple[Colour, Colour, Colour]:
    least, most, warmth, sky_least, sky_most, sky_warmth = _LIGHTS[weather]
    height = rng.uniform(55, 85) if weather == "indoor" else rng.uniform(12, 65)
    up, around = np.radians(height), rng.uniform(0, 2 * np.pi)
    sun = (float(np.cos(up) * np.sin(around)), float(np.sin(up)), float(np.cos(up) * np.cos(around)))
    tint = rng.normal(0, 0.25) if weather == "indoor" else 0.0
    sun_colour = rng.uniform(least, most) * _warm(rng.normal(warmth, 0.1), tint)
    sky_colour = rng.uniform(sky_least, sky_most) * _warm(rng.normal(sky_warmth, 0.1), tint)
    return sun, _colour(sun_colour), _colour(sky_colour)


def _colour(values: NDArray[np.floating]) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _matrix(light: NDArray[np.float64], rng: np.random.Generator) -> tuple[Colour, Colour, Colour]:
    """White balance that mostly makes up for the light and leaves or adds a cast; channels leak into each other."""
    balance = (light / (light @ LUMA)) ** -rng.uniform(0.7, 1.05)
    cast = _warm(rng.normal(-0.01, 0.06), rng.normal(0.005, 0.035))
    leak = np.eye(3) + rng.normal(0, 0.06, (3, 3))
    leak /= leak.sum(1, keepdims=True)
    rows = np.diag(balance * cast) @ leak
    return _colour(rows[0]), _colour(rows[1]), _colour(rows[2])


def _sharpness(rng: np.random.Generator) -> dict[str, Any]:
    """Resolution, blur, sharpening and noise of a lens, sensor and its electronics."""
    height = np.exp(rng.uniform(np.log(120), np.log(350)))
    fine = np.clip(height / 200, 0.4, 1.0)  # what is coarse is not noisy or blurred on top of it
    soft = rng.random() < 0.15
    sharpen = rng.uniform(0.4, 2.5) if not soft and rng.random() < 0.65 else 0.0
    noise = np.exp(rng.uniform(np.log(0.004), np.log(0.03)))
    return {
        "height": round(height),
        "blur": fine * (rng.uniform(0.7, 1.6) if soft else rng.uniform(0.0, 0.6)),
        "chroma_blur": rng.uniform(0, 5) * fine,
        "sharpen": sharpen,
        "halo": rng.uniform(0.6, 1.6),
        "noise": float(noise * fine / (1 + 0.7 * sharpen)),  # sharpening brings it out
        "grain": rng.uniform(0, 0.8) * fine,
    }


def develop(image: Image, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take the picture: from light to the 8-bit picture of a camera, before it is compressed.

    ``image`` is linear RGB (H, W, 3), white in full light about 1; ``rng`` draws what differs from picture to picture.
    """
    height, width = image.shape[:2]
    native = max(16, min(height, round(camera.height * rng.uniform(0.75, 1.25))))
    scale = native / camera.height if native == height else 1.0  # pixels here per sensor pixel
    small = (max(8, round(width * native / height)), native)
    seen = cv2.resize(image, small, interpolation=cv2.INTER_AREA) if native < height else image
    seen = _optics(seen, camera, scale, rng)
    seen = _expose(seen, camera, rng)
    seen = _electronics(seen, camera, scale, rng)
    if native < height:
        seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.convertScaleAbs(np.maximum(seen, 0), alpha=255)  # type: ignore[return-value]


def _optics(image: Image, camera: Camera, scale: float, rng: np.random.Generator) -> Image:
    if camera.blur * scale > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), camera.blur * scale)
    if rng.random() < camera.motion:
        length = 2 * round(rng.uniform(0.5, 0.02 * image.shape[0])) + 1
        image = cv2.blur(image, (length, 1))
    if rng.random() < camera.shade:
        image = image * _shadow_edge(image.shape[:2], rng)[..., None]
    return image


def _shadow_edge(size: tuple[int, int], rng: np.random.Generator) -> Image:
    """A shadow with a straight soft edge across the picture."""
    height, width = size
    slope = rng.normal(0, 1, 2)
    down, across = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-0.5, 0.5, width, dtype=np.float32)
    side = (slope[0] * down[:, None] + slope[1] * across + rng.normal(0, 0.5)) * rng.uniform(2, 20)
    dark = rng.uniform(0.35, 0.8)
    return (dark + (1 - dark) * np.clip(side, 0, 1)).astype(np.float32)


def _expose(image: Image, camera: Camera, rng: np.random.Generator) -> Image:
    """White balance, exposure, tone curve and saturation."""
    mean = max(float(np.dot(cv2.mean(image)[:3], LUMA)), 1e-3)
    gain = camera.exposure * np.exp(rng.normal(0, camera.drift))
    gain *= (0.2 / (mean * camera.exposure)) ** camera.auto_exposure
    drift = _warm(rng.normal(0, camera.drift / 2), rng.normal(0, camera.drift / 4))
    matrix = np.asarray(camera.matrix) * (gain * drift)[:, None]
    light = cv2.sqrt(np.maximum(cv2.transform(image, matrix), 0))
    index = np.minimum(light * ((_STEPS - 1) / _WHITE), _STEPS - 1).astype(np.uint16)
    toned = _curve(camera.gamma, camera.contrast, camera.black)[index]
    grey = np.tile(LUMA, (3, 1))
    return cv2.transform(toned, grey + camera.saturation * (np.eye(3) - grey))


@lru_cache(4096)
def _curve(gamma: float, contrast: float, black: float) -> Image:
    """Tone curve over the square root of the light: gamma, contrast about mid-grey, soft toe and shoulder, black."""
    display = (np.linspace(0, _WHITE, _STEPS, dtype=np.float32) ** 2) ** (1 / gamma)
    steep = 0.45 + contrast * (display - 0.45)
    shoulder = np.where(steep > 0.8, 0.8 + 0.2 * np.tanh((steep - 0.8) / 0.2), steep)
    toe = np.where(shoulder < 0.12, 0.12 * np.exp((np.minimum(shoulder, 0.12) - 0.12) / 0.12), shoulder)
    return np.clip(black + (1 - black) * toe, 0, 1).astype(np.float32)


def _electronics(image: Image, camera: Camera, scale: float, rng: np.random.Generator) -> Image:
    """Noise, smeared colours and sharpening, in display brightness."""
    grain = rng.standard_normal(image.shape[:2], np.float32)
    if camera.grain > 0.3:
        grain = cv2.GaussianBlur(grain, (0, 0), camera.grain) * (1 + 2.5 * camera.grain)
    grey = cv2.transform(image, LUMA[None])
    colour = image - grey[..., None]
    smear = round(camera.chroma_blur * scale)
    if smear > 1:
        colour = cv2.blur(colour, (smear, max(1, smear // 2)))
    grey = grey + np.float32(camera.noise) * grain * (0.35 + grey)
    if camera.sharpen:
        soft = cv2.GaussianBlur(grey, (0, 0), max(camera.halo * scale, 0.4))
        grey = grey + np.float32(camera.sharpen) * (grey - soft)
    return colour + grey[..., None]
