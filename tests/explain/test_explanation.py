import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from semreid.errors import SemreidError
from semreid.explain import Explanation, explain
from semreid.functional.calibration import Calibration, calibrate
from semreid.gallery import Entry, Filter, Gallery
from semreid.models.model import ReIDModel
from tests.conftest import draw_figure, write_image


def names(explanation: Explanation) -> list[str]:
    return [Path(c.match.entry.path).name for c in explanation.candidates]


def test_matches_are_those_of_the_gallery_without_the_query_itself(
    model: ReIDModel, crops: list[Path], gallery: Gallery
) -> None:
    explanation = explain(model, crops[0], gallery, top=5)
    found = gallery.search(model.embed([crops[0]]), 6)[0]
    assert found[0].entry.path == str(crops[0])
    assert [c.match for c in explanation.candidates] == found[1:]
    assert [c.rank for c in explanation.candidates] == [1, 2, 3, 4, 5]
    assert (explanation.query.pid, explanation.query.camid, explanation.rows) == ("1", 1, 12)


def test_the_query_itself_is_left_out_whatever_its_row_is_called(model: ReIDModel, crops: list[Path]) -> None:
    gallery = Gallery.open("memory:", dim=model.dim, fingerprint=model.fingerprint)
    entries = [Entry(f"track-{i}", path=str(crop), pid="1", camid=7 + i) for i, crop in enumerate(crops[:3])]
    gallery.add(model.embed(crops[:3]), entries)
    for options in ({}, {"other_cameras": True}, {"where": Filter(camids=[8, 9])}):
        explanation = explain(model, crops[0], gallery, **options)
        assert sorted(names(explanation)) == sorted(crop.name for crop in crops[1:3])
        assert explanation.query == entries[0]  # nobody need say again what its row knows
        assert explanation.of_person == 2
    said = explain(model, crops[0], gallery, pid="2", camid=3).query
    assert (said.pid, said.camid) == ("2", 3)


def test_marks_are_right_wrong_or_unknown(model: ReIDModel, crops: list[Path], gallery: Gallery) -> None:
    marks = {c.match.entry.path: c.is_same for c in explain(model, crops[0], gallery, top=11).candidates}
    expected = {str(path): {"1": True, "2": False, "3": None}[path.name[0]] for path in crops[1:]}
    assert marks == expected
    nobody = explain(model, draw_figure(1, 1, 0), gallery)
    assert {c.is_same for c in nobody.candidates} == {None}
    assert {c.is_same for c in explain(model, draw_figure(1, 1, 0), gallery, pid="2").candidates} >= {True, False}


def test_the_camera_comes_from_gallery_file_name_or_user(
    model: ReIDModel, gallery: Gallery, crops: list[Path], tmp_path: Path
) -> None:
    named = write_image(tmp_path / "new_c2_1.png", draw_figure(1, 2, 5))
    for query, camid, asked in ((crops[0], 1, None), (named, 2, None), (named, 1, 1)):
        explanation = explain(model, query, gallery, other_cameras=True, camid=asked)
        assert explanation.query.camid == camid
        assert {c.match.entry.camid for c in explanation.candidates} == {3 - camid}
    with pytest.raises(SemreidError, match="camera of the query is not known"):
        explain(model, draw_figure(1, 1, 0), gallery, other_cameras=True)


def test_it_knows_how_many_crops_could_have_been_found(model: ReIDModel, crops: list[Path], gallery: Gallery) -> None:
    def searched(query: Path, **options: Any) -> tuple[int, int | None]:
        found = explain(model, query, gallery, top=1, **options)
        return found.searched, found.of_person

    assert searched(crops[0]) == (12, 3)  # of its four crops one is the query
    assert searched(crops[0], other_cameras=True) == (6, 2)
    assert searched(crops[0], where=Filter(pids=["2"])) == (4, 0)
    assert searched(crops[8]) == (12, None)  # nobody has said who person 3 is


def test_a_filter_that_nothing_passes_leaves_nothing_to_explain(
    model: ReIDModel, crops: list[Path], gallery: Gallery
) -> None:
    assert explain(model, crops[0], gallery, where=Filter(camids=[9])).candidates == ()


