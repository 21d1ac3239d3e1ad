"""Whether a file of lower precision may stand for its model: it must agree with it, and on data that can tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.evaluation.protocol import Evaluation, evaluate
from semreid.functional.distance import row_blocks
from semreid.functional.ranking import rank_features
from semreid.models.embedder import Embedder
from semreid.parallel import Progress

ABOVE_CHANCE = 5.0
"""Points of mAP by which the lower end of the model's interval must be above chance, for a loss to be measured."""
NEIGHBOURS = 10
KEEP = "keep fp32, or calibrate int8 with more or other images (--data)"


@dataclass(frozen=True)
class Int8:
    """The wish for eight-bit arithmetic, and when it is good enough.

    Attributes:
        data: Its training images calibrate; by its protocol the loss is measured.
        max_map_loss: Points of mAP (in percent) that may be lost.
        least_cosine: Least cosine that the two embeddings of any query or gallery image must have.
        mean_cosine: Mean of it over these images.
        same_neighbours: Share of the ten nearest gallery images of a query that must be the same, in the mean.
    """

    data: ReIDDataset
    max_map_loss: float = 0.5
    least_cosine: float = 0.9
    mean_cosine: float = 0.98
    same_neighbours: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.max_map_loss <= 100:
            raise SemreidError(
                f"int8 cannot be judged by a loss of at most {self.max_map_loss:g} points of mAP",
                fix="take 0 to 100, such as --max-map-loss 0.5",
            )


@dataclass(frozen=True)
class Agreement:
    """How alike two embedders are on the same images.

    Attributes:
        least_cosine: Least cosine of the two embeddings of an image.
        mean_cosine: Mean of it.
        same_neighbours: Share of the nearest gallery images of a query that are the same (of ten, or of half of a small
            gallery), in the mean.
    """

    least_cosine: float
    mean_cosine: float
    same_neighbours: float


def agreement(query: tuple[NDArray[Any], NDArray[Any]], gallery: tuple[NDArray[Any], NDArray[Any]]) -> Agreement:
    """Compare the embeddings of two embedders.

    Args:
        query: Unit vectors (Q, D) of the queries, of the one and of the other.
        gallery: Unit vectors (G, D) of the gallery, likewise.

    Returns:
        How alike they are.

    Example:
        >>> q, g = np.eye(2), np.eye(2)[::-1]
        >>> agreement((q, q), (g, g))
        Agreement(least_cosine=1.0, mean_cosine=1.0, same_neighbours=1.0)
    """
    cosines = np.concatenate([(a.astype(float) * b).sum(axis=1) for a, b in (query, gallery)])
    one, other = (_nearest(q, g) for q, g in zip(query, gallery, strict=True))
    same = [len(np.intersect1d(*rows)) / len(rows[0]) for rows in zip(one, other, strict=True)]
    return Agreement(float(cosines.min()), float(cosines.mean()), float(np.mean(same)))


def _nearest(query: NDArray[Any], gallery: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of the nearest gallery images of each query, in any order."""
    count = min(NEIGHBOURS, max(1, len(gallery) // 2))
    blocks = row_blocks(len(query), len(gallery))
    return np.concatenate([np.argpartition(-(query[rows] @ gallery.T), count - 1)[:, :count] for rows in blocks])


def chance(dataset: ReIDDataset, draws: int = 5) -> float:
    """Return the mAP of embeddings that know nothing, in percent.

    Args:
        dataset: Whose protocol to judge by.
        draws: How many random embeddings to average over.
    """
    sides = dataset.query, dataset.gallery
    pids, camids = ([[getattr(s, name) for s in side] for side in sides] for name in ("pid", "camid"))
    rng = np.random.default_rng(0)
    features = ([rng.normal(size=(len(side), 16)) for side in sides] for _ in range(draws))
    found = [rank_features(q, g, *pids, *camids, junk=dataset.protocol.junk).mAP for q, g in features]
    return 100 * float(np.mean(found))


def accepted(model: Embedder, exported: Embedder, wish: Int8, progress: Progress | None = None) -> dict[str, Any]:
    """Judge an exported file by its model, or refuse it.

    Args:
        model: The model.
        exported: The file.
        wish: The data and the bounds.
        progress: Told how far the decoding is.

    Raises:
        SemreidError: If the model itself is not clearly better than chance on the data, the two do not agree, or too
            much mAP is lost.
    """
    before, after = (evaluate(m, wish.data, progress=progress) for m in (model, exported))
    by_chance = chance(wish.data)
    _require_knowing(before, by_chance, wish.data.name)
    found = agreement((before.query_features, after.query_features), (before.gallery_features, after.gallery_features))
    for name, value in asdict(found).items():
        if value < (bound := getattr(wish, name)):
            raise SemreidError(
                f"int8 does not agree with the model on {wish.data.name}: {name.replace('_', ' ')} {value:.3f}, "
                f"the bound is {bound:g}, so nothing was written",
                fix=KEEP,
            )
    maps = before.metrics["mAP"], after.metrics["mAP"]
    if (loss := maps[0] - maps[1]) > wish.max_map_loss:
        raise SemreidError(
            f"int8 loses {loss:.2f} points of mAP on {wish.data.name} ({maps[0]:.2f} % to {maps[1]:.2f} %); "
            f"the bound is {wish.max_map_loss:g}, so nothing was written",
            fix="keep fp32, or allow more with --max-map-loss",
        )
    figures = {"mAP": maps[0], "mAP_int8": maps[1], "mAP_chance": by_chance, "max_map_loss": wish.max_map_loss}
    return {"dataset": wish.data.name, **figures, **asdict(found)}


def _require_knowing(before: Evaluation, by_chance: float, name: str) -> None:
    low, high = before.ci95["mAP"]
    if low < by_chance + ABOVE_CHANCE:
        raise SemreidError(
            f"int8 cannot be judged on {name}: the model itself has {before.metrics['mAP']:.1f} % mAP there "
            f"({low:.1f} to {high:.1f} at 95 %), and chance has {by_chance:.1f} %",
            fix="give data with more people, on which the model can tell them apart, or keep fp32",
        )
