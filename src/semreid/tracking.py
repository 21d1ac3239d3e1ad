"""For trackers: a frame and boxes in, one embedding a box out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semreid.errors import SemreidError
from semreid.models.embedder import Embedder


def embed_boxes(embedder: Embedder, frame: NDArray[np.uint8], boxes: ArrayLike) -> NDArray[np.float32]:
    """Embed what the boxes of a frame show.

    Boxes are rounded to whole pixels and clipped to the frame. A box with nothing left inside the frame gets a
    vector of zeros, so that its cosine to everything is 0.

    Args:
        embedder: A model or an exported file.
        frame: RGB uint8 (H, W, 3); OpenCV reads BGR, so pass ``frame[..., ::-1]`` of its frames.
        boxes: Corners x1, y1, x2, y2 in pixels, (N, 4); N may be 0.

    Returns:
        Unit vectors (N, dim) in float32, in the order of the boxes.

    Raises:
        SemreidError: If the frame is no RGB image, or the boxes have another shape or are not finite.

    Example:
        >>> from semreid.models.zoo import create_model
        >>> model = create_model("baseline", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
        >>> frame = np.zeros((240, 320, 3), np.uint8)
        >>> embed_boxes(model, frame, [[10, 20, 50, 120], [400, 0, 420, 40]]).any(axis=1)
        array([ True, False])
    """
    corners = clip_boxes(frame, boxes)
    crops = {row: frame[y1:y2, x1:x2] for row, (x1, y1, x2, y2) in enumerate(corners) if x1 < x2 and y1 < y2}
    vectors = np.zeros((len(corners), embedder.dim), np.float32)
    vectors[list(crops)] = embedder.embed(crops.values())
    return vectors


def clip_boxes(frame: NDArray[np.uint8], boxes: ArrayLike) -> NDArray[np.int64]:
    """Round boxes to whole pixels and clip them to a frame.

    Args:
        frame: RGB uint8 (H, W, 3).
        boxes: Corners x1, y1, x2, y2 in pixels, (N, 4).

    Returns:
        The corners (N, 4); empty boxes have x1 >= x2 or y1 >= y2.

    Raises:
        SemreidError: If the frame is no RGB image, or the boxes have another shape or are not finite.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise SemreidError(
            f"the frame has shape {frame.shape} and type {frame.dtype}", fix="give an RGB uint8 array (H, W, 3)"
        )
    corners = np.asarray(boxes, np.float64)
    corners = corners.reshape(0, 4) if corners.size == 0 else corners
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise SemreidError(f"the boxes have shape {corners.shape}", fix="give x1, y1, x2, y2 for each: (N, 4)")
    if not np.isfinite(corners).all():
        raise SemreidError(f"box {int(np.argmin(np.isfinite(corners).all(axis=1)))} is not finite", fix="leave it out")
    height, width = frame.shape[:2]
    return np.clip(corners.round(), 0, [width, height, width, height]).astype(np.int64)
