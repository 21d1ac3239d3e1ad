"""Search that looks at body regions: for queries that show only a part of the person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from semreid.errors import SemreidError
from semreid.functional.regions import region_distance
from semreid.gallery.crops import read_crop
from semreid.gallery.entry import Entry, Match, Vectors
from semreid.models.embedder import Image
from semreid.models.parts import Parts

KEPT = 10_000  # candidates whose regions are remembered, 300 MB of a large model


class PartEmbedder(Protocol):
    """A model with body regions, or a file exported from one."""

    def embed(self, images: Iterable[Image], *, parts: Literal[True]) -> Parts:
        """Embed crops, with their regions."""


class PartOrder:
    """An order of candidates in which the regions decide that both query and candidate show.

    Candidates are found by the whole embedding. In it, a leg behind a car counts as another leg; here it counts
    nothing: the distance is the mean of that of the whole and that of the shared regions. A gallery keeps no
    regions, as they take thirty times the space of the embedding: the pictures of the candidates are read and
    embedded again.

    Args:
        model: The model that made the gallery; it must have body regions.
        queries: Crops.
        read: How to read the crop of a candidate.

    Attributes:
        vectors: Whole embeddings of the queries, (Q, D).

    Raises:
        SemreidError: If a query cannot be read, or the model knows no body regions.

    Example:
        >>> import torch
        >>> from semreid.gallery import Gallery
        >>> from semreid.models.zoo import create_model
        >>> model = create_model("magnifiernet", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
        >>> gallery = Gallery.open("memory:", dim=model.dim, fingerprint=model.fingerprint)
        >>> order = PartOrder(model, [np.zeros((80, 40, 3), np.uint8)])
        >>> gallery.search(order.vectors, k=5, reorder=order)
        [[]]
    """

    def __init__(
        self, model: PartEmbedder, queries: Sequence[Image], read: Callable[[Entry], Image] = read_crop
    ) -> None:
        self._model, self._read = model, read
        found = model.embed(queries, parts=True)
        self.vectors: Vectors = found.embedding
        self._regions, self._weights = found.regions, region_weights(found)
        self._seen: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def __call__(self, query: int, matches: Sequence[Match]) -> list[Match]:
        """Order the candidates of a query, which is given by its row.

        Returns:
            The same ones, nearest first; their similarities stay those of the whole embedding.

        Raises:
            SemreidError: If the picture of a candidate cannot be read, or there is no such query.
        """
        if query >= len(self.vectors):
            raise SemreidError(
                f"this order was made for {len(self.vectors)} queries, and is asked about number {query + 1}",
                fix="search for order.vectors, or make an order of the crops that are searched for",
            )
        if not matches:
            return []
        regions, weights = (np.stack(values) for values in zip(*self._look(matches), strict=True))
        own = slice(query, query + 1)
        shared = region_distance(self._regions[own], regions, self._weights[own], weights)[0]
        whole = 1 - np.array([match.similarity for match in matches])
        return [matches[i] for i in np.argsort(whole + shared, kind="stable")]

    def _look(self, matches: Sequence[Match]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Regions and their weights of each candidate."""
        if len(self._seen) > KEPT:
            self._seen.clear()
        new = [match.entry for match in matches if match.entry.id not in self._seen]
        if new:
            found = self._model.embed((self._read(entry) for entry in new), parts=True)
            rows = zip(found.regions, region_weights(found), strict=True)
            self._seen |= {entry.id: row for entry, row in zip(new, rows, strict=True)}
        return [self._seen[match.entry.id] for match in matches]


def region_weights(parts: Parts) -> NDArray[np.float32]:
    """How much the regions of crops weigh in a comparison.

    Returns:
        Square root of the share of the crop that each region covers, so that a pair weighs the geometric mean of its
        two; 0 for the background, (N, R).
    """
    body = np.array([name != "background" for name in parts.names], np.float32)
    weights: NDArray[np.float32] = np.sqrt(parts.visibility) * body
    return weights
