"""Checkpoints for resuming: written whole or not at all, read without executing anything in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from semreid.errors import SemreidError
from semreid.files import atomic_path
from semreid.reading import parse_yaml
from semreid.training.recipe import AdaptRecipe, Recipe, dump_recipe, parse_recipe
from semreid.training.record import ADAPT, RECIPE, run_files
from semreid.weights import read_torch

FORMAT = 1
_FILES: dict[type, str] = {Recipe: RECIPE, AdaptRecipe: ADAPT}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: The file.
        state: Tensors and plain values.

    Raises:
        SemreidError: If the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:  # by itself, torch tells of no full disk
        torch.save({"format": FORMAT, **state}, file)


def load_checkpoint(path: Path, recipe: str, kind: type[Recipe] | type[AdaptRecipe] = Recipe) -> dict[str, Any]:
    """Read a checkpoint that the same recipe wrote.

    Args:
        path: The file.
        recipe: The recipe of this run as YAML; a run may only go on under the recipe it began with.
        kind: What it is a recipe for.

    Returns:
        The state that :func:`save_checkpoint` got.

    Raises:
        SemreidError: If there is none, it is damaged, of another version, or of another recipe.
    """
    if not path.is_file():
        way_out = "choose another folder for --out" if run_files(path.parent) else "begin without --resume"
        raise SemreidError(f"nothing to resume: no checkpoint at {path}", fix=way_out)
    state = read_torch(path, "copy the checkpoint again, or begin anew in another folder")
    if state.get("format") != FORMAT:
        raise SemreidError(
            f"{path} has format {state.get('format')}; this version reads {FORMAT}",
            fix="go on with the version that wrote it, or begin anew in another folder",
        )
    then = parse_recipe(parse_yaml(str(state.get("recipe")), path), str(path), kind)
    before = dump_recipe(then)  # with keys added since then
    if before != recipe:
        raise SemreidError(
            f"{path} was written under another recipe: {_first_difference(before, recipe)}",
            fix=f"resume with the recipe {path.with_name(_FILES[kind])} and no overrides, or choose another folder: "
            "--out",
        )
    return state


def _first_difference(old: str, new: str) -> str:
    pairs = zip(old.splitlines(), new.splitlines(), strict=False)
    return next((f"'{a.strip()}' then, '{b.strip()}' now" for a, b in pairs if a != b), "other keys")
