from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.data.benchmarks import load_dataset
from semreid.data.sample import Protocol, ReIDDataset, Sample
from semreid.data.split import hold_out
from semreid.data.store import build_store
from semreid.errors import SemreidError
from semreid.evaluation import protocol
from semreid.evaluation.protocol import embed_store, evaluate, evaluate_features
from semreid.functional import center_by_camera, k_reciprocal_rerank, rank_distances, rank_features, single_shot_cmc
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model


@pytest.fixture(scope="module")
def model() -> ReIDModel:
    torch.manual_seed(0)
    return create_model("baseline", num_ids=3, trunk="resnet18", width=0.25, size=(64, 32)).eval()


def toy(queries: int = 12, gallery: int = 60, people: int = 6, cameras: int = 3):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(people, 16))

    def make(count: int, folder: str):
        samples = [Sample(Path(f"{folder}/{i}.png"), 1 + i % people, int(rng.integers(cameras))) for i in range(count)]
        features = np.stack([centres[s.pid - 1] + rng.normal(size=16) for s in samples])
        return tuple(samples), (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)

    return *make(queries, "q"), *make(gallery, "g")


def ids(query, gallery):
    return ([s.pid for s in query], [s.pid for s in gallery], [s.camid for s in query], [s.camid for s in gallery])


def test_report_equals_the_ranking() -> None:
    query, q, gallery, g = toy()
    report = evaluate_features(q, g, query, gallery, Protocol())
    ranking = rank_features(q, g, *ids(query, gallery))
    assert report.metrics["mAP"] == pytest.approx(100 * ranking.mAP)
    assert report.metrics["mAP_trapezoid"] == pytest.approx(100 * ranking.mAP_trapezoid)
    assert report.metrics["mINP"] == pytest.approx(100 * ranking.mINP)
    assert report.metrics["rank5"] == pytest.approx(100 * ranking.cmc[4])
    low, high = report.ci95["mAP"]
    assert low < report.metrics["mAP"] < high
    assert report.counts == {"queries": 12, "valid_queries": 12, "gallery": 60, "identities": 6}
    assert report.protocol["rerank"] is None


def test_ranks_are_those_of_the_protocol() -> None:
    query, q, gallery, g = toy()
    for shots in ("all", "single"):
        report = evaluate_features(q, g, query, gallery, Protocol(ranks=(1, 3), gallery_shots=shots))
        assert [name for name in report.metrics if name.startswith("rank") and "sd" not in name] == ["rank1", "rank3"]
    ranking = rank_features(q, g, *ids(query, gallery))
    assert evaluate_features(q, g, query, gallery, Protocol(ranks=(3,))).metrics["rank3"] == pytest.approx(
        100 * ranking.cmc[2]
    )


def test_raw_embeddings_are_compared_as_they_are(figure_data: ReIDDataset, model: ReIDModel) -> None:
    found = evaluate(model, figure_data, metric="euclidean", map_within=2)
    query, gallery = figure_data.query, figure_data.gallery
    q, g = (embed_store(model, build_store(side, model.size), unit=False) for side in (query, gallery))
    expected = rank_features(q, g, *ids(query, gallery), metric="euclidean", within=2)
    assert found.metrics["mAP"] == pytest.approx(100 * expected.mAP)
    assert found.metrics["mAP_within_2"] == pytest.approx(100 * expected.mAP_within)
    rules = found.protocol
    assert (rules["distance"], rules["normalisation"], rules["join"]) == ("euclidean", "none", "equal")
    np.testing.assert_allclose(np.linalg.norm(found.query_features, axis=1), 1, atol=1e-5)
    usual = evaluate(model, figure_data)
    assert (usual.protocol["distance"], "mAP_within_2" in usual.metrics) == ("cosine", False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "manhattan"}, "unknown metric 'manhattan'"),
        ({"metric": "euclidean", "center_cameras": True}, "the mean of a camera"),
        ({"map_within": 0}, "no mAP within 0 images"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    figure_data: ReIDDataset, model: ReIDModel, options: dict[str, object], message: str
) -> None:
    with pytest.raises(SemreidError, match=message):
        evaluate(model, figure_data, **options)


@pytest.mark.parametrize(("source", "names"), [("folder", "abcd"), ("partial-ilids", ("Probe", "Gallery"))])
def test_cameras_that_nobody_knows_are_not_centred(tmp_path: Path, model: ReIDModel, source: str, names) -> None:
    for path in (tmp_path / name / f"{number}.png" for name in names for number in (1, 2)):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with pytest.raises(SemreidError, match="cameras 0 and 1 only stand for query and gallery"):
        evaluate(model, load_dataset(f"{source}:{tmp_path}"), center_cameras=True)


def test_people_held_out_whom_one_camera_saw_are_not_centred(figure_data: ReIDDataset, model: ReIDModel) -> None:
    alone = tuple(replace(s, camid=s.pid) for s in figure_data.train)
    _, held_out = hold_out(replace(figure_data, train=alone), 0.5, 0)
    assert held_out is not None
    with pytest.raises(SemreidError, match="cameras 0 and 1 only stand for query and gallery"):
        evaluate(model, held_out, center_cameras=True)


def test_reranking_and_rules_go_through() -> None:
    query, q, gallery, g = toy()
    report = evaluate_features(q, g, query, gallery, Protocol(junk="same-camera"), rerank=True)
    expected = rank_distances(k_reciprocal_rerank(q, g), *ids(query, gallery), junk="same-camera")
    assert report.metrics["mAP"] == pytest.approx(100 * expected.mAP)
    assert report.protocol["rerank"]["k1"] == 20
    assert report.protocol["junk"] == "same-camera"


