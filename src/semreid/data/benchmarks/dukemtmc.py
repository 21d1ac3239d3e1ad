"""DukeMTMC-reID, and its re-split Occluded-DukeMTMC: withdrawn by the authors; for existing holders only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from semreid.data.listing import Count, load_market_layout
from semreid.data.sample import ReIDDataset

PUBLISHED = {"train": Count(702, 16_522), "query": Count(702, 2_228), "gallery": Count(1_110, 17_661)}
OCCLUDED = {"train": Count(702, 15_618), "query": Count(519, 2_210), "gallery": Count(1_110, 17_661)}
WITHDRAWN = (
    "DukeMTMC was withdrawn by its authors in 2019: students were filmed without consent. For existing "
    "holders only; do not pass it on, and do not headline results on it"
)


def load(root: Path) -> ReIDDataset:
    """Load DukeMTMC-reID, for those who already hold it.

    The data set was **withdrawn** in 2019 after criticism that people had been recorded without consent. The
    layout is supported so that earlier results can be checked; no link to it is given anywhere, and every
    run on it carries a warning.

    Layout: ``bounding_box_train``, ``query``, ``bounding_box_test``. Names: ``PPPP_cC_fFFFFFFF.jpg``, camera
    1-8; no junk; the gallery holds people that are never queried.

    Published (docs/protocols.md#dukemtmc-reid), identities and images: train 702, 16,522; query 702, 2,228;
    gallery 702 and 408 that are never queried, 17,661.
    """
    return _load("dukemtmc", root, PUBLISHED)


def load_occluded(root: Path) -> ReIDDataset:
    """Load Occluded-DukeMTMC (Miao et al., ICCV 2019), for those who already hold it.

    Its images are those of DukeMTMC-reID, which was withdrawn: the same status and warning apply. All queries
    are occluded, as is about a tenth of the rest.

    Layout and names: as DukeMTMC-reID, after the conversion that its authors published.

    Published (docs/protocols.md#occluded-duke), identities and images: train 702, 15,618; query 519, 2,210;
    gallery 1,110, 17,661.
    """
    return _load("occluded-duke", root, OCCLUDED)


def _load(name: str, root: Path, published: Mapping[str, Count]) -> ReIDDataset:
    """Load a split; the warning of its status comes first."""
    terms = "DukeMTMC: real people; WITHDRAWN in 2019, existing holders only, no redistribution"
    dataset = load_market_layout(name, root, terms=terms, grammar="PPPP_cC_fFFFFFFF.jpg", published=published)
    return replace(
        dataset,
        protocol=replace(dataset.protocol, note="withdrawn data set"),
        warnings=(f"{name}: {WITHDRAWN}", *dataset.warnings),
    )
