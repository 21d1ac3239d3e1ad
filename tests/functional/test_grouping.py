import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_matrix
from scipy.spatial.distance import squareform
from sklearn.metrics import pair_confusion_matrix, silhouette_samples

from semreid.errors import SemreidError
from semreid.functional import (
    Said,
    group_features,
    grouping_scores,
    grouping_signs,
    jaccard_graph,
    linkage_groups,
    similarity_to_groups,
    simultaneous_tracks,
)
from semreid.functional.reranking import neighbours
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


def with_tracks(seed, share=0.7, **options):
    """Crops with tracks of one to four crops of a person, and a few crops without."""
    features, pids = crops(seed, noise=0.8, **options)
    rng = np.random.default_rng(seed)
    tracks = 10 * pids + rng.integers(0, 3, len(pids))
    return features, np.where(rng.random(len(pids)) < share, tracks, -1)


def untied(graph, seed):
    """The same distances, but no two of them equal: of equals, either may come first."""
    pairs = graph.tocoo()
    more = np.random.default_rng(seed).uniform(0, 0.01, graph.shape)
    distances = 0.97 * pairs.data + (more + more.T)[pairs.row, pairs.col]
    return csr_matrix((distances.astype(np.float32), (pairs.row, pairs.col)), graph.shape)


def greedy(whole, least, points, *, apart=(), distinct=()):
    """Average linkage by its definition: the two nearest groups of points become one, and again."""
    groups = [[i] for i in range(len(points))]
    alike = np.rint((1 - np.minimum(whole, whole.T)) * 2**20)
    sums = np.array([[alike[np.ix_(a, b)].sum() for b in points] for a in points])

    def mean(a, b):
        kept_apart = any({i, j} in apart for i in a for j in b) or (distinct & {*a} and distinct & {*b})
        sizes = sum(len(points[i]) for i in a) * sum(len(points[j]) for j in b)
        return -1 if kept_apart else sums[np.ix_(a, b)].sum() / sizes

    apart, distinct = [set(pair) for pair in apart], set(distinct)
    while len(groups) > 1:
        pairs = [(mean(a, b), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups[:i])]
        best, i, j = max(pairs)
        if best <= 0 or best < least * 2**20:
            break
        groups[j] += groups.pop(i)
    return groups


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.floats(0.1, 0.97), min_samples=st.integers(1, 6), noise=st.floats(0.1, 2.0))
def test_groups_are_those_of_scipy_on_dense_distances(seed, cut, min_samples, noise):
    features, _ = crops(seed, noise=noise)
    graph = untied(jaccard_graph(features, 10, 3), seed)
    whole = np.rint(np.minimum(dense(graph), dense(graph).T).clip(0) * 2**20) / 2**20
    np.fill_diagonal(whole, 0)
    expected = fcluster(linkage(squareform(whole, checks=False), "average"), cut, "distance")
    found = linkage_groups(graph, cut, min_samples)
    for row, group in enumerate(found):
        same = expected == expected[row]
        assert (group >= 0) == (same.sum() >= min_samples)
        if group >= 0:
            np.testing.assert_array_equal(found == group, same)
    members = found[found >= 0]
    assert list(dict.fromkeys(members.tolist())) == list(range(len(set(members.tolist()))))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.floats(0.3, 0.97), share=st.floats(0, 1), many=st.integers(0, 12))
