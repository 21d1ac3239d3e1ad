"""All that models can show of pairs of crops.

A *source* looks at pairs and returns what it can show of each; one that finds nothing to show in a model returns
empty evidence, and nothing appears on the page. Whoever writes a head that knows more, such as textures, adds a
source for it to `SOURCES`: pages and sheets show any layer and any part that comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from semreid.explain.evidence import Evidence
from semreid.explain.heat import heat_evidence
from semreid.explain.parts import part_evidence
from semreid.explain.pictures import Picture
from semreid.models.model import ReIDModel

Source = Callable[[ReIDModel, Picture, Sequence[Picture]], list[Evidence]]
SOURCES: tuple[Source, ...] = (heat_evidence, part_evidence)


def gather_evidence(model: ReIDModel, query: Picture, matches: Sequence[Picture]) -> list[Evidence]:
    """Ask all sources."""
    if not matches:
        return []
    found = zip(*(source(model, query, matches) for source in SOURCES), strict=True)
    return [
        Evidence(tuple(x for e in pair for x in e.layers), tuple(x for e in pair for x in e.parts)) for pair in found
    ]
