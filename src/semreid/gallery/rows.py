"""Checks that every row passes on its way into a gallery, from wherever it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from semreid.errors import SemreidError
from semreid.gallery.entry import Entry, Meta, Vectors, derived_id
from semreid.models.card import shipped_as

UNIT = 1e-5  # vectors whose length differs less from 1 are left exactly as they are


def require_same(where: str, meta: Meta, wanted: Meta) -> None:
    """Refuse to mix vectors of different models.

    Args:
        where: What holds the vectors, for the error message.
        meta: What is known of them.
        wanted: What is known of those that they should be compared with.

    Raises:
        SemreidError: If widths or fingerprints differ.
    """
    if meta == wanted:
        return
    anew = "`semreid gallery add --from OLD --gallery NEW --model MODEL` makes one of the same crops for another model"
    fix = f"use the model that made it, or another gallery; {anew}"
    if maker := shipped_as(meta.fingerprint) if meta.fingerprint else "":
        fix = f"it was made by {maker}: --model {maker}, or {maker} in the place of MODEL; {anew}"
    if meta.fingerprint == wanted.fingerprint:
        raise SemreidError(f"{where} holds vectors of {meta.dim} values, not {wanted.dim}", fix=fix)
    made, asked = (
        f"model {shipped_as(m.fingerprint) or m.fingerprint[:12]}" if m.fingerprint else "no stated model"
        for m in (meta, wanted)
    )
    raise SemreidError(f"{where} holds vectors of {made}; these are of {asked}: they cannot be compared", fix=fix)


def unit_vectors(vectors: ArrayLike, dim: int, what: str) -> Vectors:
    """Check vectors and give them unit length; those that have it stay bit for bit.

    Args:
        vectors: Vectors (N, D), or a single one (D,).
        dim: The width that they must have.
        what: What they are, for error messages.

    Returns:
        Unit vectors (N, D) in float32.

    Raises:
        SemreidError: If they are no such array, or one of them is zero or not finite.

    Example:
        >>> unit_vectors([3, 4], 2, "query")
        array([[0.6, 0.8]], dtype=float32)
    """
    try:
        rows = np.atleast_2d(np.asarray(vectors, np.float32))
    except (TypeError, ValueError) as error:
        raise SemreidError(
            f"{what} vectors are not an array of numbers: {error}", fix="give an array (N, D), as model.embed does"
        ) from error
    if rows.size == 0 and rows.ndim == 2:
        return np.zeros((0, dim), np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise SemreidError(
            f"{what} vectors have shape {rows.shape}; those of the gallery have {dim} values",
            fix="use the model that made the gallery",
        )
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise SemreidError(
            f"{len(bad)} {what} vectors are zero or hold NaN or infinity, the first in row {bad[0]}",
            fix="leave out boxes outside of their frame, which `embed_boxes` gives zeros; else check the images of "
            "these rows and the weights of the model",
        )
    scale = np.where(np.abs(lengths - 1) < UNIT, 1, lengths)
    return (rows / scale[:, None]).astype(np.float32)


def named(entries: Sequence[Entry], vectors: Vectors) -> list[Entry]:
    """Give every entry an id, and refuse two of the same.

    Args:
        entries: The entries.
        vectors: Their vectors (N, D).

    Returns:
        The entries, with derived ids where they had none.

    Raises:
        SemreidError: If there is not one vector for each, or an id comes twice.
    """
    if len(vectors) != len(entries):
        raise SemreidError(f"{len(vectors)} vectors came with {len(entries)} entries", fix="give one for each")
    complete = [e if e.id else replace(e, id=derived_id(e, v)) for e, v in zip(entries, vectors, strict=True)]
    first: dict[str, int] = {}
    for row, entry in enumerate(complete):
        if (earlier := first.setdefault(entry.id, row)) != row:
            raise SemreidError(
                f"rows {earlier} and {row} have the same id {entry.id!r}",
                fix="give distinct ids; ids that are left empty come from path and box",
            )
    return complete
