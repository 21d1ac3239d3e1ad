"""The command line as a user meets it: whole commands, what they print, and what they return."""

import json
import os
import shlex
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from semreid import cli
from semreid.__main__ import main as program
from semreid.cli import main
from semreid.data.benchmarks import load_dataset
from semreid.data.store import digest_and_sketch
from semreid.functional.pairs import Rate
from semreid.models import loading
from semreid.models.zoo import MODELS, baseline, create_model
from semreid.training.recipe import dump_recipe
from semreid.version import __version__
from tests.conftest import draw_figure, launch, write_figures, write_image, write_run
from tests.training.test_loop import recipe


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "recipe.yaml"
    path.write_text(dump_recipe(recipe()))
    return path


def test_the_main_job(run, figures: Path, plan: Path, tmp_path: Path) -> None:
    data, folder = f"people:{figures}", tmp_path / "run"
    trained = run("train", plan, "--data", data, "--out", folder, "schedule.epochs=1")
    assert trained.code == 0
    assert "epoch 1/1" in trained.err
    assert f"semreid evaluate {folder}" in trained.err
    assert trained.out == ""

    judged = run("evaluate", folder, "--data", data, "--flip", "--rerank", "--out", tmp_path / "report.json")
    assert judged.code == 0
    assert "mAP" in judged.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {"model", "metrics", "ci95", "counts", "protocol"}
    assert {"mAP", "mAP_trapezoid", "mINP", "rank1", "rank5", "rank10"} <= set(report["metrics"])
    assert {"queries", "valid_queries", "gallery", "identities"} <= set(report["counts"])
    assert json.loads(run("evaluate", folder, "--data", data, "--json").out)["counts"] == report["counts"]

    embedded = run("embed", folder, figures / "query", "--out", tmp_path / "f.parquet")
    assert embedded.code == 0
    assert "10 embeddings" in embedded.out
    assert pq.read_table(tmp_path / "f.parquet").num_rows == 10

    info = json.loads(run("info", folder, "--input", "128x64").out)
    assert info["embedding_dim"] == 64
    assert info["input"] == [128, 64]
    assert info["card"]["trained_on"]["identities"] == 6

    resumed = run("train", plan, "--data", data, "--out", folder, "--resume", "schedule.epochs=1")
    assert resumed.code == 0
    assert "resumed after epoch 1" in resumed.err


def test_the_next_command_is_one_that_a_shell_takes(run, figures: Path, plan: Path, tmp_path: Path) -> None:
    data, folder = tmp_path / "my 'crops'", tmp_path / "a run"
    data.symlink_to(figures)
    done = run("train", plan, "--data", f"people:{data}", "--out", folder, "schedule.epochs=1")
    proposed = shlex.split(done.err.splitlines()[-1].partition("Next: ")[2])
    assert proposed == ["semreid", "evaluate", str(folder), "--data", f"people:{data}"]
    assert run(*proposed[1:]).code == 0


def test_after_training_on_training_rows_alone_comes_what_they_suffice_for(
    run, figures: Path, plan: Path, tmp_path: Path
) -> None:
    rows = "".join(f"{path},{path.name[:4]},train\n" for path in (figures / "bounding_box_train").iterdir())
    (tmp_path / "train.csv").write_text(f"path,pid,split\n{rows}")
    run_folder = tmp_path / "run"
    done = run("train", plan, "--data", f"folder:{tmp_path / 'train.csv'}", "--out", run_folder, "schedule.epochs=1")
    assert done.code == 0, done.err
    assert done.err.endswith(f"Next: semreid gallery add CROPS --gallery NEW --model {run_folder}\n")


