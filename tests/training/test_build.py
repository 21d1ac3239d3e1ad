from pathlib import Path

import pytest
import torch

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.training.build import build_model
from semreid.training.loop import train
from tests.training.test_loop import recipe


def test_no_silent_random_weights(figure_data: ReIDDataset, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="starts from ImageNet weights of resnet18") as caught:
        train(recipe(model={"weights": "imagenet"}), figure_data, tmp_path / "run")
    assert "model.weights=scratch" in caught.value.fix
    with pytest.raises(SemreidError, match="no weights file at"):
        train(recipe(model={"weights": str(tmp_path / "none.pth")}), figure_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pretrained_trunk_is_where_training_starts(tmp_path: Path) -> None:
    source = build_model(recipe(), 3).trunk.state_dict()
    source["conv1.weight"] = torch.full_like(source["conv1.weight"], 0.5)
    torch.save(source, tmp_path / "trunk.pth")
    model = build_model(recipe(model={"weights": str(tmp_path / "trunk.pth")}), 3)
    assert model.trunk.conv1.weight.unique().tolist() == [0.5]
