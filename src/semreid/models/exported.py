"""Running exported files: the same ``embed`` as a model's, computed by onnxruntime or OpenVINO."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter

from semreid.errors import SemreidError
from semreid.functional.calibration import Calibration
from semreid.functional.distance import unit_rows
from semreid.models.embedder import Embedder, Join
from semreid.models.parts import Parts, RawParts, normalise_parts, read_parts
from semreid.reading import Object, brief, parse_json, read_bytes, reading
from semreid.version import __version__
from semreid.weights import MOST

FORMAT = 2
KEY = "semreid"
"""Name of the metadata entry in both formats."""
INPUT = "images"
OUTPUTS = ("embedding", "norm", "region_vectors", "visibility", "regions")
"""Unit vectors (B, dim) and their lengths before (B, 1). Of models with body regions, also: raw vectors (B, R, C),
zeros where a region is not visible; the share of each (B, R); and the region of every position (B, h, w), uint8."""
EXPORT_AGAIN = "export the model again with `semreid export`"
UNSIGNED = "0" * 64
"""What a file holds in place of its own digest while that is computed."""
_SIGNATURE = re.compile(rb'file_sha256(?:"|&quot;): (?:"|&quot;)([0-9a-f]{64})')

Step = Callable[[NDArray[Any]], dict[str, NDArray[Any]]]
"""Maps a batch to `OUTPUTS` by name."""


@dataclass(frozen=True)
class Metadata:
    """What an exported file says about itself.

    Attributes:
        fingerprint: Fingerprint of the model it was made from.
        size: Input height and width.
        dim: Width of the embedding.
        input: ``uint8`` (RGB, NHWC), or ``float32`` (NCHW, normalised by the caller; for other programs).
        precision: ``fp32`` or ``int8``.
        blocks: Width of each head's share of the embedding, in order.
        terms: Licence terms of the training images; they bind this file too.
        card: Card of the model; empty for an untrained one.
        measured: For int8, the data and the mAP before and after.
        weights_sha256: Digest of the weights where they are a file of their own.
        file_sha256: Digest of the file itself, with zeros in its place.
        semreid: Version that wrote it.
        format: Version of this record.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    fingerprint: str
    size: tuple[int, int]
    dim: int
    input: Literal["uint8", "float32"]
    precision: Literal["fp32", "int8"]
    blocks: dict[str, int]
    terms: str
    card: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    file_sha256: str = UNSIGNED
    semreid: str = __version__
    format: int = FORMAT

    def as_read(self, digest: str) -> Metadata:
        """Return what a reader finds in a file of that digest: JSON knows no tuples."""
        found = _ADAPTER.validate_json(json.dumps(asdict(self)))
        return replace(found, file_sha256=digest)


_ADAPTER = TypeAdapter(Metadata)
CALIBRATION = TypeAdapter(Calibration)