def test_without_a_recipe_the_best_is_taken(run, figures: Path, tmp_path: Path, stand_ins: Path) -> None:
    card = json.loads((stand_ins / "people-s.json").read_text())["model"]
    fit = [f"model.trunk={card['trunk']}", f"model.width={card['width']}", "schedule.epochs=1", "losses={}"]
    fit += ["data.height=64", "data.width=32", "data.identities=4"]
    done = run("train", *fit, "--data", f"people:{figures}", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "from people-s: trunk" in done.err
    assert f"no masks at {figures}: people-parser tells body regions" in done.err
    kept = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    best = yaml.safe_load((Path(__file__).parents[1] / "recipes" / "tiny" / "best.yaml").read_text())
    assert kept["model"]["name"] == best["model"]["name"]
    assert kept["optim"]["lr"] == best["optim"]["lr"]


def test_doctor_prints_tables_and_json_and_its_exit_status_tells(run, figures: Path, tmp_path: Path) -> None:
    healthy = run("doctor", f"people:{figures}")
    assert healthy.code == 0
    assert "can be evaluated" in healthy.out
    sick = write_figures(tmp_path, train=2, test=2, cameras=1)
    verdict = run("doctor", f"people:{sick}")
    assert verdict.code == 1
    assert "way out: check how cameras are read" in verdict.out
    assert json.loads(run("doctor", f"people:{sick}", "--json").out)["healthy"] is False


def test_of_training_rows_alone_the_doctor_says_that_they_train(run, figures: Path, tmp_path: Path) -> None:
    rows = "".join(f"{path},{path.name[:4]},train\n" for path in (figures / "bounding_box_train").iterdir())
    (tmp_path / "train.csv").write_text(f"path,pid,split\n{rows}")
    found = run("doctor", f"folder:{tmp_path / 'train.csv'}")
    assert found.code == 0
    assert "note: there are no images to test on" in found.out
    assert "folder can be trained on" in found.out
    refused = run(
        "demo", "--data", f"folder:{tmp_path / 'train.csv'}", "--model", "baseline", "--out", tmp_path / "demo"
    )
    assert (refused.code, (tmp_path / "demo").exists()) == (1, False)
    assert "nothing can be searched" in refused.err


def test_an_evaluation_on_what_was_learned_from_says_so(run, figures: Path, tmp_path: Path) -> None:
    data = load_dataset(f"people:{figures}")
    write_run(tmp_path / "run", {"name": "baseline", "trunk": "resnet18", "width": 0.125, "size": (64, 32)})
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    for learned, says in ((data.train, False), ((*data.train, *data.query[:3]), True)):
        card["trained_on"] = {"dataset": "folder", "sketch": digest_and_sketch(learned)[1]}
        (tmp_path / "run" / "card.json").write_text(json.dumps(card))
        done = run("evaluate", tmp_path / "run", "--data", f"people:{figures}", "--json")
        assert done.code == 0, done.err
        told = "the model learned from images that it is judged on, 3 or more by its card"
        assert ("".join(json.loads(done.out)["protocol"]["warnings"]).count(told), done.err.count(told)) == (says, says)


def test_info_of_the_zoo_and_data_set_names(run) -> None:
    info = json.loads(run("info", "baseline", "--input", "256x128").out)
    assert info["parameters_without_classifiers"] == 23_512_128
    assert "card" not in info
    assert "market1501" in run("datasets").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.yaml", "--data", "people:{figures}", "--out", "{tmp}/run"], "no recipe at none.yaml"),
        (["train", "{plan}", "--data", "people:{tmp}/none", "--out", "{tmp}/run"], "there is no "),
        (["train", "{plan}", "--data", "peple:{figures}", "--out", "{tmp}/run"], "did you mean 'people'"),
        (["train", "{plan}", "--data", "people:{figures}", "--out", "{tmp}/run", "data.hight=2"], "'data.hight'"),
        (["train", "{plan}", "--data", "people:{figures}", "--out", "{tmp}/run", "--resume"], "nothing to resume"),
        (["evaluate", "{tmp}/none", "--data", "people:{figures}"], "no model card"),
        (["evaluate", "baseline", "--data", "people:{figures}", "--out", "{plan}/r.json"], "cannot write"),
        (["embed", "baseline", "{tmp}", "--out", "{tmp}/f.parquet"], "holds no image"),
        (["embed", "baseline", "{figures}", "--out", "{figures}"], "is a folder"),
        (["info", "baseline", "--input", "256"], "cannot read the size '256'"),
        (["info", "baseline", "--input", "99999x99999"], "choose sides of up to 2048 pixels"),
        (["info", "basline"], "no model card at basline"),
        (["average", "{tmp}/none", "{tmp}/neither", "--out", "{tmp}/mean"], "no model card"),
        (["calibrate", "baseline", "--data", "people:{figures}"], "baseline is untrained: no card"),
        (["verify", "baseline", "a.png", "b.png"], "this model is not calibrated"),
    ],
)
def test_what_cannot_be_done_is_one_message_with_exit_status_1(
    run, figures: Path, plan: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run(*(a.format(figures=figures, plan=plan, tmp=tmp_path) for a in arguments))
    assert result.code == 1
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "kept", "message"),
    [
        ("embed baseline one.parquet --out one.parquet", "one.parquet", "is what is read here: it will not be"),
        ("embed baseline {figures}/query --out link.parquet", "r/card.json", "is a file of a run"),
        ("evaluate baseline --data folder:a.csv --out a.csv", "a.csv", "is what is read here"),
        ("evaluate baseline --data people:copy --plot copy/query/0.png", "", "0.png is there already"),
        ("evaluate baseline --data people:{figures} --out notes.json", "notes.json", "is no such result of semreid"),
        ("evaluate baseline --data people:{figures} --html notes.html", "notes.html", "is no such result of semreid"),
        ("evaluate baseline --data people:{figures} --out notes.txt", "notes.txt", "name it notes.json"),
        ("stages baseline {figures}/a.png --out a.png", "a.png", "is no such result of semreid"),
        ("synthesize s --identities 4 --images-per-identity 4 --preview a.png", "a.png", "is no such result"),
        ("evaluate r --data people:{figures} --out r/card.json", "r/card.json", "is a file of a run"),
        ("evaluate baseline --data people:{figures} --html r/checkpoint.pt", "r/checkpoint.pt", "is a file of a run"),
        ("evaluate baseline --data people:{figures} --html r/adapt.yaml", "r/adapt.yaml", "is a file of a run"),
        ("evaluate baseline --data people:{figures} --html h --out ./h", "", "h would be written twice"),
        ("evaluate baseline --data people:{figures} --plot x.pdf", "", "name it x.png"),
        ("embed baseline {figures}/query --out em.npz", "", "name it em.parquet"),
        ("stages baseline {figures}/a.png a.png --out a.png", "a.png", "is what is read here"),
        ("texture baseline a.png --out t.jpg", "", "name it t.png"),
        ("synthesize s --identities 4 --images-per-identity 4 --preview one.jpg", "", "name it one.png"),
        ("synthesize s --identities 4 --images-per-identity 4 --preview s/a.png", "", "a.png lies in s, which is yet"),
        ("synthesize r --identities 4 --images-per-identity 4 --preview a.png", "a.png", "r exists already"),
    ],
)
def test_no_result_takes_the_place_of_an_input_a_run_or_another_result(
    run, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, kept: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(figures, "copy")
    first, *_ = sorted(Path("copy/query").iterdir())
    Path("r").mkdir()
    notes = ("notes.json", "notes.html", "notes.txt")
    for name in ("one.parquet", "a.csv", "a.png", "r/card.json", "r/checkpoint.pt", "r/adapt.yaml", *notes):
        Path(name).write_text(name)
    Path("link.parquet").symlink_to("r/card.json")
    result = run(*command.format(figures=figures).replace("copy/query/0.png", str(first)).split())
    assert result.code == 1
    assert message in result.err
    if kept:
        assert Path(kept).read_text() == kept
    assert not {"h", "s", "x.pdf", "em.npz", "one.jpg"} & {path.name for path in tmp_path.iterdir()}


def test_usage_errors_exit_with_2(run) -> None:
    assert run("evaluate").code == 2
    assert run("train", "a.yaml").code == 2
    assert run("fly").code == 2


def test_what_is_missing_behind_a_model_that_may_be_left_out_is_told(run) -> None:
    for command, missing in (
        (["verify"], "give two images: A B"),
        (["verify", "a.jpg"], "give two images: A B"),
        (["embed", "--out", "e.parquet"], "give an image, or a folder: IMAGES"),
        (["explain", "--gallery", "g.parquet", "--out", "e"], "give an image: QUERY"),
    ):
        code, _, err = run(*command)
        assert (code, missing in err) == (2, True), err
    for command in ("verify", "embed", "explain"):
        said = run(command, "--help").out
        assert "[MODEL]" in said
        assert "[required]" not in said.partition("Options:")[0]


def test_it_tells_its_version(run) -> None:
    assert run("--version") == (0, f"semreid {__version__}\n", "")
    assert f"semreid {__version__}" in run("--version", "fly").out  # before it looks at anything else


def test_an_option_that_is_given_twice_is_refused(run, figures: Path, tmp_path: Path) -> None:
    data = f"people:{figures}"
    twice = run("evaluate", "baseline", "--data", data, f"--data={data}")
    assert twice.code == 2
    assert "--data is given 2 times: it takes one value" in twice.err
    assert "--gallery is given 3 times" in run("gallery", "info", *("--gallery", tmp_path / "g.db") * 3).err
    assert "--far" not in run("calibrate", "none", "--data", data, "--far", "0.1", "--far", "0.2").err
    assert run("models", "--json", "--json").code == 0
    for command in (("optim.lr=1", "seed=1", "optim.lr=2"), ("recipe.yaml", "optim.lr=1", "optim.lr=1")):
        twice = run("train", *command, "--data", data, "--out", tmp_path / "run")
        assert (twice.code, "optim.lr= is given 2 times: it takes one value" in twice.err) == (2, True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [["adapt", "crops", "--out", "run"], ["gallery", "info", "--gallery", "g.db"]])
def test_commands_for_one_process_are_refused_under_torchrun(run, monkeypatch: pytest.MonkeyPatch, command) -> None:
    launch(monkeypatch, "0")
    told = run(*command)
    assert told.code == 2
    assert "is for one process" in told.err
    assert "run it without torchrun; processes share train, evaluate, embed, gallery add" in told.err


def test_flags_of_earlier_versions_tell_their_new_names(run) -> None:
    for flag in (["--part", "test"], ["--part=test"]):
        told = run("calibrate", "runs/first", "--data", "folder:crops", *flag)
        assert told.code == 2
        assert "the flag --part is now --split" in told.err


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (["train", "--data", "people:{figures}", "--out", ""], "the argument behind --out"),
        (["train", "--data", "people:{figures}", "--out="], "what is behind --out="),
        (["evaluate", "", "--data", "people:{figures}"], "the argument behind evaluate"),
        (["gallery", "info", "--gallery", ""], "the argument behind --gallery"),
    ],
)
def test_what_is_empty_is_not_taken_for_the_current_folder(
    run, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*(part.format(figures=figures) for part in command))
    assert done.code == 2
    assert done.err.startswith(f"error: {where} is empty\n  way out: ")
    assert not any(tmp_path.iterdir())


