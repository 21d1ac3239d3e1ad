"""Pictures: uploads, read within bounds, and those of gallery rows, read from below the folders that may be shown."""

from __future__ import annotations

import contextlib
import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import cv2

from semreid.data.headers import FORMATS
from semreid.data.images import cut, decode_image, read_image
from semreid.data.sample import Sample
from semreid.errors import SemreidError
from semreid.files import user_path, write_bytes
from semreid.gallery import Entry
from semreid.gallery.crops import UPLOADED, Image
from semreid.serving.errors import RequestError

MAX_UPLOAD = 16 * 2**20
"""Bytes of one request; its pixels are bounded by `semreid.data.images`."""


def read_upload(file: BinaryIO, name: str) -> Image:
    """Decode an uploaded crop, whose size is judged by its header first.

    Args:
        file: The upload.
        name: How the sender calls it; only its last part is repeated, in error messages.

    Returns:
        RGB (H, W, 3).

    Raises:
        RequestError: If it is empty, damaged, cut short, no image, or too large.
    """
    shown = plain_name(name)
    try:
        return decode_image(file.read(), name=shown)
    except SemreidError as error:
        raise RequestError(422, error.what, f"send a picture of one person; read are {FORMATS}") from error


def plain_name(name: str) -> str:
    r"""Reduce a file name that a stranger chose to something that can be repeated.

    Returns:
        Its last part, printable and short.

    Example:
        >>> plain_name("../../etc/pass\x00wd.jpg")
        'passwd.jpg'
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if unicodedata.category(c)[0] != "C")[:80] or "the picture"


class Pictures:
    """The pictures of gallery rows. A row can name any path; only images below the given folders are read.

    Args:
        roots: Folders to show pictures from; links in them that lead elsewhere are not followed.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = [user_path(root).resolve() for root in roots]

    def read(self, entry: Entry) -> Image:
        """Read the crop of a row.

        Args:
            entry: The row; ``FILE#ITEM`` names a crop in a container, and a box that is smaller than the picture
                cuts the crop out of it, unless it lies elsewhere: then the picture is the crop.

        Returns:
            RGB (H, W, 3).

        Raises:
            RequestError: If there is no picture, it lies elsewhere, or it cannot be read.
        """
        source = self._source(entry.path)
        if source is None:
            raise RequestError(
                404,
                f"row {entry.id} has no picture below the folders that this server shows",
                "start the server with --images FOLDER, the folder that holds the pictures",
            )
        try:
            image = read_image(source)
        except SemreidError as error:
            raise RequestError(
                404, f"the picture of row {entry.id} cannot be read", "see that its file is where the gallery has it"
            ) from error
        with contextlib.suppress(SemreidError):
            return cut(image, entry.box)
        return image

    def file(self, path: str) -> Path | None:
        """Find the real place of a file, which is named absolutely or from a root.

        Returns:
            The place, if there is a file and it is below a root.
        """
        for root in self.roots:
            try:
                file = (root / path).resolve()
                if path and file.is_relative_to(root) and file.is_file():
                    return file
            except (OSError, ValueError, RuntimeError):  # a name too long, a zero byte, a loop of links
                continue
        return None

    def _source(self, path: str) -> Path | Sample | None:
        """What a path means: a file, or an item in a container."""
        if file := self.file(path):
            return file
        container, _, item = path.rpartition("#")
        file = self.file(container) if item else None
        return Sample(file, pid=0, camid=0, item=item) if file else None


def keep(image: Image, folder: Path, id_: str) -> tuple[Path, bool]:
    """Store an uploaded crop under a name made from its row and pixels, so that the same one is stored once.

    It is written anew, as PNG: place, device and other things that photographs tell are left out.

    Args:
        image: RGB (H, W, 3).
        folder: Where to.
        id_: Id of its row, if one was chosen: no two rows share a file.

    Returns:
        The file, and whether it was not there before.

    Raises:
        SemreidError: If it cannot be written.
    """
    content = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    name = hashlib.sha256(id_.encode() + content).hexdigest()[:32]
    file = folder.resolve() / name[:2] / f"{name}.png"
    fresh = not file.exists()
    if fresh:
        write_bytes(file, content)
    return file, fresh


def discard(path: str, folder: Path) -> None:
    """Remove the picture of a row, if `keep` has stored it: whatever else lies in the folder is not ours to remove.

    Args:
        path: Where the row says that its picture is.
        folder: Where uploads are kept.
    """
    pictures = Pictures([folder])
    file = pictures.file(path)
    if file is not None and UPLOADED.fullmatch(file.relative_to(pictures.roots[0]).as_posix()):
        file.unlink(missing_ok=True)
