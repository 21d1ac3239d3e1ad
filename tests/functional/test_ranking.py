from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_reciprocal_rank

from semreid.errors import SemreidError
from semreid.functional import distance, distance_blocks, rank_distances, rank_features, single_shot_cmc
from semreid.functional.ranking import JUNK_RULES, TIE_RULES

GOLDEN = dict(np.load(Path(__file__).parent / "golden" / "ranking.npz"))
LABELS = [GOLDEN[name] for name in ("query_pids", "gallery_pids", "query_camids", "gallery_camids")]


def from_relevance(relevance):
    """One query of pid 1 at camera 0, a kept gallery in the given order of relevance."""
    pids = [1 if good else 2 for good in relevance]
    return np.arange(len(relevance), dtype=float)[None], [1], pids, [0], [1] * len(relevance)


def kept(q_pid, q_camid, g_pid, g_camid, junk="same-pid-and-camera"):
    if g_pid < 0:
        return False
    return g_camid != q_camid or (junk == "same-pid-and-camera" and g_pid != q_pid)


def naive_query(row, q_pid, q_camid, g_pids, g_camids, junk="same-pid-and-camera", ties="stable"):
    """Sort what is kept, walk down the list; the definitions of docs/protocols.md, word by word."""
    sign = {"stable": 0, "pessimistic": 1, "optimistic": -1}[ties]
    keep = [g for g in range(len(row)) if kept(q_pid, q_camid, g_pids[g], g_camids[g], junk)]
    keep.sort(key=lambda g: (row[g], sign * (g_pids[g] == q_pid), g))
    ranks = [rank for rank, g in enumerate(keep, start=1) if g_pids[g] == q_pid]
    if not ranks:
        return None
    precisions = [k / r for k, r in enumerate(ranks, start=1)]
    before = [(k - 1) / (r - 1) if r > 1 else 1.0 for k, r in enumerate(ranks, start=1)]
    trapezoid = [(a + b) / 2 for a, b in zip(precisions, before, strict=True)]
    return np.mean(precisions), np.mean(trapezoid), len(ranks) / ranks[-1], ranks[0]


def random_case(seed, queries=9, gallery=40, levels=None):
    rng = np.random.default_rng(seed)
    size = (queries, gallery)
    distances = rng.random(size) if levels is None else rng.integers(0, levels, size).astype(float)
    ids = rng.integers(0, 5, queries), rng.integers(-1, 5, gallery)
    return distances, *ids, rng.integers(0, 3, queries), rng.integers(0, 3, gallery)


# --- golden numbers and other people's tools ------------------------------------------------------------


def test_map_of_the_first_ranks_is_that_of_the_evaluator_of_bdb_and_pmm():
    # Sheet: it looks at the first 50 kept images only, and divides by all relevant ones.
    distances, *ids = random_case(3, gallery=120)
    for within in (1, 5, 50, 1000):
        ranking = rank_distances(distances, *ids, within=within)
        expected = []
        for q in np.flatnonzero(ranking.valid):
            q_pid, q_camid = ids[0][q], ids[2][q]
            keep = [g for g in range(120) if kept(q_pid, q_camid, ids[1][g], ids[3][g])]
            good = ids[1][sorted(keep, key=lambda g, row=distances[q]: row[g])] == q_pid
            precision = np.cumsum(good) / np.arange(1, len(good) + 1)
            expected.append((precision * good)[:within].sum() / good.sum())
        assert ranking.mAP_within == pytest.approx(np.mean(expected), abs=1e-12)
    assert ranking.mAP_within == pytest.approx(ranking.mAP)
    assert rank_distances(distances, *ids, within=5).mAP_within < ranking.mAP


def test_golden_values_of_two_public_evaluators():
    ranking = rank_features(GOLDEN["query"], GOLDEN["gallery"], *LABELS)
    np.testing.assert_allclose(ranking.cmc, GOLDEN["torchreid_cmc"], atol=1e-6)
    np.testing.assert_allclose(ranking.cmc, GOLDEN["fastreid_cmc"], atol=1e-6)
    np.testing.assert_allclose(ranking.ap, GOLDEN["fastreid_ap"], atol=1e-9)
    np.testing.assert_allclose(ranking.inp, GOLDEN["fastreid_inp"], atol=1e-9)
    assert ranking.mAP == pytest.approx(GOLDEN["torchreid_map"], abs=1e-7)
    assert ranking.mAP_trapezoid == pytest.approx(GOLDEN["trapezoid_map"], abs=1e-7)
    assert ranking.n_skipped == 0


