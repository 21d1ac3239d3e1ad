"""Splitting identities for validation, so that nothing is ever chosen on a test set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from semreid.data.sample import ReIDDataset, Sample, cameras_meet
from semreid.errors import SemreidError

T = TypeVar("T")


def query_and_gallery(samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split test samples: the first of each identity and camera is a query, all others are the gallery.

    An only image of its identity and camera is both, so that queries from other cameras can find it.

    Args:
        samples: Samples of the test identities, in a fixed order.

    Returns:
        Query and gallery.
    """
    query, gallery = first_asks((sample.pid, sample.camid, sample) for sample in samples)
    return tuple(query), tuple(gallery)


def first_asks(crops: Iterable[tuple[Hashable, int | None, T]]) -> tuple[list[T], list[T]]:
    """Split whatever stands for crops as `query_and_gallery` does, also where no camera is known.

    Without one, an only crop of its identity is no query, as it would find itself.

    Args:
        crops: Identity, camera (None where unknown) and what stands for the crop, in a fixed order.

    Returns:
        Query and gallery.

    Example:
        >>> first_asks([("ann", 1, "a1"), ("ann", 1, "a2"), ("bob", 1, "b1"), ("cid", None, "c1")])
        (['a1', 'b1'], ['a2', 'b1', 'c1'])
    """
    cells: defaultdict[tuple[Hashable, int | None], list[T]] = defaultdict(list)
    for identity, camid, crop in crops:
        cells[identity, camid].append(crop)
    query = [cell[0] for (_, camid), cell in cells.items() if len(cell) > 1 or camid is not None]
    return query, [crop for cell in cells.values() for crop in cell[1:] or cell]


def without_leaked(query: Sequence[Sample], gallery: Sequence[Sample]) -> tuple[Sample, ...]:
    """Drop gallery records that are the very crop of a query under another camera (docs/protocols.md#edge-cases).

    Under the same camera they are junk already; under another one they would be found first for free. Of a crop that is
    asked under several cameras, no copy is left.
    """
    asked: defaultdict[Hashable, set[int]] = defaultdict(set)
    for sample in query:
        asked[sample.place].add(sample.camid)
    return tuple(s for s in gallery if asked.get(s.place, set()) <= {s.camid})


def hold_out(dataset: ReIDDataset, share: float, seed: int) -> tuple[tuple[Sample, ...], ReIDDataset | None]:
    """Hold identities out of the training set for validation.

    Args:
        dataset: The data set; its query and gallery are never looked at.
        share: Share of the training identities to hold out; 0 for none.
        seed: Decides which.

    Returns:
        The remaining training samples, and a data set whose query and gallery are the held-out identities
        (None if ``share`` is 0). Where no two cameras saw any of these, queries get camera 0 and the gallery camera 1.

    Raises:
        SemreidError: If the share leaves fewer than two identities on either side, or none of those that are held out
            has two images.
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
    samples = [s for s in dataset.train if s.pid in held]
    protocol, (query, gallery) = dataset.protocol, query_and_gallery(samples)
    if not cameras_meet(samples):  # every match would be junk
        alone = {*gallery}  # an only image is both, and would find itself
        query = tuple(replace(s, camid=0) for s in query if s not in alone)
        gallery = tuple(replace(s, camid=1) for s in gallery)
        note = "; ".join(filter(None, (protocol.note, "nobody seen by two cameras: query 0, gallery 1")))
        protocol = replace(protocol, note=note, cameras_known=False)
    if not query:
        raise SemreidError(
            f"cannot hold out {share:.0%} of {len(pids)} training identities: none of these {count} has two images, so "
            "no query would have a match",
            fix="change data.holdout, or set it to 0 to train without validation",
        )
    kept = tuple(s for s in dataset.train if s.pid not in held)
    named = f"{dataset.name} (held out)"
    return kept, replace(dataset, name=named, train=(), query=query, gallery=gallery, protocol=protocol)
