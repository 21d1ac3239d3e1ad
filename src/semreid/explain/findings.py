"""What a report shows beside its figures: the scores of pairs, and queries from the hardest to the easiest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semreid.data.images import read_image
from semreid.data.sample import Sample, is_junk
from semreid.evaluation.protocol import Evaluation
from semreid.explain.pictures import Picture, fitted
from semreid.functional.distance import pairwise_distance
from semreid.functional.pairs import HALF, HISTOGRAM_CELLS, PairScores, equal_error_rate, histogram, pair_scores

EXAMPLES, SHOWN, BARS = 8, 10, 36
MOST_CROPS = 5_000  # 12 million pairs: enough for any histogram
THUMBNAIL = 160


@dataclass(frozen=True, eq=False)
class Scores:
    """Histograms of the scores of pairs from different cameras.

    Attributes:
        genuine: Pairs of one person in each bar.
        impostor: Pairs of two people.
        edges: Scores between the bars.
        people: People with a genuine pair.
        eer: Equal error rate.
    """

    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]
    edges: NDArray[np.float64]
    people: int
    eer: float


class Hit(NamedTuple):
    """A gallery image found for a query."""

    sample: Sample
    crop: Picture
    is_same: bool
    similarity: float


class Example(NamedTuple):
    """A query with its first matches and its average precision."""

    sample: Sample
    crop: Picture
    ap: float
    hits: list[Hit]


def score_histograms(evaluation: Evaluation) -> Scores | None:
    """Score pairs of query and gallery images; of large sets, those of some people, first of all who make pairs.

    Returns:
        The histograms; None if nobody was seen by two cameras, or there are no two people to make impostor pairs of.
    """
    samples = (*evaluation.gallery, *evaluation.query)
    features = np.concatenate([evaluation.gallery_features, evaluation.query_features])
    row = {s.place: i for i, s in enumerate(samples) if s.pid > 0}  # 0 may be anybody, junk is nobody
    rows = np.array([*row.values()], dtype=np.intp)
    pids, camids = (np.array([getattr(samples[i], name) for i in rows], np.int64) for name in ("pid", "camid"))
    people, crops = np.unique(pids, return_counts=True)
    if len(people) < 2:
        return None
    seen_by = np.unique(np.unique(np.stack([pids, camids]), axis=1)[0], return_counts=True)[1]
    if seen_by.max() < 2:
        return None
    turn = np.random.default_rng(0).permutation(len(people))
    turn = turn[np.argsort(seen_by[turn] < 2, kind="stable")]
    most = np.searchsorted(np.cumsum(crops[turn]), MOST_CROPS, "right")
    kept = np.isin(pids, people[turn[: max(2, most)]])
    return _binned(pair_scores(features[rows[kept]], pids[kept], camids[kept]))


def choose_examples(evaluation: Evaluation) -> list[Example]:
    """Choose queries at equal steps from the hardest to the easiest, and find their first matches.

    Returns:
        The queries by rising average precision; none if the protocol has no such precision, or ranks were made
        from more than the similarities that are shown here.
    """
    rules = evaluation.protocol
    if evaluation.ap is None or rules["rerank"] or rules["distance"] != "cosine":
        return []
    order = np.argsort(evaluation.ap, kind="stable")[: np.count_nonzero(np.isfinite(evaluation.ap))]
    steps = np.unique(np.linspace(0, len(order) - 1, EXAMPLES).round().astype(int))
    return [_example(evaluation, int(row)) for row in order[steps]]


def _binned(scores: PairScores) -> Scores:
    """Histograms of at most BARS bars, from the lowest score to the highest one."""
    counts = np.stack([histogram(scores.genuine), histogram(scores.impostor)])
    edges = np.arange(counts.shape[1] + 1) * HISTOGRAM_CELLS / HALF - 1
    used = np.flatnonzero(counts.sum(axis=0))
    counts, edges = counts[:, used[0] : used[-1] + 1], edges[used[0] : used[-1] + 2]
    starts = np.arange(0, counts.shape[1], -(-counts.shape[1] // BARS))
    genuine, impostor = np.add.reduceat(counts, starts, axis=1)
    return Scores(genuine, impostor, np.append(edges[starts], edges[-1]), scores.people, equal_error_rate(scores))


def _example(evaluation: Evaluation, row: int) -> Example:
    query = evaluation.query[row]
    similarity = 1 - pairwise_distance(evaluation.query_features[row : row + 1], evaluation.gallery_features)[0]
    order, rule = np.argsort(-similarity, kind="stable"), evaluation.protocol["junk"]
    best = list(islice((i for i in order if not is_junk(rule, query, evaluation.gallery[i])), SHOWN))
    found = [(evaluation.gallery[i], float(similarity[i])) for i in best]
    hits = [Hit(sample, _thumbnail(sample), sample.pid == query.pid, value) for sample, value in found]
    assert evaluation.ap is not None
    return Example(query, _thumbnail(query), float(evaluation.ap[row]), hits)


def _thumbnail(sample: Sample) -> Picture:
    return fitted(read_image(sample), THUMBNAIL)