def test_groups_of_tracks_are_those_of_the_definition(seed, cut, share, many):
    features, tracks = with_tracks(seed, share, count=40)
    graph = untied(jaccard_graph(features, 10, 3), seed)
    rng = np.random.default_rng(seed)
    names = np.unique(tracks[tracks >= 0])
    apart = rng.choice(names, (many, 2)) if len(names) else np.zeros((0, 2), int)
    apart = apart[apart[:, 0] != apart[:, 1]]
    distinct = rng.choice(names, min(3, len(names)), replace=False)
    points = [np.flatnonzero(tracks == name).tolist() for name in names]
    points += [[row] for row in np.flatnonzero(tracks < 0).tolist()]
    which = {name: i for i, name in enumerate(names.tolist())}
    groups = greedy(
        dense(graph).clip(0),
        1 - cut,
        points,
        apart=[(which[a], which[b]) for a, b in apart.tolist()],
        distinct=[which[name] for name in distinct.tolist()],
    )
    found = linkage_groups(graph, cut, 3, tracks=tracks, apart=apart, distinct=distinct)
    said = {which[name] for name in distinct.tolist()}
    for group in groups:
        rows = [row for point in group for row in points[point]]
        kept = len(rows) >= 3 or any(len(points[point]) > 1 or point in said for point in group)
        assert len(set(found[rows].tolist())) == 1
        assert (found[rows[0]] >= 0) == kept
        if kept:
            assert (found == found[rows[0]]).sum() == len(rows)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cameras=st.sampled_from([1, 3]), heads=st.integers(2, 4))
def test_heads_side_by_side_count_by_the_mean_of_their_distances(seed, cameras, heads):
    rng = np.random.default_rng(seed)
    views = [crops(seed, noise=0.3 + 0.2 * head)[0].astype(np.float32)[:, : 5 + head] for head in range(heads)]
    views = [view / np.linalg.norm(view, axis=1, keepdims=True) for view in views]
    camids, facts = rng.integers(0, cameras, len(views[0])), {"k1": 8, "k2": 3, "cut": 0.7}
    none, unknown = np.full(len(camids), -1), np.full(len(camids), np.nan)
    widths = [view.shape[1] for view in views]
    scaled = np.concatenate([view * np.float32(10.0 ** rng.integers(-25, 26)) for view in views], 1)
    found = group_features(scaled, camids, none, unknown, blocks=widths, **facts)
    alone = [dense(group_features(view, camids, none, unknown, **facts).graph) for view in views]
    np.testing.assert_allclose(dense(found.graph), np.mean(alone, 0), atol=1e-5)
    np.testing.assert_array_equal(found.groups, linkage_groups(found.graph, 0.7))


def test_one_head_is_the_whole_embedding():
    features, pids = crops(4)
    facts = features.astype(np.float32), pids % 2, np.full(len(pids), -1), np.full(len(pids), np.nan)
    whole, block = group_features(*facts), group_features(*facts, blocks=[features.shape[1]])
    assert (whole.graph != block.graph).nnz == 0
    np.testing.assert_array_equal(whole.groups, block.groups)


def test_a_head_that_is_silent_about_a_crop_does_no_harm():
    features, pids = crops(4, noise=0.1)
    silent = np.concatenate([features, features], 1).astype(np.float32)
    silent[:3, features.shape[1] :] = 0
    none, unknown = np.full(len(pids), -1), np.full(len(pids), np.nan)
    found = group_features(silent, none, none, unknown, blocks=[features.shape[1]] * 2, cut=0.7)
    assert np.isfinite(found.graph.data).all()
    assert grouping_scores(found.groups[3:], pids[3:]).pairwise_f1 == 1


def test_widths_of_another_model_are_refused():
    none, unknown = np.full(6, -1), np.full(6, np.nan)
    with pytest.raises(SemreidError, match=r"features of 5 numbers have no blocks of \[2, 2\]"):
        group_features(np.eye(6, 5, dtype=np.float32), none, none, unknown, blocks=[2, 2])


