"""The image store: every image decoded and resized once, then read as raw bytes for ever after.

The store is one uint8 array (N, H, W, 3), memory-mapped from a cache file whose name is a digest of the
content of all images and the size, with the number of the decoding. It is written under a temporary name and
renamed when complete, so an interrupted run leaves nothing that a later run could mistake for a store.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semreid.atlas import SIZE, VERSION
from semreid.data.images import decode, image_bytes, read_image, resize
from semreid.data.sample import ReIDDataset, Sample
from semreid.errors import SemreidError
from semreid.files import atomic_path
from semreid.parallel import Progress, parallel
from semreid.reading import Object, brief, read_json

SKETCH = 64
DECODING = 3
"""To be raised whenever images, masks or textures are decoded or resized otherwise: older stores then lie unused."""
Source = TypeVar("Source", Sample, Path)


@dataclass(frozen=True)
class Store:
    """Images at training size with their labels, and masks and textures where there are any.

    Attributes:
        samples: The samples, in the order of the rows.
        images: RGB (N, H, W, 3) uint8.
        regions: Part labels (N, H, W) uint8, or None.
        textures: Body textures (N, side, side, 3) uint8, or None.
        attributes: Attributes of the people (N, A) uint8, or None.
        digests: Digest of the files of ``masks`` and ``textures``, of those that there are.
    """

    samples: tuple[Sample, ...]
    images: Tensor
    regions: Tensor | None = None
    textures: Tensor | None = None
    attributes: Tensor | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def pids(self) -> NDArray[np.int64]:
        """Person ids (N,)."""
        return np.array([s.pid for s in self.samples], np.int64)

    @cached_property
    def camids(self) -> NDArray[np.int64]:
        """Camera ids (N,)."""
        return np.array([s.camid for s in self.samples], np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def to(self, device: torch.device) -> Store:
        """Move all arrays to a device, for data that fits there."""
        moved: dict[str, Any] = {name: array.to(device) for name, array in self._arrays().items()}
        return replace(self, **moved)

    def _arrays(self) -> dict[str, Tensor]:
        names = ("images", "regions", "textures", "attributes")
        return {name: array for name in names if (array := getattr(self, name)) is not None}


def cache_folder() -> Path:
    """Return the folder of the stores: ``$SEMREID_CACHE``, or ``semreid`` in the user's cache folder.

    Returns:
        The folder; variables that are empty count as not set.
    """
    if chosen := os.environ.get("SEMREID_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semreid"


def build_store(
    samples: Sequence[Sample],
    size: tuple[int, int],
    *,
    masks: Sequence[Path] | None = None,
    textures: Sequence[Path] | None = None,
    texture_side: int = SIZE,
    progress: Progress | None = None,
) -> Store:
    """Decode all images once, or open what an earlier run decoded.

    Args:
        samples: The samples; their order is kept.
        size: Height and width.
        masks: Part-label PNG of each sample, or None.
        textures: Texture PNG of each sample, or None.
        texture_side: Texels a side to keep of them, a whole part of 256: so many are averaged.
        progress: Told how far the decoding is.

    Returns:
        The store, memory-mapped.

    Raises:
        SemreidError: If images, masks or textures cannot be read; the message names the first and counts them.
    """
    h, w = size
    images, _ = _cached("images", samples, (h, w, 3), lambda s: resize(read_image(s), size), progress)
    found: dict[str, tuple[Tensor, str]] = {}
    if masks is not None:
        found["masks"] = _cached("masks", masks, (h, w), lambda m: _resize_mask(read_mask(m), size), progress)
    if textures is not None:
        shape = (texture_side, texture_side, 3)
        found["textures"] = _cached(
            "textures", textures, shape, lambda t: resize(_read_texture(t), shape[:2]), progress
        )
    digests = {kind: digest for kind, (_, digest) in found.items()}
    tensors = {kind: tensor for kind, (tensor, _) in found.items()}
    return Store(tuple(samples), images, tensors.get("masks"), tensors.get("textures"), digests=digests)


def _cached(
    kind: str,
    sources: Sequence[Source],
    shape: tuple[int, ...],
    read: Callable[[Source], NDArray[np.uint8]],
    progress: Progress | None,
) -> tuple[Tensor, str]:
    """Return the decoded sources and the digest of content and size, which names the file that keeps them."""
    digest = blake2b(repr(shape).encode(), digest_size=16)
    for part in parallel(content_digest, sources, None):
        digest.update(part)
    path = cache_folder() / f"{digest.hexdigest()}-{DECODING}.u8"  # the digest is in checkpoints, and stays
    full = (len(sources), *shape)
    if not path.is_file() or path.stat().st_size != math.prod(full):  # a copy or a repair of the disk may cut it short
        with atomic_path(path, "make room there, or name another folder for the cache in SEMREID_CACHE") as temporary:
            _write(temporary, kind, full, sources, read, progress)
    return torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=full)), digest.hexdigest()


def annotation_paths(
    dataset: ReIDDataset, samples: Sequence[Sample], kind: Literal["masks", "textures"], folder: Path | None = None
) -> list[Path]:
    """Return where the annotations of samples lie: ``KIND/<path of the image below the data set>.png``.

    The suffix of the image is replaced; an item of a container file is named by its address.

    Args:
        dataset: The data set of the samples.
        samples: The samples.
        kind: ``masks`` or ``textures``.
        folder: Folder that holds ``masks`` and ``textures``; that of the data set if None.

    Returns:
        A path for every sample.

    Raises:
        SemreidError: If there is no such folder, an image lies outside of the data set's own, two images would share
            an annotation, or textures are of another atlas.
    """
    home = (folder or dataset.root) / kind
    if not home.is_dir():
        raise SemreidError(
            f"this model learns from {kind}, and there is no folder {home}",
            fix="make them with `semreid label`, and give their folder with --annotations",
        )
    if kind == "textures":
        _require_atlas(home.parent)
    return [home / name.with_suffix(".png") for name in relative_names(samples, dataset.root, kind)]


def relative_names(samples: Iterable[Sample], root: Path, what: str) -> list[Path]:
    """Return the names of samples by which their annotations are found, as `relative_name` has them.

    Args:
        samples: The samples.
        root: Folder of the data set.
        what: How error messages call what two images would share.

    Raises:
        SemreidError: As `relative_name`, or if two images would share an annotation.
    """
    names = [relative_name(sample, root) for sample in samples]
    first: dict[Path, Path] = {}
    for name in names:
        if (other := first.setdefault(name.with_suffix(""), name)) != name:
            raise SemreidError(f"{other} and {name} would share {what}", fix="rename one of the two images")
    return names


def relative_name(sample: Sample, root: Path) -> Path:
    """Return the name of a sample by which its annotations are found: its path below the data set.

    Returns:
        The path, or the address of an item of a container file.

    Raises:
        SemreidError: If the image lies outside of ``root``, or the crop is only a part of it.
    """
    if sample.box:
        raise SemreidError(
            f"{sample} is a part of its picture, and annotations are found by the names of pictures",
            fix="cut such crops into files of their own to label them, or to learn from masks and textures",
        )
    if sample.item:
        return Path(sample.item)
    if not sample.path.is_relative_to(root):
        raise SemreidError(
            f"{sample.path} lies outside of {root}, so its annotations have no name",
            fix="keep images below the folder of the data set (or of its CSV file) to train with masks or textures",
        )
    return sample.path.relative_to(root)


def _require_atlas(folder: Path) -> None:
    """Refuse textures of another atlas, and of one that nobody states: mirrored, they would go wrong."""
    notes = folder / "people.json", folder / "teachers.json"
    if not any(file.is_file() for file in notes):
        raise SemreidError(
            f"nothing in {folder} says on what atlas the textures are painted; those of SMPL do not fit",
            fix="make them with `semreid label`; if they are on the atlas of semreid, say so in "
            f'{notes[1]}: {{"atlas": {VERSION}}}',
        )
    for file in notes:
        found = read_json(file, Object, "copy the folder again").get("atlas", VERSION) if file.is_file() else VERSION
        if found != VERSION:
            raise SemreidError(
                f"the textures in {folder} are of atlas {brief(found)}; this version of semreid paints atlas {VERSION}",
                fix="make them anew with `semreid synthesize` or `semreid label`",
            )


def content_digest(source: Sample | Path) -> bytes:
    """Digest what the decoder would read; an unreadable file is the decoder's to report, with all others.

    Returns:
        16 bytes, equal for equal content; of files also for equal content only. Crops of containers and boxes are the
        same if their pixels, row after row, are; files that cannot be read are all the same.
    """
    try:
        return blake2b(image_bytes(source), digest_size=16).digest()
    except SemreidError:
        return b"unreadable"


def samples_digest(samples: Sequence[Sample]) -> str:
    """Digest the content, person and camera of samples, in their order, for model cards."""
    return digest_and_sketch(samples)[0]


def digest_and_sketch(samples: Sequence[Sample]) -> tuple[str, list[str]]:
    """Compute `samples_digest`, and a sketch by which images of these can be recognised elsewhere; read each once.

    Returns:
        The digest; and the smallest content digests in hexadecimal, sorted, at most SKETCH: a fair sample, since
        digests are as good as random. The order of the samples does not count for these.
    """
    digest, contents = blake2b(digest_size=16), parallel(content_digest, samples, None)
    for sample, content in zip(samples, contents, strict=True):
        digest.update(f"{sample.pid},{sample.camid},".encode() + content)
    return digest.hexdigest(), sorted({content.hex() for content in contents})[:SKETCH]


def sketch_overlap(sketch: Sequence[str], samples: Sequence[Sample]) -> int:
    """Count the images of a sketch that are among samples.

    Args:
        sketch: As `digest_and_sketch` gives it.
        samples: The samples.

    Returns:
        The number. Of a share of 5 % of the sketched images, 0 is found once in 27 times; of 10 %, in 850.
    """
    wanted = set(sketch)
    return len(wanted & {content.hex() for content in parallel(content_digest, samples, None)}) if wanted else 0


def _write(
    path: Path,
    kind: str,
    shape: tuple[int, ...],
    sources: Sequence[Source],
    read: Callable[[Source], NDArray[np.uint8]],
    progress: Progress | None,
) -> None:
    with path.open("wb") as file:
        file.truncate(math.prod(shape))
        if hasattr(os, "posix_fallocate"):  # not on macOS; a full disk is an error now, not a crash later
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
    rows = np.memmap(path, np.uint8, mode="r+", shape=shape)

    def fill(item: tuple[int, Source]) -> str | None:
        try:
            rows[item[0]] = read(item[1])
        except SemreidError as error:
            return error.what
        return None

    problems = [p for p in parallel(fill, list(enumerate(sources)), progress) if p is not None]
    rows.flush()
    if problems:
        repair = "run `semreid doctor` for the list, repair them, or go on without them with --skip-corrupt"
        again = "remove those that are damaged, and make what is missing with `semreid label`: it keeps the others"
        raise SemreidError(
            f"{len(problems)} of {len(sources)} {kind} cannot be read; the first: {problems[0]}",
            fix=repair if kind == "images" else again,
        )


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a part mask.

    Returns:
        Labels 0 to 7, (H, W) uint8.

    Raises:
        SemreidError: If there is none, or it is no part mask.
    """
    if not path.is_file():
        raise SemreidError(f"no part mask at {path}", fix="make masks with `semreid label`, or remove the setting")
    mask = decode(image_bytes(path), str(path))
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.max() > 7:
        raise SemreidError(f"{path} is no part mask", fix="masks are 8-bit single-channel PNG with labels 0 to 7")
    return mask.astype(np.uint8, copy=False)


def _resize_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[return-value]


def _read_texture(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise SemreidError(f"no texture at {path}", fix="make textures with `semreid label`")
    texture = decode(image_bytes(path), str(path))
    if texture.ndim != 3 or texture.shape[2] != 3 or texture.dtype != np.uint8:
        raise SemreidError(f"{path} is no texture", fix="textures are 8-bit RGB PNG, none of them grey")
    if texture.shape[:2] != (SIZE, SIZE):
        raise SemreidError(
            f"{path} is {texture.shape[0]}x{texture.shape[1]}, not {SIZE}x{SIZE}",
            fix="make textures of the current atlas with `semreid label`",
        )
    return cv2.cvtColor(texture, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