def test_images_that_are_gone_changed_or_never_were_are_said_so(
    model: ReIDModel, crops: list[Path], tmp_path: Path
) -> None:
    gone, changed = (write_image(tmp_path / f"{name}.png", draw_figure(1, 1, 0)) for name in ("gone", "changed"))
    gallery = Gallery.open("memory:", dim=model.dim, fingerprint=model.fingerprint)
    entries = [Entry(path=str(crops[1])), Entry(path=str(gone)), Entry(path=str(changed)), Entry(id="bare")]
    vectors = model.embed([crops[1], gone, changed, crops[2]])
    vectors[2] *= -1  # of quite another image
    gallery.add(vectors, entries)
    gone.unlink()
    found = {c.match.entry.path or "bare": c for c in explain(model, crops[0], gallery).candidates}
    assert found[str(crops[1])].problem == ""
    assert found[str(crops[1])].evidence.layers
    assert found[str(gone)].crop is None
    assert str(gone) in found[str(gone)].problem
    assert "has changed since" in found[str(changed)].problem
    assert found["bare"].problem == "the gallery knows no image of row bare"
    assert found["bare"].evidence.layers == ()


def test_another_model_or_a_wild_number_is_refused(model: ReIDModel, crops: list[Path], gallery: Gallery) -> None:
    foreign = Gallery.open("memory:", dim=model.dim, fingerprint="f" * 32)
    with pytest.raises(SemreidError, match="cannot be compared"):
        explain(model, crops[0], foreign)
    for top in (0, 101):
        with pytest.raises(SemreidError, match="1 to 100"):
            explain(model, crops[0], gallery, top=top)
    with pytest.raises(SemreidError, match="no_such"):
        explain(model, "no_such.png", gallery)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    rng = np.random.default_rng(0)
    pids = np.repeat(np.arange(60), 4)
    features = rng.normal(size=(60, 16))[pids] + 0.5 * rng.normal(size=(240, 16))
    return calibrate(features, pids, np.tile([1, 2], 120), fars=[0.1])[0]


@pytest.fixture
def calibrated(model: ReIDModel, calibration: Calibration, monkeypatch: pytest.MonkeyPatch) -> ReIDModel:
    monkeypatch.setattr(model, "calibration", replace(calibration, fingerprint=model.fingerprint))
    return model


def test_probabilities_are_those_of_the_calibration_and_only_across_cameras(
    calibrated: ReIDModel, crops: list[Path], gallery: Gallery
) -> None:
    explanation = explain(calibrated, crops[0], gallery, top=11, prior=0.2)
    assert explanation.no_probability == ""
    assert calibrated.calibration is not None
    for c in explanation.candidates:
        if c.match.entry.camid == 1:
            assert c.probability is None
        else:
            assert c.probability == calibrated.calibration.probability(c.match.similarity, prior=0.2)
    people = explain(calibrated, crops[0], gallery)
    assert people.prior == pytest.approx(1 / 6)  # persons 1 and 2, and four crops of nobody known


def test_there_is_no_probability_without_a_calibration_that_holds(
    calibrated: ReIDModel, crops: list[Path], gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calibrated.calibration is not None
    reasons = {
        "not calibrated": None,
        "another model": replace(calibrated.calibration, fingerprint="0" * 32),
        "mirror images": replace(calibrated.calibration, flip=True),
    }
    for reason, calibration in reasons.items():
        monkeypatch.setattr(calibrated, "calibration", calibration)
        explanation = explain(calibrated, crops[0], gallery)
        assert reason in explanation.no_probability
        assert explanation.basis == ""  # by which `semreid explain` would speak of probabilities
        assert {c.probability for c in explanation.candidates} == {None}
        assert explanation.prior is None


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0])
def test_a_prior_that_is_none_is_refused_also_where_nothing_is_calibrated(
    model: ReIDModel, crops: list[Path], gallery: Gallery, prior: float
) -> None:
    with pytest.raises(SemreidError, match="between 0 and 1"):
        explain(model, crops[0], gallery, prior=prior)


def test_its_json_holds_all_but_pictures(model: ReIDModel, crops: list[Path], gallery: Gallery) -> None:
    content = json.loads(json.dumps(explain(model, crops[0], gallery, top=2).to_json(), allow_nan=False))
    assert content["query"]["pid"] == "1"
    assert [m["rank"] for m in content["matches"]] == [1, 2]
    assert {"similarity", "probability", "is_same", "path", "pid", "camid", "problem"} <= set(content["matches"][0])


def test_the_query_may_be_an_image_of_pillow(model: ReIDModel, crops: list[Path], gallery: Gallery) -> None:
    crop = PIL.Image.open(crops[0])
    assert names(explain(model, crop, gallery)) == names(explain(model, np.asarray(crop), gallery))
    with pytest.raises(SemreidError, match="the query is None"):
        explain(model, None, gallery)  # type: ignore[arg-type]
