"""Cameras, places, occluders and development."""

from dataclasses import replace

import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.people.camera import develop, install_camera, linear
from semreid.people.places import background, build_place, project, share_places
from semreid.people.scene import cast_shadow, crowd, occlude

SIZE = (128, 64)
CAMERAS = [install_camera(seed, camid) for seed in range(2) for camid in range(1, 5)]


def _rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def places():
    return [build_place(camera) for camera in CAMERAS]


def with_habits(place, **habits):
    return replace(place, camera=replace(place.camera, **habits))


@pytest.fixture(scope="module")
def sprite():
    alpha = np.zeros((100, 40), np.float32)
    alpha[2:98, 5:35] = 1
    return np.full((100, 40, 3), 0.4, np.float32), alpha


def _chart():
    """A smooth scene of all brightnesses."""
    ramp = np.linspace(0.02, 0.8, SIZE[0], dtype=np.float32)[:, None, None]
    return np.broadcast_to(ramp, (*SIZE, 3)) * np.array([1.0, 0.9, 0.8], np.float32)


@pytest.mark.parametrize("seed", range(40))
def test_every_camera_is_sensible(seed):
    camera = install_camera(seed, seed % 7)
    assert -10 <= camera.elevation <= 40
    assert 3 <= camera.distance <= 9
    assert np.linalg.norm(camera.sun) == pytest.approx(1)
    assert camera.sun[1] > 0
    assert all(
        0 <= p <= 1 for p in (camera.shade, camera.motion, camera.occlusion, camera.crowding, camera.auto_exposure)
    )
    assert 1 <= camera.jpeg_quality <= 100
    assert 32 <= camera.height <= 400
    white = (
        np.array(camera.matrix) @ (np.array(camera.sky_colour) + 0.5 * np.array(camera.sun_colour)) * camera.exposure
    )
    assert np.all((white > 0.1) & (white < 6))


def test_cameras_and_places_come_from_the_seed_alone(places):
    assert [install_camera(seed, camid) for seed in range(2) for camid in range(1, 5)] == CAMERAS
    build_place.cache_clear()
    again = build_place(CAMERAS[0])
    assert np.array_equal(again.view, places[0].view)
    assert len(set(CAMERAS)) == len(CAMERAS)


@pytest.mark.parametrize(("seed", "camid"), [(-1, 1), (0, -1)])
def test_numbers_below_zero_are_refused(seed, camid):
    with pytest.raises(SemreidError, match="no camera"):
        install_camera(seed, camid)


@pytest.mark.parametrize("elevation", [-8.0, 0.0, 15.0, 38.0])
def test_views_are_in_perspective(elevation):
    camera = replace(CAMERAS[0], elevation=elevation, distance=8.0)
    (_, head), (column, foot) = project(camera, 0, 1.7, 0), project(camera, 0, 0, 0)
    assert column == pytest.approx(480)
    assert foot - head == pytest.approx(250 * np.cos(np.radians(elevation)), rel=0.04)
    far_column, far_foot = project(camera, 1.0, 0, -3.0)
    near_column, near_foot = project(camera, 1.0, 0, 1.0)
    assert far_column < near_column
    assert near_foot > far_foot  # the lens is above the floor wherever it looks


def test_backgrounds_vary_within_and_between_pictures(places):
    for place in places:
        pictures = [background(place, _rng(seed), SIZE) for seed in range(4)]
        for picture in pictures:
            assert picture.shape == (*SIZE, 3)
            assert picture.dtype == np.float32
            assert 0 <= picture.min() <= picture.max() <= 1.6 + 1e-5
            assert picture.std() > 0.003
        assert np.abs(pictures[0] - pictures[1]).mean() > 0.003
    assert np.array_equal(background(places[0], _rng(3), SIZE), background(places[0], _rng(3), SIZE))


def test_occluders_cover_a_part_with_soft_edges(places, sprite):
    covers = []
    for place in places:
        assert occlude(with_habits(place, occlusion=0), _rng(), SIZE, [sprite]) is None
        for seed in range(12):
            rgb, alpha = occlude(with_habits(place, occlusion=1), _rng(seed), SIZE, [sprite])
            assert rgb.shape == (*SIZE, 3)
            assert alpha.shape == SIZE
            assert rgb.dtype == alpha.dtype == np.float32
            assert 0 <= alpha.min() <= alpha.max() <= 1 + 1e-6
            assert np.isfinite(rgb).all()
            covers.append(alpha.mean())
    assert np.mean(np.array(covers) > 0.01) > 0.9
    assert 0.1 < np.mean(covers) < 0.6


