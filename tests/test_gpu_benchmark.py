"""The one command for a GPU, rehearsed on the CPU: what it must leave, and what must not stop it."""

import argparse
import json
import math
import runpy
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import draw_figure, write_image

SCRIPTS = Path(__file__).parents[1] / "benchmarks"
PARTS = ("proof", "speed", "limit", "train", "real")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.syspath_prepend(SCRIPTS)
    return runpy.run_path(str(SCRIPTS / "gpu.py"))


def market(root: Path) -> None:
    """Figures by the names of Market-1501."""
    for pid in range(1, 12):
        for camid in (1, 2):
            for image in range(3):
                folder = "bounding_box_train" if pid < 7 else "bounding_box_test" if image else "query"
                name = f"{pid:04d}_c{camid}s1_{image:06d}_00.jpg"
                write_image(root / folder / name, draw_figure(pid, camid, image))


@pytest.mark.timeout(400)
def test_a_rehearsal_leaves_the_results_of_all_parts(gpu, monkeypatch, tmp_path, capsys) -> None:
    market(tmp_path / "data" / "market1501")
    arguments = ["--rehearse", "--minutes", "0.8", "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    monkeypatch.setattr("sys.argv", ["gpu.py", *arguments])
    gpu["main"]()
    found = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in PARTS}
    printed = capsys.readouterr().out
    for name in PARTS:
        assert f"{name}: " in printed
        assert "error" not in found[name], found[name]
        assert "a rehearsal" in found[name]["machine"]["device"]
    assert not set(found["proof"].get("tests", {}).values()) - {"passed", "skipped"}
    assert found["speed"]["baseline"]["result"]["images_per_second"] > 0
    assert len(found["limit"]["magnifiernet"]["result"]["ten_longest"]) == 10
    assert found["train"]["learned"]["pictures_made"] >= 12
    assert found["train"]["market1501"]["result"]["mAP"] > 0
    pieces = sorted((tmp_path / "out").glob("model.safetensors.*"))
    assert [piece.stat().st_size for piece in pieces] == [found["train"]["card"]["bytes"]]
    for name in ("baseline", "unified"):
        course = found["real"][name]["result"]
        assert 0 < course["seconds_to_80_percent"] <= course["seconds"]


@pytest.mark.parametrize("name", ["baseline", "san", "pmm"])
def test_a_step_asks_the_device_for_little_more_than_its_trunk_does(monkeypatch, tmp_path, name) -> None:
    """At least 60 % of what a GPU is asked for is the trunk's: at batch 64, a step lasts as long as the asking."""
    monkeypatch.syspath_prepend(SCRIPTS)
    import _gpu_results
    import _gpu_speed

    scale = replace(_gpu_results.TINY, trunk=("resnet50", 0.125))
    part = _gpu_results.Part(tmp_path / "part.json", torch.device("cpu"), scale, math.inf)
    trainer = _gpu_speed.make_trainer(part, name, 8)
    batch = _gpu_speed.batches_of(trainer)()
    trainer.step(batch)  # the first one makes what later ones find
    trunk = _gpu_speed.kernels(_gpu_speed.bare_step(trainer.model, batch.images))
    assert trunk > 500  # 53 convolutions, their casts, normalisations and rectifiers, forwards and backwards
    assert trunk / _gpu_speed.kernels(lambda: trainer.step(batch)) >= 0.6