def test_scikit_learn_and_torchmetrics_agree_query_by_query():
    distances, q_pids, g_pids, q_camids, g_camids = random_case(0)
    ranking = rank_distances(distances, q_pids, g_pids, q_camids, g_camids)
    for q in np.flatnonzero(ranking.valid):
        keep = [kept(q_pids[q], q_camids[q], *item) for item in zip(g_pids, g_camids, strict=True)]
        relevant, scores = g_pids[keep] == q_pids[q], 1 - distances[q, keep]
        assert ranking.ap[q] == pytest.approx(average_precision_score(relevant, scores))
        tensors = torch.from_numpy(scores).float(), torch.from_numpy(relevant)
        assert ranking.ap[q] == pytest.approx(retrieval_average_precision(*tensors).item(), abs=1e-5)
        assert 1 / ranking.first_rank[q] == pytest.approx(retrieval_reciprocal_rank(*tensors).item())


# --- docs/protocols.md#cases-to-check-by-hand ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("relevance", "ap", "trapezoid", "inp", "cmc"),
    [
        ([1, 0, 1], 5 / 6, 19 / 24, 2 / 3, [1, 1, 1]),
        ([0, 1], 0.5, 0.25, 0.5, [0, 1, 1]),
        ([0, 0, 0, 1, 1], 0.325, 0.225, 0.4, [0, 0, 0, 1, 1]),
        ([1], 1.0, 1.0, 1.0, [1, 1]),
    ],
)
def test_hand_cases_1_to_3(relevance, ap, trapezoid, inp, cmc):
    ranking = rank_distances(*from_relevance(relevance), max_rank=len(cmc))
    assert ranking.mAP == pytest.approx(ap)
    assert ranking.mAP_trapezoid == pytest.approx(trapezoid)
    assert ranking.mINP == pytest.approx(inp)
    assert ranking.cmc.tolist() == cmc


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize(("pid", "camid"), [(-1, 1), (-1, 0), (1, 0)])
def test_hand_case_4_junk_changes_nothing_wherever_it_ranks(position, pid, camid):
    distances, q_pids, g_pids, q_camids, g_camids = from_relevance([0, 0, 0, 1, 1])
    without = rank_distances(distances, q_pids, g_pids, q_camids, g_camids)
    more = np.insert(distances, position, position - 0.5, axis=1)
    ids = [*g_pids[:position], pid, *g_pids[position:]], q_camids, [*g_camids[:position], camid, *g_camids[position:]]
    assert_same(rank_distances(more, q_pids, *ids), without)


def test_hand_case_5_a_distractor_is_a_negative():
    distances, q_pids, g_pids, q_camids, g_camids = from_relevance([1, 0, 1])
    first = np.insert(distances, 0, -1.0, axis=1)
    ranking = rank_distances(first, q_pids, [0, *g_pids], q_camids, [1, *g_camids])
    assert ranking.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_hand_case_6_and_bug_4_the_denominator_is_stated():
    distances = np.tile([0.1, 0.2, 0.3], (3, 1))
    ids = [1, 2, 9], [1, 2, 3], [0, 0, 0], [1, 1, 1]
    skip, zero = rank_distances(distances, *ids), rank_distances(distances, *ids, skipped="zero")
    assert (skip.n_valid, skip.n_skipped) == (zero.n_valid, zero.n_skipped) == (2, 1)
    assert skip.mAP == pytest.approx((1 + 1 / 2) / 2)
    assert zero.mAP == pytest.approx((1 + 1 / 2) / 3)
    assert (skip.cmc[0], skip.cmc[-1]) == pytest.approx((1 / 2, 1))
    assert (zero.cmc[0], zero.cmc[-1]) == pytest.approx((1 / 3, 2 / 3))
    assert np.isnan(skip.ap[2])
    assert np.isnan(skip.inp[2])
    assert (zero.ap[2], zero.first_rank[2], skip.first_rank[2]) == (0, 0, 0)


@pytest.mark.parametrize("skipped", ["skip", "zero"])
def test_hand_case_7_one_camera_for_everything_is_an_error_that_names_the_rule(skipped):
    with pytest.raises(SemreidError, match="camera rule deletes") as error:
        rank_distances(np.ones((2, 2)), [1, 2], [1, 2], [0, 0], [0, 0], skipped=skipped)
    assert "camera 0 and the whole gallery camera 1" in error.value.fix


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_hand_case_8_the_order_of_the_gallery_does_not_matter(seed):
    distances, q_pids, g_pids, q_camids, g_camids = random_case(seed)
    order = np.random.default_rng(seed).permutation(len(g_pids))
    shuffled = rank_distances(distances[:, order], q_pids, g_pids[order], q_camids, g_camids[order])
    assert_same(shuffled, rank_distances(distances, q_pids, g_pids, q_camids, g_camids))


