"""Texture head: the decoder of SAN (SA-Dec), which paints the whole body of the person that an image shows in part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semreid.atlas import SIZE, valid_texels
from semreid.data.batch import Batch
from semreid.distributed import gather
from semreid.errors import SemreidError
from semreid.functional.alignment import Triplets, aligned_triplet, next_person_triplets, random_triplets, texture_l1
from semreid.models.heads.base import Head
from semreid.models.trunk import Maps

TripletForm = Literal["published", "released", "none"]
Blocks = Literal[3, 4]
PUBLISHED_BLOCKS = 3
"""The constraint is on the maps of the first three of four blocks; the released code has it on all."""


@lru_cache(maxsize=64)
def _doubling(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What each of twice as many rows, and one more at either end, takes of the rows of a map, (2 length + 2, length).

    Bilinear interpolation; the rows at the ends are those next to them, reflected.
    """
    with torch.inference_mode(mode=False):  # whoever asks first
        twice = F.interpolate(torch.eye(length, device=device)[None], scale_factor=2.0, mode="linear")
        return F.pad(twice, (1, 1), mode="reflect")[0].T.to(dtype).contiguous()


def double(maps: Tensor) -> Tensor:
    """Enlarge maps twice and reflect them at their border by one place, as two products of matrices.

    PyTorch's own functions for it add up gradients value by value, and take another order of memory on a GPU, and back;
    these here keep the channels last.

    Args:
        maps: Maps, (B, C, h, w).

    Returns:
        Maps, (B, C, 2h + 2, 2w + 2), of the same type.

    Example:
        >>> double(torch.tensor([[[[0.0, 4.0]]]]))[0, 0, 1]
        tensor([1., 0., 1., 3., 4., 3.])
    """
    batch, channels, h, w = maps.shape
    rows = _doubling(h, maps.dtype, maps.device) @ maps.permute(0, 2, 3, 1).reshape(batch, h, w * channels)
    places = _doubling(w, maps.dtype, maps.device) @ rows.view(-1, w, channels)
    return places.view(batch, 2 * h + 2, 2 * w + 2, channels).permute(0, 3, 1, 2)


class Up(nn.Module):
    """Residual block → ReLU → twice the size, reflected at its border → 3x3 convolution with nothing behind it.

    Args:
        c_in: Input channels.
        c_out: Output channels.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(c_in, c_in, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_in),
            nn.ReLU(inplace=True),
            nn.Conv2d(c_in, c_in, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_in),
        )
        self.conv = nn.Conv2d(c_in, c_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, h, w) to (B, c_out, 2h, 2w)."""
        out: Tensor = self.conv(double(F.relu(x + self.residual(x))))
        return out


