"""Make the models that ship, from nothing: synthetic people, runs, files, cards.

python benchmarks/make_models.py all WORK             run recipes/shipped/chain.txt in a folder; goes on after a stop
python benchmarks/make_models.py ship NAME RUN        turn one run into a model
python benchmarks/make_models.py measure NAME …       put speed and accuracy into its card
python benchmarks/make_models.py --quick              seconds, a chain of tiny models; for a test

Each part tells how long it took, and is not done again once it is done; WORK/times.json remembers. `--to DIR` writes
elsewhere than into the package.

`measure` takes real data by name, `--data 'CUHK03-P1 labeled=NAME:PATH'`, or reports and figures that were made
before: `--report 'CUHK03-P1 labeled=report.json'` of `semreid evaluate`, whose model must be this one, and
`--figures FILE`, a JSON list of {"data": …, "metrics": {…}}. Speed is measured with `--speed DATA`, whose pictures set
the ranges of int8; do it on a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from _packing import pack
from _timing import best_of, command_line
from semreid import evaluate, load_dataset, load_model
from semreid.errors import SemreidError
from semreid.export import export_model
from semreid.export.agreement import Int8
from semreid.files import write_json
from semreid.models.card import Card, learned_from, read_card
from semreid.models.exported import load_exported
from semreid.models.model import ReIDModel
from semreid.models.shipped import PAINTER, PARSER, Figures, Shipped, Speed, folder
from semreid.verification.calibrate import calibrate_model

ROOT = Path(__file__).parents[1]
CHAIN = ROOT / "recipes" / "shipped" / "chain.txt"
RUNNERS = {"onnxruntime": ("onnx", ".onnx"), "OpenVINO": ("openvino", ".xml")}
SHOWN = ("mAP", "rank1", "rank5", "rank10", "mINP")
QUICK = """
semreid synthesize a --identities 24 --images-per-identity 6 --size 64x32 --cameras 3 --seed 1
semreid synthesize unseen --identities 56 --images-per-identity 4 --size 64x32 --cameras 2 --seed 2
semreid train parser.yaml --data people:a --out parser
ship people-parser parser
semreid train start.yaml --data people:a --out start model.foreground=parser
ship people-s start --calibrate people:unseen
"""
TINY = """
model: {{name: {name}, trunk: resnet18, width: 0.125, last_stride: 2, weights: scratch}}
data: {{height: 64, width: 32, identities: 4, instances: 2}}
schedule: {{epochs: 1, warmup_epochs: 0}}
"""
Run = Callable[[Sequence[str]], None]


def read_chain(text: str) -> list[str]:
    """The commands of a chain, in order."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def output(command: str) -> str:
    """What a command makes: the folder of people, or of a run."""
    words = shlex.split(command)
    if words[:2] == ["semreid", "synthesize"]:
        return words[2]
    return words[words.index("--out") + 1] if "--out" in words else ""


def history(chain: Sequence[str], wanted: str) -> list[str]:
    """The commands that lead to an output, in order: the one that makes it, and those that make what that one names."""
    needed, found = {wanted}, []
    for command in reversed(chain):
        if output(command) in needed - {""}:
            found.append(command)
            needed |= set(re.split(r"[\s=:]+", command))
    return found[::-1]


