"""What a similarity means: a probability and a decision where the model is calibrated, else the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from semreid.errors import SemreidError
from semreid.functional.calibration import Calibration, Verdict
from semreid.models.embedder import Embedder
from semreid.verification.verifier import of_one_camera, require_calibration

if TYPE_CHECKING:
    from semreid.gallery import Match, Stats

MIRRORED = "the calibration is about embeddings averaged with mirror images; those of the gallery are not"
COUNTING = "the people of the gallery are still being counted; state a prior, or ask again"


class Chances(NamedTuple):
    """How probable it is that matches of a search show the person of the query.

    Attributes:
        probabilities: Of each match; None where nothing can be said.
        prior: Probability before looking that they stand on; None without probabilities.
        reason: Why there are none; empty if there are.
    """

    probabilities: list[float | None]
    prior: float | None
    reason: str


class Judge:
    """Applies the calibration of a model, within what it was made for.

    Args:
        embedder: The model.
        calibration: Its calibration, if it has one.

    Attributes:
        calibration: The same, or None if it is missing or another model's.
        reason: Why there is none; empty if there is.
    """

    def __init__(self, embedder: Embedder, calibration: Calibration | None) -> None:
        self.calibration: Calibration | None = None
        self.reason = ""
        try:
            self.calibration = require_calibration(embedder, calibration)
        except SemreidError as error:
            self.reason = f"{error.what}; {error.fix}"

    @property
    def basis(self) -> str:
        """On whom probabilities rest; empty if there are none."""
        return "" if self.calibration is None else self.calibration.basis

    @property
    def flip(self) -> bool:
        """Whether the calibration is about embeddings averaged with those of the mirror images."""
        return self.calibration is not None and self.calibration.flip

    def chances(
        self, matches: Sequence[Match], camid: int | None, prior: float | None, count: Callable[[], Stats | None]
    ) -> Chances:
        """Compute for each match of a search how probable it is that it shows the person of the query.

        Args:
            matches: The matches.
            camid: Camera of the query, if known: matches of the same camera get no probability.
            prior: Probability of a match before looking; None: as `uniform_prior`.
            count: Counts the gallery, where that is needed; None while nobody can say.

        Returns:
            The probabilities, or why there are none.

        Raises:
            SemreidError: If the prior is not between 0 and 1.
        """
        nothing: list[float | None] = [None] * len(matches)
        if self.calibration is None:
            return Chances(nothing, None, self.reason)
        if self.flip:
            return Chances(nothing, None, MIRRORED)
        if prior is None:
            if (stats := count()) is None:
                return Chances(nothing, None, COUNTING)
            prior = uniform_prior(stats)
        found = self.calibration.probability([match.similarity for match in matches], prior=prior).tolist()
        pairs = zip(found, matches, strict=True)
        return Chances([None if of_one_camera(camid, m.entry.camid) else p for p, m in pairs], prior, "")

    def verdict(
        self, score: float, camids: tuple[int | None, int | None], *, far: float | None, prior: float
    ) -> tuple[Verdict | None, str]:
        """Judge a pair.

        Args:
            score: Its similarity.
            camids: The cameras of the two crops; None where unknown.
            far: False-accept rate to decide at; None for the usual one.
            prior: Probability before looking.

        Returns:
            The verdict, or None and the reason why there is none.

        Raises:
            SemreidError: If no threshold is known for the rate, or the prior is not between 0 and 1.
        """
        if self.calibration is None:
            return None, self.reason
        a, b = camids
        if reason := of_one_camera(a, b):
            return None, reason
        cameras = None if a is None or b is None else (a, b)
        return self.calibration.verdict(score, far=far, prior=prior, cameras=cameras), ""


def uniform_prior(stats: Stats) -> float:
    """Return the probability that a row shows the person sought, if each person of a gallery is as likely.

    Args:
        stats: The gallery; each crop of nobody known may be somebody else.

    Returns:
        One over the number of people, at most a half.
    """
    return 1 / max(2, stats.people + stats.unknown)
