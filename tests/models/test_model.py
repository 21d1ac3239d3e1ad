from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.data.augment import IMAGENET_MEAN, IMAGENET_STD
from semreid.errors import SemreidError
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from tests.conftest import draw_figure, write_image


@pytest.fixture
def model() -> ReIDModel:
    torch.manual_seed(0)
    return create_model("baseline", num_ids=3, trunk="resnet18", width=0.25, size=(64, 32)).eval()


def test_embeds_arrays_and_paths_alike(model: ReIDModel, tmp_path: Path) -> None:
    crops = [draw_figure(pid, 1, 0, height, 32) for pid, height in ((1, 64), (2, 90), (3, 64))]
    paths = [write_image(tmp_path / f"{i}.png", crop) for i, crop in enumerate(crops)]
    vectors = model.embed(crops)
    assert vectors.shape == (3, 128)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(model.embed(paths), vectors)
    np.testing.assert_array_equal(model.embed([str(p) for p in paths]), vectors)


def test_batches_do_not_change_the_result_and_one_image_works(model: ReIDModel) -> None:
    crops = [draw_figure(pid, 1, 0) for pid in range(5)]
    whole = model.embed(crops)
    np.testing.assert_allclose(model.embed(iter(crops), batch_size=2), whole, atol=1e-6)
    np.testing.assert_allclose(model.embed(crops[:1]), whole[:1], atol=1e-6)
    assert model.embed([]).shape == (0, 128)


def test_embedding_is_in_evaluation_mode_and_leaves_the_mode_alone(model: ReIDModel) -> None:
    crop = [draw_figure(1, 1, 0)]
    expected = model.embed(crop)
    model.train()
    np.testing.assert_array_equal(model.embed(crop), expected)
    assert model.training
    assert model.trunk.training


def test_preprocessing_is_part_of_the_model(model: ReIDModel) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    expected = model.heads["identity"].embed(model.trunk((images / 255 - mean) / std))
    torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(model(images.float() / 255), expected)


def test_every_head_has_its_share_of_the_embedding_whatever_the_length_of_its_features(model: ReIDModel) -> None:
    torch.manual_seed(0)
    parted = create_model("magnifiernet", num_ids=3, trunk="resnet18", width=0.25, size=(64, 32)).eval()
    images = torch.rand(3, 3, 64, 32)
    with torch.no_grad():
        joined = parted(images)
        parted.heads["regularization"].neck.weight.mul_(7)
        again = parted(images)
        alone = model.eval()(images)
    lengths = [block.norm(dim=1) for block in joined.split(list(parted.blocks.values()), dim=1)]
    for length, size in zip(lengths, parted.blocks.values(), strict=True):
        torch.testing.assert_close(length, torch.full((3,), size**0.5))
    torch.testing.assert_close(again, joined)
    assert not alone.norm(dim=1).allclose(torch.tensor(alone.shape[1] ** 0.5))  # one block stays as it is


def test_flip_adds_the_raw_embedding_of_the_mirror_image(model: ReIDModel) -> None:
    images = torch.rand(2, 3, 64, 32)
    raw = model(images) + model(images.flip(-1))
    expected = torch.nn.functional.normalize(raw).detach()
    torch.testing.assert_close(model.embed_batch(images, flip=True), expected)
    torch.testing.assert_close(model.embed_batch(images.flip(-1), flip=True), expected)


@pytest.mark.parametrize("flip", [False, True])
def test_embeddings_keep_their_lengths_where_asked_for(model: ReIDModel, flip: bool) -> None:
    images = torch.randint(0, 256, (3, 64, 32, 3), dtype=torch.uint8)
    pixels = images.permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model.eval()(pixels)
        expected = (expected + model(pixels.flip(-1))) / 2 if flip else expected
    found = model.embed(images.numpy(), flip=flip, unit=False)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert not np.allclose(np.linalg.norm(found, axis=1), 1)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8)],
)
def test_what_is_no_rgb_crop_is_refused(model: ReIDModel, image: np.ndarray) -> None:
    with pytest.raises(SemreidError, match="image 0 has shape"):
        model.embed([image])


def test_a_lone_path_is_refused(model: ReIDModel) -> None:
    with pytest.raises(SemreidError, match="takes a list"):
        model.embed("a.jpg")


