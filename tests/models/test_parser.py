from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.data.batch import Batch
from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate
from semreid.models.heads import Parser
from semreid.models.loading import load_embedder, load_model
from semreid.models.model import ReIDModel
from semreid.models.trunk import build_trunk
from semreid.models.zoo import create_model
from semreid.training.loop import train
from semreid.training.recipe import Recipe, parse_recipe
from tests.conftest import draw_figure, draw_mask

SIZE = (64, 32)
SMALL = {"trunk": "resnet18", "width": 0.25, "size": SIZE}


def make_batch(count: int = 4) -> Batch:
    images = np.stack([draw_figure(pid, 1, 0) for pid in range(count)])
    regions = np.stack([draw_mask(pid, 1, 0) for pid in range(count)])
    pids = torch.arange(count)
    return Batch(torch.from_numpy(images).permute(0, 3, 1, 2) / 255, pids, pids, torch.from_numpy(regions))


@pytest.fixture
def model() -> ReIDModel:
    torch.manual_seed(0)
    return create_model("parser", 1, **SMALL)


@pytest.mark.parametrize("last_stride", [1, 2])
@pytest.mark.parametrize(("trunk", "size"), [("resnet18", (128, 64)), ("resnet50", (72, 40))])
def test_logits_have_the_size_of_the_image(trunk: str, size: tuple[int, int], last_stride: int) -> None:
    info = create_model("parser", 1, trunk=trunk, width=0.125, last_stride=last_stride, size=size).info()
    assert info["maps"]["parsing"] == [8, *size]
    assert info["embedding_dim"] == 0
    assert info["heads"] == ["parser"]


def test_every_map_of_the_trunk_is_read() -> None:
    trunk = build_trunk("resnet18", width=0.25)
    maps = {name: m.detach().requires_grad_() for name, m in trunk(make_batch().images).items()}
    leaves = dict(maps)
    torch.stack(list(Parser(trunk).losses(maps, make_batch()).values())).sum().backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves.values())


def test_losses_equal_the_naive_form(model: ReIDModel) -> None:
    batch = make_batch()
    maps = model.maps(batch.images)
    found = model.heads["parser"].losses(maps, batch)
    p, labels = maps["parsing"].softmax(1), batch.regions.long()
    likelihoods = [p[b, labels[b, y, x], y, x] for b in range(4) for y in range(64) for x in range(32)]
    torch.testing.assert_close(found["pixel"], -torch.stack(likelihoods).log().mean())
    overlaps = []
    for region in range(8):
        true = (labels == region).float()
        overlaps.append((p[:, region] * true).sum() / (p[:, region] + true - p[:, region] * true).sum())
    torch.testing.assert_close(found["overlap"], 1 - sum(overlaps) / 8)


def test_learns_masks_by_heart(model: ReIDModel) -> None:
    batch = make_batch()
    optimiser = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(25):
        optimiser.zero_grad()
        sum(model.losses(batch).values()).backward()
        optimiser.step()
    model.train()  # normalised by this batch: running averages of so few steps lag behind
    maps = model.maps(batch.images)
    model.heads["parser"].embed(maps)
    assert (maps["parsing"].argmax(1) == batch.regions).float().mean() > 0.97


def test_parse_gives_probabilities_for_crops_of_any_size(model: ReIDModel) -> None:
    crops = [draw_figure(1, 1, 0), draw_figure(2, 1, 0, 100, 50), draw_figure(3, 1, 0)]
    found = model.parse(iter(crops), batch_size=2)
    assert found.shape == (3, 8, *SIZE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(model.parse(crops[1:2]), found[1:2], atol=1e-5)
    assert model.parse([]).shape == (0, 8, *SIZE)
    assert model.training  # left as it was


def test_flip_averages_with_the_mirrored_answer(model: ReIDModel) -> None:
    crop = draw_figure(1, 1, 0)
    mirrored = model.parse([np.ascontiguousarray(crop[:, ::-1])])[..., ::-1]
    np.testing.assert_allclose(model.parse([crop], flip=True), (model.parse([crop]) + mirrored) / 2, atol=1e-6)


def test_any_model_with_a_parsing_head_parses_and_others_say_that_they_do_not() -> None:
    crop = draw_figure(1, 1, 0)
    assert create_model("magnifiernet", 2, **SMALL).parse([crop]).shape == (1, 8, *SIZE)
    with pytest.raises(SemreidError, match="no head of this model parses"):
        create_model("baseline", 2, **SMALL).parse([crop])


def test_a_model_without_embedding_says_so(model: ReIDModel, figure_data: ReIDDataset) -> None:
    with pytest.raises(SemreidError, match="has no embedding: it is a teacher") as caught:
        model.embed([draw_figure(1, 1, 0)])
    assert "semreid label" in caught.value.fix
    with pytest.raises(SemreidError, match="has no embedding"):
        evaluate(model, figure_data)
    with pytest.raises(SemreidError, match="has no embedding"):
        load_embedder("parser")


def make_recipe(**data: object) -> Recipe:
    return parse_recipe(
        {
            "model": {"name": "parser", "trunk": "resnet18", "width": 0.125, "last_stride": 2, "weights": "scratch"},
            "data": {"height": 64, "width": 32, "identities": 2, "instances": 2, **data},
            "schedule": {"epochs": 1, "warmup_epochs": 0},
        }
    )


def test_trains_like_any_model(figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path) -> None:
    trained = train(make_recipe(), figure_data, tmp_path / "run", annotations=figure_masks)
    crop = [draw_figure(1, 1, 0)]
    np.testing.assert_allclose(load_model(tmp_path / "run").parse(crop), trained.parse(crop), atol=1e-5)


def test_held_out_people_cannot_judge_a_teacher(figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="has no embedding"):
        train(make_recipe(holdout=0.3), figure_data, tmp_path / "run", annotations=figure_masks)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_batch_without_masks_is_refused(model: ReIDModel) -> None:
    pids = torch.arange(2)
    with pytest.raises(SemreidError, match="learns from part masks, and the batch has none"):
        model.losses(Batch(torch.zeros(2, 3, *SIZE), pids, pids))


def test_sides_need_not_be_multiples_of_the_strides() -> None:
    model = create_model("parser", 1, **{**SMALL, "size": (61, 29)})
    assert model.parse([draw_figure(1, 1, 0)]).shape == (1, 8, 61, 29)
