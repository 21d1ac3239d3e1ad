"""What names of files and folders tell: people and cameras, by one grammar for all commands."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from semreid.data.sample import require_camera

_FLAGS = re.ASCII | re.IGNORECASE
_WORD = r"c(?:am(?:era)?)?"
#: A camera in a file name: ``c3``, ``c3s1`` or ``cam03`` between ``_`` or ``-``.
CAMERA = re.compile(rf"(?:^|[_-]){_WORD}(\d+)(?:s\d+)?(?=[_-]|$)", _FLAGS)
#: A folder that is named after a camera.
CAMERA_FOLDER = re.compile(rf"{_WORD}[_-]?(\d+)", _FLAGS)
#: Identity and camera at the start of a Market-style file name; ``-1`` is junk, ``0000`` a distractor.
MARKET_NAME = re.compile(rf"(-?\d+)_{_WORD}(\d+)", _FLAGS)


def camera_of(path: Path) -> int | None:
    """Read the camera from a file name, by the rule of ``folder:`` data.

    Returns:
        The camera, or None if the name does not tell it.

    Raises:
        SemreidError: If the number is beyond the bound of cameras.

    Example:
        >>> camera_of(Path("0002_c3s1_000551_01.jpg")), camera_of(Path("a_cam07.jpg")), camera_of(Path("crop_17.jpg"))
        (3, 7, None)
    """
    match = CAMERA.search(path.stem)
    return require_camera(int(match[1]), path) if match else None


def camera_below(path: Path, folder: Path) -> int | None:
    """Read the camera from a file name or else from the nearest folder below ``folder`` that is named after one.

    Returns:
        The camera, or None if neither tells it.

    Raises:
        SemreidError: If the number is beyond the bound of cameras.

    Example:
        >>> camera_below(Path("d/0002/cam_4/1.jpg"), Path("d/0002"))
        4
    """
    if (camera := camera_of(path)) is not None:
        return camera
    named = (CAMERA_FOLDER.fullmatch(part) for part in reversed(path.relative_to(folder).parent.parts))
    return next((require_camera(int(match[1]), path) for match in named if match), None)


def is_camera(folder: PurePath) -> bool:
    """Tell whether a folder is named after a camera.

    Example:
        >>> is_camera(PurePath("d/cam1")), is_camera(PurePath("d/0001"))
        (True, False)
    """
    return CAMERA_FOLDER.fullmatch(folder.name) is not None
