"""Semantics-aligned person re-identification: train, judge and use.

The public surface is narrow on purpose; everything else is reached through its module.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from semreid.version import __version__

if TYPE_CHECKING:
    from semreid import functional
    from semreid.data.benchmarks import load_dataset
    from semreid.data.sample import Protocol, ReIDDataset, Sample
    from semreid.errors import SemreidError
    from semreid.evaluation.protocol import evaluate
    from semreid.evaluation.report import Report
    from semreid.gallery.gallery import Gallery
    from semreid.models.card import Card
    from semreid.models.loading import load_model
    from semreid.models.model import ReIDModel
    from semreid.models.zoo import create_model
    from semreid.training.loop import train
    from semreid.training.recipe import Recipe, load_recipe
    from semreid.verification.verifier import load_verifier

__all__ = [
    "Card",
    "Gallery",
    "Protocol",
    "ReIDDataset",
    "ReIDModel",
    "Recipe",
    "Report",
    "Sample",
    "SemreidError",
    "__version__",
    "create_model",
    "evaluate",
    "functional",
    "load_dataset",
    "load_model",
    "load_recipe",
    "load_verifier",
    "train",
]
_HOMES = {
    "Card": "semreid.models.card",
    "Gallery": "semreid.gallery.gallery",
    "Protocol": "semreid.data.sample",
    "ReIDDataset": "semreid.data.sample",
    "ReIDModel": "semreid.models.model",
    "Recipe": "semreid.training.recipe",
    "Report": "semreid.evaluation.report",
    "Sample": "semreid.data.sample",
    "SemreidError": "semreid.errors",
    "create_model": "semreid.models.zoo",
    "evaluate": "semreid.evaluation.protocol",
    "load_dataset": "semreid.data.benchmarks",
    "load_model": "semreid.models.loading",
    "load_recipe": "semreid.training.recipe",
    "load_verifier": "semreid.verification.verifier",
    "train": "semreid.training.loop",
}


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: a command that Ctrl-C ends meanwhile must have begun."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    try:
        return import_module(f"semreid.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"semreid.{name}":  # an optional package that a module of ours needs
            raise
        raise AttributeError(f"module 'semreid' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
