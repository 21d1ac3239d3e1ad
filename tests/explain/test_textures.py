from pathlib import Path

import cv2
import numpy as np
import pytest

from semreid.atlas import CHARTS
from semreid.errors import SemreidError
from semreid.explain.textures import SIDES, save_textures, texture_row, wear
from semreid.models.zoo import create_model
from tests.conftest import draw_figure, write_image

SMALL = {"num_ids": 1, "trunk": "resnet18", "width": 0.125, "size": (64, 32)}


def two_sided() -> np.ndarray:
    """Red where the trunk faces forward, blue where it faces backward, green on the person's left limbs."""
    texture = np.full((256, 256, 3), 128, np.uint8)
    rows, columns = CHARTS["torso"].window
    forward = np.abs(CHARTS["torso"].angle) < np.pi / 2
    texture[rows, columns] = np.where(forward[None, :, None], (255, 0, 0), (0, 0, 255))
    for name in ("left_arm", "left_leg"):
        texture[CHARTS[name].window] = (0, 255, 0)
    return texture


def colours(picture: np.ndarray, rows: slice = slice(None), columns: slice = slice(None)) -> list[bool]:
    """Which of red, green and blue are seen."""
    part = picture[rows, columns].astype(int)
    return [bool((2 * part[..., c] - part.sum(2) > 0).any()) for c in range(3)]


def test_every_side_shows_its_part_of_the_texture() -> None:
    sides = {name: wear(two_sided(), yaw) for name, yaw in SIDES.items()}
    assert colours(sides["front"]) == [True, True, False]
    assert colours(sides["back"]) == [False, True, True]
    assert not colours(sides["right"])[1]  # the left limbs are behind
    assert colours(sides["left"])[1]
    half = (slice(None), slice(0, 60))
    assert not colours(sides["front"], *half)[1]  # the left arm of who faces us is on the right of the picture
    assert colours(sides["back"], *half)[1]


def test_the_body_fills_the_picture_and_stands_on_white() -> None:
    picture = wear(two_sided(), 0)
    rows, columns = np.nonzero((picture < 250).any(axis=2))
    assert rows.min() < 20
    assert rows.max() > 236
    assert columns.min() > 5
    assert columns.max() < 122
    assert (picture[0] == 255).all()


def test_a_row_holds_crop_texture_and_four_sides() -> None:
    row = texture_row(draw_figure(1, 1, 0), two_sided())
    assert row.shape == (256, 128 + 256 + 4 * 128 + 5 * 12, 3)
    np.testing.assert_array_equal(row[:, 140:396], two_sided())


def test_a_texture_of_another_size_is_refused() -> None:
    with pytest.raises(SemreidError, match=r"shape \(64, 64, 3\)"):
        wear(np.zeros((64, 64, 3), np.uint8), 0)


def test_the_picture_has_a_row_for_each_crop(tmp_path: Path) -> None:
    model = create_model("san_pg", **SMALL).eval()
    crops = [write_image(tmp_path / f"{pid}.png", draw_figure(pid, 1, 0)) for pid in (1, 2)]
    save_textures(model, crops[:1], tmp_path / "one.png")
    save_textures(model, crops, tmp_path / "two.png")
    one, two = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("one", "two"))
    assert two.shape[0] == pytest.approx(one.shape[0] + 268, abs=2)
    assert one.shape[1] == two.shape[1]


def test_models_that_paint_nothing_and_files_that_are_none(run, tmp_path: Path) -> None:
    crop = write_image(tmp_path / "1.png", draw_figure(1, 1, 0))
    with pytest.raises(SemreidError, match="paints textures"):
        save_textures(create_model("baseline", **SMALL), [crop], tmp_path / "a.png")
    with pytest.raises(SemreidError, match="cannot read"):
        save_textures(create_model("san_pg", **SMALL), [tmp_path / "none.png"], tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
    assert run("texture", "baseline", crop, "--out", tmp_path / "a.png").code == 1
