"""Who is who, without identities: crops that share their neighbourhoods are one person.

The distance of two crops is the Jaccard distance of their k-reciprocal encodings (docs/protocols.md#re-ranking). Most
pairs share nothing and are at distance 1, so only the others are kept: a sparse graph, on which density clustering
(DBSCAN) finds the same groups as on the whole matrix. A group is a number from 0; a crop of no group has -1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semreid.errors import SemreidError
from semreid.functional._compiled import in_threads
from semreid.functional.distance import Features, paired_features
from semreid.functional.reranking import encoded

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Groups = NDArray[np.int64]


def jaccard_graph(features: Features, k1: int = 20, k2: int = 6, limit: float = 1.0) -> csr_matrix:
    """Compute the k-reciprocal Jaccard distances of all pairs that share a neighbour.

    Args:
        features: Features, (N, D); unit vectors for a cosine variant.
        k1: Size of the neighbourhood in which two crops must find each other.
        k2: Number of neighbours, the crop itself included, whose encodings are averaged.
        limit: Pairs at this distance or farther are left out; at most 1.

    Returns:
        Symmetric sparse matrix (N, N) in float32 with explicit zeros; what is not in it is at least ``limit``.

    Raises:
        SemreidError: If there are no features, one holds NaN or infinity, or a parameter makes no sense.

    Example:
        >>> jaccard_graph(np.array([[0.0], [0.1], [5.0], [5.1]]), k1=1, k2=1).toarray().round(2)[0].tolist()
        [0.0, 0.0, 0.0, 0.0]
        >>> jaccard_graph(np.array([[0.0], [0.1], [5.0], [5.1]]), k1=1, k2=1).nnz  # 0-0, 0-1, 1-0, 1-1, …
        8
    """
    from scipy.sparse import csr_matrix

    from semreid.functional import _reranking_kernels as kernels

    pooled = paired_features(features, features)[0].cpu()
    if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 < limit <= 1:
        raise SemreidError(
            f"no distances of {len(pooled)} crops with k1={k1}, k2={k2}, limit={limit}",
            fix="choose k1 >= 1, 1 <= k2 <= k1 + 1 and a limit above 0 and at most 1; usual are 20, 6 and 1",
        )
    encoding, _ = encoded(pooled, k1, k2)
    parts = in_threads(kernels.overlaps, len(pooled), limit, *encoding, *kernels.inverted(0, *encoding))
    lengths, columns, distances = map(np.concatenate, zip(*parts, strict=True))
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    return csr_matrix((distances, columns, pointers), shape=(len(pooled), len(pooled)))


def density_groups(graph: csr_matrix, eps: float = 0.5, min_samples: int = 4) -> Groups:
    """Find groups of crops that are dense in a graph of distances (DBSCAN, Ester et al., KDD 1996).

    Args:
        graph: Distances (N, N) as `jaccard_graph` returns them; what is not stored is farther than ``eps``.
        eps: Largest distance of neighbours.
        min_samples: Neighbours, itself included, that make a crop the core of a group.

    Returns:
        Group of each crop, (N,), in the order of their first core; -1 where none.

    Example:
        >>> two = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
        >>> density_groups(jaccard_graph(two, k1=1, k2=1), min_samples=2)
        array([ 0,  0,  1,  1, -1])
    """
    from sklearn.cluster import DBSCAN

    found: Groups = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(graph).astype(np.int64)
    return found


class GroupingScores(NamedTuple):
    """How well groups fit the people that are known; shares from 0 to 1. A crop of no group is alone.

    Attributes:
        pairwise_precision: Of all pairs in a group, those of one person.
        pairwise_recall: Of all pairs of one person, those in a group.
        pairwise_f1: Their harmonic mean.
        bcubed_precision: Mean over crops of the share of their group that is of their person (Bagga and Baldwin, 1998).
        bcubed_recall: Mean over crops of the share of their person that is in their group.
        bcubed_f1: Their harmonic mean.
        groups: Number of groups of two or more.
        people: Number of people.
    """

    pairwise_precision: float
    pairwise_recall: float
    pairwise_f1: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f1: float
    groups: int
    people: int


def grouping_scores(groups: ArrayLike, pids: ArrayLike) -> GroupingScores:
    """Compare groups with the people that are known.

    Args:
        groups: Group of each crop, (N,); -1 for none.
        pids: Person of each crop, (N,).

    Returns:
        The scores; a share of nothing is 0.

    Raises:
        SemreidError: If there are not as many of both.

    Example:
        >>> scores = grouping_scores([0, 0, 0, 1], [7, 7, 8, 8])
        >>> round(scores.pairwise_precision, 2), round(scores.pairwise_recall, 2), round(scores.bcubed_f1, 2)
        (0.33, 0.5, 0.71)
    """
    found, people = np.asarray(groups), np.asarray(pids)
    if found.shape != people.shape or found.ndim != 1:
        raise SemreidError(f"groups {found.shape} and pids {people.shape} must be one number for each crop")
    alone = found < 0
    found = np.where(alone, found.max(initial=0) + 1 + np.arange(len(found)), found)
    of_group, of_person, of_both = (_sizes(found), _sizes(people), _sizes(np.stack([found, people])))
    hits = (of_both - 1).sum()  # ordered pairs: each crop with the others of its group and person
    precision, recall = _share(hits, (of_group - 1).sum()), _share(hits, (of_person - 1).sum())
    b_precision, b_recall = _mean(of_both / of_group), _mean(of_both / of_person)
    return GroupingScores(
        precision,
        recall,
        _harmonic(precision, recall),
        b_precision,
        b_recall,
        _harmonic(b_precision, b_recall),
        len(np.unique(found[of_group > 1])),
        len(np.unique(people)),
    )


def _sizes(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each crop, how many crops have its label (N,), or its column of labels (2, N)."""
    _, where, counts = np.unique(labels, axis=-1, return_inverse=True, return_counts=True)
    sizes: NDArray[np.int64] = counts[where.ravel()]
    return sizes


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _harmonic(a: float, b: float) -> float:
    return _share(2 * a * b, a + b)
