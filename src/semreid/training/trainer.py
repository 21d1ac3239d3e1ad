"""What changes while a model learns: its weights and optimisers, one P×K batch after another."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from semreid import distributed
from semreid.data import augment
from semreid.data.batch import Batch
from semreid.data.sample import cameras_meet
from semreid.data.sampler import Indices, pk_batches, rank_share
from semreid.data.store import Store
from semreid.distributed import gather
from semreid.errors import SemreidError
from semreid.functional.losses import batch_contrast
from semreid.host import sent
from semreid.models.heads import Texture
from semreid.models.model import ReIDModel
from semreid.training.recipe import BatchContrastRecipe, Recipe, dump_recipe
from semreid.training.record import Reporter
from semreid.training.replay import ReplayedStep, make_replayable
from semreid.training.schedule import build_optimiser, build_second_optimiser, loss_weights, lr_factor

CONTRAST = "contrast.batch"
"""Name of the loss that the joined embedding learns by."""


class _Losses(nn.Module):
    """The model's losses as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, model: ReIDModel, contrast: BatchContrastRecipe, *, across: bool) -> None:
        super().__init__()
        self.model, self.contrast, self.across = model, contrast, across

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if not self.contrast.weight:
            return self.model.losses(batch)
        losses, joined = self.model.losses_and_embedding(batch, self.contrast.heads)
        pids = gather(batch.pids[: batch.num_real])
        across = gather(batch.camids[: batch.num_real]) if self.across else None
        losses[CONTRAST] = batch_contrast(gather(joined), pids, self.contrast.temperature, across)
        return losses


