"""All that a GPU can tell in minutes: whether the numbers are right, how fast it is, and what it learns.

python benchmarks/gpu.py --minutes 8 --out DIR            all parts but the last, in order of worth
python benchmarks/gpu.py --minutes 2 --out DIR --only speed
python benchmarks/gpu.py --rehearse --out DIR             the same in tiny sizes on a CPU, in minutes (of proof, a part)

proof   the tests marked cuda: the GPU computes what the CPU computes
speed   training steps, embedding, ranking; against the published formulations, and with one thing changed at a time
limit   what share of the card's peak a training step reaches, and what takes its time
train   a ResNet-50 on synthetic people that all cores make meanwhile; leaves the weights
real    baseline and unified model on the Market-1501 split of --data, if it is there
schedule   MagnifierNet there in few steps and in many; only with --only schedule, for 8 minutes or more

Each part writes DIR/PART.json after every result, so a run that is cut short leaves what it has: see docs/gpu.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from _gpu_learning import real, train
from _gpu_results import FULL, TINY, Part
from _gpu_schedule import schedule
from _gpu_speed import limit, speed
from semreid.files import write_json

ROOT = Path(__file__).parents[1]
REHEARSAL = "SEMREID_REHEARSE_CUDA"
"""If set, the tests marked cuda run on the CPU, which stands in for the GPU."""


def proof(part: Part) -> None:
    """Run the tests marked cuda, and note how each went once it has."""
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-n", "0", "-vv", "-W", "default"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    if part.device.type == "cpu":
        environment[REHEARSAL] = "1"
    command += ["-p", "no:cacheprovider", "--durations=5", "-rfE", str(ROOT / "tests" / "cuda")]
    pipe, text = subprocess.PIPE, subprocess.STDOUT
    tests: dict[str, str] = {}
    lines = []
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=pipe, stderr=text, text=True, start_new_session=True
    ) as process:
        late = threading.Timer(max(1.0, part.left), end, (process,))
        late.daemon = True
        late.start()
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if told := OUTCOME.match(line):
                    tests[told[1]] = told[2].lower()
                    part.note("tests", tests)
                elif failed := FAILURE.match(line):
                    tests[failed[1]] = f"failed: {failed[2]}"
        finally:
            late.cancel()
            if process.poll() is None:
                end(process)
    if process.returncode < 0:
        part.note("cut", f"its time was over after {len(tests)} tests")
    part.note("passed", sum(said == "passed" for said in tests.values()))
    part.note("not_passed", {name: said for name, said in tests.items() if said != "passed"})
    part.note("failures", failures(lines))
    part.note("last_lines", lines[-15:])


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that began a session, with those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def failures(lines: list[str]) -> list[str]:
    """What pytest prints of all that failed: where, and why."""
    start = next((row for row, line in enumerate(lines) if re.fullmatch("=+ (ERRORS|FAILURES) =+", line)), len(lines))
    end = next((row for row, line in enumerate(lines) if "= short test summary" in line), len(lines))
    return lines[start:end]


OUTCOME = re.compile(r"tests/cuda/\S+?::(.+?) (PASSED|FAILED|ERROR|SKIPPED)")
FAILURE = re.compile(r"(?:FAILED|ERROR) tests/cuda/\S+?::(.+?) - (.*)")
"""What pytest prints of each test, and in its summary of those that failed."""


PARTS: dict[str, tuple[Callable[[Part], None], float]] = {
    "proof": (proof, 0.20),
    "speed": (speed, 0.29),
    "limit": (limit, 0.09),
    "train": (train, 0.24),
    "real": (real, 0.18),
    "schedule": (schedule, 0.50),
}
"""What each does, and its share of the time; what one leaves, those behind it share."""
BY_NAME = {"schedule"}
"""Parts that are done only with ``--only``."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="for all parts together: 8; 2 for a rehearsal")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
    parser.add_argument("--data", type=Path, help="folder that may hold market1501, cuhk03p1 and annotations")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on a CPU")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # what a process for one part is told
    given = parser.parse_args()
    given.minutes = (2.0 if given.rehearse else 8.0) if given.minutes is None else given.minutes
    if given.part:
        work(given.part, 60 * given.minutes, given.out, given.data, rehearse=given.rehearse)
        return
    if not (given.rehearse or torch.cuda.is_available()):
        sys.exit(
            "there is no GPU that PyTorch can use here: give --rehearse to run everything in tiny sizes on the CPU"
        )
    if given.minutes <= 0:
        parser.error("--minutes must be more than 0")
    if given.data is not None and not given.data.is_dir():
        parser.error(f"--data {given.data} is no folder")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {given.out} is no folder")
    given.out.mkdir(parents=True, exist_ok=True)
    names = [name for name in PARTS if (name in given.only if given.only else name not in BY_NAME)]
    over, died = time.monotonic() + 60 * given.minutes, False
    for number, name in enumerate(names):
        shares = [PARTS[each][1] for each in names[number:]]
        seconds = (over - time.monotonic()) * shares[0] / sum(shares)
        (given.out / f"{name}.json").unlink(missing_ok=True)  # of an earlier run: nobody may take it for this one's
        died |= not run(name, seconds, given)
        print(summary(name, given.out / f"{name}.json"), flush=True)
    if died:
        sys.exit(1)


