"""Semantics-aligned person re-identification: train, judge and use.

The public surface is narrow on purpose; everything else is reached through its module.
"""

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
from semreid.version import __version__

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