def _narrow(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class Decoder(nn.Module):
    """Reduction, residual up-sampling blocks, and a 7x7 convolution that paints the texture.

    Widths follow the trunk: 512, 256, 64, 32, 16 with a ResNet-50, less (but at least 16) with a narrow one.

    Args:
        channels: Channels of the trunk's maps by name.
        skips: Add the trunk's earlier maps on the way, as the released code does.
        blocks: Four as published; three paint half as fine, in a fraction of the time.
    """

    def __init__(self, channels: Mapping[str, int], *, skips: bool, blocks: Blocks = 4) -> None:
        super().__init__()
        self.side = SIZE >> (4 - blocks)
        top = min(512, channels["layer4"] // 2)
        widths = [max(16, top // share) for share in (1, 2, 8, 16, 32)[: blocks + 1]]
        self.reduce = _narrow(channels["layer4"], widths[0])
        sources = ("layer3", "layer2", "layer1") if skips else ()
        joined = zip(sources, widths, strict=False)
        self.skips = nn.ModuleDict({source: _narrow(channels[source], width) for source, width in joined})
        self.blocks = nn.ModuleList(Up(a, b) for a, b in pairwise(widths))
        self.paint = nn.Conv2d(widths[-1], 3, 7, padding=3, padding_mode="reflect")
        self.apply(_init)

    def forward(self, maps: Maps) -> tuple[Tensor, list[Tensor]]:
        """Paint.

        Args:
            maps: The trunk's maps.

        Returns:
            Textures in [0, 1], not clipped, (B, 3, side, side) with a side of 256, or 128 after three blocks, and the
            maps of the blocks.
        """
        x = self.reduce(maps["layer4"])
        found = []
        for source, block in zip(("layer3", "layer2", "layer1", "none"), self.blocks, strict=False):
            x = block(x + self.skips[source](maps[source]) if source in self.skips else x)
            found.append(x)
        painted = (self.paint(x).float() + 1) / 2  # its own range is [-1, 1], as published
        return F.interpolate(painted, (self.side, self.side), mode="bilinear", align_corners=True), found


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_normal_(module.weight, gain=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Texture(Head):
    """Paint the aligned body texture; in training only, unless the texture is what the model is for.

    Losses: ``reconstruction``, the mean absolute difference from the textures of the batch, colours from -1 to 1; and
    ``triplet``, the Triplet ReID constraint on the maps of the decoder: two images of a person shall paint it from
    maps more alike than those of two people. Synthetic images have no part in the latter. No embedding.

    Args:
        channels: Channels of the trunk's maps by name.
        skips: Add the trunk's earlier maps in the decoder.
        triplet: ``published`` (random triplets, first three blocks, distance summed over channels), ``released``
            (the next person of the batch, all four blocks, distance averaged over channels), or ``none``.
        masked: Let only texels count that lie on the body, not the gutters between charts.
        teacher: The model is for textures: its decoder counts, and inference writes the map ``texture``.
        blocks: Up-sampling blocks of the decoder. With three it learns from textures of half the size.
        share: Share of the real images of a batch that are painted in training: the first ones, for those of a person
            stand side by side. The decoder costs more than a small trunk.
    """

    needs = ("textures",)
    valid: Tensor

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        skips: bool = False,
        triplet: TripletForm = "published",
        masked: bool = False,
        teacher: bool = False,
        blocks: Blocks = 4,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        self.triplet, self.masked, self.teacher, self.share = triplet, masked, teacher, share
        self.training_only = () if teacher else ("decoder",)
        self.decoder = Decoder(channels, skips=skips, blocks=blocks)
        self.synthetic_maps = ("layer4", *self.decoder.skips)
        valid = torch.from_numpy(valid_texels())
        self.register_buffer("valid", self._shrink(valid[None].float())[0] > 0.5, persistent=False)

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute ``reconstruction`` and, unless it is ``none``, ``triplet``."""
        if self.share < 1:
            maps, batch = self._some(maps, batch)
        painted, blocks = self.decoder(maps)
        found = {"reconstruction": self._reconstruction(painted, batch)}
        if self.triplet != "none":
            real = batch.num_real
            found["triplet"] = self._constraint([block[:real] for block in blocks], batch.pids[:real])
        return found

    def texture(self, maps: Maps) -> Tensor:
        """Paint the textures of images.

        Args:
            maps: The trunk's maps.

        Returns:
            RGB in [0, 1], (B, 3, 256, 256), float32.
        """
        painted: Tensor = self.decoder(maps)[0]
        if self.decoder.side < SIZE:
            painted = F.interpolate(painted, (SIZE, SIZE), mode="bilinear")
        return painted.clamp(0, 1)

    def embed(self, maps: Maps) -> None:
        """There is no embedding; a teacher writes ``texture``."""
        if self.teacher:
            maps["texture"] = self.texture(maps)

    def _some(self, maps: Maps, batch: Batch) -> tuple[Maps, Batch]:
        """The images of a batch that are painted: the first of the real ones, and all others."""
        count, real = len(batch.pids), batch.num_real
        painted = math.ceil(self.share * real)

        def some(tensor: Tensor) -> Tensor:
            return torch.cat((tensor[:painted], tensor[real:])) if batch.synthetic else tensor[:painted]

        chosen: dict[str, Any] = {name: some(value) for name, value in batch.tensors().items() if len(value) == count}
        return {name: some(maps[name]) for name in self.synthetic_maps}, replace(batch, **chosen)

    def _reconstruction(self, painted: Tensor, batch: Batch) -> Tensor:
        if batch.textures is None:
            raise SemreidError("this model learns from textures, and the batch has none", fix="set Batch.textures")
        if batch.synthetic and len(batch.textures) < len(painted):
            painted = painted[batch.num_real :]
        return 2 * texture_l1(painted, self._shrink(batch.textures), self.valid if self.masked else None)

    def _shrink(self, textures: Tensor) -> Tensor:
        """Bring textures of 256 texels a side, or fewer, to the size of what is painted, texels averaged."""
        share = textures.shape[-1] // self.decoder.side
        return textures if share == 1 else F.avg_pool2d(textures, share)

    def _constraint(self, blocks: list[Tensor], pids: Tensor) -> Tensor:
        """Triplet ReID constraint on the maps of the global batch: the maps of all processes are compared."""
        pids = gather(pids)
        maps = [gather(block.float()) for block in blocks]
        if self.triplet == "released":
            sets = [next_person_triplets(pids, number) for number in range(len(maps))]
            triplets = Triplets(*(torch.stack(rows) for rows in zip(*sets, strict=True)))
            return aligned_triplet(maps, triplets, channel_mean=True).sum()
        triplets = random_triplets(pids)
        return aligned_triplet(maps[:PUBLISHED_BLOCKS], triplets).sum() / triplets.counts.sum().clamp(min=1)
