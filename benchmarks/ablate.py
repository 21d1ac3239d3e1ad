r"""Train the rows of a study with several seeds, judge them, and print the table with intervals.

python benchmarks/ablate.py benchmarks/ablations/magnifiernet.yaml --data cuhk03-np/labeled:DIR --annotations LABELS \
    --test cuhk03-np/labeled:DIR --test cuhk03-np/detected:DIR --out RUNS --seeds 0,1 schedule.epochs=20
python benchmarks/ablate.py --quick                     seconds, on synthetic people; for a test

A study is a YAML file: the name of each row, its recipe and overrides, with $NAME for what is in the environment;
those of the command line come last and hold for all rows. With several --data (and as many --annotations), all rows
learn from each, and unless --test says otherwise, all are judged on each. With --same-time ROW, every row is trained
once more, for as many epochs as take as long as those of ROW: a training step of each is timed first, in seconds of the
processor. --processes 2 trains two runs side by side, a thread each.

What is done is kept in RUNS, a run folder and a JSON file each: the command goes on where it was stopped, a run from
its last epoch, and prints the table of what is there. The change from the first row is paired, the same queries and
seeds; intervals are over people and seeds, both drawn with replacement.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from _study import (
    QUICK,
    QUICK_OVERRIDES,
    Study,
    Task,
    answers_of,
    gathered,
    read_record,
    read_study,
    recipe_of,
    slug,
    work_on,
)
from _timing import command_line
from costs import step_seconds
from semreid.evaluation.report import bootstrap_interval
from semreid.files import write_json
from semreid.people.dataset import PeopleRecipe, synthesize


def planned(study: Study, arguments: argparse.Namespace) -> list[Task]:
    """All runs of a study, seed after seed, so that a stopped one has whole rows."""
    stretches = {}
    if arguments.same_time:
        stretches["same time"] = same_time(study, arguments.same_time, arguments.out, arguments.overrides)
    stretches["same epochs"] = dict.fromkeys(study, 1.0)
    homes = arguments.annotations or [None] * len(arguments.data)
    tasks = []
    for seed in arguments.seeds:
        for data, home in zip(arguments.data, homes, strict=True):
            for kind, stretch in stretches.items():
                for row, recipe in study.items():
                    place = slug(kind if stretch[row] != 1 else "same epochs")
                    folder = arguments.out / name_of(data) / place / f"{slug(row)}-seed{seed}"
                    all_ = [*recipe, *arguments.overrides]
                    tasks.append(Task(row, all_, seed, data, home, f"{name_of(data)}, {kind}", folder, stretch[row]))
    return tasks


def name_of(data: str) -> str:
    """A data set, short enough for a folder."""
    name, _, path = data.partition(":")
    return slug(f"{name}-{Path(path).name}")


def same_time(study: Study, reference: str, out: Path, overrides: list[str]) -> dict[str, float]:
    """How many times as many epochs as ROW each row gets in its time; measured once, and kept."""
    file = out / f"steps-of-{slug(reference)}.json"
    known: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {reference: 1.0}
    if new := [row for row in study if row not in known]:
        timed = step_seconds({row: recipe_of(study[row], overrides) for row in (reference, *new)})
        known |= {row: timed[reference] / timed[row] for row in new}
        write_json(file, known)
    return known


def tables(tasks: list[Task], tests: list[str], flip: bool) -> list[str]:
    """Lines of the Markdown tables of what is done, one for each way of training."""
    lines: list[str] = []
    for table in dict.fromkeys(task.table for task in tasks):
        rows = rows_of([task for task in tasks if task.table == table], tests, flip)
        lines += ["", f"Trained on {table}:", "", *heading(tests), *rows]
    return lines


def heading(tests: list[str]) -> list[str]:
    """The first two lines of a table."""
    each = (f"{name_of(test)}: mAP / Rank-1 | seeds' mAP | change of mAP" for test in tests)
    return ["| | epochs | " + " | ".join(each) + " |", "| --- | --- |" + " --- | --- | --- |" * len(tests)]


def rows_of(tasks: list[Task], tests: list[str], flip: bool) -> list[str]:
    """The rows of a table that have been judged with a seed at least."""
    by_row = {row: [task for task in tasks if task.row == row] for row in dict.fromkeys(task.row for task in tasks)}
    first = next(iter(by_row))
    lines = []
    for row, runs in by_row.items():
        cells = [cell(runs, by_row[first] if row != first else [], test, flip) for test in tests]
        if any(cells):
            epochs = {read_record(run).get("epochs") for run in runs} - {None}
            lines.append(f"| {row} | {', '.join(map(str, epochs))} | " + " | ".join(c or " | | " for c in cells) + " |")
    return lines


def cell(runs: list[Task], reference: list[Task], test: str, flip: bool) -> str:
    """Mean with its interval, the seeds, and the paired change from the first row over the seeds that both have."""
    own, other = answers_of(runs, test, flip), answers_of(reference, test, flip)
    if not own:
        return ""
    all_ = gathered(own, own)
    figures = " / ".join(f"{100 * values.mean():.1f} {interval(values, all_.pids)}" for values in (all_.ap, all_.first))
    seeds = ", ".join(f"{100 * ap.mean():.1f}" for ap in all_.ap)
    return f"{figures} | {seeds} | {change(own, other) if own.keys() & other.keys() else ''}"


def change(own: dict[int, dict[str, list[float]]], other: dict[int, dict[str, list[float]]]) -> str:
    """Change of mAP with its interval, same queries and seeds."""
    both = sorted(own.keys() & other.keys())
    mine, theirs = gathered(own, both), gathered(other, both)
    gain = mine.ap - theirs.ap
    return f"{100 * gain.mean():+.1f} {interval(gain, mine.pids)}"


def interval(values: NDArray[np.float64], pids: NDArray[np.int64]) -> str:
    """The 95 % interval over people and seeds, in percent."""
    low, high = bootstrap_interval(values, pids)
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def quick() -> None:
    """Short runs on a few synthetic people."""
    with TemporaryDirectory() as folder:
        people = Path(folder) / "people"
        synthesize(PeopleRecipe(identities=16, images_per_identity=8, height=64, width=32), people)
        given = ["quick", "--data", f"people:{people}", "--out", f"{folder}/runs", "--seeds", "0"]
        run(QUICK, parse([*given, "--processes", "2", *QUICK_OVERRIDES]))


def run(study: Study, arguments: argparse.Namespace) -> None:
    """Train what is wanted, and print all that is known."""
    tests = arguments.test or arguments.data
    tasks = planned(study, arguments)
    wanted = [task for task in tasks if not arguments.only or task.row in arguments.only]
    work_on(wanted, tests, flip=arguments.flip, processes=arguments.processes)
    print(*tables(tasks, tests, arguments.flip), sep="\n")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("study", type=Path, nargs="?")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--data", action="append", default=[], help="what to train on; may be repeated")
    parser.add_argument("--annotations", action="append", default=[], type=Path, help="of each --data, in their order")
    parser.add_argument("--test", action="append", default=[], help="what to judge on; may be repeated")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1])
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="train this one; may be repeated")
    parser.add_argument("--same-time", default="", metavar="ROW", help="also train each row as long as this one takes")
    parser.add_argument("--processes", type=int, default=1, help="runs side by side")
    parser.add_argument("--flip", action="store_true", help="average with the mirror image when judging")
    arguments = parser.parse_intermixed_args(words)
    if words is None and not arguments.quick and not (arguments.study and arguments.data and arguments.out):
        parser.error("give a study, --data and --out, or --quick")
    if arguments.annotations and len(arguments.annotations) != len(arguments.data):
        parser.error("give --annotations for none or for each --data, in the same order")
    return arguments


def main() -> None:
    """Read the command line."""
    arguments = parse()
    if arguments.quick:
        return quick()
    study = read_study(arguments.study)
    if unknown := [row for row in (*arguments.only, *filter(None, [arguments.same_time])) if row not in study]:
        raise SystemExit(f"{arguments.study} has no row {unknown[0]!r}; its rows are {', '.join(study)}")
    return run(study, arguments)


if __name__ == "__main__":
    main()
