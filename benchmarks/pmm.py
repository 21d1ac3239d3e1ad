"""A training step of PMM against the published formulation, in which Grad-CAM is a backward pass through the network.

The reference has the same weights, replaces the same blocks and takes the same losses, all checked in the run: for each
activation map a whole backward pass of the true scores, seen by a hook; blocks found and masks filled one by one;
maps mixed by sums of products; label smoothing by one-hot targets; float32.

python benchmarks/pmm.py                ResNet-50 at 384x128, batches of 16 (minutes)
python benchmarks/pmm.py --size tiny    the tiny recipe: ResNet-18 of half width at 128x64, batches of 64
python benchmarks/pmm.py --quick        seconds; for a test
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _timing import OURS, REFERENCE, Steps, compare_steps
from magnifiernet import smoothed, step
from semreid.data.batch import Batch
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.training.recipe import OptimRecipe
from semreid.training.schedule import build_optimiser

NUM_IDS, INSTANCES, GRID, BLOCKS = 767, 4, (8, 4), 3
SIZES: dict[str, tuple[str, float, tuple[int, int], int, int]] = {
    "full": ("resnet50", 1.0, (384, 128), 512, 16),
    "tiny": ("resnet18", 0.5, (128, 64), 256, 64),
    "quick": ("resnet18", 0.25, (128, 64), 32, 8),
}
"""Trunk, width, input size, width of a stage's feature, batch."""


def make_model(size: str) -> ReIDModel:
    torch.manual_seed(0)
    trunk, width, pixels, dim, _ = SIZES[size]
    return create_model("pmm", NUM_IDS, trunk=trunk, width=width, size=pixels, dim=dim).train()


def make_batch(size: str) -> Batch:
    *_, (height, width), _, count = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    pids = torch.arange(count // INSTANCES).repeat_interleave(INSTANCES)
    coarse = torch.rand(count, 3, height // 16, width // 16, generator=generator)  # images that differ from each other
    return Batch(F.interpolate(coarse, (height, width)), pids, torch.zeros_like(pids))


def soft_triplet(features: Tensor, pids: Tensor) -> Tensor:
    squares = features.pow(2).sum(1, keepdim=True)
    distances = (squares + squares.t() - 2 * features @ features.t()).clamp(min=1e-12).sqrt()
    same = pids[:, None] == pids[None]
    return F.softplus((distances * same).max(1)[0] - (distances + 1e9 * same).min(1)[0]).mean()


class Straightforward(nn.Module):
    """The published formulation on the weights of a model of ours."""

    def __init__(self, model: ReIDModel) -> None:
        super().__init__()
        self.model, self.head = model, cast("Any", model.heads["multistage"])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses, named as ours."""
        return self.losses(self.model.maps(batch.images)["layer4"], batch.pids)[0]

    def losses(self, maps: Tensor, pids: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Compute the losses, and the map of each stage."""
        found, views, shared = {}, [maps], self.head.block(maps)
        for stage, (reduce, classifier) in enumerate(zip(self.head.reductions, self.head.classifiers, strict=True)):
            pool = F.adaptive_max_pool2d if stage else F.adaptive_avg_pool2d
            seen: dict[str, Tensor] = {}
            hook = views[-1].register_hook(lambda gradient, seen=seen: seen.update(gradient=gradient))
            feature = reduce(pool(views[-1], 1).flatten(1))
            logits = classifier(feature)
            if stage < 2:
                cam = self._cam(views[-1], logits, pids, seen)
                views.append(self._mix(shared, cam, pids))
            hook.remove()
            found[f"multistage.id_{stage + 1}"] = smoothed(logits, pids)
            found[f"multistage.triplet_{stage + 1}"] = soft_triplet(feature, pids)
        return found, views

    def _cam(self, maps: Tensor, logits: Tensor, pids: Tensor, seen: dict[str, Tensor]) -> Tensor:
        score = logits.new_zeros(())
        for image, pid in enumerate(pids):
            score = score + logits[image, pid]
        score.backward(retain_graph=True)  # fills the gradients of all parameters: to be thrown away
        weights = seen["gradient"].mean(dim=(2, 3), keepdim=True)
        return F.relu((weights * maps).sum(1)).detach()

    def _mix(self, maps: Tensor, cams: Tensor, pids: Tensor) -> Tensor:
        count, _, h, w = maps.shape
        ties, wishes = torch.rand(count, *GRID), torch.rand(count, count)  # drawn as ours are
        tall, wide = h // GRID[0], w // GRID[1]
        mask, negatives = torch.ones_like(maps), []
        for image in range(count):
            negatives.append(max((j for j in range(count) if pids[j] != pids[image]), key=wishes[image].__getitem__))
            sums = {}
            for y in range(GRID[0]):
                for x in range(GRID[1]):
                    place = slice(y * tall, (y + 1) * tall), slice(x * wide, (x + 1) * wide)
                    sums[y, x] = cams[image][place].sum().item(), ties[image, y, x].item()
            for y, x in sorted(sums, key=sums.__getitem__)[-BLOCKS:]:
                mask[image, :, y * tall : (y + 1) * tall, x * wide : (x + 1) * wide] = 0
        return maps * mask + maps[negatives] * (1 - mask)


def our_step(size: str, bf16: bool) -> Callable[[], dict[str, Tensor]]:
    """A step as `semreid train` does it."""
    model, batch = make_model(size).to(memory_format=torch.channels_last), make_batch(size)  # type: ignore[call-overload]
    optimiser = build_optimiser(OptimRecipe(), model)
    return lambda: step(model.losses, batch, optimiser, bf16, weights={})


def their_step(size: str) -> Callable[[], dict[str, Tensor]]:
    model, batch = Straightforward(make_model(size)), make_batch(size)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(OptimRecipe(), model)
    return lambda: step(model, batch, optimiser, bf16=False, weights={})


STEPS: Steps = {
    REFERENCE: their_step,
    OURS: lambda size: our_step(size, bf16=False),
    "ours, bf16": lambda size: our_step(size, bf16=True),
}


def check_mixed_maps(size: str) -> None:
    """On one map, both formulations must replace the same positions by the same numbers."""
    model, batch = make_model(size), make_batch(size)
    maps = model.maps(batch.images)["layer4"].detach().requires_grad_()
    torch.manual_seed(0)
    ours = [
        seen.view.maps
        for seen in cast("Any", model.heads["multistage"]).passes({"layer4": maps}, batch.pids, batch.pids)
    ]
    torch.manual_seed(0)
    theirs = Straightforward(model).losses(maps, batch.pids)[1]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    print("the mixed maps are equal bit for bit")


if __name__ == "__main__":
    compare_steps(__doc__, __file__, SIZES, STEPS, check_mixed_maps)
