"""Occluded-DukeMTMC (Miao et al., ICCV 2019): a re-split of withdrawn data; for existing holders only."""

from __future__ import annotations

from pathlib import Path

from semreid.data.benchmarks.dukemtmc import load_duke_layout
from semreid.data.listing import Count
from semreid.data.sample import ReIDDataset

PUBLISHED = {"train": Count(702, 15_618), "query": Count(519, 2_210), "gallery": Count(1_110, 17_661)}


def load(root: Path, variant: str = "") -> ReIDDataset:
    """Load Occluded-DukeMTMC, for those who already hold it.

    Its images are those of DukeMTMC-reID, which was withdrawn: the same status and warning apply. All queries
    are occluded, as is about a tenth of the rest.

    Layout and names: as DukeMTMC-reID, after the conversion that its authors published.

    Published (docs/protocols.md#occluded-duke), identities and images: train 702, 15,618; query 519, 2,210;
    gallery 1,110, 17,661.

    Args:
        root: Folder that holds the three.
        variant: None exist.

    Returns:
        The data set, with a warning of its status.

    Raises:
        SemreidError: If a folder is missing or empty, or a file name does not match.
    """
    return load_duke_layout("occluded-duke", root, PUBLISHED)
