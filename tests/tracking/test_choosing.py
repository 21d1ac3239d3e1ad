import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.tracking import Boxes, choose, visible_shares


def boxes(rows):
    table = np.array(sorted(rows), float)
    return Boxes(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:])


def test_who_stands_nearer_hides_others_and_the_frame_cuts():
    some = boxes([(1, 1, 0, 0, 10, 20), (1, 2, 5, 0, 15, 30), (1, 3, 15, 25, 25, 35), (2, 1, -5, 0, 5, 20)])
    np.testing.assert_allclose(visible_shares(some, 30, 40), [0.5, 1 - 0, 0.5, 0.5])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_each_part_of_a_track_gives_its_best(seed, most):
    rng = np.random.default_rng(seed)
    rows = [
        (f, t, *rng.uniform(0, 50, 2), *rng.uniform(60, 100, 2))
        for t in range(4)
        for f in range(1, 1 + rng.integers(1, 30))
    ]
    some = boxes(rows)
    shares = rng.random(len(some)) * (rng.random(len(some)) < 0.8)
    chosen = choose(some, shares, most).tolist()
    assert chosen == sorted(set(chosen))
    sides = some.corners[:, 2:] - some.corners[:, :2]
    for track in range(4):
        seen = [row for row in np.flatnonzero(some.tracks == track).tolist() if shares[row] > 0]
        mine = [row for row in chosen if some.tracks[row] == track]
        assert len(mine) == min(most, len(seen))
        for part, row in zip(np.array_split(seen, len(mine)) if mine else [], mine, strict=True):
            assert row in part
            best = max(part, key=lambda i: (shares[i].round(1), sides[i].prod(), -i))
            assert row == best
