"""Weights and their card: what a model is, what it was trained on and on which terms, and how good it was."""

from __future__ import annotations

import difflib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Required

import torch
from pydantic import ConfigDict, GetPydanticSchema, TypeAdapter, ValidatorFunctionWrapHandler, WrapValidator
from safetensors.torch import save
from typing_extensions import TypedDict

from semreid.data.images import is_image
from semreid.errors import SemreidError
from semreid.files import write_bytes, write_json
from semreid.functional.calibration import Calibration
from semreid.models.exported import CALIBRATION, is_exported, load_exported
from semreid.models.model import ReIDModel
from semreid.models.shipped import DEFAULT, GET_AGAIN, USES, Shipped, folder, is_shipped, missing
from semreid.models.zoo import MODELS, Count, Side, Width, create_model
from semreid.reading import Object, brief, read_json, reading
from semreid.version import __version__

FORMAT = 1
CARD, WEIGHTS = "card.json", "model.safetensors"
CALIBRATED = "calibration.json"
"""What a calibration leaves in a folder of its own."""
COPY_AGAIN = "copy the run folder again"
RUN_FOLDER = f"give the run folder, which holds {CARD} and the weights"
_OPEN = ConfigDict(extra="allow")


class _Parser(TypedDict, total=False):
    """What there must be of a model to build it."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    trunk: str
    width: Width
    last_stride: Literal[1, 2]
    size: Required[tuple[Side, Side]]


class _Arguments(_Parser, total=False):
    name: Required[str]
    num_ids: Required[Count]
    foreground: _Parser


class _Origin(TypedDict, total=False):
    """What others ask of the origin of a model."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    dataset: str
    identities: int
    images: int
    sha256: str
    sketch: list[str]
    before: dict[str, _Origin]


def _shaped(shape: object) -> GetPydanticSchema:
    """Have a dictionary validated as one of known keys, of which those of other versions pass."""
    return GetPydanticSchema(lambda _, handler: handler(shape))


def _in_order(content: Any, handler: ValidatorFunctionWrapHandler) -> dict[str, Any]:  # noqa: ANN401 - what JSON holds
    """Keep the order of the keys, so that a card that was read is written as it was."""
    found: dict[str, Any] = handler(content)
    return {key: found[key] for key in content}


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
        shipped: What else is known of a model that ships.
        format: Version of this card.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    model: Annotated[dict[str, Any], _shaped(_Arguments), WrapValidator(_in_order)]
    trained_on: Annotated[dict[str, Any], _shaped(_Origin), WrapValidator(_in_order)]
    terms: str
    seed: int
    metrics: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    shipped: Shipped | None = None
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON can hold it; without what is newer it is one that older versions read too."""
        empty = {name for name in ("calibration", "shipped") if getattr(self, name) is None}
        return {name: value for name, value in asdict(self).items() if name not in empty}

    def build(self) -> ReIDModel:
        """Build the model, with random weights."""
        return create_model(**self.model)

    def origin(self) -> dict[str, Any]:
        """Return what it was trained on as the card of a model that came from it tells it (`told_once`)."""
        return told_once(self.trained_on)

    def parents(self) -> dict[str, Any]:
        """Return the origin of each run that it came from, by name, as that run's own card tells it."""
        return {name: told_once(parent) for name, parent in self.trained_on.get("before", {}).items()}


_ADAPTER = TypeAdapter(Card)


def is_untrained(path: Path | str) -> bool:
    """Tell whether what a user gave as a model is a zoo name, which stands for random weights."""
    return str(path) in MODELS and not Path(path).exists()


def is_run(path: Path | str) -> bool:
    """Tell whether what a user gave as weights has a card: a run folder, its card file, or a model that ships.

    Args:
        path: What the user gave; it need not exist.

    Example:
        >>> is_run("runs/first/card.json"), is_run("people-s"), is_run("resnet50.pth")
        (True, True, False)
    """
    return is_shipped(path) or Path(path).is_dir() or Path(path).suffix == ".json"


