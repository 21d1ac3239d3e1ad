"""Writing part masks and textures for a data set: one pass over the crops, of which a stop loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from semreid.atlas import VERSION
from semreid.data.annotations import Labelled, journal_lines, read_journal
from semreid.data.images import read_image
from semreid.data.listing import JOURNAL, LABEL_FILES, LABELLERS
from semreid.data.sample import ReIDDataset, Sample
from semreid.data.store import content_digest, read_mask, relative_names
from semreid.errors import SemreidError
from semreid.files import exclusive, explained, write_bytes, write_json, write_text
from semreid.functional.regions import SURE_BACKGROUND
from semreid.models.heads import Parser, Parsing, Texture
from semreid.models.masks import part_masks
from semreid.models.model import ReIDModel
from semreid.parallel import Progress, ahead, parallel, pieces
from semreid.reading import Object, brief, read_json
from semreid.teachers.maps import SUFFIXES, Mapping, read_label_map, translate

ELSEWHERE = "choose another --out"
BATCH = 64
Kind = Literal["masks", "textures"]
KINDS: tuple[Kind, ...] = ("masks", "textures")
Split = Literal["all", "train"]
Image = NDArray[np.uint8]
IsCurrent = Callable[["Crop"], bool]


@dataclass(frozen=True)
class Crop:
    """A sample and where its labels go.

    Attributes:
        sample: The sample.
        name: Its path below the data set.
        train: Whether it is for training.
    """

    sample: Sample
    name: Path
    train: bool

    def file(self, root: Path, kind: Kind) -> Path:
        """Return where an annotation of it lies below a folder."""
        return _file(root, kind, self.name)


@dataclass(frozen=True)
class Labels:
    """What was written for a data set.

    Attributes:
        folder: Where ``masks`` and ``textures`` are.
        kinds: Which of the two.
        crops: The crops that have them.
        confidences: Mean probability of the likeliest part by the name of the crop; of parsers only.
        kept: How many crops were labelled before.
        strange: How many labels were there that were not made of these crops, and were made anew.
        without: How many crops for testing have no label map.
    """

    folder: Path
    kinds: tuple[Kind, ...]
    crops: tuple[Crop, ...]
    confidences: dict[str, float | None]
    kept: int = 0
    strange: int = 0
    without: int = 0


def label(
    teachers: Sequence[ReIDModel],
    dataset: ReIDDataset,
    out: Path,
    *,
    split: Split = "all",
    replace: bool = False,
    progress: Progress | None = None,
) -> Labels:
    """Let teachers label all crops of a data set, each averaged with its mirror image.

    Teachers with a parsing head write ``masks/…png`` at the size of the crop, those with a texture head
    ``textures/…png``; several of a kind are averaged. What a stopped run wrote is kept; what was made of other crops of
    the same names is made anew. Only what the journal of the folder names is ever overwritten or removed.

    Args:
        teachers: The models.
        dataset: Whose crops to label.
        out: Folder to write into.
        split: Which crops: ``all``, or ``train`` for those that training needs.
        replace: Label these crops again. Labels of these kinds by other teachers are removed, also of other crops.
        progress: Told how many crops are done.

    Raises:
        SemreidError: If a model is no teacher, there is no crop or one cannot be read, or the folder holds labels from
            elsewhere, or another process writes some.
    """
    parsers, painters = _with_head(teachers, Parser, Parsing), _with_head(teachers, Texture)
    if not teachers or {*teachers} - {*parsers, *painters}:
        raise SemreidError(
            "a model without parsing or texture head cannot label", fix="name teachers, such as a parser"
        )
    kinds: list[Kind] = [*(["masks"] if parsers else []), *(["textures"] if painters else [])]  # type: ignore[list-item]
    crops = crops_of(dataset, split)
    settings = {"teachers": [teacher.fingerprint for teacher in teachers], "atlas": VERSION}
    if parsers:
        settings["sure_background"] = SURE_BACKGROUND  # labels decided by another rule are not mixed with these
    with exclusive(out, patience=1):
        journal = _open(out, kinds, settings, crops, replace=replace)
        done = kept = len(crops) - len(journal.todo)
        for chunk, images in ahead(_read, pieces(journal.todo, BATCH)):
            journal.keep(chunk, *_look(parsers, painters, images))
            done += len(chunk)
            if progress is not None:
                progress(done, len(crops))
        journal.save()
    return Labels(out, tuple(kinds), crops, journal.confidences(), kept=kept, strange=journal.strange)


NOT_MADE = Labelled(None, "")
"""Noted of a crop before it is labelled: labels of it are ours from now on, though made of no crop that is known."""


class _Journal:
    """Which labels of a folder are ours, and what they were made of: what its journal knows, and what is noted in it.

    Args:
        out: The folder.
        kinds: What a crop needs to be labelled.
        crops: The crops.
        is_current: Tells of a crop whose labels were made before whether they would be the same now; None where they
            depend on the crop alone.
        replace: Whether to label them again.

    Raises:
        SemreidError: If it is damaged, or crops have labels that it does not name.
    """

    def __init__(
        self, out: Path, kinds: Sequence[Kind], crops: Sequence[Crop], is_current: IsCurrent | None, *, replace: bool
    ) -> None:
        self.out, self.file = out, out / JOURNAL
        # A line without a label is from before a stop; what comes to lie there later is somebody else's.
        noted = read_journal(self.file)
        _require_inside(self.file, noted)
        self.known = {
            name: row for name, row in noted.items() if any(_file(out, kind, Path(name)).exists() for kind in KINDS)
        }
        self._require_known(kinds, crops)
        digests = parallel(lambda crop: content_digest(crop.sample).hex(), crops)
        self.digests = dict(zip(map(_name, crops), digests, strict=True))
        there = [crop for crop in crops if all(crop.file(out, kind).exists() for kind in kinds)]
        kept = [crop for crop in there if self.known[_name(crop)].crop == self.digests[_name(crop)] and not replace]
        if is_current is not None:
            kept = [crop for crop, current in zip(kept, parallel(is_current, kept), strict=True) if current]
        own = {*map(_name, kept)}
        self.strange = 0 if replace else len(there) - len(own)
        self.todo = [crop for crop in crops if _name(crop) not in own]
        self.known |= {name: NOT_MADE for name in map(_name, self.todo) if name in self.known}

    def _require_known(self, kinds: Sequence[Kind], crops: Sequence[Crop]) -> None:
        files = [crop.file(self.out, kind) for crop in crops if _name(crop) not in self.known for kind in kinds]
        if theirs := [file for file in files if file.exists()]:
            raise SemreidError(
                f"{len(theirs):,} labels in {self.out} were not made by `semreid label`, such as {theirs[0]}",
                fix=f"{ELSEWHERE}, or move them away to have these crops labelled",
            )

    def discard(self, kinds: Sequence[Kind]) -> None:
        """Remove the labels that the journal names."""
        for kind in kinds:
            for name in self.known:
                _file(self.out, kind, Path(name)).unlink(missing_ok=True)
        self.known = dict.fromkeys(self.known, NOT_MADE)

    def save(self) -> None:
        """Write all that is known, without the half line that a stop may have left."""
        write_text(self.file, journal_lines(self.known))

    def keep(
        self, crops: Sequence[Crop], pictures: dict[Kind, list[Image]], confidences: Sequence[float | None]
    ) -> None:
        """Write the labels of some crops, and note them."""
        names = list(map(_name, crops))
        self._note({name: NOT_MADE for name in names if name not in self.known})
        for kind, made in pictures.items():
            parallel(_write, [(crop.file(self.out, kind), image) for crop, image in zip(crops, made, strict=True)])
        self.note(dict(zip(names, confidences, strict=True)))

    def note(self, confidences: dict[str, float | None]) -> None:
        """Note crops whose labels are written."""
        self._note({name: Labelled(value, self.digests[name]) for name, value in confidences.items()})

    def _note(self, found: dict[str, Labelled]) -> None:
        self.known |= found
        with explained(self.file), self.file.open("a", encoding="utf-8") as journal:
            journal.write(journal_lines(found))

    def confidences(self) -> dict[str, float | None]:
        """Return the confidences of all crops that have labels."""
        return {name: labelled.confidence for name, labelled in self.known.items()}


def _file(out: Path, kind: Kind, name: Path) -> Path:
    return out / kind / name.with_suffix(".png")


def _require_inside(file: Path, names: Iterable[str]) -> None:
    """Refuse a journal, perhaps of a stranger, by which labels outside of its folder would be removed."""
    if lost := [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise SemreidError(f"{file} names a label outside of its folder: {brief(lost[0])}", fix=ELSEWHERE)


def _name(crop: Crop) -> str:
    return str(crop.name)


def import_masks(
    folder: Path,
    mapping: Mapping,
    dataset: ReIDDataset,
    out: Path,
    *,
    split: Split = "all",
    replace: bool = False,
    progress: Progress | None = None,
) -> Labels:
    """Turn label maps that exist already into part masks.

    The label map of ``query/a.jpg`` is ``FOLDER/query/a.png`` (or ``.npy``, ``.npz``) or ``FOLDER/query/a.jpg.png``.
    Crops for testing need none.

    Args:
        folder: Where the label maps are.
        mapping: Whose labels they are.
        dataset: The crops.
        out: Folder to write ``masks`` into.
        split: As in `label`.
        replace: Write again what is written.
        progress: Told how many are done.

    Raises:
        SemreidError: If label maps are missing for training or cannot be used: counted by what is wrong, each with an
            example. The others are written all the same. Also if there is no label map or no crop at all, the folder
            holds masks from elsewhere, or another process writes some.
    """
    crops = crops_of(dataset, split)

    def convert(crop: Crop) -> Image | str:
        try:
            return _converted(folder, crop, mapping)
        except SemreidError as error:
            return error.what

    def is_current(crop: Crop) -> bool:
        return _source(folder, crop) is None or _is_mask(crop.file(out, "masks"), convert(crop))

    told: list[tuple[Crop, str]] = []
    with exclusive(out, patience=1):
        if not any(_source(folder, crop) for crop in crops):
            raise SemreidError(
                f"{folder} has no label map of the {len(crops):,} crops",
                fix=f"name the folder that has that of the first, say, as {crops[0].name.with_suffix('.png')}",
            )
        settings = {"label_maps": str(folder.resolve()), "mapping": mapping}
        journal = _open(out, ["masks"], settings, crops, replace=replace, is_current=is_current)
        for chunk in pieces(journal.todo, BATCH):
            answers = list(zip(chunk, parallel(convert, chunk), strict=True))
            made = [(crop, answer) for crop, answer in answers if not isinstance(answer, str)]
            journal.keep([crop for crop, _ in made], {"masks": [mask for _, mask in made]}, [None] * len(made))
            told += [(crop, answer if isinstance(answer, str) else WRITTEN) for crop, answer in answers]
            if progress is not None:
                progress(len(told), len(journal.todo))
        journal.save()
    _require_usable(told)
    missing = {_name(crop) for crop, answer in told if answer == MISSING}
    found = tuple(crop for crop in crops if _name(crop) not in missing)
    kept = len(crops) - len(told)
    return Labels(out, ("masks",), found, {}, kept=kept, strange=journal.strange, without=len(missing))


def _is_mask(file: Path, mask: Image | str) -> bool:
    """Whether a file holds the mask that a label map makes now, which may be a message of what is wrong with it."""
    try:
        return not isinstance(mask, str) and np.array_equal(mask, read_mask(file))
    except SemreidError:
        return False


MISSING, WRITTEN = "missing", "written"


def _require_usable(told: Sequence[tuple[Crop, str]]) -> None:
    bad = [(answer, crop.name) for crop, answer in told if answer != WRITTEN and (crop.train or answer != MISSING)]
    if not bad:
        return
    examples = dict(reversed(bad))
    counted = "; ".join(
        f"{n:,} {what}, such as that of {examples[what]}" for what, n in Counter(w for w, _ in bad).items()
    )
    mend = "mend them and run the same command again; the others are written"
    if len(bad) == len(told):
        mend = "mend them, or name another --mapping, and run the same command again"
    raise SemreidError(f"{len(bad):,} of {len(told):,} label maps cannot be used: {counted}", fix=mend)


def crops_of(dataset: ReIDDataset, split: Split = "all") -> tuple[Crop, ...]:
    """List the crops of a data set, each once: train, query, gallery.

    Args:
        dataset: The data set.
        split: ``train`` for the first alone.

    Raises:
        SemreidError: If there is none, two would have the same mask, or one lies outside of the data set's folder.
    """
    samples = (*dataset.train, *((*dataset.query, *dataset.gallery) if split == "all" else ()))
    if not samples:
        raise SemreidError(f"{dataset.name} has no crops for training", fix="label all of its crops: --split all")
    names, found = relative_names(samples, dataset.root, "a mask"), dict[Path, Crop]()
    for i, (sample, name) in enumerate(zip(samples, names, strict=True)):
        found.setdefault(name, Crop(sample, name, train=i < len(dataset.train)))
    return tuple(found.values())


def _with_head(teachers: Sequence[ReIDModel], *kinds: type) -> list[ReIDModel]:
    return [t for t in teachers if any(isinstance(head, kinds) for head in t.heads.values())]


def _open(
    out: Path,
    kinds: Sequence[Kind],
    settings: dict[str, Any],
    crops: Sequence[Crop],
    *,
    replace: bool,
    is_current: IsCurrent | None = None,
) -> _Journal:
    """Note who labels, so that nobody else's labels are taken for theirs, or overwritten."""
    file = out / LABELLERS
    before = read_json(file, Object, ELSEWHERE) if file.exists() else {}
    begun = any(source in before for source in ("teachers", "label_maps"))  # others may have noted their atlas there
    noted = before.pop("kinds", None)
    ours = [*(noted if isinstance(noted, list) else kinds)] if begun else []  # earlier versions noted no kinds
    expected = [*kinds, *(() if begun else LABEL_FILES)]
    if strange := [name for name in expected if name not in ours and (out / name).exists()]:
        raise SemreidError(f"{out} holds what `semreid label` did not make: {', '.join(strange)}", fix=ELSEWHERE)
    if begun and before != settings and not replace:
        raise SemreidError(f"{out} holds labels from elsewhere: {brief(before)}", fix=f"{ELSEWHERE}, or --replace them")
    journal = _Journal(out, kinds, crops, is_current, replace=replace)
    if before != settings:
        journal.discard(kinds)
    journal.save()  # before the settings: a stop must not leave labels by others under the name of these teachers
    write_json(file, {**settings, "kinds": [kind for kind in KINDS if kind in ours or kind in kinds]})
    return journal


