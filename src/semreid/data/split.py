"""Splitting identities for validation, so that nothing is ever chosen on a test set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from semreid.data.sample import ReIDDataset, Sample
from semreid.errors import SemreidError


def query_and_gallery(samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split test samples: the first of each identity and camera is a query, all others are the gallery.

    An only image of its identity and camera is both, so that queries from other cameras can find it.

    Args:
        samples: Samples of the test identities, in a fixed order.

    Returns:
        Query and gallery.
    """
    cells: defaultdict[tuple[int, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        cells[sample.pid, sample.camid].append(sample)
    query = tuple(cell[0] for cell in cells.values())
    gallery = tuple(sample for cell in cells.values() for sample in cell[1:] or cell)
    return query, gallery


def hold_out(dataset: ReIDDataset, share: float, seed: int) -> tuple[tuple[Sample, ...], ReIDDataset | None]:
    """Hold identities out of the training set for validation.

    Args:
        dataset: The data set; its query and gallery are never looked at.
        share: Share of the training identities to hold out; 0 for none.
        seed: Decides which.

    Returns:
        The remaining training samples, and a data set whose query and gallery are the held-out identities
        (None if ``share`` is 0).

    Raises:
        SemreidError: If the share leaves fewer than two identities on either side.
    """
    if share == 0:
        return dataset.train, None
    pids = np.unique([s.pid for s in dataset.train])
    count = round(len(pids) * share)
    if count < 2 or len(pids) - count < 2:
        raise SemreidError(
            f"cannot hold out {share:.0%} of {len(pids)} training identities: both sides need at least 2",
            fix="change data.holdout, or set it to 0 to train without validation",
        )
    held = set(np.random.default_rng(seed).permutation(pids)[:count].tolist())
    query, gallery = query_and_gallery([s for s in dataset.train if s.pid in held])
    kept = tuple(s for s in dataset.train if s.pid not in held)
    return kept, replace(dataset, name=f"{dataset.name} (held out)", train=(), query=query, gallery=gallery)
