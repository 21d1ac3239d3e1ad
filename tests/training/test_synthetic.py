"""Pairs of synthetic images and textures that join batches, two optimisers, and starting from another run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.atlas import VERSION
from semreid.data.batch import Batch
from semreid.data.sample import ReIDDataset
from semreid.data.store import Store, build_store
from semreid.errors import SemreidError
from semreid.models.card import read_card
from semreid.models.loading import load_model
from semreid.training import trainer
from semreid.training.build import build_model
from semreid.training.loop import train
from semreid.training.recipe import Recipe, dump_recipe
from semreid.training.trainer import Trainer
from tests.conftest import write_image
from tests.training.test_loop import recipe, same, stopped_behind_checkpoint, weights

SAN = {"name": "san", "options": {"pool": "gem"}}


def draw_texture(pid: int) -> np.ndarray:
    """A texture in the colours of `draw_figure`."""
    colours = np.random.default_rng(pid).integers(0, 256, (2, 3))
    texture = np.full((256, 256, 3), (200, 160, 130), np.uint8)
    texture[64:], texture[128:] = colours[0], colours[1]
    return texture


@pytest.fixture(scope="module")
def textures(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of the figures."""
    root = tmp_path_factory.mktemp("painted")
    for path in (figures / "bounding_box_train").iterdir():
        write_image(root / "textures" / path.parent.name / path.name, draw_texture(int(path.name[:4])))
    (root / "teachers.json").write_text(json.dumps({"atlas": VERSION}))
    return root


