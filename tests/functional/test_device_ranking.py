"""What a GPU computes, here by the same tensors on the CPU: the numbers of the kernels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.functional import _device_ranking as device
from semreid.functional import _device_reranking, distance, k_reciprocal_rerank
from semreid.functional import _ranking_kernels as kernels
from semreid.functional.ranking import JUNK_RULES, TIE_RULES
from tests.functional.test_ranking import random_case
from tests.functional.test_reranking import brute_force, clusters


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, 1, 3, 12]),
    st.sampled_from(range(len(TIE_RULES))),
    st.sampled_from(range(len(JUNK_RULES))),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([1, 4, 50]),
)
@settings(max_examples=80, deadline=None)
def test_every_rule_scores_as_the_kernels_do(seed, levels, ties, junk, dtype, within):
    distances, q_pids, g_pids, q_camids, g_camids = random_case(seed, levels=levels)
    distances, labels = distances.astype(dtype), (q_pids, q_camids, g_pids, g_camids)
    expected = np.zeros((len(distances), 7))
    kernels.rank_rows(0, len(distances), distances, *labels, junk == 1, ties, within, expected)
    there = device.Labels(*map(torch.from_numpy, labels))
    found = device.rank_rows(torch.from_numpy(distances), there, junk == 1, ties, within)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_queries_that_nobody_answers_score_zero():
    labels = device.Labels(*(torch.tensor(each) for each in ([1, 1], [0, 0], [2, 3, 1], [1, 1, 0])))
    assert not device.rank_rows(torch.rand(2, 3), labels, False, 0, 50).any()


def rerank(query, gallery, *parameters):
    pooled = torch.from_numpy(np.concatenate([query, gallery])).float()
    return torch.cat(list(_device_reranking.blocks(pooled, len(query), *parameters))).numpy()


@pytest.mark.parametrize(
    "parameters", [(20, 6, 0.3), (27, 4, 0.3), (7, 1, 0.0), (1, 2, 1.0), (50, 20, 0.5), (200, 6, 0.3)]
)
def test_reranking_equals_brute_force_with_sets(parameters):
    query, gallery, *_ = clusters(0)
    np.testing.assert_allclose(rerank(query, gallery, *parameters), brute_force(query, gallery, *parameters), atol=1e-6)


def test_reranking_in_small_blocks_gives_the_same_as_in_one(monkeypatch):
    query, gallery, *_ = clusters(2, queries=20, gallery=150)
    expected = k_reciprocal_rerank(query, gallery)
    for size in (2**24, 3000):
        monkeypatch.setattr(distance, "BLOCK_VALUES", size)
        monkeypatch.setattr(_device_reranking, "BLOCK_VALUES", size)
        np.testing.assert_allclose(rerank(query, gallery, 20, 6, 0.3), expected, atol=2e-6)


def test_copies_are_ordered_as_the_kernels_order_them():
    features = np.repeat(np.eye(3), 30, axis=0)
    lists, largest = _device_reranking._neighbours(torch.from_numpy(features).float(), 8)
    assert lists[:, 0].tolist() == list(range(90))
    assert lists[40].tolist() == [40, 30, 31, 32, 33, 34, 35, 36]
    np.testing.assert_allclose(largest, 2.0, atol=1e-6)
    np.testing.assert_allclose(rerank(np.ones((2, 3)), np.ones((5, 3)), 10, 6, 0.3), 0.0, atol=1e-6)
