"""What a data set is: samples, their split, and the protocol that judges it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Literal, get_args

from semreid.errors import SemreidError

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""
JunkRule = Literal["same-pid-and-camera", "same-camera"]
Shots = Literal["all", "single"]
MAX_PID, MAX_CAMID = 2**63 - 1, 2**31 - 1
"""The largest numbers of people and cameras, as reports, galleries and tables keep them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One person crop.

    Attributes:
        path: The image file, or the container that holds it (see ``item``).
        pid: Person id as in the source; 0 is a Market-style distractor, less is junk, which no data set holds.
        camid: Camera id as in the source.
        item: Address inside a container file (the raw CUHK03 ``.mat``); empty for an image file.
        timestamp: Seconds, where the source knows the time.
        box: Where the crop is in its picture; None for a picture that is a crop.
        identity: What the source calls the person, where that may be another number than ``pid``, or no number.

    Raises:
        SemreidError: If a number is beyond its bound, or is no whole number.
    """

    path: Path
    pid: int
    camid: int
    item: str = ""
    timestamp: float | None = None
    box: Box | None = None
    identity: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name, value in (("pid", self.pid), ("camid", self.camid)):
            if not isinstance(value, Integral):
                raise SemreidError(
                    f"{self}: {name} is {value!r}, which is no whole number",
                    fix="number people and cameras; what the source calls a person goes into identity",
                )
        require_camera(self.camid, self)
        if not -MAX_PID <= self.pid <= MAX_PID:
            raise SemreidError(
                f"{self}: the number {self.pid} of a person is beyond {MAX_PID}",
                fix="number people from 1, or describe the images in a CSV: path,pid,camid",
            )

    @property
    def place(self) -> tuple[Path, str, Box | None]:
        """Where the crop is: no other crop is in the same file, item and box, whoever is said to be on it."""
        return self.path, self.item, self.box

    def __str__(self) -> str:
        left, top, right, bottom = self.box or (0, 0, 0, 0)
        place = f"#xywh={left:g},{top:g},{right - left:g},{bottom - top:g}" if self.box else ""  # as W3C names regions
        return f"{self.path}#{self.item}{place}" if self.item else f"{self.path}{place}"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a benchmark is judged (docs/protocols.md).

    Attributes:
        junk: Which gallery images do not count for a query: those of the same person *and* camera
            (Market rule), or every image of the query's camera (separate camera sets).
        gallery_shots: ``all`` images, or ``single``: one random image per gallery identity and repeat.
        repeats: Number of single-shot draws that are averaged.
        seed: Seed of the draws.
        has_map: False where the protocol defines CMC only (classic CUHK03).
        ranks: Ranks of the CMC curve that are reported, as the tables of the benchmark have them.
        note: What a reader of the report must know (split, training convention, probe variant, status).
        cameras_known: False where camera 0 only stands for the queries, and camera 1 for the gallery.

    Raises:
        SemreidError: If there is no such rule, or no such rank or draw.
    """

    junk: JunkRule = "same-pid-and-camera"
    gallery_shots: Shots = "all"
    repeats: int = 1
    seed: int = 0
    has_map: bool = True
    ranks: tuple[int, ...] = (1, 5, 10)
    note: str = ""
    cameras_known: bool = True

    def __post_init__(self) -> None:
        for name, choices in (("junk", get_args(JunkRule)), ("gallery_shots", get_args(Shots))):
            if (value := getattr(self, name)) not in choices:
                raise SemreidError(f"{name} is {value!r}", fix=f"choose {' or '.join(choices)}")
        if self.repeats < 1:
            raise SemreidError(f"repeats is {self.repeats}", fix="average over one draw or more")
        if not self.ranks or min(self.ranks) < 1:
            raise SemreidError(f"ranks are {self.ranks}", fix="report ranks from 1 on, such as (1, 5, 10)")


def is_junk(rule: str, query: Sample, image: Sample) -> bool:
    """Tell whether a gallery image does not count for a query (``docs/protocols.md``).

    Args:
        rule: The ``junk`` of a `Protocol`.
        query: The query.
        image: The gallery image.

    Example:
        >>> query, image = Sample(Path("a.jpg"), 3, 1), Sample(Path("b.jpg"), 4, 1)
        >>> is_junk("same-pid-and-camera", query, image), is_junk("same-camera", query, image)
        (False, True)
    """
    return image.pid < 0 or (image.camid == query.camid and (rule == "same-camera" or image.pid == query.pid))


@dataclass(frozen=True)
class ReIDDataset:
    """A benchmark or a user's own data, split for training and testing.

    Attributes:
        name: Name of the specification, such as ``market1501`` or ``cuhk03-np/labeled``.
        root: The folder that the user named; masks and textures are found by paths relative to it.
        train: Training samples; no junk, no distractors.
        query: Query samples.
        gallery: Gallery samples; distractors (pid 0) kept, junk (pid -1) removed.
        protocol: How it is judged.
        terms: Licence terms of the images, in one line; goes into model cards.
        junk_removed: How many junk images (pid -1) were left out of the gallery.
        corrupt_skipped: How many unreadable images were left out on the user's word.
        warnings: What a user must know, such as counts that differ from the published ones.
    """

    name: str
    root: Path
    train: tuple[Sample, ...]
    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    protocol: Protocol = field(default_factory=Protocol)
    terms: str = "unknown; ask the owner of the images"
    junk_removed: int = 0
    corrupt_skipped: int = 0
    warnings: tuple[str, ...] = ()


def cameras_by_pid(samples: Iterable[Sample]) -> dict[int, set[int]]:
    """Tell which cameras saw each person.

    Example:
        >>> cameras_by_pid([Sample(Path("a.jpg"), 3, 1), Sample(Path("b.jpg"), 3, 2), Sample(Path("c.jpg"), 4, 1)])
        {3: {1, 2}, 4: {1}}
    """
    cameras: dict[int, set[int]] = {}
    for sample in samples:
        cameras.setdefault(sample.pid, set()).add(sample.camid)
    return cameras


def cameras_meet(samples: Iterable[Sample]) -> bool:
    """Whether two cameras have seen somebody: else no pair of pictures tells what a person looks like to both.

    Example:
        >>> cameras_meet([Sample(Path("a.jpg"), 3, 1), Sample(Path("b.jpg"), 3, 2), Sample(Path("c.jpg"), 4, 1)])
        True
    """
    return any(len(cameras) > 1 for cameras in cameras_by_pid(samples).values())


def num_identities(samples: Iterable[Sample]) -> int:
    """Count the distinct person ids.

    Example:
        >>> num_identities([Sample(Path("a.jpg"), 3, 1), Sample(Path("b.jpg"), 3, 2)])
        1
    """
    return len({sample.pid for sample in samples})


def require_camera(camid: int, where: object) -> int:
    """Return the number of a camera if it can be kept everywhere.

    Args:
        camid: The number.
        where: The file or row that tells it, for error messages.

    Raises:
        SemreidError: If it is negative or beyond 31 bits.

    Example:
        >>> require_camera(3, "a_c3.jpg")
        3
    """
    if not 0 <= camid <= MAX_CAMID:
        raise SemreidError(
            f"{where}: camera {camid} is not between 0 and {MAX_CAMID}",
            fix="number the cameras from 0 or 1 in the file names, or describe the images in a CSV: path,pid,camid",
        )
    return camid
