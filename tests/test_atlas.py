import numpy as np
import pytest

from semreid.atlas import CHARTS, SIZE, Part, fill_gutters, part_map, valid_texels


def test_charts_do_not_overlap_and_have_a_gutter_of_four_texels_each():
    taken = np.zeros((SIZE + 8, SIZE + 8), int)  # the border of the texture is a neighbour too
    for chart in CHARTS.values():
        top, left = chart.top, chart.left  # shifted by 4: the gutter starts 4 before the chart
        taken[top : top + chart.height + 8, left : left + chart.width + 8] += 1
        assert top >= 4
        assert left >= 4
        assert top + chart.height <= SIZE - 4
        assert left + chart.width <= SIZE - 4
    assert taken.max() == 1


def test_the_atlas_is_its_own_mirror_image():
    for name, chart in CHARTS.items():
        other = CHARTS[name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")]
        assert (other.left, other.width) == (SIZE - chart.left - chart.width, chart.width)
        assert (other.top, other.height, other.parts, other.side) == (chart.top, chart.height, chart.parts, -chart.side)
        same_angle = other.angle[::-1] if chart.side else -chart.angle[::-1]
        np.testing.assert_allclose(chart.angle, same_angle, atol=1e-5)
    assert np.array_equal(part_map(), part_map()[:, ::-1])


def test_every_part_has_texels_and_every_texel_a_part():
    assert set(np.unique(part_map())) == set(Part) - {Part.BACKGROUND}


@pytest.mark.parametrize("name", ["torso", "left_leg", "right_leg"])
def test_texture_coordinates_hit_the_texels_of_the_chart(name):
    chart = CHARTS[name]
    around = (np.arange(chart.width, dtype=np.float32) + 0.5) / chart.width
    t, around = np.meshgrid(chart.t, around, indexing="ij")
    texel = np.floor(chart.uv(around, t) * SIZE).astype(int)
    rows, columns = np.mgrid[chart.window]
    assert np.array_equal(texel[..., 0], columns)
    assert np.array_equal(texel[..., 1], rows)


def test_left_limbs_turn_their_front_to_the_middle_of_the_atlas():
    arm = CHARTS["left_arm"]
    front = np.abs(arm.angle).argmin()
    assert front < arm.width / 2  # left limbs stand right of the middle
    assert arm.angle[arm.width // 2] == pytest.approx(np.pi / 2, abs=0.1)  # lateral in the middle, seam medial


def test_gutters_take_the_nearest_texel_of_a_chart():
    texture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    filled = fill_gutters(texture)
    valid = valid_texels()
    assert np.array_equal(filled[valid], texture[valid])
    rows, columns = np.nonzero(valid)
    for row, column in np.random.default_rng(1).integers(0, SIZE, (200, 2)):
        distance = (rows - row) ** 2 + (columns - column) ** 2
        nearest = distance <= distance.min() * 1.05 + 0.5  # the 5 × 5 distance of OpenCV is not quite Euclidean
        candidates = texture[rows[nearest], columns[nearest]]
        assert (candidates == filled[row, column]).all(1).any()


@pytest.mark.parametrize("shared", [part_map, valid_texels])
def test_nobody_can_change_what_others_are_given(shared):
    before = shared()
    shared()[...] = 0
    np.testing.assert_array_equal(shared(), before)
    assert before.any()
