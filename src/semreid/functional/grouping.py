"""Who is who, without identities: crops that share their neighbourhoods are one person.

The distance of two crops is the Jaccard distance of their k-reciprocal encodings (docs/protocols.md#re-ranking). Most
pairs share nothing and are at distance 1, so only the others are kept: a sparse graph, on which average linkage finds
the same groups as on the whole matrix. Where several heads made the embedding, each has distances of its own, and their
mean counts. A group is a number from 0; a crop of no group has -1.

Tracks tell more: crops of one track are one person, and two tracks that one camera sees at once are two. What people
said of crops counts for more than either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from semreid.errors import SemreidError
from semreid.functional._threads import in_threads
from semreid.functional.cameras import centred, likeness_by_camera
from semreid.functional.distance import Features, checked_features, unit_of, unit_rows
from semreid.functional.reranking import Neighbours, encoded, neighbours

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Groups = NDArray[np.int64]

STRANGERS = 0.98
"""Jaccard distance of two crops that have next to nothing in common."""
CUTS = tuple(step / 20 for step in range(6, 17))
"""Mean Jaccard distances, from 0.3 to 0.8, at which groups may stop to become one."""
NEARLY = 0.95
"""Share of the best silhouette that a larger cut must reach."""
SEEN = 2.5
"""Neighbours of a crop, in crops of its track: of fewer, all would be of the track, and nobody else be seen."""
WHOLE = 2**20
"""A similarity of 1 in whole numbers, whose sums are the same in any order."""
FIRST_LOOK, MOST = 15, 30
"""Neighbours in the first look, which tells how many crops people have, and the most in the second."""
AVERAGED = 5
"""Neighbours whose encodings are averaged."""
PRIOR = 4
"""Crops of all cameras that the mean of each counts as if they were its own (`centred`)."""
HEARD = 5
"""Crops of a track that are compared with others; all neighbours of more would be of the track. In one camera, where
people mostly pass once, there may be nobody else to see, and all are compared."""


class Said(NamedTuple):
    """What people said of crops: it counts for more than tracks and distances.

    Attributes:
        people: Person, from 0, that somebody named of each crop, (N,); -1 where nobody did. Crops of one are one
            person, crops of two are two.
        apart: Crops, and people that somebody said they are not, (M, 2).
    """

    people: Groups
    apart: Groups


class Grouping(NamedTuple):
    """Who is who, and by what.

    Attributes:
        groups: Group of each crop, (N,); -1 where none.
        graph: Distances of the crops that were compared, (M, M), as `jaccard_graph` returns them; the mean where
            several heads were asked. Pairs from 0.98 on by each of them are left out: they are most of the pairs of
            many crops, and tell nothing.
        compared: Rows of these crops, (M,): all, but for what long tracks have too many of.
        stand_in: Place among these of each crop, or of the one that stands in for it, (N,).
    """

    groups: Groups
    graph: csr_matrix
    compared: Groups
    stand_in: Groups

    def similarity(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Tell of each crop what `similarity_to_groups` tells of those that were compared, (N,) each."""
        own, other = similarity_to_groups(self.graph, self.groups[self.compared])
        return own[self.stand_in], other[self.stand_in]

    def signs(self, camids: NDArray[np.integer]) -> GroupingSigns:
        """Say what can be known of the groups without knowing the people: `grouping_signs`.

        Args:
            camids: Camera of each crop, (N,); -1 where unknown.
        """
        signs = grouping_signs(self.graph, self.groups[self.compared], camids[self.compared])
        return signs._replace(grouped=_mean(self.groups >= 0))


