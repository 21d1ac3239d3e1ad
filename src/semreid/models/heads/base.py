"""The whole contract between a model and its heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.models.trunk import Maps

Supervision = Literal["regions", "textures", "attributes"]
"""What the losses of a head may read of a data set, beside images and identities (docs/data.md)."""
REGIONS = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg", "foot")
"""Names of the part labels 0 to 7 of masks."""


def imprint(classifier: nn.Linear, means: Tensor) -> None:
    """Let a classifier begin with the directions of the mean features of all identities, (num_ids, D)."""
    with torch.no_grad():
        classifier.weight.copy_(F.normalize(means.float()))


class Head(nn.Module):
    """Reads named maps; in training it returns named losses, at inference at most one embedding block.

    A head may also write maps, in both methods, for later heads or for the user: body regions are ``regions``
    (B, h, w), indices into `REGIONS`, and vectors of the last R of them ``region_vectors`` (B, R, C).
    ``dim`` is the width of its embedding block, 0 if it has none. Submodules and buffers that serve training only
    are named in ``training_only``: they do not count and are not exported. ``needs`` names the fields of the batch
    beyond images and labels that the losses read. Synthetic images that join a batch (``Batch.synthetic``) are shown
    only to heads that name in ``synthetic_maps`` what they read of them, and get no other map then; to all others the
    batch is that of the real ones. ``weights`` are what its losses weigh unless a recipe says otherwise; 1 for those
    that it does not name.
    """

    dim: int = 0
    training_only: tuple[str, ...] = ()
    needs: tuple[Supervision, ...] = ()
    synthetic_maps: tuple[str, ...] = ()
    weights: Mapping[str, float] = {}

    def losses(self, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses of a batch: named, unweighted scalars.

        Args:
            maps: Trunk maps and what earlier heads added.
            batch: The batch the maps were computed from.
        """
        raise NotImplementedError

    def imprint(self, means: Tensor) -> None:
        """Let new classifiers begin with what is known of the people: the directions of their mean embeddings.

        A classifier that begins at random first spoils what the trunk knows (Qi et al., CVPR 2018, for new classes).
        This is for heads that have one for their embedding block, named ``classifier``; others do nothing.

        Args:
            means: Mean embedding block of each training identity, (num_ids, dim).
        """
        classifier = getattr(self, "classifier", None)
        if isinstance(classifier, nn.Linear) and classifier.weight.shape == means.shape:
            imprint(classifier, means)

    def embed(self, maps: Maps) -> Tensor | None:
        """Compute the head's embedding block (B, dim), or None if it has none.

        Args:
            maps: Trunk maps and what earlier heads added.
        """
        raise NotImplementedError
