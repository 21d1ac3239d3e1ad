"""Judging a model on a data set exactly by its protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semreid import distributed
from semreid.data.sample import Protocol, ReIDDataset, Sample, num_identities
from semreid.data.store import Store, build_store
from semreid.errors import SemreidError
from semreid.evaluation.report import Report, bootstrap_interval
from semreid.functional.cameras import center_by_camera
from semreid.functional.distance import Distances, tensor_blocks
from semreid.functional.ranking import rank_distances, single_shot_cmc
from semreid.functional.reranking import reranked_blocks
from semreid.models.embedder import Embedder
from semreid.parallel import Progress

Features = NDArray[np.float32]
_Ids = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
RERANKING = {"method": "k-reciprocal", "k1": 20, "k2": 6, "lambda": 0.3}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A report with what it was made from, for whoever shows more than figures.

    Attributes:
        report: The report.
        cmc: Share of the valid queries with a true match among the first k, (50,).
        ap: Average precision of every query, (Q,), NaN where it has no true match; None in single-shot protocols.
        query: The queries.
        gallery: The gallery, without leaked images.
        query_features: Unit vectors (Q, D).
        gallery_features: Unit vectors (G, D).
    """

    report: Report
    cmc: NDArray[np.float64]
    ap: NDArray[np.float64] | None
    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    query_features: Features
    gallery_features: Features


def embed_store(model: Embedder, store: Store, *, flip: bool = False, batch_size: int = 128) -> Features:
    """Embed all images of a store.

    Args:
        model: The model.
        store: The images.
        flip: Average with the mirrored image.
        batch_size: Images a step.

    Returns:
        Unit vectors (N, dim) in float32, in the order of the store.
    """
    return model.embed(store.images.cpu().numpy(), batch_size=batch_size, flip=flip)


def evaluate(
    model: Embedder,
    dataset: ReIDDataset,
    *,
    flip: bool = False,
    center_cameras: bool = False,
    rerank: bool = False,
    checkpoint: str = "last epoch",
    progress: Progress | None = None,
) -> Report:
    """Embed query and gallery and judge them by the data set's protocol.

    Args:
        model: The model.
        dataset: The data set.
        flip: Flip test-time augmentation; the headline figure has none.
        center_cameras: Subtract the mean embedding of each camera first (`center_by_camera`); it is taken over the
            test set, without labels of persons: transductive, so never the headline figure.
        rerank: k-reciprocal re-ranking; transductive as well.
        checkpoint: How the weights were chosen, for the report.
        progress: Told how far the decoding is.

    Returns:
        The report.

    Raises:
        SemreidError: If images cannot be read, or the data set cannot be judged by its protocol.
    """
    return evaluate_in_full(
        model,
        dataset,
        flip=flip,
        center_cameras=center_cameras,
        rerank=rerank,
        checkpoint=checkpoint,
        progress=progress,
    ).report


def evaluate_in_full(
    model: Embedder,
    dataset: ReIDDataset,
    *,
    flip: bool = False,
    center_cameras: bool = False,
    rerank: bool = False,
    checkpoint: str = "last epoch",
    progress: Progress | None = None,
) -> Evaluation:
    """Do what `evaluate` does, and keep what the report was made from.

    Args:
        model: As in `evaluate`.
        dataset: As in `evaluate`.
        flip: As in `evaluate`.
        center_cameras: As in `evaluate`.
        rerank: As in `evaluate`.
        checkpoint: As in `evaluate`.
        progress: As in `evaluate`.

    Returns:
        The report with embeddings and curves.

    Raises:
        SemreidError: As `evaluate`.
    """
    if not dataset.query or not dataset.gallery:
        raise SemreidError(
            f"{dataset.name} has {len(dataset.query)} query and {len(dataset.gallery)} gallery images",
            fix="run `semreid doctor` on it: an evaluation needs both",
        )
    gallery = without_leaked(dataset.query, dataset.gallery)
    query_store = build_store(dataset.query, model.size, progress=progress)
    gallery_store = build_store(gallery, model.size, progress=progress)
    query_features = embed_store(model, query_store, flip=flip)
    gallery_features = embed_store(model, gallery_store, flip=flip)
    if center_cameras:
        cameras = _camids(dataset.query), _camids(gallery)
        query_features, gallery_features = center_by_camera(query_features, gallery_features, *cameras)
    features = query_features, gallery_features
    judgement = _judge(*features, dataset.query, gallery, dataset.protocol, rerank=rerank)
    report = judgement.report
    recorded = {
        "dataset": dataset.name,
        "fingerprint": model.fingerprint,
        **report.protocol,
        "normalisation": "L2 on the whole embedding",
        "center_cameras": center_cameras,
        "input": list(model.size),
        "flip": flip,
        "checkpoint": checkpoint,
        "warnings": list(dataset.warnings),
    }
    removed = {"junk_removed": dataset.junk_removed, "leaked_removed": len(dataset.gallery) - len(gallery)}
    removed |= {"corrupt_skipped": dataset.corrupt_skipped}
    complete = replace(report, counts={**report.counts, **removed}, protocol=recorded)
    return Evaluation(complete, judgement.cmc, judgement.ap, dataset.query, gallery, *features)


