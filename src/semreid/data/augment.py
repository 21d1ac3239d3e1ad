"""Batched augmentation that moves image, part mask and texture together.

Random numbers are drawn first, for the global batch, and applied afterwards to whatever share of it a process
holds: one process or several, the same image gets the same augmentation. Geometry is pure indexing, so mask
labels are never interpolated; textures are mirrored with their image and otherwise left alone, because colour
and erasing change the picture, not the person.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, ConfigDict, Field
from torch import Tensor

from semreid.host import sent

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LUMA = (0.299, 0.587, 0.114)
Share = Annotated[float, Field(ge=0, le=1)]


def _ascending(area: tuple[float, float]) -> tuple[float, float]:
    if area[0] > area[1]:
        raise ValueError("the smallest share comes first, then the largest")
    return area


@dataclass(frozen=True)
class AugmentRecipe:
    """Batched augmentation, in this order: flip, zoom, crop and translation, colour, sharpness, noise, erasing, cutout.

    Attributes:
        flip: Probability of mirroring.
        pad: Pixels of black padding before a random crop of the input size.
        translate: Probability of a larger shift, up to a tenth of the size.
        zoom: Largest enlargement of the height and, on its own, of the width (0 is off).
        jitter: Strength of brightness, contrast and saturation changes (0 is off).
        colour_cast: Strength of a colour cast, a gain for each channel (0 is off).
        sharpness: Strength of blur and of sharpening (0 is off).
        noise: Largest standard deviation of pixel noise, of a range of 1 (0 is off).
        erase: Probability of random erasing.
        erase_area: Smallest and largest erased share of the image.
        cutout: Probability of cutting out one square.
        cutout_size: Side of that square as a share of the width.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    flip: Share = 0.5
    pad: Annotated[int, Field(ge=0, le=256)] = 10
    translate: Share = 0.0
    zoom: Share = 0.0
    jitter: Share = 0.0
    colour_cast: Share = 0.0
    sharpness: Share = 0.0
    noise: Share = 0.0
    erase: Share = 0.5
    erase_area: Annotated[tuple[Share, Share], AfterValidator(_ascending)] = (0.02, 0.4)
    cutout: Share = 0.0
    cutout_size: Share = 0.5


@dataclass(frozen=True, slots=True)
class Draws:
    """The random part of the augmentation of a batch; every field has one row per image, or is None where off.

    Attributes:
        flip: Mirror the image, (B,) bool.
        shift: Pixels by which the crop window moves down and right, (B, 2).
        colour: Affine colour change x → x · M + t around the mean of the image, (B, 3, 3).
        brightness: Gain of the whole image, (B,).
        erase: Rectangle (top, left, bottom, right) filled with the mean colour, (B, 4); empty for none.
        cutout: Rectangle filled with black, likewise.
        zoom: Factors by which height and width grow around the centre, (B, 2).
        sharpness: Share of a blurred copy; a negative one sharpens, (B,).
        noise: What is added to every pixel, (B, H, W, 1).
    """

    flip: Tensor
    shift: Tensor
    colour: Tensor | None
    brightness: Tensor | None
    erase: Tensor | None
    cutout: Tensor | None
    zoom: Tensor | None = None
    sharpness: Tensor | None = None
    noise: Tensor | None = None

    def share(self, rows: slice, device: torch.device) -> Draws:
        """Take the rows of one process and send them to its device."""
        whole = [getattr(self, f.name) for f in fields(self)]
        mine: list[Any] = [None if value is None else sent(value[rows], device) for value in whole]
        return Draws(*mine)


