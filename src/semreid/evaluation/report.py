"""The report of an evaluation: figures, their intervals, and everything needed to repeat them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
DRAWS = 2**22
"""Draws that are counted at once, which bounds the memory of an interval."""


@dataclass(frozen=True)
class Report:
    """What an evaluation found; percentages throughout.

    Attributes:
        metrics: ``mAP``, ``mAP_trapezoid``, ``mINP``, ``rank1``, ``rank5``, ``rank10`` or what ranks the protocol has,
            ``mAP_within_K`` where asked for; CMC only where the protocol defines no mAP.
        ci95: Bootstrap interval over identities (low, high) of ``mAP`` and ``rank1``.
        counts: ``queries``, ``valid_queries``, ``gallery``, ``identities``, and what was left out.
        protocol: Data set, junk rule, AP definition, distance, normalisation, test-time augmentation,
            re-ranking, tie rule, checkpoint choice, seed; ``tied_percent``, how many pairs of a match and a negative
            are at equal distance, None where nobody counted; ``warnings``.
    """

    metrics: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    counts: dict[str, int]
    protocol: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {each.name: getattr(self, each.name) for each in fields(Report)}


def bootstrap_interval(
    values: ArrayLike, identities: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Compute a 95 % interval of a mean over queries by drawing identities with replacement.

    Queries of one person are alike, so persons and not queries are drawn: intervals over queries would be
    too narrow. Of several runs, runs are drawn, too.

    Args:
        values: Value of each query (Q,), or of each in each run (S, Q), without NaN.
        identities: Person of each query (Q,).
        resamples: Number of draws.
        seed: Seed of the draws.

    Returns:
        The 2.5 % and 97.5 % percentiles of the mean.

    Example:
        >>> bootstrap_interval([1.0, 1.0, 1.0], [1, 1, 2])
        (1.0, 1.0)
    """
    _, owner = np.unique(np.asarray(identities), return_inverse=True)
    counts, rng = np.bincount(owner), np.random.default_rng(seed)
    sums = np.stack([np.bincount(owner, weights=run) for run in np.atleast_2d(np.asarray(values, float))])
    drawn = [(draws @ sums.T, draws @ counts) for draws in _draw_counts(len(counts), resamples, rng)]
    totals, queries = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    runs = np.concatenate([*_draw_counts(len(sums), resamples, rng)])
    means = (totals * runs).sum(axis=1) / (queries * len(sums))
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _draw_counts(count: int, resamples: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """How often each of so many is drawn in each resample, (resamples, count), some resamples at a time."""
    for first in range(0, resamples, at_once := max(1, DRAWS // count)):
        rows = min(at_once, resamples - first)
        draws = rng.integers(count, size=(rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(draws.ravel(), minlength=rows * count).reshape(rows, count).astype(float)
