"""Partial-REID, Partial-iLIDS and Occluded-REID: small test sets of people who are only partly seen.

None has a training set: train on Market-1501, and tune nothing here. None has camera labels: probes get
camera 0 and whole bodies camera 1. What follows ``_`` in their names is the number of the image, **not** a
camera; read as one, it would delete true matches as junk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from semreid.data.listing import Count, expect_counts, lift_pids, list_images, match_name
from semreid.data.sample import Protocol, ReIDDataset, Sample
from semreid.errors import SemreidError

LEADING_ID = re.compile(r"(\d+)(?=[_.])", re.ASCII)
WHOLE = "whole_body_images"
TEST_ONLY = "test only, train on Market-1501"


def load_partial_reid(root: Path, variant: str = "partial") -> ReIDDataset:
    """Load Partial-REID (Zheng et al., ICCV 2015).

    Layout: ``partial_body_images`` (crops of the visible part), ``occluded_body_images`` (the same before
    cropping), ``whole_body_images``. Names: ``III_NNN.jpg``, person III, image NNN.

    * ``partial`` (default) or ``occluded``: which probes. Almost all papers use the partial ones.
    * as they are: all 5 whole images of each person are the gallery, CMC and mAP, as in newer tables. With
      ``-single``: one random image of each person, averaged over 10 draws, CMC only, as in older tables.
      The two are not comparable.

    Published (docs/protocols.md#partial-reid): 60 people, 300 probes of each sort, 300 whole bodies.
    """
    probe, _, shots = variant.partition("-")
    return _probes_and_wholes(
        f"partial-reid/{variant}",
        root,
        root / f"{probe}_body_images",
        root / WHOLE,
        _protocol(f"{probe} probes, {shots or 'multi'}-shot", single=bool(shots)),
        {"query": Count(60, 300), "gallery": Count(60, 300)},
    )


def load_partial_ilids(root: Path) -> ReIDDataset:
    """Load Partial-iLIDS.

    Layout: ``partial_body_images`` and ``whole_body_images``, or ``Probe`` and ``Gallery``: there are two
    packagings. Names: ``III.jpg``, in another packaging ``III_C.jpg``; person III.

    Published (docs/protocols.md#partial-ilids): 119 people, one probe and one whole body each. As each probe
    has one match, mAP is the mean reciprocal rank.
    """
    packaged = (root / "Probe").is_dir()
    probe, whole = ("Probe", "Gallery") if packaged else ("partial_body_images", WHOLE)
    counts = {"query": Count(119, 119), "gallery": Count(119, 119)}
    protocol = _protocol("one match per probe")
    return _probes_and_wholes("partial-ilids", root, root / probe, root / whole, protocol, counts)


def load_occluded_reid(root: Path) -> ReIDDataset:
    """Load Occluded-REID (Zhuo et al., 2018).

    Layout: ``occluded_body_images`` and ``whole_body_images``, each with one folder per person. Names:
    ``III_NN.tif``, person III, image NN.

    Published (docs/protocols.md#occluded-reid): 200 people, 1,000 occluded probes, 1,000 whole bodies.
    """
    counts = {"query": Count(200, 1_000), "gallery": Count(200, 1_000)}
    probe = root / "occluded_body_images"
    return _probes_and_wholes(
        "occluded-reid", root, probe, root / WHOLE, _protocol("multi-shot", ranks=(1, 5, 10)), counts
    )


def _protocol(note: str, *, single: bool = False, ranks: tuple[int, ...] = (1, 3, 5, 10)) -> Protocol:
    note = f"{note}; {TEST_ONLY}; no camera labels: probes 0, whole bodies 1"
    several = Protocol(ranks=ranks, note=note, cameras_known=False)
    return replace(several, gallery_shots="single", repeats=10, has_map=False) if single else several


def _probes_and_wholes(
    name: str, root: Path, probe: Path, whole: Path, protocol: Protocol, published: Mapping[str, Count]
) -> ReIDDataset:
    query, gallery = _read(probe, camid=0), _read(whole, camid=1)
    if strangers := {s.pid for s in query} - {s.pid for s in gallery}:
        raise SemreidError(f"{probe}: person {min(strangers)} has no image in {whole}", fix="restore the folder")
    if any(s.pid == 0 for s in gallery):  # some packagings count from 0, which means distractor here
        query, gallery = lift_pids(query, by=1), lift_pids(gallery, by=1)
    terms = f"{name.partition('/')[0]}: real people; academic research only, no redistribution"
    dataset = ReIDDataset(name, root, (), query, gallery, protocol, terms)
    return expect_counts(dataset, published)


def _read(folder: Path, camid: int) -> tuple[Sample, ...]:
    return tuple(
        Sample(path, int(match_name(LEADING_ID, path, "III_NNN or III")[1]), camid)
        for path in list_images(folder, nested=True)
    )
