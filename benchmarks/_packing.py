"""Turning a run into a model that ships: what inference needs, in half precision, and a card that tells its story.

Matrices and filters are kept in half precision; vectors (of normalisations, mostly) in single precision, for the
variances of some channels lie outside of what half precision can hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from semreid.errors import SemreidError
from semreid.files import write_bytes, write_json
from semreid.models.card import Card, read_card, told_once, versions
from semreid.models.heads import Parser, Texture
from semreid.models.loading import foreground_name, load_model, read_weights
from semreid.models.model import ReIDModel
from semreid.models.shipped import EMBEDDERS, PAINTER, PARSER, USES, Shipped

LICENCE = "Apache-2.0"
_OWN = "foreground."


def pack(run: Path | str, name: str, folder: Path, *, commit: str = "", commands: Sequence[str] = ()) -> Card:
    """Write a run as a model that ships: ``NAME.safetensors`` and ``NAME.json``.

    Args:
        run: Run folder of the model.
        name: Its name from now on.
        folder: Where to write.
        commit: Of the code that made it.
        commands: All that was run to make it, in order.

    Returns:
        Its card, yet without accuracy, speed and calibration.

    Raises:
        SemreidError: If no model of that name may ship, the run is no such model, its weights do not fit into half
            precision, or it fades the background by another parser than ``people-parser``.
    """
    model, card = load_model(run), read_card(run)
    _require_kind(model, name)
    parser = _parser_digest(model, folder)
    tensors = {n: halved(n, t) for n, t in model.inference_state().items() if not (parser and n.startswith(_OWN))}
    content = save(tensors)
    write_bytes(folder / f"{name}.safetensors", content)
    start = " and ".join(sorted(starts(card.trained_on)))
    licence = {"code": LICENCE, "weights": LICENCE, "start": start.replace("scratch", "random weights")}
    complete = Card(
        model={**card.model, "num_ids": 1},
        trained_on=without_paths(card.trained_on),
        terms=card.terms,
        seed=card.seed,
        sha256=sha256(content).hexdigest(),
        versions=versions() | card.versions,
        shipped=Shipped(name, "", 0, 0, licence, commit, tuple(commands), parser),
    )
    write_json(folder / f"{name}.json", complete.to_json())
    return describe(folder / f"{name}.json")


def describe(file: Path) -> Card:
    """Complete the card of a model that was just written with what the model, as it is loaded, says of itself."""
    card, model = read_card(file), load_model(file)
    assert card.shipped is not None
    numbers = model.info()
    known = replace(
        card.shipped,
        fingerprint=model.fingerprint,
        parameters=numbers["parameters_without_classifiers"],  # type: ignore[arg-type]
        macs=numbers["macs"],  # type: ignore[arg-type]
    )
    complete = replace(card, shipped=known)
    write_json(file, complete.to_json())
    return complete


def halved(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor as it is kept: matrices and filters in half precision.

    Args:
        name: Its name, for the error message.
        tensor: The tensor.

    Returns:
        Half precision for two dimensions and more; else as it was.

    Raises:
        SemreidError: If a value is not finite, or too large.
    """
    kept = (tensor.half() if tensor.ndim > 1 else tensor).detach().cpu().contiguous()
    if not bool(torch.isfinite(kept).all()):
        raise SemreidError(f"'{name}' does not fit into half precision", fix="train with weight decay, or clip it")
    return kept


def starts(trained_on: Mapping[str, Any]) -> set[str]:
    """Return what a model and those that it came from began with: ``scratch``, or files of weights.

    Args:
        trained_on: Of a card.

    Example:
        >>> starts({"pretrained": "first", "before": {"pretrained": {"pretrained": "scratch"}}})
        {'scratch'}
    """
    before = trained_on.get("before", {})
    own = {str(trained_on["pretrained"])} if "pretrained" in trained_on and "pretrained" not in before else set()
    return own.union(*map(starts, before.values()))


def without_paths(trained_on: Mapping[str, Any]) -> dict[str, Any]:
    """Return an origin that names runs by their folders' names, wherever they lay on the machine that made them.

    What these came from is told once for each (`semreid.models.card.told_once`).
    """
    plain = {
        name: _name(value) if name in ("pretrained", "foreground") else value for name, value in trained_on.items()
    }
    if "before" in plain:
        plain["before"] = {
            _name(role): without_paths(told_once(origin)) for role, origin in trained_on["before"].items()
        }
    return plain


def _name(path: str) -> str:
    return Path(path).name


def _require_kind(model: ReIDModel, name: str) -> None:
    heads = [type(head) for head in model.heads.values()]
    fits = {PARSER: Parser in heads, PAINTER: Texture in heads and not model.dim} | dict.fromkeys(EMBEDDERS, model.dim)
    if name not in fits:
        raise SemreidError(f"no model ships as {name!r}", fix=f"choose one of {', '.join(USES)}")
    if not fits[name]:
        raise SemreidError(f"{name} is for {USES[name]}, and this model ({', '.join(model.heads)}) is not")


def _parser_digest(model: ReIDModel, folder: Path) -> str:
    """Digest of the parser's file, whose weights those of a model's foreground must be."""
    if model.foreground is None:
        return ""
    file = folder / f"{PARSER}.json"
    if not file.is_file():
        raise SemreidError(f"the model fades the background by a parser, and there is no {file}", fix="pack it first")
    card = read_card(file)
    theirs = {foreground_name(name): tensor for name, tensor in read_weights(card, file).items()}
    ours = {n: halved(n, t) for n, t in model.inference_state().items() if n.startswith(_OWN)}
    if ours.keys() != theirs.keys() or any(not torch.equal(ours[name], theirs[name]) for name in ours):
        raise SemreidError(
            f"the model fades the background by another parser than {file}",
            fix=f"pack the parser that it learned with as {PARSER} first",
        )
    return card.sha256
