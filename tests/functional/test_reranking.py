from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.errors import SemreidError
from semreid.functional import (
    distance,
    jaccard_graph,
    k_reciprocal_blocks,
    k_reciprocal_rerank,
    rank_distances,
    rank_features,
    reranking,
)

GOLDEN = np.load(Path(__file__).parent / "golden" / "reranking.npz")


def brute_force(query, gallery, k1=20, k2=6, lambda_value=0.3):
    """The definition with Python sets and dense float64 matrices: nothing in common with the library's way."""
    features = np.concatenate([query, gallery]).astype(np.float64)
    count, queries = len(features), len(query)
    d = ((features[:, None] - features[None]) ** 2).sum(-1)
    d /= np.maximum(d.max(axis=1, keepdims=True), np.finfo(float).tiny)
    order = [[i, *(j for j in np.argsort(d[i], kind="stable") if j != i)] for i in range(count)]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    V = np.zeros((count, count))
    for i in range(count):
        core = reciprocal(i, k1)
        members = set(core)
        for j in core:
            candidate = reciprocal(j, round(k1 / 2))
            if len(core & candidate) > 2 / 3 * len(candidate):
                members |= candidate
        for j in members:
            V[i, j] = np.exp(-d[i, j])
        V[i] /= V[i].sum()
    V = np.stack([V[order[i][:k2]].mean(axis=0) for i in range(count)])
    smaller = np.array([[np.minimum(V[i], V[j]).sum() for j in range(queries, count)] for i in range(queries)])
    larger = np.array([[np.maximum(V[i], V[j]).sum() for j in range(queries, count)] for i in range(queries)])
    return (1 - lambda_value) * (1 - smaller / larger) + lambda_value * d[:queries, queries:]


def clusters(seed, queries=12, gallery=60, dim=16, identities=10, noise=0.5):
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((identities, dim))
    pids = rng.integers(0, identities, queries + gallery)
    features = centers[pids] + noise * rng.standard_normal((len(pids), dim))
    return features[:queries], features[queries:], pids[:queries], pids[queries:]


def test_golden_values_of_a_public_implementation():
    ours = k_reciprocal_rerank(GOLDEN["query"], GOLDEN["gallery"])
    np.testing.assert_allclose(ours, GOLDEN["reranked"], atol=1e-5)
    assert ours.dtype == np.float32


@pytest.mark.parametrize(
    "parameters", [(20, 6, 0.3), (27, 4, 0.3), (7, 1, 0.0), (1, 2, 1.0), (50, 20, 0.5), (200, 6, 0.3)]
)
def test_equals_brute_force_with_sets(parameters):
    query, gallery, *_ = clusters(0)
    np.testing.assert_allclose(
        k_reciprocal_rerank(query, gallery, *parameters), brute_force(query, gallery, *parameters), atol=1e-6
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.integers(1, 2))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_equals_brute_force_on_random_clusters(seed, k1, k2):
    query, gallery, *_ = clusters(seed, queries=5, gallery=25)
    expected = brute_force(query.astype(np.float32), gallery.astype(np.float32), k1, k2)
    np.testing.assert_allclose(k_reciprocal_rerank(query, gallery, k1, k2), expected, atol=2e-6)


def test_raw_features_far_from_the_origin_equal_brute_force():
    query, gallery, *_ = clusters(1)
    np.testing.assert_allclose(k_reciprocal_rerank(query + 30, gallery + 30), brute_force(query, gallery), atol=1e-5)


def test_tiles_and_blocks_change_nothing(monkeypatch):
    query, gallery, *_ = clusters(2)
    whole = k_reciprocal_rerank(query, gallery)
    monkeypatch.setattr(distance, "BLOCK_VALUES", 300)
    monkeypatch.setattr(distance, "TILE", 17)
    blocks = list(k_reciprocal_blocks(query, gallery))
    assert [len(block) for block in blocks] == [5, 5, 2]
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


