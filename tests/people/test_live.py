import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.people.dataset import PeopleRecipe, stream
from semreid.people.live import ROUNDS, LivePeople, take_pictures
from semreid.people.shots import create_person

RECIPE = PeopleRecipe(identities=4, images_per_identity=3, seed=5, height=64, width=32, cameras=6)


def test_every_round_shows_the_person_anew() -> None:
    first, again, second, late = (take_pictures(RECIPE, 2, number) for number in (0, 0, 1, 3 * ROUNDS))
    assert first.images.shape == (3, 64, 32, 3)
    assert first.regions.shape == (3, 64, 32)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.texture, create_person(5, 2).texture)
    for other in (second, late):
        assert (first.images != other.images).any(axis=(1, 2, 3)).all()
        np.testing.assert_array_equal(first.texture, other.texture)


def test_pictures_are_those_of_a_camera_but_for_their_compression() -> None:
    """With as many pictures as all rounds make, `synthesize` writes what the rounds show."""
    whole = PeopleRecipe(identities=4, images_per_identity=3 * ROUNDS, seed=5, height=64, width=32, cameras=6)
    expected = list(stream(whole, [1]))[7::ROUNDS]
    found = take_pictures(RECIPE, 1, 7)
    for image, mask, shot in zip(found.images, found.regions, expected, strict=True):
        np.testing.assert_array_equal(mask, shot.parts)
        assert 0 < np.abs(image.astype(int) - shot.image).mean() < 25


@pytest.mark.timeout(300)
def test_the_store_fills_and_is_renewed_while_somebody_reads() -> None:
    with LivePeople(RECIPE, torch.device("cpu"), processes=1, textures=True) as live:
        assert live.store.pids.tolist() == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
        with pytest.raises(SemreidError, match="4 people, not 5"):
            live.wait_for(5)
        live.wait_for(2)
        rows = live.rows(2, 4, np.random.default_rng(0))
        assert (live.store.pids[rows].reshape(2, 4) == live.store.pids[rows[::4], None]).all()
        assert live.store.images[rows].flatten(1).any(dim=1).all()
        live.wait_for(4)
        before = live.store.images.clone()
        while live.made < 24:
            live.renew()
        changed = (live.store.images != before).flatten(1).any(dim=1)
    assert changed.all()
    np.testing.assert_array_equal(live.store.textures[0], create_person(5, 1).texture)
    assert live.store.regions.max() <= 7
    assert live.people == 4


@pytest.mark.timeout(300)
def test_pictures_of_an_earlier_round_do_not_replace_later_ones() -> None:
    later = take_pictures(RECIPE, 1, 7)
    with LivePeople(RECIPE, torch.device("cpu"), processes=1) as live:
        live._put(later)
        live.wait_for(2)  # one process takes them in order: the first person has come again, too
        np.testing.assert_array_equal(live.store.images[:3], later.images)


OWNER = """
import time
import torch
from semreid.people.dataset import PeopleRecipe
from semreid.people.live import LivePeople

if __name__ == "__main__":
    recipe = PeopleRecipe(identities=4, images_per_identity=2, height=64, width=32)
    live = LivePeople(recipe, torch.device("cpu"), processes=1)
    live.wait_for(1)
    print(*live._pool._processes, flush=True)
    time.sleep(600)
"""


@pytest.mark.timeout(300)
def test_processes_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    (tmp_path / "owner.py").write_text(OWNER)
    with subprocess.Popen([sys.executable, tmp_path / "owner.py"], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        workers = [int(pid) for pid in owner.stdout.readline().split()]
        assert workers
        assert all(map(_runs, workers))
        owner.kill()
    while any(map(_runs, workers)):  # the time limit of the test ends it
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # one that nobody waits for stays as a zombie
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