def told_once(trained_on: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model was trained on, without the sketch, and with all that came before it, once each.

    What it came from stays under its name; what these came from follows, under digests. Runs that come from one
    another, and means of them, have the same ancestors by many ways: told each time, a card would double with every
    step.

    Args:
        trained_on: Of a card.

    Example:
        >>> first = {"dataset": "people", "pretrained": "scratch"}
        >>> second = {"dataset": "mine", "pretrained": "a", "before": {"pretrained": first}}
        >>> told = told_once({"dataset": "mine", "pretrained": "b", "before": {"pretrained": second}})
        >>> [origin["dataset"] for origin in told["before"].values()]
        ['mine', 'people']
    """
    if "before" not in trained_on:
        return _facts(trained_on)
    parents = trained_on["before"]
    before = {name: _alone(parent) for name, parent in parents.items()}
    known = set(map(_digest, before.values()))
    earlier = {_digest(other): other for parent in parents.values() for other in _earlier(parent)}
    before |= {digest: other for digest, other in earlier.items() if digest not in known}
    return {**_facts(trained_on), "before": before}


def _earlier(trained_on: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for other in trained_on.get("before", {}).values():
        yield _alone(other)
        yield from _earlier(other)


def _facts(trained_on: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trained_on.items() if name not in ("sketch", "before")}


def _alone(trained_on: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of an ancestor: not the names of runs that it came from, of which more is told elsewhere."""
    told = {"pretrained", "foreground"} & trained_on.get("before", {}).keys()
    return {name: value for name, value in _facts(trained_on).items() if name not in told}


def _digest(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def learned_from(trained_on: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the data sets that a model and those that it came from learned from, by their digests.

    Args:
        trained_on: Of a card.

    Example:
        >>> list(learned_from({"sha256": "b", "dataset": "people", "before": {"pretrained": {"sha256": "a"}}}))
        ['a', 'b']
    """
    found: dict[str, Mapping[str, Any]] = {}
    for other in trained_on.get("before", {}).values():
        found |= learned_from(other)
    return found | ({str(trained_on["sha256"]): trained_on} if "sha256" in trained_on else {})


def joined_terms(*terms: str) -> str:
    """Join the licence terms of several data sets or models, each of which is kept once.

    Args:
        *terms: What each of them states, itself perhaps joined.

    Example:
        >>> joined_terms("A: research only", "B: free; A: research only")
        'A: research only; B: free'
    """
    return "; ".join(dict.fromkeys(term for joined in terms for term in joined.split("; ")))


def shipped_cards() -> dict[str, Card]:
    """Read the cards of the models that this installation has, by name.

    Raises:
        SemreidError: If one is damaged or of another version.
    """
    return {name: read_card(name) for name in USES if card_file(name).is_file()}


def shipped_as(fingerprint: str) -> str:
    """Return the name of the model with this fingerprint, if it ships; else nothing."""
    cards = shipped_cards().items()
    return next((name for name, card in cards if card.shipped and card.shipped.fingerprint == fingerprint), "")


def versions() -> dict[str, str]:
    """Return the versions of semreid, PyTorch and Python."""
    return {"semreid": __version__, "torch": torch.__version__, "python": platform.python_version()}


def save_model(folder: Path, model: ReIDModel, card: Card) -> Card:
    """Write weights and card into a folder, each atomically, the card last.

    A calibration that the folder has of the same weights is kept.

    Args:
        folder: The run folder.
        model: The model.
        card: Its card; digest and versions are filled in.

    Raises:
        SemreidError: If a file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors)
    digest = sha256(content).hexdigest()
    before = _card_of_weights(folder, digest)
    write_bytes(folder / WEIGHTS, content)
    calibration = card.calibration if before is None else before.calibration
    complete = replace(card, sha256=digest, versions=versions(), calibration=calibration)
    write_json(folder / CARD, complete.to_json())
    return complete


def _card_of_weights(folder: Path, digest: str) -> Card | None:
    """The card that a folder has of these weights already, if it can be read."""
    try:
        card = read_card(folder)
    except SemreidError:
        return None
    return card if card.sha256 == digest else None


def card_file(path: Path | str) -> Path:
    """Return where the card of a run folder, a card file or a model that ships lies."""
    if is_shipped(path):
        return folder() / f"{path}.json"
    return Path(path) / CARD if Path(path).is_dir() else Path(path)


def read_card(path: Path | str) -> Card:
    """Read the card of a trained model.

    Args:
        path: A run folder, a card file, or the name of a model that ships.

    Raises:
        SemreidError: If there is none, it is damaged, or of another version.
    """
    file = card_file(path)
    if is_exported(file):
        raise SemreidError(f"{file} is exported already: it cannot learn, and has no card", fix=RUN_FOLDER)
    if is_image(file):
        raise SemreidError(
            f"{file} is an image, and no model", fix=f"name a model before the images, or none: then it is {DEFAULT}"
        )
    if file.suffix in (".pth", ".pt", ".safetensors"):
        raise SemreidError(
            f"{file} holds weights, and does not say of which model",
            fix=f"{RUN_FOLDER}; weights of others start a training: semreid train RECIPE model.weights={file} …",
        )
    if not file.is_file():
        raise missing(str(path)) if is_shipped(path) else _no_card(path, file)
    again = GET_AGAIN if file.parent == folder() else COPY_AGAIN
    content = read_json(file, Object, again)
    if (found := content.get("format")) != FORMAT:
        raise SemreidError(
            f"{file} has format {brief(found)}; this version of semreid ({__version__}) reads {FORMAT}",
            fix=f"use the version that wrote it, if this is a card of semreid: {brief(content.get('versions'))}",
        )
    with reading(file, again):
        return parse_card(content)


def parse_card(content: dict[str, Any]) -> Card:
    """Take back what `Card.to_json` returned.

    Args:
        content: The content of a card file.

    Raises:
        ValueError: If it is no card; to be called within `semreid.reading.reading`, which names the file.
    """
    return _ADAPTER.validate_python(content)


def save_calibration(path: Path | str, calibration: Calibration) -> None:
    """Put a calibration into the card of a model, in place of any other.

    Args:
        path: A run folder or a card file.
        calibration: The calibration.

    Raises:
        SemreidError: If there is no card, it cannot be written, or it is that of a model that ships.
    """
    if is_shipped(path):
        raise SemreidError(
            f"{path} ships with semreid, and its card stays as it is",
            fix=f"keep the calibration in a folder of yours: semreid calibrate {path} --data DATA --out DIR, and give "
            "--calibration DIR/calibration.json where you use it",
        )
    write_json(card_file(path), replace(read_card(path), calibration=calibration).to_json())


def read_calibration(path: Path | str) -> Calibration | None:
    """Read a calibration from wherever one is kept.

    Args:
        path: A run folder, a card file, the name of a model that ships, an exported file, or the
            ``calibration.json`` of a calibration report, or the folder of one.

    Returns:
        The calibration, or None if the card has none, the exported file computes in int8, or nothing was trained.

    Raises:
        SemreidError: If there is no such file, or it is damaged.
    """
    if is_untrained(path):
        return None
    if is_exported(path):
        return load_exported(Path(path)).calibration
    file = card_file(path)
    if not file.is_file() and (report := Path(path) / CALIBRATED).is_file():
        file = report
    if not file.is_file():
        raise SemreidError(
            f"no calibration at {file}", fix="give a calibrated run folder, its card or calibration.json"
        )
    found = read_json(file, Object).get("calibration")
    with reading(file):
        return None if found is None else CALIBRATION.validate_python(found)


def _no_card(path: Path | str, file: Path) -> SemreidError:
    """Say what a model can be given by; a name that is nearly right is a slip."""
    if is_untrained(path):
        return SemreidError(
            f"{path} is untrained: no card says what its random weights learned",
            fix=f"train it and give the run folder, or name a model that ships ({', '.join(USES)})",
        )
    close = difflib.get_close_matches(str(path), [*USES, *MODELS], n=1)
    slip = f"did you mean {close[0]}? " if close else ""
    return SemreidError(
        f"no model card at {file}",
        fix=f"{slip}Give a run folder that holds {CARD}, a model that ships ({', '.join(USES)}), or a zoo name "
        f"({', '.join(MODELS)})",
    )
