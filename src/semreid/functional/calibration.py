"""From a score to the probability that two crops show one person, and to a decision at a stated error rate.

The score becomes a likelihood ratio: how much more often genuine pairs score like this than impostor pairs do.
That is a property of model and cameras, and holds whatever the share of genuine pairs was in the calibration
data. The share to be expected where it is used, the prior, comes in last, by the rule of Bayes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semreid.errors import SemreidError
from semreid.functional.distance import Features, checked_features
from semreid.functional.identification import IdentificationPoint
from semreid.functional.pairs import (
    CELLS,
    ENOUGH,
    HALF,
    OperatingPoint,
    PairScores,
    Rate,
    equal_error_rate,
    halve_people,
    operating_points,
    pair_scores,
    threshold_at_far,
)

Method = Literal["logistic", "isotonic"]
Knots = tuple[tuple[float, float], ...]
"""Scores, rising, with their log-likelihood ratios, never falling; straight between them, level beyond."""

FARS = (0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6)
DEFAULT_FAR = 0.001
UNTOLD = "the card cannot tell"
"""The beginning of the warning that people of a calibration may be among those that the model learned."""
FEWEST_PEOPLE = 10
ISOTONIC_GROUPS = 20
RELIABILITY_BINS = 15


@dataclass(frozen=True)
class CrossCheck:
    """What the threshold of one half of the people does on the other half, both ways.

    Attributes:
        asked_far: The false-accept rate that the thresholds were set for.
        far: The false-accept rates found.
        tar: The true-accept rates found.
    """

    asked_far: float
    far: tuple[float, float]
    tar: tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """The answer to "do these two crops show one person?".

    Attributes:
        same: The decision: whether the score reaches the threshold.
        probability: That they show one person, if the prior holds.
        prior: The probability before looking.
        score: Cosine similarity.
        threshold: The lowest score that is accepted.
        asked_far: The false-accept rate that the threshold was set for.
        far: The false-accept rate measured at it, with its interval.
        cameras: The pair of cameras that the threshold is for, such as ``1-2``; empty for all of them.
    """

    same: bool
    probability: float
    prior: float
    score: float
    threshold: float
    asked_far: float
    far: Rate
    cameras: str = ""


@dataclass(frozen=True)
class Calibration:
    """What turns scores of one model into probabilities and decisions.

    Attributes:
        method: The family of ``knots``: the one that did better on people that it was not fitted to.
        knots: From score to log-likelihood ratio.
        points: Thresholds by false-accept rate.
        camera_pairs: Thresholds that hold for one pair of cameras, such as ``1-2``; empty unless asked for.
        identification: Open-set identification, in searches of a gallery.
        eer: Equal error rate.
        ece: Expected calibration error at prior 0.5, on people that it was not fitted to, mean of both ways.
        log_loss: Log-loss in bits at prior 0.5, likewise; 1 is that of a coin.
        cross_check: How well a threshold for each rate carries over to other people.
        counts: ``people`` seen by two cameras, ``images``, ``cameras``, ``genuine`` and ``impostor`` pairs.
        flip: Whether embeddings are averaged with those of the mirror images.
        fingerprint: Of the embedder whose scores these are.
        made_on: Which data, and which part of them.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}
    method: Method
    knots: Knots
    points: tuple[OperatingPoint, ...]
    eer: float
    ece: float
    log_loss: float
    cross_check: tuple[CrossCheck, ...]
    counts: dict[str, int]
    camera_pairs: dict[str, tuple[OperatingPoint, ...]] = field(default_factory=dict)
    identification: tuple[IdentificationPoint, ...] = ()
    flip: bool = False
    fingerprint: str = ""
    made_on: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        knots = np.asarray(self.knots, float)
        sound = knots.ndim == 2 and np.isfinite(knots).all() and (np.diff(knots, axis=0) >= 0).all()
        if not sound or not self.points or (np.diff(knots[:, 0]) == 0).any():
            raise SemreidError("the calibration is damaged: it needs rising knots and a threshold")

    def probability(self, score: ArrayLike, *, prior: float = 0.5) -> NDArray[np.float64]:
        """Compute the probability that pairs with these scores are genuine.

        Args:
            score: Cosine similarities of crops from different cameras, any shape.
            prior: Share of genuine pairs to be expected where this is used.

        Returns:
            Probabilities, never 0 or 1, never falling with the score.

        Raises:
            SemreidError: If the prior is not between 0 and 1.
        """
        return posterior(log_likelihood_ratio(score, self.knots), prior)

    @property
    def basis(self) -> str:
        """On whom it rests, in words for whoever reads a probability."""
        people, data = self.counts.get("people", 0), self.made_on.get("dataset", "")
        unsure = UNTOLD in str(self.made_on.get("warnings", ""))
        doubt = f"; {UNTOLD} whether the model learned them" if unsure else ""
        if data == "people":
            unseen = "" if unsure else " that the model did not learn"
            return f"calibrated on {people:,} synthetic people{unseen}{doubt}; real ones may differ"
        return f"calibrated on {people:,} people" + (f" of {data}" if data else "") + doubt

    def point(self, far: float | None = None, cameras: tuple[int, int] | None = None) -> tuple[OperatingPoint, str]:
        """Find the threshold for a false-accept rate.

        Args:
            far: The rate; if None, 0.001, or the lowest that is known where that is not.
            cameras: The cameras of the two crops.

        Returns:
            The point, and the cameras that it is for: empty if it is for all of them, because none are given or
            too few people were seen by these two.

        Raises:
            SemreidError: If the threshold for this rate is not known.
        """
        if far is None:
            known = [point.asked_far for point in self.points]
            far = DEFAULT_FAR if _find(self.points, DEFAULT_FAR) else min(known)
        name = camera_pair(*cameras) if cameras else ""
        if own := _find(self.camera_pairs.get(name, ()), far):
            return own, name
        if common := _find(self.points, far):
            return common, ""
        rates = ", ".join(f"{point.asked_far:g}" for point in self.points)
        raise SemreidError(
            f"no threshold is known for a false-accept rate of {far:g}; known are {rates}",
            fix="choose one of these"
            + (f", or calibrate for it: semreid calibrate MODEL --data DATA --far {far:g}" if 0 < far < 1 else ""),
        )

    def verdict(
        self,
        score: float,
        *,
        far: float | None = None,
        prior: float = 0.5,
        cameras: tuple[int, int] | None = None,
    ) -> Verdict:
        """Judge the score of one pair.

        Args:
            score: Its cosine similarity.
            far: The false-accept rate to decide at, as in `point`.
            prior: As in `probability`.
            cameras: As in `point`.

        Raises:
            SemreidError: As `point` and `probability`.
        """
        point, name = self.point(far, cameras)
        probability = float(self.probability(score, prior=prior))
        same = score >= point.threshold
        return Verdict(same, probability, prior, score, point.threshold, point.asked_far, point.far, name)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a calibration was made from, for reports.

    Attributes:
        scores: All scores.
        reliability: `reliability_table` on people that the map was not fitted to, mean of both ways.
        losses: Log-loss of each method on such people.
    """

    scores: PairScores
    reliability: NDArray[np.float64]
    losses: dict[Method, float]


def calibrate(
    features: Features,
    pids: ArrayLike,
    camids: ArrayLike,
    *,
    fars: Sequence[float] | None = None,
    per_camera_pair: bool = False,
) -> tuple[Calibration, Evidence]:
    """Learn from crops of known people what the scores of a model mean.

    Both maps, logistic and isotonic, are fitted to one half of the people and judged on the other, both ways;
    the better one is then fitted to all.

    Args:
        features: Embeddings, (N, D), of people that the model was not trained on.
        pids: Person ids, (N,). Crops with negative ids are left out.
        camids: Camera ids, (N,).
        fars: False-accept rates to find thresholds for; if None, those of `FARS` that can be stated.
        per_camera_pair: Find thresholds for each pair of cameras too, where enough people were seen by both.

    Returns:
        The calibration, without fingerprint, and what it was made from.

    Raises:
        SemreidError: If there are too few people for it, or for a rate that is asked for; if no rate is asked for; if
            genuine pairs do not score higher than impostor pairs; and as `pair_scores`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> pids, camids = np.repeat(np.arange(100), 4), np.tile([1, 2], 200)
        >>> features = rng.normal(size=(100, 16))[pids] + 0.5 * rng.normal(size=(400, 16))
        >>> calibration, _ = calibrate(features, pids, camids, fars=[0.01])
        >>> calibration.probability([0.0, 0.5, 0.9]).round(2)
        array([0.01, 0.5 , 1.  ])
        >>> calibration.verdict(0.7).same
        True
    """
    if fars is not None and not len(fars):
        raise SemreidError(
            "no false-accept rate is given", fix="give one, such as 0.001, or None for all that are known"
        )
    pids, camids = np.asarray(pids), np.asarray(camids)
    features = checked_features(features)
    scores = pair_scores(features, pids, camids)
    if scores.people < FEWEST_PEOPLE:
        raise SemreidError(
            f"only {scores.people} people are seen by two cameras; a calibration needs {FEWEST_PEOPLE}, and many "
            "more to say anything of rare errors",
            fix="give crops of more people",
        )
    first = halve_people(pids, camids)
    halves = [pair_scores(features[half], pids[half], camids[half]) for half in (first, ~first)]
    asked = _reachable(FARS, scores, *halves) or FARS if fars is None else fars
    points = _known_points(features, pids, camids, asked, scores, every=fars is not None)
    losses = {name: fmean([log_loss(*pair) for pair in _crossed(name, halves)]) for name in _FITS}
    method = min(losses, key=lambda name: losses[name])
    tables = [reliability_table(*pair) for pair in _crossed(method, halves)]
    calibration = Calibration(
        method=method,
        knots=_FITS[method](scores),
        points=points,
        eer=equal_error_rate(scores),
        ece=fmean([expected_calibration_error(table) for table in tables]),
        log_loss=losses[method],
        cross_check=tuple(_cross_check(halves, point.asked_far) for point in points),
        counts=_counts(scores, pids, camids),
        camera_pairs=_camera_pairs(features, pids, camids, points) if per_camera_pair else {},
    )
    return calibration, Evidence(scores, np.mean(tables, axis=0), losses)


def log_likelihood_ratio(score: ArrayLike, knots: Knots) -> NDArray[np.float64]:
    """Read the natural logarithm of the likelihood ratio of scores, of any shape, off a map.

    Example:
        >>> log_likelihood_ratio([-1.0, 0.25, 2.0], ((0.0, -1.0), (0.5, 1.0)))
        array([-1.,  0.,  1.])
    """
    x, y = zip(*knots, strict=True)
    return np.asarray(np.interp(np.asarray(score, float), x, y))


LEAST_PRIOR = 1e-12


def require_prior(prior: float) -> None:
    """Refuse a probability before looking that leaves nothing to be learned.

    Raises:
        SemreidError: If it is not between 0 and 1, or nearer to either than one in a million million.
    """
    if not LEAST_PRIOR <= prior <= 1 - LEAST_PRIOR:
        raise SemreidError(
            f"a prior lies between 0 and 1, at least {LEAST_PRIOR:g} from both; got {prior:g}",
            fix="0.5 is as likely as not",
        )


def posterior(llr: ArrayLike, prior: float) -> NDArray[np.float64]:
    """Weigh log-likelihood ratios, of any shape, with the probability of a genuine pair before looking (rule of Bayes).

    Raises:
        SemreidError: If the prior is not between 0 and 1.

    Example:
        >>> posterior(np.log([1.0, 99.0]), 0.01).round(2)
        array([0.01, 0.5 ])
    """
    require_prior(prior)
    return np.asarray(np.exp(-np.logaddexp(0, np.log((1 - prior) / prior) - np.asarray(llr, float))))


def fit_logistic(scores: PairScores) -> Knots:
    """Fit a straight line from score to log-likelihood ratio by logistic regression (Platt's scaling): its two ends.

    Genuine and impostor pairs weigh the same in all, so the log-odds are log-likelihood ratios. The line ends
    where the evidence does: no ratio is claimed that is larger than the number of pairs of people that were
    seen, or smaller than one by the number of people.

    Raises:
        SemreidError: If genuine pairs do not score higher than impostor pairs on average.
    """
    genuine, impostor = _ordered_shares(scores)
    low, high = _evidence(scores)
    doubt = 1 / (2 + math.exp(high))  # a target short of 1 keeps the slope finite where nothing overlaps
    positive, both = genuine * (1 - doubt) + impostor * doubt, genuine + impostor
    center, width = _CENTERS @ both / 2, _CENTERS.std()
    inputs = np.stack([(_CENTERS - center) / width, np.ones(CELLS)], axis=1)
    slope, shift = _logistic_regression(inputs, positive, both)
    return tuple((float(center + width * (llr - shift) / slope), llr) for llr in (low, high))


def fit_isotonic(scores: PairScores) -> Knots:
    """Fit any map that never falls, by pooling adjacent violators among groups of pairs.

    It is the mean score of each pool, with its log-likelihood ratio. Groups of a twentieth of the evidence each keep
    single pairs from bending it; it ends where the evidence does, as in `fit_logistic`.

    Raises:
        SemreidError: If genuine pairs do not score higher than impostor pairs on average.
    """
    genuine, impostor = _ordered_shares(scores)
    both = genuine + impostor
    group = np.minimum((np.cumsum(both) / 2 * ISOTONIC_GROUPS).astype(np.int64), ISOTONIC_GROUPS - 1)
    sums = [np.bincount(group, values, ISOTONIC_GROUPS) for values in (genuine, impostor, both * _CENTERS)]
    pools: list[NDArray[np.float64]] = []
    for pool in np.stack(sums, axis=1)[np.bincount(group, both, ISOTONIC_GROUPS) > 0]:
        pools.append(pool)
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] >= pools[-1][0] * pools[-2][1]:
            pools[-2:] = [pools[-2] + pools[-1]]
    low, high = _evidence(scores)
    genuine, impostor, mass = np.array(pools).T
    with np.errstate(divide="ignore"):
        llr = np.clip(np.log(genuine) - np.log(impostor), low, high)
    llr = np.maximum.accumulate(llr)  # equal pools may differ in the last digit
    return tuple(zip((mass / (genuine + impostor)).tolist(), llr.tolist(), strict=True))


def reliability_table(scores: PairScores, knots: Knots, *, prior: float = 0.5) -> NDArray[np.float64]:
    """Compare probabilities with what came true, in bins of equal width.

    Args:
        scores: The scores of pairs, best of people that the map was not fitted to.
        knots: The map.
        prior: Share of the genuine pairs; both kinds are weighed so that it holds.

    Returns:
        For each bin of probability its share of all pairs, the share times the mean probability, and the share
        of all pairs that is in it and genuine, (RELIABILITY_BINS, 3). Tables can be averaged.
    """
    genuine, impostor = _shares(scores)
    genuine, impostor = genuine * prior, impostor * (1 - prior)
    probability = posterior(log_likelihood_ratio(_CENTERS, knots), prior)
    rows = np.minimum((probability * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    both = genuine + impostor
    return np.stack([np.bincount(rows, v, RELIABILITY_BINS) for v in (both, both * probability, genuine)], axis=1)


def expected_calibration_error(table: NDArray[np.float64]) -> float:
    """Average over pairs by how much the probabilities of a `reliability_table` differ from what came true, 0 to 1.

    Example:
        >>> round(expected_calibration_error(np.array([[0.5, 0.05, 0.0], [0.5, 0.45, 0.5]])), 3)
        0.1
    """
    return float(np.abs(table[:, 1] - table[:, 2]).sum())


def log_loss(scores: PairScores, knots: Knots) -> float:
    """Measure how good probabilities are at prior 0.5; this is the cost that speaker recognition calls Cllr.

    It is the mean surprise in bits: 0 is certain and right, 1 is the loss of a coin.
    """
    genuine, impostor = _shares(scores)
    llr = log_likelihood_ratio(_CENTERS, knots)
    return float((genuine @ np.logaddexp(0, -llr) + impostor @ np.logaddexp(0, llr)) / 2 / math.log(2))


def camera_pair(a: int, b: int) -> str:
    """Name a pair of cameras, whatever their order.

    Example:
        >>> camera_pair(3, 1)
        '1-3'
    """
    return f"{min(a, b)}-{max(a, b)}"


_FITS: dict[Method, Callable[[PairScores], Knots]] = {"logistic": fit_logistic, "isotonic": fit_isotonic}
_CENTERS = (np.arange(CELLS) + 0.5) / HALF - 1


def _shares(scores: PairScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Genuine and impostor pairs of each cell as shares of all genuine and all impostor pairs."""
    return scores.genuine / scores.genuine.sum(), scores.impostor / scores.impostor.sum()


def _ordered_shares(scores: PairScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    genuine, impostor = _shares(scores)
    means = float(genuine @ _CENTERS), float(impostor @ _CENTERS)
    if means[0] <= means[1]:
        raise SemreidError(
            f"genuine pairs score {means[0]:.3f} on average, impostor pairs {means[1]:.3f}: such scores tell nothing",
            fix="check person ids and cameras, and that the model is trained",
        )
    return genuine, impostor


def _evidence(scores: PairScores) -> tuple[float, float]:
    """Bounds of the log-likelihood ratio: what was never seen among n is claimed to be no rarer than 1 in n + 1."""
    return -math.log(scores.people + 1), math.log(scores.people * (scores.people - 1) / 2 + 1)


def _logistic_regression(
    inputs: NDArray[np.float64], positive: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimise the log-loss by Newton's method, in steps of bounded length so that it cannot run away."""
    solution = np.zeros(inputs.shape[1])
    for _ in range(200):
        probability = 1 / (1 + np.exp(-inputs @ solution))
        curvature = (inputs.T * (weight * probability * (1 - probability))) @ inputs
        step = np.linalg.solve(curvature, inputs.T @ (weight * probability - positive))
        solution -= step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return solution


def _crossed(method: Method, halves: Sequence[PairScores]) -> list[tuple[PairScores, Knots]]:
    """Each half with the map fitted to the other one."""
    first, second = halves
    return [(second, _FITS[method](first)), (first, _FITS[method](second))]


def _cross_check(halves: Sequence[PairScores], far: float) -> CrossCheck:
    first, second = halves
    there, back = second.rates(threshold_at_far(first, far)), first.rates(threshold_at_far(second, far))
    return CrossCheck(far, (there[0], back[0]), (there[1], back[1]))


def _reachable(fars: Sequence[float], *crowds: PairScores) -> list[float]:
    """The rates for which each crowd has a threshold: none is above the score of copies, which is 1."""
    shares = [(scores.impostor[-1], scores.impostor.sum()) for scores in crowds]
    return [far for far in fars if all(copies / max(pairs, 1) <= far for copies, pairs in shares)]


def _known_points(
    features: Features,
    pids: NDArray[Any],
    camids: NDArray[Any],
    fars: Sequence[float],
    scores: PairScores,
    *,
    every: bool,
) -> tuple[OperatingPoint, ...]:
    """The points of which enough is known; refuses if that is not ``every`` one, or none."""
    points = operating_points(features, pids, camids, fars, scores=scores)
    known = tuple(point for point in points if point.far.is_known)
    unknown = [point for point in points if not point.far.is_known]
    if unknown and (every or not known):
        raise _unknown_rate(unknown[0], len(np.unique(pids[pids >= 0])))
    return known


def _unknown_rate(point: OperatingPoint, people: int) -> SemreidError:
    seen = point.far.value * point.far.effective
    needed = people * (ENOUGH / max(seen, 0.5)) ** (2 / 3)  # evidence grows a little faster than the people do
    return SemreidError(
        f"a false-accept rate of {point.asked_far:g} cannot be stated: {people} people make false accepts worth "
        f"{seen:.1f} independent ones, and {ENOUGH:g} are needed to know the rate within a factor of two",
        fix=f"calibrate on more people (about {needed:.0f}), or ask for a higher rate",
    )


def _camera_pairs(
    features: Features, pids: NDArray[Any], camids: NDArray[Any], points: Sequence[OperatingPoint]
) -> dict[str, tuple[OperatingPoint, ...]]:
    """Thresholds for each pair of cameras that saw enough of the same people."""
    found = {}
    for a, b in combinations(np.unique(camids).tolist(), 2):
        shared = np.intersect1d(pids[camids == a], pids[camids == b])
        if np.count_nonzero(shared >= 0) < FEWEST_PEOPLE:
            continue
        rows = np.flatnonzero((camids == a) | (camids == b))
        crops = features[rows], pids[rows], camids[rows]
        scores = pair_scores(*crops)
        fars = _reachable([point.asked_far for point in points], scores)
        if known := tuple(point for point in operating_points(*crops, fars, scores=scores) if point.far.is_known):
            found[camera_pair(a, b)] = known
    return found


def _find(points: Sequence[OperatingPoint], far: float) -> OperatingPoint | None:
    return next((point for point in points if math.isclose(point.asked_far, far)), None)


def _counts(scores: PairScores, pids: NDArray[Any], camids: NDArray[Any]) -> dict[str, int]:
    return {
        "people": scores.people,
        "images": int((pids >= 0).sum()),
        "cameras": len(np.unique(camids[pids >= 0])),
        "genuine": int(scores.genuine.sum()),
        "impostor": int(scores.impostor.sum()),
    }
