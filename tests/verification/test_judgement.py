"""What matches of a search and pairs get: a probability, or the reason why there is none."""

from types import SimpleNamespace

import pytest

from semreid.gallery import Entry, Match, Stats
from semreid.verification.judgement import COUNTING, MIRRORED, Judge, uniform_prior
from tests.serving.conftest import Stripes, calibration

MATCHES = [Match(Entry("a", camid=1), 0.9), Match(Entry("b", camid=2), 0.8), Match(Entry("c"), 0.7)]
STATS = Stats(rows=9, people=3, unknown=2, cameras={}, first=None, last=None, dim=24, fingerprint="")


def test_matches_of_other_cameras_have_chances_that_rest_on_the_people_there_are() -> None:
    found = Judge(Stripes(), calibration()).chances(MATCHES, 1, None, lambda: STATS)
    expected = calibration().probability([0.9, 0.8, 0.7], prior=1 / 5).tolist()
    assert found == ([None, *expected[1:]], uniform_prior(STATS), "")
    stated = Judge(Stripes(), calibration()).chances(MATCHES, None, 0.3, pytest.fail)  # nothing is counted for it
    assert stated == (calibration().probability([0.9, 0.8, 0.7], prior=0.3).tolist(), 0.3, "")


def test_without_chances_there_is_a_reason() -> None:
    for judge, reason in (
        (Judge(Stripes(), None), "this model is not calibrated"),
        (Judge(SimpleNamespace(fingerprint="other"), calibration()), "that of another model"),
        (Judge(Stripes(), calibration(flip=True)), MIRRORED),
        (Judge(Stripes(), calibration()), COUNTING),
    ):
        found = judge.chances(MATCHES, 1, None, lambda: None)
        assert found[:2] == ([None] * 3, None)
        assert reason in found.reason


def test_a_pair_of_one_camera_gets_the_reason_and_others_a_verdict() -> None:
    judge = Judge(Stripes(), calibration())
    verdict, reason = judge.verdict(0.9, (3, 3), far=None, prior=0.5)
    assert (verdict, reason.partition(";")[0]) == (None, "both crops are from camera 3")
    for camids in ((None, None), (None, 3), (3, None), (3, 4)):
        verdict, reason = judge.verdict(0.9, camids, far=None, prior=0.5)
        assert (verdict is not None, reason) == (True, "")