def test_hand_case_9_equal_distances_under_each_tie_rule():
    ids = [1], [2, 1, 2, 1, 2], [0], [1] * 5
    first = {ties: rank_distances(np.ones((1, 5)), *ids, ties=ties).first_rank[0] for ties in TIE_RULES}
    assert first == {"stable": 2, "pessimistic": 4, "optimistic": 1}


def test_hand_case_10_counted_ranks_equal_those_of_a_sort():
    distances, *ids = random_case(1, queries=50, gallery=200)
    assert_equals_naive(distances, *ids)


# --- properties -------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, 1, 3, 12]),
    st.sampled_from(TIE_RULES),
    st.sampled_from(JUNK_RULES),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=80, deadline=None)
def test_every_rule_equals_the_naive_evaluator(seed, levels, ties, junk, dtype):
    distances, *ids = random_case(seed, levels=levels)
    assert_equals_naive(distances.astype(dtype), *ids, ties=ties, junk=junk)


@given(st.integers(0, 2**32 - 1), st.integers(1, 10))
@settings(max_examples=25, deadline=None)
def test_blocks_of_any_size_give_the_same_as_the_matrix(seed, step):
    distances, *ids = random_case(seed, levels=6)
    blocks = (distances[start : start + step] for start in range(0, len(distances), step))
    assert_same(rank_distances(blocks, *ids), rank_distances(distances, *ids))


def test_features_in_small_blocks_give_the_same_as_in_one(monkeypatch):
    whole = rank_features(GOLDEN["query"], GOLDEN["gallery"], *LABELS)
    monkeypatch.setattr(distance, "BLOCK_VALUES", 3000)
    features = torch.from_numpy(GOLDEN["query"]), torch.from_numpy(GOLDEN["gallery"])
    assert len(list(distance_blocks(*features))) == 20
    assert_same(rank_features(*features, *LABELS), whole)


def test_optimistic_and_pessimistic_bracket_the_stable_order():
    distances, *ids = random_case(3, levels=4)
    low, mid, high = (rank_distances(distances, *ids, ties=t).mAP for t in ("pessimistic", "stable", "optimistic"))
    assert low < mid < high


def test_cosine_and_euclid_rank_alike_on_unit_features_and_not_on_raw_ones():
    """docs/protocols.md, bug 14: normalisation is part of the metric, never of one side only."""
    raw = GOLDEN["query"] * np.linspace(1, 9, 80)[:, None], GOLDEN["gallery"] * np.linspace(1, 9, 700)[:, None]
    unit = rank_features(GOLDEN["query"], GOLDEN["gallery"], *LABELS, metric="euclidean").mAP
    assert rank_features(*raw, *LABELS).mAP == pytest.approx(unit, abs=1e-4)
    assert rank_features(*raw, *LABELS, metric="sqeuclidean").mAP < unit - 0.01


# --- docs/protocols.md#bugs-of-public-evaluators --------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_bug_5_trapezoid_is_smaller_by_the_known_amount(seed):
    distances, q_pids, g_pids, q_camids, g_camids = random_case(seed, queries=1)
    g_pids[0], g_camids[0] = q_pids[0], q_camids[0] + 1
    ranking = rank_distances(distances, q_pids, g_pids, q_camids, g_camids)
    keep = [g for g in np.argsort(distances[0]) if kept(q_pids[0], q_camids[0], g_pids[g], g_camids[g])]
    ranks = 1 + np.flatnonzero(g_pids[keep] == q_pids[0])
    gap = sum((r - k) / (2 * r * (r - 1)) for k, r in enumerate(ranks, start=1) if r > 1) / len(ranks)
    assert ranking.mAP - ranking.mAP_trapezoid == pytest.approx(gap, abs=1e-12)


def test_bug_9_ties_follow_the_gallery_order_and_are_reported():
    distances, *ids = random_case(5, levels=3)
    results = [rank_distances(distances, *ids) for _ in range(3)]
    assert len({result.mAP for result in results}) == 1
    assert 0.2 < results[0].tied_share < 0.5
    assert rank_distances(random_case(5)[0], *ids).tied_share == 0


