"""CUHK03 (Li et al., CVPR 2014) from its raw ``.mat`` file, by the classic and the new protocol."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from semreid.data import matfile
from semreid.data.benchmarks import cuhk03_np
from semreid.data.listing import Count, expect_counts
from semreid.data.mat5 import read_mat5
from semreid.data.sample import JunkRule, Protocol, ReIDDataset, Sample
from semreid.errors import SemreidError
from semreid.reading import reading

TERMS = "CUHK03: real people; academic research only, no redistribution"
MAT_NAME = "cuhk-03.mat"
CLASSIC = {"train": Count(1_367, None), "query": Count(100, None), "gallery": Count(100, None)}
PERSONS_PER_PAIR = 1_000  # more than any camera pair has: pair 2, person 3 becomes id 2003


def load(root: Path, variant: str = "np-labeled") -> ReIDDataset:
    """Load CUHK03 without extracting its images: a sample is the ``.mat`` file and an address in it.

    Layout: ``cuhk-03.mat``, directly or in ``cuhk03_release``; for the new protocol also, beside it or in
    ``root``, ``cuhk03_new_protocol_config_{labeled,detected}.mat``. See `semreid.data.matfile`.

    * ``np-labeled``, ``np-detected``: the 767/700 split, judged by the Market rule; counts as `cuhk03_np`.
    * ``classic-labeled``, ``classic-detected``, each with ``/0`` to ``/19``: one of the 20 fixed test sets of
      100 people. Single-shot: one random image of each other person from the other view, averaged over
      draws; CMC only. Report the mean over the 20 splits.
    * ``torchreid-labeled``, ``torchreid-detected``, with ``/0`` to ``/19``: the same split and draws by the rule
      of Torchreid and SAN, where other people's images may come from the query's own view. For comparison
      with their figures only: the two rules give different numbers.

    Old and new must not be mixed: the classic metric on the new split gives impressive, meaningless scores.

    Published (docs/protocols.md#cuhk03): 1,467 people, so 1,367 train and 100 test in a classic split.

    Returns:
        The data set; camera 0 is view 1 and camera 1 is view 2 of each of the five camera pairs.
    """
    kind, _, split = variant.partition("/")
    protocol, boxes = kind.split("-")
    mat = _find(root, MAT_NAME)
    if protocol == "np":
        return _new_protocol(root, mat, boxes)
    return _classic(root, mat, protocol, boxes, int(split or 0))


def _classic(root: Path, mat: Path, rule: str, boxes: str, split: int) -> ReIDDataset:
    tests = matfile.classic_splits(mat)
    if split >= len(tests):
        raise SemreidError(f"{mat} has {len(tests)} test sets, so there is no split {split}")
    train: list[Sample] = []
    test: list[Sample] = []
    for item, (pair, person) in matfile.slots(mat, boxes).items():
        pid = pair * PERSONS_PER_PAIR + person
        sample = Sample(mat, pid, _view(item), item)
        (test if (pair, person) in tests[split] else train).append(sample)
    note = f"CUHK03 {rule}, {boxes} boxes, split {split} of 0-{len(tests) - 1}; report the mean over all"
    junk: JunkRule = "same-camera" if rule == "classic" else "same-pid-and-camera"
    protocol = Protocol(junk, "single", repeats=10, seed=split, has_map=False, note=note)
    name = f"cuhk03/{rule}-{boxes}/{split}"
    dataset = ReIDDataset(name, root, tuple(train), tuple(test), tuple(test), protocol, TERMS)
    return expect_counts(dataset, CLASSIC)


def _new_protocol(root: Path, mat: Path, boxes: str) -> ReIDDataset:
    config = _find(root, f"cuhk03_new_protocol_config_{boxes}.mat")
    table = _read_config(config)
    filled = matfile.slots(mat, boxes)
    with reading(config, fault="is not a split file of CUHK03"):
        items = [_item(boxes, name) for name in table["filelist"]]
        rows = [
            [Sample(mat, int(table["labels"][i]), _view(items[i]), items[i]) for i in _indices(table, part)]
            for part in ("train_idx", "query_idx", "gallery_idx")
        ]
    _require_items((s.item for part in rows for s in part), filled, mat)
    train, query, gallery = map(tuple, rows)
    protocol = Protocol(note=f"CUHK03 767/700, {boxes} boxes")
    dataset = ReIDDataset(f"cuhk03/np-{boxes}", root, train, query, gallery, protocol, TERMS)
    return expect_counts(dataset, cuhk03_np.PUBLISHED[boxes])


def _read_config(path: Path) -> dict[str, Any]:
    return {name: np.atleast_1d(value) for name, value in read_mat5(path).items()}


def _indices(table: dict[str, Any], part: str) -> list[int]:
    indices = [int(i) - 1 for i in table[part]]  # MATLAB counts from 1
    if min(indices, default=0) < 0:
        raise IndexError(f"{part} must count from 1")  # else -1 would silently mean the last image
    return indices


def _item(boxes: str, name: str) -> str:
    """Turn ``1_003_1_04.png`` (pair, person, view, slot) into ``labeled/1/003/04``."""
    pair, person, _, slot = Path(str(name)).stem.split("_")
    return f"{boxes}/{int(pair)}/{int(person):03d}/{int(slot):02d}"


def _view(item: str) -> int:
    return 0 if int(item[-2:]) <= 5 else 1


def _require_items(items: Iterable[str], filled: dict[str, tuple[int, int]], mat: Path) -> None:
    missing = [item for item in items if item not in filled]
    if missing:
        raise SemreidError(
            f"{mat} has no crop {missing[0]} ({len(missing)} listed crops are missing)",
            fix="use the split file and the .mat file of the same release; one may be damaged",
        )


def _find(root: Path, name: str) -> Path:
    for folder in (root, root / "cuhk03_release"):
        if (folder / name).is_file():
            return folder / name
    raise SemreidError(f"{root} has no file {name}", fix=f"point to the folder with {name}; folders are 'cuhk03-np'")
