import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as scikit_log_loss

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.functional import calibrate
from semreid.functional.calibration import (
    FEWEST_PEOPLE,
    RELIABILITY_BINS,
    Calibration,
    expected_calibration_error,
    fit_isotonic,
    fit_logistic,
    log_likelihood_ratio,
    log_loss,
    posterior,
    reliability_table,
)
from semreid.functional.pairs import CELLS, HALF, PairScores, halve_people, pair_scores, threshold_at_far
from semreid.models.card import Card
from semreid.verification.calibrate import _doubts
from tests.functional.test_pairs import counts, crowd

FITS = (fit_logistic, fit_isotonic)


def normal_scores(people=100, genuine=0.4, impostor=0.0, spread=0.15, n=(3000, 20000), seed=0):
    rng = np.random.default_rng(seed)
    drawn = (np.clip(rng.normal(mean, spread, k), -1, 1) for mean, k in zip((genuine, impostor), n, strict=True))
    return PairScores(*(counts(((values + 1) * HALF).astype(int)) for values in drawn), people)


def as_samples(scores):
    """The same scores as plain arrays: score, truth, and weights that give both kinds half of the mass."""
    centers = (np.arange(CELLS) + 0.5) / HALF - 1
    values = np.concatenate([np.repeat(centers, scores.genuine), np.repeat(centers, scores.impostor)])
    n_genuine, n_impostor = scores.genuine.sum(), scores.impostor.sum()
    truth = np.repeat([1, 0], [n_genuine, n_impostor])
    return values, truth, np.where(truth == 1, 0.5 / n_genuine, 0.5 / n_impostor)


@pytest.fixture(scope="module")
def made():
    return calibrate(*crowd(people=120, noise=0.8, seed=3), per_camera_pair=True)


def test_logistic_map_is_that_of_scikit_learn():
    scores = normal_scores()
    values, truth, weight = as_samples(scores)
    reference = LogisticRegression(C=1e9, tol=1e-10).fit(values[:, None], truth, sample_weight=weight * len(truth))
    (low, _), (high, _) = fit_logistic(scores)
    x = np.linspace(low, high, 7)
    expected = reference.decision_function(x[:, None])
    np.testing.assert_allclose(log_likelihood_ratio(x, fit_logistic(scores)), expected, rtol=5e-3, atol=5e-3)


def test_logistic_map_of_normal_scores_is_the_true_likelihood_ratio():
    knots = fit_logistic(normal_scores(n=(50_000, 50_000), people=10_000))
    x = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    truth = (x**2 - (x - 0.4) ** 2) / (2 * 0.15**2)
    np.testing.assert_allclose(log_likelihood_ratio(x, knots), truth, atol=0.15)


def test_isotonic_map_is_that_of_scikit_learn_on_the_same_groups():
    scores = normal_scores(people=10_000, n=(397, 293), spread=0.4)  # noisy: there is something to pool
    values, truth, weight = as_samples(scores)
    order = np.argsort(values, kind="stable")
    values, truth, weight = values[order], truth[order], weight[order]
    # Mass up to and with each cell, so that equal scores share a group.
    mass = np.array([weight[values <= v].sum() for v in values])
    group = np.minimum((mass * 20 + 1e-12).astype(int), 19)
    sums = [np.bincount(group, w, 20) for w in (weight * truth, weight, weight * values)]
    reference = IsotonicRegression().fit(np.arange(20), sums[0] / sums[1], sample_weight=sums[1]).predict(np.arange(20))
    knots = fit_isotonic(scores)
    pools = np.unique(reference)
    np.testing.assert_allclose([posterior(llr, 0.5) for _, llr in knots], pools, atol=1e-9)
    assert len(pools) < 20
    for (x, _), level in zip(knots, pools, strict=True):
        rows = np.isclose(reference, level)
        assert x == pytest.approx(sums[2][rows].sum() / sums[1][rows].sum())


@pytest.mark.parametrize("fit", FITS)
@given(
    seed=st.integers(0, 1000),
    people=st.integers(2, 500),
    distance=st.floats(0.05, 1.2),
    n=st.tuples(st.integers(5, 60), st.integers(5, 60)),
)
@settings(max_examples=25, deadline=None)
def test_probabilities_never_fall_and_never_claim_more_than_was_seen(fit, seed, people, distance, n):
    scores = normal_scores(people, distance - 0.5, -0.5, 0.05, n, seed)
    if scores.genuine @ np.arange(CELLS) / n[0] <= scores.impostor @ np.arange(CELLS) / n[1]:
        return
    knots = fit(scores)
    assert (np.diff(knots, axis=0) >= 0).all()
    llr = log_likelihood_ratio(np.linspace(-1, 1, 501), knots)
    assert (np.diff(llr) >= -1e-12).all()  # interpolation rounds
    assert llr[0] >= -math.log(people + 1) - 1e-9
    assert llr[-1] <= math.log(people * (people - 1) / 2 + 1) + 1e-9
    assert 0 < posterior(llr, 0.5).min() <= posterior(llr, 0.5).max() < 1


