"""VIPeR (Gray et al., 2007)."""

from __future__ import annotations

import re
from pathlib import Path

from semreid.data.listing import Count, expect_counts, hashed_order, list_images, match_name
from semreid.data.sample import Protocol, ReIDDataset, Sample

IMAGE_NAME = re.compile(r"(\d+)_\d+\.", re.ASCII)
PUBLISHED = {"train": Count(316, 632), "query": Count(316, 632), "gallery": Count(316, 632)}


def load(root: Path, variant: str = "half") -> ReIDDataset:
    """Load VIPeR.

    Layout: ``cam_a`` and ``cam_b``. Names: ``III_AAA.bmp``, person III from 000, viewpoint AAA in degrees.
    Person ids are lifted by 1, since 0 means distractor here.

    No list is official: split N takes people in the order of the SHA-256 of ``N:III`` (as in the lifted ids),
    the first half train. Report the mean over 0-9.

    Each person has one image in each camera. Both are query and gallery, and a query meets only the gallery
    of the other camera: the mean of that equals the mean of two trials with the cameras swapped. As each
    query has one match, mAP is the mean reciprocal rank.

    Published (docs/protocols.md#viper): 632 people, 1,264 images, 316 people in each half.
    """
    split = variant.partition("/")[2] or "0"
    samples = [s for camid, name in enumerate(("cam_a", "cam_b")) for s in _read(root / name, camid)]
    people = hashed_order({s.pid for s in samples}, salt=split)
    train_ids = set(people[: len(people) // 2])
    test = tuple(s for s in samples if s.pid not in train_ids)
    dataset = ReIDDataset(
        f"viper/half/{split}",
        root,
        train=tuple(s for s in samples if s.pid in train_ids),
        query=test,
        gallery=test,
        protocol=Protocol("same-camera", note=f"VIPeR, split {split} of 0-9; report the mean over all"),
        terms="VIPeR: real people; academic research only, no redistribution",
    )
    return expect_counts(dataset, PUBLISHED)


def _read(folder: Path, camid: int) -> list[Sample]:
    named = [(path, match_name(IMAGE_NAME, path, "III_AAA.bmp")[1]) for path in list_images(folder)]
    return [Sample(path, 1 + int(number), camid, identity=number) for path, number in named]  # there is a person 000