@pytest.mark.parametrize("size", [1e-37, 1e-25, 1e-15, 1e15, 1e20, 1e25, 1e37])
def test_numbers_of_any_size_give_the_same_distances(size):
    """Squares of the largest and smallest are no float32."""
    query, gallery, *_ = clusters(4)
    far = [(size / 10 * features).astype(np.float32) for features in (query, gallery)]
    np.testing.assert_allclose(k_reciprocal_rerank(*far), k_reciprocal_rerank(query, gallery), atol=1e-5)
    graph, expected = (jaccard_graph(features).toarray() for features in (far[1], gallery))
    np.testing.assert_allclose(graph, expected, atol=1e-5)


def test_many_threads_and_chunks_change_nothing(monkeypatch):
    query, gallery, *_ = clusters(3, queries=40, gallery=200)
    whole = k_reciprocal_rerank(query, gallery)
    monkeypatch.setattr("semreid.functional._threads.CHUNKS", (7, 7))
    np.testing.assert_array_equal(k_reciprocal_rerank(query, gallery), whole)


def test_distances_are_squared_once_and_rows_scaled_by_their_own_maximum():
    """docs/protocols.md, bug 11. With lambda 1 only the original distance is left."""
    query, gallery, *_ = clusters(4)
    pooled = np.concatenate([query, gallery])
    squared = ((query[:, None] - pooled[None]) ** 2).sum(-1)
    expected = (squared / squared.max(axis=1, keepdims=True))[:, len(query) :]
    np.testing.assert_allclose(k_reciprocal_rerank(query, gallery, lambda_value=1.0), expected, atol=1e-6)


def test_identical_features_give_zero_not_nan():
    """docs/protocols.md#re-ranking, trap d."""
    result = k_reciprocal_rerank(np.ones((2, 3)), np.ones((5, 3)), k1=10)
    np.testing.assert_allclose(result, 0.0, atol=1e-6)


def test_more_copies_than_neighbours_keep_every_image_first_in_its_own_list():
    features = np.repeat(np.eye(3), 30, axis=0)
    lists, _ = reranking.neighbours(torch.from_numpy(features).float(), 7)
    assert lists[:, 0].tolist() == list(range(90))
    assert [len(set(row)) for row in lists.tolist()] == [8] * 90


def test_it_is_transductive_other_queries_change_a_score():
    """docs/protocols.md#re-ranking, trap a: hence a row of its own in every report."""
    query, gallery, *_ = clusters(5)
    alone, together = k_reciprocal_rerank(query[:1], gallery), k_reciprocal_rerank(query, gallery)[:1]
    assert np.abs(alone - together).max() > 1e-3


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_the_order_of_the_gallery_does_not_matter(seed):
    query, gallery, *_ = clusters(seed)
    order = np.random.default_rng(seed).permutation(len(gallery))
    shuffled = k_reciprocal_rerank(query, gallery[order])
    np.testing.assert_allclose(shuffled, k_reciprocal_rerank(query, gallery)[:, order], atol=2e-6)


def test_blocks_feed_the_ranking_and_improve_it_on_clusters():
    query, gallery, q_pids, g_pids = clusters(6, queries=60, gallery=400, dim=32, identities=20, noise=1.6)
    ids = q_pids, g_pids, np.zeros(60, int), np.ones(400, int)
    before = rank_features(query, gallery, *ids, metric="euclidean")
    after = rank_distances(k_reciprocal_blocks(torch.from_numpy(query), torch.from_numpy(gallery)), *ids)
    assert after.mAP > before.mAP + 0.02


@pytest.mark.parametrize(
    "parameters", [{"k1": 0}, {"k2": 0}, {"k1": 4, "k2": 6}, {"lambda_value": 1.1}, {"lambda_value": float("nan")}]
)
def test_senseless_parameters_are_refused_at_the_call(parameters):
    query, gallery, *_ = clusters(7)
    with pytest.raises(SemreidError, match="re-ranking cannot use"):
        k_reciprocal_blocks(query, gallery, **parameters)


def test_nan_is_refused_at_the_call():
    query, gallery, *_ = clusters(8)
    gallery[3] = np.nan
    with pytest.raises(SemreidError, match="gallery features hold NaN"):
        k_reciprocal_blocks(query, gallery)