@pytest.mark.parametrize("fit", FITS)
def test_separable_scores_give_no_certainty(fit):
    scores = PairScores(counts([7000] * 9), counts([1000] * 90), people=9)
    probability = posterior(log_likelihood_ratio([-1.0, 1.0], fit(scores)), 0.5)
    np.testing.assert_allclose(probability, [1 / 11, 37 / 38], rtol=0.02)


@pytest.mark.parametrize("fit", FITS)
def test_scores_that_tell_nothing_are_refused(fit):
    with pytest.raises(SemreidError, match="such scores tell nothing"):
        fit(normal_scores(genuine=0.1, impostor=0.4))


def test_reliability_and_log_loss_are_those_of_plain_loops():
    scores = normal_scores(n=(300, 2000))
    knots = fit_logistic(normal_scores(seed=7))
    values, truth, weight = as_samples(scores)
    probability = posterior(log_likelihood_ratio(values, knots), 0.5)
    expected = 0.0
    table = reliability_table(scores, knots)
    for i in range(RELIABILITY_BINS):
        rows = np.minimum((probability * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1) == i
        row = weight[rows].sum(), (weight * probability)[rows].sum(), (weight * truth)[rows].sum()
        np.testing.assert_allclose(table[i], row, atol=1e-12)
        expected += abs(row[1] - row[2])
    assert expected_calibration_error(table) == pytest.approx(expected)
    assert log_loss(scores, knots) == pytest.approx(
        scikit_log_loss(truth, probability, sample_weight=weight) / math.log(2)
    )
    assert log_loss(scores, ((0.0, 0.0),)) == pytest.approx(1)


def test_the_prior_is_weighed_in_by_bayes():
    scores = normal_scores()
    knots = fit_logistic(scores)
    assert reliability_table(scores, knots, prior=0.1)[:, 2].sum() == pytest.approx(0.1)
    half, tenth = (posterior(log_likelihood_ratio(0.3, knots), prior) for prior in (0.5, 0.1))
    assert tenth / (1 - tenth) == pytest.approx(half / (1 - half) / 9)


def test_calibration_holds_on_other_people(made):
    calibration, evidence = made
    others = pair_scores(*crowd(people=300, noise=0.8, seed=4))
    assert expected_calibration_error(reliability_table(others, calibration.knots)) < 0.02
    assert log_loss(others, calibration.knots) == pytest.approx(calibration.log_loss, rel=0.15)
    for point, check in zip(calibration.points, calibration.cross_check, strict=True):
        far, tar = others.rates(point.threshold)
        assert point.far.low * 0.8 <= far <= point.far.high * 1.2
        assert tar == pytest.approx(point.tar.value, abs=0.05)
        assert np.mean(check.far) == pytest.approx(point.asked_far, rel=0.3)
    assert calibration.ece < 0.04
    assert evidence.losses[calibration.method] == min(evidence.losses.values()) == calibration.log_loss
    assert evidence.reliability[:, 0].sum() == pytest.approx(1)
    assert calibration.counts["people"] == evidence.scores.people == 119
    assert calibration.counts["genuine"] == evidence.scores.genuine.sum()


def test_figures_are_those_of_the_other_half_of_the_people(made):
    features, pids, camids = crowd(people=120, noise=0.8, seed=3)
    first = halve_people(pids, camids)
    a, b = (pair_scores(features[half], pids[half], camids[half]) for half in (first, ~first))
    calibration, evidence = made
    for name, fit in zip(("logistic", "isotonic"), FITS, strict=True):
        assert evidence.losses[name] == pytest.approx((log_loss(b, fit(a)) + log_loss(a, fit(b))) / 2)
    fit = dict(zip(("logistic", "isotonic"), FITS, strict=True))[calibration.method]
    tables = [reliability_table(b, fit(a)), reliability_table(a, fit(b))]
    assert calibration.ece == pytest.approx(np.mean([expected_calibration_error(table) for table in tables]))
    for point, check in zip(calibration.points, calibration.cross_check, strict=True):
        there = b.rates(threshold_at_far(a, point.asked_far))
        back = a.rates(threshold_at_far(b, point.asked_far))
        assert (check.far, check.tar) == ((there[0], back[0]), (there[1], back[1]))


def test_the_better_map_on_other_people_is_taken():
    """Two kinds of genuine pairs make the log-likelihood ratio anything but a straight line."""
    features, pids, camids = crowd(people=300, noise=0.3, seed=5)
    hidden = np.random.default_rng(0).random(len(pids)) < 0.3
    features[hidden] = np.random.default_rng(1).normal(size=features[hidden].shape)
    calibration, evidence = calibrate(features, pids, camids)
    assert calibration.method == "isotonic"
    assert evidence.losses["isotonic"] < 0.99 * evidence.losses["logistic"]


def test_order_of_the_crops_changes_no_threshold(made):
    features, pids, camids = crowd(people=120, noise=0.8, seed=3)
    again, _ = calibrate(features[::-1], pids[::-1], camids[::-1])
    for point, other in zip(made[0].points, again.points, strict=True):
        assert other.threshold == pytest.approx(point.threshold, abs=1 / HALF)
    np.testing.assert_allclose(again.knots, made[0].knots, atol=2e-3)


def test_cameras_get_thresholds_of_their_own(made):
    features, pids, camids = crowd(people=120, noise=0.8, seed=3)
    pids_of_one = pids.copy()
    pids_of_one[camids == 3] += 100_000  # nobody else sees the people of camera 3
    calibration, _ = calibrate(features, pids_of_one, camids, fars=[0.05], per_camera_pair=True)
    assert set(made[0].camera_pairs) == {"1-2", "1-3", "2-3"}
    assert set(calibration.camera_pairs) == {"1-2"}
    rows = camids != 3
    alone, _ = calibrate(features[rows], pids[rows], camids[rows], fars=[0.05])
    assert calibration.camera_pairs["1-2"] == alone.points
    assert calibration.point(0.05, (2, 1)) == (alone.points[0], "1-2")
    assert calibration.point(0.05, (1, 3)) == (calibration.points[0], "")


def test_verdict(made):
    calibration = made[0]
    point = next(p for p in calibration.points if p.asked_far == 0.01)
    assert calibration.verdict(point.threshold, far=0.01).same
    below = calibration.verdict(point.threshold - 1e-6, far=0.01, prior=0.2)
    assert not below.same
    assert below.far == point.far
    assert below.probability == pytest.approx(float(calibration.probability(below.score, prior=0.2)))


def test_usual_rate_is_one_in_a_thousand_or_the_strictest(made):
    calibration = made[0]
    strict = calibration.points[-1]
    assert strict.asked_far > 1e-4
    wide = replace(strict, asked_far=0.001)
    assert calibration.point()[0].asked_far == min(p.asked_far for p in calibration.points)
    assert replace(calibration, points=(wide, replace(strict, asked_far=1e-4))).point()[0] is wide
    with pytest.raises(SemreidError, match=r"rate of 0.2; known are 0.1, 0.01") as caught:
        calibration.point(0.2)
    assert "--far 0.2" in caught.value.fix


def counted_from_0(people):
    features, pids, camids = crowd(people=people, noise=0.8, seed=3)
    return features, np.unique(pids, return_inverse=True)[1], camids


def test_person_0_is_a_person_and_negative_ids_are_nobody():
    features, pids, camids = counted_from_0(people=40)
    camids = np.where(pids == 0, camids + 10, camids)  # cameras that saw person 0 alone
    more = np.concatenate([features, features[:5]]), np.append(pids, [-1] * 5), np.append(camids, [77] * 5)
    with_junk, without = (calibrate(*crops, fars=[0.1])[0].counts for crops in (more, (features, pids, camids)))
    assert with_junk == without
    assert with_junk["people"] == 40
    assert with_junk["images"] == len(pids)
    assert with_junk["cameras"] == len(np.unique(camids))
    with pytest.raises(SemreidError, match=": 40 people make false accepts worth"):
        calibrate(*more, fars=[1e-9])


def test_cameras_that_share_just_enough_people_count_person_0_among_them():
    features, pids, camids = counted_from_0(people=60)
    shared = pids < FEWEST_PEOPLE  # these alone are seen by camera 9, too
    crops = features[shared], pids[shared], np.full(shared.sum(), 9)
    everything = [np.concatenate(both) for both in zip((features, pids, camids), crops, strict=True)]
    found = calibrate(*everything, fars=[0.3], per_camera_pair=True)[0].camera_pairs
    assert {"2-9", "3-9"} <= found.keys()  # of camera 1, too few false accepts are known


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("people", "synthetic people that the model did not learn; real ones may differ"),
        ("market1501", "people of market1501"),
        ("", "people"),
    ],
)
def test_the_basis_claims_no_more_than_was_checked(data, told):
    calibration, _ = calibrate(*crowd(people=60), fars=[0.1])
    people = calibration.counts["people"]
    checked = replace(calibration, made_on={"dataset": data, "warnings": ["calibrated on the test split"]})
    assert checked.basis == f"calibrated on {people} {told}"
    card = Card(model={}, trained_on={"dataset": "people", "sketch": []}, terms="", seed=0)
    doubts = _doubts(card, ReIDDataset("people", Path(), (), (), ()), "all", is_its_own=False)
    unchecked = replace(calibration, made_on={"dataset": data, "warnings": doubts}).basis
    assert "did not learn" not in unchecked
    assert "; the card cannot tell whether the model learned them" in unchecked
    assert unchecked.startswith(f"calibrated on {people} ")


