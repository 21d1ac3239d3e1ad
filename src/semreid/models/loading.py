"""Loading models by path or name, and starting one from what another has learned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from semreid.console import say
from semreid.errors import SemreidError
from semreid.models.card import COPY_AGAIN, WEIGHTS, Card, card_file, is_untrained, read_card
from semreid.models.exported import ExportedModel, is_exported, load_exported
from semreid.models.foreground import Foreground
from semreid.models.model import ReIDModel
from semreid.models.shipped import DEFAULT, GET_AGAIN, PARSER, Shipped, is_shipped
from semreid.models.zoo import create_model
from semreid.reading import read_bytes, reading
from semreid.weights import MOST, tensors_in

M = TypeVar("M", bound=ReIDModel | ExportedModel)


def load_model(path: Path | str = DEFAULT) -> ReIDModel:
    """Load a trained model, ready to embed.

    Args:
        path: The name of a model that ships (`semreid models`), a run folder, a card file, or a zoo name for an
            untrained model.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        SemreidError: If there is no such model, or its files are damaged or do not belong together.
    """
    if is_untrained(path):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same weights in every process
            return create_model(str(path), num_ids=1).eval()
    card, file = read_card(path), card_file(path)
    tensors = read_weights(card, file)
    if card.shipped is not None:
        tensors = _completed(card.shipped, tensors, file)
    with reading(file, COPY_AGAIN):
        with torch.device("meta"), _Undrawn():
            plan = card.build()
            _require_shapes(plan.inference_state() if card.shipped else plan.state_dict(), tensors, file)
        with _Undrawn():
            model = card.build()
        model.load_state_dict(tensors, strict=card.shipped is None)
    model.calibration = card.calibration
    return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


_DRAWS = {nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_}


class _Undrawn(TorchFunctionMode):
    """Leaves zeros where a new model would have random weights: those of the file take their place.

    Besides the draws, it saves the compiler, which PyTorch loads to draw for a model without memory: it takes as long
    to load as PyTorch itself.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        named = kwargs or {}
        return nn.init.zeros_(named.get("tensor", *args[:1])) if func in _DRAWS else func(*args, **named)


def read_weights(card: Card, file: Path) -> dict[str, Tensor]:
    """Read the weights of a model as they are kept.

    Args:
        card: Its card.
        file: Where the card lies.

    Returns:
        Tensor by name; of a model that ships, those of inference alone, in half precision, and without a parser that it
        shares with ``people-parser``.

    Raises:
        SemreidError: If there are none, or they are not those that the card describes.
    """
    if card.shipped is None:
        return _tensors(file.parent / WEIGHTS, card.sha256, COPY_AGAIN)
    return _tensors(file.with_suffix(".safetensors"), card.sha256, GET_AGAIN)


def _tensors(weights: Path, digest: str, fix: str) -> dict[str, Tensor]:
    """Read weights of this digest: what is damaged, or half there, has another."""
    if not weights.is_file():
        raise SemreidError(f"there are no weights beside the card: {weights} is missing", fix=fix)
    content = read_bytes(weights, MOST)
    if sha256(content).hexdigest() != digest:
        raise SemreidError(f"{weights} is not the file that its card describes", fix=fix)
    return tensors_in(content, weights)


