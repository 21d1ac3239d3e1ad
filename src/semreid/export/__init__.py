"""Exporting a model into one file that runs without it, checked before it is kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from semreid.errors import SemreidError
from semreid.export.agreement import Int8, accepted
from semreid.files import atomic_path, require_suffix, require_writable, temporary_folder, write_bytes
from semreid.models.card import is_untrained, read_card
from semreid.models.exported import KEY, ExportedModel, Metadata, open_exported, signed
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.parallel import Progress

Kind = Literal["onnx", "openvino"]
SUFFIXES: dict[Kind, str] = {"onnx": ".onnx", "openvino": ".xml"}
PARITY = 0.99999
"""Least cosine between the embeddings of a model and of its fp32 file."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: The file, or the pair of files.
        metadata: What it says about itself.
        cosine: Least cosine to the model's embeddings of a few random pictures.
    """

    files: tuple[Path, ...]
    metadata: Metadata
    cosine: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"files": [str(f) for f in self.files], "cosine": self.cosine, **asdict(self.metadata)}


def export_model(
    path: Path | str,
    out: Path | str,
    *,
    kind: Kind = "onnx",
    float_input: bool = False,
    int8: Int8 | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Export a model into a file that embeds as it does, or keep nothing.

    Args:
        path: A run folder, a card file, or a zoo name.
        out: File to write, ``.onnx`` or ``.xml`` (its weights go into a ``.bin`` beside it).
        kind: Format.
        float_input: Take images that the caller has normalised, for other programs (ONNX only).
        int8: Quantise.
        progress: Told how far the decoding is, where data is needed.

    Raises:
        SemreidError: If the model, the data or ``out`` is not usable, an extra is not installed, the file does
            not give the model's embeddings, or int8 costs more than it may or cannot be judged by the data.
    """
    out = Path(out)
    _require_sense(out, kind, float_input, int8)
    files = (out,) if kind == "onnx" else (out, out.with_suffix(".bin"))
    for file in files:
        require_writable(file)
    if not out.exists() and (other := [file for file in files if file.exists()]):
        raise SemreidError(f"{other[0]} is there already, and belongs to no {out}", fix="choose another name for --out")
    model = load_model(path)
    graph, cosine, metadata = _checked_graph(model, kind, float_input, int8, progress)
    if not is_untrained(path):
        card = read_card(path)
        metadata = replace(metadata, terms=card.terms, card=card.to_json())
    metadata = save(graph, metadata, out, kind)
    return Exported(files, metadata, cosine)


def _checked_graph(
    model: ReIDModel, kind: Kind, float_input: bool, int8: Int8 | None, progress: Progress | None
) -> tuple[Any, float, Metadata]:
    from semreid.export.graph import crops_to_vectors, example_input, to_onnx
    from semreid.export.quantize import quantize
    from semreid.export.winograd import with_winograd

    network = crops_to_vectors(model, float_input=float_input)
    images = example_input(model, 4, float_input=float_input)
    own_runner = kind == "onnx" and not (int8 or float_input)  # others bring such tricks, or lower precision
    graph = to_onnx(with_winograd(network, images) if own_runner else network, images)
    if int8:
        graph = quantize(graph, int8.data.train, model.size)
    metadata = Metadata(
        fingerprint=model.fingerprint,
        size=model.size,
        dim=model.dim,
        input="float32" if float_input else "uint8",
        precision="int8" if int8 else "fp32",
        blocks=model.blocks,
        terms="",
    )
    with temporary_folder() as folder:
        trial = folder / f"trial{SUFFIXES[kind]}"
        save(graph, metadata, trial, kind)
        exported = open_exported(trial)
        cosine = least_cosine(network, exported, images)
        if int8:
            metadata = replace(metadata, measured=accepted(model, exported, int8, progress))
        elif not cosine >= PARITY:  # NaN is no agreement either
            raise SemreidError(
                f"the file would not give the model's embeddings (cosine {cosine:.6f} on random pictures)",
                fix="use the other format, and report this with the name of the trunk",
            )
    return graph, cosine, metadata


def _require_sense(out: Path, kind: Kind, float_input: bool, int8: Int8 | None) -> None:
    require_suffix(out, SUFFIXES[kind], f"a file of format {kind}")
    if float_input and (kind != "onnx" or int8):
        raise SemreidError("float input is for other programs, and only for fp32 ONNX", fix="leave out one of the two")
    if int8 and not int8.data.train:
        raise SemreidError(f"{int8.data.name} has no training images to calibrate int8 with", fix="give other data")
    if int8 and not int8.data.protocol.has_map:
        raise SemreidError(f"the protocol of {int8.data.name} has no mAP to judge int8 by", fix="give other data")


def least_cosine(network: nn.Module, exported: ExportedModel, images: Tensor) -> float:
    """Return the least cosine between what a network and its exported form make of images."""
    with torch.inference_mode():
        wanted = network(images)[0].double().numpy()
    found = exported.step(images.numpy())["embedding"].astype(np.float64)
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    return float(((wanted * found).sum(1) / lengths).min())


def save(graph: Any, metadata: Metadata, out: Path, kind: Kind) -> Metadata:  # noqa: ANN401 - onnx is optional
    """Write a graph with its metadata, atomically.

    Args:
        graph: The graph (``onnx.ModelProto``).
        metadata: What it says about itself.
        out: The file.
        kind: Format.

    Raises:
        SemreidError: If OpenVINO is needed and not installed, or the file cannot be written.
    """
    return (_save_onnx if kind == "onnx" else _save_openvino)(graph, metadata, out)


def _save_onnx(graph: Any, metadata: Metadata, out: Path) -> Metadata:  # noqa: ANN401
    import onnx

    onnx.helper.set_model_props(graph, {KEY: json.dumps(asdict(metadata))})
    content, digest = signed(graph.SerializeToString())
    write_bytes(out, content)
    return metadata.as_read(digest)


def _save_openvino(graph: Any, metadata: Metadata, out: Path) -> Metadata:  # noqa: ANN401
    try:
        import openvino
    except ImportError as error:
        raise SemreidError("OpenVINO is not installed", fix="pip install 'semreid[openvino]'") from error
    network = openvino.Core().read_model(graph.SerializeToString())
    with temporary_folder() as folder:  # OpenVINO insists on the names of its files
        description, weights = folder / "network.xml", folder / "network.bin"
        openvino.serialize(network, description, weights)
        metadata = replace(metadata, weights_sha256=sha256(weights.read_bytes()).hexdigest())
        network.set_rt_info(json.dumps(asdict(metadata)), [KEY])
        openvino.serialize(network, description, weights)
        with atomic_path(out) as last, atomic_path(out.with_suffix(".bin")) as first:
            shutil.copyfile(weights, first)
            content, digest = signed(description.read_bytes())
            last.write_bytes(content)
    return metadata.as_read(digest)
