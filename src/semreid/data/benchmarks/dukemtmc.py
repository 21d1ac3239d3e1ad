"""DukeMTMC-reID: withdrawn by its authors; for existing holders only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from semreid.data.listing import Count, load_market_layout
from semreid.data.sample import ReIDDataset

PUBLISHED = {"train": Count(702, 16_522), "query": Count(702, 2_228), "gallery": Count(1_110, 17_661)}
WITHDRAWN = (
    "DukeMTMC was withdrawn by its authors in 2019: students were filmed without consent. For existing "
    "holders only; do not pass it on, and do not headline results on it"
)


def load(root: Path, variant: str = "") -> ReIDDataset:
    """Load DukeMTMC-reID, for those who already hold it.

    The data set was **withdrawn** in 2019 after criticism that people had been recorded without consent. The
    layout is supported so that earlier results can be checked; no link to it is given anywhere, and every
    run on it carries a warning.

    Layout: ``bounding_box_train``, ``query``, ``bounding_box_test``. Names: ``PPPP_cC_fFFFFFFF.jpg``, camera
    1-8; no junk; the gallery holds people that are never queried.

    Published (docs/protocols.md#dukemtmc-reid), identities and images: train 702, 16,522; query 702, 2,228;
    gallery 702 and 408 that are never queried, 17,661.

    Args:
        root: Folder that holds the three.
        variant: None exist.

    Returns:
        The data set, with a warning of its status.

    Raises:
        SemreidError: If a folder is missing or empty, or a file name does not match.
    """
    return load_duke_layout("dukemtmc", root, PUBLISHED)


def load_duke_layout(name: str, root: Path, published: dict[str, Count]) -> ReIDDataset:
    """Load a split of DukeMTMC and say that it was withdrawn.

    Args:
        name: Name of the split.
        root: Folder that holds the three.
        published: Counts of the split.

    Returns:
        The data set, with a warning of its status first.

    Raises:
        SemreidError: If a folder is missing or empty, or a file name does not match.
    """
    terms = "DukeMTMC: real people; WITHDRAWN in 2019, existing holders only, no redistribution"
    dataset = load_market_layout(name, root, terms=terms, grammar="PPPP_cC_fFFFFFFF.jpg", published=published)
    return replace(
        dataset,
        protocol=replace(dataset.protocol, note="withdrawn data set"),
        warnings=(f"{name}: {WITHDRAWN}", *dataset.warnings),
    )
