r"""Train the rows of an ablation with several seeds, judge them, and print the table with intervals.

python benchmarks/ablate.py benchmarks/ablations/magnifiernet.yaml --data cuhk03-np/labeled:DIR --annotations LABELS \
    --test cuhk03-np/labeled:DIR --test cuhk03-np/detected:DIR --out RUNS --seeds 0,1 schedule.epochs=20
python benchmarks/ablate.py --quick                     seconds, on synthetic people; for a test

A study is a YAML file: the name of each row, its recipe and overrides, with $NAME for what is in the environment;
those of the command line come last and hold for all rows. Whatever is in RUNS already is not done again, so the
command goes on where it was stopped, and prints the table of what is there. The difference to the first row is
paired: the same queries, each averaged over the seeds, and people are drawn with replacement.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from semreid import load_dataset, load_model
from semreid.evaluation.protocol import evaluate_in_full
from semreid.evaluation.report import bootstrap_interval
from semreid.files import atomic_path
from semreid.functional import rank_features
from semreid.people.dataset import PeopleRecipe, synthesize
from semreid.training.loop import train
from semreid.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
WEIGHTS = "model.safetensors"
QUICK = {
    "baseline": ["recipes/tiny/baseline.yaml"],
    "average pooling": ["recipes/tiny/baseline.yaml", "model.options={}"],
}
QUICK_OVERRIDES = ["data.height=32", "data.width=16", "model.width=0.1", "data.identities=4", "schedule.epochs=2"]


class Answers(NamedTuple):
    """What a model answers to the queries that have a true match.

    Attributes:
        ap: Average precision of each, (Q,).
        first: Whether the first match is right, (Q,).
        pids: Who is asked for, (Q,).
    """

    ap: NDArray[np.float64]
    first: NDArray[np.float64]
    pids: NDArray[np.int64]


def train_rows(
    study: dict[str, list[str]], data: str, annotations: Path | None, out: Path, seeds: list[int], common: list[str]
) -> None:
    """Train what is not trained yet, seed after seed, so that a stopped study has whole rows."""
    for seed in seeds:
        for row, (recipe, *overrides) in study.items():
            folder = out / run_name(row, seed)
            if not (folder / WEIGHTS).exists():
                print(f"training {folder.name}", flush=True)
                wanted = load_recipe(ROOT / recipe, [*(fill_in(o) for o in overrides), *common, f"seed={seed}"])
                train(wanted, load_dataset(data), folder, annotations=annotations, resume=folder.exists())


def fill_in(override: str) -> str:
    """Put in what $NAME stands for, from the environment."""
    try:
        return Template(override).substitute(os.environ)
    except KeyError as error:
        raise SystemExit(f"{override}: set {error.args[0]} in the environment") from error


def run_name(row: str, seed: int) -> str:
    """Folder of a run: the letters and digits of its row, and the seed."""
    return "-".join([*re.findall(r"[a-z0-9]+", row.lower()), f"seed{seed}"])


def answers(folder: Path, test: str, flip: bool) -> Answers:
    """Judge a run, or read how it was judged."""
    kept = folder / f"answers-{'-'.join(re.findall('[a-z0-9]+', test.lower()))}{'-flip' * flip}.npz"
    if not kept.exists():
        dataset = load_dataset(test)
        judged = evaluate_in_full(load_model(folder), dataset, flip=flip)
        ids = [np.array([getattr(s, i) for s in x]) for i in ("pid", "camid") for x in (judged.query, judged.gallery)]
        ranking = rank_features(judged.query_features, judged.gallery_features, *ids, junk=dataset.protocol.junk)
        right = ranking.first_rank[ranking.valid] == 1
        with atomic_path(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, ap=ranking.ap[ranking.valid], first=right, pids=ids[0][ranking.valid])
    with np.load(kept) as content:
        return Answers(content["ap"], content["first"], content["pids"])


def table(study: dict[str, list[str]], tests: list[str], out: Path, seeds: list[int], flip: bool) -> list[str]:
    """Lines of the Markdown table of the rows that are complete."""
    lines = ["| | " + " | ".join(f"{t.split(':')[0]}: mAP / Rank-1 | seeds' mAP | change of mAP" for t in tests) + " |"]
    lines.append("| --- |" + " --- | --- | --- |" * len(tests))
    reference: dict[str, Answers] = {}
    for row in study:
        folders = [out / run_name(row, seed) for seed in seeds]
        if all((folder / WEIGHTS).exists() for folder in folders):
            cells = [cell([answers(f, test, flip) for f in folders], reference, test) for test in tests]
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines


def cell(runs: list[Answers], reference: dict[str, Answers], test: str) -> str:
    """Mean over the seeds with the interval over people, the seeds, and the paired change from the first row."""
    mean = Answers(np.mean([r.ap for r in runs], 0), np.mean([r.first for r in runs], 0), runs[0].pids)
    first = reference.setdefault(test, mean)
    figures = " / ".join(f"{100 * values.mean():.1f} {interval(values, mean.pids)}" for values in (mean.ap, mean.first))
    seeds = ", ".join(f"{100 * r.ap.mean():.1f}" for r in runs)
    change = mean.ap - first.ap
    paired = "" if first is mean else f"{100 * change.mean():+.1f} {interval(change, mean.pids)}"
    return f"{figures} | {seeds} | {paired}"


def interval(values: NDArray[np.float64], pids: NDArray[np.int64]) -> str:
    """The 95 % interval over people, in percent."""
    low, high = bootstrap_interval(values, pids)
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def quick() -> None:
    """Two short runs on a few synthetic people."""
    with TemporaryDirectory() as folder:
        people = Path(folder) / "people"
        synthesize(PeopleRecipe(identities=16, images_per_identity=8, height=64, width=32), people)
        data, runs = f"people:{people}", Path(folder) / "runs"
        train_rows(QUICK, data, None, runs, [0], QUICK_OVERRIDES)
        print(*table(QUICK, [data], runs, [0], flip=False), sep="\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", help="what to train on")
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--test", action="append", default=[], help="what to judge on; may be repeated")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1])
    parser.add_argument("--flip", action="store_true", help="average with the mirror image when judging")
    arguments = parser.parse_intermixed_args()
    if arguments.quick:
        return quick()
    if not (arguments.study and arguments.data and arguments.out):
        parser.error("give a study, --data and --out, or --quick")
    study: dict[str, list[str]] = yaml.safe_load(arguments.study.read_text(encoding="utf-8"))
    train_rows(study, arguments.data, arguments.annotations, arguments.out, arguments.seeds, arguments.overrides)
    tests = arguments.test or [arguments.data]
    print(*table(study, tests, arguments.out, arguments.seeds, arguments.flip), sep="\n")
    return None


if __name__ == "__main__":
    main()
