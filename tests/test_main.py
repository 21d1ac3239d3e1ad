"""The edges of the program: Ctrl-C, output that cannot be written, and paths that the system refuses."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from semreid import cli, distributed
from semreid.console import stdout
from semreid.errors import SemreidError
from semreid.training import loop
from tests.conftest import launch
from tests.training.test_loop import recipe

SWALLOWS = """
import os, signal, time
print("loading", flush=True)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except BaseException:
    pass
"""


def test_ctrl_c_while_modules_load_ends_the_program(tmp_path: Path) -> None:
    """A module that swallows every exception stands for the many that do."""
    (tmp_path / "typer.py").write_text(SWALLOWS)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "semreid", "datasets"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "loading\n", "")


ENDED = """
import os, signal, sys, time
from pathlib import Path
from semreid import cli
from semreid.__main__ import main
from semreid.files import atomic_path
def work():
    with atomic_path(Path(sys.argv[1])) as file:
        file.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
cli.app = work
main()
"""


def test_a_process_that_a_scheduler_ends_leaves_nothing_half_written(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDED, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "interrupted\n")
    assert not list(tmp_path.iterdir())


ALONE = """
import sys
from semreid import cli, distributed
from semreid.errors import SemreidError
def work():
    with distributed.process_group():
        if distributed.rank() == 1:
            raise SemreidError("its disk is gone")
        list(distributed.shared(iter, [1, 2]))
cli.app = work
sys.argv = ["semreid", "embed"]
cli.main()
"""


def test_of_several_processes_the_one_that_failed_says_why(tmp_path: Path) -> None:
    """And not the first one, which only knows that another has ended, nor both."""
    (tmp_path / "alone.py").write_text(ALONE)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launcher, tmp_path / "alone.py"], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "error: " in line] == ["process 1: error: its disk is gone"]


def test_a_process_that_lost_another_says_so_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost() -> None:
        raise distributed.LostProcessError("another process ended")

    def wrong() -> None:
        raise SemreidError("it is wrong")

    waited: list[float] = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    monkeypatch.setattr(sys, "argv", ["semreid", "embed"])
    told = []
    for work in (wrong, lost):
        for number in "01":
            launch(monkeypatch, number)
            monkeypatch.setattr(cli, "app", work)
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert ended.value.code == 1
            told.append(capsys.readouterr().err.splitlines()[0])
    first, other = "error: it is wrong", "error: another process ended"
    assert told == [first, f"process 1: {first}", other, f"process 1: {other}"]
    assert waited == [2, 5, 5]


@pytest.mark.parametrize(("begun", "way_on"), [(False, "the same command begins anew"), (True, "--resume goes on")])
def test_ctrl_c_says_how_to_go_on(
    run, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool, way_on: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        if begun:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "checkpoint.pt").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", interrupted)
    (tmp_path / "recipe.yaml").write_text(loop.dump_recipe(recipe()))
    done = run("train", tmp_path / "recipe.yaml", "--data", f"people:{figures}", "--out", tmp_path / "run")
    assert (done.code, done.out) == (130, "")
    assert done.err.startswith("interrupted: ")
    assert way_on in done.err


def test_ctrl_c_in_any_command_is_told(run, figures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("semreid.data.cli.load_dataset", interrupted)
    assert run("doctor", f"people:{figures}") == (130, "", "interrupted: the same command begins anew\n")


def test_results_that_cannot_be_written_are_a_failure(run, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        done = run("datasets")
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert "No space left on device" in done.err


def test_a_reader_that_has_seen_enough_ends_the_program_in_silence(run, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w") as closed, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        done = run("datasets")
    assert (done.code, done.err) == (1, "")


def test_terminals_that_know_ascii_only_get_all_there_is(run, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr("semreid.data.cli.describe_benchmarks", lambda: stdout.print("caméra 128×64 \udcff") or "")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))
    assert run("datasets").code == 0
    assert content.getvalue() == b"cam\\xe9ra 128\\xd764 \\udcff\n\n"


@pytest.mark.parametrize(
    "command",
    [
        ("info", "a" * 5000),
        ("train", "a" * 5000, "--data", "people:nowhere", "--out", "run"),
        ("gallery", "info", "--gallery", "a" * 5000 + ".parquet"),
        ("gallery", "add", "a" * 5000, "--gallery", "g.parquet", "--model", "baseline"),
        ("doctor", "folder:" + "a" * 5000),
        ("doctor", "folder:~nobody-at-all/crops"),
        ("synthesize", "a" * 5000, "--identities", 4, "--images-per-identity", 2),
    ],
)
def test_paths_that_the_system_refuses(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*command)
    assert done.code in (1, 2)
    assert "way out: " in done.err
    assert not any(tmp_path.iterdir())
