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


def quantize(graph: Any, samples: Sequence[Sample], size: tuple[int, int]) -> Any:  # noqa: ANN401 - onnx is optional
    """Quantise a graph statically: per-channel int8 weights, uint8 activations.

    Args:
        graph: The float graph (``onnx.ModelProto``).
        samples: Training images; up to 256 of them, evenly spread, tell the ranges of the activations.
        size: Input height and width.

    Returns:
        The quantised graph.

    Raises:
        SemreidError: If an image cannot be read.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images = calibration_images(samples, size)
    with temporary_folder() as folder:
        plain, prepared, quantised = (folder / f"{name}.onnx" for name in ("plain", "prepared", "quantised"))
        plain.write_bytes(graph.SerializeToString())
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantised,
            _Reader(images),
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )
        return onnx.load(quantised)


def calibration_images(samples: Sequence[Sample], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read up to 256 images, evenly spread over the samples.

    Args:
        samples: The samples.
        size: Height and width.

    Returns:
        RGB (N, height, width, 3).

    Raises:
        SemreidError: If an image cannot be read.
    """
    chosen = np.unique(np.linspace(0, len(samples) - 1, CALIBRATION_IMAGES).round().astype(int))
    return np.stack(parallel(lambda i: resize(read_image(samples[i]), size), chosen.tolist()))


class _Reader:
    """Hands out images batch by batch, in the shape that onnxruntime's calibrators ask for."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.batches = iter(images[i : i + BATCH] for i in range(0, len(images), BATCH))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}
