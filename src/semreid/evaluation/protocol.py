"""Judging a model on a data set exactly by its protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semreid import distributed
from semreid.data.sample import Protocol, ReIDDataset, Sample, num_identities
from semreid.data.split import without_leaked
from semreid.data.store import Store, build_store
from semreid.errors import SemreidError
from semreid.evaluation.report import Report, bootstrap_interval
from semreid.functional.cameras import center_by_camera
from semreid.functional.distance import Distances, tensor_blocks, unit_rows
from semreid.functional.ranking import rank_distances, single_shot_cmc
from semreid.functional.reranking import reranked_blocks
from semreid.models.embedder import Embedder
from semreid.parallel import Progress

Features = NDArray[np.float32]
_Ids = list[NDArray[np.int64]]
EvaluationMetric = Literal["cosine", "euclidean"]
NOTABLE_TIES = 1e-3
BATCH = 128  # images embedded at once
CURVE = 50  # ranks of a CMC curve, at least
RERANKING = {"method": "k-reciprocal", "k1": 20, "k2": 6, "lambda": 0.3}


@dataclass(frozen=True, eq=False, kw_only=True)
class Judgement(Report):
    """A report with the curves behind its figures.

    Attributes:
        cmc: Share of the valid queries with a true match among the first k, (50,) or as far as ranks are asked for.
        ap: Average precision of every query, (Q,), NaN where it has no true match; None in single-shot protocols.
    """

    cmc: NDArray[np.float64]
    ap: NDArray[np.float64] | None
    __eq__, __hash__ = object.__eq__, object.__hash__  # equal figures are not equal embeddings


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation(Judgement):
    """A judgement with what it was made from, for whoever shows more than figures.

    Attributes:
        query: The queries.
        gallery: The gallery, without leaked images.
        query_features: Unit vectors (Q, D), also where raw embeddings were ranked.
        gallery_features: Unit vectors (G, D).
    """

    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    query_features: Features
    gallery_features: Features


def embed_store(model: Embedder, store: Store, *, flip: bool = False, unit: bool = True) -> Features:
    """Embed all images of a store; under ``torchrun``, the processes share them, and all get all embeddings.

    Returns:
        Unit vectors (N, dim) in float32, in the order of the store, or raw embeddings.
    """

    def work(starts: Iterable[int]) -> Iterator[Features]:
        for start in starts:
            batch = store.images[start : start + BATCH]
            yield model.embed(batch.cpu().numpy(), batch_size=BATCH, flip=flip, unit=unit)

    found = list(distributed.shared(work, range(0, len(store), BATCH)))
    return distributed.by_first(lambda: np.concatenate([np.zeros((0, model.dim), np.float32), *found]))


def evaluate(
    model: Embedder,
    dataset: ReIDDataset,
    *,
    flip: bool = False,
    center_cameras: bool = False,
    rerank: bool = False,
    metric: EvaluationMetric = "cosine",
    map_within: int | None = None,
    checkpoint: str = "last epoch",
    progress: Progress | None = None,
) -> Evaluation:
    """Embed query and gallery and judge them by the data set's protocol.

    Under ``torchrun``, the processes share the images, and all get the report.

    Args:
        model: The model.
        dataset: The data set.
        flip: Flip test-time augmentation; the headline figure has none.
        center_cameras: Subtract the mean embedding of each camera first (`center_by_camera`); it is taken over the
            test set, without labels of persons: transductive, so never the headline figure. Refused where cameras are
            made up.
        rerank: k-reciprocal re-ranking; transductive as well.
        metric: ``cosine``; or ``euclidean``, of embeddings as they are, as the released code of SAN and PMM compares
            them.
        map_within: Also report the mAP in which matches behind so many images count as never found; 50 is what the
            evaluators of BDB and PMM call mAP.
        checkpoint: How the weights were chosen, for the report.
        progress: Told how far the decoding is.

    Returns:
        The report, with embeddings and curves.

    Raises:
        SemreidError: If images cannot be read, the data set cannot be judged by its protocol, or options do not go
            together.
    """
    if not dataset.query or not dataset.gallery:
        raise SemreidError(
            f"{dataset.name} has {len(dataset.query)} query and {len(dataset.gallery)} gallery images",
            fix="run `semreid doctor` on it: an evaluation needs both",
        )
    _require_sense(dataset.protocol, metric, map_within, center_cameras=center_cameras)
    gallery = without_leaked(dataset.query, dataset.gallery)
    if not gallery:
        raise SemreidError(
            f"{dataset.name}: all {len(dataset.gallery)} gallery images are files of the queries themselves, which are "
            "left out, or every query would find itself",
            fix="give the gallery other images of these people",
        )
    query_store, gallery_store = distributed.first_process_first(
        lambda: [build_store(part, model.size, progress=progress) for part in (dataset.query, gallery)]
    )
    unit = metric == "cosine"
    query_features = embed_store(model, query_store, flip=flip, unit=unit)
    gallery_features = embed_store(model, gallery_store, flip=flip, unit=unit)
    if center_cameras:
        cameras = query_store.camids, gallery_store.camids
        query_features, gallery_features = center_by_camera(query_features, gallery_features, *cameras)
    features = query_features, gallery_features
    wish: dict[str, Any] = {"rerank": rerank, "metric": metric, "map_within": map_within}
    found = distributed.by_first(
        partial(evaluate_features, *features, dataset.query, gallery, dataset.protocol, **wish)
    )
    recorded = {
        "dataset": dataset.name,
        "fingerprint": model.fingerprint,
        **found.protocol,
        "join": model.join,
        "normalisation": "L2 on the whole embedding" if unit else "none",
        "center_cameras": center_cameras,
        "input": list(model.size),
        "flip": flip,
        "checkpoint": checkpoint,
        "warnings": [*dataset.warnings, *found.protocol["warnings"]],
    }
    removed = {"junk_removed": dataset.junk_removed, "leaked_removed": len(dataset.gallery) - len(gallery)}
    removed |= {"corrupt_skipped": dataset.corrupt_skipped}
    query_features, gallery_features = features if unit else map(unit_rows, features)
    return Evaluation(
        metrics=found.metrics,
        ci95=found.ci95,
        counts={**found.counts, **removed},
        protocol=recorded,
        cmc=found.cmc,
        ap=found.ap,
        query=dataset.query,
        gallery=gallery,
        query_features=query_features,
        gallery_features=gallery_features,
    )


class _Wish(NamedTuple):
    """How to compare, beyond what the protocol says."""

    rerank: bool
    metric: EvaluationMetric
    map_within: int | None


def _require_sense(
    protocol: Protocol, metric: EvaluationMetric, map_within: int | None, *, center_cameras: bool
) -> None:
    if metric not in get_args(EvaluationMetric):
        raise SemreidError(f"unknown metric {metric!r}", fix="choose cosine or euclidean")
    if metric != "cosine" and center_cameras:
        raise SemreidError(
            "the mean of a camera is taken away from embeddings of unit length, and euclidean compares raw ones",
            fix="leave out one of the two",
        )
    if center_cameras and not protocol.cameras_known:
        raise SemreidError(
            f"cameras 0 and 1 only stand for query and gallery here ({protocol.note}): their means are no camera's",
            fix="leave out the centring, or say which camera took each image (docs/data.md)",
        )
    if map_within is not None and (map_within < 1 or not protocol.has_map):
        raise SemreidError(
            f"no mAP within {map_within} images can be reported",
            fix="state 1 or more, for data whose protocol has an mAP",
        )


def evaluate_features(
    query_features: Features,
    gallery_features: Features,
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    protocol: Protocol,
    *,
    rerank: bool = False,
    metric: EvaluationMetric = "cosine",
    map_within: int | None = None,
) -> Judgement:
    """Rank embeddings by a protocol.

    Args:
        query_features: Unit vectors (Q, D); raw ones for ``euclidean``.
        gallery_features: Likewise (G, D).
        query: Their samples.
        gallery: Their samples.
        protocol: The rules.
        rerank: As in `evaluate`.
        metric: As in `evaluate`.
        map_within: As in `evaluate`.

    Returns:
        The report; its ``protocol`` holds what is known here.

    Raises:
        SemreidError: If features are not finite, no query has a valid match, or options do not go together.
    """
    _require_sense(protocol, metric, map_within, center_cameras=False)
    wish = _Wish(rerank, metric, map_within)
    device = distributed.local_device()
    ours, others = (torch.from_numpy(features).to(device) for features in (query_features, gallery_features))
    blocks = reranked_blocks(ours, others) if rerank else tensor_blocks(ours, others, metric)
    ids = [np.array([getattr(s, name) for s in side]) for name in ("pid", "camid") for side in (query, gallery)]
    found = (_judge_draws if protocol.gallery_shots == "single" else _judge_all)(blocks, ids, protocol, wish)
    counts = {
        "queries": len(query),
        "valid_queries": found.valid,
        "gallery": len(gallery),
        "identities": num_identities(query),
    }
    metrics = {k: 100 * v for k, v in found.figures.items()}
    rules = {**_rules(protocol, wish), **_ties(found.tied)}
    return Judgement(metrics=metrics, ci95=found.ci95, counts=counts, protocol=rules, cmc=found.cmc, ap=found.ap)


class _Figures(NamedTuple):
    """Figures as fractions, intervals in percent, number of valid queries, CMC curve, AP of every query, tied share."""

    figures: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    valid: int
    cmc: NDArray[np.float64]
    ap: NDArray[np.float64] | None
    tied: float | None


def _judge_all(blocks: Iterable[Distances | Tensor], ids: _Ids, protocol: Protocol, wish: _Wish) -> _Figures:
    ranking = rank_distances(blocks, *ids, junk=protocol.junk, max_rank=_reach(protocol), within=wish.map_within or 1)
    people = ids[0][ranking.valid]
    first = ranking.first_rank[ranking.valid] == 1
    figures = {f"rank{k}": float(ranking.cmc[k - 1]) for k in protocol.ranks}
    ci95 = {"rank1": _percent_interval(first, people)}
    if protocol.has_map:
        means = {"mAP": ranking.mAP, "mAP_trapezoid": ranking.mAP_trapezoid, "mINP": ranking.mINP}
        if wish.map_within is not None:
            means[f"mAP_within_{wish.map_within}"] = ranking.mAP_within
        figures = {**means, **figures}
        ci95 = {"mAP": _percent_interval(ranking.ap[ranking.valid], people), **ci95}
    return _Figures(figures, ci95, ranking.n_valid, ranking.cmc, ranking.ap, ranking.tied_share)


def _judge_draws(blocks: Iterable[Distances | Tensor], ids: _Ids, protocol: Protocol, _: _Wish) -> _Figures:
    """Judge against one image per gallery identity; these benchmarks are small enough for one matrix."""
    distances = torch.cat([torch.as_tensor(block) for block in blocks])
    shots = single_shot_cmc(
        distances,
        *ids,
        junk=protocol.junk,
        repeats=protocol.repeats,
        seed=protocol.seed,
        max_rank=_reach(protocol),
    )
    figures = {f"rank{k}": float(shots.cmc[k - 1]) for k in protocol.ranks}
    figures["rank1_sd_over_draws"] = float(shots.cmc_sd[0])
    return _Figures(figures, {}, shots.n_valid, shots.cmc, None, None)


def _reach(protocol: Protocol) -> int:
    """How far the CMC curve goes."""
    return max(CURVE, *protocol.ranks)


def _percent_interval(values: NDArray[Any], people: NDArray[np.int64]) -> tuple[float, float]:
    low, high = bootstrap_interval(values, people)
    return 100 * low, 100 * high


def _rules(protocol: Protocol, wish: _Wish) -> dict[str, Any]:
    return {
        "junk": protocol.junk,
        "gallery_shots": protocol.gallery_shots,
        "repeats": protocol.repeats,
        "seed": protocol.seed,
        "ap": "sum-precision; mAP_trapezoid is the MATLAB definition",
        "skipped_queries": "left out of the means",
        "ties": "stable: gallery order",
        "distance": wish.metric,
        "rerank": RERANKING if wish.rerank else None,
        "note": protocol.note,
    }


def _ties(share: float | None) -> dict[str, Any]:
    """What a report says of pairs of a match and a negative at equal distance (docs/protocols.md#edge-cases)."""
    if share is None:
        return {"tied_percent": None, "warnings": []}
    warning = (
        f"{100 * share:.1f} % of the pairs of a match and a negative are at equal distance: the order of the gallery "
        "shapes these figures; see whether images occur twice, or whether the model tells any apart"
    )
    return {"tied_percent": round(100 * share, 4), "warnings": [warning] if share > NOTABLE_TIES else []}
