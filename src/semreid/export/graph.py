"""From a model to an ONNX graph: pixels in, unit vectors out."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semreid.errors import SemreidError
from semreid.models.exported import INPUT, OUTPUTS
from semreid.models.model import ReIDModel
from semreid.models.parts import read_parts
from semreid.models.trunk import Maps

OPSET = 18


class _Crops(nn.Module):
    """What the graph computes for crops, RGB uint8 (B, H, W, 3)."""

    def __init__(self, model: ReIDModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.outputs(self.model.maps(images.permute(0, 3, 1, 2)))

    def outputs(self, maps: Maps) -> tuple[Tensor, ...]:
        raw = self.model.embed_maps(maps)
        norm = torch.linalg.vector_norm(raw, dim=1, keepdim=True)
        vectors = raw / norm.clamp(min=1e-12), norm
        if "region_vectors" not in maps:
            return vectors
        parts = read_parts({}, maps)
        return (*vectors, parts.regions, parts.visibility, parts.labels.to(torch.uint8))


class _Normalised(_Crops):
    """For other programs: the same from float32 (B, 3, H, W) that had mean and deviation of ImageNet removed."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.outputs(self.model.maps(images * self.model.std + self.model.mean))


def crops_to_vectors(model: ReIDModel, *, float_input: bool = False) -> nn.Module:
    """Wrap a model, on the CPU, into what its graph computes, in evaluation mode.

    It returns the first of `OUTPUTS`, or all if the model knows body regions. With ``float_input`` it takes, for other
    programs, float32 (B, 3, H, W) without mean and deviation of ImageNet instead of uint8 (B, H, W, 3).
    """
    return (_Normalised if float_input else _Crops)(model).eval()


def example_input(model: ReIDModel, images: int, *, float_input: bool = False) -> Tensor:
    """Return smooth random pictures: uint8 (B, H, W, 3), or float32 (B, 3, H, W) in the form for other programs."""
    coarse = torch.rand(images, 3, 8, 4, generator=torch.Generator().manual_seed(0))
    pictures = F.interpolate(coarse, model.size, mode="bilinear")
    if float_input:
        return (pictures - model.mean) / model.std
    return (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def to_onnx(network: nn.Module, images: Tensor) -> Any:  # noqa: ANN401 - onnx is optional, its types unknown here
    """Export what :func:`crops_to_vectors` returns as a graph for batches of any size, without traces of this machine.

    ``images`` is an example of its input, two images or more; the graph is an ``onnx.ModelProto``.

    Raises:
        SemreidError: If the exporter is not installed.
    """
    try:
        import onnxscript  # noqa: F401 - torch needs it, and would say so less clearly
    except ImportError as error:
        raise SemreidError("the ONNX exporter is not installed", fix="pip install 'semreid[export]'") from error
    with torch.inference_mode():
        count = len(network(images))
    with _quiet():
        program = torch.onnx.export(
            network,
            (images,),
            input_names=[INPUT],
            output_names=OUTPUTS[:count],
            dynamic_shapes=[{0: torch.export.Dim("batch")}],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return _without_traces(program.model_proto)


def _without_traces(graph: Any) -> Any:  # noqa: ANN401
    """Remove what the exporter notes for debugging: source lines and the paths of this machine."""
    inner = graph.graph
    for part in (graph, inner, *inner.node, *inner.value_info, *inner.input, *inner.output, *inner.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return graph


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own deprecations and of packages that we do not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
