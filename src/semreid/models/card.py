"""Weights and their card: what a model is, what it was trained on and on which terms, and how good it was."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors.torch import save

from semreid.errors import SemreidError
from semreid.files import atomic_path, write_json
from semreid.functional.calibration import Calibration
from semreid.models.embedder import is_exported
from semreid.models.foreground import Foreground
from semreid.models.model import ReIDModel
from semreid.models.zoo import MODELS, create_model
from semreid.version import __version__
from semreid.weights import read_tensors

FORMAT = 1
CARD, WEIGHTS = "card.json", "model.safetensors"
T = TypeVar("T")


@dataclass(frozen=True)
class Card:
    """What anybody must know of a trained model before using it.

    Attributes:
        model: Arguments of :func:`semreid.models.zoo.create_model` that rebuild it.
        trained_on: Name, counts and digest of the training data, and `before`: the same of the runs it started from.
        terms: Licence terms of the training images and of those of the runs it started from; they bind the weights too.
        seed: Seed of the run.
        metrics: Figures with the data and protocol they were measured on.
        sha256: Digest of the weights file.
        versions: Software that made it.
        calibration: What its scores mean, if it was calibrated.
        format: Version of this card.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    model: dict[str, Any]
    trained_on: dict[str, Any]
    terms: str
    seed: int
    metrics: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON can hold it; without a calibration it is one that older versions read too."""
        content = asdict(self)
        return content if self.calibration else {k: v for k, v in content.items() if k != "calibration"}

    def build(self) -> ReIDModel:
        """Build the model, with random weights."""
        return create_model(**{**self.model, "size": tuple(self.model["size"])})

    def origin(self) -> dict[str, Any]:
        """Return what it was trained on as the card of a model that came from it tells it: without the sketch."""
        return {name: value for name, value in self.trained_on.items() if name != "sketch"}


_ADAPTER = TypeAdapter(Card)
_CALIBRATION = TypeAdapter(Calibration)


def versions() -> dict[str, str]:
    """Return the versions of semreid, PyTorch and Python."""
    return {"semreid": __version__, "torch": torch.__version__, "python": platform.python_version()}


def save_model(folder: Path, model: ReIDModel, card: Card) -> Card:
    """Write weights and card into a folder, each atomically, the card last.

    Args:
        folder: The run folder.
        model: The model.
        card: Its card; digest and versions are filled in.

    Returns:
        The completed card.

    Raises:
        SemreidError: If a file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors)
    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(content)
    complete = replace(card, sha256=sha256(content).hexdigest(), versions=versions())
    write_json(folder / CARD, complete.to_json())
    return complete


def card_file(path: Path | str) -> Path:
    """Return where the card of a run folder or card file lies."""
    return Path(path) / CARD if Path(path).is_dir() else Path(path)


def read_card(path: Path | str) -> Card:
    """Read the card of a trained model.

    Args:
        path: A run folder or a card file.

    Returns:
        The card.

    Raises:
        SemreidError: If there is none, it is damaged, or of another version.
    """
    file = card_file(path)
    if not file.is_file():
        raise SemreidError(f"no model card at {file}", fix=f"give a run folder that holds {CARD}, or {_zoo()}")
    content = _read_json(file)
    if (found := content.get("format")) != FORMAT:
        raise SemreidError(
            f"{file} has format {found}; this version of semreid ({__version__}) reads {FORMAT}",
            fix=f"use the version that wrote it ({content.get('versions', {}).get('semreid', 'unknown')})",
        )
    return _validated(_ADAPTER, content, file)


def save_calibration(path: Path | str, calibration: Calibration) -> None:
    """Put a calibration into the card of a model, in place of any other.

    Args:
        path: A run folder or a card file.
        calibration: The calibration.

    Raises:
        SemreidError: If there is no card, or it cannot be written.
    """
    write_json(card_file(path), replace(read_card(path), calibration=calibration).to_json())