def with_copies(crops, ids, camids):
    """The crops, and one more picture that is filed under each of these people, in these cameras."""
    features, pids, cameras = crops
    return (
        np.concatenate([features, np.ones((len(ids), features.shape[1]))]),
        np.concatenate([pids, ids]),
        np.concatenate([cameras, camids]),
    )


def test_a_picture_filed_under_two_people_costs_the_rates_below_it_alone(made):
    crowded = crowd(people=120, noise=0.8, seed=3)
    crops = with_copies(crowded, np.unique(crowded[1])[:2], [1, 2])
    assert pair_scores(*crops).impostor[-1] == 1
    assert [p.asked_far for p in calibrate(*crops)[0].points] == [p.asked_far for p in made[0].points]
    with pytest.raises(SemreidError, match=r"^1 of \d+,\d+ impostor pairs have the same embedding") as caught:
        calibrate(*crops, fars=[1e-6])
    assert "`semreid doctor` finds copies" in caught.value.fix


def test_a_rate_that_one_half_of_the_people_cannot_reach_is_left_out():
    features, pids, camids = crowd(people=300, images=2, cameras=2, noise=0.8, seed=3)
    some = np.unique(pids[halve_people(pids, camids)])[:60]
    crops = with_copies((features, pids, camids), some, np.arange(60) % 2 + 1)
    assert threshold_at_far(pair_scores(*crops), 0.01) <= 1
    with pytest.raises(SemreidError, match="360 of 28,348 impostor pairs have the same embedding"):
        calibrate(*crops, fars=[0.01])
    assert [p.asked_far for p in calibrate(*crops)[0].points] == [0.1]


