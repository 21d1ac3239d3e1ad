"""What it is worth to let body regions decide among the best matches, for queries that show the whole and a part.

python benchmarks/part_search.py RUN --data people:DIR      a trained model with body regions, such as magnifiernet
python benchmarks/part_search.py --quick                    seconds, random weights; for a test

Queries are judged as they are; those alone of which a fifth or more is hidden, where the data set says so; and all of
them with a grey board before the lower two fifths, or before the left or right half. The gallery stays as it is. The
gain has a 95 % interval: bootstrap over people, both orders on the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from _timing import command_line
from semreid.data.benchmarks import load_dataset
from semreid.data.images import read_image
from semreid.data.sample import ReIDDataset, Sample
from semreid.data.split import without_leaked
from semreid.evaluation.report import bootstrap_interval
from semreid.functional.ranking import Ranking, rank_distances
from semreid.gallery import Entry, Gallery, Match
from semreid.gallery.gallery import POOL
from semreid.gallery.parts import PartOrder
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.people.dataset import META, PeopleRecipe, synthesize

HIDDEN = 0.2
Crop = NDArray[np.uint8]


def boarded(crop: Crop, side: str) -> Crop:
    """Put a board before a part of a crop."""
    height, width = crop.shape[:2]
    top, left = (round(0.6 * height), 0) if side == "bottom" else (0, width // 2 if side == "right" else 0)
    changed = crop.copy()
    changed[top:, left : width // 2 if side == "left" else width] = 128
    return changed


def occluded(dataset: ReIDDataset) -> NDArray[np.bool_]:
    """Of which queries the data set says that a fifth or more is hidden; none where it says nothing."""
    file = dataset.root / META
    if not file.is_file():
        return np.zeros(len(dataset.query), bool)
    table = pq.read_table(file, columns=["path", "occlusion"]).to_pydict()
    hidden = {dataset.root / path: share for path, share in zip(table["path"], table["occlusion"], strict=True)}
    return np.array([hidden[sample.path] >= HIDDEN for sample in dataset.query])


def distances(matches: list[list[Match]], rows: int) -> NDArray[np.float32]:
    """Places in lists of all rows, whose ids are their numbers, as distances (Q, rows)."""
    found = np.empty((len(matches), rows), np.float32)
    for query, line in enumerate(matches):
        found[query, [int(match.entry.id) for match in line]] = np.arange(rows)
    return found


def rankings(
    model: ReIDModel, gallery: Gallery, samples: tuple[Sample, ...], known: list[Sample], crops: list[Crop], junk: str
) -> tuple[Ranking, Ranking]:
    """Rank by the whole embedding, and with regions deciding among the best."""
    order = PartOrder(model, crops)
    plain = gallery.search(order.vectors, len(known))
    parted = [[*order(q, line[:POOL]), *line[POOL:]] for q, line in enumerate(plain)]
    ids = [[getattr(s, name) for s in group] for name in ("pid", "camid") for group in (samples, known)]
    before, after = (rank_distances(distances(lines, len(known)), *ids, junk=junk) for lines in (plain, parted))  # type: ignore[arg-type]
    return before, after


def gain(before: NDArray[np.float64], after: NDArray[np.float64], people: NDArray[np.int64]) -> str:
    """Mean before and after in percent, and the difference with its interval."""
    each = 100 * (after - before)
    low, high = bootstrap_interval(each, people)
    return f"{100 * before.mean():5.1f} to {100 * after.mean():5.1f} ({each.mean():+.1f} [{low:+.1f}, {high:+.1f}])"


def report(title: str, chosen: NDArray[np.bool_], before: Ranking, after: Ranking, people: NDArray[np.int64]) -> None:
    chosen = chosen & before.valid
    if not chosen.any():
        print(f"{title:34} no such query")
        return
    mean_ap = gain(before.ap[chosen], after.ap[chosen], people[chosen])
    first = gain(1.0 * (before.first_rank == 1)[chosen], 1.0 * (after.first_rank == 1)[chosen], people[chosen])
    print(f"{title:34} {chosen.sum():5} queries  mAP {mean_ap}  Rank-1 {first}")


def compare(model: ReIDModel, dataset: ReIDDataset) -> None:
    known = list(without_leaked(dataset.query, dataset.gallery))
    crops = [read_image(sample) for sample in dataset.query]
    people, everybody = np.array([s.pid for s in dataset.query]), np.ones(len(crops), bool)
    entries = [Entry(id=str(row), path=str(sample)) for row, sample in enumerate(known)]
    with Gallery.open("memory:", dim=model.dim, fingerprint=model.fingerprint) as gallery:
        gallery.add(model.embed([read_image(sample) for sample in known]), entries)

        def ranked(change: Callable[[Crop], Crop]) -> tuple[Ranking, Ranking]:
            changed = [change(crop) for crop in crops]
            return rankings(model, gallery, dataset.query, known, changed, dataset.protocol.junk)

        plain = ranked(lambda crop: crop)
        report("as they are", everybody, *plain, people)
        report("of these, a fifth or more hidden", occluded(dataset), *plain, people)
        for side in ("bottom", "left", "right"):
            report(f"with a board before the {side}", everybody, *ranked(lambda c, s=side: boarded(c, s)), people)  # type: ignore[misc]


def random_work(folder: Path) -> tuple[ReIDModel, ReIDDataset]:
    """A model with random weights that sees regions of some kind, and a few synthetic people."""
    torch.manual_seed(0)
    model = create_model("magnifiernet", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
    torch.nn.init.normal_(model.get_submodule("heads.parsing.decoder.3").weight)  # type: ignore[arg-type]
    return model, load_dataset(f"people:{synthesize(PeopleRecipe(8, 6, height=64, width=32), folder / 'people')}")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--data")
    asked = parser.parse_args()
    if asked.quick:
        with TemporaryDirectory() as name:
            compare(*random_work(Path(name)))
    elif asked.run and asked.data:
        compare(load_model(asked.run), load_dataset(asked.data))
    else:
        parser.error("give RUN and --data NAME:PATH, or --quick")


if __name__ == "__main__":
    main()
