"""Pairs of crops and what a threshold on their score does: accept true pairs, and false ones.

A pair is two crops from *different* cameras; it is genuine if both show one person, else an impostor pair. Crops
of one camera are never paired: neighbouring frames of one person are near-copies and would flatter every rate.
Scores are cosine similarities. They are counted in cells so narrow that nothing is lost by it, so memory does
not grow with the number of pairs and nothing depends on the order of the crops.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semreid.errors import SemreidError
from semreid.functional.distance import Features, checked_features, distance_blocks

HALF = 4096
"""Cells per unit of score: a power of two, so that cells and thresholds are exact in float32."""
CELLS = 2 * HALF + 1
"""Cell k holds the scores from k / HALF - 1 up to the next edge; the last one holds exactly 1."""
HISTOGRAM_CELLS = 64
"""Cells of the score that make one bar of a histogram."""
ENOUGH = 10.0
"""Independent false accepts that a stated rate must rest on: fewer, and it is not known within a factor of two."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PairScores:
    """The scores of all pairs of some crops.

    Attributes:
        genuine: Number of genuine pairs in each cell of the score, (CELLS,).
        impostor: Number of impostor pairs likewise.
        people: Number of people with a genuine pair: pairs of one person are alike, so this is what counts.
    """

    genuine: Counts
    impostor: Counts
    people: int

    def rates(self, threshold: float) -> tuple[float, float]:
        """Return the shares of impostor and of genuine pairs that score at least ``threshold``; refuse NaN."""
        if math.isnan(threshold):
            raise SemreidError("a threshold is NaN: no score is above or below it", fix="give a cosine similarity")
        first = int(np.clip(np.ceil((threshold + 1) * HALF), 0, CELLS))
        return _share(self.impostor[first:], self.impostor), _share(self.genuine[first:], self.genuine)


@dataclass(frozen=True)
class Rate:
    """A share of trials, and how well it is known.

    Attributes:
        value: The share.
        low: Lower end of its 95 % interval.
        high: Upper end.
        effective: How many independent trials would tell as much: far fewer than there are pairs.
    """

    value: float
    low: float
    high: float
    effective: float

    @property
    def is_known(self) -> bool:
        """Whether there were enough people to state the rate of an error (within a factor of two)."""
        return self.value * self.effective >= ENOUGH


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does.

    Attributes:
        asked_far: The false-accept rate that was asked for.
        threshold: Accept a pair that scores at least this.
        far: Share of the impostor pairs that it accepts; at most ``asked_far``.
        tar: Share of the genuine pairs that it accepts.
    """

    asked_far: float
    threshold: float
    far: Rate
    tar: Rate


def pair_scores(features: Features, pids: ArrayLike, camids: ArrayLike) -> PairScores:
    """Score all pairs of crops from different cameras, in memory bounded by blocks.

    Args:
        features: Embeddings, (N, D); normalised here.
        pids: Person ids, (N,). Crops with negative ids (junk) are left out.
        camids: Camera ids, (N,).

    Raises:
        SemreidError: If shapes do not fit, a feature holds NaN or infinity, or there is no genuine or no
            impostor pair.

    Example:
        >>> scores = pair_scores(np.array([[1, 0], [1, 0], [0, 1]]), pids=[1, 1, 2], camids=[1, 2, 2])
        >>> scores.genuine.sum(), scores.impostor.sum(), scores.rates(0.5)
        (np.int64(1), np.int64(1), (0.0, 1.0))
    """
    return _counted(_checked(features, pids, camids))


def threshold_at_far(scores: PairScores, far: float) -> float:
    """Find the lowest threshold that accepts at most a share of the impostor pairs.

    Args:
        scores: The scores.
        far: The share, between 0 and 1 (both excluded).

    Returns:
        The threshold, at the edge of a cell.

    Raises:
        SemreidError: If the share is out of range, or more impostor pairs than that score 1.

    Example:
        >>> scores = pair_scores(np.eye(4)[[0, 0, 1, 2]], pids=[1, 1, 2, 3], camids=[1, 2, 1, 2])
        >>> threshold_at_far(scores, 0.1)
        0.000244140625
    """
    if not 0 < far < 1:
        raise SemreidError(f"a false-accept rate lies between 0 and 1; got {far:g}", fix="0.001 is one in a thousand")
    accepted = np.cumsum(scores.impostor[::-1])[::-1]
    low_enough = accepted / max(accepted[0], 1) <= far
    if not low_enough.any():
        raise SemreidError(
            f"{scores.impostor[-1]:,} of {accepted[0]:,} impostor pairs have the same embedding, so no threshold "
            f"accepts only {far:g} of them",
            fix="use a model that tells people apart, and no picture for two people: `semreid doctor` finds copies",
        )
    return float(np.argmax(low_enough) / HALF - 1)


def roc_curve(scores: PairScores) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute the whole trade-off.

    Args:
        scores: The scores.

    Returns:
        False-accept rate, true-accept rate and threshold, (CELLS + 1,) each, by rising threshold; the last
        accepts nothing.

    Example:
        >>> far, tar, _ = roc_curve(pair_scores(np.eye(2)[[0, 0, 1]], pids=[1, 1, 2], camids=[1, 2, 2]))
        >>> (far[0], tar[0]), (far[-1], tar[-1])
        ((np.float64(1.0), np.float64(1.0)), (np.float64(0.0), np.float64(0.0)))
    """
    far, tar = (_shares_from(counts) for counts in (scores.impostor, scores.genuine))
    return far, tar, np.arange(CELLS + 1) / HALF - 1


