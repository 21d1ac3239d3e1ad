"""A training step of MagnifierNet against the published formulation, written down without thought of speed.

The reference has the same weights and takes the same losses, checked in the run: eight masked copies of the map,
a normalisation and a classifier for each region, label smoothing by one-hot targets, a loop over the 28 pairs of
regions and over the classes of the masks, one optimiser group for each parameter, float32.

python benchmarks/magnifiernet.py                ResNet-50 at 384x192, batches of 16 (minutes)
python benchmarks/magnifiernet.py --size tiny    the tiny recipe: ResNet-18 of half width at 128x64, batches of 64
python benchmarks/magnifiernet.py --quick        seconds; for a test
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _timing import OURS, REFERENCE, Steps, compare_steps
from semreid.data.batch import Batch
from semreid.models.heads import REGIONS
from semreid.models.heads.regularization import sample_regions
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.training.recipe import OptimRecipe
from semreid.training.schedule import build_optimiser
from semreid.training.trainer import sum_losses

WEIGHTS = {"parsing.pixel": 2.0, "fusion.regions": 0.0125, "fusion.diversity": 0.01}
NUM_IDS, INSTANCES = 767, 4
SIZES: dict[str, tuple[str, float, tuple[int, int], int]] = {
    "full": ("resnet50", 1.0, (384, 192), 16),
    "tiny": ("resnet18", 0.5, (128, 64), 64),
    "quick": ("resnet18", 0.25, (64, 32), 8),
}
"""Trunk, width, input size, batch."""


def make_model(size: str) -> ReIDModel:
    torch.manual_seed(0)
    trunk, width, pixels, _ = SIZES[size]
    return create_model("magnifiernet", NUM_IDS, trunk=trunk, width=width, size=pixels).train()


def make_batch(size: str) -> Batch:
    *_, (height, width), count = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, len(REGIONS), (count, 1, height // 16, width // 16), generator=generator)
    regions = F.interpolate(coarse.float(), (height, width))[:, 0].to(torch.uint8)
    pids = torch.arange(count // INSTANCES).repeat_interleave(INSTANCES)
    return Batch(torch.rand(count, 3, height, width, generator=generator), pids, torch.zeros_like(pids), regions)


def smoothed(logits: Tensor, pids: Tensor) -> Tensor:
    target = torch.zeros_like(logits).scatter_(1, pids[:, None], 1) * 0.9 + 0.1 / logits.shape[1]
    return (-target * F.log_softmax(logits, dim=1)).mean(0).sum()


def triplet(features: Tensor, pids: Tensor) -> Tensor:
    squares = features.pow(2).sum(1, keepdim=True)
    distances = (squares + squares.t() - 2 * features @ features.t()).clamp(min=1e-12).sqrt()
    same = pids[:, None] == pids[None]
    positive = (distances * same).max(1)[0]
    negative = (distances + 1e9 * same).min(1)[0]
    return F.margin_ranking_loss(negative, positive, torch.ones_like(positive), margin=0.3)


class Straightforward(nn.Module):
    """The published formulation on the weights of a model of ours."""

    def __init__(self, model: ReIDModel) -> None:
        super().__init__()
        self.model, self.heads = model, cast("dict[str, Any]", model.heads)
        fusion = self.heads["fusion"]
        channels = fusion.dim
        self.necks = nn.ModuleList(nn.BatchNorm1d(channels) for _ in REGIONS)
        self.classifiers = nn.ModuleList(nn.Linear(channels, NUM_IDS, bias=False) for _ in REGIONS)
        for classifier, weight in zip(self.classifiers, fusion.region_heads.classifiers, strict=True):
            classifier.weight.data = weight.data.t().clone()
        self.lstm = nn.LSTM(channels, channels, batch_first=True)
        self.lstm.load_state_dict({f"{name}_l0": value for name, value in fusion.fuse.cell.state_dict().items()})
        for neck in self.necks:
            neck.bias.requires_grad = False
        fusion.region_heads = fusion.fuse = nn.Identity()  # in place of them stands what is above

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses, named as ours."""
        maps = self.model.maps(batch.images)
        assert batch.regions is not None
        logits = self.heads["parsing"].decoder(maps["layer4"])
        labels = F.interpolate(batch.regions[:, None].float(), logits.shape[2:])[:, 0].long()
        masks = F.interpolate(labels[:, None].float(), maps["layer3"].shape[2:])[:, 0].long()
        found = {**self._identity(maps["layer4"], batch.pids), "parsing.pixel": self._parsing(logits, labels)}
        found |= self._regularization(maps["layer3"], masks, batch.pids)
        return found | self._fusion(maps["layer3"], masks, batch.pids)

    def _identity(self, maps: Tensor, pids: Tensor) -> dict[str, Tensor]:
        head = self.heads["identity"]
        feature = F.adaptive_avg_pool2d(maps, 1).flatten(1)
        logits = head.classifier(head.neck(feature))
        return {"identity.id": smoothed(logits, pids), "identity.triplet": triplet(feature, pids)}

    def _parsing(self, logits: Tensor, labels: Tensor) -> Tensor:
        pixels = F.cross_entropy(logits, labels, reduction="none")
        losses = []
        for region in range(len(REGIONS)):
            inside = pixels[labels == region]
            if inside.numel() > 0:
                losses.append(inside.mean())
        return torch.stack(losses).mean()

    def _regularization(self, maps: Tensor, masks: Tensor, pids: Tensor) -> dict[str, Tensor]:
        head = self.heads["regularization"]
        mask = torch.zeros(masks.shape, device=masks.device)
        for region in sample_regions().nonzero()[:, 0]:
            mask = mask + (masks == region)
        feature = head.reduce(F.adaptive_max_pool2d(head.block(maps) * mask[:, None], 1).flatten(1))
        area = torch.sigmoid(mask.mean()).item()
        return {"regularization.id": area * smoothed(head.classifier(head.neck(feature)), pids)}

    def _fusion(self, maps: Tensor, masks: Tensor, pids: Tensor) -> dict[str, Tensor]:
        head = self.heads["fusion"]
        features = head.block(maps)
        regions, auxiliary = [], features.new_zeros(())
        for region, (neck, classifier) in enumerate(zip(self.necks, self.classifiers, strict=True)):
            mask = (masks == region).float()
            vector = F.adaptive_max_pool2d(features * mask[:, None], 1).flatten(1)
            auxiliary = auxiliary + torch.sigmoid(mask.mean()).item() * smoothed(classifier(neck(vector)), pids)
            regions.append(vector)
        diversity = torch.stack([F.cosine_similarity(a, b).mean() for a, b in combinations(regions, 2)]).mean()
        feature = self.lstm(torch.stack(regions, 1))[1][0].squeeze(0)
        return {
            "fusion.id": smoothed(head.classifier(head.neck(feature)), pids),
            "fusion.triplet": triplet(feature, pids),
            "fusion.diversity": diversity.clamp(min=0),
            "fusion.regions": auxiliary,
        }


