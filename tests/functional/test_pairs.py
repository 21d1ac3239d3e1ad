import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from semreid.errors import SemreidError
from semreid.functional import (
    distance,
    equal_error_rate,
    jackknife_rate,
    operating_points,
    pair_scores,
    roc_curve,
    threshold_at_far,
)
from semreid.functional.pairs import CELLS, HALF, PairScores, halve_people


def crowd(people=30, images=6, cameras=3, noise=0.6, seed=0, dim=16):
    """Embeddings of a made-up crowd: a centre for each person, blurred."""
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(people) * 7 + 3, images)
    features = np.repeat(rng.normal(size=(people, dim)), images, axis=0)
    return features + noise * rng.normal(size=features.shape), pids, rng.integers(1, cameras + 1, len(pids))


def naive_pairs(features, pids, camids):
    """(score, genuine, person, other person) of each pair, in the plainest way."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return [
        (float(unit[i] @ unit[j]), pids[i] == pids[j], pids[i], pids[j])
        for i in range(len(unit))
        for j in range(i)
        if camids[i] != camids[j] and pids[i] >= 0 and pids[j] >= 0
    ]


def counts(cells):
    return np.bincount(cells, minlength=CELLS)


@pytest.fixture(scope="module")
def scores():
    """Scores of a few thousand pairs, with ties."""
    rng = np.random.default_rng(1)
    genuine, impostor = (np.clip(rng.normal(HALF * m, 700, n), 0, CELLS - 1) for m, n in ((1.4, 900), (1.0, 5000)))
    return PairScores(counts(genuine.astype(int)), counts(impostor.astype(int)), people=100)


def scikit_roc(scores):
    truth = np.repeat([1, 0], [scores.genuine.sum(), scores.impostor.sum()])
    edges = np.arange(CELLS) / HALF - 1
    values = np.concatenate([np.repeat(edges, scores.genuine), np.repeat(edges, scores.impostor)])
    return metrics.roc_curve(truth, values, drop_intermediate=False)


def test_pairs_are_those_of_a_double_loop():
    features, pids, camids = crowd(people=8)
    pids[[3, 20]] = -1
    pairs = naive_pairs(features, pids, camids)
    found = pair_scores(features, pids, camids)
    for expected, cells in ((True, found.genuine), (False, found.impostor)):
        values = np.sort([score for score, genuine, *_ in pairs if genuine == expected])
        edges = np.repeat(np.arange(CELLS) / HALF - 1, cells)
        assert len(edges) == len(values)
        assert np.abs(values - edges - 0.5 / HALF).max() < 0.5 / HALF + 1e-6
    assert found.people == len({person for _, genuine, person, _ in pairs if genuine})


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_order_of_the_crops_and_names_of_people_and_cameras_do_not_matter(seed):
    features, pids, camids = crowd(people=6)
    order = np.random.default_rng(seed).permutation(len(pids))
    expected, found = (
        pair_scores(features, pids, camids),
        pair_scores(features[order], 900 - pids[order], 5 - camids[order]),
    )
    # A product of matrices of other shapes may round a score across the edge of a cell.
    assert np.abs(np.cumsum(found.genuine) - np.cumsum(expected.genuine)).max() <= 1
    assert np.abs(np.cumsum(found.impostor) - np.cumsum(expected.impostor)).max() <= 1
    assert found.people == expected.people


def test_blocks_are_bounded_and_change_nothing(monkeypatch):
    data = crowd()
    expected, points = pair_scores(*data), operating_points(*data, [0.05])
    monkeypatch.setattr(distance, "BLOCK_VALUES", 150)
    found = pair_scores(*data)
    assert np.abs(np.cumsum(found.impostor) - np.cumsum(expected.impostor)).max() <= 2
    assert operating_points(*data, [0.05])[0].tar.value == pytest.approx(points[0].tar.value, abs=1e-2)


def test_scores_at_the_ends_are_counted():
    features = np.array([[1.0, 0], [1.0, 0], [-1.0, 0]])
    found = pair_scores(torch.from_numpy(features), [1, 1, 2], [1, 2, 2])
    assert found.genuine[CELLS - 1] == 1
    assert found.impostor[0] == 1
    assert found.rates(1.0) == (0.0, 1.0)
    assert found.rates(-2.0) == (1.0, 1.0)
    assert found.rates(1.1) == found.rates(np.inf) == (0.0, 0.0)
    assert found.rates(-np.inf) == (1.0, 1.0)
    with pytest.raises(SemreidError, match="threshold is NaN"):
        found.rates(np.nan)


def test_roc_is_that_of_scikit_learn(scores):
    far, tar, thresholds = roc_curve(scores)
    expected_far, expected_tar, at = scikit_roc(scores)
    rows = np.round((at[1:] + 1) * HALF).astype(int)
    np.testing.assert_allclose(far[rows], expected_far[1:], atol=1e-12)
    np.testing.assert_allclose(tar[rows], expected_tar[1:], atol=1e-12)
    np.testing.assert_allclose(thresholds[rows], at[1:])
    assert (far[-1], tar[-1]) == (0, 0)


@pytest.mark.parametrize("far", [0.3, 0.05, 0.01, 0.001, 0.0001])
def test_threshold_is_the_lowest_that_keeps_the_rate(scores, far):
    threshold = threshold_at_far(scores, far)
    expected_far, expected_tar, at = scikit_roc(scores)
    allowed = expected_far <= far
    assert threshold <= at[allowed][-1]
    assert scores.rates(threshold)[0] <= far < scores.rates(threshold - 1 / HALF)[0]
    assert scores.rates(threshold)[1] == pytest.approx(expected_tar[allowed][-1])


def test_equal_error_rate_is_where_the_curves_cross(scores):
    far, tar, _ = scikit_roc(scores)
    expected = np.interp(0, (1 - tar - far)[::-1], far[::-1])
    assert equal_error_rate(scores) == pytest.approx(expected, abs=1e-3)
    assert equal_error_rate(PairScores(scores.impostor, scores.impostor, 9)) == pytest.approx(0.5, abs=1e-3)
    assert equal_error_rate(PairScores(scores.impostor, scores.genuine, 9)) > 0.5


def test_operating_points_count_like_a_double_loop():
    data = crowd(noise=1.0)
    pairs = naive_pairs(*data)
    for point in operating_points(*data, [0.2, 0.02]):
        for rate, genuine in ((point.far, False), (point.tar, True)):
            rows = [(score >= point.threshold, a, b) for score, truth, a, b in pairs if truth == genuine]
            assert rate.value == pytest.approx(np.mean([hit for hit, *_ in rows]))
            assert rate.effective == pytest.approx(naive_effective(rows))
            assert rate.low < rate.value < rate.high
        assert point.far.value <= point.asked_far


def naive_effective(rows):
    """Leave every person out in turn, count anew, and compare the spread with that of independent trials."""
    without = [
        np.mean([hit for hit, a, b in rows if person not in (a, b)])
        for person in {p for _, *both in rows for p in both}
    ]
    rate, people = np.mean([hit for hit, *_ in rows]), len(without)
    variance = (people - 1) / people * np.sum((without - np.mean(without)) ** 2)
    return min(rate * (1 - rate) / variance, len(rows))


def test_a_score_at_the_threshold_is_accepted():
    features = np.array([[1.0, 0], [1.0, 0], [1.0, 0.01]])
    point = operating_points(features, [1, 1, 2], [1, 2, 2], [0.5])[0]
    assert (point.threshold, point.far.value, point.tar.value) == (1.0, 0.0, 1.0)


def test_more_copies_of_the_same_crops_are_no_more_evidence():
    features, pids, camids = crowd(people=40)
    once = operating_points(features, pids, camids, [0.05])[0]
    thrice = operating_points(*(np.concatenate([part] * 3) for part in (features, pids, camids)), [0.05])[0]
    assert thrice.far.effective == pytest.approx(once.far.effective, rel=0.02)
    assert thrice.tar.effective == pytest.approx(once.tar.effective, rel=0.02)


def test_interval_holds_the_truth_where_that_of_independent_pairs_does_not():
    """Draw crowds again and again; the true rate at a fixed threshold is known from one that is far larger."""
    threshold, held, naive = 0.42, 0, 0
    truth = pair_scores(*crowd(people=2000, images=3, seed=99)).rates(threshold)[0]
    for seed in range(60):
        features, pids, camids = crowd(people=40, seed=seed)
        scores = pair_scores(features, pids, camids)
        point = operating_points(features, pids, camids, [scores.rates(threshold)[0] + 1e-9])[0]
        held += point.far.low <= truth <= point.far.high
        deviation = 1.96 * np.sqrt(truth * (1 - truth) / scores.impostor.sum())
        naive += abs(point.far.value - truth) <= deviation
    assert held >= 54  # 95 % of 60 are 57
    assert naive <= 40


def test_too_few_people_are_known_to_be_too_few():
    assert not operating_points(*crowd(people=12), [0.01])[0].far.is_known
    assert operating_points(*crowd(people=80), [0.05])[0].far.is_known


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
@settings(deadline=None)
def test_rates_and_intervals_are_shares(drawn):
    trials = np.array([max(pair) for pair in drawn])
    hits = np.array([min(pair) for pair in drawn])
    if trials.sum() == 0:
        with pytest.raises(SemreidError, match="at least one trial"):
            jackknife_rate(hits, trials)
        return
    rate = jackknife_rate(hits, trials)
    assert 0 <= rate.low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= rate.high <= 1
    assert rate.effective > 0


def test_halves_share_nobody_and_split_those_with_pairs():
    _, pids, camids = crowd(people=21)
    camids[pids > 80] = 1  # the rest are seen by one camera only
    first = halve_people(pids, camids)
    assert not set(pids[first]) & set(pids[~first])
    paired = pids <= 80
    assert abs(len(set(pids[first & paired])) - len(set(pids[~first & paired]))) <= 1
    np.testing.assert_array_equal(first, halve_people(pids, camids))


def test_scores_that_are_known_make_the_same_points():
    data, others = crowd(people=40), pair_scores(*crowd(people=20))
    assert operating_points(*data, [0.05], scores=pair_scores(*data)) == operating_points(*data, [0.05])
    (point,) = operating_points(*data, [0.05], scores=others)  # nobody counts again
    assert point.threshold == threshold_at_far(others, 0.05) != operating_points(*data, [0.05])[0].threshold


@pytest.mark.parametrize("far", [0, 1, -0.1, float("nan")])
def test_rates_out_of_range_are_refused(scores, far):
    with pytest.raises(SemreidError, match="lies between 0 and 1"):
        threshold_at_far(scores, far)


def test_a_collapsed_model_is_refused():
    with pytest.raises(SemreidError, match="12 of 12 impostor pairs have the same embedding"):
        operating_points(np.ones((8, 4)), np.arange(8) // 2, np.arange(8) % 2, [0.1])


def test_misfits_are_refused():
    features, pids, camids = crowd(people=3)
    with pytest.raises(SemreidError, match=r"18 features need as many integer pids"):
        pair_scores(features, pids[:-1], camids)
    with pytest.raises(SemreidError, match="float64"):
        pair_scores(features, pids, camids / 2)
    with pytest.raises(SemreidError, match="18 crops of 3 people in 1 cameras make 0 genuine and 0 impostor pairs"):
        pair_scores(features, pids, np.ones_like(camids))
    with pytest.raises(SemreidError, match="0 impostor pairs"):
        pair_scores(features, np.ones_like(pids), camids)
    with pytest.raises(SemreidError, match="0 crops of 0 people"):
        pair_scores(features, -pids, camids)
    features[2, 1] = np.nan
    with pytest.raises(SemreidError, match="NaN"):
        pair_scores(features, pids, camids)


def test_a_rate_that_is_a_share_of_the_pairs_is_reached_whatever_its_product_rounds_to():
    impostor = np.zeros(CELLS, np.int64)
    impostor[1000:1100] = 1
    known = PairScores(impostor, impostor, people=9)
    for share in (7, 14, 28, 29, 55, 57, 58):
        assert known.rates(threshold_at_far(known, share / 100))[0] == pytest.approx(share / 100)
