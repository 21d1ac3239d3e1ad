"""What file names of crops tell."""

from __future__ import annotations

import re
from pathlib import Path

#: A camera in a file name: ``c3`` or ``c3s1`` between ``_`` or ``-``.
CAMERA = re.compile(r"(?:^|[_-])c(\d+)(?:s\d+)?(?=[_-]|$)", re.ASCII)


def camera_of(path: Path) -> int | None:
    """Read the camera from a file name, by the rule of ``folder:`` data.

    Args:
        path: The file.

    Returns:
        The camera, or None if the name does not tell it.

    Example:
        >>> camera_of(Path("0002_c3s1_000551_01.jpg")), camera_of(Path("crop_17.jpg"))
        (3, None)
    """
    match = CAMERA.search(path.stem)
    return int(match[1]) if match else None
