"""What loaders share: listing folders in a fixed order, parsing names, checking counts."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from semreid.data.images import IMAGE_SUFFIXES, is_image, require_utf8
from semreid.data.names import MARKET_NAME
from semreid.data.sample import ReIDDataset, Sample, num_identities
from semreid.errors import SemreidError

T = TypeVar("T")

#: Masks and textures may lie in these folders beside the images; they are no crops, at any depth.
ANNOTATIONS = ("masks", "textures")
#: What ``semreid label`` writes besides, perhaps beside the images; earlier versions drew their overview as a picture.
LABELLERS, JOURNAL, TABLE, REPORT, OVERVIEW = LABEL_FILES = (
    "teachers.json",
    "labels.jsonl",
    "labels.parquet",
    "report.json",
    "overview.html",
)
OLD_OVERVIEW = "overview.png"
#: What file managers leave behind.
CLUTTER = ("thumbs.db", "desktop.ini")
LINK_AGAIN = (
    "put what is missing back there, or link to where it is now; folders of `semreid group` are made anew, best with "
    "--folders copies, which need no other file"
)
"""The way out of links that lead nowhere."""
MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")


class Count(NamedTuple):
    """Published size of one part of a benchmark; None where nothing is published."""

    identities: int | None
    images: int | None


def list_images(folder: Path, *, nested: bool = False, root: Path | None = None) -> list[Path]:
    """List the images of a folder, sorted by name, so that every machine sees the same order.

    Images are regular files whose names end as `semreid.data.images.IMAGE_SUFFIXES` says; links to files and folders
    count as what they lead to. Hidden files (also the ``._*`` twins that macOS leaves), what lies in folders called
    ``masks`` or ``textures``, and the overview of ``semreid label`` are not images.

    Args:
        folder: The folder.
        nested: Look into its folders, too; links that lead back to a folder above are not followed.
        root: The folder above that all of the data lies in, if it is not ``folder``.

    Returns:
        The image files, at least one.

    Raises:
        SemreidError: If the folder is missing, cannot be read or holds no image, or a name is not UTF-8.
    """
    parents = [parent for parent in folder.parents if root is not None and parent.is_relative_to(root)]
    above = frozenset(map(os.path.realpath, parents))
    files = list(_files(require_folder(folder), nested=nested, above=above))
    images = sorted(file.path for file in files if file.is_image)
    require_utf8(images)
    if not images:
        others = f" that can be read: {_others(files)}" if files else ""
        expected = "expected files ending in " + " ".join(sorted(IMAGE_SUFFIXES))
        lost = any(leads_nowhere(file.path) for file in files)
        raise SemreidError(f"{folder} holds no image{others}", fix=LINK_AGAIN if lost else expected)
    return images


def loose_images(folder: Path) -> list[Path]:
    """List the images that lie in a folder itself, as `list_images` knows them; there may be none.

    Returns:
        The image files, in no order.

    Raises:
        SemreidError: If the folder cannot be read.
    """
    return [file.path for file in _files(folder, nested=False) if file.is_image]


def holds_image(folder: Path) -> bool:
    """Tell whether there is an image in a folder or below it, as `list_images` knows them.

    Raises:
        SemreidError: If a folder cannot be read.
    """
    return any(file.is_image for file in _files(folder, nested=True))


def leads_nowhere(path: Path) -> str:
    """Tell where a link leads, if there is nothing; of everything else, nothing."""
    return os.readlink(path) if os.path.islink(path) and not os.path.exists(path) else ""  # noqa: PTH110, PTH114, PTH115 - names too long are no error


def left_out(*folders: Path, nested: bool = True) -> str:
    """Say which files of folders `list_images` leaves out, so that nothing is left out in silence.

    Returns:
        One line that counts and names them; empty if there are none.
    """
    lost = [file for folder in folders for file in _files(folder, nested=nested) if not file.is_image]
    return f"{_others(lost)}: left out, as they are no images that can be read here" if lost else ""


class _File(NamedTuple):
    path: Path
    is_image: bool


def _files(folder: Path, *, nested: bool, above: frozenset[str] = frozenset()) -> Iterator[_File]:
    """Files of a folder, hidden ones left out; links that lead back to a folder above are not followed."""
    place = os.path.realpath(folder)
    if place in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise SemreidError(f"cannot read {folder}: {error.strerror or error}", fix="check its permissions") from error
    names = {entry.name for entry in entries}
    labels = {*LABEL_FILES, OLD_OVERVIEW} if JOURNAL in names else set()
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in CLUTTER or entry.name in labels:
            continue
        is_folder, is_file = _kind(entry)
        if not is_folder:
            yield _File(folder / entry.name, is_image(entry.name) and is_file)
        elif nested and entry.name not in ANNOTATIONS:
            yield from _files(folder / entry.name, nested=True, above=above | {place})


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether an entry is a folder, and whether it is a file, or a link to one; a link in a circle is neither."""
    try:
        return entry.is_dir(), entry.is_file()
    except OSError:
        return False, False


def _others(files: Sequence[_File]) -> str:
    lost = sorted(file.path for file in files if not file.is_image)
    kinds = Counter(path.suffix.lower() or "without suffix" for path in lost)
    first = next(filter(leads_nowhere, lost), lost[0])
    link = f", a link to {target}, where nothing is" if (target := leads_nowhere(first)) else ""
    return f"{len(lost):,} files ({', '.join(f'{n:,} {kind}' for kind, n in kinds.items())}), such as {first}{link}"