def test_occlusion_is_as_frequent_as_the_camera_says(places, sprite):
    place = places[0]
    rng = _rng()
    found = [occlude(place, rng, SIZE, [sprite]) is not None for _ in range(300)]
    assert np.mean(found) == pytest.approx(place.camera.occlusion, abs=0.08)


def test_passers_by_look_smaller_and_stand_higher_behind(sprite):
    place = build_place(replace(CAMERAS[0], elevation=30.0, crowding=1))
    assert crowd(with_habits(place, crowding=0), _rng(), SIZE, [sprite]) is None
    covers = []
    for seed in range(20):
        rgb, alpha = crowd(place, _rng(seed), SIZE, [sprite])
        assert 0 <= alpha.min() <= alpha.max() <= 1 + 1e-6
        assert np.allclose(rgb[alpha > 0.99], 0.4, atol=1e-3)
        covers.append(alpha)
    assert np.mean([a[: SIZE[0] // 2].mean() for a in covers]) > np.mean([a[-SIZE[0] // 5 :].mean() for a in covers])


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: f"{c.weather}-{c.camid}")
@pytest.mark.parametrize("size", [(256, 128), (128, 64), (90, 47)])
def test_development_gives_a_picture_of_the_same_size(camera, size):
    image = _rng(1).random((*size, 3), np.float32) * 1.5
    before = image.copy()
    picture = develop(image, camera, _rng(2))
    assert picture.shape == (*size, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(image, before)
    assert np.array_equal(picture, develop(image, camera, _rng(2)))
    assert not np.array_equal(picture, develop(image, camera, _rng(3)))


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: f"{c.weather}-{c.camid}")
def test_more_exposure_is_brighter(camera):
    plain = replace(camera, auto_exposure=0.0)
    means = [develop(_chart(), replace(plain, exposure=e), _rng(1)).mean() for e in (0.3, 0.6, 1.2, 2.4)]
    assert np.all(np.diff(means) > 0)


def test_development_follows_the_knobs_of_the_camera():
    plain = replace(
        CAMERAS[0],
        contrast=1.0,
        black=0.0,
        saturation=1.0,
        noise=0.0,
        sharpen=0.0,
        blur=0.0,
        shade=0.0,
        motion=0.0,
        height=400,
    )
    edge = np.where(np.arange(SIZE[1]) < 32, 0.1, 0.5)[None, :, None] * np.ones((*SIZE, 3))

    def look(**knobs):
        return develop(edge.astype(np.float32), replace(plain, **knobs), _rng()).astype(float)

    assert look(contrast=1.5).std() > look().std() > look(contrast=0.7).std()
    assert look(black=0.1).min() > look().min()
    assert look(saturation=0.0).std(2).max() < 2
    assert np.ptp(look(sharpen=2.0, halo=1.5)) > np.ptp(look()) + 4
    assert look(noise=0.05)[:, :20].std() > look()[:, :20].std() + 1


def test_cameras_have_pictures_of_their_own(places):
    """One and the same person varies more between cameras than within one."""
    scene = _chart() * 0.6
    means = np.array([[develop(scene, c, _rng(i)).mean((0, 1)) for i in range(8)] for c in CAMERAS])
    assert means.mean(1).std(0).min() > means.std(1).mean(0).max() * 0.8
    assert means.mean(1).std(0).min() > 8


def test_shadow_darkens_the_floor_only_where_there_is_somebody():
    person = np.zeros(SIZE, np.float32)
    assert np.allclose(cast_shadow(CAMERAS[0], person), 1)
    person[20:120, 24:40] = 1
    for camera in CAMERAS:
        shade = cast_shadow(camera, person)
        assert shade.shape == SIZE
        assert 0 < shade.min() < 1
        assert shade.max() <= 1


def test_linear_light_of_painted_colours():
    assert np.allclose(linear(np.array([0, 128, 255], np.uint8)), [0, (128 / 255) ** 2.2, 1])


def test_processes_share_the_places_that_they_build(tmp_path, monkeypatch):
    camera = install_camera(9, 3)
    expected = build_place(camera)
    share_places(tmp_path / "places")
    try:
        build_place.cache_clear()
        first = build_place(camera)
        build_place.cache_clear()
        monkeypatch.setattr("semreid.people.places._build_place", None)  # a second process has no need to
        again = build_place(camera)
    finally:
        share_places(None)
        build_place.cache_clear()
    for found in (first, again):
        assert found.camera == camera
        np.testing.assert_array_equal(found.view, expected.view)
        assert [name for name, _ in found.things] == [name for name, _ in expected.things]
        for (_, thing), (_, other) in zip(found.things, expected.things, strict=True):
            np.testing.assert_array_equal(thing, other)
