"""What to know of labels before anything learns from them: numbers, and a sheet to look at."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semreid.data.images import read_image, resize
from semreid.data.listing import OVERVIEW, REPORT, TABLE, hashed_order
from semreid.data.sample import ReIDDataset
from semreid.data.store import read_mask
from semreid.explain.parts import regions_over
from semreid.files import atomic_path, write_json, write_text
from semreid.models.heads import REGIONS
from semreid.parallel import Progress, parallel
from semreid.teachers.label import Crop, Image, Labels

VISIBLE = 0.002
"""Share of a crop from which on a part counts as visible: 16 pixels of 128×64."""
UNSURE = 0.8
"""Mean probability of the likeliest part below which a mask is unsure."""
TOP_DOWN = [REGIONS.index(name) for name in ("head", "torso", "upper leg", "lower leg", "foot")]
NO_PERSON = "the mask is all background, the regions of such a crop are empty"
COLUMNS, CELL = 16, (192, 96)
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Labels of {dataset}</title>
<img style="max-width: 100%" alt="crops, and their labels below" src="data:image/png;base64,{content}">
"""
"""No picture by its name: beside the images, it would be taken for a crop."""


def write_report(labels: Labels, dataset: ReIDDataset, *, progress: Progress | None = None) -> dict[str, Any]:
    """Write ``labels.parquet``, ``report.json`` and ``overview.html`` beside the labels.

    Args:
        labels: What was written.
        dataset: For whom; if it has masks of its own, the report compares with them.
        progress: Told how many masks are looked at.

    Returns:
        The content of ``report.json``.

    Raises:
        SemreidError: If a mask cannot be read or a file cannot be written.
    """
    own = dataset.root / "masks"
    own_root = dataset.root if own.is_dir() and own.resolve() != (labels.folder / "masks").resolve() else None
    looked = parallel(lambda crop: _look(crop, labels, own_root), labels.crops, progress)
    rows, confusions = [row for row, _ in looked], [confusion for _, confusion in looked]
    report = {"dataset": dataset.name, "crops": len(rows), "kept": labels.kept, "of_other_crops": labels.strange}
    report |= {"without_label_map": labels.without}
    if "masks" in labels.kinds:
        report |= _summary(rows) | _agreement(rows, confusions)
    with atomic_path(labels.folder / TABLE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    content = b64encode(cv2.imencode(".png", draw_overview(labels, rows)[..., ::-1])[1].tobytes()).decode()
    write_text(labels.folder / OVERVIEW, PAGE.format(dataset=escape(dataset.name), content=content))
    write_json(labels.folder / REPORT, report)
    return report


def describe(mask: Image) -> dict[str, Any]:
    """Measure a part mask.

    Args:
        mask: Part labels, (H, W).

    Returns:
        ``area_PART``: share of the crop; ``visible``: names of the visible parts; ``ordered``: whether the centres of
        head, torso, upper leg, lower leg and foot follow one another downwards, as far as they are visible, None if
        fewer than two are.

    Example:
        >>> found = describe(np.array([[1, 0], [2, 0]], np.uint8))
        >>> found["area_head"], found["visible"], found["ordered"]
        (0.25, ['background', 'head', 'torso'], True)
    """
    inside = mask == np.arange(len(REGIONS))[:, None, None]
    areas = inside.mean(axis=(1, 2))
    heights = [float(np.nonzero(inside[part])[0].mean()) for part in TOP_DOWN if areas[part] >= VISIBLE]
    return {
        **{f"area_{name.replace(' ', '_')}": float(area) for name, area in zip(REGIONS, areas, strict=True)},
        "visible": [name for name, area in zip(REGIONS, areas, strict=True) if area >= VISIBLE],
        "ordered": heights == sorted(heights) if len(heights) > 1 else None,
    }


def intersection_over_union(confusion: NDArray[np.int64]) -> list[float | None]:
    """Compute the intersection over union of each class.

    Args:
        confusion: Pixels of true class (row) and found class (column), (R, R).

    Returns:
        R values; None for a class that neither has.

    Example:
        >>> intersection_over_union(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
        [0.75, 0.8, None]
    """
    shared = confusion.diagonal()
    joint = confusion.sum(axis=0) + confusion.sum(axis=1) - shared
    return [float(s / j) if j else None for s, j in zip(shared, joint, strict=True)]


def _look(crop: Crop, labels: Labels, own: Path | None) -> tuple[dict[str, Any], NDArray[np.int64]]:
    row: dict[str, Any] = {"path": str(crop.name), "train": crop.train}
    confusion = np.zeros((len(REGIONS), len(REGIONS)), np.int64)
    if "masks" not in labels.kinds:
        return row, confusion
    mask = read_mask(crop.file(labels.folder, "masks"))
    if own is not None and crop.file(own, "masks").exists():
        true = cv2.resize(read_mask(crop.file(own, "masks")), mask.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        pairs = true.astype(np.int64) * len(REGIONS) + mask
        confusion += np.bincount(pairs.ravel(), minlength=confusion.size).reshape(confusion.shape)
    return {**row, "confidence": labels.confidences.get(str(crop.name)), **describe(mask)}, confusion


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: Sequence[Any]) -> float | None:
        return float(np.mean(values)) if values else None

    known = [row for row in rows if row["confidence"] is not None]
    return {
        "parts": {
            name: {
                "mean_area": mean([row[f"area_{name.replace(' ', '_')}"] for row in rows]),
                "empty": mean([name not in row["visible"] for row in rows]),
            }
            for name in REGIONS
        },
        "ordered": mean([row["ordered"] for row in rows if row["ordered"] is not None]),
        "background_only": {**_counted([r for r in rows if r["visible"] == ["background"]]), "fallback": NO_PERSON},
        "mean_confidence": mean([row["confidence"] for row in known]),
        "low_confidence": {**_counted([r for r in known if r["confidence"] < UNSURE]), "threshold": UNSURE},
    }


def _counted(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"count": len(rows), "examples": [row["path"] for row in rows[:10]]}


def _agreement(rows: Sequence[dict[str, Any]], confusions: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """Compare with the masks of the data set: a teacher that learned from its training people shows in ``test``."""
    found: dict[str, Any] = {}
    for split, train in (("train", True), ("test", False)):
        total = np.sum([c for c, row in zip(confusions, rows, strict=True) if row["train"] == train], axis=0)
        if np.any(total):
            each = intersection_over_union(total)
            present = [value for value in each if value is not None]
            found[split] = {"mean": float(np.mean(present)), **dict(zip(REGIONS, each, strict=True))}
    return {"iou": found or None}


def draw_overview(labels: Labels, rows: Sequence[dict[str, Any]]) -> Image:
    """Lay out crops with their masks and textures: first some by chance, then the least sure ones.

    Returns:
        RGB uint8 image.
    """
    by_name = {str(crop.name): crop for crop in labels.crops}
    chance = [by_name[name] for name in hashed_order(by_name, salt="overview")[: 2 * COLUMNS]]
    known = [row for row in rows if row.get("confidence") is not None]
    unsure = [by_name[row["path"]] for row in sorted(known, key=lambda row: row["confidence"])[:COLUMNS]]
    picked = chance + unsure
    return np.vstack([_strip(labels, picked[start : start + COLUMNS]) for start in range(0, len(picked), COLUMNS)])


def _strip(labels: Labels, crops: Sequence[Crop]) -> Image:
    width = CELL[1]
    columns = []
    for crop in crops:
        picture = resize(read_image(crop.sample), CELL)
        cells = [picture]
        if "masks" in labels.kinds:
            cells.append(regions_over(picture, read_mask(crop.file(labels.folder, "masks"))))
        if "textures" in labels.kinds:
            cells.append(resize(read_image(crop.file(labels.folder, "textures")), (width, width)))
        columns.append(np.vstack(cells))
    blank = np.full((len(columns[0]), width * (COLUMNS - len(columns)), 3), 255, np.uint8)
    return np.hstack([*columns, blank])