def require_folder(folder: Path) -> Path:
    """Return ``folder`` if it is one.

    Raises:
        SemreidError: If it is missing or a file. The message lists what lies beside it.
    """
    if folder.is_dir():
        return folder
    parent = folder.parent
    beside = sorted(p.name for p in parent.iterdir())[:12] if parent.is_dir() else []
    holds = f"{parent} holds {', '.join(beside)}" if beside else f"{parent} is empty or missing"
    raise SemreidError(f"no folder {folder}", fix=f"point to the folder that holds {folder.name!r}; {holds}")


def match_name(pattern: re.Pattern[str], path: Path, grammar: str) -> re.Match[str]:
    """Match a file's base name from its start; folders above it are never looked at.

    Raises:
        SemreidError: If the name does not match.
    """
    match = pattern.match(path.name)
    if match is None:
        raise SemreidError(
            f"{path}: the file name does not follow {grammar}",
            fix="rename or remove the file, or load the folder by another name (see 'folder:')",
        )
    return match


def parse_market(folder: Path, grammar: str = "PPPP_cC...") -> list[Sample]:
    """Read a folder of Market-style names; junk and distractors included.

    Args:
        folder: Folder of images named identity, ``_c``, camera, anything.
        grammar: How error messages describe the names expected.

    Returns:
        One sample per image, sorted by file name.

    Raises:
        SemreidError: If the folder is missing or empty, or a name does not match.
    """
    images = list_images(folder)
    matches = [MARKET_NAME.match(path.name) for path in images]
    odd = [path for path, match in zip(images, matches, strict=True) if match is None]
    if odd:
        raise SemreidError(
            f"{odd[0]}: the file name does not follow {grammar} ({len(odd):,} of {len(images):,} in this folder)",
            fix="rename or move these files, or describe the images in a CSV: path,pid,camid",
        )
    return [Sample(path, int(match[1]), int(match[2])) for path, match in zip(images, matches, strict=True) if match]


def load_market_layout(
    name: str,
    root: Path,
    *,
    terms: str,
    grammar: str = "PPPP_cC...",
    published: Mapping[str, Count] | None = None,
) -> ReIDDataset:
    """Load ``bounding_box_train``, ``query`` and ``bounding_box_test`` by the rule of Market-1501.

    Junk (negative ids) is removed everywhere, distractors (id 0) are kept in the gallery and nowhere else.

    Args:
        name: Name of the data set.
        root: The folder that holds the three.
        terms: Licence terms, in one line.
        grammar: How error messages describe the file names.
        published: Published counts of train, query and gallery; None if there are none.

    Returns:
        The data set, judged by the Market rule.

    Raises:
        SemreidError: If a folder is missing or empty, or a file name does not match.
    """
    train, query, test = (parse_market(root / folder, grammar) for folder in MARKET_FOLDERS)
    dataset = ReIDDataset(
        name,
        root,
        train=tuple(s for s in train if s.pid > 0),
        query=tuple(s for s in query if s.pid > 0),
        gallery=tuple(s for s in test if s.pid >= 0),
        terms=terms,
        junk_removed=sum(s.pid < 0 for s in test),
    )
    return expect_counts(dataset, published or {})


def expect_counts(dataset: ReIDDataset, published: Mapping[str, Count]) -> ReIDDataset:
    """Compare what was found with what was published.

    Returns:
        The data set with one more warning for each part that differs.

    Example:
        >>> toy = ReIDDataset("toy", Path(), train=(), query=(), gallery=())
        >>> expect_counts(toy, {"query": Count(2, 4)}).warnings[0][:69]
        'toy: query has 0 identities and 0 images, published are 2 and 4: this'
    """
    warnings = list(dataset.warnings)
    for part, count in published.items():
        samples = getattr(dataset, part)
        found = Count(num_identities(samples), len(samples))
        if any(want not in (None, have) for want, have in zip(count, found, strict=True)):
            want = " and ".join("any" if n is None else f"{n:,}" for n in count)
            warnings.append(
                f"{dataset.name}: {part} has {found.identities:,} identities and {found.images:,} images, "
                f"published are {want}: this is not the published benchmark, do not report figures on it "
                "under that name"
            )
    return replace(dataset, warnings=tuple(warnings))


def lift_pids(samples: Iterable[Sample], by: int) -> tuple[Sample, ...]:
    """Add a number to every person id: 0 means distractor here, and two id spaces must not meet.

    Args:
        samples: Samples of one id space.
        by: What to add.

    Returns:
        New samples.

    Example:
        >>> [s.pid for s in lift_pids([Sample(Path("000_45.bmp"), 0, 0)], by=1)]
        [1]
    """
    return tuple(replace(sample, pid=sample.pid + by) for sample in samples)


def hashed_order(values: Iterable[T], salt: str) -> list[T]:
    """Shuffle by hash: the same on every machine, and in every version of every library.

    Args:
        values: Distinct values with a stable ``str``.
        salt: Another salt gives another order.

    Returns:
        The values in the order of their SHA-256.

    Example:
        >>> hashed_order([1, 2, 3, 4], salt="0")
        [4, 3, 2, 1]
    """
    return sorted(values, key=lambda value: hashlib.sha256(f"{salt}:{value}".encode()).digest())
