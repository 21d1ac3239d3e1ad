import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.functional import simultaneous_tracks
from semreid.tracking import Boxes, choose, visible_shares, with_meetings


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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_tracks_that_are_seen_in_one_frame_are_known_to_be_two(seed, most):
    rng = np.random.default_rng(seed)
    spans = [(start, start + rng.integers(1, 25)) for start in rng.integers(1, 60, 6)]
    rows = [(f, t, 0, 0, 10, 20) for t, span in enumerate(spans) for f in range(*span) if rng.random() < 0.8]
    some = boxes([(1, 9, 0, 0, 10, 20), *rows])
    shares = rng.random(len(some)) * (rng.random(len(some)) < 0.7)
    chosen = choose(some, shares, most)
    more = with_meetings(some, shares, chosen)
    assert set(chosen.tolist()) <= set(more.tolist()) <= set(np.flatnonzero(shares > 0).tolist())

    def apart(rows):
        found = simultaneous_tracks(some.tracks[rows], np.ones(len(rows), int), some.frames[rows].astype(float))
        return {tuple(sorted(pair)) for pair in found.tolist()}

    seen = [set(some.tracks[(some.frames == frame) & (shares > 0)].tolist()) for frame in np.unique(some.frames)]
    together = {(a, b) for tracks in seen for a in tracks for b in tracks if a < b}
    assert together <= apart(more)
    if together <= apart(chosen):
        assert more.tolist() == chosen.tolist()


def test_both_get_a_box_of_the_frame_that_shows_most_of_both():
    some = boxes([*[(f, 4, 0, 0, 10, 20) for f in range(1, 7)], *[(f, 5, 0, 0, 10, 20) for f in range(4, 9)]])
    shares = np.where((some.tracks == 4) & (some.frames == 1) | (some.tracks == 5) & (some.frames == 8), 1.0, 0.5)
    shares[(some.tracks == 4) & (some.frames == 5)] = 0.92
    shares[(some.tracks == 5) & (some.frames == 5)] = 0.7
    shares[(some.tracks == 5) & (some.frames == 4)] = 0.85
    chosen = choose(some, shares, 1)
    assert some.frames[chosen].tolist() == [1, 8]
    more = with_meetings(some, shares, chosen)
    assert some.frames[more].tolist() == [1, 5, 5, 8]
    assert some.tracks[more].tolist() == [4, 4, 5, 5]