def run(name: str, seconds: float, given: argparse.Namespace) -> bool:
    """Run a part: in a process of its own, whose death costs the others nothing; a rehearsal stays in this one.

    Returns:
        Whether it came to an end by itself.
    """
    if given.rehearse:
        work(name, seconds, given.out, given.data, rehearse=True)
        return True
    command = [sys.executable, __file__, "--part", name, "--minutes", str(seconds / 60), "--out", str(given.out)]
    command += [] if given.data is None else ["--data", str(given.data)]
    log = given.out / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code: int | str = process.wait(seconds + 15)
        except subprocess.TimeoutExpired:
            code = f"cut after {seconds + 15:.0f} s"
        finally:
            end(process)
            process.wait()
    if code != 0:
        complain(given.out / f"{name}.json", f"{code}: {log.read_text()[-3000:]}")
    log.unlink()
    return code == 0


def work(name: str, seconds: float, out: Path, data: Path | None, *, rehearse: bool) -> None:
    """Do a part here."""
    part = Part(
        out / f"{name}.json",
        torch.device("cpu" if rehearse else "cuda"),
        TINY if rehearse else FULL,
        time.monotonic() + seconds,
        data,
    )
    device = torch.cuda.get_device_name() if part.device.type == "cuda" else "CPU, a rehearsal: no figure here counts"
    part.note("machine", {"device": device, "torch": torch.__version__, "cores": os.cpu_count(), "seconds": seconds})
    try:
        PARTS[name][0](part)
    except Exception as error:  # what was found stays, and the parts behind it have their turn
        part.note("error", f"{type(error).__name__}: {error}")
    part.note("seconds_left", part.left)


def complain(file: Path, message: str) -> None:
    """Add to the results of a part that its process did not end well."""
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    write_json(file, {**found, "error": message})


def summary(name: str, file: Path) -> str:
    """A line or two for the screen; the file has the rest."""
    found: dict[str, Any] = json.loads(file.read_text())
    lines = [f"{name}: {len(found)} results in {file}, {found.get('seconds_left', 0):.0f} s of its time left"]
    for key, value in found.items():
        inner = value.get("result", value) if isinstance(value, dict) else value
        if isinstance(inner, dict) and (figures := {k: v for k, v in inner.items() if isinstance(v, float)}):
            lines.append(f"  {key}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
        elif key in ("error", "cut", "passed", "not_passed", "left out") or (
            isinstance(value, dict) and "error" in value
        ):
            lines.append(f"  {key}: {value}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