def test_clear_people_are_found():
    features, pids = crops(3, noise=0.1)
    groups = linkage_groups(jaccard_graph(features, 6, 3), min_samples=2)
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


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.floats(0.3, 0.98), share=st.floats(0, 1))
def test_what_people_said_holds_whatever_tracks_and_distances_say(seed, cut, share):
    features, tracks = with_tracks(seed)
    rng = np.random.default_rng(seed)
    people = np.where(rng.random(len(tracks)) < share / 2, rng.integers(0, 5, len(tracks)), -1)
    people[people >= 0] = np.unique(people[people >= 0], return_inverse=True)[1]
    unsaid = np.flatnonzero(people < 0)
    apart = (
        np.stack([rng.choice(unsaid, 10), rng.choice(people[people >= 0], 10)], axis=1)
        if 0 < len(unsaid) < len(people)
        else np.zeros((0, 2), np.int64)
    )
    times = rng.integers(0, 30, len(tracks)).astype(float)
    groups = group_features(
        features, np.zeros(len(tracks), int), tracks, times, said=Said(people, apart), k1=10, k2=3, cut=cut
    ).groups
    found = [set(groups[people == person].tolist()) for person in range(people.max() + 1)]
    assert all(len(each) == 1 for each in found)
    assert len(set.union(set(), *found) - {-1}) == len(found)
    assert all(groups[crop] not in found[person] for crop, person in apart.tolist())
    assert set(groups.tolist()) - {-1} == set(range(groups.max() + 1))


def test_who_said_nothing_changes_nothing():
    features, tracks = with_tracks(4)
    rest = np.zeros(len(tracks), int), tracks, np.arange(len(tracks)) % 9.0
    nothing = Said(np.full(len(tracks), -1), np.zeros((0, 2), np.int64))
    expected = group_features(features, *rest).groups
    np.testing.assert_array_equal(group_features(features, *rest, said=nothing).groups, expected)


def test_a_word_counts_for_more_than_a_track():
    """A tracker took two people for one; two tracks at once are one person all the same."""
    features = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)  # four clear people, three crops of each
    cameras = np.ones(12, int)
    tracks = np.array([0, 0, 0, 0, -1, -1, 1, 1, -1, 2, 2, -1])
    times = np.array([0, 1, 2, 3, np.nan, np.nan, 5, 6, np.nan, 5, 6, np.nan])

    def grouped(people, apart=()):
        said = Said(np.array(people), np.array(apart, np.int64).reshape(-1, 2))
        return group_features(features, cameras, tracks, times, said=said, k1=2, k2=1, min_samples=2).groups.tolist()

    free = [-1] * 12
    assert len({grouped(free)[row] for row in (0, 1, 2, 3)}) == 1  # bound by the track
    two = [0, 0, -1, 1, *free[4:]]
    found = grouped(two)
    assert found[0] == found[1] == found[2] != found[3] == found[4] == found[5]
    one = [*free[:6], 0, -1, -1, 0, -1, -1]
    found = grouped(one)
    assert found[6] == found[7] == found[8] == found[9] == found[10] == found[11]
    found = grouped([0, *free[1:]], apart=[(3, 0)])
    assert found[0] == found[1] != found[3]


def test_simultaneous_tracks_are_those_whose_times_meet_in_one_camera():
    rng = np.random.default_rng(0)
    tracks, times = rng.integers(-1, 12, 60), rng.integers(0, 40, 60).astype(float)
    camids = np.where(tracks < 0, 1, tracks % 3 - 1)  # those of a third are unknown
    times[::7] = np.nan
    found = {tuple(pair) for pair in simultaneous_tracks(tracks, camids, times).tolist()}
    expected = set()
    for a in range(12):
        for b in range(12):
            left, right = (times[(tracks == t) & np.isfinite(times)] for t in (a, b))
            if a != b and a % 3 == b % 3 != 0 and len(left) and len(right):
                meet = max(left.min(), right.min()) <= min(left.max(), right.max())
                expected |= {frozenset((a, b))} if meet else set()
    assert {frozenset(pair) for pair in found} == expected
    assert len(found) == len(expected) > 3