@pytest.fixture(scope="module")
def synthetic(figures: Path, textures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that has textures itself."""
    root = tmp_path_factory.mktemp("synthetic")
    shutil.copytree(figures, root, dirs_exist_ok=True)
    shutil.copytree(textures, root, dirs_exist_ok=True)
    return root


def plan(synthetic: Path | str = "", count: int = 4, epochs: int = 2, **changes: dict[str, object]) -> Recipe:
    data = {"synthetic": f"people:{synthetic}" if synthetic else "", "synthetic_per_batch": count}
    return recipe(data=data, schedule={"epochs": epochs}, **{"model": SAN, **changes})


def make_trainer(settings: Recipe, data: ReIDDataset, synthetic: Store | None = None) -> Trainer:
    store = build_store(data.train, settings.data.size)
    return Trainer(settings, build_model(settings, 6), store, torch.device("cpu"), synthetic)


def test_san_learns_textures_and_people(figure_data: ReIDDataset, textures: Path, tmp_path: Path) -> None:
    train(plan(epochs=4), figure_data, tmp_path / "run", annotations=textures)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["texture.reconstruction"] < 0.95 * rows[0]["texture.reconstruction"]
    assert rows[-1]["identity.id"] < rows[0]["identity.id"]
    assert "texture.triplet" in rows[0]


@pytest.mark.parametrize("with_textures", [True, False])
def test_pairs_join_every_batch(
    with_textures: bool, figure_data: ReIDDataset, textures: Path, synthetic: Path, tmp_path: Path
) -> None:
    annotations = textures if with_textures else None
    train(plan(synthetic), figure_data, tmp_path / "run", annotations=annotations)
    card = read_card(tmp_path / "run")
    assert card.trained_on["images"] == 36
    assert card.trained_on["synthetic"]["dataset"] == "people"
    assert load_model(tmp_path / "run").texture([figure_data.query[0].path]).shape == (1, 3, 256, 256)


def test_batches_with_pairs(figure_data: ReIDDataset, synthetic: Path) -> None:
    plain, settings = make_trainer(plan(), figure_data), plan(synthetic, count=5)
    store = build_store(
        figure_data.train,
        settings.data.size,
        textures=[synthetic / "textures" / s.path.relative_to(figure_data.root) for s in figure_data.train],
    )
    trainer = make_trainer(settings, figure_data, store)
    indices = np.arange(8)
    batch, without = trainer.batch(indices, 0), plain.batch(indices, 0)
    assert batch.images.shape == (13, 3, 64, 32)
    assert batch.textures.shape == (5, 3, 256, 256)  # the real images have none
    assert (batch.num_real, batch.synthetic) == (8, 5)
    assert batch.pids[8:].tolist() == [-1] * 5
    for field in ("images", "pids", "camids"):  # the synthetic change nothing about the others
        assert torch.equal(getattr(batch, field)[:8], getattr(without, field))
        assert torch.equal(getattr(batch.real(), field), getattr(without, field))
    assert batch.real().textures is None
    assert torch.equal(trainer.batch(indices, 0).images, batch.images)
    assert not torch.equal(trainer.batch(indices, 1).images[8:], batch.images[8:])


def test_resume_with_pairs_and_two_optimisers_gives_the_uninterrupted_result(
    figure_data: ReIDDataset, synthetic: Path, tmp_path: Path
) -> None:
    settings = plan(
        synthetic, optim={"separate_losses": ["texture.reconstruction", "texture.triplet"], "separate_lr": 1e-3}
    )
    train(settings, figure_data, tmp_path / "whole")
    with stopped_behind_checkpoint(1):
        train(settings, figure_data, tmp_path / "torn")
    train(settings, figure_data, tmp_path / "torn", resume=True)
    assert same(weights(tmp_path / "torn"), weights(tmp_path / "whole"))


def test_a_run_of_a_version_with_other_keys_goes_on(figure_data: ReIDDataset, tmp_path: Path) -> None:
    settings = recipe(schedule={"epochs": 1})
    train(settings, figure_data, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(checkpoint)
    added = ("synthetic", "separate_losses")
    state["recipe"] = "".join(x for x in dump_recipe(settings).splitlines(True) if not x.strip().startswith(added))
    assert state["recipe"] != dump_recipe(settings)
    del state["second"]
    torch.save(state, checkpoint)
    train(settings, figure_data, tmp_path / "run", resume=True)


def test_pairs_that_cannot_be_used_are_refused(
    figure_data: ReIDDataset, figures: Path, synthetic: Path, tmp_path: Path
) -> None:
    with pytest.raises(SemreidError, match="no head of this model learns from textures"):
        train(plan(synthetic, model={"name": "baseline"}), figure_data, tmp_path / "run")
    with pytest.raises(SemreidError, match="learns from textures, and there is no folder"):
        train(plan(figures), figure_data, tmp_path / "run")
    with pytest.raises(SemreidError, match="learns from textures, and there is no folder"):
        train(plan(), figure_data, tmp_path / "run")


@pytest.mark.timeout(300)
def test_two_processes_with_pairs_learn_the_model_of_one(
    figure_data: ReIDDataset, figures: Path, synthetic: Path, textures: Path, tmp_path: Path
) -> None:
    settings = plan(synthetic, epochs=1, optim={"lr": 1e-5, "name": "sgd", "ema": 0.5})
    (tmp_path / "recipe.yaml").write_text(dump_recipe(settings))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "semreid"]
    arguments = ["train", str(tmp_path / "recipe.yaml"), "--data", f"people:{figures}", "--out", str(tmp_path / "two")]
    done = subprocess.run(
        [*launcher, *arguments, "--annotations", str(textures)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one = train(settings, figure_data, tmp_path / "one", annotations=textures).state_dict()
    two, start = load_model(tmp_path / "two").state_dict(), build_model(settings, 6).state_dict()
    for key in (key for key, value in start.items() if value.is_floating_point()):
        step = (one[key] - start[key]).norm()
        assert (two[key] - one[key]).norm() <= 0.02 * step + 2e-7 * start[key].norm() + 1e-7, key
    assert (one["trunk.conv1.weight"] - start["trunk.conv1.weight"]).norm() > 1e-4


def test_two_optimisers_take_both_gradients_before_any_step(figure_data: ReIDDataset) -> None:
    names = ["texture.reconstruction", "texture.triplet"]
    optim = {
        "name": "amsgrad",
        "lr": 1e-3,
        "ema": 0.0,
        "weight_decay": 0.0,
        "separate_losses": names,
        "separate_lr": 1e-2,
    }
    settings = plan(optim=optim, losses={"identity.triplet": 2.0, "texture.triplet": 0.5})
    trainer = make_trainer(settings, figure_data)
    model = build_model(settings, 6).train()
    batch = Batch(
        images=torch.rand(8, 3, 64, 32),
        pids=torch.arange(4).repeat_interleave(2),
        camids=torch.zeros(8, dtype=torch.long),
        textures=torch.rand(8, 3, 256, 256),
    )
    trainer.model.train()
    torch.manual_seed(0)
    trainer.step(batch)
    torch.manual_seed(0)
    losses = model.losses(batch)
    groups = (
        losses["identity.id"] + 2 * losses["identity.triplet"],
        losses["texture.reconstruction"] + 0.5 * losses["texture.triplet"],
    )
    named = dict(model.named_parameters())
    start, expected = ({name: p.detach().clone() for name, p in named.items()} for _ in range(2))
    for group, lr in zip(groups, (1e-3, 1e-2), strict=True):
        found = torch.autograd.grad(group, list(named.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(named, found, strict=True):
            if gradient is not None:  # the first step of Adam from nothing: the sign of the gradient
                expected[name] -= lr * gradient / (gradient.abs() + 1e-8)
    learned = dict(trainer.model.named_parameters())
    for name in (name for name in named if named[name].ndim > 1):
        step = (expected[name] - start[name]).norm()  # rounding may turn the sign of a gradient of nearly nothing
        assert (learned[name].detach() - expected[name]).norm() <= 0.05 * step + 1e-7, name


def test_what_several_processes_cannot_do_is_said() -> None:
    trainer._require_divisible(plan("somewhere", count=4), build_model(plan(), 6), 2)
    with pytest.raises(SemreidError, match="3 synthetic images cannot be divided among 2 processes"):
        trainer._require_divisible(plan("somewhere", count=3), build_model(plan(), 6), 2)
    with pytest.raises(SemreidError, match=r"optim\.separate_losses is for one process"):
        trainer._require_divisible(plan(optim={"separate_losses": ["texture.triplet"]}), build_model(plan(), 6), 2)
    with pytest.raises(SemreidError, match="engine=graphs is for one process"):
        trainer._require_divisible(plan(engine="graphs"), build_model(plan(), 6), 2)


def test_names_of_losses_learned_apart_must_exist(figure_data: ReIDDataset, textures: Path, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match=r"'texture.l1'"):
        train(plan(optim={"separate_losses": ["texture.l1"]}), figure_data, tmp_path / "run", annotations=textures)


def test_a_run_folder_is_where_training_starts(
    figure_data: ReIDDataset, textures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = plan(epochs=1, model={"name": "san_pg", "options": {}})
    train(teacher, figure_data, tmp_path / "pg", annotations=textures)
    start = {"model": {**SAN, "weights": str(tmp_path / "pg")}}
    model = build_model(plan(**start), 6)
    found = load_model(tmp_path / "pg").state_dict()
    assert same(found, model.state_dict())
    train(plan(epochs=1, **start), figure_data, tmp_path / "san", annotations=textures)
    said = "".join(capsys.readouterr().err.split())  # wrapped where it is too long for the terminal
    assert "".join(f"from {tmp_path / 'pg'}: trunk, not the identity head, texture head".split()) in said
    with pytest.raises(SemreidError, match="the trunk of .* does not fit") as caught:
        build_model(plan(model={**SAN, "weights": str(tmp_path / "pg"), "width": 0.25}), 6)
    assert "model.width" in caught.value.fix
    with pytest.raises(SemreidError, match="no model card"):
        build_model(plan(model={**SAN, "weights": str(tmp_path)}), 6)
