"""Losses of the metric-learning kind: pure functions, always computed in float32.

Under autocast the network hands over bfloat16 or float16 values; a loss built on them would lose the small
differences between distances that it is about, so every function here goes back to float32 first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semreid.errors import SemreidError
from semreid.functional.pooling import region_share


def label_smoothed_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross entropy against targets that leave a share of the probability to all classes.

    The target distribution is ``(1 - smoothing) * one_hot + smoothing / C``.

    Args:
        logits: Class scores, (..., B, C): of one classifier, or of several that see the same images.
        targets: Class indices in ``[0, C)``, (B,), of any integer type.
        smoothing: Share of probability that is spread evenly; 0 is the plain cross entropy.

    Returns:
        The mean loss of each classifier, (...), float32: a scalar for one.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> loss = label_smoothed_cross_entropy(torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 1]))
        >>> round(loss.item(), 4)
        0.2181
    """
    _require(
        logits.ndim >= 2 and targets.shape == logits.shape[-2:-1] and not targets.is_floating_point(),
        "logits (..., B, C), integer targets (B,)",
        logits,
        targets,
    )
    logits, targets = logits.float(), targets.long()
    if logits.ndim == 2:
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
    several = logits.shape[:-2]
    rows, labels = logits.flatten(0, -2), targets.repeat(several.numel())
    each = F.cross_entropy(rows, labels, label_smoothing=smoothing, reduction="none")
    return each.view(*several, -1).mean(dim=-1)


def batch_hard_triplet(embeddings: Tensor, pids: Tensor, margin: float | None = 0.3) -> Tensor:
    """Triplet loss on the hardest positive and hardest negative of every anchor in the batch.

    Distances are Euclidean on the embeddings as they come (normalise them first if that is what you want).
    An anchor counts as its own positive where the batch holds no other, and adds nothing where the batch
    holds no negative.

    Args:
        embeddings: Embeddings, (..., B, D); several sets of the same images, such as those of several heads, at once
            ask a GPU as little as one set.
        pids: Person ids, (B,).
        margin: Hinge margin; ``None`` takes the soft margin ``log(1 + exp(d_pos - d_neg))`` instead.

    Returns:
        The mean loss over all anchors of each set, (...), float32: a scalar for one set.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> embeddings, pids = torch.tensor([[0.0], [1.0], [3.0], [4.0]]), torch.tensor([7, 7, 9, 9])
        >>> batch_hard_triplet(embeddings, pids, margin=1.5)
        tensor(0.2500)
        >>> batch_hard_triplet(torch.stack((embeddings, 2 * embeddings)), pids, margin=1.5)
        tensor([0.2500, 0.0000])
    """
    _require(
        embeddings.ndim >= 2 and pids.shape == embeddings.shape[-2:-1],
        "embeddings (..., B, D), pids (B,)",
        embeddings,
        pids,
    )
    embeddings = embeddings.float()
    hardest, lonely = _hardest(embeddings.detach(), pids)
    # Only the mined pairs need a gradient: 2 x B distances instead of B x B, and exact ones.
    mined = F.embedding(hardest, embeddings.flatten(0, -2))
    to_positive, to_negative = torch.linalg.vector_norm(embeddings - mined, dim=-1)
    gap = (to_positive - to_negative).masked_fill(lonely, -torch.inf)
    return (F.softplus(gap) if margin is None else F.relu(gap + margin)).mean(dim=-1)


def _hardest(embeddings: Tensor, pids: Tensor) -> tuple[Tensor, Tensor]:
    """Farthest positive and nearest negative of every anchor, (2, ..., B), and whether it lacks a negative, (B,).

    They are rows of the embeddings of all sets, one set after the other.
    """
    embeddings = embeddings - embeddings.mean(dim=-2, keepdim=True)  # what all have in common would cost digits
    with torch.autocast(embeddings.device.type, enabled=False):
        distances = torch.cdist(embeddings, embeddings)
    same = pids[:, None] == pids[None, :]
    positive = distances.where(same, -torch.inf).argmax(dim=-1)
    negative = distances.masked_fill(same, torch.inf).argmin(dim=-1)
    found = torch.stack((positive, negative))
    if embeddings.ndim > 2:
        first = torch.arange(0, embeddings.shape[:-1].numel(), len(pids), device=pids.device)
        found = found + first.view(*embeddings.shape[:-2], 1)
    return found, same.all(dim=1)


