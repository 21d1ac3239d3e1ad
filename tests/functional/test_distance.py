import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from semreid.errors import SemreidError
from semreid.functional import distance, distance_blocks, pairwise_distance
from semreid.functional.distance import checked_features, full_precision

rng = np.random.default_rng(0)
QUERY, GALLERY = rng.standard_normal((7, 16)), rng.standard_normal((11, 16))


def test_metrics_agree_with_scikit_learn():
    euclid = euclidean_distances(QUERY, GALLERY)
    np.testing.assert_allclose(pairwise_distance(QUERY, GALLERY, "euclidean"), euclid, rtol=1e-5)
    np.testing.assert_allclose(pairwise_distance(QUERY, GALLERY, "sqeuclidean"), euclid**2, rtol=1e-5)
    np.testing.assert_allclose(pairwise_distance(QUERY, GALLERY), cosine_distances(QUERY, GALLERY), atol=1e-6)


def test_arrays_and_tensors_of_any_float_type_give_float32_arrays():
    expected = pairwise_distance(QUERY.astype(np.float32), GALLERY.astype(np.float32))
    tensors = torch.from_numpy(QUERY).requires_grad_(), torch.from_numpy(GALLERY)
    for query, gallery in [(QUERY, GALLERY), tensors, (tensors[0], GALLERY)]:
        result = pairwise_distance(query, gallery)
        assert isinstance(result, np.ndarray)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_read_only_and_reversed_arrays_are_taken_as_they_come():
    frozen = QUERY.astype(np.float32)
    frozen.flags.writeable = False
    np.testing.assert_allclose(pairwise_distance(frozen[::-1], GALLERY)[::-1], pairwise_distance(QUERY, GALLERY))


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean"])
def test_blocks_are_bounded_and_change_nothing(monkeypatch, metric):
    whole = pairwise_distance(QUERY, GALLERY, metric)
    monkeypatch.setattr(distance, "BLOCK_VALUES", 2 * len(GALLERY) + 1)
    blocks = list(distance_blocks(QUERY, GALLERY, metric))
    assert [len(block) for block in blocks] == [2, 2, 2, 1]
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


def test_a_row_wider_than_a_block_is_still_one_row(monkeypatch):
    monkeypatch.setattr(distance, "BLOCK_VALUES", 1)
    assert [len(block) for block in distance_blocks(QUERY, GALLERY)] == [1] * len(QUERY)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1e3))
@settings(max_examples=30, deadline=None)
def test_identical_features_far_from_the_origin_are_never_negative_or_nan(seed, offset):
    """docs/protocols.md, bug 15: the expansion formula goes below zero and the root makes it NaN."""
    features = np.random.default_rng(seed).standard_normal((6, 64)) + offset
    for metric in ("cosine", "euclidean", "sqeuclidean"):
        distances = pairwise_distance(features, features, metric)
        assert np.isfinite(distances).all()
        assert (distances >= 0).all()


@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e-13, 1e-11, 1e11, 1e13, 1e25, 1e37])
def test_features_of_any_size_have_their_distances(size):
    query, gallery = QUERY * size, GALLERY * size
    np.testing.assert_allclose(pairwise_distance(query, gallery), cosine_distances(QUERY, GALLERY), atol=1e-6)
    straight = euclidean_distances(QUERY, GALLERY) * size
    np.testing.assert_allclose(pairwise_distance(query, gallery, "euclidean"), straight, rtol=1e-5)
    for metric in ("cosine", "euclidean", "sqeuclidean"):
        same = np.eye(3) * size
        np.testing.assert_array_equal(np.diagonal(pairwise_distance(same, same, metric)), 0)


def test_rows_of_other_sizes_and_of_nothing_change_no_row():
    sizes = np.array([1e25, 0, 1e-13, 1, 1e-30, 1, 1e38])[:, None]
    found, expected = pairwise_distance(QUERY * sizes, GALLERY), pairwise_distance(QUERY, GALLERY)
    np.testing.assert_array_equal(found[[3, 5]], expected[[3, 5]])
    np.testing.assert_allclose(found[[0, 2, 4, 6]], expected[[0, 2, 4, 6]], atol=1e-6)
    np.testing.assert_array_equal(found[1], 1)
    assert not np.isnan(pairwise_distance(QUERY * sizes, GALLERY, "sqeuclidean")).any()


def test_an_offset_shared_by_all_features_costs_no_precision():
    exact = euclidean_distances(QUERY, GALLERY)
    np.testing.assert_allclose(pairwise_distance(QUERY + 300, GALLERY + 300, "euclidean"), exact, rtol=1e-4)


def test_fast_matrix_modes_and_autocast_do_not_reach_the_distances():
    expected = pairwise_distance(QUERY, GALLERY, "euclidean")
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(pairwise_distance(QUERY, GALLERY, "euclidean"), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(chosen)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused_by_side_and_row(bad):
    broken = GALLERY.copy()
    broken[4, 2] = bad
    with pytest.raises(SemreidError, match=r"1 gallery features hold NaN or infinity, the first in row 4"):
        distance_blocks(QUERY, broken)
    with pytest.raises(SemreidError, match=r"query features .* row 4"):
        distance_blocks(broken, GALLERY)


def test_one_matrix_alone_is_of_no_side():
    broken = GALLERY.copy()
    broken[4, 2] = np.nan
    with pytest.raises(SemreidError, match=r"^1 features hold NaN or infinity, the first in row 4"):
        checked_features(broken)
    with pytest.raises(SemreidError, match=r"^features must have shape \(N, D\), at least one row; got \(0, 16\)"):
        checked_features(torch.zeros(0, 16))
    assert checked_features(GALLERY.astype(np.float64)).dtype == torch.float32


def test_misfits_are_refused():
    with pytest.raises(SemreidError, match="16 dimensions, gallery features 3"):
        pairwise_distance(QUERY, GALLERY[:, :3])
    with pytest.raises(SemreidError, match=r"shape \(N, D\)"):
        pairwise_distance(QUERY[0], GALLERY)
    with pytest.raises(SemreidError, match="at least one row"):
        pairwise_distance(QUERY[:0], GALLERY)
    with pytest.raises(SemreidError, match="unknown metric 'manhattan'"):
        pairwise_distance(QUERY, GALLERY, "manhattan")


def test_the_last_of_several_threads_gives_the_precision_back():
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        first, second = full_precision(torch.device("cpu")), full_precision(torch.device("cpu"))
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_float32_matmul_precision() == "highest"
        second.__exit__(None, None, None)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(chosen)
