"""How long it takes to tell who is who in many crops, given their embeddings, and how much memory.

python benchmarks/grouping.py                    100,000 made-up crops of 15,000 people, by six cameras
python benchmarks/grouping.py --cameras 0        by cameras that nobody knows
python benchmarks/grouping.py --heads 1          by one head alone, where the models that ship ask four
python benchmarks/grouping.py --quick            seconds, 2,000 crops; for a test

What is timed is all that `semreid group` and a round of `semreid adapt` do with embeddings: taking the cameras out,
helping neighbours from other cameras, distances, groups. The groups of the first 2,000 crops are compared with those
that SciPy finds on the whole matrix of distances, up to where equal distances may go either way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from _timing import command_line, memory_growth, timed
from semreid.functional import group_features, grouping_scores, jaccard_graph, linkage_groups

CUT = 0.8
FEW = 2_000


class Crops(NamedTuple):
    """Unit vectors (N, D) about the centre of each person, moved by each camera; person and camera of each, (N,)."""

    features: NDArray[np.float32]
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]


def crops(count: int, dim: int, cameras: int, seed: int = 0) -> Crops:
    """Make them up; without cameras, that of each is -1, for unknown."""
    rng = np.random.default_rng(seed)
    pids = rng.integers(0, max(2, 3 * count // 20), count)
    camids = rng.integers(0, cameras, count) if cameras else np.full(count, -1)
    centres = rng.standard_normal((pids.max() + 1, dim), dtype=np.float32)
    moves = 0.5 * rng.standard_normal((cameras + 1, dim), dtype=np.float32)
    features = centres[pids] + moves[camids] + 0.7 * rng.standard_normal((count, dim), dtype=np.float32)
    return Crops(features / np.linalg.norm(features, axis=1, keepdims=True), pids, camids)


def dense_groups(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Groups by SciPy, on all distances."""
    graph = jaccard_graph(features)
    whole = np.ones(graph.shape, np.float32)
    rows = np.repeat(np.arange(len(features)), np.diff(graph.indptr))
    whole[rows, graph.indices] = graph.data
    whole = np.minimum(whole, whole.T)
    np.fill_diagonal(whole, 0)
    found: NDArray[np.int64] = fcluster(linkage(squareform(whole, checks=False), "average"), CUT, "distance")
    return found


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("--crops", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    arguments = parser.parse_args()
    count, dim = (FEW, 32) if arguments.quick else (arguments.crops, arguments.dim)
    made, blocks = crops(count, dim, arguments.cameras), [dim // arguments.heads] * arguments.heads
    nothing = np.full(count, -1), np.full(count, np.nan)
    (groups, seconds), growth = memory_growth(
        lambda: timed(lambda: group_features(made.features, made.camids, *nothing, blocks=blocks).groups)
    )
    scores = grouping_scores(groups, made.pids)
    print(
        f"{count:,} crops of {dim} numbers by {arguments.heads} heads, {arguments.cameras} cameras: {seconds:.1f} s, "
        f"peak growth {growth:.2f} GiB"
    )
    print(f"{scores.groups:,} groups of {scores.people:,} people, pairwise F1 {scores.pairwise_f1:.3f}")
    few = made.features[:FEW]
    alike = adjusted_rand_score(linkage_groups(jaccard_graph(few), CUT, min_samples=1), dense_groups(few))
    print(f"{len(few):,} crops: like the groups of dense distances {alike:.4f} (1: the same)")


if __name__ == "__main__":
    main()