def test_info_of_the_published_baseline() -> None:
    info = create_model("baseline", num_ids=751).info()
    assert info["parameters_without_classifiers"] == 23_508_032 + 2 * 2048  # trunk and BNNeck
    assert info["embedding_dim"] == 2048
    assert info["macs"] == pytest.approx(4.053e9, rel=1e-3)  # docs/san.md: 4.05 GMACs
    assert info["heads"] == ["identity"]
    assert create_model("baseline", num_ids=751).info((384, 192))["macs"] == pytest.approx(9.12e9, rel=1e-3)


PARSER = {"trunk": "resnet18", "width": 0.125, "last_stride": 1, "size": (64, 32)}
ODD = ({"size": 64}, {"size": [64]}, {"width": "a"}, {"last_stride": 3}, {"trunk": 18}, {"white_balance": 2}, {"x": 1})


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("size", [64, (64,), (0, 0), (64.0, 32.0), (64, 32, 3), "64x32", (5000, 32), None]),
        ("num_ids", [0, -1, 1.5, "3", None, True]),
        ("width", ["a", "0.5", 0, -1, float("nan"), 9, None]),
        ("last_stride", [0, 3, "1", None]),
        ("trunk", [None, 18]),
        ("foreground", [3, [], {}, {"trunk": "resnet18"}, *({**PARSER, **odd} for odd in ODD)]),
        ("shares", [3, ["identity"], {"identity": "much"}, {"identity": 0}, {"identity": None}]),
    ],
)
def test_what_no_model_can_be_built_from_is_named(option: str, values: list[object]) -> None:
    arguments = {"num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": (64, 32)}
    for value in values:
        with pytest.raises(SemreidError, match=f"model baseline: option '{option}' is ") as caught:
            create_model("baseline", **{**arguments, option: value})
        assert caught.value.fix
    assert create_model("baseline", **{**arguments, "width": 1}).architecture["width"] == 1


def test_a_nested_argument_is_named_with_what_is_wrong_in_it() -> None:
    with pytest.raises(SemreidError) as caught:
        create_model("baseline", 3, trunk="resnet18", foreground={**PARSER, "size": [64, 0]})
    assert caught.value.fix.startswith("size: 1: ")


def test_lists_of_cards_and_recipes_become_tuples() -> None:
    model = create_model("baseline", 3, trunk="resnet18", width=0.125, size=[64, 32], foreground=PARSER)
    listed = {**PARSER, "size": [64, 32]}
    again = create_model("baseline", 3, trunk="resnet18", width=0.125, size=(64, 32), foreground=listed)
    again.load_state_dict(model.state_dict())
    assert model.size == again.size == (64, 32)
    assert model.fingerprint == again.fingerprint


def test_zoo_refuses_what_it_does_not_know() -> None:
    with pytest.raises(SemreidError, match="no model named 'basline'"):
        create_model("basline", 1)
    with pytest.raises(SemreidError, match="has no option 'pol'") as caught:
        create_model("baseline", 1, trunk="resnet18", pol="max")
    assert "pool" in caught.value.fix


def test_modules_that_are_frozen_in_a_model_that_learns_stay_so(model: ReIDModel) -> None:
    model.train()
    frozen = {name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    for name in frozen:
        model.get_submodule(name).eval()
    model.embed([draw_figure(1, 1, 0)])
    model.info()
    assert {name for name, module in model.named_modules() if not module.training} == frozen


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 64, 32, dtype=torch.int64),
        torch.zeros(2, 1, 64, 32),
        torch.zeros(3, 64, 32),
        torch.zeros(2, 64, 32, 3, dtype=torch.uint8),
    ],
)
def test_batches_of_another_shape_or_type_are_refused(model: ReIDModel, images: torch.Tensor) -> None:
    with pytest.raises(SemreidError, match=r"of shape .* and type"):
        model.embed_batch(images)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_refused(kind: torch.dtype) -> None:
    other = create_model("baseline", num_ids=3, trunk="resnet18", width=0.25, size=(64, 32)).to(kind)
    with pytest.raises(SemreidError, match=rf"the weights are in {kind}"):
        other.embed([draw_figure(1, 1, 0)])


def test_losses_may_be_taken_against_embeddings(model: ReIDModel) -> None:
    images = torch.rand(2, 3, 64, 32)
    prototypes = model.embed_batch(images)
    assert not prototypes.requires_grad
    (model(images) * prototypes).sum().backward()
    assert model.trunk.conv1.weight.grad is not None
    model.zero_grad()