def run_chain(chain: Sequence[str], work: Path, to: Path, run: Run) -> None:
    """Run what is not done yet of a chain, in a folder, and say how long each part takes."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "times.json"
    times: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
    with chdir(work):
        if not Path("recipes").exists():
            Path("recipes").symlink_to(ROOT / "recipes")
        for command in chain:
            key = f"{command} [{_recipe_digest(command)}]"
            if key in times and not command.startswith("ship "):
                print(f"{_words(times[key])}, before: {command}", flush=True)
                continue
            print(f"now: {command}", flush=True)
            began = time.perf_counter()
            do(command, chain, to, run)
            times[key] = time.perf_counter() - began
            write_json(file, times)
            print(f"{_words(times[key])}: {command}", flush=True)


def do(command: str, chain: Sequence[str], to: Path, run: Run) -> None:
    """Do one part: a command of ours, taken up where it stopped, or a model that is to be shipped."""
    program, *words = shlex.split(command)
    if program == "ship":
        options = ship_options().parse_args(words)
        ship(options.name, options.run, to, calibrate=options.calibrate, commands=history(chain, options.run))
        return
    begun = words[0] == "train" and (Path(output(command)) / "checkpoint.pt").is_file()
    run([*words, "--resume"] if begun else words)


def in_a_process_of_its_own(words: Sequence[str]) -> None:
    """Run a command of ours; training uses all cores by itself."""
    subprocess.run([sys.executable, "-m", "semreid", *words], check=True)


def in_this_process(words: Sequence[str]) -> None:
    """Run a command of ours, which starts no others: these would take longer to start than to work."""
    from semreid.cli import app

    with patch("semreid.people.dataset.cores", return_value=1):
        app(list(words), standalone_mode=False)


def ship(name: str, run: Path | str, to: Path, *, calibrate: str = "", commands: Sequence[str] = ()) -> Card:
    """Turn a run into a model that ships; what it learned from must be synthetic people alone."""
    sets = {str(found["dataset"]) for found in learned_from(read_card(run).trained_on).values()}
    if sets - {"people"}:
        raise SemreidError(f"{run} learned from {', '.join(sorted(sets))}", fix="ship what saw synthetic people only")
    file = to / f"{name}.json"
    before = read_card(file).shipped if file.is_file() else None
    card = pack(run, name, to, commit=_commit(), commands=commands)
    assert card.shipped is not None
    if before is not None and before.fingerprint == card.shipped.fingerprint:  # what was measured of it holds
        card = replace(card, shipped=replace(card.shipped, accuracy=before.accuracy, speed=before.speed))
        write_json(file, card.to_json())
    if calibrate:
        report = calibrate_model(load_model(file), file, load_dataset(calibrate), split="all")
        card = replace(card, calibration=report.calibration)
        write_json(file, card.to_json())
    size = (to / f"{name}.safetensors").stat().st_size
    print(f"shipped: {to / name}.safetensors, {size / 1e6:.2f} MB")
    return card


def measure(
    name: str, to: Path, *, data: Iterable[str], reports: Iterable[str], figures: Iterable[str], speed: str
) -> None:
    """Put into the card of a model what it can do, in place of what is there under the same names."""
    file = to / f"{name}.json"
    model, card = load_model(file), read_card(file)
    assert card.shipped is not None
    found = [*_judged(model, data), *_reported(card.shipped, reports), *_given(figures)]
    kept = [old for old in card.shipped.accuracy if old.data not in {new.data for new in found}]
    facts = replace(card.shipped, accuracy=(*kept, *found))
    if speed:
        facts = replace(facts, speed=Speed(machine(), dict(rates(file, model, speed))))
    write_json(file, replace(card, shipped=facts).to_json())
    print(json.dumps({"accuracy": [each.metrics for each in found], "speed": facts.speed and vars(facts.speed)}))


def _judged(model: ReIDModel, data: Iterable[str]) -> Iterator[Figures]:
    for named in data:
        name, spec = _pair(named)
        report = evaluate(model, load_dataset(spec))
        yield _figures(name, report.to_json())


def _reported(facts: Shipped, reports: Iterable[str]) -> Iterator[Figures]:
    for named in reports:
        name, path = _pair(named)
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        if (found := report["protocol"].get("fingerprint")) != facts.fingerprint:
            raise SemreidError(f"{path} is about another model: {found}", fix=f"evaluate {facts.name} again")
        yield _figures(name, report)


def _given(files: Iterable[str]) -> Iterator[Figures]:
    for file in files:
        for found in json.loads(Path(file).read_text(encoding="utf-8")):
            yield Figures(**found)


def _figures(name: str, report: Mapping[str, Any]) -> Figures:
    metrics = {key: report["metrics"][key] for key in SHOWN if key in report["metrics"]}
    intervals = {key: (float(ends[0]), float(ends[1])) for key, ends in report["ci95"].items()}
    return Figures(name, metrics, intervals)


def _pair(named: str) -> tuple[str, str]:
    name, equals, value = named.partition("=")
    if not equals:
        raise SemreidError(f"'{named}' has no name", fix="write NAME=…, such as 'Market-1501-dev=market1501:/d/market'")
    return name, value


def rates(file: Path, model: ReIDModel, data: str) -> Iterator[tuple[str, float]]:
    """Crops a second by runner, on all cores."""
    torch.set_num_threads(os.cpu_count() or 1)
    steps = {PARSER: model.parse, PAINTER: model.texture}
    yield "PyTorch, fp32", _rate(steps.get(file.stem, model.embed), model.size)
    if file.stem in steps:
        return
    dataset = load_dataset(data)
    for runner, (kind, suffix) in RUNNERS.items():
        for precision, int8 in (("fp32", None), ("int8", Int8(dataset, max_map_loss=100))):
            with TemporaryDirectory(prefix="semreid-") as place:
                out = Path(place) / f"model{suffix}"
                try:
                    export_model(file, out, kind=kind, int8=int8)  # type: ignore[arg-type]
                except SemreidError as error:
                    print(f"{runner}, {precision}: {error}", file=sys.stderr)
                    continue
                yield f"{runner}, {precision}", _rate(load_exported(out).embed, model.size)


def _rate(embed: Callable[..., object], size: tuple[int, int], count: int = 256) -> float:
    """Crops a second, the best of three rounds; they have the right size, so that nothing is read or resized."""
    crops = list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8))
    embed(crops[:64])
    return round(count / best_of({"all": lambda: embed(crops)}, 3)["all"], 1)


def machine() -> str:
    """This machine in words."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    name = re.search(r"model name\s*: (.+)", about)
    cores = os.cpu_count()
    return f"{cores} core{'s' if cores != 1 else ''} of {name[1].strip() if name else 'a CPU'}"


