"""The model that a recipe asks for, with the weights that it starts from."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from semreid.errors import SemreidError
from semreid.models.card import is_run
from semreid.models.loading import fill_foreground, parser_arguments, start_from
from semreid.models.model import ReIDModel
from semreid.models.shipped import USES
from semreid.models.trunk import load_trunk_weights
from semreid.models.zoo import create_model
from semreid.training.recipe import Recipe


def build_model(recipe: Recipe, num_ids: int, say: Callable[[str], None] | None = None) -> ReIDModel:
    """Build the model of a recipe, with pretrained weights where it names a file or a run.

    Args:
        recipe: The recipe.
        num_ids: Number of training identities.
        say: Told what is taken from a run folder.

    Raises:
        SemreidError: If the recipe wants ImageNet weights and no path was given, if they do not fit, or if the model
            lacks a head that ``model.fresh`` names.
    """
    wanted = recipe.model
    if wanted.weights == "imagenet":
        raise SemreidError(
            f"this recipe starts from ImageNet weights of {wanted.trunk}, and semreid never downloads",
            fix="give model.weights=/path/to/weights.pth (torchvision's format), or train from random weights "
            "on purpose with model.weights=scratch",
        )
    torch.manual_seed(recipe.seed)
    model = create_model(**model_arguments(recipe, num_ids))
    if unknown := [head for head in wanted.fresh if head not in model.heads]:
        raise SemreidError(
            f"model.fresh names {unknown[0]!r}, and {wanted.name} has no such head",
            fix=f"name some of {', '.join(model.heads)}",
        )
    if is_run(wanted.weights):
        taken = start_from(model, wanted.weights, wanted.fresh)
        if say is not None:
            say(taken)
    elif wanted.weights != "scratch":
        _require_there(wanted.weights)
        load_trunk_weights(model.trunk, wanted.weights)
    if model.foreground is not None:
        fill_foreground(model.foreground, wanted.foreground)
    return model


def _require_there(weights: str) -> None:
    """Say, where no file is, what else weights can be named by."""
    if Path(weights).is_file():
        return
    close = difflib.get_close_matches(weights, USES, n=1)
    slip = f"did you mean {close[0]}? " if close else ""
    raise SemreidError(
        f"no weights file at {weights}",
        fix=f"{slip}Give a file of weights, a run folder, or a model that ships ({', '.join(USES)}); semreid never "
        "downloads weights",
    )


def model_arguments(recipe: Recipe, num_ids: int) -> dict[str, Any]:
    """Return the arguments of :func:`semreid.models.zoo.create_model` for the model of a recipe.

    Args:
        recipe: The recipe.
        num_ids: Number of training identities.

    Returns:
        Arguments by name; the model card keeps them.

    Raises:
        SemreidError: If ``model.foreground`` is no run of a parser, or missing where ``model.white_balance`` needs it.
    """
    wanted = recipe.model
    fixed = {"name": wanted.name, "num_ids": num_ids, "trunk": wanted.trunk, "width": wanted.width}
    if wanted.foreground:
        balance = {"white_balance": True} if wanted.white_balance else {}
        fixed["foreground"] = parser_arguments(wanted.foreground) | balance
    elif wanted.white_balance:
        raise SemreidError(
            "model.white_balance goes by the background, and this recipe has no parser that finds it",
            fix="give model.foreground=RUN of a parser, or leave white_balance out",
        )
    return {**wanted.options, **fixed, "last_stride": wanted.last_stride, "size": recipe.data.size}
