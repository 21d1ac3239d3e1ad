"""What tracks are worth when crops are grouped: real crops, with the tracks that a tracker without fault would have.

python benchmarks/tracked.py --data market1501:DIR [--model people-s] [--split train]
python benchmarks/tracked.py --quick                seconds, random weights; for a test

Tracks are made of what the labels say: all crops of a person by one camera; and, where the names of Market-1501 tell
frames, pieces of these wherever four seconds pass without a crop. Groups never see the labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from _rehearsal import rehearsal
from _timing import command_line
from semreid import load_dataset, load_model
from semreid.data.sample import Sample
from semreid.data.store import build_store
from semreid.evaluation.protocol import embed_store
from semreid.functional import group_features, grouping_scores
from semreid.models.model import ReIDModel

GAP = 4.0
"""Seconds without a crop that end a track."""
RATE = 25
"""Frames a second in the names of Market-1501."""


def times(samples: list[Sample]) -> NDArray[np.float64]:
    """Seconds of each crop, by the sequence and frame in its name; NaN where it tells none."""
    named = [re.search(r"c\d+s(\d+)_(\d+)_", sample.path.name) for sample in samples]
    return np.array([1e6 * int(n[1]) + int(n[2]) / RATE if n else np.nan for n in named])


def pieces(pids: NDArray[np.int64], camids: NDArray[np.int64], seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the tracks of each person and camera, which end where nothing is seen for a while."""
    order = np.lexsort((seconds, camids, pids))
    new = (np.diff(pids[order]) != 0) | (np.diff(camids[order]) != 0) | (np.diff(seconds[order]) > GAP)
    tracks = np.empty(len(pids), np.int64)
    tracks[order] = np.concatenate([[0], np.cumsum(new)])
    return tracks


def judge(model: ReIDModel, samples: Iterable[Sample]) -> None:
    """Print what groups are worth without tracks, and with each kind of them."""
    samples = [sample for sample in samples if sample.pid > 0]
    features = embed_store(model, build_store(samples, model.size))
    blocks = tuple(model.blocks.values())
    pids, camids = (np.array([getattr(sample, name) for sample in samples]) for name in ("pid", "camid"))
    seconds, unknown = times(samples), np.full(len(samples), np.nan)
    ways = {
        "no tracks": (np.full(len(samples), -1), unknown),
        "tracks of a person and camera": (pieces(pids, camids, unknown), unknown),
    }
    if np.isfinite(seconds).all():
        ways["pieces of these"] = pieces(pids, camids, seconds), seconds
    for name, (tracks, at) in ways.items():
        found = grouping_scores(group_features(features, camids, tracks, at, blocks=blocks).groups, pids)
        print(
            f"{name}: {tracks.max() + 1:,} of {len(samples):,} crops, pairwise F1 {found.pairwise_f1:.1%}, "
            f"B-cubed F1 {found.bcubed_f1:.1%}, {found.groups} groups of {found.people} people"
        )


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("--data")
    parser.add_argument("--model", default="people-s")
    parser.add_argument("--split", choices=("train", "test"), default="test")
    arguments = parser.parse_args()
    if arguments.quick:
        with rehearsal(identities=8, images=6) as (model, people):
            judge(model, people.train)
        return
    if not arguments.data:
        parser.error("give --data NAME:PATH, or --quick")
    dataset = load_dataset(arguments.data)
    test = (*dataset.query, *dataset.gallery)
    judge(load_model(arguments.model), dataset.train if arguments.split == "train" else test)


if __name__ == "__main__":
    main()