@pytest.mark.timeout(300)
def test_a_schedule_is_compared_if_that_is_asked_for(gpu, monkeypatch, tmp_path) -> None:
    market(tmp_path / "data" / "market1501")
    arguments = ["--rehearse", "--minutes", "0.2", "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    monkeypatch.setattr("sys.argv", ["gpu.py", *arguments, "--only", "schedule"])
    gpu["main"]()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["schedule.json"]
    found = json.loads((tmp_path / "out" / "schedule.json").read_text())
    assert set(found["rates"]) == {"eager", "graphs"}
    short, long = (found[name]["result"] for name in ("short", "long"))
    assert long["steps"] == found["setting"]["long_steps"]
    assert short["steps"] == max(2, round(0.3 * long["steps"]))
    assert 0 < short["mAP"] <= 100  # more steps fit where the machine is quick, and the people are few


def test_without_a_gpu_it_says_so_and_names_the_way_out(gpu, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu.py", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="no GPU that PyTorch can use here: give --rehearse") as caught:
        gpu["main"]()
    assert isinstance(caught.value.code, str)  # which Python prints, and exits with 1


def test_a_part_that_fails_does_not_stop_the_others(gpu, monkeypatch, tmp_path, capsys) -> None:
    def broken(part) -> None:
        part.note("first", 1)
        raise RuntimeError("no luck")

    monkeypatch.setitem(gpu["PARTS"], "speed", (broken, 0.5))
    monkeypatch.setitem(gpu["PARTS"], "limit", (lambda part: part.note("done", 2), 0.5))
    arguments = ["--rehearse", "--minutes", "0.1", "--out", str(tmp_path), "--only", "speed", "--only", "limit"]
    monkeypatch.setattr("sys.argv", ["gpu.py", *arguments])
    gpu["main"]()
    speed, limit = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("speed", "limit"))
    assert (speed["first"], speed["error"]) == (1, "RuntimeError: no luck")
    assert limit["done"] == 2
    assert "no luck" in capsys.readouterr().out


def test_what_failed_is_kept_with_its_traceback(gpu) -> None:
    told = ["=== test session starts ===", "tests/cuda/test_cuda.py::test_a FAILED", "==== FAILURES ====", "E  why"]
    end = ["==== short test summary info ====", "FAILED tests/cuda/test_cuda.py::test_a - why"]
    assert gpu["failures"]([*told, *end]) == told[2:]
    assert gpu["failures"]([told[0], "=== 1 passed ==="]) == []


def test_a_process_that_dies_or_hangs_leaves_its_results_and_what_it_said(gpu, monkeypatch, tmp_path) -> None:
    given = argparse.Namespace(rehearse=False, out=tmp_path, data=None)
    (tmp_path / "speed.json").write_text('{"before": 1}')
    script = tmp_path / "dies.py"
    script.write_text("import sys; sys.exit('it died')")
    monkeypatch.setitem(gpu["run"].__globals__, "__file__", str(script))
    assert not gpu["run"]("speed", 30, given)
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["before"] == 1
    assert found["error"].startswith("1: it died")
    script.write_text("import time; time.sleep(60)")
    gpu["run"]("limit", -14, given)
    assert "cut after 1 s" in json.loads((tmp_path / "limit.json").read_text())["error"]


def test_nothing_of_an_earlier_run_is_taken_for_this_ones(gpu, monkeypatch, tmp_path, capsys) -> None:
    (tmp_path / "limit.json").write_text('{"bf16_tflops": {"result": {"tflops": 1.5}}}')
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (tmp_path / "dies.py").write_text("import sys; sys.exit('it died')")
    monkeypatch.setitem(gpu["run"].__globals__, "__file__", str(tmp_path / "dies.py"))
    monkeypatch.setattr("sys.argv", ["gpu.py", "--out", str(tmp_path), "--only", "limit", "--minutes", "0.2"])
    with pytest.raises(SystemExit) as ended:
        gpu["main"]()
    assert ended.value.code == 1
    assert "tflops" not in capsys.readouterr().out
    assert json.loads((tmp_path / "limit.json").read_text()).keys() == {"error"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--minutes", "-1"], "--minutes must be more than 0"),
        (["--data", "nowhere"], "--data nowhere is no folder"),
        (["--only", "foo"], "invalid choice: 'foo'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(gpu, monkeypatch, tmp_path, capsys, options, says) -> None:
    monkeypatch.setattr("sys.argv", ["gpu.py", "--rehearse", "--out", str(tmp_path / "out"), *options])
    with pytest.raises(SystemExit) as ended:
        gpu["main"]()
    assert (ended.value.code, (tmp_path / "out").exists()) == (2, False)
    assert says in capsys.readouterr().err


def test_full_memory_halves_the_batch_once_and_both_are_noted(gpu, tmp_path) -> None:
    Part, TINY = (gpu["work"].__globals__[name] for name in ("Part", "TINY"))
    part = Part(tmp_path / "p.json", torch.device("cpu"), TINY, time.monotonic() + 60)

    def hungry(limit: int):
        def work(batch: int) -> int:
            if batch > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
            return batch * 10

        return work

    part.attempt("fits", hungry(64), 64)
    part.attempt("half", hungry(32), 64)
    part.attempt("never", hungry(8), 64)
    Part(part.file, torch.device("cuda"), TINY, part.end, found=part.found).attempt("late", hungry(64), 64, seconds=1e6)
    found = json.loads((tmp_path / "p.json").read_text())
    said = "CUDA out of memory. Tried to allocate 20 GiB"
    assert found["fits"] == {"batch": 64, "result": 640}
    assert found["half"] == {"batch": 32, "out of memory at 64": said, "result": 320}
    assert found["never"] == {"out of memory at 64": said, "out of memory at 32": said}
    assert "left out" in found["late"]
