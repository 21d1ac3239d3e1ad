"""The pictures of rows: the crop that an entry of a gallery names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semreid.data.images import is_image, read_image
from semreid.data.sample import Sample
from semreid.errors import SemreidError
from semreid.gallery.entry import Entry

Image = NDArray[np.uint8]
UPLOADED = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{30}\.png$")
"""How the path of a picture ends that was sent to a server and is kept by it."""


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
    return read_image(sample_of(entry))


def sample_of(entry: Entry) -> Sample:
    """Say where the crop of a row is, and when and by which camera it was taken.

    Returns:
        A sample of no person; camera 0 where it is unknown.
    """
    file, _, item = entry.path.rpartition("#")
    inside = bool(file) and not is_image(entry.path)
    path, item = (file, item) if inside else (entry.path, "")
    return Sample(Path(path), 0, entry.camid or 0, item, entry.timestamp, entry.box)
