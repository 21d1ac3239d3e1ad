from pathlib import Path

import pytest
import torch

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.training.recipe import load_recipe
from semreid.training.schedule import loss_weights
from semreid.training.trainer import sum_losses

RECIPES = Path(__file__).parents[2] / "recipes"


def build(name: str = "pmm", **options: object) -> ReIDModel:
    torch.manual_seed(0)
    return create_model(name, **{"num_ids": 4, "trunk": "resnet18", "width": 0.25, "size": (128, 64)} | options)


def batch(pids: tuple[int, ...] = (0, 1, 2, 1, 0, 3, 2)) -> Batch:
    labels = torch.tensor(pids)
    images = torch.rand(len(pids), 3, 128, 64, generator=torch.Generator().manual_seed(0))
    return Batch(images, labels, labels)


def test_size_of_the_published_model() -> None:
    model = create_model("pmm", num_ids=751, size=(384, 128))
    info = model.info()
    assert info["parameters_without_classifiers"] == 31_120_960  # docs/pmm.md: 31.121 M
    assert info["embedding_dim"] == 1536
    assert info["macs"] == pytest.approx(6.94e9, rel=1e-3)
    assert info["maps"]["layer4"] == [2048, 24, 8]
    assert sum(p.numel() for p in model.parameters()) == 31_120_960 + 3 * 751 * 512  # 32.28 M with biases
    head, maps = model.heads["multistage"], {"layer4": torch.rand(2, 2048, 24, 8)}
    for seen in list(head.train().passes(maps, torch.tensor([0, 1])))[1:]:
        assert (seen.view.replaced.float().mean((1, 2)) == 0.09375).all()


def test_what_pmm_grew_out_of() -> None:
    model = create_model("bdb", num_ids=751, size=(384, 128))
    assert model.dim == 512 + 1024
    heads = {name: head.mixing.kind for name, head in model.heads.items()}
    assert heads == {"multistage": "batchdrop"}
    assert set(build("bdb").losses(batch())) == {
        f"multistage.{loss}_{stage}" for loss in ("id", "triplet") for stage in (1, 2)
    }


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_stages_for_the_ablation(stages: int) -> None:
    model = build(stages=stages, dim=16)
    assert model.dim == 16 * stages
    assert len(model.losses(batch())) == 2 * stages
    assert model.embed_batch(batch().images).shape == (7, 16 * stages)


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (64, 32), (100, 60)])
def test_maps_of_any_size(size: tuple[int, int]) -> None:
    model = build(size=size)
    images = torch.rand(3, 3, *size)
    losses = model.losses(Batch(images, torch.arange(3), torch.arange(3)))
    assert all(loss.isfinite() for loss in losses.values())


def test_every_trainable_number_learns() -> None:
    model = build()
    sum_losses(model.losses(batch()), {}).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("option", "value"), [("mix", "a-hard-mix"), ("stages", 4), ("negative", "easy"), ("grid", [8]), ("dim", 0)]
)
def test_options_that_are_none_say_what_there_is(option: str, value: object) -> None:
    with pytest.raises(SemreidError, match=f"model pmm: option '{option}' is "):
        build(**{option: value})


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("pmm*.yaml")), ids=lambda path: path.stem)
def test_recipes_fit_the_model(path: Path) -> None:
    recipe = load_recipe(path)
    losses = build(**recipe.model.options).losses(batch())
    assert sum_losses(losses, loss_weights(recipe.losses, 0)) > 0
    assert recipe.data.identities * recipe.data.instances in (64, 128)
