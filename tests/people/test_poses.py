import numpy as np
import pytest

from semreid.people import _kernels
from semreid.people.body import build_body
from semreid.people.mesh import tubes
from semreid.people.poses import KEYPOINTS, Pose, draw_pose, take_pose
from semreid.people.shape import Shape, Silhouette
from semreid.people.skeleton import BONE, BONES

REST = Pose(np.zeros((len(BONES), 3), np.float32))
NAMES = list(KEYPOINTS)


@pytest.fixture
def body():
    return build_body(Shape(stature=1.8), Silhouette(bag="hand", backpack=1.0))


def at(figure, name):
    return figure.keypoints[NAMES.index(name)]


def test_at_rest_the_body_stands_upright_in_metres(body):
    figure = take_pose(body, REST)
    assert figure.vertices[:, 1].min() == 0
    assert figure.vertices[:, 1].max() == pytest.approx(1.8, rel=0.02)
    np.testing.assert_allclose(figure.vertices[:, [0, 2]], body.vertices[:, [0, 2]] * 1.8, atol=1e-5)


@pytest.mark.parametrize(
    ("bone", "angle", "moved", "axis", "sign"),
    [
        ("left_thigh", (0.5, 0, 0), "left_knee", 2, 1),  # flexion of the hip brings the knee forward
        ("left_shin", (0.5, 0, 0), "left_ankle", 2, -1),  # flexion of the knee brings the heel backward
        ("right_lower_arm", (1.0, 0, 0), "right_wrist", 2, 1),
        ("left_upper_arm", (0, 0.5, 0), "left_elbow", 0, 1),  # abduction: away from the body
        ("right_upper_arm", (0, 0.5, 0), "right_elbow", 0, -1),
        ("spine", (0.3, 0, 0), "neck", 2, 1),  # the trunk leans forward
    ],
)
def test_joints_bend_the_human_way(body, bone, angle, moved, axis, sign):
    pose = Pose(REST.angles.copy())
    pose.angles[BONE[bone]] = angle
    change = at(take_pose(body, pose), moved) - at(take_pose(body, REST), moved)
    assert change[axis] * sign > 0.02


def test_bones_keep_their_length_and_feet_touch_the_floor(body):
    rest = take_pose(body, REST)
    for seed in range(30):
        figure = take_pose(body, draw_pose(body, np.random.default_rng(seed)))
        assert figure.vertices[:, 1].min() == pytest.approx(0, abs=1e-6)
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            for side in ("left", "right"):
                length, before = (np.linalg.norm(at(f, f"{side}_{a}") - at(f, f"{side}_{b}")) for f in (figure, rest))
                assert length == pytest.approx(before, rel=1e-4)


def test_skinning_is_the_blend_of_what_each_bone_does():
    rng = np.random.default_rng(5)
    weights = rng.dirichlet(np.ones(4), 50).astype(np.float32) * (rng.random((50, 4)) < 0.7)
    turn, shift = rng.normal(size=(4, 3, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    vertices, normals = rng.normal(size=(2, 50, 3)).astype(np.float32)
    moved, turned = _kernels.skin(weights, turn, shift, vertices, normals)
    expected = sum(weights[:, [b]] * (vertices @ turn[b].T + shift[b]) for b in range(4))
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    np.testing.assert_allclose(turned, sum(weights[:, [b]] * (normals @ turn[b].T) for b in range(4)), atol=1e-5)


def test_a_mirrored_pose_gives_the_mirrored_figure(body):
    pose = draw_pose(body, np.random.default_rng(3), bag_side=-1)
    figure, mirrored = take_pose(body, pose), take_pose(body, pose.mirrored())
    swapped = [NAMES.index(name.replace("left", "X").replace("right", "left").replace("X", "right")) for name in NAMES]
    np.testing.assert_allclose(mirrored.keypoints, figure.keypoints[swapped] * (-1, 1, 1), atol=1e-5)
    torso = tubes()["bag"]
    grid = figure.vertices[torso.vertices].reshape(torso.rings, -1, 3)[:, ::-1].reshape(-1, 3)
    np.testing.assert_allclose(mirrored.vertices[torso.vertices], grid * (-1, 1, 1), atol=1e-5)


def test_the_bag_is_where_the_hand_is(body):
    for side, name in ((1, "left_wrist"), (-1, "right_wrist")):
        figure = take_pose(body, draw_pose(body, np.random.default_rng(4), bag_side=side))
        bag = figure.vertices[tubes()["bag"].vertices]
        assert np.linalg.norm(bag.mean(0) - at(figure, name)) < 0.45
        assert bag[:, 1].max() < at(figure, name)[1] + 0.1


def test_poses_repeat_with_the_seed_and_are_not_symmetric(body):
    poses = [draw_pose(body, np.random.default_rng(seed)) for seed in range(40)]
    again = [draw_pose(body, np.random.default_rng(seed)) for seed in range(40)]
    assert all(np.array_equal(a.angles, b.angles) for a, b in zip(poses, again, strict=True))
    assert all(np.abs(p.angles - p.mirrored().angles).max() > 0.02 for p in poses)
    assert any(p.name.startswith("walk") for p in poses)
    assert any(p.name.startswith("stand") for p in poses)
