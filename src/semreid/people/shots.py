"""Pictures of people: an identity from a seed, and what the cameras of a network see of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.people.body import Body, build_body
from semreid.people.camera import Camera, develop, install_camera, linear
from semreid.people.garments import Outfit
from semreid.people.places import Place, background, build_place
from semreid.people.poses import Pose, draw_pose, take_pose
from semreid.people.render import (
    Box,
    Light,
    Projection,
    Rendering,
    View,
    bounding_box,
    camera_rotation,
    project,
    render,
)
from semreid.people.scene import cast_shadow, crowd, occlude
from semreid.people.shape import draw_shape
from semreid.people.tailor import paint
from semreid.people.wardrobe import attributes, draw_outfit, folds, relative

Array = NDArray[Any]
RELATIVES = 0.35
"""Share of the even-numbered identities that wear some or nearly all of what the one before wears."""
_BYSTANDERS = 24
_BAD_BOX = 0.06
_STREAMS = {"outfit": 1, "person": 2, "shot": 3, "bystander": 4, "network": 5}


@dataclass(frozen=True)
class Person:
    """A synthetic identity.

    Attributes:
        pid: Its number.
        outfit: What it wears.
        body: Its dressed body at rest.
        texture: Unlit albedo over the atlas, RGB (256, 256, 3) uint8.
    """

    pid: int
    outfit: Outfit
    body: Body
    texture: NDArray[np.uint8]

    @cached_property
    def albedo(self) -> Array:
        """The texture in linear light."""
        return linear(self.texture)

    @cached_property
    def attributes(self) -> dict[str, str]:
        """What a witness would say: hair, clothes and their colours, bags."""
        return attributes(self.outfit)


@dataclass(frozen=True)
class Shot:
    """One picture of a person with all that is known about it.

    Attributes:
        person: Who.
        camera: Which camera took it.
        image: RGB (H, W, 3) uint8, before compression.
        parts: Part labels (H, W) uint8 of what is visible of the person.
        uv: Texture coordinates (H, W, 2) of the visible person; 0 elsewhere.
        pose: The pose.
        view: Where the camera saw it from.
        visible: Share of each of the seven parts that is inside the box and not hidden by something in front,
            in the order of their labels; 0 for parts turned away.
        occlusion: Share of the whole person that is outside the box or hidden.
        box: Left, top, right, bottom of the box in heights of the person, from the top left of the tight box.
        keypoints: Pixel coordinates (14, 2) of :data:`semreid.people.poses.KEYPOINTS`, inside the image or not.
    """

    person: Person
    camera: Camera
    image: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    uv: Array
    pose: Pose
    view: View
    visible: tuple[float, ...]
    occlusion: float
    box: Box
    keypoints: Array


def _rng(seed: int, stream: str, *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[stream], *more])


def create_person(seed: int, pid: int) -> Person:
    """Create an identity; many even-numbered ones resemble the one before, which is what makes a set hard.

    The same arguments make the same person, whoever asks; ``pid`` counts from 1.
    """
    rng = _rng(seed, "person", pid)
    if pid % 2 == 0 and rng.random() < RELATIVES:
        outfit = relative(draw_outfit(_rng(seed, "outfit", pid - 1)), rng)
    else:
        outfit = draw_outfit(_rng(seed, "outfit", pid))
    return _dress(pid, outfit, rng)


def _dress(pid: int, outfit: Outfit, rng: np.random.Generator) -> Person:
    body = build_body(draw_shape(rng, outfit.gender == "female"), outfit.silhouette)
    return Person(pid, outfit, body, paint(outfit))


@lru_cache(4)
def network(seed: int, cameras: int) -> tuple[Camera, ...]:
    """Install the cameras of a network, numbered from 1."""
    first = int(_rng(seed, "network").integers(2**31))
    return tuple(install_camera(first, camid) for camid in range(1, cameras + 1))


def shoot(
    person: Person,
    cameras: Sequence[Camera],
    count: int,
    passes: int,
    seed: int,
    size: tuple[int, int] = (256, 128),
    *,
    numbers: Iterable[int] | None = None,
) -> Iterator[Shot]:
    """Take pictures of a person as it passes some cameras of a network, one camera after the other.

    It passes ``passes`` of them, if there are so many, in ``count`` pictures. ``numbers`` are the pictures to take, all
    if None; those behind the last begin another pass. Each depends on the seed, the identity and its number only.
    """
    rng = _rng(seed, "shot", person.pid)
    passed = rng.permutation(len(cameras))[: min(passes, count)]
    headings = {int(c): _heading(cameras[c], rng) for c in passed}
    for number in range(count) if numbers is None else numbers:
        which = int(passed[number % count * len(passed) // count])
        own = _rng(seed, "shot", person.pid, number + 1)
        yield take(person, build_place(cameras[which]), headings[which] + own.normal(0, 12), own, size, seed)


def _heading(camera: Camera, rng: np.random.Generator) -> float:
    """Draw where somebody walks: along the usual way or against it."""
    return camera.heading + (180 if rng.random() < 0.5 else 0) + rng.normal(0, camera.heading_spread)


def take(
    person: Person, place: Place, heading: float, rng: np.random.Generator, size: tuple[int, int], seed: int
) -> Shot:
    """Take one picture of a person.

    It walks towards ``heading``, in degrees: 0 towards the camera, 90 to the right of the picture. All chance is of
    ``rng``, but for the bystanders, who are of ``seed``.
    """
    camera, body = place.camera, person.body
    pose = draw_pose(body, rng, person.outfit.bag.side if person.outfit.bag else 1)
    view = _view(camera, heading, rng)
    seen = project(take_pose(body, pose), view)
    tight = bounding_box(seen)
    box = _draw_box(camera, tight, rng)
    whole, window = _render_whole(person, camera, view, seen, tight, box, size, rng)
    layer, hidden = _before(place, rng, size, box, seed)
    inside = whole.parts[window]
    parts = np.where(hidden > 0.5, 0, inside).astype(np.uint8)
    light = _compose(whole, window, _behind(place, rng, size, box, whole.alpha[window], seed), layer, hidden)
    total, left = (np.bincount(p.ravel(), minlength=8)[1:] for p in (whole.parts, parts))
    visible = tuple(float(v) for v in np.round(left / np.maximum(total, 1), 3))
    scale = np.array(size[::-1], np.float32) / (box[2] - box[0], box[3] - box[1])
    height = tight[3] - tight[1]
    return Shot(
        person, camera, develop(light, camera, rng), parts, whole.uv[window] * (parts > 0)[..., None], pose, view,
        visible, 1 - float(left.sum() / max(total.sum(), 1)),
        tuple(float(b - t) / height for b, t in zip(box, (*tight[:2], *tight[:2]), strict=True)),  # type: ignore[arg-type]
        ((seen.keypoints - box[:2]) * scale).astype(np.float32),
    )  # fmt: skip


def _view(camera: Camera, heading: float, rng: np.random.Generator) -> View:
    return View(
        yaw=heading,
        elevation=camera.elevation + rng.normal(0, 2),
        distance=max(1.8, camera.distance * rng.uniform(0.75, 1.3)),
        roll=rng.normal(0, 1.5),
    )


def _draw_box(camera: Camera, tight: Box, rng: np.random.Generator) -> Box:
    """Draw the box of a detector: loose or tight as the camera's habit is, at times quite wrong."""
    left, top, right, bottom = tight
    height, width = bottom - top, right - left
    free = np.clip(rng.normal(camera.margin, camera.margin_spread, 4), -0.04, 0.25) * height
    if rng.random() < _BAD_BOX:
        side = rng.choice(4, p=(0.15, 0.2, 0.15, 0.5))
        cut = rng.uniform(0.1, 0.45) * (height if side % 2 else width) * (0.5 if side == 1 else 1)
        free[side] = -cut if rng.random() < 0.75 else cut
    narrow = max(0.0, 0.24 * height - (width + free[0] + free[2])) / 2  # no detector returns a mere line
    return left - free[0] - narrow, top - free[1], right + free[2] + narrow, bottom + free[3]