@pytest.mark.parametrize("seed", [0, 1])
def test_similarities_and_silhouette_are_those_of_dense_distances(seed):
    features, pids = crops(seed, noise=0.8)
    groups = np.where(np.random.default_rng(seed).random(len(pids)) < 0.8, pids, -1)
    graph = jaccard_graph(features, 10, 3)
    near = 1 - dense(graph)
    own, other = similarity_to_groups(graph, groups)
    for i, group in enumerate(groups):
        others = [j for j in np.flatnonzero(groups == group) if j != i]
        assert own[i] == pytest.approx(near[i, others].mean() if group >= 0 and others else 0, abs=1e-6)
        means = [near[i, groups == g].mean() for g in set(groups.tolist()) - {-1, group}]
        assert other[i] == pytest.approx(max(means), abs=1e-6)
    sure = groups >= 0
    distances = (1 - near)[np.ix_(sure, sure)].clip(0)
    np.fill_diagonal(distances, 0)
    expected = silhouette_samples(distances, groups[sure], metric="precomputed")
    several = np.bincount(groups[sure])[groups[sure]] > 1  # of one alone, it is 0 there
    left, right = own[sure][several], other[sure][several]
    np.testing.assert_allclose((left - right) / (1 - np.minimum(left, right)), expected[several], atol=1e-5)


def test_signs_by_hand():
    graph = jaccard_graph(np.array([[0.0], [0.1], [5.0], [5.1], [9.0]]), k1=1, k2=1)
    signs = grouping_signs(graph, np.array([0, 0, 1, 1, -1]), np.array([1, 2, 1, 1, 2]))
    assert (signs.grouped, signs.groups, signs.spanning, signs.mutual) == (0.8, 2, 0.5, 1.0)
    assert signs.silhouette == pytest.approx(1, abs=1e-3)
    alone = grouping_signs(graph, np.array([0, 0, 1, 1, -1]), np.ones(5, int))
    assert (alone.spanning, alone.mutual) == (None, None)
    assert grouping_signs(graph, np.full(5, -1), np.ones(5, int))[:4] == (0, 0, None, 0)


def test_what_a_camera_adds_is_taken_out_before_grouping():
    rng = np.random.default_rng(0)
    pids, camids = np.repeat(np.arange(12), 10), np.tile([1, 2], 60)
    light = np.stack([np.zeros(16), 4 * rng.normal(size=16)])[camids - 1]
    features = (rng.normal(size=(12, 16))[pids] + 0.1 * rng.normal(size=(120, 16)) + light).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    nothing = np.full(120, -1), np.full(120, np.nan)
    found = group_features(features, camids, *nothing).groups
    blind = group_features(features, np.full(120, -1), *nothing).groups
    known = grouping_scores(found, pids).bcubed_f1
    assert known > grouping_scores(blind, pids).bcubed_f1 + 0.2
    half = np.where(np.arange(120) < 60, camids, -1)  # half of the cameras are unknown
    some, graph, *_ = group_features(features, half, *nothing)
    assert graph.shape == (120, 120)
    assert (some >= -1).all()
    camids[0] = 7  # a camera with one crop has no mean of its own
    again = group_features(features, camids, *nothing).groups
    assert grouping_scores(again, pids).bcubed_f1 > known - 0.1


