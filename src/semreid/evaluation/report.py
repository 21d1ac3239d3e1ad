"""The report of an evaluation: figures, their intervals, and everything needed to repeat them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000


@dataclass(frozen=True)
class Report:
    """What an evaluation found; percentages throughout.

    Attributes:
        metrics: ``mAP``, ``mAP_trapezoid``, ``mINP``, ``rank1``, ``rank5``, ``rank10`` or what ranks the protocol has,
            ``mAP_within_K`` where asked for; CMC only where the
            protocol defines no mAP.
        ci95: Bootstrap interval over identities (low, high) of ``mAP`` and ``rank1``.
        counts: ``queries``, ``valid_queries``, ``gallery``, ``identities``, and what was left out.
        protocol: Data set, junk rule, AP definition, distance, normalisation, test-time augmentation,
            re-ranking, tie rule, checkpoint choice, seed.
    """

    metrics: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    counts: dict[str, int]
    protocol: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return asdict(self)


def bootstrap_interval(
    values: ArrayLike, identities: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Compute a 95 % interval of a mean over queries by drawing identities with replacement.

    Queries of one person are alike, so persons and not queries are drawn: intervals over queries would be
    too narrow.

    Args:
        values: Value of each query (Q,), without NaN.
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
    sums = np.bincount(owner, weights=np.asarray(values, float))
    counts = np.bincount(owner)
    drawn = _draw_counts(len(sums), resamples, np.random.default_rng(seed))
    low, high = np.percentile((drawn @ sums) / (drawn @ counts), (2.5, 97.5))
    return float(low), float(high)


def _draw_counts(people: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each person is drawn in each resample, (resamples, people)."""
    draws = rng.integers(people, size=(resamples, people)) + np.arange(resamples)[:, None] * people
    return np.bincount(draws.ravel(), minlength=resamples * people).reshape(resamples, people).astype(float)