def _render_whole(
    person: Person, camera: Camera, view: View, seen: Projection, tight: Box, box: Box, size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Rendering, tuple[slice, slice]]:  # fmt: skip
    """Render the whole person at the scale of the box, and say where in that picture the box is."""
    height, width = size
    pixel = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    before = [max(0, int(np.ceil((b - t) / p))) for b, t, p in zip(box, tight[:2], pixel, strict=False)]
    after = [max(0, int(np.ceil((t - b) / p))) for b, t, p in zip(box[2:], tight[2:], pixel, strict=False)]
    wide = (
        box[0] - before[0] * pixel[0],
        box[1] - before[1] * pixel[1],
        box[2] + after[0] * pixel[0],
        box[3] + after[1] * pixel[1],
    )
    rendering = render(
        seen,
        person.body.faces,
        person.albedo,
        wide,
        (height + before[1] + after[1], width + before[0] + after[0]),
        light=_light(camera, view),
        ambient_share=person.body.shade,
        relief=folds(person.outfit, rng),
    )
    return rendering, (slice(before[1], before[1] + height), slice(before[0], before[0] + width))


def _native(size: tuple[int, int], box: Box) -> tuple[int, int]:
    """Size of the picture of a box with square pixels, at the height of the output."""
    return size[0], max(8, round(size[0] * (box[2] - box[0]) / (box[3] - box[1])))