def test_single_shot() -> None:
    query, q, gallery, g = toy()
    protocol = Protocol(gallery_shots="single", repeats=5, seed=3, has_map=False)
    report = evaluate_features(q, g, query, gallery, protocol)
    expected = single_shot_cmc(1 - q @ g.T, *ids(query, gallery), junk=protocol.junk, repeats=5, seed=3)
    assert report.metrics["rank1"] == pytest.approx(100 * expected.cmc[0])
    assert "mAP" not in report.metrics
    assert report.metrics["rank1_sd_over_draws"] == pytest.approx(100 * expected.cmc_sd[0])


def test_ties_that_shape_the_figures_are_told() -> None:
    query, q, gallery, g = toy()
    assert evaluate_features(q, g, query, gallery, Protocol()).protocol["tied_percent"] == 0
    alike = evaluate_features(np.ones_like(q) / 4, np.ones_like(g) / 4, query, gallery, Protocol()).protocol
    assert alike["tied_percent"] == 100
    assert [text[:20] for text in alike["warnings"]] == ["100.0 % of the pairs"]


def test_cmc_only_protocols_report_no_map() -> None:
    query, q, gallery, g = toy()
    report = evaluate_features(q, g, query, gallery, Protocol(has_map=False))
    assert set(report.metrics) == {"rank1", "rank5", "rank10"}
    assert set(report.ci95) == {"rank1"}


def test_evaluate_says_everything_that_is_needed_to_repeat_it(figure_data: ReIDDataset, model: ReIDModel) -> None:
    leaked = replace(figure_data.query[0], camid=99)
    dataset = replace(figure_data, gallery=(*figure_data.gallery, leaked), warnings=("odd",), junk_removed=4)
    report = evaluate(model, dataset, flip=True)
    assert report.counts == {
        "queries": 10,
        "valid_queries": 10,
        "gallery": 20,
        "identities": 5,
        "junk_removed": 4,
        "leaked_removed": 1,
        "corrupt_skipped": 0,
    }
    for key in ("dataset", "junk", "ap", "distance", "normalisation", "input", "flip", "rerank", "ties", "seed"):
        assert key in report.protocol
    assert report.protocol["flip"] is True
    assert report.protocol["warnings"] == ["odd"]
    assert report.to_json()["metrics"]["mAP"] == report.metrics["mAP"]


def test_cameras_are_centred_only_where_asked(figure_data: ReIDDataset, model: ReIDModel) -> None:
    plain, centred = (evaluate(model, figure_data, center_cameras=on) for on in (False, True))
    assert (plain.protocol["center_cameras"], centred.protocol["center_cameras"]) == (False, True)
    cameras = ([s.camid for s in figure_data.query], [s.camid for s in figure_data.gallery])
    expected = center_by_camera(plain.query_features, plain.gallery_features, *map(np.array, cameras))
    np.testing.assert_allclose(centred.query_features, expected[0], atol=1e-6)
    np.testing.assert_allclose(centred.gallery_features, expected[1], atol=1e-6)
    assert len(set(cameras[0] + cameras[1])) > 1


def test_embeddings_of_the_store_are_those_of_the_files(
    figure_data: ReIDDataset, model: ReIDModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BATCH", 3)
    store = build_store(figure_data.query, (64, 32))
    expected = model.embed([s.path for s in figure_data.query])
    np.testing.assert_allclose(embed_store(model, store), expected, atol=1e-6)


def test_sets_that_cannot_be_judged(figure_data: ReIDDataset, model: ReIDModel) -> None:
    with pytest.raises(SemreidError, match="0 query and 20 gallery"):
        evaluate(model, replace(figure_data, query=()))
    asked_again = tuple(replace(s, camid=99) for s in figure_data.query)
    with pytest.raises(SemreidError, match="all 10 gallery images are files of the queries themselves"):
        evaluate(model, replace(figure_data, gallery=asked_again))
    one_camera = tuple(replace(s, camid=1) for s in figure_data.gallery)
    with pytest.raises(SemreidError, match="camera"):
        evaluate(
            model, replace(figure_data, query=tuple(replace(s, camid=1) for s in figure_data.query), gallery=one_camera)
        )


def test_a_model_gone_wrong_is_an_error_and_not_a_score(figure_data: ReIDDataset) -> None:
    broken = create_model("baseline", num_ids=3, trunk="resnet18", width=0.125, size=(64, 32)).eval()
    broken.trunk.conv1.weight.data[:] = float("nan")
    with pytest.raises(SemreidError, match="NaN|finite"):
        evaluate(broken, figure_data)


def test_ranks_may_go_beyond_the_gallery_and_the_usual_curve() -> None:
    query, q, gallery, g = toy()
    for rules in (Protocol(ranks=(1, 59, 100)), Protocol(gallery_shots="single", has_map=False, ranks=(1, 70))):
        report = evaluate_features(q, g, query, gallery, rules)
        assert report.metrics[f"rank{rules.ranks[-1]}"] == 100
        assert len(report.cmc) == rules.ranks[-1]


def test_judging_features_refuses_what_evaluating_refuses() -> None:
    query, q, gallery, g = toy()
    with pytest.raises(SemreidError, match="no mAP within 0 images"):
        evaluate_features(q, g, query, gallery, Protocol(), map_within=0)
    with pytest.raises(SemreidError, match="unknown metric"):
        evaluate_features(q, g, query, gallery, Protocol(), metric="manhattan")
