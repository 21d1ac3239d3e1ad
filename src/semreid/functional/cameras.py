"""Taking the camera out of embeddings: crops of one camera resemble each other for reasons that are not the person."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semreid.errors import SemreidError
from semreid.functional._threads import in_threads
from semreid.functional.distance import Features, paired_features, symmetric_tiles

ROUNDING = 1e-6
"""Length that a unit vector may have left, by rounding alone, after its like was subtracted."""


def center_by_camera(
    query: Features,
    gallery: Features,
    query_camids: NDArray[np.integer],
    gallery_camids: NDArray[np.integer],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Subtract from every embedding the mean of its camera, and give it unit length again.

    The mean stands for what the pictures of a camera share: light, colours, view, background. It is taken over query
    and gallery together, without looking at identities; so the answer to a query depends on the other crops, as with
    re-ranking, and figures made this way must say so. Few crops of a camera, or few people, make a poor mean.

    Args:
        query: Unit vectors (Q, D).
        gallery: Unit vectors (G, D).
        query_camids: Camera of every query, (Q,).
        gallery_camids: Camera of every gallery vector, (G,).

    Returns:
        Both, centred, of unit length, float32; a vector that is all its camera's mean, but for what float32 rounds off,
        becomes zero.

    Raises:
        SemreidError: If shapes differ, a feature is not finite, or cameras are no whole numbers.

    Example:
        >>> vectors, camids = np.array([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]), np.array([1, 2, 2])
        >>> center_by_camera(vectors[1:], vectors, camids[1:], camids)[0].round(3)
        array([[ 0.707, -0.707],
               [-0.707,  0.707]], dtype=float32)
    """
    left, right = (features.cpu().numpy() for features in paired_features(query, gallery))
    if (len(left), len(right)) != (len(query_camids), len(gallery_camids)):
        raise SemreidError(
            f"{len(left)} + {len(right)} vectors, but {len(query_camids)} + {len(gallery_camids)} cameras",
            fix="give the camera of every vector",
        )
    camids = np.concatenate((query_camids, gallery_camids))
    if camids.dtype.kind not in "iu":
        raise SemreidError(f"cameras are of type {camids.dtype}", fix="number the cameras; -1 where one is not known")
    both = centred(np.concatenate((left, right)), camids)
    return both[: len(left)], both[len(left) :]


def centred(vectors: NDArray[np.float32], camids: NDArray[np.integer], prior: float = 0) -> NDArray[np.float32]:
    """Do what `center_by_camera` does to one set of vectors.

    Args:
        vectors: Unit vectors (N, D).
        camids: Camera of each, (N,).
        prior: Vectors of all cameras that the mean of each counts as if they were its own: of few vectors, it is drawn
            to that of all, for a vector alone is its mean.

    Returns:
        Centred vectors of unit length, float32.

    Example:
        >>> centred(np.array([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]), np.array([1, 2, 2])).round(3).tolist()
        [[0.0, 0.0], [0.7070000171661377, -0.7070000171661377], [-0.7070000171661377, 0.7070000171661377]]
    """
    found = np.array(vectors, np.float32)
    everyone = prior * found.mean(0, dtype=np.float64)
    for camera in np.unique(camids):
        rows = camids == camera
        mean = (found[rows].sum(0, dtype=np.float64) + everyone) / (np.count_nonzero(rows) + prior)
        found[rows] -= mean.astype(np.float32)
    found[np.linalg.norm(found, axis=1) < ROUNDING] = 0
    return F.normalize(torch.from_numpy(found)).numpy()


def likeness_by_camera(vectors: NDArray[np.float32], kinds: NDArray[np.integer], nearest: int = 5) -> Tensor:
    """Tell how alike the crops of each camera that come nearest to a crop are: high by its own, lower by another.

    Taken out of the similarity of two crops, half by each, neighbours from all cameras come near alike, as words of two
    languages do (cross-domain similarity local scaling, Conneau et al., ICLR 2018).

    Args:
        vectors: Unit vectors (N, D).
        kinds: Camera of each, 0 to C - 1, (N,).
        nearest: How many of the nearest count, the crop itself left out; all of a camera that has fewer.

    Returns:
        Mean similarity to the nearest by each camera, (N, C); 0 where a camera has no other crop.

    Example:
        >>> angles = np.radians([0, 10, 60, 80])
        >>> likeness_by_camera(np.stack((np.cos(angles), np.sin(angles)), 1), np.array([0, 0, 1, 1]), 1)
        tensor([[0.9848, 0.5000],
                [0.9848, 0.6428],
                [0.6428, 0.9397],
                [0.3420, 0.9397]])
    """
    from semreid.functional import _grouping_kernels as kernels

    order = np.argsort(kinds, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(kinds))])
    rows = torch.from_numpy(np.asarray(vectors, np.float32)[order])
    best = np.full((len(rows), len(bounds) - 1, nearest), -np.inf, np.float32)
    for row, column, products in symmetric_tiles(rows, rows):
        in_threads(kernels.most_alike, len(products), products, row, column, bounds, best)
    there = np.isfinite(best)
    means = np.empty(best.shape[:2], np.float32)
    means[order] = np.where(there, best, 0).sum(2) / there.sum(2, dtype=np.float32).clip(1)
    return torch.from_numpy(means)
