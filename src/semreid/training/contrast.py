"""What a batch of groups is learned by: contrast with proxies of the groups, and losses of heads."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn

from semreid.data.batch import Batch
from semreid.data.sampler import Indices
from semreid.functional.grouping import Groups
from semreid.functional.proxies import camera_contrast, group_proxies, moved_proxies, proxy_contrast
from semreid.models.model import ReIDModel
from semreid.training.recipe import ContrastRecipe


def learning_heads(model: ReIDModel, weighed: Collection[str] = ()) -> list[str]:
    """Name the heads that learn from groups by losses of their own: the global branch, and those that somebody weighs.

    The others learn by the contrast of the joined embedding alone: their own losses, which take each group for a
    person, hold back more than they teach (docs/adapt.md#how-good-is-it). What needs textures or attributes rests.

    Args:
        model: The model.
        weighed: Names of losses, such as ``fusion.id``.

    Returns:
        Names of heads.
    """
    wanted = {"identity", *(name.partition(".")[0] for name in weighed)}
    unknown = {"textures", "attributes"}
    return [name for name, head in model.named_heads() if name in wanted and unknown.isdisjoint(head.needs)]


class GroupContrast(nn.Module):
    """The losses of a batch: the contrast of the joined embedding with proxies of the groups, and those of heads.

    The proxies move with the batches that pass.

    Args:
        recipe: What weighs how much.
        model: The model that learns.
        features: Embeddings of all crops (N, D).
        groups: Group of each, (N,); -1 for none.
        cameras: Camera of each, (N,); None where fewer than two are known.
        learning: Names of the heads that learn by their own losses, too.
    """

    def __init__(
        self,
        recipe: ContrastRecipe,
        model: ReIDModel,
        features: Tensor,
        groups: Groups,
        cameras: Indices | None,
        learning: Collection[str],
    ) -> None:
        super().__init__()
        self.recipe, self.model, self.learning = recipe, model, learning
        self.proxies = group_proxies(features, torch.from_numpy(groups), int(groups.max()) + 1)
        self.cells: Tensor | None = None
        if cameras is not None and recipe.cameras:
            grouped = groups >= 0
            seen, cell = np.unique(np.stack([groups, cameras])[:, grouped], axis=1, return_inverse=True)
            self.cells = torch.from_numpy(seen)  # group and camera of each proxy
            members = features[torch.from_numpy(grouped)]
            self.cell_proxies = group_proxies(members, torch.from_numpy(cell.ravel()), seen.shape[1])

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each contrast that counts, by the name of its loss."""
        weights = {"contrast.groups": self.recipe.weight} if self.recipe.weight else {}
        return weights | ({} if self.cells is None else {"contrast.cameras": self.recipe.cameras})

    def to_device(self, device: torch.device) -> None:
        """Move the proxies beside the model."""
        self.proxies = self.proxies.to(device)
        if self.cells is not None:
            self.cells, self.cell_proxies = self.cells.to(device), self.cell_proxies.to(device)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses by name, and move the proxies."""
        wanted, groups = self.recipe, batch.pids
        losses, joined = self.model.losses_and_embedding(batch, self.learning)
        if wanted.weight:
            losses["contrast.groups"] = proxy_contrast(joined, groups, self.proxies, wanted.temperature)
        self.proxies = moved_proxies(self.proxies, joined, groups, wanted.momentum)
        if self.cells is not None:
            owners, cameras = self.cells
            losses["contrast.cameras"] = camera_contrast(
                joined, groups, self.cell_proxies, owners, wanted.camera_temperature
            )
            own = (groups[:, None] == owners) & (batch.camids[:, None] == cameras)
            self.cell_proxies = moved_proxies(self.cell_proxies, joined, own.int().argmax(1), wanted.momentum)
        return losses