def _commit() -> str:
    git = partial(subprocess.run, capture_output=True, text=True, cwd=ROOT, check=False)
    changed = git(["git", "status", "--porcelain", "--untracked-files=no", "src", "recipes"]).stdout.strip()
    return git(["git", "rev-parse", "HEAD"]).stdout.strip() + (", changed" if changed else "")


def _recipe_digest(command: str) -> str:
    recipes = [Path(word) for word in shlex.split(command) if word.endswith(".yaml")]
    return " ".join(sha256(file.read_bytes()).hexdigest()[:12] for file in recipes)


def _words(seconds: float) -> str:
    return f"{int(seconds // 3600)} h {int(seconds // 60 % 60)} min {seconds % 60:.0f} s"


def ship_options() -> argparse.ArgumentParser:
    """How a line that ships is written."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("name")
    parser.add_argument("run")
    parser.add_argument("--calibrate", default="")
    return parser


def quick(place: Path) -> None:
    """Run a chain of tiny models, twice: the second time, all is done."""
    for name, kind in (("parser", "parser"), ("start", "baseline")):
        (place / f"{name}.yaml").write_text(TINY.format(name=kind))
    chain, to = read_chain(QUICK), place / "shipped"
    run_chain(chain, place, to, in_this_process)
    with chdir(place):
        measure("people-s", to, data=["made-up people=people:unseen"], reports=[], figures=[], speed="")
    run_chain(chain, place, to, in_this_process)
    card = read_card(place / "shipped" / "people-s.json")
    assert card.shipped is not None
    assert card.calibration is not None
    made, known = map(output, card.shipped.commands), [figures.data for figures in card.shipped.accuracy]
    print(f"people-s was made by {', '.join(made)}; measured on {', '.join(known)}")


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("--to", type=Path, default=folder())
    parts = parser.add_subparsers(dest="part")
    parts.add_parser("all").add_argument("work", type=Path)
    shipping = parts.add_parser("ship", parents=[ship_options()])
    shipping.add_argument("--commands", type=Path, help="a chain, such as chain.txt")
    measuring = parts.add_parser("measure")
    measuring.add_argument("name")
    for option in ("--data", "--report", "--figures"):
        measuring.add_argument(option, action="append", default=[])
    measuring.add_argument("--speed", default="")
    given = parser.parse_args()
    to = given.to.absolute()
    if given.quick:
        with TemporaryDirectory() as place:
            quick(Path(place))
    elif given.part == "all":
        run_chain(read_chain(CHAIN.read_text()), given.work, to, in_a_process_of_its_own)
    elif given.part == "ship":
        commands = history(read_chain((given.commands or CHAIN).read_text()), Path(given.run).name)
        ship(given.name, given.run, to, calibrate=given.calibrate, commands=commands)
    elif given.part == "measure":
        lists = {"data": given.data, "reports": given.report, "figures": given.figures}
        measure(given.name, to, **lists, speed=given.speed)
    else:
        parser.error("say what to do: all, ship, measure, or --quick")


if __name__ == "__main__":
    main()
