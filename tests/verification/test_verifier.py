from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.functional import Calibration, calibrate
from semreid.models.card import Card, save_calibration, save_model
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.verification.verifier import Verifier, load_verifier
from tests.conftest import draw_figure, write_image
from tests.functional.test_pairs import crowd

ARGUMENTS = {"name": "baseline", "num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": (64, 32)}
A, B = draw_figure(1, 1, 0), draw_figure(2, 2, 0)


@pytest.fixture
def model() -> ReIDModel:
    torch.manual_seed(0)
    return create_model(**ARGUMENTS).eval()


def calibration_of(model: ReIDModel, flip: bool = False) -> Calibration:
    """A calibration from made-up embeddings, said to be those of the model."""
    return replace(calibrate(*crowd(people=120, noise=0.8))[0], fingerprint=model.fingerprint, flip=flip)


@pytest.mark.parametrize("flip", [False, True])
def test_verdict_is_that_of_the_cosine_similarity(model: ReIDModel, flip: bool) -> None:
    calibration = calibration_of(model, flip)
    verdict = Verifier(model, calibration).verify(A, B, far=0.1, prior=0.3)
    a, b = model.embed([A, B], flip=flip)
    assert verdict.score == pytest.approx(float(a @ b), abs=1e-6)
    assert verdict == calibration.verdict(verdict.score, far=0.1, prior=0.3)
    assert Verifier(model, calibration).verify(B, A).score == pytest.approx(verdict.score, abs=1e-6)


def test_a_crop_is_the_same_person_as_itself(model: ReIDModel, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", A)
    verdict = Verifier(model, calibration_of(model)).verify(path, str(path))
    assert verdict.same
    assert verdict.score == pytest.approx(1)
    assert 0.9 < verdict.probability < 1


def test_cameras_are_those_that_both_names_tell(model: ReIDModel, tmp_path: Path) -> None:
    (point, *_) = calibration_of(model).points
    own = replace(point, threshold=0.123)
    verifier = Verifier(model, replace(calibration_of(model), camera_pairs={"1-2": (own,)}))
    names = ("0001_c1s1_000003_00.png", "0001_c1s1_000004_00.png", "0001_c2s1_000003_00.png", "4.png")
    first, near, other, silent = (write_image(tmp_path / name, A) for name in names)
    for pair in ((first, near), (str(first), first)):
        with pytest.raises(SemreidError, match="both crops are from camera 1; the calibration is about") as caught:
            verifier.verify(*pair)
        assert "state them: --cameras 1,2" in caught.value.fix
    far = point.asked_far
    assert verifier.verify(first, near, far=far, cameras=(1, 2)).cameras == "1-2"
    verdict = verifier.verify(other, str(first), far=far)
    assert (verdict.cameras, verdict.threshold) == ("1-2", 0.123)
    for unknown in (silent, B):
        assert verifier.verify(first, unknown, far=far).cameras == ""


def test_anything_that_embeds_will_do(model: ReIDModel) -> None:
    class Exported:
        dim, size, fingerprint = model.dim, model.size, model.fingerprint

        def embed(self, images, *, batch_size: int = 64, flip: bool = False):
            return model.embed(images, batch_size=batch_size, flip=flip) * np.float32(1 + 1e-7)

    expected = Verifier(model, calibration_of(model)).verify(A, B)
    assert Verifier(Exported(), calibration_of(model)).verify(A, B).score == pytest.approx(expected.score, abs=1e-5)


def test_without_calibration_there_is_no_probability(model: ReIDModel) -> None:
    with pytest.raises(SemreidError, match="this model is not calibrated") as caught:
        Verifier(model, model.calibration)
    assert "semreid calibrate MODEL --data" in caught.value.fix


def test_calibration_of_other_weights_is_refused(model: ReIDModel) -> None:
    calibration = calibration_of(model)
    with torch.no_grad():
        next(model.parameters()).mul_(1.001)
    with pytest.raises(SemreidError, match=f"that of another model .fingerprint {calibration.fingerprint}"):
        Verifier(model, calibration)


def test_saved_models_verify(model: ReIDModel, tmp_path: Path) -> None:
    for name in ("run", "plain"):
        save_model(tmp_path / name, model, Card(model=ARGUMENTS, trained_on={}, terms="free", seed=0))
    save_calibration(tmp_path / "run", calibration_of(model))
    expected = Verifier(model, calibration_of(model)).verify(A, B)
    for place in (tmp_path / "run", tmp_path / "run" / "card.json"):
        loaded = load_model(place)
        assert Verifier(loaded, loaded.calibration).verify(A, B) == expected
        assert load_verifier(place).verify(A, B) == expected
        assert load_verifier(tmp_path / "plain", place).verify(A, B) == expected
    for uncalibrated in (tmp_path / "plain", "baseline"):
        with pytest.raises(SemreidError, match="not calibrated"):
            load_verifier(uncalibrated)


def test_rates_are_checked_before_the_images(model: ReIDModel) -> None:
    for far, way_out in ((0.3, "--far 0.3"), (-1.0, "choose one of these"), (float("nan"), "choose one of these")):
        with pytest.raises(SemreidError, match="no threshold is known for a false-accept rate of") as caught:
            Verifier(model, calibration_of(model)).verify("none.png", "none.png", far=far)
        assert caught.value.fix.endswith(way_out)
    with pytest.raises(SemreidError, match="none.png"):
        Verifier(model, calibration_of(model)).verify("none.png", B)
