"""CUHK03-NP (Zhong et al., CVPR 2017): the 767/700 protocol, extracted to folders."""

from __future__ import annotations

from pathlib import Path

from semreid.data.listing import MARKET_FOLDERS, Count, load_market_layout
from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError

PUBLISHED = {
    "labeled": {"train": Count(767, 7_368), "query": Count(700, 1_400), "gallery": Count(700, 5_328)},
    "detected": {"train": Count(767, 7_365), "query": Count(700, 1_400), "gallery": Count(700, 5_332)},
}


def load(root: Path, variant: str = "labeled") -> ReIDDataset:
    """Load CUHK03-NP.

    Layout: ``labeled`` and ``detected``, each with ``bounding_box_train``, ``query`` and
    ``bounding_box_test``; or one of the two itself. Names: ``PPPP_cC_N.png``, person PPPP, camera C. Boxes
    drawn by hand and boxes from a detector are two benchmarks: train and test on the same one.

    Published (docs/protocols.md#cuhk03), identities and images: train 767, 7,368 labeled, 7,365
    detected; query 700, 1,400 each; gallery 700, 5,328 labeled, 5,332 detected.
    """
    return load_market_layout(
        f"cuhk03-np/{variant}",
        _variant_folder(root, variant),
        terms="CUHK03: real people; academic research only, no redistribution",
        grammar="PPPP_cC_N.png",
        published=PUBLISHED[variant],
    )


def _variant_folder(root: Path, variant: str) -> Path:
    if not (root / MARKET_FOLDERS[0]).is_dir():
        return root / variant
    if root.name in PUBLISHED and root.name != variant:
        raise SemreidError(
            f"{root} holds the {root.name} boxes, but {variant} was asked for",
            fix=f"ask for cuhk03-np/{root.name}; figures of one must not be quoted for the other",
        )
    return root
