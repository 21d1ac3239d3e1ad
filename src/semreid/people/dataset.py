"""A data set of synthetic people on disk: the layout of Market-1501 with masks, textures and everything known.

The set is written beside its final place, in ``OUT.partial``, one identity after the other by all cores, and
renamed when it is complete: ``OUT`` is never half a data set. An interrupted run is continued by the same command.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context, parent_process
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter

from semreid.atlas import PART_COLOURS, VERSION, Part
from semreid.errors import SemreidError
from semreid.files import atomic_path, exclusive, explained, require_own, write_bytes, write_json, write_text
from semreid.parallel import Progress, cores
from semreid.people.camera import Camera
from semreid.people.places import share_places
from semreid.people.shots import Person, Shot, create_person, network, shoot
from semreid.reading import Object, brief, read_json, reading

SETTINGS, META = "people.json", "meta.parquet"
LIMITS = {"identities": (4, 100_000), "images_per_identity": (2, 1_000), "cameras": (2, 240), "seed": (0, 2**31 - 1)}
SIDES = (32, 1024)
T = TypeVar("T")
TEST_SHARE = 0.25
_ROWS: TypeAdapter[list[dict[str, Any]]] = TypeAdapter(list[dict[str, Any]])
MAKE_ROOM = "choose a folder that you may write to, or make room and run the same command again: it goes on"
WORTH_A_PROCESS = 200
"""Pictures that take about as long as starting one more process does."""
_BYTES_PER_PIXEL = 1.1  # of an image with its mask on disk, roughly; only to see a full disk coming


@dataclass(frozen=True)
class PeopleRecipe:
    """What to synthesise; the same recipe gives the same files.

    Attributes:
        identities: Number of people; a quarter of them are for testing.
        images_per_identity: Pictures of each.
        seed: Seed of everything.
        height: Height of the pictures in pixels.
        width: Width of the pictures in pixels.
        cameras: Number of cameras in the network; 0 for one to ten identities, from 4 to 240.
        occlusion: How often something or somebody stands before a person; None for the habit of each camera.
    """

    identities: int
    images_per_identity: int
    seed: int = 0
    height: int = 256
    width: int = 128
    cameras: int = 0
    occlusion: float | None = None

    def __post_init__(self) -> None:
        if self.cameras == 0:
            object.__setattr__(self, "cameras", min(240, max(4, self.identities // 10)))
        for name, (low, high) in LIMITS.items():
            _require(name.replace("_", " "), getattr(self, name), low, high)
        for name in ("height", "width"):
            _require(name, getattr(self, name), *SIDES)
        if self.occlusion is not None and not 0 <= self.occlusion <= 1:
            raise SemreidError(f"occlusion is {self.occlusion}", fix="choose a number from 0 to 1")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.height, self.width

    @property
    def train_identities(self) -> int:
        """How many of the identities, the first ones, are for training."""
        return self.identities - max(1, round(self.identities * TEST_SHARE))


def _require(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, Integral) or not low <= value <= high:
        raise SemreidError(f"{name} is {value:,}", fix=f"choose a whole number from {low:,} to {high:,}")


def stream(recipe: PeopleRecipe, pids: Sequence[int] | None = None) -> Iterator[Shot]:
    """Take the pictures of a recipe without writing anything.

    Args:
        recipe: What to synthesise.
        pids: Identities, from 1; those of the recipe if None. Any whole number is an identity.

    Yields:
        The pictures, identity after identity: those that `synthesize` writes, before compression.

    Example:
        >>> shot = next(stream(PeopleRecipe(identities=4, images_per_identity=2, height=64, width=32)))
        >>> shot.image.shape, shot.parts.shape, shot.person.pid
        ((64, 32, 3), (64, 32), 1)
    """
    for pid in range(1, recipe.identities + 1) if pids is None else pids:
        yield from _shots(recipe, create_person(recipe.seed, pid))


def _shots(recipe: PeopleRecipe, person: Person) -> Iterator[Shot]:
    """Take the pictures of a person: to learn from, every one by another camera; to be found, two by each."""
    count = recipe.images_per_identity
    passes = count if person.pid <= recipe.train_identities else max(2, count // 2)
    return shoot(person, installed(recipe), count, passes, recipe.seed, recipe.size)


def installed(recipe: PeopleRecipe) -> tuple[Camera, ...]:
    """Return the cameras of a recipe."""
    cameras = network(recipe.seed, recipe.cameras)
    if recipe.occlusion is None:
        return cameras
    return tuple(replace(camera, occlusion=recipe.occlusion) for camera in cameras)


def synthesize(recipe: PeopleRecipe, out: Path, *, progress: Progress | None = None, processes: int = 0) -> Path:
    """Write a data set of synthetic people.

    Layout: that of Market-1501 (``bounding_box_train``, ``query``, ``bounding_box_test``), with ``masks/…png`` and
    ``textures/…png`` for every image, ``meta.parquet`` (a row for each image) and ``people.json`` (the recipe).

    Args:
        recipe: What to synthesise.
        out: Folder to make, or a link to it; what is left of an interrupted run beside it is continued.
        progress: Told how many identities are done.
        processes: How many to use; if 0, as many as there are cores, and as pay. The files do not depend on it.

    Returns:
        ``out``.

    Raises:
        SemreidError: If ``out`` exists, the disk is too small, or an interrupted run had another recipe.
    """
    place, work = Path(os.path.realpath(out)), _work(out)  # now: relative ones end where the folder is removed
    with exclusive(out, patience=1), explained(work, fix=MAKE_ROOM):
        _prepare(recipe, out, work)
        todo = [pid for pid in range(1, recipe.identities + 1) if not _rows_file(work, pid).exists()]
        done = recipe.identities - len(todo)
        for count, _ in enumerate(_run(recipe, work, todo, processes), done + 1):
            if progress is not None:
                progress(count, recipe.identities)
        _finish(recipe, work)
        work.rename(place)
    return out


def is_made(recipe: PeopleRecipe, folder: Path) -> bool:
    """Tell whether a folder holds what `synthesize` makes of a recipe.

    Raises:
        SemreidError: If its settings are damaged.
    """
    file = folder / SETTINGS
    return file.is_file() and read_json(file, Object) == _settings(recipe)


def _settings(recipe: PeopleRecipe) -> dict[str, Any]:
    return {**asdict(recipe), "atlas": VERSION}


def require_free(recipe: PeopleRecipe, out: Path) -> None:
    """Find out before the work whether there is nothing at a place but what an interrupted run of a recipe left.

    Raises:
        SemreidError: If ``out`` exists, or an interrupted run had another recipe.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SemreidError(f"{out} exists already", fix="choose a new folder, or remove the old one")
    work = _work(out)
    if any(work.glob("[!.]*")):  # a stop may have come before the settings were written
        _require_same(_settings(recipe), work)


