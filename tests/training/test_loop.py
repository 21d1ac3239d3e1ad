import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semreid.data.sample import ReIDDataset
from semreid.data.store import build_store
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate
from semreid.files import write_json
from semreid.models.card import read_card, save_calibration
from semreid.models.loading import load_model
from semreid.models.zoo import create_model
from semreid.teachers.label import label
from semreid.training import loop
from semreid.training.build import build_model
from semreid.training.loop import imprint_people, train
from semreid.training.recipe import Recipe, load_recipe, parse_recipe
from semreid.training.record import RunFolder, way_on
from tests.conftest import full_disk, some_calibration, write_image
from tests.data.test_attributes import market

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = {
    "precision": "fp32",
    "validate_every": 1,
    "model": {"trunk": "resnet18", "width": 0.125, "weights": "scratch", "options": {"pool": "gem"}},
    "data": {"height": 64, "width": 32, "identities": 4, "instances": 2},
    "augment": {"pad": 2, "erase": 0.3, "jitter": 0.1},
    "optim": {"name": "adamw", "lr": 5e-3, "ema": 0.5},
    "schedule": {"epochs": 2, "warmup_epochs": 0, "decay": "cosine"},
}


def recipe(**changes: object) -> Recipe:
    """The tiny recipe with changes; what a recipe does not know is refused, so no change is lost by a slip."""
    parts = {key: {**TINY[key], **changes.pop(key, {})} for key in TINY if isinstance(TINY[key], dict)}
    return parse_recipe(TINY | parts | changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder).state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_learns_new_people_and_leaves_a_complete_run_folder(figure_data: ReIDDataset, tmp_path: Path) -> None:
    before = evaluate(build_model(recipe(), 6), figure_data).metrics["mAP"]
    model = train(recipe(schedule={"epochs": 15}), figure_data, tmp_path / "run")
    assert evaluate(model, figure_data).metrics["mAP"] > before + 5
    names = {p.name.split(".out.")[-1] for p in (tmp_path / "run").iterdir()}
    assert {"recipe.yaml", "model.safetensors", "card.json", "checkpoint.pt", "metrics.jsonl"} <= names
    assert any("tfevents" in name for name in names)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(15))
    assert rows[-1]["total"] < rows[0]["total"]
    assert {"identity.id", "identity.triplet", "lr", "images_per_second", "data_share"} <= rows[0].keys()
    card = read_card(tmp_path / "run")
    assert card.trained_on["dataset"] == "people"
    assert card.trained_on["identities"] == 6
    assert card.trained_on["images"] == 36
    assert card.trained_on["pretrained"] == "scratch"
    assert same(weights(tmp_path / "run"), model.state_dict())