def test_a_crop_alone_in_its_camera_is_grouped_by_what_it_shows():
    """Its own mean taken out, nothing would be left of it."""
    rng = np.random.default_rng(1)
    pids, nothing = np.repeat(np.arange(6), 6), (np.full(36, -1), np.full(36, np.nan))
    vectors = rng.normal(size=(6, 32))[pids] + 0.2 * rng.normal(size=(36, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    for alone in range(36):
        camids = np.tile([1, 1, 1, 2, 2, 2], 6)
        camids[alone] = -1 if alone % 2 else 3
        groups = group_features(vectors, camids, *nothing).groups
        assert groups[alone] == groups[pids[alone] * 6 + (alone % 6 == 0)]


def test_people_boxed_twice_are_grouped_though_no_cut_is_good():
    """Two tracks at once on each person: whatever is joined, a stranger is nearer, and all silhouettes are below 0."""
    distances = np.where(np.eye(5, dtype=bool) | (np.arange(5) < 4) & (np.arange(5) < 4)[:, None], 0, 0.25)
    graph = csr_matrix((distances.ravel(), np.tile(np.arange(5), 5), np.arange(0, 26, 5)), shape=(5, 5))
    groups = linkage_groups(graph, tracks=np.array([7, 7, 8, 8, -1]), apart=np.array([[7, 8]]))
    assert groups[0] == groups[1] != groups[2] == groups[3]


def test_tracks_without_crops_say_nothing():
    graph = jaccard_graph(np.array([[0.0], [0.1], [5.0], [5.1]]), k1=1, k2=1)
    tracks = np.array([7, 7, -1, -1])
    found = linkage_groups(graph, 0.5, tracks=tracks, apart=np.array([[7, 9], [8, 9]]), distinct=np.array([7, 8]))
    np.testing.assert_array_equal(found, linkage_groups(graph, 0.5, tracks=tracks))


@pytest.mark.parametrize(
    ("each", "bounds"), [(5, (5, 12)), (8, (8, 12)), (12, (12, 12)), (22, (22, 22)), (40, (30, 30))]
)
def test_as_many_neighbours_as_people_have_crops(each, bounds):
    """As many as the group of a crop has in the mean, in the first look, with fifteen."""
    rng = np.random.default_rng(each)
    pids = np.repeat(np.arange(30), each)
    features = (rng.normal(size=(30, 16))[pids] + 0.05 * rng.normal(size=(30 * each, 16))).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    unknown = np.full(len(pids), -1), np.full(len(pids), -1), np.full(len(pids), np.nan)
    first = group_features(features, *unknown, k1=15).groups.tolist()
    k1 = min(30, round(np.mean([first.count(group) for group in first if group >= 0])))
    assert bounds[0] <= k1 <= bounds[1]
    groups, graph, *_ = group_features(features, *unknown)
    assert grouping_scores(groups, pids).bcubed_f1 > 0.8
    same, expected, *_ = group_features(features, *unknown, k1=k1, k2=min(5, round(k1 / 3)))
    np.testing.assert_array_equal(groups, same)
    assert (graph != expected).nnz == 0
    for largest in (7, 15):
        _, graph, *_ = group_features(features, *unknown, largest=largest)
        fewer = min(largest, k1)
        assert (
            graph != group_features(features, *unknown, k1=fewer, k2=min(5, max(2, round(fewer / 3)))).graph
        ).nnz == 0


def test_where_a_first_look_finds_nobody_there_is_no_second():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 64)).astype(np.float32)
    unknown = np.full(300, -1), np.full(300, -1), np.full(300, np.nan)
    groups, graph, *_ = group_features(features, *unknown, cut=0.01)
    assert (groups == -1).all()
    assert (graph != group_features(features, *unknown, k1=15, k2=5, cut=0.01).graph).nnz == 0
    with pytest.raises(SemreidError, match="k1=0"):
        group_features(features, *unknown, k1=0)


