"""Distances between embeddings: float32, never negative, never NaN, in blocks that fit into memory.

Squares of very large or small features would overflow or vanish; these are measured in another unit first.

Features may be NumPy arrays or tensors of any float type. They are compared in float32 on the device where
the queries lie; distances come back as NumPy arrays, or stay there (`tensor_blocks`) where ranking goes on with them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semreid.errors import SemreidError

Features = NDArray[Any] | Tensor
Distances = NDArray[np.float32]
Metric = Literal["cosine", "euclidean", "sqeuclidean"]

LEAST, MOST = 1e-12, 1e12  # between these, squares and their sums are well inside float32
TINY = torch.finfo(torch.float32).tiny
BLOCK_VALUES = 2**24  # distances held at once, 64 MiB: large enough that the matrix product runs at full speed
TILE = 2048  # rows and columns of a tile: few enough that what reads it next finds it in the cache


def pairwise_distance(query: Features, gallery: Features, metric: Metric = "cosine") -> Distances:
    """Compute the distance of every query to every gallery feature (docs/protocols.md#distances).

    Args:
        query: Query features, (Q, D).
        gallery: Gallery features, (G, D).
        metric: ``cosine`` is one minus the cosine similarity (both sides are normalised here),
            ``euclidean`` and ``sqeuclidean`` take the features as they come.

    Returns:
        Distances, (Q, G), float32, not negative; infinite where they are beyond float32.

    Raises:
        SemreidError: If shapes differ, a feature holds NaN or infinity, or the metric is unknown.

    Example:
        >>> pairwise_distance(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [6.0, 8.0]]), "euclidean")
        array([[5., 5.]], dtype=float32)
        >>> pairwise_distance(np.array([[3.0, 4.0]]), np.array([[6.0, 8.0], [-4.0, 3.0]]))
        array([[0., 1.]], dtype=float32)
    """
    return stacked(distance_blocks(query, gallery, metric), len(query), len(gallery))


def distance_blocks(query: Features, gallery: Features, metric: Metric = "cosine") -> Iterator[Distances]:
    """Yield the rows of `pairwise_distance` in consecutive blocks (q, G) of bounded size.

    Arguments and errors as of `pairwise_distance`; input is checked at the call, not at the first block.

    Example:
        >>> features = np.eye(3)
        >>> [block.shape for block in distance_blocks(features, features)]
        [(3, 3)]
    """
    return (block.cpu().numpy() for block in tensor_blocks(query, gallery, metric))


def tensor_blocks(query: Features, gallery: Features, metric: Metric = "cosine") -> Iterator[Tensor]:
    """Yield the blocks of `distance_blocks` as tensors on the device of the queries."""
    left, right = paired_features(query, gallery)
    if metric == "cosine":
        return _cosine_blocks(_unit(left), _unit(right))
    if metric in ("euclidean", "sqeuclidean"):
        return _euclidean_blocks(left, right, root=metric == "euclidean")
    raise SemreidError(f"unknown metric {metric!r}", fix="choose cosine, euclidean or sqeuclidean")


def paired_features(query: Features, gallery: Features) -> tuple[Tensor, Tensor]:
    """Check two sets of features and bring them to float32 on one device.

    Args:
        query: Query features, (Q, D).
        gallery: Gallery features, (G, D).

    Returns:
        Both as float32 tensors without gradient, on the device of ``query``.

    Raises:
        SemreidError: If shapes differ or a feature holds NaN or infinity.

    Example:
        >>> left, right = paired_features(np.zeros((2, 4)), torch.zeros(3, 4))
        >>> left.dtype, right.shape
        (torch.float32, torch.Size([3, 4]))
    """
    left, right = checked_features(query, "query features"), checked_features(gallery, "gallery features")
    if left.shape[1] != right.shape[1]:
        raise SemreidError(
            f"query features have {left.shape[1]} dimensions, gallery features {right.shape[1]}",
            fix="embed both with the same model",
        )
    return left, right.to(left.device)


def checked_features(features: Features, name: str = "features") -> Tensor:
    """Check a set of features and bring it to float32; copied only where a tensor cannot share the memory.

    Args:
        features: Features, (N, D).
        name: What error messages call them.

    Returns:
        The float32 tensor without gradient, on the device where they lie.

    Raises:
        SemreidError: If the shape is another, there is no row, or a feature holds NaN or infinity.

    Example:
        >>> checked_features(np.zeros((2, 4))).dtype
        torch.float32
    """
    if not isinstance(features, Tensor):
        features = torch.from_numpy(np.require(features, np.float32, ["C", "W"]))
    matrix = features.detach().float()
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise SemreidError(f"{name} must have shape (N, D), at least one row; got {tuple(matrix.shape)}")
    broken = torch.nonzero(~torch.isfinite(matrix).all(dim=1)).flatten()
    if len(broken):
        raise SemreidError(
            f"{len(broken)} {name} hold NaN or infinity, the first in row {broken[0]}",
            fix="check the images of these rows and the weights of the model; NaN cannot be ranked",
        )
    return matrix


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Cut the rows of a matrix into consecutive slices of at most `BLOCK_VALUES` values.

    Args:
        rows: Number of rows.
        columns: Number of columns.

    Yields:
        Slices that cover the rows in order; at least one row each.

    Example:
        >>> list(row_blocks(5, BLOCK_VALUES // 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, BLOCK_VALUES // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def unit_of(*features: Tensor) -> float:
    """Tell in which unit features can be squared in float32: 1 unless squares would overflow or vanish.

    Args:
        features: Sets of features, (N, D) each.

    Example:
        >>> unit_of(torch.ones(2, 3)), unit_of(torch.full((2, 3), 1e30)) > 1e29
        (1, True)
    """
    largest = max(float(torch.linalg.vector_norm(each, torch.inf)) for each in features)
    return 1 if not largest or LEAST < largest < MOST else max(largest, TINY)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give rows unit length, whatever their size; a row of zeros stays.

    Args:
        vectors: Finite vectors, (N, D).

    Example:
        >>> unit_rows(np.array([[0, 4e30], [0, 0]], np.float32)).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    unit: NDArray[np.float32] = _unit(torch.from_numpy(np.ascontiguousarray(vectors))).numpy()
    return unit


def symmetric_tiles(pooled: Tensor, other: Tensor) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield the symmetric matrix ``pooled @ other.T`` in square tiles; each pair is computed once.

    Args:
        pooled: Rows on the CPU, (N, D) float32.
        other: Likewise, the rows themselves or such that the product is symmetric.

    Yields:
        First row and first column of each tile, and the tile.
    """
    tiles = range(0, len(pooled), TILE)
    for row in tiles:
        for column in tiles[row // TILE :]:
            with full_precision(pooled.device):
                products = pooled[row : row + TILE] @ other[column : column + TILE].T
            yield row, column, products.numpy()
            if column != row:
                yield column, row, products.T.contiguous().numpy()


def stacked(blocks: Iterable[Distances], rows: int, columns: int) -> Distances:
    """Put consecutive row blocks into one matrix (rows, columns), without holding everything twice.

    Example:
        >>> stacked(iter([np.zeros((2, 3)), np.ones((1, 3))]), 3, 3).sum()
        np.float32(3.0)
    """
    matrix = np.empty((rows, columns), dtype=np.float32)
    start = 0
    for block in blocks:
        matrix[start : start + len(block)] = block
        start += len(block)
    return matrix


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Run matrix products in true float32, whatever speed-for-precision trade the training loop has chosen.

    Args:
        device: The device whose autocast is switched off inside.

    Example:
        >>> with full_precision(torch.device("cpu")):
        ...     torch.get_float32_matmul_precision()
        'highest'
    """
    with _precision, torch.autocast(device.type, enabled=False):
        yield


class _HighestPrecision:
    """The precision of matrix products is that of the whole process: the last thread that needs it gives it back."""

    def __init__(self) -> None:
        self._lock, self._users, self._chosen = threading.Lock(), 0, "highest"

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._chosen = torch.get_float32_matmul_precision()
                torch.set_float32_matmul_precision("highest")
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                torch.set_float32_matmul_precision(self._chosen)


_precision = _HighestPrecision()


def _unit(features: Tensor) -> Tensor:
    """Rows of unit length, zeros where they are zero; also of numbers whose squares overflow or vanish in float32."""
    lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    odd = (lengths < LEAST) | (lengths > MOST)
    if not odd.any():
        return features.div(lengths)
    largest = torch.linalg.vector_norm(features, torch.inf, dim=1, keepdim=True).clamp(min=TINY)
    return F.normalize(features / torch.where(odd, largest, 1.0))


def _cosine_blocks(query: Tensor, gallery: Tensor) -> Iterator[Tensor]:
    for rows in row_blocks(len(query), len(gallery)):
        with full_precision(query.device):
            similarity = query[rows] @ gallery.T
        yield similarity.neg_().add_(1.0).clamp_(min=0.0)


def _euclidean_blocks(query: Tensor, gallery: Tensor, root: bool) -> Iterator[Tensor]:
    if (unit := unit_of(query, gallery)) != 1:
        for block in _euclidean_blocks(query / unit, gallery / unit, root):
            yield block * unit if root else block * unit * unit
        return
    # Distances do not change when both sets are shifted; about the centre fewer digits cancel.
    center = gallery.mean(dim=0)
    query, gallery = query - center, gallery - center
    query_norms, gallery_norms = query.square().sum(dim=1), gallery.square().sum(dim=1)
    for rows in row_blocks(len(query), len(gallery)):
        with full_precision(query.device):
            squared = torch.addmm(gallery_norms, query[rows], gallery.T, alpha=-2.0)
        # Rounding can leave a tiny negative square: it would become NaN under the root and rank last.
        squared.add_(query_norms[rows, None]).clamp_(min=0.0)
        yield squared.sqrt_() if root else squared
