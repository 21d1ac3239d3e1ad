import numpy as np
import torch
from torch import nn

from semreid.training.contrast import GroupContrast
from semreid.training.recipe import ContrastRecipe


def test_crops_of_no_group_stand_against_nobody() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [5.0, 0.0], [0.0, 6.0]])
    groups, cameras = np.array([0, 1, -1, 0, -1]), np.array([1, 1, 1, 2, 3])
    contrast = GroupContrast(ContrastRecipe(cameras=1.0), nn.Identity(), features, groups, cameras, [])
    assert contrast.cells.tolist() == [[0, 0, 1], [1, 2, 1]]
    assert contrast.cell_proxies.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert contrast.proxies.tolist() == [[1, 0], [0, 1]]