class _Average(nn.Module):
    """Averaged weights and statistics; at first over few steps, for in a short run the first ones would stay.

    Never waits for the device, and looks for the tensors of both only once.

    Args:
        model: The model to average.
        decay: Share of the average that a step leaves, once there were many.
    """

    n_averaged: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.module, self.decay = copy.deepcopy(model), decay
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.long))  # which stays on the host
        both = [list(chain(m.parameters(), m.buffers())) for m in (self.module, model)]
        self._floats = [[tensor for tensor in tensors if tensor.is_floating_point()] for tensors in both]
        self._counts = [[tensor for tensor in tensors if not tensor.is_floating_point()] for tensors in both]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights that the model has now."""
        steps = int(self.n_averaged)
        share = 1 - min(self.decay, (1 + steps) / (10 + steps)) if steps else 1.0
        average, now = self._floats
        torch._foreach_lerp_(average, now, share)
        average, now = self._counts
        if average:
            torch._foreach_copy_(average, now)
        self.n_averaged += 1


@dataclass
class Trainer:
    """Everything that changes while a model learns.

    Args:
        recipe: The recipe.
        model: The model to train, with as many identities as the store has.
        store: Training images on the device or memory-mapped.
        device: Where to train.
        synthetic: Synthetic images with textures that join every batch, if any.
    """

    recipe: Recipe
    model: ReIDModel
    store: Store
    device: torch.device
    synthetic: Store | None = None
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.classes, self.labels = np.unique(self.store.pids, return_inverse=True)
        self.model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        distributed.synchronise_norms(self.model)
        across = self.recipe.contrast.pairs == "cameras" and cameras_meet(self.store.samples)
        self.network: nn.Module = _Losses(self.model, self.recipe.contrast, across=across)
        if distributed.world_size() > 1:
            resting = self.recipe.contrast.heads is not None  # whose classifiers get no gradient
            self.network = DistributedDataParallel(self.network, find_unused_parameters=resting)
            _require_divisible(self.recipe, self.model, distributed.world_size())
        self.optimiser = build_optimiser(self.recipe.optim, self.model)
        self.second = (
            build_second_optimiser(self.recipe.optim, self.model) if self.recipe.optim.separate_losses else None
        )
        self.ema = _Average(self.model, self.recipe.optim.ema) if self.recipe.optim.ema else None
        self.replayed: ReplayedStep | None = None
        if self.recipe.engine == "compiled":
            self._compile_trunk()
        elif self.recipe.engine == "graphs":
            self.replayed = ReplayedStep(self.device)
            self._make_replayable()

    @property
    def judged(self) -> ReIDModel:
        """The model that is saved and judged: the averaged weights where the recipe asks for them."""
        return self.model if self.ema is None else cast("ReIDModel", self.ema.module)

    def train_epoch(self, reporter: Reporter) -> dict[str, float]:
        """Train one epoch.

        Args:
            reporter: Shows the progress.

        Returns:
            Mean losses by name, ``total``, ``lr``, ``images_per_second``, ``data_share``.

        Raises:
            SemreidError: If the loss is no longer finite, or a batch cannot be composed.
        """
        batches = self.batches()
        sums: dict[str, Tensor] = {}
        began, waited = time.perf_counter(), 0.0
        self.model.train()
        for i, indices in enumerate(batches):
            lr = self.set_lr(self.epoch + i / len(batches))
            before = time.perf_counter()
            batch = self.batch(indices, i)
            waited += time.perf_counter() - before
            for name, value in self.step(batch).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
            reporter.step(self.epoch, i + 1, len(batches), sums)
        totals = distributed.mean(torch.stack(list(sums.values()))).tolist()  # waits until the device is done
        means = {name: total / len(batches) for name, total in zip(sums, totals, strict=True)}
        seconds = time.perf_counter() - began
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad or not self._is_finite():
            what = f"the loss is no longer finite ({', '.join(bad)})" if bad else "the weights are no longer finite"
            raise SemreidError(
                f"epoch {self.epoch}: {what}",
                fix="begin again in another folder (--out) with a lower optim.lr, optim.clip=5 or precision=fp32",
            )
        images = sum(map(len, batches))
        return {**means, "lr": lr, "images_per_second": images / seconds, "data_share": waited / seconds}

    def _is_finite(self) -> bool:
        """Whether the weights are numbers: the last step of an epoch may spoil them after its loss was taken."""
        return bool(torch.stack([weight.isfinite().all() for weight in self.model.parameters()]).all())

    def batches(self) -> list[Indices]:
        """Draw the rows of the (global) batches of the epoch."""
        P, K, seed = self.recipe.data.identities, self.recipe.data.instances, self.recipe.seed
        camids = self.store.camids if self.recipe.data.meeting == "camera" else None
        return list(pk_batches(self.labels, P, K, seed=seed, epoch=self.epoch, camids=camids))

    def batch(self, indices: Indices, step: int) -> Batch:
        """Compose and augment this process's share of a global batch.

        Args:
            indices: Rows of the global batch.
            step: Number of the step in the epoch; decides the random numbers.
        """
        seed, data = (self.recipe.seed, self.epoch, step), self.recipe.data
        generator = torch.Generator().manual_seed(hash(seed) % 2**63)
        real = self._compose(self.store, indices, self.labels[indices], data.instances, generator)
        if self.synthetic is None:
            return real
        count, wanted = len(self.synthetic), data.synthetic_per_batch
        chosen = np.random.default_rng(seed).choice(count, wanted, replace=count < wanted)
        return real.joined_by(self._compose(self.synthetic, chosen, np.full(wanted, -1), 1, generator))

    def _compose(
        self, store: Store, indices: Indices, pids: Indices, instances: int, generator: torch.Generator
    ) -> Batch:
        """Augment this process's share of the rows of a store; the random numbers are those of all rows."""
        draws = augment.draw(self.recipe.augment, len(indices), self.recipe.data.size, generator)
        share = rank_share(indices, distributed.rank(), distributed.world_size(), instances)
        draws = draws.share(share, self.device)
        rows = sent(torch.from_numpy(indices[share]), store.images.device)
        regions, textures, attributes = store.regions, store.textures, store.attributes

        def there(array: Tensor) -> Tensor:
            return sent(array, self.device)

        return Batch(
            images=augment.augment_images(there(store.images[rows]), draws),
            pids=there(torch.from_numpy(pids[share])),
            camids=there(torch.from_numpy(store.camids[indices[share]])),
            regions=None if regions is None else augment.augment_regions(there(regions[rows]), draws),
            textures=None if textures is None else augment.augment_textures(there(textures[rows]), draws),
            attributes=None if attributes is None else there(attributes[rows]),
        )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Learn from one batch.

        Args:
            batch: This process's share of a global batch.

        Returns:
            Detached losses by name and their weighted ``total``; with the engine ``graphs`` valid until the next step.
        """
        weights = loss_weights(self.recipe.losses, self.epoch)
        replayed = self.replayed
        losses = self._learn(batch, weights) if replayed is None else replayed(self._learn, batch, weights)
        if self.ema is not None:
            self.ema.update()
        return losses

    def _learn(self, batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Move the weights by the losses of a batch: what a CUDA graph can record."""
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            losses: dict[str, Tensor] = self.network(batch)
        known = {CONTRAST: self.recipe.contrast.weight, **self.model.loss_weights}
        weights = {name: weight for name, weight in known.items() if name in losses} | {**weights}  # a head may rest
        total = sum_losses(losses, weights)
        if self.second is None:
            self.optimiser.zero_grad()
            total.backward()
            self._move(self.optimiser)
        else:
            self._learn_separately(losses, weights, self.second)
        return {name: loss.detach() for name, loss in losses.items()} | {"total": total.detach()}

    def _learn_separately(
        self, losses: Mapping[str, Tensor], weights: Mapping[str, float], second: torch.optim.Optimizer
    ) -> None:
        """Take the gradients of two groups of losses on one graph, and only then move the weights by both."""
        separate = self.recipe.optim.separate_losses
        _require_losses(separate, losses)
        if not losses.keys() - {*separate}:
            raise SemreidError(
                "optim.separate_losses names all losses, and none is left for the first optimiser",
                fix="name fewer of them, or none: one optimiser is enough then",
            )
        groups: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        for name, loss in losses.items():
            groups[name in separate][name] = weights.get(name, 1.0) * loss
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        gradients = [
            torch.autograd.grad(sum_losses(group, {}), parameters, retain_graph=group is groups[0], allow_unused=True)
            for group in groups
        ]
        for optimiser, found in zip((self.optimiser, second), gradients, strict=True):
            for parameter, gradient in zip(parameters, found, strict=True):
                parameter.grad = gradient if gradient is None else _laid_out(gradient, parameter)
            self._move(optimiser)

    def _compile_trunk(self) -> None:
        """Compile the trunk; its state stays what it is, and heads run as they are written."""
        if self.recipe.optim.separate_losses:
            raise SemreidError(
                "optim.separate_losses takes two gradients of one step, which a compiled trunk cannot",
                fix="set engine=eager",
            )
        self.model.trunk.compile()

    def _make_replayable(self) -> None:
        """Let a step of this trainer be recorded, from its state of now."""
        if self.replayed is not None:
            self.replayed.forget()
            for optimiser in (self.optimiser, self.second):
                if optimiser is not None:
                    make_replayable(optimiser, self.device)

    def _move(self, optimiser: torch.optim.Optimizer) -> None:
        if self.recipe.optim.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optim.clip)
        optimiser.step()

    def finish_epoch(self, row: dict[str, Any]) -> None:
        """Note the metrics of the epoch that was trained last, and go on to the next."""
        self.history.append(row)
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs; random numbers follow from seed, epoch and step alone."""
        return {
            "recipe": dump_recipe(self.recipe),
            "epoch": self.epoch,
            "history": self.history,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "second": None if self.second is None else self.second.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned."""
        self.epoch, self.history = state["epoch"], state["history"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.second is not None:
            self.second.load_state_dict(state["second"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self._make_replayable()

    def set_lr(self, epoch: float) -> float:
        """Set what depends on the moment of training: the learning rate, and what the heads will draw.

        Args:
            epoch: The moment in epochs from 0.
        """
        torch.manual_seed(hash((self.recipe.seed, epoch)) % 2**63)  # the heads' draws: equal on every rank
        lr = self.recipe.optim.lr * lr_factor(self.recipe.schedule, epoch)
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):  # which a recorded step reads
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        return lr


def on_device(store: Store, device: torch.device) -> Store:
    """Keep the images on the GPU if they take at most half of what is free there, for each process that shares it."""
    if device.type != "cuda":
        return store
    free, _ = torch.cuda.mem_get_info(device)
    return store.to(device) if store.nbytes <= free // 2 // distributed.processes_of_a_gpu() else store


def sum_losses(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Add up named losses.

    Args:
        losses: Scalar by name.
        weights: Weight by name; 1 where there is none.

    Raises:
        SemreidError: If a weight belongs to no loss.

    Example:
        >>> float(sum_losses({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, {"b": 0.5}))
        2.0
    """
    _require_losses(weights, losses)
    weighed = [loss if (weight := weights.get(name, 1.0)) == 1 else weight * loss for name, loss in losses.items()]
    return torch.stack(weighed).sum()


def _laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in the order of memory of its parameter, which fused optimisers take for granted."""
    same = gradient.stride() == parameter.stride()
    return gradient if same else torch.empty_like(parameter).copy_(gradient)


def _require_losses(names: Iterable[str], losses: Mapping[str, Tensor]) -> None:
    if unknown := sorted(set(names) - losses.keys()):
        raise SemreidError(
            f"the recipe names a loss '{unknown[0]}' that the model does not have",
            fix=f"its losses are {', '.join(losses)}",
        )


def _require_divisible(recipe: Recipe, model: ReIDModel, processes: int) -> None:
    """Refuse what only one process can do, and a batch that several cannot share."""
    if recipe.engine == "graphs":
        raise SemreidError("engine=graphs is for one process", fix="train without torchrun, or set engine=eager")
    if any(isinstance(head, Texture) and head.share < 1 for _, head in model.named_heads()):
        raise SemreidError(
            "to paint a part of the images (model.options.painted) is for one process: several would choose others",
            fix="train without torchrun, or leave painted out",
        )
    if recipe.optim.separate_losses:
        raise SemreidError("optim.separate_losses is for one process", fix="train without torchrun, or leave it out")
    if recipe.data.synthetic and recipe.data.synthetic_per_batch % processes:
        raise SemreidError(
            f"{recipe.data.synthetic_per_batch} synthetic images cannot be divided among {processes} processes",
            fix=f"set data.synthetic_per_batch to a multiple of {processes}",
        )
