import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN
from sklearn.metrics import pair_confusion_matrix

from semreid.errors import SemreidError
from semreid.functional import density_groups, grouping_scores, jaccard_graph
from tests.functional.test_reranking import brute_force, clusters


def crops(seed, count=72, **options):
    query, gallery, left, right = clusters(seed, queries=count // 2, gallery=count - count // 2, **options)
    return np.concatenate([query, gallery]), np.concatenate([left, right])


def dense(graph):
    """All distances: 1 where nothing is stored."""
    stored = graph.copy()
    stored.data[:] = 1
    return graph.toarray() + 1 - stored.toarray()


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 1), (1, 2), (200, 6)])
def test_the_graph_holds_the_jaccard_distances_of_the_definition(k1, k2):
    features, _ = crops(0)
    graph = jaccard_graph(features, k1, k2)
    np.testing.assert_allclose(dense(graph)[:36, 36:], brute_force(features[:36], features[36:], k1, k2, 0), atol=1e-6)
    assert abs(graph - graph.T).max() < 1e-6
    assert (graph.diagonal() == 0).all()
    assert graph.has_sorted_indices


def test_a_limit_leaves_out_what_is_as_far_and_nothing_else():
    features, _ = crops(1)
    whole, near = jaccard_graph(features), jaccard_graph(features, limit=0.5)
    below = whole.data < 0.5
    assert 0 < below.sum() < len(below)
    np.testing.assert_array_equal(near.data, whole.data[below])
    np.testing.assert_array_equal(near.indices, whole.indices[below])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    eps=st.floats(0.1, 0.7),
    min_samples=st.integers(1, 6),
    noise=st.floats(0.1, 2.0),
)
def test_groups_are_those_of_dense_distances(seed, eps, min_samples, noise):
    features, _ = crops(seed, noise=noise)
    graph = jaccard_graph(features, 10, 3)
    expected = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(dense(graph).clip(0))
    np.testing.assert_array_equal(density_groups(graph, eps, min_samples), expected)


def test_clear_people_are_found():
    features, pids = crops(3, noise=0.1)
    groups = density_groups(jaccard_graph(features, 6, 3), 0.5, 2)
    assert grouping_scores(groups, pids).pairwise_f1 > 0.95


def test_copies_are_at_distance_zero():
    assert dense(jaccard_graph(np.ones((4, 3)), 3, 2)).max() == 0


@pytest.mark.parametrize("wrong", [{"k1": 0}, {"k2": 0}, {"k1": 2, "k2": 4}, {"limit": 0}, {"limit": 1.5}])
def test_senseless_parameters_are_refused(wrong):
    with pytest.raises(SemreidError, match="usual are 20, 6 and 1"):
        jaccard_graph(np.eye(3), **wrong)


def test_no_crops_and_nan_are_refused():
    with pytest.raises(SemreidError, match="at least one row"):
        jaccard_graph(np.zeros((0, 4)))
    with pytest.raises(SemreidError, match="NaN"):
        jaccard_graph(np.full((3, 2), np.nan))


labels = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=1, max_size=30)


@given(labels)
def test_scores_equal_their_definitions(pairs):
    groups, pids = map(np.array, zip(*pairs, strict=True))
    scores = grouping_scores(groups, pids)
    alone = [group if group >= 0 else 100 + i for i, group in enumerate(groups)]
    (_, false), (missed, hits) = pair_confusion_matrix(pids, alone)
    assert scores.pairwise_precision == pytest.approx(hits / (hits + false) if hits + false else 0)
    assert scores.pairwise_recall == pytest.approx(hits / (hits + missed) if hits + missed else 0)
    same_group = [{j for j, other in enumerate(alone) if other == group} for group in alone]
    same_person = [{j for j, other in enumerate(pids) if other == pid} for pid in pids]
    shared = [len(a & b) for a, b in zip(same_group, same_person, strict=True)]
    precision = np.mean([n / len(a) for n, a in zip(shared, same_group, strict=True)])
    recall = np.mean([n / len(b) for n, b in zip(shared, same_person, strict=True)])
    assert scores.bcubed_precision == pytest.approx(precision)
    assert scores.bcubed_recall == pytest.approx(recall)
    assert scores.bcubed_f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert scores.groups == len({group for group in alone if alone.count(group) > 1})
    assert scores.people == len(set(pids.tolist()))


def test_scores_need_one_person_for_each_crop():
    with pytest.raises(SemreidError, match=r"groups \(2,\) and pids \(3,\)"):
        grouping_scores([0, 1], [1, 2, 3])
