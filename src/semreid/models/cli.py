"""``semreid models``, and the model that other commands are told to use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from semreid import distributed
from semreid.console import Json, draw, say, show, write
from semreid.errors import SemreidError
from semreid.models.card import Card, card_file, is_untrained, learned_from, shipped_cards
from semreid.models.exported import ExportedModel, is_exported
from semreid.models.loading import load_embedder, load_model, read_weights, told_untrained
from semreid.models.model import ReIDModel
from semreid.models.shipped import DEFAULT, USES, folder, is_shipped, missing

_HELP = "Name of a model that ships (`semreid models`), run folder, card file{}, or zoo name (untrained)."
HELP = _HELP.format(", exported file")
Model = Annotated[str, typer.Argument(help=HELP)]
ModelOption = Annotated[str, typer.Option("--model", help=HELP)]
FirstModel = Annotated[str | None, typer.Argument(metavar="MODEL", help=f"{HELP} {DEFAULT} if left out.")]
FirstWithGradients = Annotated[
    str | None, typer.Argument(metavar="MODEL", help=f"{_HELP.format('')} {DEFAULT} if left out.")
]
"""The model before other arguments: where the last of them is missing, the model was left out.

So to the command line none of them is required, and commands ask for what is missing.
"""


def embedder_of(model: str) -> ReIDModel | ExportedModel:
    """Load the model that a user named, onto the GPU if there is one; say so if it never learned anything."""
    return told_untrained(model, load_embedder(model, device=distributed.local_device()))


def model_of(model: str) -> ReIDModel:
    """Load likewise a model that is needed as one: no exported file will do."""
    return told_untrained(model, load_model(model)).to(distributed.local_device())


def no_model(first: str, images: str, what: str) -> Path:
    """Take the first argument for an image, where the last one is missing.

    Args:
        first: What stands where the model does.
        images: What the arguments behind a model are called, for the way out.
        what: What is wrong if it is a model.

    Raises:
        SemreidError: If it is a model.
    """
    named = is_untrained(first) or is_exported(first) or (is_shipped(first) and not Path(first).exists())
    if named or (Path(first).is_dir() and card_file(first).is_file()):
        raise SemreidError(f"{first} is a model, and {what}", fix=f"name what to look at, too: {first} {images}")
    return Path(first)


def models(json_: Json = False) -> None:
    """List the models that come with semreid: size, speed, accuracy, what they learned from, and on which terms."""
    cards = shipped_cards()
    if json_:
        show({"default": DEFAULT, "models": [described(name, cards.get(name)) for name in USES]})
    else:
        _print(cards)
    for name, card in cards.items():
        read_weights(card, folder() / f"{name}.json")  # the digest that was just listed is that of the file


def _print(cards: Mapping[str, Card]) -> None:
    if not cards:
        raise missing(DEFAULT)
    draw(_table(cards))
    for name, card in cards.items():
        write(*_lines(name, card))
    write(*(f"\n{name}: not in this installation" for name in USES if name not in cards))
    say(f"{DEFAULT} is used where no model is named; each `--json` entry holds the commands that made it")


def described(name: str, card: Card | None) -> dict[str, Any]:
    """Say everything that is known of a model that may ship.

    Args:
        name: Its name.
        card: Its card; None if this installation lacks it.
    """
    if card is None or card.shipped is None:
        return {"name": name, "for": USES[name], "present": False}
    facts = {key: value for key, value in asdict(card.shipped).items() if key != "name"}
    calibrated = card.calibration and card.calibration.basis
    return {
        "name": name,
        "for": USES[name],
        "present": True,
        "input": list(card.model["size"]),
        **facts,
        "bytes": _file_size(name),
        "sha256": card.sha256,
        "trained_on": _trained_on(card),
        "terms": card.terms,
        "seed": card.seed,
        "calibrated_on": calibrated,
    }


def _table(cards: Mapping[str, Card]) -> Table:
    table = Table("model", "input", "parameters", "MACs", "file", "crops/s")
    for name, card in cards.items():
        facts = card.shipped
        assert facts is not None
        height, width = card.model["size"]
        fastest = f"{max(facts.speed.crops_per_second.values()):,.0f}" if facts.speed else "-"
        numbers = (f"{facts.parameters / 1e6:.1f} M", f"{facts.macs / 1e9:.2f} G", f"{_file_size(name) / 1e6:.1f} MB")
        table.add_row(name, f"{height}×{width}", *numbers, fastest)
    return table


def _lines(name: str, card: Card) -> Iterable[str]:
    facts = card.shipped
    assert facts is not None
    yield f"\n{name}: {USES[name]}"
    yield f"  learned from: {_trained_on(card)}; began with {facts.licence['start']}"
    for found in facts.accuracy:
        yield f"  on {found.data}: {', '.join(_figures(found.metrics, found.ci95))}"
    if facts.speed:
        rates = ", ".join(f"{runner} {rate:,.0f}" for runner, rate in facts.speed.crops_per_second.items())
        yield f"  crops/s on {facts.speed.machine}: {rates}"
    if card.calibration:
        yield f"  probabilities: {card.calibration.basis}"
    yield f"  licence: code {facts.licence['code']}, weights {facts.licence['weights']}; images: {card.terms}"
    yield f"  sha256 {card.sha256}"


def _figures(metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> Iterable[str]:
    for name, value in metrics.items():
        low_high = intervals.get(name)
        yield f"{name} {value:.1f} %" + (f" [{low_high[0]:.1f}, {low_high[1]:.1f}]" if low_high else "")


def _trained_on(card: Card) -> str:
    sets = learned_from(card.trained_on).values()
    people, images = (sum(each.get(name, 0) for each in sets) for name in ("identities", "images"))
    kinds = sorted({"synthetic people" if each["dataset"] == "people" else each["dataset"] for each in sets})
    return f"{images:,} pictures of {people:,} people ({', '.join(kinds)})"


def _file_size(name: str) -> int:
    file: Path = folder() / f"{name}.safetensors"
    return file.stat().st_size if file.is_file() else 0