def without_leaked(query: Sequence[Sample], gallery: Sequence[Sample]) -> tuple[Sample, ...]:
    """Drop gallery records that are the very file of a query under another camera (docs/protocols.md#edge-cases).

    Under the same camera they are junk already; under another one they would be found first for free.

    Args:
        query: Query samples.
        gallery: Gallery samples.

    Returns:
        The remaining gallery samples.
    """
    asked = {(s.path, s.item): s.camid for s in query}
    return tuple(s for s in gallery if asked.get((s.path, s.item), s.camid) == s.camid)


def judge(
    query_features: Features,
    gallery_features: Features,
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    protocol: Protocol,
    *,
    rerank: bool = False,
) -> Report:
    """Rank embeddings by a protocol.

    Args:
        query_features: Unit vectors (Q, D).
        gallery_features: Unit vectors (G, D).
        query: Their samples.
        gallery: Their samples.
        protocol: The rules.
        rerank: Re-rank with k-reciprocal neighbours first.

    Returns:
        The report; its ``protocol`` holds what is known here.

    Raises:
        SemreidError: If features are not finite or no query has a valid match.
    """
    return _judge(query_features, gallery_features, query, gallery, protocol, rerank=rerank).report


class _Judgement(NamedTuple):
    report: Report
    cmc: NDArray[np.float64]
    ap: NDArray[np.float64] | None


class _Figures(NamedTuple):
    """Figures as fractions, intervals in percent, number of valid queries, CMC curve, AP of every query."""

    figures: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    valid: int
    cmc: NDArray[np.float64]
    ap: NDArray[np.float64] | None


def _judge(
    query_features: Features,
    gallery_features: Features,
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    protocol: Protocol,
    *,
    rerank: bool,
) -> _Judgement:
    device = distributed.local_device()
    ours, others = (torch.from_numpy(features).to(device) for features in (query_features, gallery_features))
    blocks = (reranked_blocks if rerank else tensor_blocks)(ours, others)
    ids = _pids(query), _pids(gallery), _camids(query), _camids(gallery)
    found = (_judge_draws if protocol.gallery_shots == "single" else _judge_all)(blocks, ids, protocol)
    counts = {
        "queries": len(query),
        "valid_queries": found.valid,
        "gallery": len(gallery),
        "identities": num_identities(query),
    }
    metrics = {k: 100 * v for k, v in found.figures.items()}
    report = Report(metrics, found.ci95, counts, _rules(protocol, rerank=rerank))
    return _Judgement(report, found.cmc, found.ap)


def _judge_all(blocks: Iterable[Distances | Tensor], ids: _Ids, protocol: Protocol) -> _Figures:
    ranking = rank_distances(blocks, *ids, junk=protocol.junk)
    people = ids[0][ranking.valid]
    first = ranking.first_rank[ranking.valid] == 1
    figures = {f"rank{k}": float(ranking.cmc[k - 1]) for k in (1, 5, 10)}
    ci95 = {"rank1": _percent_interval(first, people)}
    if protocol.has_map:
        means = {"mAP": ranking.mAP, "mAP_trapezoid": ranking.mAP_trapezoid, "mINP": ranking.mINP}
        figures = {**means, **figures}
        ci95 = {"mAP": _percent_interval(ranking.ap[ranking.valid], people), **ci95}
    return _Figures(figures, ci95, ranking.n_valid, ranking.cmc, ranking.ap)


def _judge_draws(blocks: Iterable[Distances | Tensor], ids: _Ids, protocol: Protocol) -> _Figures:
    """Judge against one image per gallery identity; these benchmarks are small enough for one matrix."""
    distances = torch.cat([torch.as_tensor(block) for block in blocks])
    shots = single_shot_cmc(distances, *ids, junk=protocol.junk, repeats=protocol.repeats, seed=protocol.seed)
    figures = {f"rank{k}": float(shots.cmc[k - 1]) for k in (1, 5, 10)}
    figures["rank1_sd_over_draws"] = float(shots.cmc_sd[0])
    return _Figures(figures, {}, shots.n_valid, shots.cmc, None)


def _percent_interval(values: NDArray[Any], people: NDArray[np.int64]) -> tuple[float, float]:
    low, high = bootstrap_interval(values, people)
    return 100 * low, 100 * high


def _rules(protocol: Protocol, *, rerank: bool) -> dict[str, Any]:
    return {
        "junk": protocol.junk,
        "gallery_shots": protocol.gallery_shots,
        "repeats": protocol.repeats,
        "seed": protocol.seed,
        "ap": "sum-precision; mAP_trapezoid is the MATLAB definition",
        "skipped_queries": "left out of the means",
        "ties": "stable: gallery order",
        "distance": "cosine",
        "rerank": RERANKING if rerank else None,
        "note": protocol.note,
    }


def _pids(samples: Sequence[Sample]) -> NDArray[np.int64]:
    return np.array([s.pid for s in samples], np.int64)


def _camids(samples: Sequence[Sample]) -> NDArray[np.int64]:
    return np.array([s.camid for s in samples], np.int64)
