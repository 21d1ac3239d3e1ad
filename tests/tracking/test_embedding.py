from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from semreid.errors import SemreidError
from semreid.models.zoo import create_model
from semreid.tracking import embed_boxes
from tests.conftest import draw_figure


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("baseline", num_ids=1, trunk="resnet18", width=0.125, size=(64, 32)).eval()


@pytest.fixture
def frame() -> np.ndarray:
    """A street with two people: at x 20 to 52 and 100 to 132, y 30 to 94."""
    street = np.full((120, 160, 3), 90, np.uint8)
    street[30:94, 20:52], street[30:94, 100:132] = draw_figure(1, 1, 0), draw_figure(2, 1, 0)
    return street


def test_every_box_gets_the_vector_of_its_crop_in_order(model, frame) -> None:
    boxes = np.array([[100, 30, 132, 94], [20.4, 29.6, 51.7, 94.3]], np.float32)
    expected = model.embed([frame[30:94, 100:132], frame[30:94, 20:52]])
    np.testing.assert_allclose(embed_boxes(model, frame, boxes), expected, atol=1e-6)
    np.testing.assert_allclose(embed_boxes(model, frame, boxes.tolist()), expected, atol=1e-6)


def test_boxes_are_clipped_and_those_outside_get_zeros_in_their_place(model, frame) -> None:
    boxes = [[500, 0, 600, 50], [-20, -10, 52, 94], [60, 30, 60, 90], [100, 30, 999, 1e300]]
    vectors = embed_boxes(model, frame, boxes)
    assert vectors.any(axis=1).tolist() == [False, True, False, True]
    np.testing.assert_allclose(vectors[[1, 3]], model.embed([frame[:94, :52], frame[30:, 100:]]), atol=1e-6)


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4))])
def test_no_boxes(model, frame, boxes) -> None:
    vectors = embed_boxes(model, frame, boxes)
    assert vectors.shape == (0, model.dim)
    assert vectors.dtype == np.float32


def test_frames_of_opencv_are_turned_by_a_view(model, frame) -> None:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    boxes = [[20, 30, 52, 94]]
    expected = embed_boxes(model, frame, boxes)
    np.testing.assert_array_equal(embed_boxes(model, bgr[..., ::-1], boxes), expected)
    np.testing.assert_array_equal(embed_boxes(model, bgr, boxes, bgr=True), expected)
    np.testing.assert_array_equal(embed_boxes(model, torch.from_numpy(bgr), boxes, bgr=True), expected)
    for said in (False, True):  # Pillow has no BGR
        np.testing.assert_array_equal(embed_boxes(model, Image.fromarray(frame), boxes, bgr=said), expected)


class Detections(NamedTuple):
    """What supervision's Detections and the boxes of Ultralytics have in common."""

    xyxy: Any


class Results(NamedTuple):
    boxes: Detections


def test_what_detectors_and_trackers_hand_out(model, frame) -> None:
    corners = np.array([[100, 30, 132, 94], [20, 30, 52, 94]], np.float32)
    expected = embed_boxes(model, frame, corners)
    with_scores = np.hstack([corners, [[0.9, 0], [0.8, 1]]])
    for boxes in (Detections(corners), Results(Detections(torch.tensor(corners))), torch.tensor(corners), with_scores):
        np.testing.assert_array_equal(embed_boxes(model, frame, boxes), expected)
    assert embed_boxes(model, frame, Detections(np.empty((0, 4)))).shape == (0, model.dim)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], "shape"),
        ([1, 2, 3, 4], "shape"),
        ([[0, 0, 9, 9], [0, 0, np.nan, 9]], "box 1 is not finite"),
        ([[0.1, 0.2, 0.4, 0.8]], "shares of the frame"),
        (
            [[9, 9, 20, 20], [100, 100, 40, 90]],
            r"box 1, \[100.0, 100.0, 40.0, 90.0\], .* looks like x, y, width, height",
        ),
        ([["a", "b", "c", "d"]], "no numbers"),
        (None, "shape"),
    ],
)
def test_wrong_boxes(model, frame, boxes, message: str) -> None:
    with pytest.raises(SemreidError, match=message):
        embed_boxes(model, frame, boxes)


def test_no_frame_and_no_image_say_so(model, frame) -> None:
    with pytest.raises(SemreidError, match="the frame is None"):
        embed_boxes(model, None, [[0, 0, 9, 9]])
    with pytest.raises(SemreidError, match="image 1 is None"):
        model.embed([frame, None])
    np.testing.assert_array_equal(model.embed([Image.fromarray(frame)]), model.embed([frame]))


@pytest.mark.parametrize("wrong", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((9, 9, 4), np.uint8)])
def test_wrong_frames(model, wrong) -> None:
    with pytest.raises(SemreidError, match="the frame has shape"):
        embed_boxes(model, wrong, [[0, 0, 4, 4]])