def batch_contrast(embeddings: Tensor, pids: Tensor, temperature: float = 0.07, camids: Tensor | None = None) -> Tensor:
    """Contrast in the batch: every pair of a person's embeddings against all of the strangers that it meets.

    For an anchor a and each other embedding p of its person, ``-log(exp(s_ap) / (exp(s_ap) + Σ_n exp(s_an)))`` with
    cosines s divided by the temperature and n over the strangers: the other pictures of the person neither pull nor
    push in the term of a pair (Sohn, NeurIPS 2016, eq. 2, with all positives in turn). It needs no classifier, so
    people whom a network sees once or twice teach as much as they can. An anchor whose batch holds no stranger, or no
    other picture of its person, adds nothing. With ``camids``, only pairs of two cameras count
    (``docs/notes/adapting.md``): those of one are alike for reasons that are not the person.

    Args:
        embeddings: Embeddings, (B, D); only their direction counts.
        pids: Person ids, (B,).
        temperature: Divides the cosines.
        camids: Camera of each, (B,), if only pairs of two cameras count.

    Returns:
        The mean loss over all pairs that count, a float32 scalar; 0 where there are none.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> embeddings, pids = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([7, 7, 9])
        >>> batch_contrast(embeddings, pids, temperature=1.0)  # log(1 + 1/e)
        tensor(0.3133)
    """
    cameras = () if camids is None else (camids,)
    _require(
        embeddings.ndim == 2 and all(each.shape == embeddings.shape[:1] for each in (pids, *cameras)),
        "embeddings (B, D), pids (B,), camids (B,) or none",
        embeddings,
        pids,
        *cameras,
    )
    unit = F.normalize(embeddings.float())
    with torch.autocast(embeddings.device.type, enabled=False):
        scores = unit @ unit.T / temperature
    same = pids[:, None] == pids[None, :]
    # A finite floor, not -inf: where an anchor meets no stranger, the gradient of logsumexp would be no number.
    strangers = scores.masked_fill(same, torch.finfo(torch.float32).min).logsumexp(1, keepdim=True)
    once = torch.eye(len(pids), dtype=torch.bool, device=pids.device) if camids is None else camids[:, None] == camids
    pairs = same & ~once
    return (F.softplus(strangers - scores) * pairs).sum() / pairs.sum().clamp(min=1)


