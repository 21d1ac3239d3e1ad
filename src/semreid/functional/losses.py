"""Losses of the metric-learning kind: pure functions, always computed in float32.

Under autocast the network hands over bfloat16 or float16 values; a loss built on them would lose the small
differences between distances that it is about, so every function here goes back to float32 first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semreid.errors import SemreidError


def label_smoothed_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross entropy against targets that leave a share of the probability to all classes.

    The target distribution is ``(1 - smoothing) * one_hot + smoothing / C``.

    Args:
        logits: Class scores, (B, C).
        targets: Class indices in ``[0, C)``, (B,).
        smoothing: Share of probability that is spread evenly; 0 is the plain cross entropy.

    Returns:
        The mean loss, a float32 scalar.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> loss = label_smoothed_cross_entropy(torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 1]))
        >>> round(loss.item(), 4)
        0.2181
    """
    _require(logits.ndim == 2 and targets.shape == logits.shape[:1], "logits (B, C), targets (B,)", logits, targets)
    return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)


def batch_hard_triplet(embeddings: Tensor, pids: Tensor, margin: float | None = 0.3) -> Tensor:
    """Triplet loss on the hardest positive and hardest negative of every anchor in the batch.

    Distances are Euclidean on the embeddings as they come (normalise them first if that is what you want).
    An anchor counts as its own positive where the batch holds no other, and adds nothing where the batch
    holds no negative.

    Args:
        embeddings: Embeddings, (B, D).
        pids: Person ids, (B,).
        margin: Hinge margin; ``None`` takes the soft margin ``log(1 + exp(d_pos - d_neg))`` instead.

    Returns:
        The mean loss over all anchors, a float32 scalar.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> embeddings, pids = torch.tensor([[0.0], [1.0], [3.0], [4.0]]), torch.tensor([7, 7, 9, 9])
        >>> batch_hard_triplet(embeddings, pids, margin=1.5)
        tensor(0.2500)
    """
    _require(
        embeddings.ndim == 2 and pids.shape == embeddings.shape[:1],
        "embeddings (B, D), pids (B,)",
        embeddings,
        pids,
    )
    embeddings = embeddings.float()
    positive, negative, has_negative = _hardest(embeddings.detach(), pids)
    # Only the mined pairs need a gradient: B distances instead of B x B, and exact ones.
    to_positive = torch.linalg.vector_norm(embeddings - embeddings[positive], dim=1)
    to_negative = torch.linalg.vector_norm(embeddings - embeddings[negative], dim=1)
    gap = (to_positive - to_negative).masked_fill(~has_negative, -torch.inf)
    return (F.softplus(gap) if margin is None else F.relu(gap + margin)).mean()


def _hardest(embeddings: Tensor, pids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Index of the farthest positive and nearest negative of every anchor, and whether it has a negative."""
    with torch.autocast(embeddings.device.type, enabled=False):
        distances = torch.cdist(embeddings, embeddings)
    same = pids[:, None] == pids[None, :]
    positive = distances.masked_fill(~same, -torch.inf).argmax(dim=1)
    negative = distances.masked_fill(same, torch.inf).argmin(dim=1)
    return positive, negative, ~same.all(dim=1)


def center_loss(embeddings: Tensor, pids: Tensor, centers: Tensor) -> Tensor:
    """Mean squared Euclidean distance between embeddings and the centres of their identities.

    The centres are learned: pass a parameter and give it an optimiser of its own.

    Args:
        embeddings: Embeddings, (B, D).
        pids: Training labels, that is rows of ``centers``, (B,).
        centers: One centre per identity, (N, D).

    Returns:
        The mean over the batch (without the factor one half that some texts carry), a float32 scalar.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> center_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), torch.tensor([[9.0, 9.0], [1.0, 0.0]]))
        tensor(4.)
    """
    fits = embeddings.ndim == centers.ndim == 2 and embeddings.shape[1] == centers.shape[1]
    _require(
        fits and pids.shape == embeddings.shape[:1],
        "embeddings (B, D), pids (B,), centers (N, D)",
        embeddings,
        pids,
        centers,
    )
    return (embeddings.float() - centers[pids].float()).square().sum(dim=1).mean()


def _require(fits: bool, expected: str, *tensors: Tensor) -> None:
    if not fits:
        raise SemreidError(f"expected {expected}; got shapes {[tuple(tensor.shape) for tensor in tensors]}")