def test_cameras_that_see_nothing_but_copies_get_no_thresholds_of_their_own():
    crowded = crowd(people=60)
    crops = with_copies(crowded, np.repeat(np.unique(crowded[1])[:12], 2), np.tile([8, 9], 12))
    found = calibrate(*crops, fars=[0.1], per_camera_pair=True)[0].camera_pairs
    assert {"1-2", "1-3", "2-3"} <= found.keys()
    assert "8-9" not in found


def test_no_rate_at_all_is_refused():
    with pytest.raises(SemreidError, match="no false-accept rate is given"):
        calibrate(*crowd(people=60), fars=[])


def test_a_rate_that_people_are_too_few_for_is_refused():
    with pytest.raises(SemreidError, match=r"rate of 0.0001 cannot be stated: 60 people .* 10 are needed") as caught:
        calibrate(*crowd(people=60), fars=[0.1, 0.0001])
    assert "more people (about" in caught.value.fix
    with pytest.raises(SemreidError, match=r"rate of 0.1 cannot be stated"):
        calibrate(*crowd(people=11))
    with pytest.raises(SemreidError, match="only 9 people are seen by two cameras"):
        calibrate(*crowd(people=9))


@pytest.mark.parametrize("prior", [0, 1, -1, 1e-320, 1 - 1e-16, float("nan")])
def test_priors_out_of_range_are_refused(made, prior):
    with pytest.raises(SemreidError, match="a prior lies between 0 and 1"):
        made[0].probability(0.5, prior=prior)


def test_no_likelihood_ratio_is_too_large_for_a_posterior():
    ratios = np.array([-np.inf, -1e4, 0.0, 1e4, np.inf])
    np.testing.assert_allclose(posterior(ratios, 1e-12), [0, 0, 1e-12, 1, 1], rtol=1e-9)
    np.testing.assert_allclose(posterior(np.log(3.0), 0.2), 3 * 0.2 / (3 * 0.2 + 0.8))


def test_survives_json(made):
    adapter = TypeAdapter(Calibration)
    assert adapter.validate_python(json.loads(json.dumps(asdict(made[0]), allow_nan=False))) == made[0]


@pytest.mark.parametrize(
    "damage",
    [
        {"knots": ((0.0, 1.0), (0.5, -1.0))},
        {"knots": ((0.5, -1.0), (0.5, 1.0))},
        {"knots": ((0.0, math.nan),)},
        {"knots": ()},
        {"points": ()},
        {"method": "guess"},
        {"surprise": 1},
    ],
)
def test_damage_is_refused(made, damage):
    with pytest.raises(ValidationError):
        TypeAdapter(Calibration).validate_python(asdict(made[0]) | damage)
