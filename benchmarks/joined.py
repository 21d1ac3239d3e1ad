"""What models know beyond each other: how good are their embeddings side by side?

python benchmarks/joined.py RUN [RUN …] --data cuhk03-np/labeled:DIR     each combination of the runs
python benchmarks/joined.py RUN --blocks --data market1501:DIR           each combination of the blocks of one
python benchmarks/joined.py --quick                     seconds, random weights; for a test

Each embedding, or block of one, is brought to unit length, and those of a combination stand side by side. Of several
runs this is an ensemble, with a trunk for each: what a model with all their heads on one trunk can hope for. Prints mAP
and rank-1 in percent, the single ones first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from _rehearsal import rehearsal
from _study import Sides, ranked
from _timing import command_line
from semreid import load_dataset, load_model
from semreid.evaluation.protocol import Evaluation, evaluate
from semreid.functional.ranking import Junk
from semreid.models.model import ReIDModel


def sides_of(judged: Evaluation) -> Sides:
    """The features that were judged."""
    return judged.query_features, judged.gallery_features


def in_blocks(model: ReIDModel, judged: Evaluation) -> dict[str, Sides]:
    """Cut embeddings where those of the heads meet."""
    ends = np.cumsum(list(model.blocks.values()))[:-1]
    query, gallery = (np.split(side, ends, axis=1) for side in sides_of(judged))
    return dict(zip(model.blocks, zip(query, gallery, strict=True), strict=True))


def joined(parts: Sequence[Sides]) -> Sides:
    """Put embeddings of unit length side by side."""
    query, gallery = (
        np.concatenate([side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides], axis=1)
        for sides in zip(*parts, strict=True)
    )
    return query, gallery


def table(parts: Mapping[str, Sides], judged: Evaluation, junk: Junk) -> Iterator[str]:
    """One line for each combination; all parts are of the images that were judged."""
    for count in range(1, len(parts) + 1):
        for names in combinations(parts, count):
            ranking = ranked(judged, joined([parts[name] for name in names]), junk)
            yield f"{' + '.join(names)}: mAP {100 * ranking.mAP:.1f}  rank-1 {100 * ranking.cmc[0]:.1f}"


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--data")
    parser.add_argument("--blocks", action="store_true", help="the blocks of one run, one by one")
    arguments = parser.parse_args()
    if arguments.quick:
        with rehearsal(identities=6, images=8, name="magnifiernet") as (model, dataset):
            judged = evaluate(model, dataset)
            print(*table(in_blocks(model, judged), judged, dataset.protocol.junk), sep="\n")
        return
    if not (arguments.runs and arguments.data):
        parser.error("give runs and --data, or --quick")
    if arguments.blocks and len(arguments.runs) > 1:
        parser.error("--blocks takes one run")
    dataset, models = load_dataset(arguments.data), {run: load_model(run) for run in arguments.runs}
    seen = {run: evaluate(model, dataset) for run, model in models.items()}
    first = arguments.runs[0]
    parts = in_blocks(models[first], seen[first]) if arguments.blocks else {run: sides_of(seen[run]) for run in seen}
    for line in table(parts, seen[first], dataset.protocol.junk):
        print(line, flush=True)


if __name__ == "__main__":
    main()
