"""Loading models by path or name, and starting one from what another has learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from semreid.console import say
from semreid.errors import SemreidError
from semreid.models.card import COPY_AGAIN, WEIGHTS, card_file, read_card
from semreid.models.exported import ExportedModel, is_exported, load_exported
from semreid.models.foreground import Foreground
from semreid.models.model import ReIDModel
from semreid.models.zoo import MODELS, create_model
from semreid.reading import read_bytes, reading
from semreid.weights import MOST, tensors_in

M = TypeVar("M", bound=ReIDModel | ExportedModel)


def load_model(path: Path | str) -> ReIDModel:
    """Load a trained model, ready to embed.

    Args:
        path: A run folder, a card file, or a zoo name for an untrained model.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        SemreidError: If there is no such model, or its files are damaged or do not belong together.
    """
    if _is_zoo_name(path):
        return create_model(str(path), num_ids=1).eval()
    card = read_card(path)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    content = read_bytes(folder / WEIGHTS, MOST)
    if sha256(content).hexdigest() != card.sha256:
        raise SemreidError(f"{folder / WEIGHTS} is not the file that its card describes", fix=COPY_AGAIN)
    tensors = tensors_in(content, folder / WEIGHTS)
    with reading(card_file(path), COPY_AGAIN):
        with torch.device("meta"):
            _require_shapes(card.build().state_dict(), tensors, folder / WEIGHTS)
        model = card.build()
        model.load_state_dict(tensors)
    model.calibration = card.calibration
    return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def _require_shapes(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], file: Path) -> None:
    """Compare before anything is made, for a card may ask for more than the memory holds."""
    for name in sorted(wanted.keys() | found.keys()):
        asked, there = (tuple(side[name].shape) if name in side else "no such tensor" for side in (wanted, found))
        if asked != there:
            raise SemreidError(
                f"{file} and its card are of different models: '{name}' is {there}, and by the card {asked}",
                fix=COPY_AGAIN,
            )


def load_embedder(path: Path | str, *, device: torch.device | str = "cpu") -> ReIDModel | ExportedModel:
    """Load whatever can embed.

    Args:
        path: A run folder, a card file, a zoo name for an untrained model, or a file that `semreid export` made.
        device: Where a model runs; exported files run on the CPU.

    Returns:
        The embedder.

    Raises:
        SemreidError: If there is none at ``path``, its files are damaged or do not belong together, or it has no
            embedding.

    Example:
        >>> load_embedder("baseline").dim
        2048
    """
    if is_exported(path):
        return load_exported(Path(path))
    model = load_model(path).to(device)
    model.require_embedding()
    return model


def has_random_weights(path: Path | str, model: ReIDModel | ExportedModel) -> bool:
    """Tell whether nobody has trained a model: it was made by its zoo name, or exported from one that was.

    Args:
        path: What it was loaded from.
        model: The model.
    """
    return not model.metadata.card if isinstance(model, ExportedModel) else _is_zoo_name(path)


def told_untrained(path: Path | str, model: M) -> M:
    """Say on stderr that a model has random weights, if it has, and return it.

    Args:
        path: What it was loaded from.
        model: The model.
    """
    if has_random_weights(path, model):
        say(f"warning: {path} is untrained: random weights, whose figures and matches mean nothing", style="yellow")
    return model


def _is_zoo_name(path: Path | str) -> bool:
    return str(path) in MODELS and not Path(path).exists()


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