def read_calibration(path: Path | str) -> Calibration | None:
    """Read a calibration from wherever one is kept.

    Args:
        path: A run folder, a card file, an exported file, or the ``calibration.json`` of a calibration report.

    Returns:
        The calibration, or None if the card has none or the exported file computes in int8.

    Raises:
        SemreidError: If there is no such file, or it is damaged.
    """
    from semreid.models.exported import load_exported

    if is_exported(path):
        return load_exported(Path(path)).calibration
    file = card_file(path)
    if not file.is_file():
        raise SemreidError(
            f"no calibration at {file}", fix="give a calibrated run folder, its card or calibration.json"
        )
    found = _read_json(file).get("calibration")
    return None if found is None else _validated(_CALIBRATION, found, file)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SemreidError(f"{file} is damaged: {error}", fix="copy the run folder again") from error
    if not isinstance(content, dict):
        raise SemreidError(f"{file} is damaged: it holds no object", fix="copy the run folder again")
    return content


def _validated(adapter: TypeAdapter[T], content: object, file: Path) -> T:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise SemreidError(f"{file}: '{'.'.join(map(str, first['loc']))}': {first['msg']}") from error


def load_model(path: Path | str) -> ReIDModel:
    """Load a trained model, ready to embed.

    Args:
        path: A run folder, a card file, or a zoo name for an untrained model.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        SemreidError: If there is no such model, or its files are damaged or do not belong together.
    """
    if str(path) in MODELS and not Path(path).exists():
        return create_model(str(path), num_ids=1).eval()
    card = read_card(path)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    weights = folder / WEIGHTS
    tensors = read_tensors(weights)
    if sha256(weights.read_bytes()).hexdigest() != card.sha256:
        raise SemreidError(f"{weights} is not the file that its card describes", fix="copy the run folder again")
    model = card.build()
    model.load_state_dict(tensors)
    model.calibration = card.calibration
    return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def start_from(model: ReIDModel, run: Path | str) -> str:
    """Give a model the weights of another: all of the trunk, and of heads of the same name whatever has the same shape.

    Args:
        model: The model to fill.
        run: Run folder or card file of the other.

    Returns:
        What was taken, in words.

    Raises:
        SemreidError: If there is no such model, or its trunk is another.
    """
    own, found = model.state_dict(), load_model(run).state_dict()
    taken = {name: tensor for name, tensor in found.items() if name in own and own[name].shape == tensor.shape}
    if lost := [name for name in own if name.startswith("trunk.") and name not in taken]:
        raise SemreidError(
            f"the trunk of {run} does not fit this model: '{lost[0]}' and {len(lost) - 1} more",
            fix="set model.trunk and model.width as in the recipe.yaml of that run",
        )
    model.load_state_dict(taken, strict=False)
    return f"from {run}: trunk" + "".join(f", {_share_taken(name, own, taken)}" for name in model.heads)


def parser_arguments(run: Path | str) -> dict[str, Any]:
    """Return what rebuilds the parser of a run: the ``foreground`` of :func:`semreid.models.zoo.create_model`.

    Args:
        run: Run folder or card file of a parser.

    Returns:
        ``trunk``, ``width``, ``last_stride`` and ``size``.

    Raises:
        SemreidError: If there is no such model, or it is no parser.
    """
    model = read_card(run).model
    if model["name"] != "parser":
        raise SemreidError(
            f"the foreground is found by a parser, and {run} is a model named {model['name']}",
            fix="train one with recipes/tiny/parser.yaml, and give its run folder",
        )
    return {name: model[name] for name in ("trunk", "width", "last_stride", "size")}


def fill_foreground(foreground: Foreground, run: Path | str) -> None:
    """Give the part of a model that fades the background the weights of a parser.

    Args:
        foreground: What to fill; built with :func:`parser_arguments` of the same run.
        run: Run folder or card file of the parser.

    Raises:
        SemreidError: If there is no such model.
    """
    parser = load_model(run)
    foreground.trunk.load_state_dict(parser.trunk.state_dict())
    foreground.parser.load_state_dict(parser.heads["parser"].state_dict())


def _share_taken(head: str, own: Iterable[str], taken: Iterable[str]) -> str:
    wanted, got = (sum(name.startswith(f"heads.{head}.") for name in names) for names in (own, taken))
    return f"{head} head" if got == wanted else f"{head} head in part" if got else f"not the {head} head"


def _zoo() -> str:
    return f"a zoo name ({', '.join(MODELS)})"