def test_bug_10_the_curve_keeps_its_last_value_beyond_a_short_gallery():
    distances = np.array([[0.2, 0.1, 0.3], [0.1, 0.2, 0.3]])
    ranking = rank_distances(distances, [1, 3], [1, 2, 3], [0, 0], [1, 1, 1], max_rank=50)
    assert ranking.cmc.tolist() == [0.0, 0.5, *[1.0] * 48]


def test_bug_13_padded_or_missing_rows_are_refused():
    distances, *ids = random_case(6)
    for wrong in (distances[:-1], np.vstack([distances, distances[:1]]), distances[:, 1:], distances[0]):
        with pytest.raises(SemreidError, match="pids of 9 queries and 40 gallery images"):
            rank_distances(wrong, *ids)
    with pytest.raises(SemreidError, match="pids of 9 queries"):
        rank_distances(iter([distances[:4]]), *ids)


def test_bug_15_nan_is_refused_instead_of_ranked():
    distances, *ids = random_case(7)
    for bad in (np.nan, np.inf, -np.inf):
        distances[5, 3] = bad
        with pytest.raises(SemreidError, match="query 5 hold NaN"):
            rank_distances(iter([distances[:4], distances[4:]]), *ids)


def test_bug_16_a_query_inside_the_gallery_does_not_find_itself():
    features = np.random.default_rng(0).standard_normal((40, 8))
    pids, camids = np.arange(40) // 4, np.arange(40) % 2
    ranking = rank_features(features, features, pids, pids, camids, camids)
    assert ranking.cmc[0] < 0.4
    for q in range(40):
        order = np.argsort(np.linalg.norm(unit(features) - unit(features[q]), axis=1))
        order = [g for g in order if not (pids[g] == pids[q] and camids[g] == camids[q])]
        assert ranking.first_rank[q] == 1 + np.flatnonzero(pids[order] == pids[q])[0]


# --- bad input --------------------------------------------------------------------------------------------------


def test_bad_ids_are_refused():
    distances, q_pids, g_pids, q_camids, g_camids = random_case(8)
    junk_query = np.where(np.arange(9) == 4, -1, q_pids)
    with pytest.raises(SemreidError, match="query 4 has pid -1"):
        rank_distances(distances, junk_query, g_pids, q_camids, g_camids)
    with pytest.raises(SemreidError, match="gallery pids must be one row of integers"):
        rank_distances(distances, q_pids, g_pids.astype(float), q_camids, g_camids)
    with pytest.raises(SemreidError, match="query has 9 pids and 8 camids"):
        rank_distances(distances, q_pids, g_pids, q_camids[1:], g_camids)
    with pytest.raises(SemreidError, match="at least one"):
        rank_distances(distances, [], g_pids, [], g_camids)


def test_ids_of_programs_say_how_they_are_numbered():
    features, big = np.eye(1), np.array([2**63 + 5], np.uint64)
    for ids, message, fix in [
        ((["a"], ["a"], [0], [1]), "query pids must be one row of integers", "np.unique"),
        (([1], [1], None, None), "query camids must be", "all queries camera 0 and the whole gallery camera 1"),
        ((big, big, [0], [1]), "beyond 63 bits", "from 0"),
    ]:
        with pytest.raises(SemreidError, match=message) as caught:
            rank_features(features, features, *ids)
        assert fix in caught.value.fix


@pytest.mark.parametrize("option", [{"junk": "none"}, {"ties": "random"}, {"skipped": "drop"}])
def test_unknown_rules_are_refused(option):
    with pytest.raises(SemreidError, match=f"unknown .* '{next(iter(option.values()))}'"):
        rank_distances(*from_relevance([1, 0]), **option)


@pytest.mark.parametrize("rank", [0, -1, 2.5])
@pytest.mark.parametrize("name", ["max_rank", "within"])
def test_ranks_count_from_one(name, rank):
    with pytest.raises(SemreidError, match=f"{name} must be a whole number from 1 on; got {rank}"):
        rank_distances(*from_relevance([1, 0]), **{name: rank})
    with pytest.raises(SemreidError, match="max_rank"):
        single_shot_cmc(*from_relevance([1, 0]), max_rank=rank)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_tensors_of_every_type_can_be_ranked(dtype):
    distances, *ids = from_relevance([0, 1])
    for given_distances in (torch.from_numpy(distances).to(dtype), distances.astype(np.float16)):
        assert rank_distances(given_distances, *ids).mAP == 0.5


# --- docs/protocols.md#single-gallery-shot-cmc --------------------------------------------------------------------