class ExportedModel(Embedder):
    """An embedder that runs an exported file on the CPU; several threads may use it at once.

    Args:
        metadata: What the file says about itself.
        step: Runs the graph.
    """

    def __init__(self, metadata: Metadata, step: Step) -> None:
        self.metadata = metadata
        self.size = metadata.size
        self.step = step

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.metadata.dim

    @property
    def blocks(self) -> dict[str, int]:
        """Width of each head's share of the embedding, in order."""
        return self.metadata.blocks

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model it was made from."""
        return self.metadata.fingerprint

    @property
    def join(self) -> Join:
        """As that of the model it was made from."""
        return "plain" if self.metadata.card.get("model", {}).get("join") == "plain" else "equal"

    @property
    def calibration(self) -> Calibration | None:
        """Calibration of the model; None for int8, whose scores differ from those that were calibrated."""
        found = self.metadata.card.get("calibration")
        return None if found is None or self.metadata.precision == "int8" else CALIBRATION.validate_python(found)

    def _embed_rows(self, batch: NDArray[np.uint8], flip: bool, unit: bool) -> NDArray[np.float32]:
        views = self._views(batch, flip)
        if unit and not flip:
            found: NDArray[np.float32] = views[0]["embedding"]
            return found
        raw: NDArray[np.float32] = np.mean([view["embedding"] * view["norm"] for view in views], axis=0)
        return unit_rows(raw) if unit else raw

    def _embed_parts(self, batch: NDArray[np.uint8], flip: bool) -> Parts:
        return normalise_parts([self._raw_parts(view) for view in self._views(batch, flip)])

    def _views(self, batch: NDArray[np.uint8], flip: bool) -> list[dict[str, NDArray[Any]]]:
        """Outputs for images and, if asked, their mirror images; runtimes may refuse to run without any."""
        some = batch if len(batch) else np.zeros((1, *self.size, 3), np.uint8)
        views = [some, np.ascontiguousarray(some[:, :, ::-1])] if flip else [some]
        return [{name: found[: len(batch)] for name, found in self.step(view).items()} for view in views]

    def _raw_parts(self, view: dict[str, NDArray[Any]]) -> RawParts:
        found = {name: torch.from_numpy(array) for name, array in view.items()}
        shares = (found["embedding"] * found["norm"]).split(list(self.metadata.blocks.values()), dim=1)
        blocks = dict(zip(self.metadata.blocks, shares, strict=True))
        return read_parts(blocks, found)


def is_exported(path: Path | str) -> bool:
    """Tell by its name whether a path is that of an exported file.

    Args:
        path: What a user gave as a model.

    Example:
        >>> is_exported("person.onnx"), is_exported("runs/first")
        (True, False)
    """
    return Path(path).suffix in (".onnx", ".xml")


def signed(content: bytes) -> tuple[bytes, str]:
    """Put the digest of a file where its metadata has zeros.

    Args:
        content: The file.

    Returns:
        The file that `load_exported` takes for undamaged, and the digest.
    """
    digest = sha256(content).hexdigest()
    return content.replace(UNSIGNED.encode(), digest.encode(), 1), digest


def _verified(path: Path) -> bytes:
    """Read a file, and compare it with the digest that it states, before any runtime sees it."""
    content = read_bytes(path, MOST)
    found = _SIGNATURE.search(content)
    if found and found[1].decode() != sha256(content.replace(found[1], UNSIGNED.encode(), 1)).hexdigest():
        raise SemreidError(f"{path} is damaged: it is not what was exported", fix=f"copy it again, or {EXPORT_AGAIN}")
    return content


def load_exported(path: Path | str) -> ExportedModel:
    """Load an exported file for embedding crops.

    Args:
        path: A ``.onnx`` file, or the ``.xml`` file of an OpenVINO pair.

    Raises:
        SemreidError: If there is none, it is damaged, semreid did not make it, it is not for crops, or the
            runtime is not installed.
    """
    loaded = open_exported(path)
    if loaded.metadata.input != "uint8":
        raise SemreidError(
            f"{path} takes images that other programs have normalised (it was exported with --float-input)",
            fix="export the model without --float-input",
        )
    return loaded


def open_exported(path: Path | str) -> ExportedModel:
    """Open an exported file, also one that takes images which other programs have normalised.

    Args:
        path: A ``.onnx`` file, or the ``.xml`` file of an OpenVINO pair.

    Returns:
        What runs it; it embeds crops only where its metadata say ``uint8``.

    Raises:
        SemreidError: As `load_exported`, but for what it takes.
    """
    path = Path(path)
    if not path.is_file():
        raise SemreidError(f"no exported model at {path}", fix="make one with `semreid export`")
    return _open_openvino(path) if path.suffix == ".xml" else _open_onnx(path)


def _open_onnx(path: Path) -> ExportedModel:
    """Open an ONNX file with onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise SemreidError("onnxruntime is not installed", fix="pip install 'semreid[export]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    content = _verified(path)
    with _loading(path, "onnxruntime"):
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def step(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {INPUT: batch}), strict=True))

    return ExportedModel(_metadata(session.get_modelmeta().custom_metadata_map.get(KEY), path), step)


def _open_openvino(path: Path) -> ExportedModel:
    """Open an OpenVINO pair of files, of which this is the ``.xml``."""
    try:
        import openvino
    except ImportError as error:
        raise SemreidError("OpenVINO is not installed", fix="pip install 'semreid[openvino]'") from error
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise SemreidError(f"{path} lacks its weights, {weights}", fix="keep the two files side by side")
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    _verified(path)
    with _loading(path, "OpenVINO"):
        graph = core.read_model(str(path), str(weights))
        network = core.compile_model(graph, "CPU", exact)
        content = graph.get_rt_info(KEY).astype(str) if graph.has_rt_info(KEY) else None
    metadata = _metadata(content, path)
    if sha256(weights.read_bytes()).hexdigest() != metadata.weights_sha256:
        raise SemreidError(f"{weights} does not belong to {path}, or is damaged", fix=EXPORT_AGAIN)

    names = [output.any_name for output in network.outputs]

    def step(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        found = network.create_infer_request().infer({INPUT: batch})
        return {name: found[name] for name in names}

    return ExportedModel(metadata, step)


def _metadata(content: str | None, path: Path) -> Metadata:
    if content is None:
        raise SemreidError(f"{path} was not made by semreid: it lacks the '{KEY}' metadata", fix=EXPORT_AGAIN)
    found = parse_json(content, Object, path, EXPORT_AGAIN)
    if found.get("format") != FORMAT:
        raise SemreidError(
            f"{path} has format {brief(found.get('format'))}; this version of semreid ({__version__}) reads {FORMAT}",
            fix=EXPORT_AGAIN,
        )
    if "file_sha256" not in found and found.keys() - {field.name for field in fields(Metadata)}:
        raise SemreidError(f"{path} is damaged: what it says of itself has no digest", fix=EXPORT_AGAIN)
    with reading(path, EXPORT_AGAIN):
        return _ADAPTER.validate_python(found)


def _loading(path: Path, runtime: str) -> AbstractContextManager[None]:
    """Runtimes raise whatever comes through from C++."""
    return reading(f"{runtime} cannot load {path}: it", f"{EXPORT_AGAIN}, or update {runtime}")
