import json
import shutil
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semreid.data import store
from semreid.data.crops import Crops, crops_at, crops_of
from semreid.data.sample import ReIDDataset
from semreid.data.store import digest_and_sketch
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate
from semreid.functional.grouping import group_features
from semreid.gallery import Gallery
from semreid.gallery.said import named
from semreid.models.card import read_card, save_model
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.training import rounds
from semreid.training.adapt import adapt, facts_of
from semreid.training.loop import train
from semreid.training.recipe import AdaptRecipe, load_recipe, parse_recipe
from tests.conftest import draw_figure, full_disk, write_crops, write_image, write_run
from tests.training.test_loop import recipe as training

TINY = {
    "precision": "fp32",
    "rounds": 2,
    "steps": 4,
    "identities": 4,
    "instances": 2,
    "groups": {"k1": 6, "k2": 2, "min_samples": 2},
    "augment": {"pad": 2, "erase": 0.3},
    "optim": {"name": "adamw", "lr": 2e-3, "ema": 0.5},
}
SMALL = {"trunk": "resnet18", "width": 0.125, "size": (64, 32)}


def recipe(**changes: object) -> AdaptRecipe:
    return parse_recipe({**TINY, **changes}, "test", AdaptRecipe)


@pytest.fixture(scope="module")
def start(figure_data: ReIDDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learned a little of six figures; read only."""
    run = tmp_path_factory.mktemp("start") / "run"
    train(training(schedule={"epochs": 6}), figure_data, run)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of eight other people by two cameras; read only."""
    return write_crops(tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="module")
def crops(folder: Path) -> Crops:
    return crops_at(folder)


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_every_crop_is_read_once(start: Path, crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, read = digest_and_sketch(crops.samples), []
    monkeypatch.setattr(store, "image_bytes", lambda sample: read.append(sample) or sample.path.read_bytes())
    learned = facts_of(crops, load_model(start))
    assert read == list(crops.samples)
    assert (learned["sha256"], learned["sketch"]) == expected


@pytest.fixture(scope="module")
def adapted(start: Path, crops: Crops, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapted run; read only."""
    run = tmp_path_factory.mktemp("adapted") / "run"
    adapt(recipe(), crops, start, run)
    return run


def test_a_run_like_any_other_whose_card_says_what_it_was_adapted_on(adapted: Path, start: Path, crops: Crops) -> None:
    names = {path.name.split(".out.")[-1] for path in adapted.iterdir()}
    assert {"adapt.yaml", "model.safetensors", "card.json", "checkpoint.pt", "metrics.jsonl"} <= names
    assert load_model(adapted).embed([draw_figure(1, 1, 1)]).shape == (1, load_model(start).dim)
    card = read_card(adapted)
    facts = card.trained_on
    assert (facts["dataset"], facts["identities"], facts["images"]) == ("folder", 0, 48)
    assert facts["pretrained"] == str(start)
    assert facts["before"]["pretrained"]["dataset"] == "people"
    assert facts["adapted"]["rounds"] == 2
    assert facts["adapted"]["groups"] == card.model["num_ids"] > 1
    assert set(read_card(start).trained_on["sketch"]) < set(facts["sketch"])
    rows = [json.loads(line) for line in (adapted / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert rows[0]["stability"] is None
    assert -1 <= rows[1]["stability"] <= 1
    assert {"grouped", "groups", "spanning", "silhouette", "mutual", "contrast.groups", "contrast.cameras"} <= {
        *rows[1]
    }


def test_identities_are_never_read(adapted: Path, folder: Path, start: Path, tmp_path: Path) -> None:
    """Files under other names of people and other folders, in another order, and rows with other people: same bytes."""
    rng = np.random.default_rng(0)
    images = sorted(folder.iterdir())
    lines = ["pid,camid,path"]
    for image, number in zip(images, rng.permutation(len(images)), strict=True):
        camid = image.name.split("_")[1]
        name = f"{number % 5}/{number:04d}_{camid}.png"
        (tmp_path / "shuffled" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / "shuffled" / name)
        lines.append(f"{rng.integers(3)},{camid[1:]},shuffled/{name}")
    (tmp_path / "wrong.csv").write_text("\n".join(lines))
    (tmp_path / "none.csv").write_text("\n".join(line.partition(",")[2] for line in lines))
    for name, source in (("a", "shuffled"), ("b", "wrong.csv"), ("c", "none.csv")):
        adapt(recipe(), crops_at(tmp_path / source), start, tmp_path / name)
        assert weights(tmp_path / name) == weights(adapted)


def test_shuffled_people_of_a_data_set_change_nothing(
    figure_data: ReIDDataset, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = np.random.default_rng(1).permutation([s.pid for s in figure_data.train])
    other = replace(
        figure_data, train=tuple(replace(s, pid=int(pid)) for s, pid in zip(figure_data.train, pids, strict=True))
    )
    for name, dataset in (("a", figure_data), ("b", other)):
        monkeypatch.setattr("semreid.data.crops.load_dataset", lambda _, dataset=dataset: dataset)
        adapt(recipe(rounds=1), crops_of("people:x"), start, tmp_path / name)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_without_settings_neighbourhoods_shrink_to_what_people_have_but_never_grow(
    start: Path, crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []

    def grouped(*args: object, **settings: object) -> object:
        asked.append(settings)
        return group_features(*args, **settings)

    monkeypatch.setattr(rounds, "group_features", grouped)
    adapt(recipe(rounds=1, steps=1, groups={"min_samples": 2}), crops, start, tmp_path / "run")
    assert (asked[0]["k1"], asked[0]["k2"], asked[0]["largest"]) == (None, None, 15)


def test_without_settings_crops_are_grouped_by_the_defaults_of_group_but_cut_earlier() -> None:
    asked = {name: value.default for name, value in signature(group_features).parameters.items()} | {"cut": 0.7}
    assert vars(AdaptRecipe().groups) == {name: asked[name] for name in vars(AdaptRecipe().groups)}
    assert AdaptRecipe().groups.k1 is None  # as many as people have crops


def test_resumes_to_the_same_bytes(adapted: Path, start: Path, crops: Crops, tmp_path: Path) -> None:
    learn, calls = rounds.Rounds.next, []

    def stop_at_the_second(self, *arguments):
        if len(calls) == 1:
            raise RuntimeError
        calls.append(1)
        return learn(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds.Rounds, "next", stop_at_the_second)
        with pytest.raises(RuntimeError):
            adapt(recipe(), crops, start, tmp_path / "run")
    assert read_card(tmp_path / "run").trained_on["adapted"]["rounds"] == 1
    load_model(tmp_path / "run")  # what the first round learned is whole
    with pytest.raises(SemreidError, match="already holds a run"):
        adapt(recipe(), crops, start, tmp_path / "run")
    adapt(recipe(), crops, start, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(adapted)
    before = weights(tmp_path / "run")
    adapt(recipe(), crops, start, tmp_path / "run", resume=True)  # nothing is left to do
    assert weights(tmp_path / "run") == before


def test_a_stop_behind_the_last_checkpoint_costs_nothing(
    adapted: Path, start: Path, crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No round is left to do then, and still the folder must come to hold what the last one learned."""
    save, calls = save_model, []

    def stop_at_the_last(*arguments):
        calls.append(1)
        if len(calls) == recipe().rounds:
            raise KeyboardInterrupt
        return save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("semreid.training.adapt.save_model", stop_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            adapt(recipe(), crops, start, tmp_path / "run")
    assert weights(tmp_path / "run") != weights(adapted)
    model = adapt(recipe(), crops, start, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(adapted)
    assert read_card(tmp_path / "run").trained_on["adapted"] == read_card(adapted).trained_on["adapted"]
    assert model.trunk.conv1.weight.is_contiguous(memory_format=torch.channels_last)  # as it learned


def test_goes_on_with_the_same_crops_start_and_recipe_only(
    adapted: Path, start: Path, crops: Crops, tmp_path: Path
) -> None:
    run = shutil.copytree(adapted, tmp_path / "run")
    fewer = replace(crops, samples=crops.samples[:-1], cameras=crops.cameras[:-1], tracks=crops.tracks[:-1])
    other_cameras = replace(crops, cameras=crops.cameras + 1)
    with pytest.raises(SemreidError, match="learned from other data: 48 images"):
        adapt(recipe(), fewer, start, run, resume=True)
    with pytest.raises(SemreidError, match="had other cameras, tracks or times"):
        adapt(recipe(), other_cameras, start, run, resume=True)
    with pytest.raises(SemreidError, match="had another model to begin with"):
        adapt(recipe(), crops, adapted, run, resume=True)
    with pytest.raises(SemreidError, match="steps: 4' then, 'steps: 5' now") as caught:
        adapt(recipe(steps=5), crops, start, run, resume=True)
    assert caught.value.fix.startswith(f"resume with the recipe {run / 'adapt.yaml'} and no overrides")
    assert load_recipe(run / "adapt.yaml", [], AdaptRecipe) == recipe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semreid.training.adapt.learning_heads", lambda *_: [])
        with pytest.raises(SemreidError, match="other heads that learn by losses of their own"):
            adapt(recipe(), crops, start, run, resume=True)
    assert weights(run) == weights(adapted)


def test_begins_no_round_that_would_not_end_in_time(
    start: Path, crops: Crops, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ticks = iter(range(0, 10**6, 40))  # 40 seconds at each look: a round takes 40
    adapt(recipe(rounds=5), crops, start, tmp_path / "run", minutes=3.5, clock=lambda: float(next(ticks)))
    done = read_card(tmp_path / "run").trained_on["adapted"]["rounds"]
    assert 1 <= done < 5
    assert f"stopped after {done} of 5 rounds" in capfd.readouterr().err
    adapt(recipe(rounds=5), crops, start, tmp_path / "run", resume=True)
    adapt(recipe(rounds=5), crops, start, tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_one_slow_round_long_ago_does_not_end_a_run(start: Path, crops: Crops, tmp_path: Path) -> None:
    """Of thirteen minutes, the first round takes five and each of the others one: there is time for nine."""
    looks = [0, 0, 0, 300]  # as the run begins; before the first round; as it begins and ends
    looks += [300 + 60 * ended for done in range(9) for ended in (done, done, done + 1)]
    adapt(recipe(rounds=7), crops, start, tmp_path / "run", minutes=13, clock=lambda: float(looks.pop(0)))
    assert read_card(tmp_path / "run").trained_on["adapted"]["rounds"] == 7


def test_learns_from_a_gallery_by_what_people_said(run, folder: Path, start: Path, tmp_path: Path) -> None:
    """The crops of a gallery are those of its files; what is said later is another run."""
    place = tmp_path / "g.parquet"
    assert run("gallery", "add", folder, "--unlabelled", "--gallery", place, "--model", start).code == 0
    settings = ["rounds=1", "steps=1", "identities=4", "groups.k1=6", "groups.k2=2", "groups.min_samples=2"]
    command = ["adapt", *settings, "--from", start, "--gallery", place]
    done = run(*command, "--out", tmp_path / "a")
    assert done.code == 0, done.err
    assert "semreid gallery add --from" in done.err
    assert run("adapt", folder, *settings, "--from", start, "--out", tmp_path / "b").code == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    with Gallery.open(place) as gallery:
        rows = sorted((entry for entries, _ in gallery.scan() for entry in entries), key=lambda entry: entry.path)
        gallery.exchange(rows, [named(row, f"p{i % 2}") for i, row in enumerate(rows)])
    again = run(*command, "--out", tmp_path / "a", "--resume")
    assert again.code == 1
    assert "somebody has said more of them" in again.err
    done = run(*command, "--out", tmp_path / "c")
    assert "48 of 48 crops show 2 people whom somebody named" in done.err
    assert read_card(tmp_path / "c").trained_on["adapted"]["groups"] == 2
    assert run("adapt", folder, *command[1:], "--out", tmp_path / "d").code == 2
    twice = run(*command, "steps=2", "--out", tmp_path / "d")
    assert (twice.code, "steps= is given 2 times: it takes one value" in twice.err) == (2, True)


def test_adapting_to_new_cameras_helps_people_whom_nobody_named(tmp_path: Path, start: Path) -> None:
    """A model of other people sees 24 new ones under new cameras; ten other new ones judge it before and after."""
    for pid in range(100, 134):
        for camid in (1, 4):
            for image in range(4):
                part = "bounding_box_train" if pid < 124 else "bounding_box_test" if image else "query"
                write_image(
                    tmp_path / "new" / part / f"{pid}_c{camid}s1_{image:06d}_00.png", draw_figure(pid, camid, image)
                )
    crops = crops_of(f"people:{tmp_path / 'new'}")
    from semreid.data.benchmarks import load_dataset

    judges = load_dataset(f"people:{tmp_path / 'new'}")
    model = adapt(recipe(rounds=4, steps=20, identities=8, instances=4), crops, start, tmp_path / "run")
    before, after = (evaluate(m, judges).metrics["mAP"] for m in (load_model(start), model))
    assert after > before + 5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("magnifiernet", {}),
        ("pmm", {"dim": 16}),
        ("san", {"decoder_blocks": 3}),
        ("unified", {"dim": 16, "decoder_blocks": 3}),
    ],
)
def test_every_head_that_can_learns_without_labels(
    name: str, options: dict[str, object], crops: Crops, tmp_path: Path
) -> None:
    write_run(tmp_path / "start", {"name": name, **SMALL, **options})
    adapt(
        recipe(rounds=1, steps=2, groups={"k1": 6, "k2": 2, "min_samples": 2, "cut": 0.9}),
        crops,
        tmp_path / "start",
        tmp_path / "run",
    )
    before, after = (dict(load_model(tmp_path / run).named_parameters()) for run in ("start", "run"))
    (row,) = (json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    for head in load_model(tmp_path / "start").heads:
        moved = [n for n in before if n.startswith(f"heads.{head}.") and not torch.equal(before[n], after[n])]
        assert bool(moved) == (head not in ("texture", "parsing")), head
        assert any(loss.startswith(f"{head}.") for loss in row) == (head == "identity")


def test_a_head_whose_losses_are_weighed_learns_by_them_too(crops: Crops, tmp_path: Path) -> None:
    write_run(tmp_path / "start", {"name": "magnifiernet", **SMALL})
    groups = {"k1": 6, "k2": 2, "min_samples": 2, "cut": 0.9}
    wanted = recipe(rounds=1, steps=2, groups=groups, losses={"parsing.pixel": 2.0, "fusion.id": 1.0})
    adapt(wanted, crops, tmp_path / "start", tmp_path / "run")
    before, after = (dict(load_model(tmp_path / run).named_parameters()) for run in ("start", "run"))
    (row,) = (json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    heads = {loss.partition(".")[0] for loss in row if "." in loss}
    assert heads == {"identity", "parsing", "fusion", "contrast"}
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("heads.parsing."))
    with pytest.raises(SemreidError, match=r"names a loss 'fusion.cat'"):
        adapt(recipe(losses={"fusion.cat": 1.0}), crops, tmp_path / "start", tmp_path / "other")


@pytest.mark.parametrize("loss", ["texture.reconstruction", "nose.id"])
def test_no_loss_can_be_weighed_that_nobody_can_compute(loss: str, crops: Crops, tmp_path: Path) -> None:
    write_run(tmp_path / "start", {"name": "san", **SMALL})
    with pytest.raises(SemreidError, match=f"names a loss '{loss}'"):
        adapt(
            recipe(losses={loss: 1.0}, groups={"k1": 6, "k2": 2, "cut": 0.9}), crops, tmp_path / "start", tmp_path / "r"
        )


def test_crops_of_one_camera_work_and_it_is_said_what_is_lost(start: Path, crops: Crops, tmp_path: Path) -> None:
    only = np.flatnonzero(crops.cameras == 1)
    one = replace(
        crops, samples=tuple(crops.samples[i] for i in only), cameras=crops.cameras[only], tracks=crops.tracks[only]
    )
    adapt(recipe(rounds=1), one, start, tmp_path / "run")
    (row,) = (json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert row["spanning"] is row["mutual"] is None
    assert "contrast.cameras" not in row


def folder_of(root: Path, images: list[np.ndarray]) -> Crops:
    for number, image in enumerate(images):
        write_image(root / f"{number:03d}_c{number % 2}.png", image)
    return crops_at(root)


def test_one_person_or_copies_are_one_group_of_which_nothing_can_be_learned(start: Path, tmp_path: Path) -> None:
    copies = folder_of(tmp_path / "copies", [draw_figure(1, 1, 1)] * 20)
    alike = folder_of(tmp_path / "alike", [draw_figure(1, 1, i) for i in range(20)])
    for crops, settings in ((copies, {}), (alike, {"groups": {"k1": 20, "k2": 6, "cut": 0.97, "min_samples": 15}})):
        with pytest.raises(SemreidError, match="all crops that are alike at all fall into one group"):
            adapt(recipe(**settings), crops, start, tmp_path / "run")
    assert not (tmp_path / "run" / "card.json").exists()


def test_no_group_in_a_later_round_keeps_what_was_learned(
    start: Path, crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rounds.group_features
    calls: list[int] = []

    def none_in_the_second(*arguments, **options):
        grouping = found(*arguments, **options)
        calls.append(1)
        return grouping if len(calls) == 1 else grouping._replace(groups=np.full_like(grouping.groups, -1))

    monkeypatch.setattr(rounds, "group_features", none_in_the_second)
    with pytest.raises(SemreidError, match="round 2: no 2 of the 48 crops .* what was learned in 1 rounds stays"):
        adapt(recipe(), crops, start, tmp_path / "run")
    assert read_card(tmp_path / "run").trained_on["adapted"]["rounds"] == 1
    load_model(tmp_path / "run")


def test_features_that_are_no_numbers_are_refused(crops: Crops, start: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(start, tmp_path / "start")
    model, card = load_model(start), read_card(start)
    torch.nn.init.constant_(model.trunk.conv1.weight, float("nan"))
    from semreid.models.card import save_model

    save_model(broken, model, card)
    with pytest.raises(SemreidError, match="NaN"):
        adapt(recipe(), crops, broken, tmp_path / "run")


def test_a_start_that_cannot_learn_or_embed_is_refused(crops: Crops, tmp_path: Path) -> None:
    write_run(tmp_path / "parser", {"name": "parser", **SMALL})
    with pytest.raises(SemreidError, match="no embedding"):
        adapt(recipe(), crops, tmp_path / "parser", tmp_path / "run")
    with pytest.raises(SemreidError, match="baseline is untrained"):
        adapt(recipe(), crops, "baseline", tmp_path / "run")
    with pytest.raises(SemreidError, match="no model card"):
        adapt(recipe(), crops, tmp_path / "nowhere", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_keeps_the_last_round(start: Path, crops: Crops, adapted: Path, tmp_path: Path) -> None:
    adapt(recipe(rounds=2), crops, start, tmp_path / "run", minutes=1e-9)  # the first round is always done
    before = weights(tmp_path / "run")
    with full_disk(100_000), pytest.raises(SemreidError, match="cannot write"):
        adapt(recipe(), crops, start, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == before
    adapt(recipe(), crops, start, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(adapted)


def test_the_command_judges_before_and_after_where_it_can(run, figures: Path, start: Path, tmp_path: Path) -> None:
    settings = ["rounds=1", "steps=2", "identities=4", "groups.k1=6", "groups.k2=2", "groups.min_samples=2"]
    done = run("adapt", *settings, "--data", f"people:{figures}", "--from", start, "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert {"mAP", "rank1"} <= set(result["before"]["metrics"]) == set(result["after"]["metrics"])
    assert "round 1/1: " in done.err
    assert "36 crops: with fewer than 50" in done.err
    assert done.err.endswith(f"semreid group --data people:{figures} --model {tmp_path / 'run'} --out DIR\n")
    again = run("adapt", *settings, "--data", f"people:{figures}", "--from", start, "--out", tmp_path / "run")
    assert again.code == 1
    assert "--resume" in again.err


@pytest.mark.parametrize(("before", "after", "warned"), [(50.0, 40.0, True), (40.0, 50.0, False)])
def test_the_command_warns_if_the_model_got_worse(
    run,
    figures: Path,
    start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: float,
    after: float,
    warned: bool,
) -> None:
    found = iter((before, after))

    def report(model: ReIDModel, dataset: ReIDDataset) -> SimpleNamespace:
        content = {"metrics": {"mAP": next(found)}, "protocol": {"dataset": "figures"}}
        return SimpleNamespace(to_json=lambda: content)

    monkeypatch.setattr("semreid.training.cli.evaluate", report)
    settings = ["rounds=1", "steps=1", "identities=4", "groups.k1=6", "groups.k2=2", "groups.min_samples=2"]
    done = run("adapt", *settings, "--data", f"people:{figures}", "--from", start, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert ("it got worse" in done.err) is warned


def test_ctrl_c_tells_the_way_on(
    run, folder: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds.Rounds, "next", interrupted)
    done = run("adapt", folder, "--from", start, "--out", tmp_path / "run")
    assert done.code == 130
    assert "the same command begins anew" in done.err


def test_the_command_names_what_is_wrong(run, folder: Path, start: Path, tmp_path: Path) -> None:
    where = ["--from", start, "--out", tmp_path / "run"]
    assert run("adapt", *where).code == 2
    assert run("adapt", folder, "--data", "people:x", *where).code == 2
    assert run("adapt", folder, "--minutes", "0", *where).code == 2
    wrong = run("adapt", folder, "group.cut=0.4", *where)
    assert wrong.code == 1
    assert "did you mean 'groups'?" in wrong.err
    (tmp_path / "crops").mkdir()
    assert "holds no image" in run("adapt", tmp_path / "crops", *where).err
    write_image(tmp_path / "crops" / "a_c1.png", draw_figure(1, 1, 1))
    (tmp_path / "crops" / "b_c2.png").write_bytes(b"no image")
    assert "--skip-corrupt" in run("adapt", tmp_path / "crops", *where).err


def test_a_recipe_built_in_python_is_checked_before_anything_is_written(
    start: Path, crops: Crops, tmp_path: Path
) -> None:
    with pytest.raises(SemreidError, match="'rounds'"):
        adapt(replace(recipe(), rounds=0), crops, start, tmp_path / "run")
    assert not (tmp_path / "run").exists()
