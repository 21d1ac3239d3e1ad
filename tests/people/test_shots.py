import numpy as np
import pytest

from semreid.atlas import Part
from semreid.people import shots
from semreid.people.shots import create_person, network, shoot

SIZE = (128, 64)


@pytest.fixture(scope="module")
def cameras():
    return network(0, 3)


def test_a_picture_depends_on_seed_identity_and_number_only(cameras):
    whole = list(shoot(create_person(0, 3), cameras, 4, 2, 0, SIZE))
    list(shoot(create_person(0, 5), cameras, 2, 2, 0, SIZE))  # somebody else in between changes nothing
    again = list(shoot(create_person(0, 3), cameras, 4, 2, 0, SIZE))
    for a, b in zip(whole, again, strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.parts, b.parts)
        assert (a.camera.camid, a.pose.name, a.box) == (b.camera.camid, b.pose.name, b.box)
    other = next(shoot(create_person(1, 3), cameras, 4, 2, 1, SIZE))
    assert not np.array_equal(whole[0].image, other.image)


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_everybody_passes_as_many_cameras_as_told_in_different_poses(cameras, count):
    for pid, passes in ((1, 2), (2, 3), (3, 9)):
        taken = list(shoot(create_person(0, pid), cameras, count, passes, 0, SIZE))
        assert len(taken) == count
        assert len({shot.camera.camid for shot in taken}) == min(passes, count, len(cameras))
        angles = [shot.pose.angles for shot in taken]
        assert all(np.abs(a - b).max() > 0.01 for i, a in enumerate(angles) for b in angles[:i])


def test_what_is_known_of_a_picture_fits_it(cameras):
    for pid in range(1, 6):
        for shot in shoot(create_person(0, pid), cameras, 4, 2, 0, SIZE):
            assert shot.image.shape == (*SIZE, 3)
            assert shot.image.dtype == np.uint8
            assert shot.parts.shape == SIZE
            assert shot.parts.max() <= 7
            assert np.array_equal(shot.parts > 0, (shot.uv > 0).any(2))
            assert all(0 <= share <= 1 for share in (*shot.visible, shot.occlusion))
            for part in list(Part)[1:]:
                assert (shot.visible[part - 1] > 0) == (shot.parts == part).any()


def test_keypoints_lie_on_their_parts(cameras):
    hits = []
    for pid in range(1, 9):
        for shot in shoot(create_person(0, pid), cameras, 2, 2, 0, SIZE):
            if shot.occlusion > 0.02:
                continue
            column, row = np.round(shot.keypoints[0]).astype(int)
            if 0 <= row < SIZE[0] and 0 <= column < SIZE[1]:
                hits.append(shot.parts[row, column] == Part.HEAD)
    assert len(hits) >= 6
    assert np.mean(hits) > 0.8


def test_what_stands_in_front_is_not_labelled_and_counts_as_hidden(cameras, monkeypatch):
    def lower_half(place, rng, size, sprites):
        alpha = np.zeros(size, np.float32)
        alpha[size[0] // 2 :] = 1
        return np.full((*size, 3), 0.5, np.float32), alpha

    person = create_person(0, 1)
    monkeypatch.setattr(shots, "occlude", lambda *_: None)
    free = next(shoot(person, cameras, 2, 2, 0, SIZE))
    monkeypatch.setattr(shots, "occlude", lower_half)
    hidden = next(shoot(person, cameras, 2, 2, 0, SIZE))
    assert (hidden.parts[SIZE[0] // 2 :] == 0).all()
    assert hidden.occlusion > free.occlusion + 0.3
    assert hidden.visible[Part.FOOT - 1] == 0
    assert hidden.visible[Part.HEAD - 1] == free.visible[Part.HEAD - 1]


def test_what_a_bad_box_cuts_off_counts_as_hidden(cameras, monkeypatch):
    monkeypatch.setattr(shots, "occlude", lambda *_: None)

    def upper_half(camera, tight, rng):
        return tight[0], tight[1], tight[2], (tight[1] + tight[3]) / 2

    monkeypatch.setattr(shots, "_draw_box", upper_half)
    shot = next(shoot(create_person(0, 1), cameras, 2, 2, 0, SIZE))
    assert shot.visible[Part.FOOT - 1] == 0
    assert shot.visible[Part.HEAD - 1] == 1
    assert 0.3 < shot.occlusion < 0.7
    assert shot.keypoints[-1, 1] > SIZE[0]  # the ankle is below the picture


def test_many_even_identities_resemble_the_one_before():
    def close(pid):
        a, b = create_person(7, pid).texture.astype(int), create_person(7, pid - 1).texture.astype(int)
        return np.abs(a - b).mean() < 25

    resemble = [close(pid) for pid in range(2, 42, 2)]
    strangers = [close(pid) for pid in range(3, 43, 2)]
    assert np.mean(resemble) > np.mean(strangers) + 0.1
