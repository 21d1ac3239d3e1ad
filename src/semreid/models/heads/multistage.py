"""Multi-stage head with Attentive feature Hard-Mix, of PMM: each stage loses what the one before relied on.

A stage pools a map to a short feature and learns to tell people apart. Grad-CAM tells which positions it did that by;
the blocks that mattered most are replaced with those of another person, and the next stage has to find other clues.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.distributed import gather, rank, world_size
from semreid.errors import SemreidError
from semreid.functional.gradcam import grad_cam
from semreid.functional.hardmix import (
    block_scores,
    choose_negatives,
    fit_grid,
    owner_shares,
    paste,
    rectangle_blocks,
    salient_blocks,
    stripe,
)
from semreid.functional.pooling import resize_labels
from semreid.host import from_host
from semreid.models.heads.base import Head, imprint
from semreid.models.heads.identity import GlobalPool, id_classifier, recognition_losses
from semreid.models.trunk import Bottleneck, Maps

Mix = Literal["hardmix", "cutmix", "cutout", "batchdrop"]
Negative = Literal["random", "hardest"]


@dataclass(frozen=True)
class Mixing:
    """What is replaced between two stages, and by what.

    Attributes:
        kind: ``hardmix`` replaces the blocks that matter most, ``cutmix`` a random rectangle of as many; ``cutout``
            makes that zero, and ``batchdrop`` (of BDB) makes a stripe of a third of the height zero, the same in the
            whole batch.
        negative: Which image of another person of the batch the blocks come from: any, or the ``hardest``, whose
            feature of the stage before is the nearest.
        detach: Let no gradient flow into the negative.
        cumulative: Mix what is mixed already, so that stage III also lacks what stage I relied on.
        labels: Teach each image all identities that it shows, in shares of the area, as CutMix does.
        grid: Rows and columns of blocks (see `fit_grid`).
        blocks: How many of them are replaced.
    """

    kind: Mix = "hardmix"
    negative: Negative = "random"
    detach: bool = False
    cumulative: bool = False
    labels: bool = False
    grid: tuple[int, int] = (8, 4)
    blocks: int = 3

    def __post_init__(self) -> None:
        fit_grid(self.grid, self.grid, self.blocks)
        if self.labels and not self.pastes:
            raise SemreidError(f"{self.kind} shows no other person, so labels cannot be mixed", fix="use cutmix")

    @property
    def pastes(self) -> bool:
        """Whether what is replaced comes from another image."""
        return self.kind in ("hardmix", "cutmix")


class View(NamedTuple):
    """What a stage is given to see.

    Attributes:
        maps: The map, (B, C, h, w).
        owners: Identity that each position shows, (B, h, w).
        replaced: Which positions were replaced, (B, h, w) bool; None in the first stage.
        negatives: Image of the global batch that each took them from, (B,); None where nothing was pasted.
    """

    maps: Tensor
    owners: Tensor
    replaced: Tensor | None = None
    negatives: Tensor | None = None


class Pass(NamedTuple):
    """What a stage sees and makes of it.

    Attributes:
        view: What it is given to see.
        pooled: Pooled map, (B, C).
        feature: Feature, (B, D).
        logits: Scores of the training identities, (B, num_ids).
    """

    view: View
    pooled: Tensor
    feature: Tensor
    logits: Tensor

    def cam(self, classes: Tensor | None = None) -> Tensor:
        """Compute Grad-CAM: which positions speak for an identity.

        Takes the gradient of the pooled vectors, and by itself: neither ``.grad`` nor the hooks of distributed training
        notice, and nothing flows back through the result.

        Args:
            classes: The training identities, (B,); the likeliest ones if None.

        Returns:
            Maps, (B, h, w).
        """
        with torch.inference_mode(False), torch.enable_grad():
            classes = self.logits.argmax(dim=1) if classes is None else classes.clone()
            score = self.logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, self.pooled, retain_graph=True)
        return grad_cam(self.view.maps.detach(), gradient)


class Reduction(nn.Sequential):
    """Linear → batch normalisation → ReLU.

    Args:
        channels: Width that comes in.
        dim: Width that goes out.
    """

    def __init__(self, channels: int, dim: int) -> None:
        linear, norm = nn.Linear(channels, dim), nn.BatchNorm1d(dim)
        nn.init.kaiming_normal_(linear.weight, mode="fan_out")
        nn.init.zeros_(linear.bias)
        nn.init.normal_(norm.weight, 1.0, 0.02)
        super().__init__(linear, norm, nn.ReLU())


class Multistage(Head):
    """Stage I: average pool → 512. Further stages: shared bottleneck → mix → max pool → 512, each its own.

    Losses of stage n: ``id_n`` and ``triplet_n`` (soft margin), both on the same feature. Embedding: the features of
    all stages side by side; nothing is mixed then.

    Args:
        source: Name of the map to read.
        channels: Channels of that map.
        num_ids: Number of training identities.
        dims: Width of the feature of each stage.
        mixing: What is replaced between two stages.
        unit_triplet: Let the triplet losses compare features of unit length, as search does. Features as they are, as
            published, can get out of the loss of a network from random weights by becoming all alike.
    """

    training_only = ("classifiers",)

    def __init__(
        self,
        source: str,
        channels: int,
        num_ids: int,
        *,
        dims: tuple[int, ...] = (512, 512, 512),
        mixing: Mixing | None = None,
        unit_triplet: bool = False,
    ) -> None:
        super().__init__()
        self.unit_triplet = unit_triplet
        self.source, self.dim, self.mixing = source, sum(dims), mixing or Mixing()
        self.block = Bottleneck(channels, channels // Bottleneck.expansion) if len(dims) > 1 else None
        self.pools = nn.ModuleList(GlobalPool("max" if stage else "avg") for stage in range(len(dims)))
        self.reductions = nn.ModuleList(Reduction(channels, dim) for dim in dims)
        self.classifiers = nn.ModuleList(id_classifier(dim, num_ids) for dim in dims)

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute ``id_1``, ``triplet_1`` and so on."""
        seen = list(self.passes(maps, batch.pids, batch.pids))
        features, logits = _stacked([each.feature for each in seen]), torch.stack([each.logits for each in seen])
        if self.unit_triplet:
            features = F.normalize(features, dim=2)
        found = recognition_losses(features, logits, batch.pids, margin=None)
        if self.mixing.labels:
            targets = owner_shares(torch.cat([each.view.owners for each in seen]), logits.shape[2])
            smoothed = F.cross_entropy(logits.flatten(0, 1).float(), targets, label_smoothing=0.1, reduction="none")
            found["id"] = smoothed.view(logits.shape[:2]).mean(dim=1)
        each_stage = {name: losses.unbind() for name, losses in found.items()}
        return {f"{name}_{n + 1}": losses[n] for n in range(len(seen)) for name, losses in each_stage.items()}

    def imprint(self, means: Tensor) -> None:
        """Let the classifier of each stage begin with mean features."""
        classifiers = [cast("nn.Linear", classifier) for classifier in self.classifiers]
        widths = [classifier.in_features for classifier in classifiers]
        for classifier, part in zip(classifiers, means.split(widths, 1), strict=True):
            imprint(classifier, part)

    def embed(self, maps: Maps) -> Tensor:
        """Compute the features of all stages, (B, dim)."""
        stages = zip(self.pools, self.reductions, self._plain(maps), strict=True)
        return torch.cat([reduce(pool(plain)) for pool, reduce, plain in stages], 1)

    def passes(self, maps: Maps, pids: Tensor, classes: Tensor | None = None) -> Iterator[Pass]:
        """Go through the stages as in training: each on what the one before leaves to it.

        Args:
            maps: Trunk maps.
            pids: Who is seen, (B,); a negative is somebody else.
            classes: Training identities that the blocks must speak for to be replaced, (B,); the likeliest if None.

        Yields:
            What each stage sees and makes of it.
        """
        first, *later = self._plain(maps)
        donors = (
            _donors(later[0].detach() if self.mixing.detach else later[0]) if later and self.mixing.pastes else None
        )
        own = pids[:, None, None].expand(-1, *first.shape[2:])
        seen = self._look(0, View(first, own))
        yield seen
        for stage, shared in enumerate(later, 1):
            base = seen.view if self.mixing.cumulative and stage > 1 else View(shared, own)
            seen = self._look(stage, self._mix(base, donors, seen, pids, classes))
            yield seen

    def _plain(self, maps: Maps) -> list[Tensor]:
        """The map of each stage with nothing replaced."""
        first = maps[self.source]
        return [first] if self.block is None else [first] + [self.block(first)] * (len(self.reductions) - 1)

    def _look(self, stage: int, view: View) -> Pass:
        with torch.inference_mode(False), torch.enable_grad():  # for Grad-CAM, also where nothing below learns
            maps = view.maps.clone() if view.maps.is_inference() else view.maps
            pooled = self.pools[stage](maps)
            pooled.requires_grad_()
            feature = self.reductions[stage](pooled)
            return Pass(view, pooled, feature, self.classifiers[stage](feature))

    def _mix(self, base: View, donors: Tensor | None, seen: Pass, pids: Tensor, classes: Tensor | None) -> View:
        """Replace positions of a view, with those of others in the shared map or, without donors, with zeros."""
        replaced = self._positions(seen, classes)
        if donors is None:
            return View(base.maps.masked_fill(replaced[:, None], 0), base.owners, replaced)
        everyone = gather(pids)
        negatives = _mine(choose_negatives(self._preference(seen.feature, len(everyone)), everyone))
        mixed = paste(base.maps, donors, negatives, replaced)
        owners = torch.where(replaced, everyone[negatives][:, None, None], base.owners)
        return View(mixed, owners, replaced, negatives)

    def _positions(self, seen: Pass, classes: Tensor | None) -> Tensor:
        """Choose what to replace, (B, h, w) bool."""
        count, _, *size = seen.view.maps.shape
        device, mixing = seen.pooled.device, self.mixing
        if mixing.kind == "batchdrop":
            return stripe(from_host(lambda: torch.rand(()), device), size).expand(count, -1, -1)
        rows, columns, k = fit_grid(size, mixing.grid, mixing.blocks)
        draws = from_host(lambda: _mine(torch.rand(count * world_size(), max(2, rows * columns))), device)
        if mixing.kind == "hardmix":
            blocks = salient_blocks(
                block_scores(seen.cam(classes), (rows, columns)), k, ties=draws[:, : rows * columns]
            )
        else:
            blocks = rectangle_blocks(draws[:, :2], (rows, columns), k)
        return resize_labels(blocks, size)

    def _preference(self, feature: Tensor, count: int) -> Tensor:
        """How much each image of the global batch would take each other for its negative, (B, B)."""
        if self.mixing.negative == "random":
            return from_host(lambda: torch.rand(count, count), feature.device)
        with torch.autocast(feature.device.type, enabled=False):
            everyone = gather(feature.detach().float())
            centred = everyone - everyone.mean(0)  # differences of large numbers are lost in the product of matrices
            return -torch.cdist(centred, centred)


def _stacked(features: list[Tensor]) -> Tensor:
    """Features of all stages, (S, B, D) float32; zeros behind the shorter ones change no distance and no length."""
    widest = max(feature.shape[1] for feature in features)
    wide = (feature if (lack := widest - feature.shape[1]) == 0 else F.pad(feature, (0, lack)) for feature in features)
    return torch.stack([*wide]).float()


def _mine(rows: Tensor) -> Tensor:
    """The rows of this process among those of all."""
    return rows.chunk(world_size())[rank()]


def _donors(maps: Tensor) -> Tensor:
    """The maps of all processes, gradients flowing back to where each came from."""
    if world_size() == 1:
        return maps
    return gather(maps.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)