def _work(out: Path) -> Path:
    """Where a data set is made before it gets its name."""
    place = Path(os.path.realpath(out))
    return place.with_name(place.name + ".partial")


def _prepare(recipe: PeopleRecipe, out: Path, work: Path) -> None:
    require_free(recipe, out)
    if out.is_dir():
        with explained(out, fix="choose a new folder: this one cannot be replaced, though it is empty"):
            out.resolve().rmdir()
    work.mkdir(parents=True, exist_ok=True)
    if any(work.glob("[!.]*")):
        return
    free = shutil.disk_usage(work).free
    images = recipe.identities * recipe.images_per_identity
    needed = int(images * (recipe.height * recipe.width * _BYTES_PER_PIXEL + 4096))
    needed += recipe.identities * 130_000 + recipe.cameras * 700_000  # a texture, a place
    if needed > free:
        work.rmdir()
        raise SemreidError(
            f"{images:,} images need about {needed >> 20:,} MiB, and {out.parent} has {free >> 20:,} MiB left",
            fix="choose another disk, fewer images, or a smaller --size",
        )
    write_json(work / SETTINGS, _settings(recipe))


def _require_same(settings: dict[str, Any], work: Path) -> None:
    try:
        found = read_json(work / SETTINGS, Object)
    except SemreidError as error:
        raise SemreidError(
            f"{work} is not what an interrupted run left", fix="remove it, or choose another folder"
        ) from error
    if found != settings:
        raise SemreidError(
            f"{work} is what an interrupted run with other settings left",
            fix=f"run that one again ({brief(found or 'unreadable')}), or remove the folder",
        )


def _rows_file(work: Path, pid: int) -> Path:
    return work / ".done" / f"{pid}.json"


