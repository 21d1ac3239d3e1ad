"""Market-1501 (Zheng et al., ICCV 2015), and any data in the same layout."""

from __future__ import annotations

from pathlib import Path

from semreid.data.listing import Count, load_market_layout
from semreid.data.sample import ReIDDataset

PUBLISHED = {"train": Count(751, 12_936), "query": Count(750, 3_368), "gallery": Count(751, 15_913)}


def load(root: Path) -> ReIDDataset:
    """Load Market-1501.

    Layout: ``bounding_box_train``, ``query``, ``bounding_box_test``; others, as ``gt_bbox``, are ignored.
    Names: ``PPPP_cCsS_FFFFFF_BB.jpg``, person PPPP, camera C. ``-1`` is junk and removed, ``0000`` is a
    distractor and kept.

    Published (docs/protocols.md#market-1501), identities and images: train 751, 12,936; query 750, 3,368;
    gallery 750 and the distractors, 15,913 after 3,819 junk images are removed. A copy that was shipped
    without its junk is judged the same, so the junk itself is counted but not expected.
    """
    return load_market_layout(
        "market1501",
        root,
        terms="Market-1501: real people; academic research only, no redistribution",
        grammar="PPPP_cCsS_FFFFFF_BB.jpg",
        published=PUBLISHED,
    )


def load_people(root: Path) -> ReIDDataset:
    """Load synthetic people, as ``semreid synthesize`` writes them: the layout and names of Market-1501."""
    return load_market_layout("people", root, terms="synthetic people: no real person is shown")