def test_same_seed_same_model_and_another_seed_another(figure_data: ReIDDataset, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(replace(recipe(), seed=seed), figure_data, tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@contextmanager
def stopped_behind_checkpoint(epochs: int) -> Iterator[None]:
    """End the training within by Ctrl-C, once the checkpoint of that many epochs is written."""
    save = loop.save_checkpoint

    def save_and_die(path: Path, state: dict[str, object]) -> None:
        save(path, state)
        if state["epoch"] == epochs:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "save_checkpoint", save_and_die)
        yield


MAGNIFIERNET = {"model": {"name": "magnifiernet"}, "losses": {"fusion.diversity": {3: 0.1}}}


@pytest.mark.parametrize("changes", [{}, MAGNIFIERNET], ids=["baseline", "magnifiernet"])
def test_resume_gives_the_uninterrupted_result(
    changes: dict[str, dict[str, object]],
    figure_data: ReIDDataset,
    figure_masks: Path,
    tmp_path: Path,
) -> None:
    plan = recipe(schedule={"epochs": 4}, **changes)
    train(plan, figure_data, tmp_path / "whole", annotations=figure_masks)
    with stopped_behind_checkpoint(2):
        train(plan, figure_data, tmp_path / "torn", annotations=figure_masks)
    assert not (tmp_path / "torn" / "card.json").exists()
    train(plan, figure_data, tmp_path / "torn", annotations=figure_masks, resume=True)
    assert same(weights(tmp_path / "torn"), weights(tmp_path / "whole"))
    rows = [json.loads(line) for line in (tmp_path / "torn" / "metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    clock = ("images_per_second", "data_share")
    assert [{k: v for k, v in row.items() if k not in clock} for row in rows] == [
        {k: v for k, v in row.items() if k not in clock} for row in expected
    ]


def test_resume_needs_nothing_of_the_run_that_it_started_from(figure_data: ReIDDataset, tmp_path: Path) -> None:
    """That run may be gone by then, or another one in its place, of which nothing may get into the card."""
    train(recipe(schedule={"epochs": 1}), figure_data, tmp_path / "start")
    origin = read_card(tmp_path / "start").origin()
    plan = recipe(schedule={"epochs": 2}, model={"weights": str(tmp_path / "start")})
    train(plan, figure_data, tmp_path / "whole")
    with stopped_behind_checkpoint(1):
        train(plan, figure_data, tmp_path / "torn")
    shutil.rmtree(tmp_path / "start")
    train(plan, figure_data, tmp_path / "torn", resume=True)
    assert same(weights(tmp_path / "torn"), weights(tmp_path / "whole"))
    assert read_card(tmp_path / "torn").trained_on["before"] == {"pretrained": origin}


@pytest.mark.parametrize(
    ("contrast", "match"),
    [
        ({"weight": 1.0, "heads": ["fusion"]}, r"contrast\.heads names 'fusion'"),
        ({"heads": ["identity"]}, "heads without losses of their own would learn nothing"),
        ({"weight": 1.0, "temperature": 0}, r"contrast\.temperature"),
        ({"pairs": "cameras"}, "pairs of no contrast teach nothing"),
    ],
)
def test_a_contrast_that_cannot_be_is_refused(
    contrast: dict[str, object], match: str, figure_data: ReIDDataset, tmp_path: Path
) -> None:
    with pytest.raises(SemreidError, match=match):
        train(recipe(contrast=contrast), figure_data, tmp_path / "run")


def test_where_no_pairs_cross_all_of_them_count(
    figure_data: ReIDDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And people meet by chance: a recipe for known cameras is one for others, too."""
    alone = replace(figure_data, train=tuple(replace(s, camid=0) for s in figure_data.train))
    across = recipe(contrast={"weight": 1.0, "pairs": "cameras"}, data={"meeting": "camera"}, schedule={"epochs": 1})
    for data, name in ((alone, "across"), (figure_data, "known")):
        train(across, data, tmp_path / name)
        told = "nobody is known to have been seen by two cameras: all pairs of a person are pulled together"
        assert (told in capsys.readouterr().err) is (data is alone)
    train(recipe(contrast={"weight": 1.0}, schedule={"epochs": 1}), alone, tmp_path / "all")
    assert same(weights(tmp_path / "across"), weights(tmp_path / "all"))
    assert not same(weights(tmp_path / "known"), weights(tmp_path / "all"))


def test_learns_regions_and_a_loss_that_joins_late(
    figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path
) -> None:
    for name, weights_by_epoch in (("never", {9: 5.0}), ("late", {2: 5.0})):
        plan = recipe(
            schedule={"epochs": 3}, model={"name": "magnifiernet"}, losses={"fusion.diversity": weights_by_epoch}
        )
        train(plan, figure_data, tmp_path / name, annotations=figure_masks)
    never, late = (
        [json.loads(row) for row in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("never", "late")
    )
    losses = {"parsing.pixel", "regularization.id", "fusion.id", "fusion.triplet", "fusion.diversity", "fusion.regions"}
    assert losses <= never[0].keys()
    assert never[-1]["parsing.pixel"] < 0.8 * never[0]["parsing.pixel"]
    assert [a["fusion.id"] == b["fusion.id"] for a, b in zip(never, late, strict=True)] == [True, True, False]
    assert late[0]["total"] == never[0]["total"]
    assert late[2]["total"] - never[2]["total"] == pytest.approx(5 * late[2]["fusion.diversity"], rel=0.05)
    parts = load_model(tmp_path / "late").embed([figure_data.query[0].path], parts=True)
    assert parts.visibility[0, [0, 2]].min() > 0


def test_learns_attributes_from_their_table(figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path) -> None:
    annotations = Path(shutil.copytree(figure_masks, tmp_path / "annotations"))
    plan = recipe(
        schedule={"epochs": 1}, model={"name": "magnifiernet", "options": {"attributes": {"upper": 1, "lower": 1}}}
    )
    with pytest.raises(SemreidError, match="learns from attributes"):
        train(plan, figure_data, tmp_path / "run", annotations=annotations)
    rows = "".join(f"{pid},{pid % 2},1\n" for pid in range(1, 7))
    (annotations / "attributes.csv").write_text("pid,red,long\n" + rows)
    train(plan, figure_data, tmp_path / "run", annotations=annotations)
    assert 0 < json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["attributes.bce"] < 2


@pytest.mark.parametrize("way", ["file", "labels", "data", "without"])
def test_the_recipe_for_market_runs_as_its_header_says(
    figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path, way: str
) -> None:
    labels = Path(shutil.copytree(figure_masks, tmp_path / "labels"))
    data = replace(figure_data, root=Path(shutil.copytree(figure_data.root, tmp_path / "data")))
    moved = [replace(s, path=data.root / s.path.relative_to(figure_data.root)) for s in figure_data.train]
    people = {"train": {f"{pid:04d}": {} for pid in range(1, 7)}, "test": {"0009": {}}}
    if way != "without":
        market(data.root if way == "data" else labels, people)
    small = ["model.trunk=resnet18", "model.width=0.125", "model.weights=scratch", "data.height=64", "data.width=32"]
    small += ["data.identities=4", "schedule.epochs=1", "losses={}", "precision=fp32"]
    small += ["model.options.attributes=null"] if way == "without" else []
    plan = load_recipe(RECIPES / "paper" / "magnifiernet-market1501.yaml", small)
    given = labels / "market_attribute.mat" if way == "file" else labels
    train(plan, replace(data, train=tuple(moved)), tmp_path / "run", annotations=given)
    found = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert ("attributes.bce" in found) == (way != "without")


def test_masks_that_are_missing_or_wrong_are_named(
    figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path
) -> None:
    plan = recipe(schedule={"epochs": 1}, model={"name": "magnifiernet"})
    with pytest.raises(SemreidError, match="learns from masks, and there is no folder") as caught:
        train(plan, figure_data, tmp_path / "run", annotations=tmp_path / "nowhere")
    assert "--annotations" in caught.value.fix
    copy = Path(shutil.copytree(figure_masks, tmp_path / "copy"))
    first = next((copy / "masks" / "bounding_box_train").iterdir())
    write_image(first, np.full((64, 32), 8, np.uint8))
    with pytest.raises(SemreidError, match=f"1 of 36 masks .*{first.name} is no part mask"):
        train(plan, figure_data, tmp_path / "run", annotations=copy)
    first.unlink()
    with pytest.raises(SemreidError, match=f"no part mask at .*{first.name}"):
        train(plan, figure_data, tmp_path / "run", annotations=copy)


def test_without_masks_the_parser_that_ships_tells_body_regions(
    figure_data: ReIDDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """These crops have the size of the model, so that its masks in memory are those that it writes."""
    plan = recipe(schedule={"epochs": 2}, model={"name": "magnifiernet"})
    label([load_model("people-parser")], figure_data, tmp_path / "labels", split="train")
    written = train(plan, figure_data, tmp_path / "written", annotations=tmp_path / "labels")
    capsys.readouterr()
    told = train(plan, figure_data, tmp_path / "told")
    assert f"no masks at {figure_data.root}: people-parser tells body regions" in capsys.readouterr().err
    for name, tensor in written.state_dict().items():
        assert torch.equal(told.state_dict()[name], tensor), name
    with pytest.raises(SemreidError, match="its masks, textures or attributes were others"):
        train(plan, figure_data, tmp_path / "told", annotations=tmp_path / "labels", resume=True)


def test_folder_with_a_run_is_not_overwritten(figure_data: ReIDDataset, tmp_path: Path) -> None:
    train(recipe(schedule={"epochs": 1}), figure_data, tmp_path / "run")
    with pytest.raises(SemreidError, match="already holds a run") as caught:
        train(recipe(), figure_data, tmp_path / "run")
    assert "--resume" in caught.value.fix


@pytest.mark.parametrize(
    "last", ["nothing", "checkpoint.pt", "recipe.yaml", "metrics.jsonl", "model.safetensors", "card.json"]
)
def test_wherever_a_run_is_killed_it_goes_on(
    figure_data: ReIDDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The process dies before it has written anything, or right after it has written a file for the first time."""
    rename, out, plan = Path.replace, tmp_path / "run", recipe()

    def killed(temporary: Path, target: Path) -> Path:
        if target.parent == out and last == "nothing":
            raise KeyboardInterrupt
        done = rename(temporary, target)
        if target == out / last:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        train(plan, figure_data, out)
    monkeypatch.undo()
    if last == "nothing":
        assert not any(out.iterdir())
        train(plan, figure_data, out)
    else:
        assert way_on(out) == "with --resume goes on"
        with pytest.raises(SemreidError, match="already holds a run"):
            train(plan, figure_data, out)
        train(plan, figure_data, out, resume=True)
    monkeypatch.setattr(Path, "replace", rename)
    train(plan, figure_data, tmp_path / "whole")
    assert same(weights(out), weights(tmp_path / "whole"))
    for name in ("recipe.yaml", "card.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows, wanted = ([json.loads(line)["total"] for line in (run / "metrics.jsonl").read_text().splitlines()]
                    for run in (out, tmp_path / "whole"))  # fmt: skip
    assert rows == wanted


def test_a_finished_run_that_is_resumed_keeps_its_calibration(figure_data: ReIDDataset, tmp_path: Path) -> None:
    plan, out = recipe(schedule={"epochs": 1}), tmp_path / "run"
    train(plan, figure_data, out)
    save_calibration(out, some_calibration(load_model(out).fingerprint))
    card = read_card(out)
    train(plan, figure_data, out, resume=True)
    assert read_card(out) == card
    assert card.calibration is not None
    write_json(out / "card.json", replace(card, sha256="of other weights").to_json())
    train(plan, figure_data, out, resume=True)
    assert read_card(out) == replace(card, calibration=None)


@pytest.mark.parametrize("name", ["recipe.yaml", "model.safetensors", "metrics.jsonl"])
def test_a_file_of_the_user_in_the_folder_is_not_written_over(
    figure_data: ReIDDataset, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(SemreidError, match=f"holds a {name} without a run") as caught:
        train(recipe(), figure_data, tmp_path)
    assert "move it" in caught.value.fix
    assert way_on(tmp_path) == "begins anew"
    assert (tmp_path / name).read_text() == "mine"


def test_two_trainings_do_not_share_a_folder(figure_data: ReIDDataset, tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path / "run", resume=False).claimed(),
        pytest.raises(SemreidError, match="another process writes .*run"),
    ):
        train(recipe(), figure_data, tmp_path / "run")
    late = RunFolder(tmp_path / "run", resume=False)
    train(recipe(schedule={"epochs": 1}), figure_data, tmp_path / "run")
    with pytest.raises(SemreidError, match="already holds a run"), late.claimed():
        pass


def test_a_full_disk_ends_a_run_with_one_clear_error(figure_data: ReIDDataset, tmp_path: Path) -> None:
    train(recipe(schedule={"epochs": 1}), figure_data, tmp_path / "before")  # fills the cache of images
    with full_disk(100_000), pytest.raises(SemreidError, match="cannot write .*checkpoint.pt: File too large"):
        train(recipe(), figure_data, tmp_path / "run")
    assert not any((tmp_path / "run").iterdir())


def test_resume_refuses_nothing_damage_versions_and_other_recipes(figure_data: ReIDDataset, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="nothing to resume"):
        train(recipe(), figure_data, tmp_path / "new", resume=True)
    train(recipe(schedule={"epochs": 1}), figure_data, tmp_path / "run")
    with pytest.raises(SemreidError, match="'epochs: 1' then, 'epochs: 2' now") as caught:
        train(recipe(), figure_data, tmp_path / "run", resume=True)
    assert f"the recipe {tmp_path / 'run' / 'recipe.yaml'} and no overrides" in caught.value.fix
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(SemreidError, match="checkpoint.pt (is damaged|holds more)"):
        train(recipe(schedule={"epochs": 1}), figure_data, tmp_path / "run", resume=True)
    torch.save({"format": 99}, checkpoint)
    with pytest.raises(SemreidError, match="has format 99; this version reads 1"):
        train(recipe(schedule={"epochs": 1}), figure_data, tmp_path / "run", resume=True)


def test_run_folder_that_cannot_be_written_is_refused_before_the_work(
    figure_data: ReIDDataset, tmp_path: Path, own_cache: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SemreidError, match="cannot write"):
        train(recipe(), figure_data, tmp_path / "file" / "run")
    assert list(own_cache.iterdir()) == []


def test_validation_is_on_held_out_people(figure_data: ReIDDataset, tmp_path: Path) -> None:
    train(
        recipe(data={"holdout": 0.34}, schedule={"epochs": 1}),
        replace(figure_data, query=(), gallery=()),
        tmp_path / "run",
    )
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert 0 < row["val_mAP"] <= 100
    card = read_card(tmp_path / "run")
    assert card.trained_on["identities"] == 4
    assert card.metrics["val_mAP"] == row["val_mAP"]


def test_bf16_and_every_option_of_the_optimiser(figure_data: ReIDDataset, tmp_path: Path) -> None:
    for name in ("adam", "amsgrad", "sgd"):
        plan = recipe(
            precision="bf16", optim={"name": name, "clip": 1.0, "ema": 0.0, "lr": 1e-3}, schedule={"epochs": 1}
        )
        assert train(plan, figure_data, tmp_path / name).dim == 64


def test_diverged_run_says_so_and_keeps_the_last_checkpoint(figure_data: ReIDDataset, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="no longer finite") as caught:
        train(recipe(optim={"lr": 1e30, "ema": 0.0}), figure_data, tmp_path / "run")
    assert "lower optim.lr" in caught.value.fix
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_one_identity_cannot_train(figure_data: ReIDDataset, tmp_path: Path) -> None:
    lone = replace(figure_data, train=tuple(s for s in figure_data.train if s.pid == 1))
    with pytest.raises(SemreidError, match="the training set has 1"):
        train(recipe(), lone, tmp_path / "run")
    with pytest.raises(SemreidError, match="no training images"):
        train(recipe(), replace(figure_data, train=()), tmp_path / "run")


def test_more_instances_than_images_repeats_images(figure_data: ReIDDataset, tmp_path: Path) -> None:
    train(recipe(data={"instances": 8, "identities": 2}, schedule={"epochs": 1}), figure_data, tmp_path / "run")


def test_classifiers_point_to_the_mean_embeddings_of_their_people(figure_data: ReIDDataset) -> None:
    store = build_store(figure_data.train, (64, 32))
    people, labels = np.unique(store.pids, return_inverse=True)
    model = create_model("unified", len(people), trunk="resnet18", width=0.125, size=(64, 32)).train()
    imprint_people(model, store, bf16=False)
    assert model.training
    means = np.stack([model.embed(store.images[labels == i].numpy()).mean(axis=0) for i in range(len(people))])
    heads = [model.heads["identity"].classifier, model.heads["regularization"].classifier]
    heads += [model.heads["fusion"].classifier, *model.heads["multistage"].classifiers]
    assert sum(head.in_features for head in heads) == model.dim
    for head, block in zip(heads, torch.from_numpy(means).split([h.in_features for h in heads], 1), strict=True):
        torch.testing.assert_close(head.weight.detach(), torch.nn.functional.normalize(block), atol=1e-4, rtol=1e-3)


def test_classifiers_begin_with_the_means_of_their_people_where_a_recipe_says_so(
    figure_data: ReIDDataset, tmp_path: Path
) -> None:
    still = {"optim": {"lr": 1e-12, "weight_decay": 0.0, "ema": 0.0}, "schedule": {"epochs": 1}}
    wanted = recipe(model={"imprint": True}, **still)
    train(wanted, figure_data, tmp_path / "run")
    untrained = build_model(wanted, read_card(tmp_path / "run").model["num_ids"])
    imprint_people(untrained, build_store(figure_data.train, untrained.size), bf16=wanted.precision == "bf16")
    found = load_model(tmp_path / "run").heads["identity"].classifier.weight
    torch.testing.assert_close(found, untrained.heads["identity"].classifier.weight, atol=1e-5, rtol=1e-4)


def test_a_recipe_built_in_python_is_checked_before_anything_is_written(
    figure_data: ReIDDataset, tmp_path: Path
) -> None:
    wrong = replace(recipe(), optim=replace(recipe().optim, name="sdg"))  # type: ignore[arg-type]
    with pytest.raises(SemreidError, match=r"'optim\.name'"):
        train(wrong, figure_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_few_people_with_most_of_the_images_are_told(
    figure_data: ReIDDataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(recipe(), figure_data, tmp_path / "even")
    assert "a smaller data.identities" not in capfd.readouterr().err
    people = sorted({s.pid for s in figure_data.train})
    few = tuple(s for s in figure_data.train if s.pid in people[:3])
    many = tuple(s for pid in people[3:] for s in figure_data.train if s.pid == pid)[:2]
    train(recipe(), replace(figure_data, train=few + many), tmp_path / "uneven")
    assert "an epoch has 1 steps and uses 8 of 20 images" in capfd.readouterr().err


def test_weights_that_the_last_step_spoilt_are_not_kept(figure_data: ReIDDataset, tmp_path: Path) -> None:
    wild = recipe(optim={"name": "sgd", "lr": 1e38, "ema": 0}, schedule={"epochs": 1, "warmup_epochs": 0})
    one = replace(wild, data=replace(wild.data, identities=6, instances=6))
    with pytest.raises(SemreidError, match="epoch 0: the (loss|weights).* no longer finite") as caught:
        train(one, figure_data, tmp_path / "run")
    assert "--out" in caught.value.fix
    assert not list((tmp_path / "run").glob("checkpoint*"))
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("named", [{"losses": {"identity.id": 0.5}}, {"optim": {"separate_losses": ["identity.id"]}}])
def test_losses_of_a_head_that_rests_are_named_as_such(
    figure_data: ReIDDataset, tmp_path: Path, named: dict[str, Any]
) -> None:
    plan = recipe(contrast={"weight": 1, "heads": []}, **named)
    with pytest.raises(SemreidError, match=r"names the loss 'identity\.id', and by contrast\.heads that head"):
        train(plan, figure_data, tmp_path / "run")


def test_annotations_that_are_not_there_are_told_also_where_nobody_needs_them(
    figure_data: ReIDDataset, tmp_path: Path
) -> None:
    with pytest.raises(SemreidError, match="there are no annotations at"):
        train(recipe(), figure_data, tmp_path / "run", annotations=tmp_path / "slip")
