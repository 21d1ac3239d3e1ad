import cv2
import numpy as np
import pytest

from semreid.atlas import SIZE, part_map
from semreid.people import _kernels
from semreid.people.body import build_body
from semreid.people.poses import draw_pose, take_pose
from semreid.people.render import Light, View, bounding_box, camera_rotation, project, render
from semreid.people.shape import Shape
from semreid.people.tailor import paint
from semreid.people.wardrobe import draw_outfit

SUN = Light((0.5, 0.8, 0.6), (1.0, 0.9, 0.8), (0.3, 0.35, 0.4))


def scene(seed=0, yaw=30.0, mirrored=False):
    rng = np.random.default_rng(seed)
    outfit = draw_outfit(rng)
    body = build_body(Shape(), outfit.silhouette)
    pose = draw_pose(body, rng)
    texture = paint(outfit).astype(np.float32) / 255
    if mirrored:
        pose, texture, yaw = pose.mirrored(), np.ascontiguousarray(texture[:, ::-1]), -yaw
    seen = project(take_pose(body, pose), View(yaw=yaw, elevation=15))
    return body, texture, seen


def framed(seen, pad=0.03):
    left, top, right, bottom = bounding_box(seen)
    margin = pad * (bottom - top)
    half = max(right, -left) + margin  # symmetric about the axis, so that mirroring is mirroring
    return -half, top - margin, half, bottom + margin


def reprojected(seed, supersample):
    """Squared error per pixel of the albedo sampled at the UV of an unlit render, and where UVs are smooth."""
    body, texture, seen = scene(seed, yaw=60.0 * seed)
    shown = render(seen, body.faces, texture, framed(seen), (256, 128), supersample=supersample)
    u, v = (shown.uv * SIZE - 0.5).transpose(2, 0, 1)
    error = ((cv2.remap(texture, u, v, cv2.INTER_LINEAR) - shown.colour) ** 2).mean(2)
    jump = np.abs(np.gradient(shown.uv, axis=(0, 1))).max((0, 3)) * SIZE
    inside = shown.parts > 0
    assert inside.sum() > 3000
    return error[inside], error[inside & (shown.alpha == 1) & (jump < 6)]


@pytest.mark.parametrize("seed", range(4))
def test_the_albedo_at_the_uv_of_each_pixel_is_what_an_unlit_render_shows(seed):
    error, _ = reprojected(seed, supersample=1)
    assert -10 * np.log10(error.mean() + 1e-12) > 60


def test_so_it_is_with_supersampling_where_a_pixel_shows_one_place():
    smooth = np.concatenate([reprojected(seed, supersample=2)[1] for seed in range(6)])
    assert -10 * np.log10(smooth.mean()) > 35  # outlines of an arm before the trunk mix two places


@pytest.mark.parametrize("yaw", [0, 45, 90, 180, 250])
def test_the_mirrored_person_is_the_mirrored_picture(yaw):
    body, texture, seen = scene(1, yaw)
    body_m, texture_m, seen_m = scene(1, yaw, mirrored=True)
    picture = render(seen, body.faces, texture, framed(seen), (128, 64))
    mirrored = render(seen_m, body_m.faces, texture_m, framed(seen_m), (128, 64))
    close = np.abs(mirrored.colour[:, ::-1] - picture.colour).max(2) < 2 / 255
    assert close.mean() > 0.995  # samples that lie exactly on an edge may fall to either side
    assert (mirrored.parts[:, ::-1] == picture.parts).mean() > 0.995


def test_labels_cover_exactly_the_foreground():
    body, texture, seen = scene(2)
    shown = render(seen, body.faces, texture, framed(seen), (128, 64))
    assert np.array_equal(shown.parts > 0, shown.alpha >= 0.5)
    assert set(np.unique(shown.parts)) == set(range(8))
    assert (shown.uv[shown.parts == 0] == 0).all()
    texel = np.floor(shown.uv * SIZE).astype(int)[shown.parts > 0]
    assert (part_map()[texel[:, 1], texel[:, 0]] == shown.parts[shown.parts > 0]).mean() > 0.97  # the rest are borders