def test_neighbours_from_other_cameras_are_helped_until_they_come_as_near():
    """Thirty people, six crops of each by two cameras, to each of which a person shows another side."""
    rng = np.random.default_rng(2)
    pids, camids = np.repeat(np.arange(30), 12), np.tile([0, 1], 180)
    people, sides = rng.normal(size=(30, 64)), rng.normal(size=(30, 2, 64))
    vectors = people[pids] + sides[pids, camids] + 0.2 * rng.normal(size=(360, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    unknown = np.full(360, -1), np.full(360, np.nan)

    def found(balance):
        groups = group_features(vectors, camids, *unknown, k1=8, k2=3, min_samples=3, balance=balance).groups
        return grouping_scores(groups, pids)

    alone, helped = found(0.0), found(1.0)
    assert alone.pairwise_recall < 0.55  # a group for each camera
    assert helped.pairwise_recall > 0.95
    assert helped.pairwise_precision > 0.95


def test_a_handicap_decides_who_the_neighbours_are():
    """The lists are those of the distances with what both crops of a pair say added."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(50, 6)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    kinds, less = rng.integers(0, 3, 50), rng.uniform(0, 0.3, (50, 3)).astype(np.float32)
    distances = 2 - 2 * (features @ features.T - less[:, kinds] - less[:, kinds].T)
    np.fill_diagonal(distances, -1)
    handicap = torch.from_numpy(less), torch.eye(3)[kinds]
    lists, largest = neighbours(torch.from_numpy(features), 7, handicap)
    np.testing.assert_array_equal(lists, distances.argsort(1, kind="stable")[:, :8])
    np.testing.assert_allclose(largest, distances.max(1), rtol=1e-5)


def test_pairs_of_strangers_take_no_memory() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 32)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    unknown = np.full(400, -1), np.full(400, -1), np.full(400, np.nan)
    groups, graph, *_ = group_features(features, *unknown, k1=15)
    whole = jaccard_graph(features, 15, 5)
    assert graph.nnz < whole.nnz
    assert graph.data.max() < 0.98
    np.testing.assert_array_equal(groups, linkage_groups(whole))


@pytest.mark.parametrize("seed", range(4))
def test_the_cut_is_the_largest_whose_silhouette_is_nearly_the_best(seed):
    features, _ = crops(seed, noise=(0.2, 0.6, 1.0, 1.6)[seed])
    graph = untied(jaccard_graph(features, 10, 3), seed)
    distances = np.minimum(dense(graph), dense(graph).T)
    np.fill_diagonal(distances, 0)
    cuts = [0.3 + step / 20 for step in range(11)]
    found = [linkage_groups(graph, cut) for cut in cuts]
    worth = []
    for groups in found:
        sure = groups >= 0
        several = len(set(groups[sure].tolist())) > 1
        each = silhouette_samples(distances[np.ix_(sure, sure)], groups[sure], metric="precomputed") if several else [0]
        worth.append(np.sum(each) / len(groups))
    assert len({len(set(groups.tolist())) for groups in found}) > 1
    expected = max(i for i, each in enumerate(worth) if each >= 0.95 * max(worth))
    np.testing.assert_array_equal(linkage_groups(graph), found[expected])


def test_tracks_help_and_do_not_chain_people():
    """Sixty people, three tracks of six crops of each, which are alike for reasons that are not the person, too."""
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(180), 6)
    pids = tracks // 3
    people, moments = rng.normal(size=(60, 32)), rng.normal(size=(180, 32))
    vectors = people[pids] + 0.7 * moments[tracks] + 0.7 * rng.normal(size=(1080, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    unknown = np.full(1080, -1), np.full(1080, np.nan)
    known = grouping_scores(group_features(vectors, unknown[0], tracks, unknown[1]).groups, pids)
    blind = grouping_scores(group_features(vectors, unknown[0], *unknown).groups, pids)
    assert known.pairwise_precision > 0.9
    assert known.pairwise_f1 > blind.pairwise_f1 + 0.03


def test_directions_that_differ_by_rounding_end():
    """Two crops may be a little nearer in one direction; nearest neighbours must not lead round in a circle."""
    features, pids = crops(5, count=200, noise=1.2)
    graph = jaccard_graph(features, 10, 3)
    graph.data += np.random.default_rng(0).uniform(-1e-5, 1e-5, graph.nnz).astype(np.float32)
    groups = linkage_groups(graph, 0.95)
    assert len(groups) == len(pids)


@pytest.mark.parametrize("each", [10, 40])
def test_long_tracks_do_not_hide_who_else_is_there(each):
    """Of so many near copies of a crop, all fifteen neighbours would be of its track."""
    rng = np.random.default_rng(1)
    tracks = rng.permutation(np.repeat(np.arange(72), each))
    pids, moments = tracks // 3, rng.normal(size=(72, 32))
    vectors = rng.normal(size=(24, 32))[pids] + 0.6 * moments[tracks] + 0.05 * rng.normal(size=(72 * each, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = group_features(vectors, np.full(len(pids), -1), tracks, np.full(len(pids), np.nan))
    assert grouping_scores(found.groups, pids).pairwise_f1 > 0.95
    assert found.graph.shape == (72 * 5, 72 * 5)
    own, other = found.similarity()
    assert (own > other).mean() > 0.95
    assert found.signs(np.full(len(pids), -1)).grouped == 1


def test_in_one_camera_long_tracks_of_people_who_pass_once_stay_apart():
    """There is nobody else to see: strangers must not fill the neighbourhoods."""
    rng = np.random.default_rng(1)
    tracks = np.repeat(np.arange(24), 40)
    vectors = rng.normal(size=(24, 16))[tracks] + 0.5 * rng.normal(size=(960, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = group_features(vectors, np.full(960, 3), tracks, np.full(960, np.nan))
    assert len(found.compared) == 960
    assert grouping_scores(found.groups, tracks).pairwise_f1 > 0.95


@given(seed=st.integers(0, 10**6), timed=st.booleans())
def test_five_crops_of_a_track_speak_for_those_nearest_in_time(seed, timed):
    rng = np.random.default_rng(seed)
    tracks = rng.integers(-1, 4, rng.integers(12, 120))
    count, times = len(tracks), rng.permutation(len(tracks)).astype(float) if timed else np.full(len(tracks), np.nan)
    features = rng.normal(size=(count, 8)).astype(np.float32)
    found = group_features(features, np.full(count, -1), tracks, times, k1=2, k2=1)
    np.testing.assert_array_equal(found.stand_in[found.compared], np.arange(len(found.compared)))
    speaker = found.compared[found.stand_in]
    assert (speaker[tracks < 0] == np.flatnonzero(tracks < 0)).all()
    np.testing.assert_array_equal(tracks[speaker], tracks)
    for track in range(tracks.max() + 1):
        rows = np.flatnonzero(tracks == track)
        rows = rows[np.argsort(times[rows], kind="stable")]
        speaking = np.flatnonzero(speaker[rows] == rows)  # their places in the track
        assert len(speaking) == min(len(rows), 5)
        assert {0, len(rows) - 1} <= {*speaking.tolist()} or not len(rows)
        assert np.ptp(np.diff(speaking)) <= 1 if len(speaking) > 2 else True
        places = [rows.tolist().index(row) for row in speaker[rows].tolist()]
        nearest = np.abs(np.arange(len(rows))[:, None] - speaking).min(axis=1, initial=count)
        np.testing.assert_array_equal(np.abs(np.arange(len(rows)) - places), nearest)


@pytest.mark.parametrize("wrong", [{"cut": 1.0}, {"cut": 1.5}, {"cut": np.nan}, {"cut": -0.1}, {"min_samples": 0}])
def test_groups_that_cannot_be_are_refused(wrong):
    facts = np.zeros(9, int), np.full(9, -1), np.full(9, np.nan)
    with pytest.raises(SemreidError, match=next(iter(wrong))):
        group_features(np.eye(9, dtype=np.float32), *facts, **wrong)
    with pytest.raises(SemreidError, match=next(iter(wrong))):
        linkage_groups(jaccard_graph(np.eye(9), 2, 1), **wrong)


@pytest.mark.parametrize("short", [0, 1, 2])
def test_every_crop_has_a_camera_a_track_and_a_time(short):
    facts = [np.zeros(9, int), np.full(9, -1), np.full(9, np.nan)]
    facts[short] = facts[short][:8]
    with pytest.raises(SemreidError, match=r"9 crops came with .* of shape \(8,\)"):
        group_features(np.eye(9, dtype=np.float32), *facts)
    if short == 1:
        with pytest.raises(SemreidError, match=r"9 crops came with tracks of shape \(8,\)"):
            linkage_groups(jaccard_graph(np.eye(9), 2, 1), tracks=facts[1])
