"""Same person or not: an embedder, and the calibration that says what its scores mean."""

from __future__ import annotations

from pathlib import Path

import torch

from semreid.data.names import camera_of
from semreid.errors import SemreidError
from semreid.functional.calibration import Calibration, Verdict
from semreid.functional.distance import pairwise_distance
from semreid.models.embedder import Embedder, Image
from semreid.models.loading import load_embedder


def require_calibration(embedder: Embedder, calibration: Calibration | None) -> Calibration:
    """Return the calibration of an embedder.

    Raises:
        SemreidError: If there is none, or it is that of another embedder.
    """
    if calibration is None:
        raise SemreidError(
            "this model is not calibrated: nobody knows which probability its scores stand for",
            fix="calibrate it on people that it was not trained on: semreid calibrate MODEL --data NAME:PATH",
        )
    if calibration.fingerprint != embedder.fingerprint:
        raise SemreidError(
            f"the calibration is that of another model (fingerprint {calibration.fingerprint or 'none'}, "
            f"this model has {embedder.fingerprint})",
            fix="calibrate this model: semreid calibrate MODEL --data NAME:PATH",
        )
    return calibration


def of_one_camera(a: int | None, b: int | None) -> str:
    """Say why two crops cannot be judged because of their cameras, None where unknown; empty if they can.

    Example:
        >>> of_one_camera(1, 1)
        'both crops are from camera 1; the calibration is about crops of two different cameras'
        >>> of_one_camera(1, 2), of_one_camera(None, None)
        ('', '')
    """
    if a is None or a != b:
        return ""
    return f"both crops are from camera {a}; the calibration is about crops of two different cameras"


class Verifier:
    """Tells whether two crops from different cameras show one person, with a probability that means something.

    Args:
        embedder: A model, or a file exported from one.
        calibration: Of this embedder; a card has it after ``semreid calibrate``.

    Raises:
        SemreidError: If there is no calibration, or it is that of another embedder.
    """

    def __init__(self, embedder: Embedder, calibration: Calibration | None) -> None:
        self.embedder, self.calibration = embedder, require_calibration(embedder, calibration)

    def verify(
        self,
        a: Image,
        b: Image,
        *,
        far: float | None = None,
        prior: float = 0.5,
        cameras: tuple[int, int] | None = None,
    ) -> Verdict:
        """Judge two crops.

        Args:
            a: A crop.
            b: Another crop.
            far: The false-accept rate to decide at; if None, as in `Calibration.point`.
            prior: Probability that they show one person, before looking.
            cameras: The cameras that saw them, for a threshold of this pair where it is known; if None, those that both
                file names tell.

        Returns:
            Probability, decision, threshold and score.

        Raises:
            SemreidError: If an image cannot be read, the rate is not known, or one camera saw both crops.
        """
        cameras = _named_cameras(a, b) if cameras is None else cameras
        if reason := of_one_camera(*cameras or (None, None)):
            raise SemreidError(
                reason,
                fix="compare crops of different cameras; if file names tell wrong ones, state them: --cameras 1,2",
            )
        self.calibration.point(far, cameras)  # known before the work
        vectors = self.embedder.embed([a, b], flip=self.calibration.flip)
        scores = 1 - pairwise_distance(vectors[:1], vectors[1:])  # float32, as when the thresholds were found
        return self.calibration.verdict(float(scores[0, 0]), far=far, prior=prior, cameras=cameras)


def _named_cameras(a: Image, b: Image) -> tuple[int, int] | None:
    """The cameras that file names tell; None unless both do."""
    first, second = (camera_of(Path(crop)) if isinstance(crop, (str, Path)) else None for crop in (a, b))
    return None if first is None or second is None else (first, second)


def load_verifier(
    path: Path | str, calibration: Path | str | None = None, *, device: torch.device | str = "cpu"
) -> Verifier:
    """Load a calibrated model, or a file exported from one.

    Args:
        path: Run folder, card file or exported file.
        calibration: Run folder, card or ``calibration.json`` with the calibration; if None, that of ``path``.
        device: Where the model runs.

    Raises:
        SemreidError: If there is no such model, it is not calibrated, or the calibration is that of another one.
    """
    from semreid.models.card import read_calibration

    embedder = load_embedder(path, device=device)
    return Verifier(embedder, read_calibration(path if calibration is None else calibration))