def naive_single_shot(distances, q_pids, g_pids, q_camids, g_camids, junk, repeats, seed):
    rng, curves = np.random.default_rng(seed), []
    for _ in range(repeats):
        order, hits = rng.permutation(len(g_pids)), []
        for q in range(len(q_pids)):
            drawn = {}
            for g in order:
                if kept(q_pids[q], q_camids[q], g_pids[g], g_camids[g], junk):
                    drawn.setdefault(g_pids[g], g)
            if q_pids[q] in drawn:
                ranked = sorted(drawn.values(), key=lambda g, q=q: (distances[q, g], g))
                hits.append(ranked.index(drawn[q_pids[q]]) < np.arange(1, 51))
        curves.append(np.mean(hits, axis=0))
    return np.mean(curves, axis=0), np.std(curves, axis=0, ddof=1)


@given(st.integers(0, 2**32 - 1), st.sampled_from(JUNK_RULES), st.sampled_from([None, 4]))
@settings(max_examples=25, deadline=None)
def test_single_shot_equals_the_naive_draw(seed, junk, levels):
    distances, *ids = random_case(seed, levels=levels)
    result = single_shot_cmc(distances, *ids, junk=junk, repeats=3, seed=seed)
    mean, sd = naive_single_shot(distances, *ids, junk, 3, seed)
    np.testing.assert_allclose(result.cmc, mean, atol=1e-12)
    np.testing.assert_allclose(result.cmc_sd, sd, atol=1e-12)
    assert result.n_valid + result.n_skipped == 9


def test_with_one_image_per_identity_single_shot_is_the_ordinary_curve():
    """VIPeR: nothing is left to draw."""
    distances = np.random.default_rng(0).random((30, 30))
    ids = np.arange(30), np.arange(30), np.zeros(30, int), np.ones(30, int)
    result = single_shot_cmc(distances, *ids, repeats=4)
    np.testing.assert_allclose(result.cmc, rank_distances(distances, *ids).cmc)
    assert result.cmc_sd.max() == 0


def test_every_image_is_drawn_equally_often():
    """Two images of the person, one near and one far, around one negative: rank 1 in half of the draws."""
    ids = [1], [1, 1, 2], [0], [1, 1, 1]
    result = single_shot_cmc(np.array([[0.1, 0.9, 0.5]]), *ids, repeats=4000, max_rank=2)
    assert result.cmc == pytest.approx([0.5, 1.0], abs=0.03)
    assert result.cmc_sd == pytest.approx([0.5, 0.0], abs=0.01)


def test_a_seed_fixes_the_draws_and_one_draw_has_no_spread():
    distances, *ids = random_case(9)
    first, again = (single_shot_cmc(distances, *ids, repeats=1, seed=4) for _ in range(2))
    assert first.cmc.tolist() == again.cmc.tolist()
    assert first.cmc_sd.max() == 0


def test_single_shot_refuses_what_it_cannot_judge():
    with pytest.raises(SemreidError, match="the query's camera"):
        single_shot_cmc(np.ones((1, 2)), [1], [1, 2], [0], [0, 1])
    with pytest.raises(SemreidError, match="repeats=0"):
        single_shot_cmc(*from_relevance([1, 0]), repeats=0)
    with pytest.raises(SemreidError, match="do not fit to pids of 2 queries"):
        single_shot_cmc(np.ones((1, 3)), [1, 2], [1, 2, 3], [0, 0], [1, 1, 1])


# --- helpers ------------------------------------------------------------------------------------------------------


def unit(features):
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


def assert_same(ranking, expected):
    for name in ("mAP", "mAP_trapezoid", "mINP", "cmc", "ap", "ap_trapezoid", "inp", "first_rank", "valid"):
        np.testing.assert_allclose(getattr(ranking, name), getattr(expected, name), atol=1e-12, err_msg=name)


def assert_equals_naive(distances, q_pids, g_pids, q_camids, g_camids, **rules):
    ranking = rank_distances(distances, q_pids, g_pids, q_camids, g_camids, **rules)
    for q in range(len(distances)):
        expected = naive_query(distances[q], q_pids[q], q_camids[q], g_pids, g_camids, **rules)
        assert ranking.valid[q] == (expected is not None)
        got = ranking.ap[q], ranking.ap_trapezoid[q], ranking.inp[q], ranking.first_rank[q]
        np.testing.assert_allclose(got, expected or (np.nan, np.nan, np.nan, 0), atol=1e-12)
    assert ranking.mAP == pytest.approx(np.nanmean(ranking.ap))
    np.testing.assert_allclose(
        ranking.cmc, [(ranking.first_rank[ranking.valid] <= k).mean() for k in range(1, 51)], atol=1e-12
    )
