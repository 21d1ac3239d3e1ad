"""Checkpoints for resuming: written whole or not at all, read without executing anything in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from semreid.errors import SemreidError
from semreid.files import atomic_path
from semreid.reading import parse_yaml
from semreid.training.recipe import AdaptRecipe, Recipe, dump_recipe, parse_recipe
from semreid.training.record import ADAPT, RECIPE
from semreid.weights import read_torch

FORMAT = 1
_FILES: dict[type, str] = {Recipe: RECIPE, AdaptRecipe: ADAPT}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, of tensors and plain values, atomically.

    Raises:
        SemreidError: If the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:  # by itself, torch tells of no full disk
        torch.save({"format": FORMAT, **state}, file)


def load_checkpoint(path: Path, recipe: Recipe | AdaptRecipe) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote under a recipe: a run may only go on under the one that it began with.

    Raises:
        SemreidError: If there is none, it is damaged, of another version, or of another recipe.
    """
    if not path.is_file():
        is_new = not path.parent.is_dir() or not any(path.parent.iterdir())
        way_out = "begin without --resume" if is_new else "choose another folder for --out"
        raise SemreidError(f"nothing to resume: no checkpoint at {path}", fix=way_out)
    state = read_torch(path, "copy the checkpoint again, or begin anew in another folder")
    if state.get("format") != FORMAT:
        raise SemreidError(
            f"{path} has format {state.get('format')}; this version reads {FORMAT}",
            fix="go on with the version that wrote it, or begin anew in another folder",
        )
    then = parse_recipe(parse_yaml(str(state.get("recipe")), path), str(path), type(recipe))
    before, now = dump_recipe(then), dump_recipe(recipe)  # with keys added since then
    if before != now:
        own = path.with_name(_FILES[type(recipe)])
        raise SemreidError(
            f"{path} was written under another recipe: {_first_difference(before, now)}",
            fix=f"resume with the recipe {own} and no overrides, or choose another folder: --out",
        )
    return state


def _first_difference(old: str, new: str) -> str:
    pairs = zip(old.splitlines(), new.splitlines(), strict=False)
    return next((f"'{a.strip()}' then, '{b.strip()}' now" for a, b in pairs if a != b), "other keys")
