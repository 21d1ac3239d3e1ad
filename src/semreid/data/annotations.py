"""Whose labels are these? A mask or texture belongs to one crop, and a name that fits is no proof of that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import imagesize
from pydantic import TypeAdapter

from semreid.data.images import read_image
from semreid.data.listing import JOURNAL
from semreid.data.sample import ReIDDataset, Sample
from semreid.data.store import content_digest, relative_name
from semreid.errors import SemreidError
from semreid.parallel import parallel
from semreid.reading import read_bytes, reading

MOST_JOURNAL = 2**30
"""Bytes of a journal: that of a million crops has about 150 million."""


class Labelled(NamedTuple):
    """What is noted of the labels of a crop.

    Attributes:
        confidence: Mean probability of the likeliest part, of parsers only.
        crop: Digest of the crop that they were made of; empty until they are made.
    """

    confidence: float | None
    crop: str


_ROW: TypeAdapter[tuple[str, float | None, str]] = TypeAdapter(tuple[str, float | None, str])


def read_journal(file: Path) -> dict[str, Labelled]:
    """Read which crops are labelled.

    Args:
        file: The journal of ``semreid label``: a line ``[name, confidence, digest]`` for each crop.

    Returns:
        What is noted, by the name of the crop. A stop in the middle of a line costs that crop.

    Raises:
        SemreidError: If it is damaged.
    """
    lines = read_bytes(file, MOST_JOURNAL).split(b"\n")[:-1] if file.exists() else []
    with reading(file, "label the data again, into another folder (--out)"):
        rows = (_ROW.validate_json(line) for line in lines)
        return {name: Labelled(confidence, crop) for name, confidence, crop in rows}


def journal_lines(labelled: dict[str, Labelled]) -> str:
    """Return the lines of the journal for some crops."""
    return "".join(f"{json.dumps([name, *row])}\n" for name, row in labelled.items())


def require_own_labels(dataset: ReIDDataset, samples: Sequence[Sample], folder: Path) -> None:
    """Make sure that labels were made of the crops at hand, and not of others of the same names.

    The journal of ``semreid label`` tells by a digest of each crop. A folder of annotations that is a data set itself,
    such as synthetic people, holds the crops.

    Args:
        dataset: The data set of the samples.
        samples: The samples.
        folder: Folder that holds ``masks`` and ``textures``.

    Raises:
        SemreidError: If labels are those of other crops; the message names some.
    """
    if not (folder / JOURNAL).exists() and folder.resolve() == dataset.root.resolve():
        return
    journal = read_journal(folder / JOURNAL)

    def is_strange(sample: Sample) -> bool:
        name = relative_name(sample, dataset.root)
        if (folder / JOURNAL).exists():
            made_of = journal[str(name)].crop if str(name) in journal else ""
        elif (folder / name).is_file():
            made_of = content_digest(folder / name).hex()
        else:
            return False
        return made_of != content_digest(sample).hex()

    _refuse(
        samples,
        parallel(is_strange, samples, None),
        f"labels in {folder} were not made of these crops",
        "run `semreid label` for this data again, which labels anew what changed",
    )


def require_own_sizes(samples: Sequence[Sample], masks: Sequence[Path]) -> None:
    """Make sure that masks have the size of their crops.

    Args:
        samples: The crops.
        masks: Mask of each; one that is missing is left to whoever reads it.

    Raises:
        SemreidError: If a mask is of another size; the message names some crops.
    """

    def is_strange(pair: tuple[Sample, Path]) -> bool:
        sample, mask = pair
        if not mask.is_file() or (found := imagesize.get(mask)) == (-1, -1):
            return False
        return not sample.item and found != imagesize.get(sample.path) and found != read_image(sample).shape[1::-1]

    strange = parallel(is_strange, list(zip(samples, masks, strict=True)), None)
    _refuse(
        samples,
        strange,
        "masks are of another size than their crops",
        "remove these masks and run `semreid label` for this data again",
    )


def _refuse(samples: Sequence[Sample], strange: Sequence[bool], what: str, fix: str) -> None:
    strangers = [str(sample) for sample, is_strange in zip(samples, strange, strict=True) if is_strange]
    if strangers:
        raise SemreidError(
            f"{len(strangers):,} of {len(samples):,} {what}, such as {', '.join(strangers[:3])}",
            fix=f"{fix}, or give the labels of this data with --annotations",
        )
