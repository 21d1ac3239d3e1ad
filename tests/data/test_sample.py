from itertools import product
from pathlib import Path

import pytest

from semreid.data.sample import Sample, is_junk
from semreid.functional import _ranking_kernels
from semreid.functional.ranking import JUNK_RULES


@pytest.mark.parametrize("rule", JUNK_RULES)
def test_junk_is_what_ranking_takes_for_junk(rule: str) -> None:
    query = Sample(Path("q.jpg"), 1, 1)
    for pid, camid in product((-1, 0, 1, 2), (0, 1)):
        expected = _ranking_kernels.is_junk(1, 1, pid, camid, rule == "same-camera")
        assert is_junk(rule, query, Sample(Path("g.jpg"), pid, camid)) == expected
