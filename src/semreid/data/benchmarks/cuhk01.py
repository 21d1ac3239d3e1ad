"""CUHK01 (Li et al., ACCV 2012)."""

from __future__ import annotations

import re
from pathlib import Path

from semreid.data.listing import Count, expect_counts, hashed_order, list_images, match_name
from semreid.data.sample import Protocol, ReIDDataset, Sample

IMAGE_NAME = re.compile(r"(\d{4})(\d{3})\.", re.ASCII)
IDENTITIES = 971


def load(root: Path, variant: str = "486-multi") -> ReIDDataset:
    """Load CUHK01.

    Layout: all images in ``root``, or in its folder ``campus``. Names: ``PPPPNNN.png``, person PPPP; images
    001 and 002 are view A (camera 0), 003 and 004 view B (camera 1).

    * ``486-...``: 485 people train, 486 test; ``100-...``: 871 train, 100 test. No list is official: split
      N is the order of people by the SHA-256 of ``N:PPPP``, the last ones test. Report the mean over 0-9.
    * ``...-multi``: the gallery is both images in view B; ``...-single``: one random of the two, averaged
      over 10 draws, CMC only. Probes are both images in view A.

    Some of its people are also in CUHK02: never train on one and test on the other.

    Published (docs/protocols.md#cuhk01): 971 people, 3,884 images.
    """
    kind, _, split = variant.partition("/")
    size, shots = kind.split("-")
    campus = root / "campus"
    samples = [_sample(path) for path in list_images(campus if campus.is_dir() else root)]
    test_ids = set(hashed_order({s.pid for s in samples}, salt=split or "0")[-int(size) :])
    test = [s for s in samples if s.pid in test_ids]
    note = f"CUHK01, {size} test people, {shots}-shot, split {split or 0} of 0-9; report the mean over all"
    dataset = ReIDDataset(
        f"cuhk01/{kind}/{split or 0}",
        root,
        train=tuple(s for s in samples if s.pid not in test_ids),
        query=tuple(s for s in test if s.camid == 0),
        gallery=tuple(s for s in test if s.camid == 1),
        protocol=Protocol(note=note)
        if shots == "multi"
        else Protocol(gallery_shots="single", repeats=10, has_map=False, note=note),
        terms="CUHK01: real people; academic research only, no redistribution",
    )
    return expect_counts(dataset, _published(int(size)))


def _sample(path: Path) -> Sample:
    pid, number = match_name(IMAGE_NAME, path, "PPPPNNN.png").groups()
    return Sample(path, int(pid), camid=0 if int(number) <= 2 else 1)


def _published(test: int) -> dict[str, Count]:
    train = IDENTITIES - test
    return {
        "train": Count(train, 4 * train),
        "query": Count(test, 2 * test),
        "gallery": Count(test, 2 * test),
    }
