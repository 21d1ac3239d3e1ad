"""How a model does on people of cameras that it never saw, without a look at the test people: to choose by.

python benchmarks/transfer.py RUN [RUN …] --data cuhk03-np/labeled:DIR
python benchmarks/transfer.py --quick                   seconds, random weights; for a test

The *training* identities of the data are dealt into groups of about the size of a small test set. In each, the first
picture of an identity by a camera is a query, all others are the gallery. Embeddings are averaged with those of the
mirror images. Mean over the groups of mAP and rank-1: as they are, with every camera's mean taken off, and with the
gallery of other cameras alone. Where the last is much higher than the first, what a camera's pictures have in common
counts for more than who is on them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from _rehearsal import rehearsal
from _timing import command_line
from semreid import load_dataset, load_model
from semreid.data.sample import ReIDDataset
from semreid.data.split import query_and_gallery
from semreid.functional import rank_features
from semreid.functional.cameras import center_by_camera
from semreid.functional.ranking import Ranking
from semreid.models.model import ReIDModel

Rows = NDArray[np.int64]


def judge(model: ReIDModel, dataset: ReIDDataset, groups: int) -> list[str]:
    """One line for each way of judging."""
    samples = list(dataset.train)
    pids, camids = (np.array([getattr(s, name) for s in samples]) for name in ("pid", "camid"))
    plain = model.embed([s.path for s in samples], flip=True)
    centred, _ = center_by_camera(plain, plain, camids, camids)

    def rank(features: NDArray[np.float32], query: Rows, gallery: Rows) -> Ranking:
        ids = [values[rows] for values in (pids, camids) for rows in (query, gallery)]
        return rank_features(features[query], features[gallery], *ids, junk=dataset.protocol.junk)

    def everybody(query: Rows, gallery: Rows) -> list[Ranking]:
        return [rank(plain, query, gallery)]

    def without_cameras(query: Rows, gallery: Rows) -> list[Ranking]:
        return [rank(centred, query, gallery)]

    def other_cameras(query: Rows, gallery: Rows) -> list[Ranking]:
        return [rank(plain, query[camids[query] == c], gallery[camids[gallery] != c]) for c in np.unique(camids[query])]

    parts = deal(dataset, groups)
    ways = {"as they are": everybody, "centred by camera": without_cameras, "other cameras alone": other_cameras}
    return [f"{way:20} {mean_of(judged, parts)}" for way, judged in ways.items()]


def deal(dataset: ReIDDataset, groups: int) -> list[tuple[Rows, Rows]]:
    """Rows of query and gallery of each group of identities."""
    row = {sample: i for i, sample in enumerate(dataset.train)}
    pids = np.random.default_rng(7).permutation(np.unique([s.pid for s in dataset.train]))
    chosen = [set(pids[i::groups].tolist()) for i in range(groups)]
    split = [query_and_gallery([s for s in dataset.train if s.pid in some]) for some in chosen]
    return [(np.array([row[s] for s in query]), np.array([row[s] for s in gallery])) for query, gallery in split]


def mean_of(judged: Callable[[Rows, Rows], list[Ranking]], parts: list[tuple[Rows, Rows]]) -> str:
    """Mean over the groups, each the mean over its queries that have a true match."""
    figures = []
    for query, gallery in parts:
        rankings = judged(query, gallery)
        ap = np.concatenate([r.ap[r.valid] for r in rankings])
        first = np.concatenate([r.first_rank[r.valid] == 1 for r in rankings])
        figures.append((ap.mean(), first.mean()))
    return "mAP {:.1f}  rank-1 {:.1f}".format(*100 * np.mean(figures, axis=0))


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--data")
    parser.add_argument("--groups", type=int, default=4)
    arguments = parser.parse_args()
    if arguments.quick:
        with rehearsal(identities=16, images=8) as (model, people):
            print(*judge(model, people, 2), sep="\n")
        return
    if not (arguments.runs and arguments.data):
        parser.error("give runs and --data, or --quick")
    dataset = load_dataset(arguments.data)
    for run in arguments.runs:
        print(run, *judge(load_model(run), dataset, arguments.groups), sep="\n", flush=True)


if __name__ == "__main__":
    main()