def center_loss(embeddings: Tensor, pids: Tensor, centers: Tensor) -> Tensor:
    """Mean squared Euclidean distance between embeddings and the centres of their identities.

    The centres are learned: pass a parameter and give it an optimiser of its own.

    Args:
        embeddings: Embeddings, (B, D).
        pids: Training labels, that is rows of ``centers``, (B,), of any integer type.
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
        fits and pids.shape == embeddings.shape[:1] and not pids.is_floating_point(),
        "embeddings (B, D), integer pids (B,), centers (N, D)",
        embeddings,
        pids,
        centers,
    )
    return (embeddings.float() - centers[pids.long()].float()).square().sum(dim=1).mean()


def class_balanced_cross_entropy(logits: Tensor, labels: Tensor, shares: Tensor | None = None) -> Tensor:
    """Cross entropy of pixels in which every class that is present weighs the same, however small it is.

    The mean over the pixels of each class, then the mean over the classes that have any.

    Args:
        logits: Class scores, (B, R, h, w).
        labels: Class of every pixel, (B, h, w), integer; a pixel of none in ``[0, R)`` counts for nothing.
        shares: Share of the pixels that each class has, (R,); counted in ``labels`` if None. With the shares of a
            larger batch of which this is a part, the mean over all equal parts is the loss of that batch.

    Returns:
        The loss, a float32 scalar.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> logits = torch.tensor([[[[0.0, 0.0, 0.0, 9.0]], [[0.0, 0.0, 0.0, 9.0]], [[0.0, 0.0, 0.0, 9.0]]]])
        >>> round(class_balanced_cross_entropy(logits, torch.tensor([[[0, 0, 0, 2]]])).item(), 4)  # log 3
        1.0986
    """
    _require(
        logits.ndim == 4 and labels.shape == (logits.shape[0], *logits.shape[2:]) and not labels.is_floating_point(),
        "logits (B, R, h, w), integer labels (B, h, w)",
        logits,
        labels,
    )
    if shares is None:
        shares = region_share(labels, logits.shape[1]).mean(dim=0)
    present = shares > 0
    weights = torch.where(present, 1 / (shares * present.sum()), 0.0)
    known = (labels >= 0) & (labels < logits.shape[1])
    labels = labels.long().where(known, 0)
    return (F.cross_entropy(logits.float(), labels, reduction="none") * weights[labels] * known).mean()


def soft_overlap(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how far the pixels that are held for a class and those that belong to it are the same.

    The quotient of the two areas, summed over a batch, is the intersection over union that a softmax leaves soft.

    Args:
        logits: Class scores, (B, R, h, w).
        labels: Class of every pixel in ``[0, R)``, (B, h, w), integer.

    Returns:
        The area shared by both and the area of either, in pixels of every image, (B, R) float32 each. Both can be
        differentiated; the second is positive.

    Raises:
        SemreidError: If the shapes do not fit together.

    Example:
        >>> shared, joint = soft_overlap(torch.tensor([[[[50.0, 0.0]], [[0.0, 0.0]]]]), torch.tensor([[[0, 1]]]))
        >>> (shared / joint).tolist()  # of class 0: one pixel of one and a half
        [[0.6666666865348816, 0.5]]
    """
    _require(
        logits.ndim == 4 and labels.shape == (logits.shape[0], *logits.shape[2:]),
        "logits (B, R, h, w), labels (B, h, w)",
        logits,
        labels,
    )
    held = logits.float().softmax(dim=1)
    true = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)[:, None, None]
    shared = (held * true).sum(dim=(2, 3))
    return shared, held.sum(dim=(2, 3)) + true.sum(dim=(2, 3)) - shared


def semantic_diversity(regions: Tensor) -> Tensor:
    """Semantic Diversity: mean cosine similarity of all pairs of an image's region vectors.

    Computed without the pairs: with unit vectors u, the sum over pairs is (‖Σ u‖² - Σ ‖u‖²) / 2. A region vector of
    zeros, an empty region, has cosine 0 with every other and gets no gradient.

    Args:
        regions: Region vectors, (B, R, D), R at least 2.

    Returns:
        The mean over images and pairs, a float32 scalar; not negative where the vectors are not.

    Raises:
        SemreidError: If the shape is another.

    Example:
        >>> semantic_diversity(torch.tensor([[[2.0, 0.0], [3.0, 3.0], [0.0, 0.0]]]))  # 0.7071 / 3 pairs
        tensor(0.2357)
    """
    _require(regions.ndim == 3 and regions.shape[1] > 1, "regions (B, R, D) with R > 1", regions)
    count = regions.shape[1]
    regions = regions.float()
    unit = F.normalize(regions, dim=2, eps=1e-6).where(regions.any(dim=2, keepdim=True), 0.0)
    alone = unit.square().sum(dim=(1, 2))
    return ((unit.sum(dim=1).square().sum(dim=1) - alone) / (count * (count - 1))).mean()


def _require(fits: bool, expected: str, *tensors: Tensor) -> None:
    if not fits or not all(tensor.numel() for tensor in tensors):
        given = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in tensors)
        raise SemreidError(f"expected {expected}, nothing empty; got {given}")
