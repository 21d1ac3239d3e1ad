"""Calibrating a model on people it has not seen, and refusing others."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from semreid import plots
from semreid.data.benchmarks import load_dataset
from semreid.data.images import read_image
from semreid.data.sample import ReIDDataset
from semreid.data.split import hold_out
from semreid.data.store import digest_and_sketch, samples_digest, sketch_overlap
from semreid.errors import SemreidError
from semreid.functional import calibrate, identify_open_set
from semreid.models.card import Card, read_calibration, read_card, save_calibration, save_model
from semreid.models.loading import load_model
from semreid.models.zoo import create_model
from semreid.training.recipe import dump_recipe
from semreid.verification import plot
from semreid.verification.calibrate import CalibrationReport, calibrate_model, choose_split
from tests.conftest import write_figures, write_image
from tests.training.test_loop import recipe

ARGUMENTS = {"name": "baseline", "num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": (64, 32)}


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> ReIDDataset:
    """Enough people for a calibration; read only."""
    return load_dataset(f"people:{write_figures(tmp_path_factory.mktemp('people'), train=16, test=40, images=2)}")


def write_run(folder: Path, data: ReIDDataset, **trained_on: object) -> Path:
    """A run folder whose card says that the model was trained on the training split of the data."""
    torch.manual_seed(0)
    about = {"dataset": data.name, "identities": 16, "sha256": samples_digest(data.train)}
    about["sketch"] = digest_and_sketch(data.train)[1]
    card = Card(model=ARGUMENTS, trained_on={**about, **trained_on}, terms="free", seed=0)
    save_model(folder, create_model(**ARGUMENTS), card)
    return folder


@pytest.fixture
def run(tmp_path: Path, people: ReIDDataset) -> Path:
    return write_run(tmp_path / "run", people)


@pytest.fixture
def report(run: Path, people: ReIDDataset) -> CalibrationReport:
    return calibrate_model(load_model(run), run, people)


def test_calibration_is_that_of_the_embeddings(run: Path, people: ReIDDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semreid.verification.calibrate.IDENTIFICATION_FARS", (0.4, 0.001))
    report = calibrate_model(load_model(run), run, people, fars=[0.1], flip=True)
    crops = people.query + people.gallery
    features = load_model(run).embed([s.path for s in crops], flip=True)
    expected, _ = calibrate(features, [s.pid for s in crops], [s.camid for s in crops], fars=[0.1])
    found = report.calibration
    assert found.points[0].threshold == pytest.approx(expected.points[0].threshold, abs=1e-3)
    assert found.counts == expected.counts
    assert found.flip
    assert found.fingerprint == load_model(run).fingerprint
    assert found.made_on["split"] == "test"
    assert found.made_on["sha256"] != samples_digest(people.train)
    sides = np.split(features, [len(people.query)])
    ids = [[getattr(s, name) for s in side] for name in ("pid", "camid") for side in (people.query, people.gallery)]
    (point,) = found.identification  # one alarm in a thousand is not known from 40 people
    assert point.dir.value == pytest.approx(identify_open_set(*sides, *ids, [0.4])[0].dir.value, abs=0.03)
    assert point.gallery == len(people.gallery)


def test_distractors_are_searched_but_make_no_pairs(
    people: ReIDDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semreid.verification.calibrate.IDENTIFICATION_FARS", (0.4,))
    run = write_run(tmp_path / "run", people, sketch=[])
    distractors = tuple(replace(sample, pid=0) for sample in people.train[:20])
    whole = calibrate_model(load_model(run), run, replace(people, gallery=people.gallery + distractors), fars=[0.1])
    plain = calibrate_model(load_model(run), run, people, fars=[0.1])
    assert whole.calibration.points == plain.calibration.points
    assert whole.calibration.identification[0].gallery == len(people.gallery) + 20
    assert whole.calibration.identification[0].threshold >= plain.calibration.identification[0].threshold


def test_people_whose_cameras_nobody_knows_are_told_from_too_few_people(run: Path, people: ReIDDataset) -> None:
    gallery = tuple(replace(s, camid=0) for s in people.gallery)
    two = tuple(replace(s, camid=1) for s in people.query if s.pid in {people.query[0].pid, people.query[-1].pid})
    with pytest.raises(SemreidError, match="only 2 of 40 people are seen by two cameras") as caught:
        calibrate_model(load_model(run), run, replace(people, query=two, gallery=gallery))
    assert "column camid" in caught.value.fix


def test_cameras_that_only_stand_for_query_and_gallery_make_no_pairs(tmp_path: Path, people: ReIDDataset) -> None:
    """Their pairs may be near-copies by one camera, which are nearly always recognised."""
    seen_by_one = replace(people, train=tuple(replace(s, camid=s.pid % 3) for s in people.train))
    kept, held_out = hold_out(seen_by_one, 0.75, seed=0)
    assert held_out is not None
    assert len({s.camid for s in held_out.query + held_out.gallery}) == 2
    run = write_run(tmp_path / "run", replace(people, train=kept), identities=4)
    (run / "recipe.yaml").write_text(dump_recipe(recipe(data={"holdout": 0.75})))
    with pytest.raises(SemreidError, match=r"nobody knows .* \(nobody seen by two cameras") as caught:
        calibrate_model(load_model(run), run, seen_by_one)
    assert "column camid" in caught.value.fix
    unknown = replace(people, protocol=replace(people.protocol, cameras_known=False, note="no camera told"))
    with pytest.raises(SemreidError, match=r"two cameras took them \(no camera told\)"):
        calibrate_model(load_model(run), run, unknown, split="test")


def test_report_and_card_keep_the_calibration(run: Path, report: CalibrationReport, tmp_path: Path) -> None:
    assert read_calibration(run) is None
    assert "calibration" not in json.loads((run / "card.json").read_text())  # older versions read it
    save_calibration(run, report.calibration)
    assert read_calibration(run) == read_card(run / "card.json").calibration == report.calibration
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    assert read_calibration(tmp_path / "calibration.json") == report.calibration
    assert sum(content["histogram"]["genuine"]) == report.calibration.counts["genuine"]
    assert len(content["histogram"]["edges"]) == len(content["histogram"]["impostor"]) + 1
    assert sum(row["share"] for row in content["reliability"]) == pytest.approx(1)
    assert all(row["from"] <= row["predicted"] <= row["to"] for row in content["reliability"])


def test_damaged_calibrations_are_refused(run: Path, report: CalibrationReport, tmp_path: Path) -> None:
    save_calibration(run, report.calibration)
    content = json.loads((run / "card.json").read_text())
    content["calibration"]["knots"].reverse()
    (run / "card.json").write_text(json.dumps(content))
    with pytest.raises(SemreidError, match=r"card.json: 'calibration': .*the calibration is damaged"):
        load_model(run)
    (run / "card.json").write_text("[]")
    with pytest.raises(SemreidError, match="card.json: Input should be a valid dictionary"):
        read_calibration(run)
    with pytest.raises(SemreidError, match="no calibration at .*nothing.json"):
        read_calibration(tmp_path / "nothing.json")


def test_test_split_is_never_taken_silently(run: Path, people: ReIDDataset) -> None:
    chosen = choose_split(run, people)
    assert chosen.split == "test"
    assert (chosen.query, chosen.gallery) == (people.query, people.gallery)
    assert len(chosen.warnings) == 1
    assert "calibrated on the test split" in chosen.warnings[0]


def test_people_held_out_of_training_come_first(tmp_path: Path, people: ReIDDataset) -> None:
    kept, held_out = hold_out(people, 0.25, seed=0)
    assert held_out is not None
    run = write_run(
        tmp_path / "run", people, identities=12, sha256=samples_digest(kept), sketch=digest_and_sketch(kept)[1]
    )
    (run / "recipe.yaml").write_text(dump_recipe(recipe(data={"holdout": 0.25})))
    chosen = choose_split(run, people)
    assert (chosen.split, chosen.query, chosen.gallery) == ("heldout", held_out.query, held_out.gallery)
    assert chosen.warnings == ()
    assert choose_split(run, people, "test").query == people.query
    other = replace(people, train=people.train[:-1])
    with pytest.raises(SemreidError, match="no identities of it were held out") as caught:
        choose_split(run, other, "heldout")
    assert "--split test" in caught.value.fix
    single = replace(people, train=tuple({s.pid: s for s in people.train}.values()))
    assert choose_split(run, single).split == "test"  # nobody could be held out of these


def test_people_that_the_model_was_trained_on_are_refused(run: Path, people: ReIDDataset, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="trained on 16 of these people") as caught:
        choose_split(run, people, "all")
    assert caught.value.fix.endswith("such as --split test, or other data")
    swapped = replace(people, train=people.gallery, query=people.train, gallery=people.train)
    with pytest.raises(SemreidError, match="trained on some of these images") as caught:
        choose_split(run, swapped)
    assert caught.value.fix == "calibrate on people that it has not seen, with other data"  # it was the split test
    shared = replace(people, query=(*people.query, replace(people.query[0], pid=people.train[0].pid)))
    with pytest.raises(SemreidError, match="trained on 1 of these people"):
        choose_split(run, shared)
    boxes = replace(people, name="cuhk03-np/detected", train=people.train[:4])
    other = write_run(tmp_path / "other", people, dataset="cuhk03-np/labeled", sketch=[])
    with pytest.raises(SemreidError, match="trained on the training split of cuhk03-np"):
        choose_split(other, boxes, "all")


def test_other_data_may_be_used_whole_with_a_doubt(people: ReIDDataset, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", people, dataset="market1501", sha256="0" * 32, sketch=["0" * 32])
    chosen = choose_split(run, people, "all")
    assert {s.pid for s in chosen.query} == {s.pid for s in people.train + people.query}
    assert len({*chosen.query, *chosen.gallery}) == len(people.train + people.query + people.gallery)
    assert len(chosen.warnings) == 1
    assert "cannot tell whether the model was trained on these people (market1501; none of" in chosen.warnings[0]
    unknown = write_run(tmp_path / "old", people, dataset="market1501", sha256="", sketch=[])
    content = json.loads((unknown / "card.json").read_text())
    del content["trained_on"]["sketch"]
    (unknown / "card.json").write_text(json.dumps(content))
    assert "no image compared" in choose_split(unknown, people, "all").warnings[0]


def test_splits_that_do_not_exist_are_refused(run: Path, people: ReIDDataset) -> None:
    with pytest.raises(SemreidError, match="unknown split 'train'"):
        choose_split(run, people, "train")  # type: ignore[arg-type]
    with pytest.raises(SemreidError, match="no identities of it were held out"):
        choose_split(run, people, "heldout")
    with pytest.raises(SemreidError, match="has no crops in split 'test'"):
        choose_split(run, replace(people, query=(), gallery=()))


def test_sketch_recognises_copies_of_images_and_no_others(people: ReIDDataset, tmp_path: Path) -> None:
    sketch = digest_and_sketch(people.train[::-1])[1]
    assert sketch == digest_and_sketch(people.train)[1]
    assert len(sketch) == min(64, len(people.train))
    copy = tmp_path / "copy.png"
    copy.write_bytes(people.train[5].path.read_bytes())
    moved = replace(people.train[5], path=copy, pid=77)
    assert sketch_overlap(digest_and_sketch([people.train[5]])[1], [moved, *people.query]) == 1
    assert sketch_overlap(sketch, people.query) == sketch_overlap([], people.train) == 0


def test_plot_shows_something_in_each_panel(report: CalibrationReport, tmp_path: Path) -> None:
    plot.save_plot(report, tmp_path / "plot.png", "Calibration of runs/$x^{$")  # which is no formula
    image = cv2.imread(str(tmp_path / "plot.png"))
    assert image.shape[0] > 500
    assert image.shape[1] > 1500
    assert all((panel < 200).mean() > 0.005 for panel in np.array_split(image, 3, axis=1))
    assert [p.name for p in tmp_path.glob("*.png")] == ["plot.png"]


def test_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(SemreidError, match="drawing needs matplotlib") as caught:
        plots.require_matplotlib()
    assert caught.value.fix == "pip install 'semreid[plot]'"


def test_unreadable_images_stop_the_job(run: Path, people: ReIDDataset, tmp_path: Path) -> None:
    broken = tmp_path / "0099_c1s1_000000_00.png"
    write_image(broken, np.zeros((4, 4, 3), np.uint8)).write_bytes(b"no image")
    data = replace(people, query=(*people.query, replace(people.query[0], path=broken)))
    with pytest.raises(SemreidError, match=r"1 of \d+ images cannot be read"):
        calibrate_model(load_model(run), run, data)


def test_crops_of_one_picture_are_calibrated_on_as_crops_of_their_own(
    run: Path, people: ReIDDataset, tmp_path: Path
) -> None:
    """All crops of a camera side by side in one picture, as a detector leaves them."""
    boxed = {}
    for camid in (1, 2):
        seen = [s for s in people.query + people.gallery if s.camid == camid]
        path = write_image(tmp_path / f"camera{camid}.png", np.concatenate([read_image(s) for s in seen], axis=1))
        for place, sample in enumerate(seen):
            boxed[sample] = replace(sample, path=path, box=(32.0 * place, 0.0, 32.0 * (place + 1), 64.0))
    cut = replace(people, query=tuple(boxed[s] for s in people.query), gallery=tuple(boxed[s] for s in people.gallery))
    model = load_model(run)
    expected, found = (calibrate_model(model, run, data, split="test", fars=[0.1]) for data in (people, cut))
    np.testing.assert_array_equal(found.evidence.scores.genuine, expected.evidence.scores.genuine)
    np.testing.assert_array_equal(found.evidence.scores.impostor, expected.evidence.scores.impostor)
    assert found.calibration.points == expected.calibration.points
    assert found.calibration.identification == expected.calibration.identification
