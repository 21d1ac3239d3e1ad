"""What there is to show of a pair of crops, beside the crops themselves."""

from __future__ import annotations

from dataclasses import dataclass

from semreid.explain.pictures import Picture


@dataclass(frozen=True, eq=False)
class Layer:
    """Another look at the two crops of a pair, side by side.

    Attributes:
        title: What is seen, in a few words.
        query: Of the query, any size.
        match: Of the match, any size.
    """

    title: str
    query: Picture
    match: Picture


@dataclass(frozen=True)
class Part:
    """A body part of a pair.

    Attributes:
        name: Name of the part.
        similarity: Cosine similarity of the part in both crops; None if it is not visible in one of them.
        visibility: Share of the query and of the match that it covers, from 0 to 1.
        color: In which a layer shows it, such as ``#c2504f``; empty if none does.
    """

    name: str
    similarity: float | None
    visibility: tuple[float, float]
    color: str = ""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a source has to show of a pair; nothing by default."""

    layers: tuple[Layer, ...] = ()
    parts: tuple[Part, ...] = ()
