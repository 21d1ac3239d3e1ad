import numpy as np
import pytest

from semreid.evaluation import report
from semreid.evaluation.report import bootstrap_interval


def naive(values: np.ndarray, people: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    names = np.unique(people)
    draws = rng.integers(len(names), size=(resamples, len(names)))
    means = [np.concatenate([values[people == names[i]] for i in draw]).mean() for draw in draws]
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def test_equals_the_naive_loop_over_people() -> None:
    rng = np.random.default_rng(0)
    people = rng.integers(0, 12, 40)
    values = rng.random(40)
    assert bootstrap_interval(values, people, resamples=200, seed=3) == pytest.approx(naive(values, people, 200, 3))


def test_draws_are_counted_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, they would take memory for each person and resample, several times."""
    values, people = np.random.default_rng(0).random((2, 40)), np.arange(40) // 3
    whole = bootstrap_interval(values, people, resamples=200, seed=3)
    for most in (1, 100, 14 * 199):
        monkeypatch.setattr(report, "DRAWS", most)
        assert bootstrap_interval(values, people, resamples=200, seed=3) == pytest.approx(whole, rel=1e-12)


def test_runs_are_drawn_too() -> None:
    people, rng = np.repeat(np.arange(6), [1, 4, 2, 3, 3, 2]), np.random.default_rng(5)
    values = rng.random((3, 15)) + np.array([0.0, 0.5, 1.0])[:, None]
    rng = np.random.default_rng(3)
    persons, runs = rng.integers(6, size=(200, 6)), rng.integers(3, size=(200, 3))
    means = [
        np.concatenate([values[r, people == p] for r in run for p in person]).mean()
        for person, run in zip(persons, runs, strict=True)
    ]
    expected = np.percentile(means, (2.5, 97.5))
    assert bootstrap_interval(values, people, resamples=200, seed=3) == pytest.approx(tuple(expected))


def test_people_and_not_queries_are_drawn() -> None:
    values = np.repeat([0.0, 1.0] * 5, 20)  # 10 people, 20 equal queries each
    by_person = bootstrap_interval(values, np.repeat(np.arange(10), 20))
    by_query = bootstrap_interval(values, np.arange(200))
    assert by_person[1] - by_person[0] > 3 * (by_query[1] - by_query[0])


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        people = np.repeat(np.arange(60), 2)
        values = np.repeat(rng.random(60), 2)
        low, high = bootstrap_interval(values, people, resamples=300)
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 200 <= 0.99
