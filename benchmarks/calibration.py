"""What calibration claims, checked against the truth: intervals of false-accept rates, and probabilities.

python benchmarks/calibration.py                       made-up crowds, whose true rates are known
python benchmarks/calibration.py --quick               seconds; for a test
python benchmarks/calibration.py --run RUN --data NAME:PATH [--flip]
                                                       real crops: calibrate on one half of the test people, judge
                                                       on the other, both ways, for forty splits
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from _timing import command_line
from semreid.data.benchmarks import load_dataset
from semreid.data.store import build_store
from semreid.evaluation.protocol import embed_store
from semreid.functional.calibration import (
    calibrate,
    expected_calibration_error,
    fit_isotonic,
    fit_logistic,
    log_loss,
    reliability_table,
)
from semreid.functional.pairs import Rate, halve_people, operating_points, pair_scores, threshold_at_far
from semreid.models.loading import load_model
from semreid.verification.calibrate import choose_split


class Crops(NamedTuple):
    """Embeddings of known people."""

    features: NDArray[np.float32]
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]

    def of(self, rows: NDArray[np.bool_]) -> Crops:
        """Some of them."""
        return Crops(self.features[rows], self.pids[rows], self.camids[rows])


def crowd(people: int, images: int, seed: int) -> Crops:
    """People in one of 40 kinds of clothes, so that there are look-alikes; every fifth crop is a bad one."""
    kinds = 0.8 * np.random.default_rng(0).normal(size=(40, 64))  # the world is the same for every crowd
    rng = np.random.default_rng((1, seed))
    centers = 0.7 * rng.normal(size=(people, 64)) + kinds[rng.integers(40, size=people)]
    pids = np.repeat(np.arange(people), images)
    blur = np.where(rng.random((len(pids), 1)) < 0.2, 1.5, 0.5)
    features = centers[pids] + blur * rng.normal(size=(len(pids), 64))
    return Crops(features.astype(np.float32), pids, 1 + np.arange(len(pids)) % 2)


def check_intervals(people: int, far: float, draws: int, truth: Crops) -> None:
    """How often the interval of a rate holds the true rate, and that of independent pairs does."""
    threshold = threshold_at_far(pair_scores(*truth), far)
    held, naive, known, worth = 0, 0, 0, []
    for seed in range(draws):
        crops = crowd(people, 8, seed)
        scores = pair_scores(*crops)
        found = scores.rates(threshold)[0]
        rate: Rate = operating_points(*crops, [found + 1e-9])[0].far
        held += rate.low <= far <= rate.high
        naive += abs(found - far) <= 1.96 * np.sqrt(found * (1 - found) / scores.impostor.sum())
        worth.append(rate.value * rate.effective)
        known += worth[-1] >= 10
    print(
        f"{people:5d} people, FAR {far:g}: in {draws} crowds the interval holds the truth in {held / draws:.0%}, "
        f"one over independent pairs in {naive / draws:.0%}; false accepts worth {np.mean(worth):.1f}, "
        f"stated in {known / draws:.0%}"
    )


def check_maps(people: int, draws: int, truth: Crops) -> None:
    """How good the probabilities of both maps are on people that they were not fitted to."""
    others = pair_scores(*truth)
    for name, fit in (("logistic", fit_logistic), ("isotonic", fit_isotonic)):
        maps = [fit(pair_scores(*crowd(people, 8, seed))) for seed in range(draws)]
        errors = [expected_calibration_error(reliability_table(others, knots)) for knots in maps]
        losses = [log_loss(others, knots) for knots in maps]
        print(f"{people:5d} people, {name} map: ECE {np.mean(errors):.2%}, log-loss {np.mean(losses):.4f} bits")


def check_crowds(sizes: Sequence[int], draws: int) -> None:
    """Both checks, on crowds of several sizes."""
    truth = crowd(10 * max(sizes), 4, seed=10_000)
    for people in sizes:
        for far in (0.01, 0.001, 0.0001):
            check_intervals(people, far, draws, truth)
        check_maps(people, min(draws, 20), truth)


def check_run(run: Path, data: str, flip: bool, draws: int) -> None:
    """Calibrate on one half of the test people, judge on the other."""
    dataset, model = load_dataset(data), load_model(run)
    people = choose_split(run, dataset, "test")
    store = build_store(list(dict.fromkeys((*people.query, *people.gallery))), model.size)
    crops = Crops(embed_store(model, store, flip=flip), store.pids, store.camids)
    errors, rates = [], []
    methods: list[str] = []
    losses: dict[str, list[float]] = {"logistic": [], "isotonic": []}
    halves = [halve_people(crops.pids, crops.camids, seed=seed) for seed in range(draws)]
    for half in halves + [~half for half in halves]:
        calibration, evidence = calibrate(*crops.of(half), fars=[0.01])
        others = pair_scores(*crops.of(~half))
        methods.append(calibration.method)
        errors.append(expected_calibration_error(reliability_table(others, calibration.knots)))
        rates.append(others.rates(calibration.points[0].threshold))
        losses["logistic"].append(log_loss(others, fit_logistic(evidence.scores)))
        losses["isotonic"].append(log_loss(others, fit_isotonic(evidence.scores)))
    far, tar = np.array(rates).T
    print(
        f"{dataset.name}, {len(np.unique(crops.pids))} test people, {draws} random splits into halves, both ways, "
        f"flip {flip}"
    )
    print(f"on the other half: ECE {_summary(errors)}")
    print(f"threshold for FAR 1 %: FAR {_summary(far)}, TAR {_summary(tar)}")
    for name, values in losses.items():
        print(f"{name} map: log-loss {np.mean(values):.4f} bits, taken {methods.count(name)} times")


def _summary(values: Sequence[float] | NDArray[np.float64]) -> str:
    low, high = np.percentile(values, (10, 90))
    return f"{np.mean(values):.2%} ({low:.2%} to {high:.2%}, 10th to 90th percentile)"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--flip", action="store_true")
    arguments = parser.parse_args()
    if bool(arguments.run) != bool(arguments.data):
        parser.error("give both --run and --data, or neither")
    if arguments.run:
        check_run(arguments.run, arguments.data, arguments.flip, draws=40)
    else:
        check_crowds((40,) if arguments.quick else (50, 100, 200, 400), draws=3 if arguments.quick else 200)


if __name__ == "__main__":
    main()
