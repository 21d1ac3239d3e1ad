from dataclasses import replace

import numpy as np
import pytest

from semreid.atlas import SIZE
from semreid.people.body import build_body
from semreid.people.mesh import texture_coordinates, triangles, tubes
from semreid.people.shape import Shape, Silhouette, draw_shape
from semreid.people.skeleton import BONE, BONES

DRESSES = {
    "plain": Silhouette(),
    "coat": Silhouette(hem=1.0, torso_bulk=0.03, sleeve_end=1.0, sleeve_bulk=0.015, hood="up", backpack=1.2),
    "skirt": Silhouette(skirt_end=0.45, hair="long", bag="hand"),
    "long dress": Silhouette(skirt_end=0.9, hem=0, hair="bun", hat="brim", bag="shoulder", bag_size=0.2),
    "wide": Silhouette(leg_bulk=0.02, cuff_bulk=0.03, hair="ponytail", hat="cap", hood="down", backpack=0.6),
    "shorts": Silhouette(trouser_end=0.35, hair="bob", hat="beanie", hem=0.0),
}


@pytest.fixture(params=DRESSES)
def body(request):
    return build_body(Shape(), DRESSES[request.param])


def test_mesh_is_of_the_announced_size(body):
    assert 3000 <= len(body.faces) <= 6000
    assert len(body.vertices) == len(texture_coordinates()) == len(body.weights) == len(body.shade)


def test_every_vertex_moves_with_bones_whole(body):
    np.testing.assert_allclose(body.weights.sum(1), 1, atol=1e-5)
    assert body.weights.min() >= 0
    assert np.isfinite(body.vertices).all()


def test_texture_coordinates_stay_in_their_chart():
    uv = texture_coordinates() * SIZE
    for tube in tubes().values():
        chart, own = tube.chart, uv[tube.vertices]
        assert own[:, 0].min() == chart.left
        assert own[:, 0].max() == chart.left + chart.width
        assert own[:, 1].min() == chart.top
        assert own[:, 1].max() == chart.top + chart.height


def test_tubes_are_right_side_out(body):
    """Signed volume: positive when triangles run counter-clockwise seen from outside."""
    for name in tubes():
        if name in ("backpack", "bag"):
            continue
        own = body.vertices - body.vertices[tubes()[name].vertices].mean(0)
        a, b, c = own[triangles(name)].transpose(1, 0, 2)
        assert (a * np.cross(b, c)).sum() / 6 > 2e-5, name


def test_normals_agree_with_the_triangles(body):
    a, b, c = body.vertices[body.faces].transpose(1, 0, 2)
    across = np.cross(b - a, c - a)
    area = np.linalg.norm(across, axis=1)
    large = area > 1e-5
    facing = (across[large] / area[large, None] * body.normals[body.faces[large]].mean(1)).sum(1)
    assert np.mean(facing > 0.3) > 0.97


def test_left_and_right_are_mirror_images(body):
    for name in ("left_arm", "left_leg", "left_hand", "left_foot"):
        left, right = tubes()[name], tubes()[name.replace("left", "right")]
        grid = body.vertices[right.vertices].reshape(right.rings, -1, 3)[:, ::-1].reshape(-1, 3)
        np.testing.assert_allclose(body.vertices[left.vertices], grid * (-1, 1, 1), atol=1e-6)
    torso = tubes()["torso"]
    grid = body.vertices[torso.vertices].reshape(torso.rings, -1, 3)
    np.testing.assert_allclose(grid, grid[:, ::-1] * (-1, 1, 1), atol=1e-6)


def test_shape_and_clothes_change_what_they_say():
    def width(body, tube, row):
        grid = body.vertices[tubes()[tube].vertices].reshape(tubes()[tube].rings, -1, 3)
        return np.ptp(grid[row, :, 0])

    plain = build_body(Shape(), Silhouette())
    assert width(build_body(Shape(girth=1.3), Silhouette()), "torso", 12) > width(plain, "torso", 12)
    assert width(build_body(Shape(), Silhouette(torso_bulk=0.03)), "torso", 12) > width(plain, "torso", 12)
    assert width(build_body(Shape(), Silhouette(cuff_bulk=0.03)), "left_leg", 20) > width(plain, "left_leg", 20)
    assert width(build_body(Shape(), Silhouette(skirt_end=0.5)), "left_leg", 8) > width(plain, "left_leg", 8)
    longer = build_body(Shape(legs=1.1), Silhouette())
    assert longer.joints[BONE["chest"], 1] > plain.joints[BONE["chest"], 1]
    coat = build_body(Shape(), Silhouette(hem=1.0)).vertices[tubes()["torso"].vertices]
    assert coat[:, 1].min() < plain.vertices[tubes()["torso"].vertices][:, 1].min() - 0.1


def test_missing_bags_are_nowhere():
    body = build_body(Shape(), Silhouette())
    for name in ("backpack", "bag"):
        own = tubes()[name].vertices
        assert np.ptp(body.vertices[own], axis=0).max() == 0
        assert not np.isin(body.faces, np.arange(own.start, own.stop)).any()
    carried = build_body(Shape(), replace(Silhouette(), backpack=1.0, bag="hand"))
    assert len(carried.faces) > len(body.faces)


def test_drawn_shapes_differ_and_repeat_with_the_seed():
    shapes = [draw_shape(np.random.default_rng(seed), female=seed % 2 == 0) for seed in range(50)]
    assert shapes == [draw_shape(np.random.default_rng(seed), female=seed % 2 == 0) for seed in range(50)]
    assert len(set(shapes)) == 50
    assert all(1.4 < shape.stature < 2.0 and 0.7 < shape.girth < 1.4 for shape in shapes)


def test_parents_come_before_their_bones():
    order = list(BONES)
    assert all(not parent or order.index(parent) < order.index(bone) for bone, parent in BONES.items())
