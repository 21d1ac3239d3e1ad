"""For trackers: a frame and boxes in, one embedding a box out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.data.images import as_rgb
from semreid.errors import SemreidError
from semreid.models.embedder import Embedder
from semreid.tracking.boxes import clipped


def embed_boxes(
    embedder: Embedder,
    frame: Any,  # noqa: ANN401 - whatever cameras and programs hand out
    boxes: Any,  # noqa: ANN401 - whatever trackers and detectors hand out
    *,
    bgr: bool = False,
) -> NDArray[np.float32]:
    """Embed what the boxes of a frame show.

    Boxes are rounded to whole pixels and clipped to the frame. A box with nothing left inside the frame gets a
    vector of zeros, so that its cosine to everything is 0; no gallery takes it.

    Args:
        embedder: A model or an exported file.
        frame: RGB uint8 (H, W, 3), or an image of Pillow.
        boxes: Corners x1, y1, x2, y2 in pixels, (N, 4); N may be 0. Further columns (scores, classes, track ids) do not
            count. Or an object that has such corners as its ``xyxy``: ``supervision.Detections``, the boxes of
            Ultralytics; or one that has such ``boxes``: the results of Ultralytics. Tensors may be on any device.
        bgr: The frame is BGR, as OpenCV reads it; an image of Pillow is not.

    Returns:
        Unit vectors (N, dim) in float32, in the order of the boxes.

    Raises:
        SemreidError: If the frame is no RGB image, or the boxes have another shape, are not finite, or look like
            shares of the frame or like x, y, width and height.

    Example:
        >>> from semreid.models.zoo import create_model
        >>> model = create_model("baseline", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
        >>> frame = np.zeros((240, 320, 3), np.uint8)
        >>> embed_boxes(model, frame, [[10, 20, 50, 120], [400, 0, 420, 40]]).any(axis=1)
        array([ True, False])
    """
    pixels = as_rgb(frame, "the frame")
    pixels = pixels[..., ::-1] if bgr and not hasattr(frame, "convert") else pixels
    corners = clipped(_corners(boxes), *pixels.shape[:2])
    crops = {row: pixels[y1:y2, x1:x2] for row, (x1, y1, x2, y2) in enumerate(corners) if x1 < x2 and y1 < y2}
    vectors = np.zeros((len(corners), embedder.dim), np.float32)
    vectors[list(crops)] = embedder.embed(crops.values())
    return vectors


def _corners(boxes: Any) -> NDArray[np.float64]:  # noqa: ANN401 - as above
    boxes = getattr(boxes, "boxes", boxes)
    boxes = getattr(boxes, "xyxy", boxes)
    boxes = boxes.detach().cpu() if hasattr(boxes, "detach") else boxes  # a tensor
    try:
        corners = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise SemreidError(f"the boxes are no numbers: {error}", fix="give x1, y1, x2, y2 for each: (N, 4)") from error
    corners = corners.reshape(0, 4) if corners.size == 0 else corners
    if corners.ndim != 2 or corners.shape[1] < 4:
        raise SemreidError(f"the boxes have shape {corners.shape}", fix="give x1, y1, x2, y2 for each: (N, 4)")
    _require_pixels(corners[:, :4])
    return corners[:, :4]


def _require_pixels(corners: NDArray[np.float64]) -> None:
    """Refuse what is no corners in pixels, which would show nothing, or other people."""
    finite = np.isfinite(corners).all(axis=1)
    if not finite.all():
        raise SemreidError(f"box {int(np.argmin(finite))} is not finite", fix="leave it out")
    turned = (corners[:, 2:] < corners[:, :2]).any(axis=1)
    if turned.any():
        row = int(np.argmax(turned))
        raise SemreidError(
            f"box {row}, {corners[row].tolist()}, ends before it begins: it looks like x, y, width, height",
            fix="give corners x1, y1, x2, y2; of x, y, w, h: boxes[:, 2:] += boxes[:, :2]",
        )
    if corners.size and 0 < corners.max() <= 1:
        raise SemreidError(
            "all boxes lie between 0 and 1: they look like shares of the frame",
            fix="give pixels: boxes * [width, height, width, height]",
        )
