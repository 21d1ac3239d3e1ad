from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semreid.data.sample import ReIDDataset, Sample
from semreid.errors import SemreidError
from semreid.evaluation.protocol import Evaluation, evaluate
from semreid.explain.findings import BARS, choose_examples, score_histograms
from semreid.models.model import ReIDModel


@pytest.fixture(scope="module")
def evaluation(model: ReIDModel, figure_data: ReIDDataset) -> Evaluation:
    return evaluate(model, figure_data)


def test_the_report_is_the_one_without_curves(
    evaluation: Evaluation, model: ReIDModel, figure_data: ReIDDataset
) -> None:
    assert evaluation.to_json() == evaluate(model, figure_data).to_json()
    assert 100 * evaluation.cmc[0] == evaluation.metrics["rank1"]
    assert evaluation.ap is not None
    assert 100 * evaluation.ap.mean() == pytest.approx(evaluation.metrics["mAP"])


def test_histograms_hold_every_pair_of_different_cameras_once(evaluation: Evaluation) -> None:
    scores = score_histograms(evaluation)
    assert scores is not None
    samples = [*evaluation.query, *evaluation.gallery]
    vectors = np.concatenate([evaluation.query_features, evaluation.gallery_features])
    similarity = vectors @ vectors.T
    pairs = [(i, j) for i in range(len(samples)) for j in range(i) if samples[i].camid != samples[j].camid]
    for same, counts in ((True, scores.genuine), (False, scores.impostor)):
        values = [similarity[i, j] for i, j in pairs if (samples[i].pid == samples[j].pid) == same]
        assert counts.sum() == len(values)
        assert scores.edges[0] <= min(values)
        assert max(values) <= scores.edges[-1]
        expected, _ = np.histogram(np.clip(values, scores.edges[0], scores.edges[-1] - 1e-9), scores.edges)
        np.testing.assert_allclose(counts, expected, atol=1)  # a score on an edge may round either way
    assert len(scores.genuine) <= BARS


def test_large_sets_are_judged_by_some_of_their_people(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semreid.explain.findings.MOST_CROPS", 20)
    some = score_histograms(evaluation)
    assert some is not None
    assert some.people == 3  # of five with six crops each


def test_those_who_make_pairs_come_first(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few queries and their matches among many who were seen once."""
    monkeypatch.setattr("semreid.explain.findings.MOST_CROPS", 20)
    alone = tuple(
        replace(sample, pid=1000 + i, item=f"{turn}")
        for turn in range(40)
        for i, sample in enumerate(evaluation.gallery, start=turn * len(evaluation.gallery))
    )
    many = replace(
        evaluation,
        gallery=(*alone, *evaluation.gallery),
        gallery_features=np.concatenate([np.tile(evaluation.gallery_features, (40, 1)), evaluation.gallery_features]),
    )
    some = score_histograms(many)
    assert some is not None
    assert some.people == 3
    by_one = replace(many, query=tuple(replace(s, pid=-1) for s in many.query), gallery=alone)
    assert score_histograms(replace(by_one, gallery_features=many.gallery_features[: len(alone)])) is None


def test_junk_is_no_person_to_make_pairs_of(evaluation: Evaluation) -> None:
    one = evaluation.query[0].pid

    def left(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        return tuple(sample if sample.pid == one else replace(sample, pid=-1) for sample in samples)

    lonely = replace(evaluation, query=left(evaluation.query), gallery=left(evaluation.gallery))
    assert score_histograms(lonely) is None


def test_examples_are_evenly_spaced_and_leave_junk_out(evaluation: Evaluation) -> None:
    examples = choose_examples(evaluation)
    assert evaluation.ap is not None
    assert [e.ap for e in examples] == sorted(e.ap for e in examples)
    assert examples[0].ap == evaluation.ap.min()
    assert examples[-1].ap == evaluation.ap.max()
    for example in examples:
        own = [h for h in example.hits if h.sample.pid == example.sample.pid]
        assert all(h.sample.camid != example.sample.camid for h in own)
        assert [h.is_same for h in example.hits] == [h in own for h in example.hits]
        assert [h.similarity for h in example.hits] == sorted((h.similarity for h in example.hits), reverse=True)


def test_a_hit_that_ap_calls_first_is_first(evaluation: Evaluation) -> None:
    for example in choose_examples(evaluation):
        if example.ap == 1:
            assert example.hits[0].is_same


def test_images_that_are_gone_are_named(evaluation: Evaluation, tmp_path: Path) -> None:
    lost = tuple(replace(s, path=tmp_path / s.path.name) for s in evaluation.query)
    with pytest.raises(SemreidError, match=str(tmp_path)):
        choose_examples(replace(evaluation, query=lost))