def draw(recipe: AugmentRecipe, batch: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
    """Draw the random numbers for a global batch.

    Args:
        recipe: What to do how strongly.
        batch: Number of images.
        size: Height and width.
        generator: Source of the randomness.

    Returns:
        The draws, on the CPU.
    """
    h, w = size

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(batch, *shape, generator=generator) * (high - low) + low

    def chance(probability: float) -> Tensor:
        return uniform() < probability

    pad = uniform(2, low=-recipe.pad, high=recipe.pad + 1)
    far = uniform(2, low=-0.1, high=0.1) * torch.tensor([h, w]) * chance(recipe.translate)[:, None]
    area = uniform(low=recipe.erase_area[0], high=recipe.erase_area[1])
    aspect = (uniform(low=-1.2, high=1.2)).exp()  # height / width from 0.3 to 3.3
    erase = _rectangles(h * w * area, aspect, size, uniform(2), chance(recipe.erase))
    side = torch.full((batch,), (recipe.cutout_size * w) ** 2)
    cutout = _rectangles(side, torch.ones(batch), size, uniform(2), chance(recipe.cutout))
    strength = recipe.jitter
    contrast_saturation = uniform(2, low=1 - strength, high=1 + strength)
    cast = uniform(3, low=-1, high=1) * recipe.colour_cast
    brightness = uniform(low=1 - strength, high=1 + strength)
    recolours = recipe.jitter > 0 or recipe.colour_cast > 0
    flip = chance(recipe.flip)
    zoom = uniform(2, low=1, high=1 + recipe.zoom)
    sharpness = uniform(low=-recipe.sharpness, high=recipe.sharpness)
    deviation = uniform(low=0, high=recipe.noise)[:, None, None, None]
    noise = torch.randn(batch, h, w, 1, generator=generator) * deviation if recipe.noise else None
    return Draws(  # what is off was drawn all the same: an ablation changes what it names, and only that
        flip=flip,
        shift=(pad + far).floor().long(),
        colour=_colour(contrast_saturation, cast) if recolours else None,
        brightness=brightness if recolours else None,
        erase=erase if recipe.erase else None,
        cutout=cutout if recipe.cutout else None,
        zoom=zoom if recipe.zoom else None,
        sharpness=sharpness if recipe.sharpness else None,
        noise=noise,
    )


def _rectangles(area: Tensor, aspect: Tensor, size: tuple[int, int], place: Tensor, wanted: Tensor) -> Tensor:
    limits = torch.tensor(size)
    sides = torch.stack(((area * aspect).sqrt(), (area / aspect).sqrt()), 1).round().long()
    sides = torch.minimum(sides, limits) * wanted[:, None]
    start = (place * (limits - sides + 1)).long()
    return torch.cat((start, start + sides), 1)


def _colour(contrast_saturation: Tensor, cast: Tensor) -> Tensor:
    contrast, saturation = contrast_saturation.unbind(1)
    grey = torch.tensor(_LUMA)[:, None].expand(3, 3)  # x @ grey: every channel becomes the luma
    matrix = saturation[:, None, None] * torch.eye(3) + (1 - saturation)[:, None, None] * grey
    return contrast[:, None, None] * matrix * (1 + cast)[:, None, :]


def move(pixels: Tensor, flip: Tensor, shift: Tensor, zoom: Tensor | None = None) -> Tensor:
    """Mirror, enlarge and shift images or masks by indexing; what comes in from outside is 0.

    Args:
        pixels: Images (B, H, W, 3) or masks (B, H, W), uint8.
        flip: Which rows to mirror, (B,) bool.
        shift: Pixels by which the window moves down and right, (B, 2).
        zoom: Factors by which height and width grow around the centre, (B, 2).

    Returns:
        The moved pixels, same shape and type.
    """
    b, h, w = pixels.shape[:3]
    rows, cols = torch.arange(h, device=pixels.device)[None], torch.arange(w, device=pixels.device)[None]
    if zoom is not None:
        rows, cols = _enlarge(rows, zoom[:, :1]), _enlarge(cols, zoom[:, 1:])
    rows, cols = rows + shift[:, :1], cols + shift[:, 1:]
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((cols >= 0) & (cols < w))[:, None, :]
    cols = torch.where(flip[:, None], w - 1 - cols, cols).clamp(0, w - 1)
    flat = (torch.arange(b, device=pixels.device)[:, None] * h + rows.clamp(0, h - 1))[:, :, None] * w + cols[:, None]
    moved = pixels.reshape(b * h * w, -1)[flat.flatten()].view(pixels.shape)
    return moved * (inside if pixels.ndim == 3 else inside[..., None])


def _enlarge(positions: Tensor, factor: Tensor) -> Tensor:
    """Where the pixels of an enlarged row come from."""
    centre = (positions.shape[1] - 1) / 2
    return ((positions - centre) / factor + centre).round().long()


def recolour(images: Tensor, colour: Tensor, brightness: Tensor) -> Tensor:
    """Apply the colour change around the mean grey of each image, then the gain.

    Args:
        images: RGB in [0, 1], (B, H, W, 3).
        colour: Colour matrices (B, 3, 3).
        brightness: Gains (B,).

    Returns:
        RGB in [0, 1], same shape.
    """
    flat = images.flatten(1, 2)
    mean = flat.mean(1, keepdim=True) @ _constant(_LUMA, images.device)[:, None]
    changed = torch.baddbmm(mean, flat - mean, colour) * brightness[:, None, None]
    return changed.clamp_(0, 1).view_as(images)


def sharpen(images: Tensor, share: Tensor) -> Tensor:
    """Blend images with a blurred copy, or away from it.

    Args:
        images: RGB in [0, 1], (B, H, W, 3).
        share: Share of the copy, which is the mean of 3×3 pixels twice over; negative to sharpen, (B,).

    Returns:
        RGB in [0, 1], same shape.
    """
    blurred = images.permute(0, 3, 1, 2)
    for _ in range(2):
        blurred = F.avg_pool2d(blurred, 3, stride=1, padding=1, count_include_pad=False)
    return torch.lerp(images, blurred.permute(0, 2, 3, 1), share[:, None, None, None]).clamp(0, 1)


def fill(images: Tensor, rectangles: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Fill one rectangle of each image.

    Args:
        images: RGB (B, H, W, 3).
        rectangles: Top, left, bottom, right (B, 4), bottom and right exclusive.
        colour: The fill.
    """
    top, left, bottom, right = rectangles[:, :, None].unbind(1)
    y = torch.arange(images.shape[1], device=images.device)
    x = torch.arange(images.shape[2], device=images.device)
    covered = ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None, :]
    return torch.where(covered[..., None], _constant(colour, images.device), images)


@lru_cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device, sent there once."""
    return torch.tensor(values, device=device)


def augment_images(pixels: Tensor, draws: Draws) -> Tensor:
    """Augment a batch of images.

    Args:
        pixels: RGB (B, H, W, 3) uint8.
        draws: The random numbers.

    Returns:
        RGB in [0, 1], (B, 3, H, W), channels last in memory.
    """
    images = move(pixels, draws.flip, draws.shift, draws.zoom).float() / 255
    if draws.colour is not None and draws.brightness is not None:
        images = recolour(images, draws.colour, draws.brightness)
    if draws.sharpness is not None:
        images = sharpen(images, draws.sharpness)
    if draws.noise is not None:
        images = (images + draws.noise).clamp_(0, 1)
    if draws.erase is not None:
        images = fill(images, draws.erase, IMAGENET_MEAN)
    if draws.cutout is not None:
        images = fill(images, draws.cutout, (0.0, 0.0, 0.0))
    return images.permute(0, 3, 1, 2)


def augment_regions(regions: Tensor, draws: Draws) -> Tensor:
    """Move part masks (B, H, W) with their images; erased pixels keep their label (docs/papers/magnifiernet.md).

    Args:
        regions: Labels 0 to 7, uint8.
        draws: The random numbers of the images.
    """
    return move(regions, draws.flip, draws.shift, draws.zoom)


def augment_textures(textures: Tensor, draws: Draws) -> Tensor:
    """Mirror textures with their images: the atlas is mirror-symmetric about u = 0.5.

    Args:
        textures: RGB (B, side, side, 3) uint8.
        draws: The random numbers of the images.

    Returns:
        RGB in [0, 1], (B, 3, side, side).
    """
    mirrored = torch.where(draws.flip[:, None, None, None], textures.flip(2), textures)
    return mirrored.permute(0, 3, 1, 2).float() / 255
