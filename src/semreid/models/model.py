"""A model: a trunk, a few heads, and all it takes to turn crops into embeddings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from semreid.atlas import SIZE
from semreid.data.augment import IMAGENET_MEAN, IMAGENET_STD
from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.functional.calibration import Calibration
from semreid.models.embedder import Embedder, Image, Join, prepared_batches
from semreid.models.foreground import Foreground, white_balanced
from semreid.models.heads import Head, Supervision, Texture
from semreid.models.parts import Parts, normalise_parts, read_parts
from semreid.models.trunk import Maps, Trunk


class ReIDModel(nn.Module, Embedder):
    """One trunk, many heads. Preprocessing is part of the model, so it can never be wrong.

    Args:
        trunk: Computes named maps from normalised images.
        heads: Head by name, in the order they run; a head may read what earlier ones wrote.
        size: Input height and width in pixels.
        architecture: What built it. Strides and poolings leave no trace in the weights, so these names and
            options tell apart two models of equal weights.
        foreground: Finds the background, which is faded before the trunk sees the images.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        trunk: Trunk,
        heads: Mapping[str, Head],
        size: tuple[int, int],
        architecture: Mapping[str, object] | None = None,
        foreground: Foreground | None = None,
    ) -> None:
        super().__init__()
        self.architecture = dict(architecture or {})
        self.foreground = foreground
        self.trunk = cast("nn.Module", trunk)
        self.heads = nn.ModuleDict(heads)
        self.size = size
        self.calibration: Calibration | None = None
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return sum(head.dim for head in self._heads())

    @property
    def blocks(self) -> dict[str, int]:
        """Width of each head's share of the embedding, in order."""
        return {name: head.dim for name, head in self.named_heads() if head.dim}

    @property
    def join(self) -> Join:
        """How the blocks of several heads become one embedding: each of length √D (``equal``), or as they are."""
        return "plain" if self.architecture.get("join") == "plain" else "equal"

    @property
    def shares(self) -> dict[str, float]:
        """What the block of a head counts in the embedding, by name: its length is that many times what it would be."""
        return cast("dict[str, float]", self.architecture.get("shares", {}))

    @property
    def loss_weights(self) -> dict[str, float]:
        """What losses weigh unless a recipe says otherwise, by name; 1 for those that are not named."""
        return {f"{name}.{loss}": value for name, head in self.named_heads() for loss, value in head.weights.items()}

    @property
    def needs(self) -> set[Supervision]:
        """Annotations that the heads learn from."""
        return {annotation for head in self._heads() for annotation in head.needs}

    @property
    def texture_side(self) -> int:
        """Texels a side of the textures that the heads learn from."""
        return max((head.decoder.side for head in self._heads() if isinstance(head, Texture)), default=SIZE)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all that inference uses; computed anew each time, for weights may change."""
        digest = blake2b(json.dumps([self.architecture, self.size], sort_keys=True).encode(), digest_size=16)
        for name, tensor in sorted(self.inference_state().items()):
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def inference_state(self) -> dict[str, Tensor]:
        """Return the entries of the state dict that the embedding depends on: no classifiers, no counters."""
        unused = tuple(f"heads.{name}.{part}." for name, head in self.named_heads() for part in head.training_only)
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not f"{name}.".startswith(unused) and not name.endswith("num_batches_tracked")
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    def maps(self, images: Tensor, regions: Tensor | None = None, *, learning: bool = False) -> Maps:
        """Compute the trunk maps.

        Args:
            images: RGB (B, 3, H, W), float in [0, 1] or uint8.
            regions: Part labels (B, H, W) where they are known; a model that fades the background believes them.
            learning: The maps are to learn from: casts stay, even if the model undoes them in use.
        """
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images
        normalised = (scaled - self.mean) / self.std
        if self.foreground is not None:
            background = self.foreground(normalised, regions)
            if self.foreground.white_balance and not learning:
                normalised = (white_balanced(scaled.clamp(0, 1), background) - self.mean) / self.std
            normalised = normalised * (1 - background)
        return cast("Maps", self.trunk(normalised))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute all losses of a batch; synthetic images go through the trunk as a batch of their own.

        Args:
            batch: The batch.

        Returns:
            Unweighted scalar by name, ``HEAD.LOSS``, such as ``identity.triplet``.
        """
        real = batch.real()
        return self._losses(self.maps(real.images, real.regions, learning=True), batch, real)

    def losses_and_embedding(
        self, batch: Batch, learning: Collection[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the losses of a batch, and raw embeddings of its real images to learn from.

        Args:
            batch: The batch.
            learning: Names of the heads whose losses are computed; None for all.

        Returns:
            Losses as `losses` names them, and embeddings (B, dim) as `embed_maps` computes them.
        """
        real = batch.real()
        maps = self.maps(real.images, real.regions, learning=True)
        own = [head for name, head in self.heads.items() if learning is None or name in learning]
        with _statistics_kept(*own):  # which come from their losses, once
            joined = self.embed_maps(maps)  # first: a head that learns may read what one writes that does not
        return self._losses(maps, batch, real, learning), joined

    def _losses(
        self, maps: Maps, batch: Batch, real: Batch, learning: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        """Losses of some heads, given the maps of the real images of a batch."""
        synthetic = self._synthetic_maps(batch) if batch.synthetic else {}
        named = {}
        for name, head in self.named_heads():
            if learning is not None and name not in learning:
                continue
            if synthetic and head.synthetic_maps:
                joined = {each: torch.cat((maps[each], synthetic[each])) for each in head.synthetic_maps}
                named[name] = head.losses(joined, batch)
            else:
                named[name] = head.losses(maps, real)
        return {f"{name}.{loss}": value for name, found in named.items() for loss, value in found.items()}

    def _synthetic_maps(self, batch: Batch) -> Maps:
        """Maps of the synthetic images of a batch; the trunk keeps the statistics of real ones alone."""
        regions = None if batch.regions is None else batch.regions[batch.num_real :]
        with _statistics_kept(self.trunk):
            return self.maps(batch.images[batch.num_real :], regions, learning=True)

    def forward(self, images: Tensor) -> Tensor:
        """Compute raw embeddings.

        Args:
            images: RGB (B, 3, H, W), float in [0, 1] or uint8.

        Returns:
            The heads' blocks side by side, (B, dim), not normalised.
        """
        return self.embed_maps(self.maps(images))

    def embed_maps(self, maps: Maps) -> Tensor:
        """Compute raw embeddings from trunk maps.

        Args:
            maps: The trunk maps by name; heads may add to them.

        Returns:
            The heads' blocks side by side, (B, dim), not normalised. Unless `join` is plain, several blocks have length
            √D each, times what `shares` says, so that no head outvotes the others by the length of its features.

        Raises:
            SemreidError: If the model has no embedding.
        """
        self.require_embedding()
        return torch.cat(list(self._blocks(maps).values()), 1)

    def require_embedding(self) -> None:
        """Make sure that the model embeds: a teacher does not.

        Raises:
            SemreidError: If no head of it has an embedding.
        """
        if not self.dim:
            raise SemreidError(
                f"this model ({', '.join(self.heads)}) has no embedding: it is a teacher, which labels images",
                fix="semreid label MODEL --data DATA --out DIR; to embed, use a model such as baseline",
            )

    @torch.no_grad()  # and not in inference mode: losses may be taken against what comes back
    def embed_batch(self, images: Tensor, *, flip: bool = False, unit: bool = True) -> Tensor:
        """Compute L2-normalised embeddings of images of the right size, in evaluation mode.

        Args:
            images: RGB (B, 3, H, W), float in [0, 1] or uint8, on any device.
            flip: Add the raw embedding of the mirrored image before normalising (test-time augmentation).
            unit: Normalise; if not, two views are averaged.

        Returns:
            Unit vectors (B, dim) in float32, or raw embeddings.

        Raises:
            SemreidError: If the images are of another shape or type, or the weights are not in float32.
        """
        images = self._checked(images)
        with self.evaluating():
            raw = self(images).float()
            if flip:
                raw = (raw + self(images.flip(-1)).float()) / 2
        return F.normalize(raw) if unit else raw

    @torch.no_grad()
    def parse_batch(self, images: Tensor, *, flip: bool = False) -> Tensor:
        """Tell the body region of every pixel of images of the right size, in evaluation mode.

        Args:
            images: RGB (B, 3, H, W), float in [0, 1] or uint8, on any device.
            flip: Average with what the mirrored image tells (test-time augmentation).

        Returns:
            Probability of each region of `REGIONS`, (B, R, H, W) in float32.

        Raises:
            SemreidError: If no head of the model parses.
        """
        return self._with_mirrored(self._region_probabilities, images, flip)

    def parse(self, images: Iterable[Image], *, batch_size: int = 64, flip: bool = False) -> NDArray[np.float32]:
        """Tell the body region of every pixel of crops, at the input size of the model.

        Args:
            images: RGB uint8 arrays (H, W, 3) of any size, or paths.
            batch_size: Images a step.
            flip: Average with what the mirrored image tells (test-time augmentation).

        Returns:
            Probability of each region of `REGIONS`, (N, R, height, width).

        Raises:
            SemreidError: If an image cannot be read or is no RGB image, or no head of the model parses.

        Example:
            >>> from semreid.models.zoo import create_model
            >>> model = create_model("parser", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
            >>> model.parse([np.zeros((80, 40, 3), np.uint8)]).shape
            (1, 8, 64, 32)
        """
        return self._in_batches(images, batch_size, partial(self.parse_batch, flip=flip))

    @torch.no_grad()
    def texture_batch(self, images: Tensor, *, flip: bool = False) -> Tensor:
        """Paint the body textures of images of the right size, in evaluation mode.

        Args:
            images: RGB (B, 3, H, W), float in [0, 1] or uint8, on any device.
            flip: Average with the mirrored texture of the mirrored image (test-time augmentation).

        Returns:
            RGB in [0, 1] over the atlas, (B, 3, 256, 256), float32.

        Raises:
            SemreidError: If no head of the model paints textures.
        """
        painter = next((head for head in self._heads() if isinstance(head, Texture)), None)
        if painter is None:
            raise SemreidError("no head of this model paints textures", fix="use a model such as san or san_pg")
        return self._with_mirrored(lambda seen: painter.texture(self.maps(seen)), images, flip)

    def texture(self, images: Iterable[Image], *, batch_size: int = 64, flip: bool = False) -> NDArray[np.float32]:
        """Paint the body textures of people: what they look like from all sides, on the atlas of the synthetic people.

        Args:
            images: RGB uint8 arrays (H, W, 3) of any size, or paths.
            batch_size: Images a step.
            flip: Average with the mirrored texture of the mirrored image (test-time augmentation).

        Returns:
            RGB in [0, 1], (N, 3, 256, 256).

        Raises:
            SemreidError: If an image cannot be read or is no RGB image, or no head of the model paints textures.

        Example:
            >>> from semreid.models.zoo import create_model
            >>> model = create_model("san_pg", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
            >>> model.texture([np.zeros((80, 40, 3), np.uint8)]).shape
            (1, 3, 256, 256)
        """
        return self._in_batches(images, batch_size, partial(self.texture_batch, flip=flip))

    def info(self, size: tuple[int, int] | None = None) -> dict[str, object]:
        """Describe the model in numbers.

        Args:
            size: Input height and width to count the operations at; the model's own if None.

        Returns:
            ``parameters_without_classifiers``, ``embedding_dim``, ``macs`` per image, ``heads``, ``input``, and
            ``maps``: shape by name of all maps of one image, those of the trunk and those that heads wrote.
        """
        size = size or self.size
        used = self.inference_state()
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), self.evaluating(), counter:
            maps = self.maps(torch.zeros(1, 3, *size, device=self.device))
            self._blocks(maps)
        return {
            "parameters_without_classifiers": sum(p.numel() for name, p in self.named_parameters() if name in used),
            "embedding_dim": self.dim,
            "macs": counter.get_total_flops() // 2,
            "heads": list(self.heads),
            "input": list(size),
            "maps": {name: list(m.shape[1:]) for name, m in maps.items()},
        }

    def imprint(self, means: Tensor) -> None:
        """Let new classifiers begin with what is known of the people: see `semreid.models.heads.Head.imprint`.

        Args:
            means: Mean embedding of each training identity, (num_ids, dim).
        """
        heads = [head for head in self._heads() if head.dim]
        for head, block in zip(heads, means.split([head.dim for head in heads], 1), strict=True):
            head.imprint(block)

    def _in_batches(
        self, images: Iterable[Image], batch_size: int, step: Callable[[Tensor], Tensor]
    ) -> NDArray[np.float32]:
        batches = prepared_batches(images, self.size, batch_size)
        found = [step(torch.from_numpy(batch).permute(0, 3, 1, 2)).cpu() for batch in batches]
        return torch.cat(found).numpy()

    def _embed_rows(self, batch: NDArray[np.uint8], flip: bool, unit: bool) -> NDArray[np.float32]:
        return self.embed_batch(torch.from_numpy(batch).permute(0, 3, 1, 2), flip=flip, unit=unit).cpu().numpy()

    @torch.inference_mode()
    def _embed_parts(self, batch: NDArray[np.uint8], flip: bool) -> Parts:
        images = self._checked(torch.from_numpy(batch).permute(0, 3, 1, 2))
        views = [images, images.flip(-1)] if flip else [images]
        with self.evaluating():
            return normalise_parts([read_parts(self._blocks(maps := self.maps(view)), maps) for view in views])

    def _with_mirrored(self, step: Callable[[Tensor], Tensor], images: Tensor, flip: bool) -> Tensor:
        """Maps of images, averaged with those of their mirror images if asked, in evaluation mode."""
        images = self._checked(images)
        with self.evaluating():
            found = step(images)
            return (found + step(images.flip(-1)).flip(-1)) / 2 if flip else found

    def _region_probabilities(self, images: Tensor) -> Tensor:
        maps = self.maps(images)
        self._blocks(maps)
        if "parsing" not in maps:
            raise SemreidError("no head of this model parses", fix="use a parser, or another one with a parsing head")
        logits = F.interpolate(maps["parsing"].float(), images.shape[-2:], mode="bilinear")
        return logits.softmax(dim=1)

    def _checked(self, images: Tensor) -> Tensor:
        """Images, where the model is."""
        if images.ndim != 4 or images.shape[1] != 3 or not (images.is_floating_point() or images.dtype == torch.uint8):
            raise SemreidError(
                f"the images are of shape {tuple(images.shape)} and type {images.dtype}",
                fix="give RGB (B, 3, H, W), uint8, or float from 0 to 1",
            )
        if (kind := next(self.parameters()).dtype) != torch.float32:
            raise SemreidError(
                f"the weights are in {kind}, and embeddings are computed in float32",
                fix="model.float(); to go faster, compute under torch.autocast, or export the model",
            )
        return images.to(self.device)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Be in evaluation mode within, and afterwards in the mode of before, whatever happens.

        Each module has its own mode, for some may be frozen. A model that learns is for one thread at a time.
        """
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _blocks(self, maps: Maps) -> dict[str, Tensor]:
        """Blocks of the heads, joined as `join` and `shares` say: of length √D each, every number weighs the same."""
        found = {name: head.embed(maps) for name, head in self.named_heads()}
        blocks = {name: block for name, block in found.items() if block is not None}
        if len(blocks) > 1 and self.join == "equal":
            blocks = {name: F.normalize(block) * block.shape[1] ** 0.5 for name, block in blocks.items()}
        return blocks | {name: share * blocks[name] for name, share in self.shares.items()}

    def _heads(self) -> Iterator[Head]:
        return (head for _, head in self.named_heads())

    def named_heads(self) -> Iterator[tuple[str, Head]]:
        """Return the heads with their names, in order."""
        return ((name, cast("Head", head)) for name, head in self.heads.items())


@contextlib.contextmanager
def _statistics_kept(*modules: nn.Module) -> Iterator[None]:
    """Let batch normalisations use the statistics of what passes, and remember those of earlier batches alone."""
    norms = [norm for module in modules for norm in module.modules() if getattr(norm, "running_mean", None) is not None]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0  # type: ignore[assignment]
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
