"""Body regions of crops: which one a pixel shows, and how far apart two crops are where both show a region."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.errors import SemreidError

SHARES = np.array([0.119, 0.397, 0.073, 0.087, 0.138, 0.145, 0.041], np.float32)
"""What share of the pixels of synthetic people each of the seven parts has."""
SURE_BACKGROUND = 0.55


def region_distance(
    query: NDArray[Any], gallery: NDArray[Any], query_weights: NDArray[Any], gallery_weights: NDArray[Any]
) -> NDArray[np.float32]:
    """Compute the visibility-weighted cosine distance of the regions of every query to those of every candidate.

    For a pair, it is the mean over regions of one minus the cosine similarity, in which a region weighs the product
    of its two weights: what one of the crops does not show says nothing of the pair.

    Args:
        query: Unit vectors of the regions of the queries, (Q, R, C); anything where the weight is 0.
        gallery: Likewise of the candidates, (G, R, C).
        query_weights: How much each region of each query shows, not negative, (Q, R).
        gallery_weights: Likewise of the candidates, (G, R).

    Returns:
        Distances, (Q, G), float32, from 0 to 2; 1, as of vectors that have nothing in common, where no region is
        visible in both.

    Raises:
        SemreidError: If shapes do not fit, or a weight is negative or NaN.

    Example:
        >>> head, legs = [1.0, 0.0], [0.0, 1.0]
        >>> query, gallery = np.array([[head, legs]]), np.array([[head, head], [legs, legs]])
        >>> region_distance(query, gallery, np.array([[1, 0]]), np.array([[1, 1], [0, 1]]))
        array([[0., 1.]], dtype=float32)
    """
    _require_shapes(query, gallery, query_weights, gallery_weights)
    left, right = _weighed(query, query_weights), _weighed(gallery, gallery_weights)
    shared = query_weights.astype(np.float64) @ gallery_weights.astype(np.float64).T
    alike = left.reshape(len(left), -1) @ right.reshape(len(right), -1).T
    similarity = np.divide(alike, shared, out=np.zeros_like(shared), where=shared > 0)
    distance: NDArray[np.float32] = (1 - np.clip(similarity, -1, 1)).astype(np.float32)
    return distance


def _weighed(vectors: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Vectors times weights; zeros where the weight is 0, also of NaN and infinity."""
    found, each = np.zeros(vectors.shape), weights[..., None]
    np.multiply(vectors, each, out=found, where=each > 0, dtype=np.float64)
    return found


def likeliest_regions(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Decide which region each pixel shows.

    Background has to be surer than 0.55: that fits the whole person best (docs/notes/masks.md). Of the parts, the one
    wins that the pixel speaks for most, however large it is: each is divided by its share of a body, or lower arms
    would be lost in the torso that they hang before (Menon et al., Long-tail learning via logit adjustment, ICLR 2021).

    Args:
        probabilities: Of background and the seven parts, (..., 8).

    Returns:
        Labels 0 to 7, (...).

    Raises:
        SemreidError: If there are not eight regions.

    Example:
        >>> torso, lower_arm = [0, 0, 0.6, 0, 0.4, 0, 0, 0], [0.5, 0, 0, 0, 0.3, 0, 0, 0.2]
        >>> likeliest_regions(np.array([torso, lower_arm]))
        array([4, 7], dtype=uint8)
    """
    if probabilities.shape[-1] != 1 + len(SHARES):
        raise SemreidError(
            f"expected background and {len(SHARES)} parts, got {probabilities.shape[-1]} regions",
            fix="give probabilities (..., 8)",
        )
    parts = (probabilities[..., 1:] / SHARES).argmax(axis=-1) + 1
    labels: NDArray[np.uint8] = np.where(probabilities[..., 0] > SURE_BACKGROUND, 0, parts).astype(np.uint8)
    return labels


def _require_shapes(query: NDArray[Any], gallery: NDArray[Any], *weights: NDArray[Any]) -> None:
    shapes = [vectors.shape[:2] for vectors in (query, gallery)]
    fits = query.ndim == gallery.ndim == 3 and query.shape[1:] == gallery.shape[1:]
    if not fits or [w.shape for w in weights] != shapes:
        given = ", ".join(str(array.shape) for array in (query, gallery, *weights))
        raise SemreidError(f"regions and weights have shapes {given}", fix="give (Q, R, C), (G, R, C), (Q, R), (G, R)")
    if not all((w >= 0).all() for w in weights):
        raise SemreidError(
            "the weight of a region is negative or NaN", fix="give visibilities, 0 for a region that is not seen"
        )
