"""Classifiers that begin with what a model knows of the people, instead of at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semreid.data.store import Store
from semreid.evaluation.protocol import embed_store
from semreid.functional.grouping import Groups
from semreid.models.model import ReIDModel


def imprint_people(model: ReIDModel, store: Store, *, bf16: bool = True) -> None:
    """Let the classifiers of a model that has learned from others begin with the mean embeddings of new people.

    At random, they would first pull at all that the model knows (``docs/notes/transfer.md``). It takes as long as
    embedding the images; under ``torchrun``, the processes share them.

    Args:
        model: The model, where it is to train, with a class for each identity of the store.
        store: The training images.
        bf16: Compute in it, as training does.
    """
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        features = embed_store(model, store)
    people, labels = np.unique(store.pids, return_inverse=True)
    model.imprint(group_means(torch.from_numpy(features), labels, len(people)))


def group_means(features: Tensor, groups: Groups, num_groups: int) -> Tensor:
    """Compute the mean embedding of each group.

    Args:
        features: Embeddings (N, D).
        groups: Group of each, (N,); -1 for none.
        num_groups: Number of groups G.

    Returns:
        Means (G, D).

    Example:
        >>> group_means(torch.tensor([[1.0], [3.0], [9.0]]), np.array([0, 0, -1]), 1)
        tensor([[2.]])
    """
    members = torch.from_numpy(np.flatnonzero(groups >= 0))
    owner = torch.from_numpy(groups)[members]
    sums = features.new_zeros(num_groups, features.shape[1]).index_add_(0, owner, features[members])
    return sums / owner.bincount(minlength=num_groups)[:, None]
