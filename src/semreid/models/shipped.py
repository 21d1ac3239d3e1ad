"""The models in the wheel: their names, where their files lie, and what their cards say beside those of runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from semreid.errors import SemreidError

USES = {
    "people-s": "embeds crops, on one CPU",
    "people-m": "embeds crops, best",
    "people-parser": "part masks",
    "people-painter": "body textures",
}
"""What each model that may ship is for, by name."""
EMBEDDERS = ("people-s", "people-m")
DEFAULT, PARSER, PAINTER = "people-s", "people-parser", "people-painter"
FOLDER = Path(__file__).parents[1] / "shipped"
GET_AGAIN = "install semreid again, or take its files from a complete checkout or wheel"


@dataclass(frozen=True)
class Figures:
    """How good a model is on data that has a name.

    Attributes:
        data: Name of the data.
        metrics: In percent, by name.
        ci95: 95 % intervals of some of them.
    """

    data: str
    metrics: dict[str, float]
    ci95: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Speed:
    """How fast a model is.

    Attributes:
        machine: Where it was measured, in words.
        crops_per_second: By runner, such as ``PyTorch, fp32``.
    """

    machine: str
    crops_per_second: dict[str, float]


@dataclass(frozen=True)
class Shipped:
    """What the card of a model that ships says, beside what that of a run does (``benchmarks/make_models.py``).

    Attributes:
        name: Its name.
        fingerprint: Of the model as it is loaded.
        parameters: Numbers that inference uses, those of the parser that fades the background among them.
        macs: Multiplications with addition, for one crop.
        licence: Licences of ``code``, ``weights``, and ``start``: what the weights were before they learned.
        commit: Of the code that made it.
        commands: All that was run to make it, in order.
        parser: Digest of the weights of ``people-parser``, if the model fades the background: it is one and the same,
            so its weights are in that file alone.
        accuracy: Measured on data that was not learned from.
        speed: Measured speed, if it was.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    name: str
    fingerprint: str
    parameters: int
    macs: int
    licence: dict[str, str]
    commit: str = ""
    commands: tuple[str, ...] = ()
    parser: str = ""
    accuracy: tuple[Figures, ...] = ()
    speed: Speed | None = None


def folder() -> Path:
    """Return where the models that ship lie: ``NAME.json`` and ``NAME.safetensors``."""
    return FOLDER


def is_shipped(path: Path | str) -> bool:
    """Tell whether what a user gave as a model is the name of one that ships; a run folder of that name goes first.

    Args:
        path: What the user gave.

    Example:
        >>> is_shipped("people-s"), is_shipped("runs/first")
        (True, False)
    """
    return str(path) in USES and not (Path(path) / "card.json").is_file()


def missing(name: str) -> SemreidError:
    """Return the error for a model whose files are not in this installation."""
    others = [other for other in USES if (folder() / f"{other}.json").is_file()]
    has = f"it has {', '.join(others)}" if others else "it has no model at all"
    own = "a model of your own, such as a run folder"
    fix = f"name one that is here, or {own}; not every version comes with {name}: if yours does, {GET_AGAIN}"
    return SemreidError(
        f"this installation of semreid lacks the model {name}, {folder() / name}.*; {has}",
        fix=f"{GET_AGAIN}; or name {own}" if name == DEFAULT else fix,
    )
