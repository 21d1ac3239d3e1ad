"""The pictures of rows: the crop that an entry of a gallery names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semreid.data.images import is_image, read_image
from semreid.data.sample import Sample
from semreid.errors import SemreidError
from semreid.gallery.entry import Box, Entry

Image = NDArray[np.uint8]


def read_crop(entry: Entry) -> Image:
    """Read the crop of a row.

    Args:
        entry: The row; ``FILE#ITEM`` names a crop in a container, and a box that is smaller than the picture
            cuts the crop out of it.

    Returns:
        RGB (H, W, 3).

    Raises:
        SemreidError: If the row names no picture, or it cannot be read.
    """
    if not entry.path:
        raise SemreidError(f"the gallery knows no image of row {entry.id}", fix="add crops by their files")
    file, _, item = entry.path.rpartition("#")
    inside = bool(file) and not is_image(entry.path)
    return cut(read_image(Sample(Path(file), 0, 0, item) if inside else entry.path), entry.box)


def cut(image: Image, box: Box | None) -> Image:
    """Cut a crop out of its frame.

    Args:
        image: RGB (H, W, 3): a frame, or the crop itself, which is as large as its box and stays as it is.
        box: Left, top, right and bottom; None: all of it.

    Returns:
        The crop, at least one pixel.
    """
    height, width = image.shape[:2]
    if box is None or (round(box[2] - box[0]), round(box[3] - box[1])) == (width, height):
        return image
    left, right = np.clip([round(box[0]), round(box[2])], 0, width)
    top, bottom = np.clip([round(box[1]), round(box[3])], 0, height)
    return image[top:bottom, left:right] if left < right and top < bottom else image