def _read(chunk: Sequence[Crop]) -> tuple[Sequence[Crop], list[Image]]:
    return chunk, parallel(lambda crop: read_image(crop.sample), chunk)


def _look(
    parsers: Sequence[ReIDModel], painters: Sequence[ReIDModel], images: Sequence[Image]
) -> tuple[dict[Kind, list[Image]], list[float | None]]:
    """Make the masks and textures of crops, and tell how sure the parsers are of each."""
    pictures: dict[Kind, list[Image]] = {}
    confidences: list[float | None] = [None] * len(images)
    if parsers:
        pictures["masks"], sure = part_masks(parsers, images)
        confidences = [*sure]
    if painters:
        textures = np.mean([painter.texture(images, flip=True) for painter in painters], axis=0).transpose(0, 2, 3, 1)
        pictures["textures"] = list(np.rint(255 * textures).astype(np.uint8)[..., ::-1])
    return pictures, confidences


def _source(folder: Path, crop: Crop) -> Path | None:
    names = [base for suffix in SUFFIXES for base in (crop.name.with_suffix(suffix), Path(f"{crop.name}{suffix}"))]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _converted(folder: Path, crop: Crop, mapping: Mapping) -> Image:
    source = _source(folder, crop)
    if source is None:
        raise SemreidError(MISSING)
    parts = translate(read_label_map(source), mapping)
    if parts.shape != read_image(crop.sample).shape[:2]:
        raise SemreidError("of another size than their crops")
    return parts


def _write(item: tuple[Path, Image]) -> None:
    path, picture = item
    content = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    write_bytes(path, content.tobytes())