def equal_error_rate(scores: PairScores) -> float:
    """Compute the rate at which as many impostor pairs are accepted as genuine ones are rejected.

    Args:
        scores: The scores.

    Returns:
        The rate, on the straight line between the two nearest thresholds.

    Example:
        >>> equal_error_rate(pair_scores(np.eye(2)[[0, 0, 1]], pids=[1, 1, 2], camids=[1, 2, 2]))
        0.0
    """
    far, tar, _ = roc_curve(scores)
    gap = 1 - tar - far  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    share = gap[after] / (gap[after] - gap[after - 1])
    return float(far[after] + share * (far[after - 1] - far[after]))


def histogram(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add up cells of the score, (CELLS,), to bars that are HISTOGRAM_CELLS / HALF wide, from a score of -1 on."""
    padded = np.pad(counts, (0, -len(counts) % HISTOGRAM_CELLS))
    return np.asarray(padded.reshape(-1, HISTOGRAM_CELLS).sum(axis=1))


def operating_points(
    features: Features,
    pids: ArrayLike,
    camids: ArrayLike,
    fars: Sequence[float],
    *,
    scores: PairScores | None = None,
) -> tuple[OperatingPoint, ...]:
    """Find thresholds for false-accept rates, with intervals that know how few people the pairs come from.

    Args:
        features: Embeddings, (N, D).
        pids: Person ids, (N,).
        camids: Camera ids, (N,).
        fars: The false-accept rates.
        scores: Their `pair_scores`, if they are known already.

    Returns:
        One point for each rate; see whether its ``far.is_known`` before trusting it.

    Raises:
        SemreidError: As `pair_scores` and `threshold_at_far`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> pids, camids = np.repeat(np.arange(100), 4), np.tile([1, 2], 200)
        >>> features = rng.normal(size=(100, 16))[pids] + 0.5 * rng.normal(size=(400, 16))
        >>> point = operating_points(features, pids, camids, [0.01])[0]
        >>> point.far.is_known, round(point.threshold, 2), round(point.tar.value, 2)
        (True, 0.55, 0.97)
    """
    crops = _checked(features, pids, camids)
    scores = _counted(crops) if scores is None else scores
    thresholds = [threshold_at_far(scores, far) for far in fars]
    impostor, genuine = _accepted(crops, thresholds)
    genuine_pairs, impostor_pairs = _pairs_of_people(crops)
    return tuple(
        OperatingPoint(
            far, threshold, jackknife_rate(impostor[i], impostor_pairs, 2), jackknife_rate(genuine[i], genuine_pairs)
        )
        for i, (far, threshold) in enumerate(zip(fars, thresholds, strict=True))
    )


def halve_people(pids: ArrayLike, camids: ArrayLike, *, seed: int = 0) -> NDArray[np.bool_]:
    """Split people at random into two halves, and with them those whom two cameras saw.

    Args:
        pids: Person ids, (N,).
        camids: Camera ids, (N,).
        seed: Seed of the split.

    Returns:
        Whether a crop belongs to the first half, (N,).

    Example:
        >>> halve_people([1, 1, 2, 2, 3, 4], [1, 2, 1, 2, 1, 1])
        array([ True,  True, False, False,  True, False])
    """
    names, person = np.unique(np.asarray(pids), return_inverse=True)
    seen = np.unique(np.stack([person, np.asarray(camids)]), axis=1)[0]
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(np.bincount(seen)[order] > 1, kind="stable")]
    return np.isin(person, order[::2])


def jackknife_rate(hits: ArrayLike, trials: ArrayLike, people_per_trial: int = 1) -> Rate:
    """Compute a rate over trials that share people, with its interval.

    Trials of one person are alike, and a look-alike is in many impostor pairs at once, so an interval that takes
    pairs for independent is far too narrow. Here each person is left out in turn (jackknife); the spread tells
    how many independent trials would know the rate as well, and these give a Wilson interval.

    Args:
        hits: Number of hits among the trials that each person takes part in, (P,).
        trials: Number of those trials, (P,).
        people_per_trial: 2 where a trial is a pair of two people and so counts for both.

    Raises:
        SemreidError: If nobody has a trial.

    Example:
        >>> jackknife_rate(hits=[4, 0, 0, 0], trials=[5, 5, 5, 5])  # one person has all the hits
        Rate(value=0.2, low=0.0307672452795123, high=0.6631727669628871, effective=4.0)
    """
    hits, trials = np.asarray(hits, float), np.asarray(trials, float)
    all_hits, all_trials = hits.sum() / people_per_trial, trials.sum() / people_per_trial
    if all_trials == 0:
        raise SemreidError("a rate needs at least one trial")
    hits, trials = hits[trials > 0], trials[trials > 0]
    people, value = len(trials), all_hits / all_trials
    left = all_trials - trials
    without = np.divide(all_hits - hits, left, out=np.full(people, np.nan), where=left > 0)
    variance = (people - 1) / people * np.square(without - without.mean()).sum()
    spread = value * (1 - value)
    # Without any spread (no hit, or nothing but hits) the people themselves are the trials; likewise when
    # one person has every trial, so that nothing is left without them.
    effective = min(spread / variance, all_trials) if variance > 0 and spread > 0 else people / people_per_trial
    return Rate(float(value), *_wilson(float(value), float(effective)), float(effective))


class _Crops(NamedTuple):
    features: Features
    people: NDArray[np.int64]
    """Person of each crop, numbered from 0."""
    camids: NDArray[np.int64]


class _Block(NamedTuple):
    scores: NDArray[np.float32]
    genuine: NDArray[np.bool_]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    """People of the rows and of the columns."""


def _checked(features: Features, pids: ArrayLike, camids: ArrayLike) -> _Crops:
    ids, cameras = (np.asarray(values) for values in (pids, camids))
    if not ids.shape == cameras.shape == (len(features),) or {ids.dtype.kind, cameras.dtype.kind} - set("iu"):
        raise SemreidError(
            f"{len(features)} features need as many integer pids and camids; got {ids.dtype} {ids.shape} "
            f"and {cameras.dtype} {cameras.shape}"
        )
    kept = np.flatnonzero(ids >= 0)
    vectors = checked_features(features)
    vectors = vectors if len(kept) == len(ids) else vectors[kept]  # of a million crops, a copy is gigabytes
    crops = _Crops(vectors, np.unique(ids[kept], return_inverse=True)[1], cameras[kept].astype(np.int64))
    genuine, impostor = (int(pairs.sum()) for pairs in _pairs_of_people(crops))
    if not genuine or not impostor:
        raise SemreidError(
            f"{len(kept)} crops of {len(np.unique(crops.people))} people in {len(np.unique(crops.camids))} cameras "
            f"make {genuine} genuine and {impostor // 2} impostor pairs; both kinds are needed",
            fix="give crops of several people, each seen by two cameras or more: crops of one camera are not paired",
        )
    return crops


def _pairs_of_people(crops: _Crops) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number of genuine and of impostor pairs that each person takes part in, (P,) each."""
    people = int(crops.people.max(initial=-1)) + 1
    genuine, impostor = np.zeros(people), np.zeros(people)
    images, seen = len(crops.people), np.bincount(crops.people, minlength=people)
    for camera in np.unique(crops.camids):
        here = np.bincount(crops.people[crops.camids == camera], minlength=people)
        genuine += here * (seen - here) / 2
        impostor += here * ((images - here.sum()) - (seen - here))
    return genuine, impostor


def _blocks(crops: _Crops) -> Iterator[_Block]:
    """Yield the scores of all pairs, one pair of cameras and some rows at a time."""
    by_camera = [np.flatnonzero(crops.camids == camera) for camera in np.unique(crops.camids)]
    for left, right in combinations(by_camera, 2):
        start, columns = 0, crops.people[right]
        for distances in distance_blocks(crops.features[left], crops.features[right]):
            rows = crops.people[left[start : start + len(distances)]]
            yield _Block(1 - distances, rows[:, None] == columns, rows, columns)
            start += len(distances)


def _counted(crops: _Crops) -> PairScores:
    genuine, every = np.zeros(CELLS, np.int64), np.zeros(CELLS, np.int64)
    for block in _blocks(crops):
        cells = np.floor(block.scores * HALF).astype(np.int64) + HALF
        np.clip(cells, 0, CELLS - 1, out=cells)  # rounding may leave a score below -1
        every += np.bincount(cells.ravel(), minlength=CELLS)
        genuine += np.bincount(cells[block.genuine], minlength=CELLS)
    return PairScores(genuine, every - genuine, int(np.count_nonzero(_pairs_of_people(crops)[0])))


def _accepted(crops: _Crops, thresholds: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Impostor and genuine pairs of each person that score at least each threshold, (T, P) each."""
    people = int(crops.people.max()) + 1
    impostor, genuine = np.zeros((len(thresholds), people)), np.zeros((len(thresholds), people))
    for block in _blocks(crops):
        for i, threshold in enumerate(thresholds):
            passed = block.scores >= np.float32(threshold)
            true = passed & block.genuine
            false = passed ^ true
            genuine[i] += np.bincount(block.rows, true.sum(axis=1), people)
            impostor[i] += np.bincount(block.rows, false.sum(axis=1), people)
            impostor[i] += np.bincount(block.columns, false.sum(axis=0), people)
    return impostor, genuine


def _wilson(rate: float, trials: float) -> tuple[float, float]:
    """The interval that holds the true rate in 95 of 100 cases."""
    z = 1.96
    shrink = z * z / trials
    center = (rate + shrink / 2) / (1 + shrink)
    half = z / (1 + shrink) * np.sqrt(rate * (1 - rate) / trials + shrink / (4 * trials))
    return max(0.0, float(center - half)), min(1.0, float(center + half))


def _share(part: Counts, whole: Counts) -> float:
    return float(part.sum() / whole.sum())


def _shares_from(counts: Counts) -> NDArray[np.float64]:
    """Share of the counts at or above each edge, (CELLS + 1,)."""
    above = np.append(np.cumsum(counts[::-1])[::-1], 0)
    return np.asarray(above / above[0])
