"""What models know beyond each other: how good are their embeddings side by side?

python benchmarks/joined.py RUN [RUN …] --data cuhk03-np/labeled:DIR     each combination of the runs
python benchmarks/joined.py RUN --blocks --data market1501:DIR           each combination of the blocks of one
python benchmarks/joined.py --quick                     seconds, random weights; for a test

Each embedding, or block of one, is brought to unit length, and those of a combination stand side by side. Of several
runs this is an ensemble, with a trunk for each: what a model with all their heads on one trunk can hope for. Prints mAP
and rank-1 in percent, the single ones first.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from semreid import load_dataset, load_model
from semreid.data.sample import ReIDDataset
from semreid.evaluation.protocol import evaluate_in_full
from semreid.functional import rank_features
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.people.dataset import PeopleRecipe, synthesize

Sides = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Features of query and gallery."""


def embedded(model: ReIDModel, dataset: ReIDDataset) -> Sides:
    """Embed the test images."""
    judged = evaluate_in_full(model, dataset)
    return judged.query_features, judged.gallery_features


def in_blocks(model: ReIDModel, sides: Sides) -> dict[str, Sides]:
    """Cut embeddings where those of the heads meet."""
    ends = np.cumsum(list(model.blocks.values()))[:-1]
    query, gallery = (np.split(side, ends, axis=1) for side in sides)
    return dict(zip(model.blocks, zip(query, gallery, strict=True), strict=True))


def joined(parts: Sequence[Sides]) -> Sides:
    """Put embeddings of unit length side by side."""
    query, gallery = (
        np.concatenate([side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides], axis=1)
        for sides in zip(*parts, strict=True)
    )
    return query, gallery


def table(parts: Mapping[str, Sides], dataset: ReIDDataset) -> Iterator[str]:
    """One line for each combination."""
    samples = dataset.query, dataset.gallery
    ids = [np.array([getattr(s, name) for s in side]) for name in ("pid", "camid") for side in samples]
    for count in range(1, len(parts) + 1):
        for names in combinations(parts, count):
            ranking = rank_features(*joined([parts[name] for name in names]), *ids, junk=dataset.protocol.junk)
            yield f"{' + '.join(names)}: mAP {100 * ranking.mAP:.1f}  rank-1 {100 * ranking.cmc[0]:.1f}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--data")
    parser.add_argument("--blocks", action="store_true", help="the blocks of one run, one by one")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        with TemporaryDirectory() as folder:
            synthesize(PeopleRecipe(identities=6, images_per_identity=8, height=64, width=32), Path(folder) / "people")
            dataset = load_dataset(f"people:{folder}/people")
            model = create_model("magnifiernet", 1, trunk="resnet18", width=0.1, size=(64, 32)).eval()
            print(*table(in_blocks(model, embedded(model, dataset)), dataset), sep="\n")
        return
    if not (arguments.runs and arguments.data):
        parser.error("give runs and --data, or --quick")
    dataset, models = load_dataset(arguments.data), {Path(run).name: load_model(run) for run in arguments.runs}
    parts = {name: embedded(model, dataset) for name, model in models.items()}
    if arguments.blocks:
        if len(models) > 1:
            parser.error("--blocks takes one run")
        ((name, model),) = models.items()
        parts = in_blocks(model, parts[name])
    for line in table(parts, dataset):
        print(line, flush=True)


if __name__ == "__main__":
    main()
