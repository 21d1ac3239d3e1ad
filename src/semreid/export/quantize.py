"""Eight-bit weights and activations, calibrated on training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.data.images import read_image, resize
from semreid.data.sample import Sample
from semreid.files import temporary_folder
from semreid.models.exported import INPUT
from semreid.parallel import parallel

CALIBRATION_IMAGES = 256
BATCH = 8
OPERATORS = ["Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool"]
"""What is computed in int8; pooling to a vector, necks and normalisation stay in float."""
MAPS = {"Conv", "Relu", "Add", "MaxPool"}
"""What makes maps. A sum of anything else stays in float: those of a white balance are too small for eight bits."""


def quantize(graph: Any, samples: Sequence[Sample], size: tuple[int, int]) -> Any:  # noqa: ANN401 - onnx is optional
    """Quantise a graph statically: per-channel int8 weights, uint8 activations.

    Args:
        graph: The float graph (``onnx.ModelProto``).
        samples: Training images; up to 256 of them, evenly spread, tell the ranges of the activations.
        size: Input height and width.

    Raises:
        SemreidError: If an image cannot be read.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    chosen = np.unique(np.linspace(0, len(samples) - 1, CALIBRATION_IMAGES).round().astype(int))
    images = np.stack(parallel(lambda i: resize(read_image(samples[i]), size), chosen.tolist()))
    with temporary_folder() as folder:
        plain, prepared, quantised = (folder / f"{name}.onnx" for name in ("plain", "prepared", "quantised"))
        plain.write_bytes(graph.SerializeToString())
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantised,
            _Reader(images),
            op_types_to_quantize=OPERATORS,
            nodes_to_exclude=other_sums(onnx.load(prepared).graph),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )
        return onnx.load(quantised)


def other_sums(graph: Any) -> list[str]:  # noqa: ANN401 - onnx is optional
    """Name the ``Add`` nodes of an ``onnx.GraphProto`` that are not sums of maps, as a residual connection is one."""
    maker = {output: node.op_type for node in graph.node for output in node.output}
    return [
        node.name
        for node in graph.node
        if node.op_type == "Add" and not all(maker.get(each) in MAPS for each in node.input)
    ]


class _Reader:
    """Hands out images batch by batch, in the shape that onnxruntime's calibrators ask for."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.batches = iter(images[i : i + BATCH] for i in range(0, len(images), BATCH))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}
