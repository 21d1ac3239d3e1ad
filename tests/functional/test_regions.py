import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.functional import region_distance
from semreid.functional.regions import SHARES, likeliest_regions


def crowd(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, 4, 6)).astype(np.float32)
    weights = rng.random((rows, 4)).astype(np.float32) * (rng.random((rows, 4)) < 0.6)
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True), weights


def test_it_is_the_weighted_mean_over_what_both_show() -> None:
    (query, seen), (gallery, known) = crowd(5, 0), crowd(7, 1)
    expected = np.ones((5, 7))
    for q in range(5):
        for g in range(7):
            total = sum(float(seen[q, r]) * float(known[g, r]) for r in range(4))
            terms = [seen[q, r] * known[g, r] * (1 - float(np.dot(query[q, r], gallery[g, r]))) for r in range(4)]
            if total > 0:
                expected[q, g] = sum(terms) / total
    assert (expected == 1).any()  # a pair that shares nothing is among them
    np.testing.assert_allclose(region_distance(query, gallery, seen, known), expected, atol=1e-6)


def test_what_is_not_visible_changes_nothing() -> None:
    (query, seen), (gallery, known) = crowd(5, 2), crowd(7, 3)
    other = np.where(known[..., None] > 0, gallery, -gallery[::-1])
    np.testing.assert_array_equal(
        region_distance(query, gallery, seen, known), region_distance(query, other, seen, known)
    )


@pytest.mark.parametrize("anything", [np.nan, np.inf])
def test_not_even_nan_counts_where_nothing_is_visible(anything: float) -> None:
    sides = [crowd(5, 2), crowd(7, 3)]
    torn = [np.where(weights[..., None] > 0, vectors, np.float32(anything)) for vectors, weights in sides]
    (query, seen), (gallery, known) = sides
    found = region_distance(*torn, seen, known)
    np.testing.assert_array_equal(found, region_distance(query, gallery, seen, known))


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_arrays_that_do_not_fit_are_refused(wrong: int) -> None:
    (query, seen), (gallery, known) = crowd(5, 2), crowd(7, 3)
    arrays = [query, gallery, seen, known]
    arrays[wrong] = arrays[wrong][:, :3]
    with pytest.raises(SemreidError, match=r"regions and weights have shapes \("):
        region_distance(*arrays)


@pytest.mark.parametrize("wrong", [-1, np.nan])
def test_weights_that_are_none_are_refused(wrong: float) -> None:
    query, seen = crowd(2, 0)
    with pytest.raises(SemreidError, match="negative or NaN"):
        region_distance(query, query, seen, seen + wrong)


def test_the_likeliest_region_is_the_one_that_a_pixel_speaks_for() -> None:
    """By Bayes' rule with parts that are alike common: of probabilities that are the shares, any part is as good."""
    rng = np.random.default_rng(0)
    evidence = rng.random((50, 7))
    parts = evidence * SHARES
    parts /= parts.sum(axis=1, keepdims=True)
    shown = np.concatenate([np.full((50, 1), 0.5), 0.5 * parts], axis=1)
    np.testing.assert_array_equal(likeliest_regions(shown), evidence.argmax(axis=1) + 1)
    hidden = np.concatenate([np.full((50, 1), 0.6), 0.4 * parts], axis=1)
    assert likeliest_regions(hidden).tolist() == [0] * 50
    assert SHARES.sum() == pytest.approx(1)


def test_regions_of_another_number_are_refused() -> None:
    with pytest.raises(SemreidError, match="expected background and 7 parts, got 7 regions"):
        likeliest_regions(np.zeros((4, 7)))