def jaccard_graph(
    features: Features,
    k1: int = 20,
    k2: int = 6,
    limit: float = 1.0,
    handicap: tuple[Tensor, Tensor] | None = None,
) -> csr_matrix:
    """Compute the k-reciprocal Jaccard distances of all pairs that share a neighbour.

    Args:
        features: Features, (N, D); unit vectors for a cosine variant.
        k1: Size of the neighbourhood in which two crops must find each other.
        k2: Number of neighbours, the crop itself included, whose encodings are averaged.
        limit: Pairs at this distance or farther are left out; at most 1.
        handicap: As in `semreid.functional.reranking.neighbours`.

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
    pooled = checked_features(features).cpu()
    if handicap is None:  # which goes by unit vectors
        pooled = pooled / unit_of(pooled)
    return _graph(pooled, neighbours(pooled, max(k1, 1), handicap), k1, k2, limit)


def _graph(pooled: Tensor, near: Neighbours, k1: int, k2: int, limit: float) -> csr_matrix:
    if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 < limit <= 1:
        raise SemreidError(
            f"no distances of {len(pooled)} crops with k1={k1}, k2={k2}, limit={limit}",
            fix="choose k1 >= 1, 1 <= k2 <= k1 + 1 and a limit above 0 and at most 1; usual are 20, 6 and 1",
        )
    from scipy.sparse import csr_matrix

    from semreid.functional import _reranking_kernels as kernels

    encoding = encoded(pooled, near, k1, k2)
    parts = in_threads(kernels.overlaps, len(pooled), limit, *encoding, *kernels.inverted(0, *encoding))
    lengths, columns, distances = map(np.concatenate, zip(*parts, strict=True))
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    return csr_matrix((distances, columns, pointers), shape=(len(pooled), len(pooled)))


def linkage_groups(
    graph: csr_matrix,
    cut: float | None = None,
    min_samples: int = 4,
    *,
    tracks: NDArray[np.integer] | None = None,
    apart: NDArray[np.integer] | None = None,
    distinct: NDArray[np.integer] | None = None,
) -> Groups:
    """Find groups of crops that are near each other in the mean (average linkage, UPGMA: Sokal and Michener, 1958).

    Every crop and every track begins as a group; the nearest two become one, as long as the mean distance of the crops
    of one to those of the other is ``cut`` at most.

    Args:
        graph: Distances (N, N) as `jaccard_graph` returns them; what is not stored is 1.
        cut: Largest mean distance of two groups that become one; below 1. None for the largest from 0.3 to 0.8 whose
            groups are nearly as far apart as those of the best: by 95 % of its mean silhouette, in which crops that are
            in no group, or whose track is alone in one, count 0.
        min_samples: Crops that make a group. Two of one track do, too.
        tracks: Track of each crop, (N,); -1 for none. Crops of one track are one person.
        apart: Pairs of tracks that are two people, (M, 2).
        distinct: Tracks that are each a person, no two the same one, (S,); each is in a group, be it alone.

    Returns:
        Group of each crop, (N,), in the order of their first crops; -1 where none.

    Raises:
        SemreidError: If ``cut`` or ``min_samples`` is out of range, or there is not one track for each crop.

    Example:
        >>> two = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
        >>> graph = jaccard_graph(two, k1=1, k2=1)
        >>> linkage_groups(graph, min_samples=2)
        array([ 0,  0,  1,  1, -1])
        >>> linkage_groups(graph, min_samples=2, tracks=np.array([7, -1, -1, -1, 7]))
        array([0, 0, 1, 1, 0])
        >>> linkage_groups(graph, min_samples=2, tracks=np.array([7, 8, -1, -1, -1]), apart=np.array([[7, 8]]))
        array([-1, -1,  0,  0, -1])
    """
    _require_cut(cut, min_samples)
    tracks = np.full(graph.shape[0], -1) if tracks is None else np.asarray(tracks)
    _require_one_each(graph.shape[0], tracks=tracks)
    points, sizes, names = _points(tracks)
    named = np.zeros(len(sizes), np.bool_)
    named[[names[track] for track in ([] if distinct is None else distinct.tolist()) if track in names]] = True
    certain = named | (sizes > 1)
    pairs = (
        [] if apart is None else [(names[a], names[b]) for a, b in np.asarray(apart).tolist() if {a, b} <= names.keys()]
    )
    alike = _likeness(graph, points, len(sizes))
    tree, looks = _Tree(alike, sizes, named, pairs), []
    for level in CUTS if cut is None else (cut,):
        heads = tree.cut(level)
        enough = np.bincount(heads, sizes) >= min_samples
        enough[heads[certain]] = True
        groups = np.where(enough[heads], heads, -1)
        looks.append((_silhouette(alike, sizes, groups) if cut is None else 0.0, groups))
    best = max(worth for worth, _ in looks)
    least = best - (1 - NEARLY) * abs(best)
    return _renumbered(next(groups for worth, groups in reversed(looks) if worth >= least)[points])


def group_features(
    features: NDArray[np.float32],
    camids: NDArray[np.integer],
    tracks: NDArray[np.integer],
    times: NDArray[np.floating],
    *,
    blocks: Sequence[int] = (),
    said: Said | None = None,
    k1: int | None = None,
    k2: int | None = None,
    largest: int = MOST,
    cut: float | None = None,
    min_samples: int = 4,
    balance: float = 0.7,
) -> Grouping:
    """Tell who is who among crops: embeddings without their cameras, distances, groups.

    Args:
        features: Unit vectors (N, D).
        camids: Camera of each, (N,); -1 where unknown. The mean of a camera is taken out if there are two or more.
        tracks: Track of each, (N,); -1 for none. Crops of one are moved half of the way to their mean, and
            unless all are of one camera, five, spread over it, are compared with others.
        times: Seconds, (N,); NaN where unknown. Two tracks that one camera sees at once are two people.
        blocks: Widths of the blocks of several heads that stand side by side in the features: each is asked by itself
            who is near whom, and the mean of their distances counts (docs/notes/grouping.md#heads-that-agree).
        said: What people said of the crops.
        k1: As in `jaccard_graph`; None for as many as people have crops, which the groups of a first look with 15 tell,
            5 at least, and 2.5 times as many as tracks have, and ``largest`` at most. No more than a fifth of the crops
            (or ``min_samples``): among few, the neighbours of everybody are the same.
        k2: As in `jaccard_graph`; None for 5, or a third of what the first look tells if that is less, but 2 at least.
            No more than ``k1``.
        largest: ``k1`` at most, where a first look decides.
        cut: As in `linkage_groups`.
        min_samples: As in `linkage_groups`.
        balance: How far neighbours from other cameras are helped: 0 not at all, 1 until those of all cameras come
            equally near (`likeness_by_camera`).

    Returns:
        The groups, and the distances they follow from.

    Raises:
        SemreidError: If a feature is not finite, there is none, ``cut`` or ``min_samples`` is out of range, or there is
            not one camera, track and time for each crop.
    """
    _require_cut(cut, min_samples)
    vectors = checked_features(features).cpu().numpy()
    _require_one_each(len(vectors), camids=camids, tracks=tracks, times=times)
    bound, apart, people = _known(tracks, camids, times, said)
    seen, kinds = np.unique(camids, return_inverse=True)
    compared, stand_in = _spokesmen(bound, camids, times, len(camids) if len(seen) == 1 and seen[0] >= 0 else HEARD)
    most = max(len(compared) // 5, min_samples)
    largest = min(largest, most)
    first = min(FIRST_LOOK if k1 is None else k1, most)

    def neighbourhood(vectors: NDArray[np.float32]) -> tuple[Tensor, Neighbours]:
        handicap = None
        if len(seen) > 1:
            vectors, its = centred(vectors, camids, PRIOR), kinds[compared]
            # Few of each camera fit into a small k1.
            likeness = likeness_by_camera(vectors[compared], its, min(5, first // 2 + 1))
            handicap = balance / 2 * likeness, torch.eye(likeness.shape[1])[its]
        pooled = torch.from_numpy(_steadied(vectors, bound, compared))
        return pooled, neighbours(pooled, max(first, largest if k1 is None else 1), handicap)

    views = [neighbourhood(block) for block in _unit_blocks(vectors, blocks)]
    bound = bound[compared]

    def look(k1: int, averaged: int) -> tuple[csr_matrix, Groups]:
        many = min(averaged if k2 is None else k2, k1)
        graph = _mean_graph((_graph(*view, k1, many, STRANGERS) for view in views), len(views))
        return graph, linkage_groups(graph, cut, min_samples, tracks=bound, apart=apart, distinct=people)

    graph, groups = look(first, AVERAGED)
    if k1 is None and (groups >= 0).any():
        second = min(max(round(_size(groups)), round(SEEN * _size(tracks[compared])), 5), largest)
        if second != first:
            del graph  # of many crops, two would be too large
            graph, groups = look(second, min(AVERAGED, max(2, round(second / 3))))
    return Grouping(groups[stand_in], graph, compared, stand_in)


def _require_cut(cut: float | None, min_samples: int) -> None:
    if cut is not None and not 0 <= cut < 1:
        raise SemreidError(f"cut is {cut:g}", fix="crops that share nothing are at 1: choose a number from 0 to 0.99")
    if min_samples < 1:
        raise SemreidError(f"min_samples is {min_samples}", fix="a group has one crop or more")


def _require_one_each(crops: int, **facts: NDArray[Any]) -> None:
    for name, values in facts.items():
        if np.shape(values) != (crops,):
            raise SemreidError(
                f"{crops:,} crops came with {name} of shape {np.shape(values)}", fix="give one number for each crop"
            )


def _unit_blocks(vectors: NDArray[np.float32], widths: Sequence[int]) -> list[NDArray[np.float32]]:
    """The blocks that stand side by side, each a unit vector of its own; without widths, the vectors as they are."""
    if len(widths) < 2:
        return [vectors]
    if sum(widths) != vectors.shape[1]:
        raise SemreidError(
            f"features of {vectors.shape[1]} numbers have no blocks of {list(widths)}",
            fix="give the widths of the model that embedded them",
        )
    parts = np.split(vectors, np.cumsum(widths)[:-1], axis=1)
    return [unit_rows(part) for part in parts]


def _mean_graph(graphs: Iterator[csr_matrix], count: int) -> csr_matrix:
    """The mean of ``count`` sparse distances; what is not stored is 1."""
    total = next(graphs)
    if count == 1:
        return total
    total.data = 1 - total.data
    for graph in graphs:
        graph.data = 1 - graph.data
        total = total + graph
    total.data = 1 - total.data / count
    return total


def _spokesmen(
    bound: NDArray[np.integer], camids: NDArray[np.integer], times: NDArray[np.floating], most: int
) -> tuple[Groups, Groups]:
    """Choose who is compared: of what is one person by one camera for sure, so many crops, spread over its time.

    Their rows, (M,), and for each crop the place among them of the one nearest in time, (N,).
    """
    names = np.unique(np.stack([_alone(bound), camids]), axis=1, return_inverse=True)[1].ravel()
    order = np.lexsort((times, names))
    counts = np.bincount(names)
    number = np.empty(len(names), np.int64)
    number[order] = np.arange(len(names)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (np.minimum(counts, most) - 1) / np.maximum(counts - 1, 1)  # of one step, in steps between spokesmen
    spokesman = np.rint(number * share[names])
    compared = np.flatnonzero(number == np.rint(spokesman / np.where(share > 0, share, 1)[names]))
    who = names * most + spokesman.astype(np.int64)
    speaking = np.argsort(who[compared])
    return compared, speaking[np.searchsorted(who[compared], who, sorter=speaking)]


def _size(groups: NDArray[np.integer]) -> float:
    """How many crops the group of a crop has, in the mean; 0 where there is none."""
    sizes = np.unique(groups[groups >= 0], return_counts=True)[1].astype(np.float64)
    return float((sizes**2).sum() / max(sizes.sum(), 1))


def _known(
    tracks: NDArray[np.integer], camids: NDArray[np.integer], times: NDArray[np.floating], said: Said | None
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer] | None]:
    """What binds crops, which of those are two people, and which are a person each, as `linkage_groups` takes them."""
    if said is None:
        return tracks, simultaneous_tracks(tracks, camids, times), None
    bound, apart = _bound(tracks, camids, times, said)
    return bound, apart, np.unique(said.people[said.people >= 0])


def _bound(
    tracks: NDArray[np.integer], camids: NDArray[np.integer], times: NDArray[np.floating], said: Said
) -> tuple[Groups, Groups]:
    """Join tracks by what people said: a number for the crops of each person and of each other track; pairs apart.

    People have the numbers that they have in ``said``. A track of two people binds nobody: the tracker was wrong.
    """
    people = said.people
    pairs = np.unique(np.stack([tracks, people])[:, (tracks >= 0) & (people >= 0)], axis=1)
    names, owners = np.unique(pairs[0], return_counts=True)
    tracks = np.where(np.isin(tracks, names[owners > 1]), -1, tracks)
    first = int(people.max(initial=-1)) + 1
    joined = first + np.arange(int(tracks.max(initial=-1)) + 1)  # number of each track
    whole = np.isin(pairs[0], names[owners == 1])
    joined[pairs[0, whole]] = pairs[1, whole]
    bound = np.where(people >= 0, people, np.where(tracks >= 0, np.append(joined, -1)[tracks], -1))
    crops, others = said.apart.T
    bound[crops[(bound[crops] == others) & (people[crops] < 0)]] = -1  # its track says what somebody denied
    bound = np.where(bound < 0, first + len(joined) + np.arange(len(bound)), bound)
    seen = joined[simultaneous_tracks(tracks, camids, times)]
    apart = np.concatenate([seen, np.stack([bound[crops], others], axis=1)])
    return bound, apart[apart[:, 0] != apart[:, 1]]


def simultaneous_tracks(
    tracks: NDArray[np.integer], camids: NDArray[np.integer], times: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Find the tracks that one camera sees at once: they are two people.

    Args:
        tracks: Track of each crop, (N,); -1 for none. A track is of one camera.
        camids: Camera of each, (N,); -1 where unknown.
        times: Seconds, (N,); NaN where unknown.

    Returns:
        Pairs of tracks, (M, 2): the time from the first to the last crop of one meets that of the other.

    Example:
        >>> simultaneous_tracks(np.array([4, 4, 5, 6]), np.array([1, 1, 1, 2]), np.array([0.0, 2.0, 1.0, 1.0]))
        array([[4, 5]])
    """
    known = (tracks >= 0) & (camids >= 0) & np.isfinite(times)
    spans: dict[tuple[int, int], tuple[float, float]] = {}
    for track, camera, time in zip(tracks[known].tolist(), camids[known].tolist(), times[known].tolist(), strict=True):
        first, last = spans.get((camera, track), (time, time))
        spans[camera, track] = min(first, time), max(last, time)
    pairs: list[tuple[int, int]] = []
    running: list[tuple[float, int, int]] = []  # end, camera, track
    for (camera, track), (first, last) in sorted(spans.items(), key=lambda item: (item[0][0], item[1], item[0][1])):
        running = [other for other in running if other[1] == camera and other[0] >= first]
        pairs += [(other, track) for _, _, other in running]
        running.append((last, camera, track))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def similarity_to_groups(graph: csr_matrix, groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tell how near each crop is to the others of its group, and to the nearest of the other groups.

    Args:
        graph: Jaccard distances (N, N); those that are not stored are 1.
        groups: Group of each crop, (N,); -1 for none.

    Returns:
        Mean of 1 - distance to the others of its own group, (N,), 0 for a crop of no group; and the largest such mean
        over the other groups, (N,).

    Example:
        >>> graph = jaccard_graph(np.array([[0.0], [0.1], [5.0], [5.1]]), k1=1, k2=1)
        >>> own, other = similarity_to_groups(graph, np.array([0, 0, 1, -1]))
        >>> own.round(2).tolist(), other.round(2).tolist()
        ([1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
    """
    from scipy.sparse import csr_matrix

    itself = np.repeat(np.arange(len(groups)), np.diff(graph.indptr)) == graph.indices
    similarity = np.where(itself, 0, 1 - graph.data.astype(np.float64))
    near = csr_matrix((similarity, graph.indices, graph.indptr), shape=graph.shape)
    return _means_to_groups(near, np.ones(len(groups), np.int64), groups)


def _means_to_groups(
    alike: csr_matrix, sizes: Groups, groups: Groups
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`similarity_to_groups` of points of several crops, by the sums over the crops of both that are no one point's."""
    from scipy.sparse import csr_matrix

    count, own, other = int(groups.max(initial=-1)) + 1, np.zeros(len(groups)), np.zeros(len(groups))
    if not count:
        return own, other
    members = np.flatnonzero(groups >= 0)
    counts = np.bincount(groups[members], sizes[members], minlength=count)
    member = csr_matrix((np.ones(len(members)), (members, groups[members])), shape=(len(groups), count))
    sums = (alike @ member).tocoo()
    mine = groups[sums.row] == sums.col
    rest = np.maximum(counts[sums.col] - np.where(mine, sizes[sums.row], 0), 1)
    means = sums.data / (sizes[sums.row] * rest)
    own[sums.row[mine]] = means[mine]
    np.maximum.at(other, sums.row[~mine], means[~mine])
    return own, other


def _silhouettes(own: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the mean similarity to the own group and to the next (Rousseeuw, 1987)."""
    return (own - other) / np.maximum(np.maximum(1 - own, 1 - other), np.finfo(np.float64).tiny)


def stability(before: Groups, now: Groups) -> float:
    """Tell how much two groupings of the same crops agree: the adjusted Rand index (Hubert and Arabie, 1985).

    Args:
        before: Group of each crop, (N,); -1 for none: it is alone.
        now: Likewise.

    Returns:
        1 for the same groups; about 0 where they agree no more than by chance.

    Example:
        >>> stability(np.array([0, 0, 1, 1, -1]), np.array([5, 5, 2, 2, -1]))
        1.0
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(_alone(before), _alone(now)))


class GroupingSigns(NamedTuple):
    """What can be known of groups without knowing the people.

    Attributes:
        grouped: Share of the crops that are in a group.
        groups: Number of groups.
        spanning: Share of the groups with crops of two cameras or more; None where fewer than two cameras are known.
        silhouette: Mean silhouette of the crops in groups, from -1 to 1 (Rousseeuw, 1987).
        mutual: Of the pairs of a crop and the nearest that another camera has, the share that agree both ways: the crop
            is the nearest that its camera has for the other. None where fewer than two cameras are known.
    """

    grouped: float
    groups: int
    spanning: float | None
    silhouette: float
    mutual: float | None


def grouping_signs(graph: csr_matrix, groups: Groups, camids: NDArray[np.integer]) -> GroupingSigns:
    """Say what can be known of groups without knowing the people.

    Args:
        graph: Jaccard distances (N, N); those that are not stored are 1.
        groups: Group of each crop, (N,); -1 for none.
        camids: Camera of each, (N,); -1 where unknown.

    Returns:
        The signs. They compare rounds and settings on the same crops; none of them is an accuracy.

    Example:
        >>> graph = jaccard_graph(np.array([[0.0], [0.1], [5.0], [5.1]]), k1=1, k2=1)
        >>> signs = grouping_signs(graph, np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2]))
        >>> signs.grouped, signs.groups, signs.spanning, round(signs.silhouette, 2), signs.mutual
        (1.0, 2, 1.0, 1.0, 1.0)
    """
    members = groups >= 0
    own, other = (similarity[members] for similarity in similarity_to_groups(graph, groups))
    several = len(np.unique(camids[camids >= 0])) > 1
    seen = np.unique(np.stack([groups, camids])[:, members & (camids >= 0)], axis=1)[0]
    spanning = np.bincount(seen, minlength=1) > 1
    count = len(np.unique(groups[members]))
    return GroupingSigns(
        grouped=_mean(members),
        groups=count,
        spanning=_share(spanning.sum(), count) if several else None,
        silhouette=_mean(_silhouettes(own, other)),
        mutual=_mutual(graph, camids) if several else None,
    )


def _mutual(graph: csr_matrix, camids: NDArray[np.integer]) -> float:
    """Share of the nearest crops of other cameras that say the same of each other."""
    pairs = graph.tocoo()
    crossing = (camids[pairs.row] != camids[pairs.col]) & (camids[pairs.row] >= 0) & (camids[pairs.col] >= 0)
    rows, columns, distances = pairs.row[crossing], pairs.col[crossing], pairs.data[crossing]
    order = np.lexsort((columns, distances, camids[columns], rows))
    rows, columns = rows[order], columns[order]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (camids[columns[1:]] != camids[columns[:-1]])
    found = list(zip(rows[first].tolist(), columns[first].tolist(), strict=True))
    cameras = camids.tolist()
    nearest = {(row, cameras[column]): column for row, column in found}
    return _share(sum(nearest.get((column, cameras[row])) == row for row, column in found), len(found))


def _points(tracks: NDArray[np.integer]) -> tuple[Groups, Groups, dict[int, int]]:
    """Make a point of every track and of every crop without one: that of each crop, their sizes, those of tracks."""
    alone = tracks < 0
    _, first, points = np.unique(_alone(tracks), return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # points in the order of their first crops
    points = order[points].astype(np.int64)
    names = dict(zip(tracks[~alone].tolist(), points[~alone].tolist(), strict=True))
    return points, np.bincount(points), names


def _likeness(graph: csr_matrix, points: Groups, count: int) -> csr_matrix:
    """Sum the similarities of all crops of each two points, in whole numbers, the same in both directions."""
    from scipy.sparse import csr_matrix

    whole = np.rint((1 - graph.data.astype(np.float64)) * WHOLE).astype(np.int64)
    near = csr_matrix((whole, graph.indices, graph.indptr), shape=graph.shape)
    near = near.maximum(near.T)  # both directions are the same, but for the rounding
    if count < len(points):
        member = csr_matrix((np.ones(len(points), np.int64), (points, np.arange(len(points)))), (count, len(points)))
        near = member @ near @ member.T
    pairs = near.tocoo()
    other = (pairs.row != pairs.col) & (pairs.data > 0)
    return csr_matrix((pairs.data[other], (pairs.row[other], pairs.col[other])), near.shape)


class _Tree:
    """Points that become groups, step by step."""

    def __init__(
        self, alike: csr_matrix, sizes: Groups, named: NDArray[np.bool_], apart: Sequence[tuple[int, int]]
    ) -> None:
        from semreid.functional._grouping_kernels import APART

        pairs, foes = alike.tocoo(), np.array([(a, b) for a, b in apart if a != b], np.int64).reshape(-1, 2)
        rows = np.concatenate([pairs.row, foes[:, 0], foes[:, 1]])
        order = np.argsort(rows, kind="stable")
        near = np.concatenate([pairs.col, foes[:, 1], foes[:, 0]]).astype(np.int64)[order]
        values = np.concatenate([pairs.data, np.full(2 * len(foes), APART)])[order]
        count = len(sizes)
        starts = np.searchsorted(rows[order], np.arange(count + 1))
        self.heads = np.arange(count)
        chains = self.heads, np.full(count, -1), np.arange(count)
        self.state = (starts[:-1], np.diff(starts), near, values, sizes.copy(), named.copy(), *chains)

    def cut(self, distance: float) -> Groups:
        """Merge on up to a mean distance; return a group for each point."""
        from semreid.functional._grouping_kernels import linked

        linked(*self.state, (1 - distance) * WHOLE)
        return self.heads.copy()


def _silhouette(alike: csr_matrix, sizes: Groups, groups: Groups) -> float:
    """Mean silhouette of crops; what is in no group, or alone in one, counts 0. Crops of one point are no evidence."""
    own, other = (means / WHOLE for means in _means_to_groups(alike, sizes, groups))
    members = groups >= 0
    counts = np.bincount(groups[members], sizes[members], minlength=1)
    joined = members & (counts[groups] > sizes)
    return float(np.average(np.where(joined, _silhouettes(own, other), 0), weights=sizes))


def _steadied(vectors: NDArray[np.float32], bound: NDArray[np.integer], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Move crops half of the way to the mean of what is one person with them for sure."""
    known = np.flatnonzero(bound >= 0)
    names, which, counts = np.unique(bound[known], return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), vectors.shape[1]), np.float64)
    np.add.at(sums, which, vectors[known])
    moved, its = vectors[rows], np.full(len(vectors), -1)
    its[known] = which
    moving = its[rows] >= 0
    moved[moving] += (sums / counts[:, None])[its[rows][moving]]
    return unit_rows(moved)


def _renumbered(groups: Groups) -> Groups:
    """Number groups from 0, in the order of their first points."""
    members = groups >= 0
    _, first, which = np.unique(groups[members], return_index=True, return_inverse=True)
    found: Groups = np.full(len(groups), -1, np.int64)
    found[members] = np.argsort(np.argsort(first))[which]
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
    found = _alone(found)
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


def _alone(groups: NDArray[np.integer]) -> Groups:
    """Give a group of its own to each crop of none."""
    alone: Groups = np.where(groups < 0, groups.max(initial=0) + 1 + np.arange(len(groups)), groups).astype(np.int64)
    return alone


def _sizes(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each crop, how many crops have its label (N,), or its column of labels (2, N)."""
    _, where, counts = np.unique(labels, axis=-1, return_inverse=True, return_counts=True)
    sizes: NDArray[np.int64] = counts[where.ravel()]
    return sizes


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _harmonic(a: float, b: float) -> float:
    return _share(2 * a * b, a + b)