def our_step(size: str, bf16: bool) -> Callable[[], dict[str, Tensor]]:
    """A step as `semreid train` does it."""
    model, batch = make_model(size).to(memory_format=torch.channels_last), make_batch(size)  # type: ignore[call-overload]
    optimiser = build_optimiser(OptimRecipe(), model)
    return lambda: step(model.losses, batch, optimiser, bf16)


def their_step(size: str) -> Callable[[], dict[str, Tensor]]:
    model, batch = Straightforward(make_model(size)), make_batch(size)
    groups = [{"params": [p]} for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(groups, 3.5e-4, weight_decay=5e-4)
    return lambda: step(model, batch, optimiser, bf16=False)


def step(
    losses: Callable[[Batch], dict[str, Tensor]],
    batch: Batch,
    optimiser: torch.optim.Optimizer,
    bf16: bool,
    weights: Mapping[str, float] = WEIGHTS,
) -> dict[str, Tensor]:
    torch.manual_seed(0)  # the same regions are hidden; of PMM, the same negatives are drawn
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = losses(batch)
    optimiser.zero_grad()
    sum_losses(found, weights).backward()
    optimiser.step()
    return {name: loss.detach() for name, loss in found.items()}


STEPS: Steps = {
    REFERENCE: their_step,
    OURS: lambda size: our_step(size, bf16=False),
    "ours, bf16": lambda size: our_step(size, bf16=True),
}


if __name__ == "__main__":
    compare_steps(__doc__, __file__, SIZES, STEPS)
