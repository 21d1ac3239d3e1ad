"""A small model in a run folder, and the files exported from it."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from semreid.data.images import resize
from semreid.export import Exported, export_model, graph
from semreid.models.card import Card, save_model
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from tests.conftest import draw_figure

ARGUMENTS = {"name": "baseline", "num_ids": 4321, "trunk": "resnet18", "width": 0.125, "size": [128, 64]}


@pytest.fixture(scope="session")
def crops() -> list[np.ndarray]:
    """Crops of several sizes, some as large as the input of the model."""
    sizes = [(128, 64), (128, 64), (90, 40), (300, 100), (64, 80)]
    return [draw_figure(pid, camid, 0, *sizes[pid]) for pid in range(5) for camid in (1, 2)]


@pytest.fixture(scope="session")
def model(crops: list[np.ndarray]) -> ReIDModel:
    """A model with random weights whose batch statistics are those of the crops."""
    torch.manual_seed(0)
    built = create_model(**{**ARGUMENTS, "size": (128, 64)})
    images = torch.stack([torch.from_numpy(crop) for crop in crops[:4]]).permute(0, 3, 1, 2)
    with torch.no_grad():
        for _ in range(20):
            built(images)
    return built.to(memory_format=torch.channels_last).eval()


@pytest.fixture(scope="session")
def magnifiernet(crops: list[np.ndarray]) -> ReIDModel:
    """A model that knows body regions, with random weights and batch statistics of the crops."""
    torch.manual_seed(0)
    built = create_model("magnifiernet", 3, trunk="resnet18", width=0.125, size=(64, 32))
    with torch.no_grad():
        for _ in range(20):
            built(torch.stack([torch.from_numpy(resize(crop, built.size)) for crop in crops]).permute(0, 3, 1, 2))
    return built.eval()


@pytest.fixture(scope="session")
def run_folder(model: ReIDModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(folder, model, Card(model=ARGUMENTS, trained_on={}, terms="figures: free for all", seed=0))
    return folder


@pytest.fixture(scope="session")
def onnx_file(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_model(run_folder, tmp_path_factory.mktemp("onnx") / "person.onnx")


@pytest.fixture(scope="session")
def openvino_file(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_model(run_folder, tmp_path_factory.mktemp("openvino") / "person.xml", kind="openvino")


@pytest.fixture(scope="session")
def to_onnx() -> Callable[[nn.Module, torch.Tensor], Any]:
    """The exporter itself."""
    return graph.to_onnx


@pytest.fixture(scope="package", autouse=True)
def each_graph_once(to_onnx: Callable[[nn.Module, torch.Tensor], Any]) -> Iterator[None]:
    """Tracing takes seconds, so equal networks are traced once, by the tests of this folder alone."""
    graphs: dict[tuple[str, str, bytes], Any] = {}

    def remembered(network: nn.Module, images: torch.Tensor) -> Any:
        state = b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())
        key = repr(network), str(getattr(network.model, "architecture", "")), state
        if key not in graphs:
            graphs[key] = to_onnx(network, images)
        return copy.deepcopy(graphs[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "to_onnx", remembered)
        yield
