from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semreid.data.sample import Protocol, Sample, is_junk
from semreid.errors import SemreidError
from semreid.functional import _ranking_kernels
from semreid.functional.ranking import JUNK_RULES


@pytest.mark.parametrize("rule", JUNK_RULES)
def test_junk_is_what_ranking_takes_for_junk(rule: str) -> None:
    query = Sample(Path("q.jpg"), 1, 1)
    for pid, camid in product((-1, 0, 1, 2), (0, 1)):
        expected = _ranking_kernels.is_junk(1, 1, pid, camid, rule == "same-camera")
        assert is_junk(rule, query, Sample(Path("g.jpg"), pid, camid)) == expected


@pytest.mark.parametrize(("pid", "camid"), [(1.5, 1), (1, 1.0), ("1", 1), (1, None)])
def test_people_and_cameras_are_whole_numbers(pid: object, camid: object) -> None:
    with pytest.raises(SemreidError, match="no whole number"):
        Sample(Path("a.jpg"), pid, camid)  # type: ignore[arg-type]
    assert Sample(Path("a.jpg"), np.int64(3), np.uint8(2)).pid == 3


@pytest.mark.parametrize(
    "rules", [{"junk": "none"}, {"gallery_shots": "one"}, {"repeats": 0}, {"ranks": ()}, {"ranks": (0, 1)}]
)
def test_rules_that_do_not_exist_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(SemreidError, match=next(iter(rules))):
        Protocol(**rules)
