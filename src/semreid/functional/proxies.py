"""Learning from groups: every group is stood for by a proxy, a unit vector that moves with its crops.

Features are compared with proxies by cosine. All functions compute in float32 (see `semreid.functional.losses`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semreid.errors import SemreidError


def group_proxies(features: Tensor, groups: Tensor, count: int) -> Tensor:
    """Compute the proxies of groups: the mean direction of their members.

    Args:
        features: Features, (N, D); only their direction counts.
        groups: Group of each, in ``[0, count)``, (N,); those of a negative group are left out.
        count: Number of groups, G.

    Returns:
        Unit vectors (G, D) in float32; zeros for a group without members.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> group_proxies(torch.tensor([[2.0, 0.0], [0.0, 5.0], [9.0, 9.0]]), torch.tensor([1, 0, -1]), 2)
        tensor([[0., 1.],
                [1., 0.]])
    """
    groups = _require(features, groups)
    members = groups >= 0
    unit = F.normalize(features[members].float())
    return F.normalize(unit.new_zeros(count, unit.shape[1]).index_add_(0, groups[members], unit))


def moved_proxies(proxies: Tensor, features: Tensor, groups: Tensor, momentum: float = 0.1) -> Tensor:
    """Move proxies towards the features of a batch, one after the other (Dai et al., arXiv 2103.11568, section 3.2).

    Args:
        proxies: Unit vectors, (G, D).
        features: Features of the batch, (B, D).
        groups: Rows of ``proxies`` that they belong to, (B,).
        momentum: What is kept of a proxy at each feature.

    Returns:
        The proxies, (G, D) float32 without gradient; those of which the batch has no feature are as they were.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> moved_proxies(torch.eye(2), torch.tensor([[0.0, 1.0]]), torch.tensor([0]), momentum=0.0)
        tensor([[0., 1.],
                [0., 1.]])
    """
    groups = _require(features, groups, proxies)
    moved, unit = proxies.detach().float().clone(), F.normalize(features.detach().float())
    turn = (groups[:, None] == groups).tril(-1).sum(1)  # how many of its group come before
    for rows in turn.argsort().split(turn.bincount().tolist()):  # one feature of each group at a time
        mine = groups[rows]
        moved[mine] = F.normalize(momentum * moved[mine] + (1 - momentum) * unit[rows])
    return moved


def proxy_contrast(features: Tensor, groups: Tensor, proxies: Tensor, temperature: float = 0.05) -> Tensor:
    """Cluster contrast: tell the proxy of a feature's group from all others (Dai et al., arXiv 2103.11568, eq. 2).

    Args:
        features: Features, (B, D).
        groups: Rows of ``proxies`` that they belong to, (B,).
        proxies: Unit vectors, (G, D); they get no gradient.
        temperature: Divides the cosines.

    Returns:
        The mean loss, a float32 scalar.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> proxy_contrast(torch.tensor([[3.0, 0.0]]), torch.tensor([0]), torch.eye(2), temperature=1.0)  # log(1 + 1/e)
        tensor(0.3133)
    """
    groups = _require(features, groups, proxies)
    return F.cross_entropy(_cosines(features, proxies) / temperature, groups)


def camera_contrast(
    features: Tensor,
    groups: Tensor,
    proxies: Tensor,
    owners: Tensor,
    temperature: float = 0.07,
    negatives: int = 50,
) -> Tensor:
    """Pull a feature to the proxies that other cameras have of its group (Wang et al., AAAI 2021, eq. 5).

    Each group has a proxy for every camera that saw it. Those of a feature's own group are pulled, one as much as the
    other; against them stand the nearest proxies of other groups, of whatever camera.

    Args:
        features: Features, (B, D).
        groups: Groups that they belong to, (B,).
        proxies: Unit vectors of (group, camera), (P, D); they get no gradient.
        owners: Group of each proxy, (P,).
        temperature: Divides the cosines.
        negatives: How many of the nearest proxies of other groups are looked at.

    Returns:
        The mean loss, a float32 scalar.

    Raises:
        SemreidError: If the shapes do not fit together, or a feature's group has no proxy.

    Example:
        >>> proxies = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # of group 0, by two cameras, and of group 1
        >>> loss = camera_contrast(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), proxies, torch.tensor([0, 0, 1]), 1.0)
        >>> round(loss.item(), 4)  # log(e + 1 + 1/e) - (1 + 0) / 2
        0.9076
    """
    groups = _require(features, groups, proxies)
    own = groups[:, None] == owners[None]
    scores = _cosines(features, proxies) / temperature
    if not own.any(1).all():
        raise SemreidError("a feature's group has no proxy", fix="make the proxies of all groups with group_proxies")
    hard = scores.masked_fill(own, -torch.inf).topk(min(negatives, len(proxies)), dim=1).values
    everyone = torch.cat([scores.masked_fill(~own, -torch.inf), hard], 1).logsumexp(1)
    pulled = torch.where(own, scores, 0.0).sum(1) / own.sum(1)
    return (everyone - pulled).mean()


def _cosines(features: Tensor, proxies: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        return F.normalize(features.float()) @ proxies.detach().float().T


def _require(features: Tensor, groups: Tensor, proxies: Tensor | None = None) -> Tensor:
    """Return the groups in the one type that can index whatever it is: of others, PyTorch refuses some, or masks."""
    wide = proxies is None or (proxies.ndim == 2 and proxies.shape[1:] == features.shape[1:])
    if features.ndim != 2 or groups.shape != features.shape[:1] or groups.is_floating_point() or not wide:
        shapes = [tuple(each.shape) for each in (features, groups, proxies) if each is not None]
        raise SemreidError(
            f"expected features (B, D), integer groups (B,), proxies (G, D); got shapes {shapes}, groups {groups.dtype}"
        )
    return groups.long()