def _fit(layer: Array, size: tuple[int, int]) -> Array:
    if layer.shape[:2] == size:
        return layer
    return cv2.resize(layer, size[::-1], interpolation=cv2.INTER_LINEAR)


def _behind(place: Place, rng: np.random.Generator, size: tuple[int, int], box: Box, alpha: Array, seed: int) -> Array:
    """Return the surroundings with the people who pass behind and the shadow of the person."""
    native = _native(size, box)
    scene = background(place, rng, native)
    passing = crowd(place, rng, native, bystanders(place.camera, seed))
    if passing is not None:
        colour, cover = passing
        scene = scene + (colour - scene) * cover[..., None]
    return _fit(scene, size) * cast_shadow(place.camera, alpha)[..., None]


def _before(place: Place, rng: np.random.Generator, size: tuple[int, int], box: Box, seed: int) -> tuple[Array, Array]:
    """Return colours and opacity of what stands before the person."""
    found = occlude(place, rng, _native(size, box), bystanders(place.camera, seed))
    if found is None:
        return np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    return _fit(found[0], size), _fit(found[1], size)


def _compose(whole: Rendering, window: tuple[slice, slice], behind: Array, before: Array, hidden: Array) -> Array:
    alpha = whole.alpha[window][..., None]
    person = whole.colour[window] + behind * (1 - alpha)
    return person + (before - person) * hidden[..., None]


@lru_cache(256)
def bystanders(camera: Camera, seed: int) -> tuple[tuple[Array, Array], ...]:
    """Cut out other people as a camera sees them: they pass behind and stand in the way, and are nobody's identity.

    Each is colours in linear light (H, W, 3) and opacity (H, W).
    """
    rng = _rng(seed, "bystander", camera.camid)
    chosen = rng.choice(_BYSTANDERS, 6, replace=False)
    return tuple(_cut_out(_bystander(seed, int(i)), camera, rng) for i in chosen)


@lru_cache(_BYSTANDERS)
def _bystander(seed: int, number: int) -> Person:
    rng = _rng(seed, "bystander", 0, number)
    return _dress(0, draw_outfit(rng), rng)


def _cut_out(person: Person, camera: Camera, rng: np.random.Generator) -> tuple[Array, Array]:
    body = person.body
    view = _view(camera, rng.uniform(0, 360), rng)
    seen = project(take_pose(body, draw_pose(body, rng)), view)
    tight = bounding_box(seen)
    size, light = _native((200, 0), tight), _light(camera, view)
    shown = render(seen, body.faces, person.albedo, tight, size, light=light, ambient_share=body.shade)
    return shown.colour / np.maximum(shown.alpha, 1e-3)[..., None], shown.alpha


def _light(camera: Camera, view: View) -> Light:
    """Return the light of a place in the frame of its camera."""
    towards = camera_rotation(replace(view, yaw=0)) @ camera.sun
    return Light((float(towards[0]), float(towards[1]), float(towards[2])), camera.sun_colour, camera.sky_colour)