def _run(recipe: PeopleRecipe, work: Path, todo: list[int], processes: int) -> Iterator[None]:
    pictures = len(todo) * recipe.images_per_identity
    workers = min(processes or min(cores(), 1 + pictures // WORTH_A_PROCESS), len(todo))
    if workers <= 1:
        for pid in todo:
            write_identity(recipe, work, pid)
            yield
        return
    places = work / _PLACES
    shutil.rmtree(places, ignore_errors=True)  # of an interrupted run, and perhaps of another version
    with ProcessPoolExecutor(workers, get_context("spawn"), work_alone, (places,)) as pool:
        pending = [pool.submit(write_identity, recipe, work, pid) for pid in todo]
        try:
            for future in as_completed(pending):
                result_of(future)
                yield
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def result_of(future: Future[T]) -> T:
    """Take what a process that makes people has made.

    Raises:
        SemreidError: If the process was ended from outside; and as what it did.
    """
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise SemreidError(
            "a process that makes people was ended from outside, as the system does where memory runs out",
            fix="free memory, and run the same command again; making a set on disk then goes on",
        ) from error


_PLACES = ".places"


def work_alone(places: Path | None = None) -> None:
    """Let a process that makes people keep to one core, for each has a process of its own, and end with the first one.

    Workers of a pool whose owner is killed wait for work for ever. Those of one pool share the folder ``places``.
    """
    share_places(places)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which lets the others end


def _end_with_parent() -> None:
    owner = parent_process()
    while owner is not None and os.getppid() == owner.pid:
        time.sleep(1)
    os._exit(1)


def write_identity(recipe: PeopleRecipe, work: Path, pid: int) -> None:
    """Create an identity and write its files, as `write_person` does."""
    write_person(recipe, work, create_person(recipe.seed, pid))


def write_person(recipe: PeopleRecipe, work: Path, person: Person) -> None:
    """Write the files of a person and, last, its rows of the table: with them it is done.

    Raises:
        SemreidError: If a file cannot be written.
    """
    shots = _shots(recipe, person)
    rows, texture, seen = [], None, set[int]()
    left = recipe.images_per_identity
    for number, shot in enumerate(shots):
        left -= 1
        split = _split(recipe, person.pid, shot.camera.camid, seen, more=left > 0)
        seen.add(shot.camera.camid)
        name = f"{person.pid:04d}_c{shot.camera.camid}s1_{number:06d}_00"
        quality = [cv2.IMWRITE_JPEG_QUALITY, shot.camera.jpeg_quality]
        _write_image(work / split / f"{name}.jpg", shot.image[..., ::-1], quality)
        _write_image(work / "masks" / split / f"{name}.png", shot.parts, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        texture = _write_texture(work / "textures" / split / f"{name}.png", person, texture)
        rows.append({"path": f"{split}/{name}.jpg", "split": split, **_row(shot)})
    write_text(_rows_file(work, person.pid), json.dumps(rows))


def _split(recipe: PeopleRecipe, pid: int, camid: int, seen: set[int], more: bool) -> str:
    """Put the first picture of a tested person by each camera among the queries, if others follow."""
    if pid <= recipe.train_identities:
        return "bounding_box_train"
    return "query" if camid not in seen and more else "bounding_box_test"


def _write_image(path: Path, image: NDArray[np.uint8], parameters: list[int]) -> None:
    done, content = cv2.imencode(path.suffix, image, parameters)
    if not done:
        raise SemreidError(f"cannot encode {path.name}", fix="choose a smaller --size")
    with explained(path, fix=MAKE_ROOM):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.tobytes())


def _write_texture(path: Path, person: Person, first: Path | None) -> Path:
    """Write the texture once for each identity; its other pictures get another name of the same file."""
    path.unlink(missing_ok=True)
    if first is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(first, path)
        except OSError:  # a file system without hard links
            shutil.copyfile(first, path)
        return first
    _write_image(path, person.texture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return path


def _row(shot: Shot) -> dict[str, Any]:
    parts = {f"visible_{part.name.lower()}": share for part, share in zip(list(Part)[1:], shot.visible, strict=True)}
    return {
        "pid": shot.person.pid,
        "camid": shot.camera.camid,
        "pose": shot.pose.name,
        "yaw": round(shot.view.yaw % 360, 1),
        "elevation": round(shot.view.elevation, 1),
        "distance": round(shot.view.distance, 2),
        "box": [round(side, 4) for side in shot.box],
        "occlusion": round(shot.occlusion, 3),
        **parts,
        "keypoints": [round(float(x), 1) for x in shot.keypoints.ravel()],
        **shot.person.attributes,
    }


def _finish(recipe: PeopleRecipe, work: Path) -> None:
    """Join the rows of all identities into one table."""
    rows: list[dict[str, Any]] = []
    for pid in range(1, recipe.identities + 1):
        done: list[dict[str, Any]] = read_json(_rows_file(work, pid), _ROWS, "remove it, and run the command again")
        rows += done
    with reading(work / ".done", "remove the folder, and run the same command again"):
        table = pa.Table.from_pylist(rows)
    with atomic_path(work / META) as temporary:
        pq.write_table(table, temporary)
    shutil.rmtree(work / ".done")
    shutil.rmtree(work / _PLACES, ignore_errors=True)


def save_contact_sheet(recipe: PeopleRecipe, path: Path) -> None:
    """Draw the contact sheet of a recipe into a PNG file.

    Raises:
        SemreidError: If it cannot be written, or another picture is there.
    """
    content = cv2.imencode(".png", contact_sheet(recipe)[..., ::-1])[1].tobytes()
    require_own(path, content[:4096])
    write_bytes(path, content)


def contact_sheet(recipe: PeopleRecipe, people: int = 8, pictures: int = 6) -> NDArray[np.uint8]:
    """Lay out pictures for the eye, RGB: for each person its texture, then pictures with their masks below."""
    rows = []
    height, width = recipe.size
    for pid in range(1, min(people, recipe.identities) + 1):
        shots = list(stream(recipe, [pid]))[:pictures]
        texture = cv2.resize(shots[0].person.texture, (2 * height, 2 * height), interpolation=cv2.INTER_AREA)
        columns = [np.vstack((shot.image, PART_COLOURS[shot.parts])) for shot in shots]
        blank = np.full((2 * height, width * (pictures - len(shots)), 3), 255, np.uint8)
        rows.append(np.hstack((texture, *columns, blank)))
    return np.vstack(rows)
