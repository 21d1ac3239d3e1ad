"""Open-set identification: who is this, if it is anybody we know at all?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semreid.errors import SemreidError
from semreid.functional.distance import Features, distance_blocks
from semreid.functional.pairs import Rate, jackknife_rate
from semreid.functional.ranking import JUNK_RULES, Junk, checked_blocks, checked_ids, position


@dataclass(frozen=True)
class IdentificationPoint:
    """A threshold on the best score of a search, and what it does.

    Attributes:
        asked_far: The false-alarm rate that was asked for.
        threshold: Answer a search whose best score is at least this.
        far: Share of the searches for an unknown person that raise a false alarm; at most ``asked_far``.
        dir: Detection and identification rate: share of the searches for a known person that are answered and
            name the right one first.
        gallery: Number of gallery images; false alarms grow with it.
    """

    asked_far: float
    threshold: float
    far: Rate
    dir: Rate
    gallery: int


def identify_open_set(
    query: Features,
    gallery: Features,
    q_pids: ArrayLike,
    g_pids: ArrayLike,
    q_camids: ArrayLike,
    g_camids: ArrayLike,
    fars: Sequence[float],
    *,
    junk: Junk = "same-pid-and-camera",
) -> tuple[IdentificationPoint, ...]:
    """Measure the detection and identification rate at false-alarm rates (DIR at FAR).

    Every query searches twice: once with their person taken out of the gallery, as somebody unknown, and, if
    the gallery has a true match, once as it is. A tie with another person counts as wrong.

    Args:
        query: Query embeddings, (Q, D).
        gallery: Gallery embeddings, (G, D).
        q_pids: Person ids of the queries, (Q,), not negative.
        g_pids: Person ids of the gallery, (G,). Negative ids are junk.
        q_camids: Cameras of the queries, (Q,).
        g_camids: Cameras of the gallery, (G,).
        fars: False-alarm rates between 0 and 1.
        junk: Which gallery images do not count, as in `rank_distances`.

    Returns:
        One point for each rate. Its intervals are over the people of the queries, the gallery taken as given.

    Raises:
        SemreidError: If shapes do not fit, a feature is not finite, a rate is out of range, or no query has a
            true match.

    Example:
        >>> features = np.eye(8)[[0, 1, 2, 3]] + 0.1
        >>> point = identify_open_set(features, features, [0, 1, 2, 3], [0, 1, 2, 3], [0] * 4, [1] * 4, [0.1])[0]
        >>> point.dir.value, point.far.value
        (1.0, 0.0)
    """
    from semreid.functional._device_ranking import Labels, kinds

    ids = checked_ids(q_pids, g_pids, q_camids, g_camids)
    separate = position(junk, JUNK_RULES, "junk rule") == 1
    true, false = np.full((2, len(ids.q_pids)), -np.inf, np.float32)
    for rows, distances in checked_blocks(distance_blocks(query, gallery), len(ids.q_pids), len(ids.g_pids)):
        labels = Labels(ids.q_pids[rows], ids.q_camids[rows], ids.g_pids, ids.g_camids)
        good, negative = kinds(labels, separate)
        true[rows], false[rows] = _best(1 - distances, good), _best(1 - distances, negative)
    if not np.isfinite(true).any():
        raise SemreidError("no query has a true match in the gallery", fix="check person ids and cameras")
    return tuple(_point(far, true, false, ids.q_pids, len(ids.g_pids)) for far in fars)


def _best(scores: NDArray[np.float32], allowed: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Highest allowed score of each row; minus infinity where there is none."""
    return np.asarray(np.where(allowed, scores, np.float32(-np.inf)).max(axis=1))


def _point(
    far: float, true: NDArray[np.float32], false: NDArray[np.float32], pids: NDArray[np.int64], gallery: int
) -> IdentificationPoint:
    if not 0 < far < 1:
        raise SemreidError(f"a false-alarm rate lies between 0 and 1; got {far:g}", fix="0.1 is one search in ten")
    alarms = np.count_nonzero(np.arange(1, len(false)) / len(false) <= far)  # that may be raised
    first_refused = np.sort(false)[::-1][alarms]
    threshold = np.nextafter(first_refused, np.float32(np.inf))
    known = np.isfinite(true)
    raised = _rate_by_person(false >= threshold, pids)
    right = _rate_by_person((true >= threshold)[known] & (true > false)[known], pids[known])
    return IdentificationPoint(far, float(threshold), raised, right, gallery)


def _rate_by_person(hits: NDArray[np.bool_], pids: NDArray[np.int64]) -> Rate:
    _, person = np.unique(pids, return_inverse=True)
    return jackknife_rate(np.bincount(person, hits), np.bincount(person))