def _completed(shipped: Shipped, tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The weights of a model that ships, in single precision, with those of the parser that fades the background."""
    whole = dict(tensors)
    if shipped.parser:
        parser = _tensors(file.with_name(f"{PARSER}.safetensors"), shipped.parser, GET_AGAIN)
        whole |= {foreground_name(name): tensor for name, tensor in parser.items()}
    return {name: tensor.float() for name, tensor in whole.items()}


def foreground_name(name: str) -> str:
    """Return what a tensor of a parser is called in a model whose background it fades.

    Example:
        >>> foreground_name("trunk.conv1.weight"), foreground_name("heads.parser.classify.bias")
        ('foreground.trunk.conv1.weight', 'foreground.parser.classify.bias')
    """
    return f"foreground.{name.removeprefix('heads.')}"


def _require_shapes(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], file: Path) -> None:
    """Compare before anything is made, for a card may ask for more than the memory holds."""
    for name in sorted(wanted.keys() | found.keys()):
        asked, there = (tuple(side[name].shape) if name in side else "no such tensor" for side in (wanted, found))
        if asked != there:
            raise SemreidError(
                f"{file} and its card are of different models: '{name}' is {there}, and by the card {asked}",
                fix=COPY_AGAIN,
            )


def load_embedder(path: Path | str = DEFAULT, *, device: torch.device | str = "cpu") -> ReIDModel | ExportedModel:
    """Load whatever can embed.

    Args:
        path: As in `load_model`, or a file that `semreid export` made.
        device: Where a model runs; exported files run on the CPU.

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
    return not model.metadata.card if isinstance(model, ExportedModel) else is_untrained(path)


def told_untrained(path: Path | str, model: M) -> M:
    """Say on stderr that a model has random weights, if it has, and return it.

    Args:
        path: What it was loaded from.
        model: The model.
    """
    if has_random_weights(path, model):
        say(f"warning: {path} is untrained: random weights, whose figures and matches mean nothing", style="yellow")
    return model


def start_from(model: ReIDModel, run: Path | str, fresh: Collection[str] = ()) -> str:
    """Give a model the weights of another: all of the trunk, and of heads of the same name whatever has the same shape.

    Args:
        model: The model to fill.
        run: Run folder or card file of the other, or the name of a model that ships.
        fresh: Heads of the model to leave as they are.

    Returns:
        What was taken, in words.

    Raises:
        SemreidError: If there is no such model, or its trunk is another.
    """
    left = tuple(f"heads.{head}." for head in fresh)
    own, found = model.state_dict(), {name: t for name, t in _learned(run).items() if not name.startswith(left)}
    taken = {name: tensor for name, tensor in found.items() if name in own and own[name].shape == tensor.shape}
    if lost := [name for name in own if name.startswith("trunk.") and name not in taken]:
        told = read_card(run).model
        raise SemreidError(
            f"the trunk of {run} does not fit this model: '{lost[0]}' and {len(lost) - 1} more",
            fix=f"set model.trunk={told['trunk']} and model.width={told['width']}, as that model has them",
        )
    model.load_state_dict(taken, strict=False)
    return f"from {run}: trunk" + "".join(f", {_share_taken(name, own, taken)}" for name in model.heads)


def _learned(run: Path | str) -> dict[str, Tensor]:
    """The tensors of a model that learned; one that ships brings nothing that is for training only."""
    model = load_model(run)
    state, kept = model.state_dict(), model.inference_state()
    if not is_shipped(run):
        return state
    return {name: tensor for name, tensor in state.items() if name in kept or name.endswith("num_batches_tracked")}


def parser_arguments(run: Path | str) -> dict[str, Any]:
    """Return what rebuilds the parser of a run: the ``foreground`` of :func:`semreid.models.zoo.create_model`.

    Args:
        run: Run folder or card file of a parser, or the name of one that ships.

    Returns:
        ``trunk``, ``width``, ``last_stride`` and ``size``, and ``stem_relu`` where it is unusual.

    Raises:
        SemreidError: If there is no such model, it is no parser, or it fades the background itself.
    """
    model = read_card(run).model
    if model["name"] != "parser":
        raise SemreidError(
            f"the foreground is found by a parser, and {run} is a model named {model['name']}",
            fix=f"give {PARSER}, or the run folder of one that was trained with recipes/tiny/parser.yaml",
        )
    if "foreground" in model:
        raise SemreidError(
            f"{run} finds people in pictures whose background another parser has faded",
            fix=f"give {PARSER}, or the run folder of a parser that was trained without model.foreground",
        )
    return {name: model[name] for name in ("trunk", "width", "last_stride", "size", "stem_relu") if name in model}


def fill_foreground(foreground: Foreground, run: Path | str) -> None:
    """Give the part of a model that fades the background the weights of a parser.

    Args:
        foreground: What to fill; built with :func:`parser_arguments` of the same run.
        run: As in `parser_arguments`.

    Raises:
        SemreidError: If there is no such model.
    """
    parser = load_model(run)
    foreground.trunk.load_state_dict(parser.trunk.state_dict())
    foreground.parser.load_state_dict(parser.heads["parser"].state_dict())


def _share_taken(head: str, own: Iterable[str], taken: Iterable[str]) -> str:
    wanted, got = (sum(name.startswith(f"heads.{head}.") for name in names) for names in (own, taken))
    return f"{head} head" if got == wanted else f"{head} head in part" if got else f"not the {head} head"