def test_rasterise_equals_the_naive_z_buffer():
    rng = np.random.default_rng(0)
    screen = rng.uniform(-3, 23, (30, 2)).astype(np.float32)
    nearness = rng.uniform(0.2, 1, 30).astype(np.float32)
    faces = rng.integers(0, 30, (40, 3)).astype(np.int32)
    face, weights = _kernels.rasterise(screen, nearness, faces, 20, 20)
    for y in range(20):
        for x in range(20):
            best, found = 0.0, -1
            for f, (a, b, c) in enumerate(faces):
                corners = np.vstack((screen[[a, b, c]].T.astype(np.float64), np.ones(3)))
                if np.linalg.det(corners) >= -1e-6:  # y points down: the outside is clockwise in these axes
                    continue
                share = np.linalg.solve(corners, [x + 0.5, y + 0.5, 1])
                near = share @ nearness[[a, b, c]]
                if share.min() >= 0 and near > best:
                    best, found, expected = near, f, share
            assert face[y, x] == found
            if found >= 0:
                np.testing.assert_allclose(weights[y, x], expected[:2], atol=2e-3)


def test_texture_coordinates_are_perspective_correct():
    """A floor that runs away from the camera, against the intersection of rays with its plane."""
    corners = np.array([[-1, -1, -2], [1, -1, -2], [1, -1, -9], [-1, -1, -9]], float)  # x, y, z; camera at 0
    depth = -corners[:, 2]
    screen = (np.stack((corners[:, 0], -corners[:, 1]), 1) / depth[:, None] * 50 + 32).astype(np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    nearness = (1 / depth).astype(np.float32)
    texel = np.array([[0, 0], [10, 0], [10, 70], [0, 70]], np.float32)  # v grows with the distance
    face, weights = _kernels.rasterise(screen, nearness, faces, 64, 64)
    ones = np.ones((SIZE, SIZE), np.float32)
    _, _, parts, uv = _kernels.shade(
        face, weights, faces, nearness, texel, np.ones((4, 3), np.float32), np.ones((SIZE, SIZE, 3), np.float32), ones,
        np.ones((SIZE, SIZE), np.uint8), 1,
    )  # fmt: skip
    rows, columns = np.nonzero(parts)
    assert rows.size > 100
    distance = 50 / (rows + 0.5 - 32)  # of the floor one below the camera
    np.testing.assert_allclose(uv[rows, columns, 1] * SIZE, (distance - 2) * 10, atol=0.05)
    np.testing.assert_allclose(uv[rows, columns, 0] * SIZE, ((columns + 0.5 - 32) / 50 * distance + 1) * 5, atol=0.05)


def test_light_comes_from_where_it_is_said_to():
    body, texture, seen = scene(3, yaw=0)
    white = np.ones_like(texture)

    def halves(direction):
        light = Light(direction, (1, 1, 1), (0.2, 0.2, 0.2))
        shown = render(seen, body.faces, white, framed(seen), (128, 64), light=light)
        left, right = shown.alpha[:, :32].sum(), shown.alpha[:, 32:].sum()
        return shown.colour[:, :32].sum() / left, shown.colour[:, 32:].sum() / right

    left, right = halves((1, 0.2, 0.2))
    assert right > 1.3 * left
    left, right = halves((-1, 0.2, 0.2))
    assert left > 1.3 * right


def test_relief_and_ambient_share_darken_the_light_only_where_they_are():
    body, texture, seen = scene(4)
    plain = render(seen, body.faces, texture, framed(seen), (128, 64), light=SUN)
    folds = np.ones((SIZE, SIZE), np.float32)
    folds[part_map() == 2] = 0.5
    folded = render(seen, body.faces, texture, framed(seen), (128, 64), light=SUN, relief=folds)
    torso = (plain.parts == 2) & (cv2.erode((plain.parts == 2).astype(np.uint8), np.ones((5, 5))) > 0)
    np.testing.assert_allclose(folded.colour[torso], plain.colour[torso] * 0.5, rtol=1e-4)
    legs = cv2.erode((plain.parts == 6).astype(np.uint8), np.ones((5, 5))) > 0
    np.testing.assert_allclose(folded.colour[legs], plain.colour[legs], rtol=1e-5)
    shaded = render(seen, body.faces, texture, framed(seen), (128, 64), light=SUN, ambient_share=body.shade)
    assert (shaded.colour <= plain.colour + 1e-6).all()
    assert shaded.colour.sum() < plain.colour.sum()


def test_the_camera_frame_is_right_up_and_towards():
    np.testing.assert_allclose(camera_rotation(View(0, 0, 5)), np.eye(3), atol=1e-9)
    towards_when_above = camera_rotation(View(0, 90, 5)) @ (0, 1, 0)
    np.testing.assert_allclose(towards_when_above, (0, 0, 1), atol=1e-9)
    right_when_turned = camera_rotation(View(90, 0, 5)) @ (0, 0, 1)  # a person turned by 90° walks to the right
    np.testing.assert_allclose(right_when_turned, (1, 0, 0), atol=1e-9)
