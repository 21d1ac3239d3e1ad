"""The optimiser and the learning rate as functions of the recipe."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from semreid.training.recipe import LossWeight, OptimRecipe, ScheduleRecipe


def lr_factor(schedule: ScheduleRecipe, epoch: float) -> float:
    """Return the learning rate at a moment of training, as a share of the base rate.

    Args:
        schedule: The schedule.
        epoch: The moment in epochs from 0; between two epochs it is fractional.

    Example:
        >>> plan = ScheduleRecipe(epochs=10, warmup_epochs=2, warmup_factor=0.5, decay="cosine")
        >>> [round(lr_factor(plan, e), 3) for e in (0, 1, 2, 6, 10)]
        [0.5, 0.75, 1.0, 0.5, 0.0]
    """
    warmup = schedule.warmup_epochs
    if epoch < warmup:
        return schedule.warmup_factor + (1 - schedule.warmup_factor) * epoch / warmup
    if schedule.decay == "step":
        return schedule.gamma ** bisect_right(sorted(schedule.milestones), epoch)
    if schedule.decay == "constant":
        return 1.0
    share = (epoch - warmup) / max(schedule.epochs - warmup, 1e-9)
    final = schedule.final_factor
    return final + (1 - final) * (1 + math.cos(math.pi * min(share, 1))) / 2


def loss_weights(weights: Mapping[str, LossWeight], epoch: int) -> dict[str, float]:
    """Return what the losses weigh in an epoch.

    Args:
        weights: Weights by loss name as in the recipe.
        epoch: The epoch, from 0.

    Returns:
        Weight by loss name.

    Example:
        >>> [loss_weights({"a": 2.0, "b": {5: 0.1, 8: 0.2}}, epoch) for epoch in (4, 5, 9)]
        [{'a': 2.0, 'b': 0.0}, {'a': 2.0, 'b': 0.1}, {'a': 2.0, 'b': 0.2}]
    """
    return {name: _weight_at(weight, epoch) for name, weight in weights.items()}


def _weight_at(weight: LossWeight, epoch: int) -> float:
    if not isinstance(weight, dict):
        return weight
    return weight[max(start for start in weight if start <= epoch)] if epoch >= min(weight) else 0.0


def build_second_optimiser(recipe: OptimRecipe, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser for losses that move the weights apart from the others."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.Adam(trainable, recipe.separate_lr, betas=(0.5, 0.999), fused=True)


def build_optimiser(recipe: OptimRecipe, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser for a model's trainable parameters.

    Biases and normalisation parameters (one dimension) form a group of their own, which is decayed only with
    ``decay_norms``.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim > 1]},
        {
            "params": [p for p in trainable if p.ndim <= 1],
            "weight_decay": recipe.weight_decay if recipe.decay_norms else 0.0,
        },
    ]
    decay = recipe.weight_decay
    if recipe.name == "sgd":
        return torch.optim.SGD(groups, recipe.lr, momentum=recipe.momentum, weight_decay=decay, fused=True)
    if recipe.name == "adamw":
        return torch.optim.AdamW(groups, recipe.lr, weight_decay=decay, fused=True)
    return torch.optim.Adam(groups, recipe.lr, weight_decay=decay, amsgrad=recipe.name == "amsgrad", fused=True)
