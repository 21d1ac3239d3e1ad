"""Weights of losses that follow from how strongly each pulls at the trunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from semreid.errors import SemreidError

REFERENCE = "identity.id"
EVERY, KEPT = 20, 0.8


def balanced_weights(
    losses: Mapping[str, Tensor], shares: Mapping[str, float], parameter: Tensor, reference: str = REFERENCE
) -> dict[str, float]:
    """Compute what losses must weigh for their gradients to have given lengths.

    They are measured at the last layer that all share, as in GradNorm (Chen et al., ICML 2018), where they cost least.

    Args:
        losses: Losses on one graph, by name.
        shares: Wanted length of the gradient of some, as a share of that of the reference.
        parameter: The weights of that layer.
        reference: Name of the loss that is left as it is.

    Returns:
        Weights by name; 0 for a loss without a gradient.

    Raises:
        SemreidError: If there is no such loss, or it does not reach the parameter.

    Example:
        >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> losses = {"identity.id": x.sum(), "texture.reconstruction": x.square().sum()}
        >>> weights = balanced_weights(losses, {"texture.reconstruction": 0.5}, x)  # 0.5 · √2 / 10
        >>> round(weights["texture.reconstruction"], 4)
        0.0707
    """
    lengths = {}
    for name in (reference, *shares):
        if name not in losses:
            raise SemreidError(f"optim.shares needs the loss '{name}'", fix=f"the losses are {', '.join(losses)}")
        (gradient,) = torch.autograd.grad(losses[name], parameter, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise SemreidError(f"the loss '{name}' sends no gradient to the trunk", fix="leave it out of optim.shares")
        lengths[name] = float(torch.linalg.vector_norm(gradient.double()))
    return {
        name: share * lengths[reference] / lengths[name] if lengths[name] else 0.0 for name, share in shares.items()
    }


class Balance:
    """Keeps those weights while a model learns: measured now and then, and changed slowly.

    Args:
        shares: As in `balanced_weights`.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.shares = shares
        self.steps = 0
        self.current: dict[str, float] = {}

    def weights(self, losses: Mapping[str, Tensor], trunk: nn.Module) -> dict[str, float]:
        """Return the weights of a step, before its gradients are taken.

        Args:
            losses: The losses of the step.
            trunk: The trunk, whose last layer is looked at.
        """
        if self.shares and self.steps % EVERY == 0:
            layer = [parameter for parameter in trunk.parameters() if parameter.ndim > 1][-1]
            found = balanced_weights(losses, self.shares, layer)
            self.current = {name: KEPT * self.current.get(name, w) + (1 - KEPT) * w for name, w in found.items()}
        self.steps += 1
        return self.current

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"steps": self.steps, "current": self.current}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.steps, self.current = state.get("steps", 0), dict(state.get("current", {}))