def test_an_evaluation_says_that_ties_shape_its_figures(run, figures: Path, tmp_path: Path) -> None:
    """One picture for everybody: every answer is as good as any other."""
    alike = Path(shutil.copytree(figures, tmp_path / "alike"))
    images = sorted(alike.rglob("*.png"))
    for image in images:
        image.write_bytes(images[0].read_bytes())
    done = run("evaluate", "baseline", "--data", f"people:{alike}")
    assert done.code == 0, done.err
    assert "warning: 100.0 % of the pairs of a match and a negative are at equal distance" in done.err.replace(
        "\n", " "
    )
    assert "equal distance" not in run("evaluate", "baseline", "--data", f"people:{figures}").err


def test_a_model_without_images_is_not_taken_for_an_image(run, tmp_path: Path, stand_ins: Path) -> None:
    for model in ("people-s", "baseline", "exported.onnx"):
        alone = run("verify", model, "one.jpg")
        assert alone.code == 1
        assert alone.err.startswith(f"error: {model} is a model, and one.jpg is the only image\n  way out: name ")
        assert f"error: {model} is a model, and no image is named" in run("embed", model, "--out", tmp_path / "f").err
        asked = run("explain", model, "--gallery", tmp_path / "g.parquet", "--out", tmp_path / "why")
        assert f"error: {model} is a model, and no query is named" in asked.err
    assert "people-x" in run("verify", "people-x", "one.jpg").err


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_closed_streams_are_no_failure(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    for arguments, code in ((["datasets"], 0), (["info", tmp_path / "none"], 1)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, closed, None)
            assert run(*arguments).code == code
            getattr(sys, closed).close()


@pytest.mark.parametrize("early", [True, False])
def test_ctrl_c_around_a_command_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], early: bool
) -> None:
    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("sys.argv", ["semreid", "datasets"])
    monkeypatch.setattr(cli, "_look_at" if early else "app", interrupted)
    try:
        with pytest.raises(SystemExit) as caught:
            program()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # nothing is left to be told
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_skip_corrupt_is_counted(run, plan: Path, tmp_path: Path) -> None:
    folder = write_figures(tmp_path / "data", train=4, test=2)
    for part in ("query", "bounding_box_train"):
        next(iter(sorted((folder / part).iterdir()))).write_bytes(b"")
    train = ["train", plan, "--data", f"people:{folder}", "--out", tmp_path / "run", "schedule.epochs=1"]
    refused = run(*train)
    assert refused.code == 1
    assert "--skip-corrupt" in refused.err
    assert not (tmp_path / "run").exists()
    trained = run(*train, "--skip-corrupt")
    assert trained.code == 0
    assert trained.err.endswith(f"Next: semreid evaluate {tmp_path / 'run'} --data people:{folder} --skip-corrupt\n")
    judged = run("evaluate", tmp_path / "run", "--data", f"people:{folder}", "--skip-corrupt", "--json")
    assert json.loads(judged.out)["counts"]["corrupt_skipped"] == 2
    assert "2 unreadable images were skipped" in judged.err


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of enough people for a calibration; read only."""
    return write_figures(tmp_path_factory.mktemp("crowd"), train=6, test=40, images=2)


def test_calibrate_and_verify(run, crowd: Path, plan: Path, tmp_path: Path) -> None:
    data, folder, a, b = f"people:{crowd}", tmp_path / "run", *sorted((crowd / "query").iterdir())[:2]
    assert run("train", plan, "--data", data, "--out", folder, "schedule.epochs=1").code == 0
    refused = run("verify", folder, a, b)
    assert refused.code == 1
    assert "semreid calibrate MODEL --data" in refused.err
    assert refused.out == ""

    strict = run("calibrate", folder, "--data", data, "--far", "0.1", "--far", "1e-5")
    assert strict.code == 1
    assert "a false-accept rate of 1e-05 cannot be stated: 40 people" in strict.err
    assert "not calibrated" in run("verify", folder, a, b).err

    out = tmp_path / "calibration"
    done = run("calibrate", folder, "--data", data, "--far", "0.1", "--per-camera-pair", "--out", out)
    assert done.code == 0
    assert "warning: calibrated on the test split" in done.err
    assert "split test" in done.out
    assert "thresholds of their own have the cameras 1-2" in done.out
    assert {p.name for p in out.iterdir()} == {"calibration.json", "calibration.png"}

    verdict = json.loads(run("verify", folder, a, b, "--cameras", "2,1", "--prior", "0.2", "--json").out)
    assert verdict["cameras"] == "1-2"
    assert verdict["same"] == (verdict["score"] >= verdict["threshold"])
    assert (verdict["asked_far"], verdict["prior"]) == (0.1, 0.2)
    assert 0 < verdict["probability"] < 1
    text = run("verify", folder, a, b, "--calibration", out / "calibration.json").out
    assert text == run("verify", folder, a, b, "--calibration", out).out
    assert f"score {verdict['score']:.4f}, threshold {verdict['threshold']:.4f} for cameras 1-2\n" in text
    assert "at a false-accept rate of 0.1" in text

    speck = write_image(tmp_path / "speck.png", draw_figure(1, 1, 0)[:1, :1])
    doubtful = run("verify", folder, a, speck)
    assert (doubtful.code, doubtful.err) == (
        0,
        f"warning: {speck} has 1×1 pixels, which show little of a person: do not rely on the answer\n",
    )
    confused = run("verify", a, a, b)
    assert (confused.code, f"{a} is an image, and no model" in confused.err) == (1, True)

    same = run("verify", folder, a, a)
    assert (same.code, same.out) == (1, "")
    assert "both crops are from camera 1" in same.err
    sure = run("verify", folder, a, b, "--prior", "0.9999").out
    assert "probability that they are one person: > 99.9 % (before looking: > 99.9 %)\n" in sure

    bad = run("verify", folder, a, b, "--cameras", "1")
    assert "cannot read the cameras '1'" in bad.err
    assert "way out: write two camera numbers" in bad.err
    one = run("verify", folder, a, b, "--cameras", "2,2")
    assert (one.code, one.out) == (1, "")
    assert "both crops are from camera 2; the calibration is about crops of two different cameras" in one.err
    far_off = run("verify", folder, a, b, "--cameras", f"1,{2**31}")
    assert "way out: write two camera numbers from 0 to 2147483647" in far_off.err
    assert json.loads(run("verify", folder, a, b, "--cameras", f"1,{2**31 - 1}", "--json").out)["same"] in (True, False)
    assert run("verify", folder, a, b, "--far", "0.5").code == 1
    assert run("verify", folder, a, b, "--prior", "1").code == 1
    assert run("verify", folder, a, crowd / "none.png").code == 1
    content = json.loads(run("calibrate", folder, "--data", data, "--flip", "--json").out)
    assert content["calibration"]["flip"]
    assert json.loads(run("info", folder).out)["card"]["calibration"] == content["calibration"]


def test_rates_are_figures_and_no_powers_of_ten() -> None:
    assert cli._percent(Rate(1.0, 0.86, 1.0, 9.0)) == "100 [86, 100]"
    assert cli._percent(Rate(0.0123456, 0.0099, 0.0161, 9.0)) == "1.23 [0.99, 1.6]"


def test_a_fault_of_ours_is_one_line_and_the_traceback_is_for_those_who_ask(run, monkeypatch) -> None:
    def broken() -> str:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("semreid.data.cli.describe_benchmarks", broken)
    code, out, err = run("datasets")
    assert (code, out) == (70, "")
    assert err == f"error: this is a fault of semreid {__version__}, please report it: ZeroDivisionError: by nothing\n"
    monkeypatch.setenv("SEMREID_DEBUG", "1")
    monkeypatch.setattr("sys.argv", ["semreid", "datasets"])
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.parametrize(
    "command",
    [
        ["doctor", "folder:~nobodyxyz/crops"],
        ["doctor", "folder:LONG"],
        ["info", "LONG"],
        ["info", "baseline", "--input", "9" * 5000 + "x1"],
        ["train", "LONG", "--data", "people:.", "--out", "run"],
        ["export", "e.onnx", "--out", "f.onnx"],
        ["evaluate", "x.pth", "--data", "people:{figures}"],
    ],
)
def test_arguments_that_can_be_nothing_are_told_in_a_line(run, figures: Path, command: list[str]) -> None:
    code, _, err = run(*(part.replace("LONG", "a" * 5000).format(figures=figures) for part in command))
    assert code == 1
    assert "\n  way out: " in err
    assert "Traceback" not in err
    assert len(err) < 1000


def test_untrained_models_are_said_to_be(run, figures: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(MODELS, "small", baseline)
    monkeypatch.setattr(loading, "create_model", partial(create_model, trunk="resnet18", width=0.125, size=(64, 32)))
    said = "warning: small is untrained: random weights"
    judged = run("evaluate", "small", "--data", f"people:{figures}", "--json")
    assert (judged.code, said in judged.err) == (0, True)
    assert json.loads(judged.out)["protocol"]["checkpoint"] == "none: random weights"
    assert said in run("embed", "small", figures / "query", "--out", tmp_path / "e.parquet").err
    assert said in run("gallery", "add", figures / "query", "--gallery", tmp_path / "g.parquet", "--model", "small").err
    assert said in run("info", "small").err
