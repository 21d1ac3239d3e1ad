from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.models.heads import REGIONS
from semreid.models.model import ReIDModel
from semreid.models.parts import Parts
from semreid.models.zoo import create_model
from semreid.training.recipe import Recipe, load_recipe
from semreid.training.schedule import loss_weights
from semreid.training.trainer import sum_losses
from tests.conftest import draw_figure

RECIPES = Path(__file__).parents[2] / "recipes"
CROPS = [draw_figure(pid, 1, 0) for pid in range(5)]


def build(**options: object) -> ReIDModel:
    """A small one with running statistics and opinions, in evaluation mode."""
    torch.manual_seed(0)
    model = create_model(
        "magnifiernet", **{"num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": (64, 32)} | options
    )
    torch.nn.init.normal_(model.heads["parsing"].decoder[3].weight, std=1.0)
    model.maps(torch.rand(8, 3, 64, 32))
    return model.eval()


def make_batch(model: ReIDModel) -> Batch:
    pids = torch.arange(2).repeat_interleave(2)
    return Batch(
        images=torch.rand(4, 3, 64, 32),
        pids=pids,
        camids=pids,
        regions=torch.randint(0, 8, (4, 64, 32), dtype=torch.uint8),
        attributes=torch.zeros(4, 30) if "attributes" in model.needs else None,
    )


def weights_of(model: ReIDModel, recipe: Recipe, epoch: int) -> dict[str, float]:
    return model.loss_weights | loss_weights(recipe.losses, epoch)


def test_size_of_the_published_model() -> None:
    model = create_model("magnifiernet", num_ids=767, size=(384, 192))
    info = model.info()
    assert info["parameters_without_classifiers"] == 39_933_512  # docs/magnifiernet.md: 39.934 M
    assert info["embedding_dim"] == 2048 + 1024 + 1024
    assert info["macs"] == pytest.approx(11.19e9, rel=1e-3)
    assert info["heads"] == ["identity", "parsing", "regularization", "fusion"]
    maps = info["maps"]
    assert maps["layer3"] == [1024, 24, 12]
    assert maps["parsing"] == [8, 48, 24]
    assert maps["regions"] == [24, 12]
    assert maps["region_vectors"] == [8, 1024]
    classifiers = 767 * (2048 + 1024 + 1024 + 8 * 1024)
    assert sum(p.numel() for p in model.parameters()) == 39_933_512 + classifiers  # 49.36 M; 49.37 M with biases


@pytest.mark.parametrize(
    ("variant", "cell", "triplet", "region_heads"),
    [("released", "LSTMCell", False, True), ("published", "GRUCell", True, False)],
)
def test_variants_decide_what_paper_and_code_disagree_on(
    variant: str, cell: str, triplet: bool, region_heads: bool
) -> None:
    heads = build(variant=variant).heads
    assert type(heads["fusion"].fuse.cell).__name__ == cell
    assert heads["regularization"].triplet == triplet
    assert (heads["fusion"].region_heads is not None) == region_heads


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("magnifiernet*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("options", [{"variant": "published"}, {"variant": "released"}, {"region_heads": False}])
def test_options_bring_their_loss_weights_along(path: Path, options: dict[str, object]) -> None:
    recipe = load_recipe(path)
    model = build(**recipe.model.options | options).train()
    weights = weights_of(model, recipe, recipe.schedule.epochs - 1)
    assert sum_losses(model.losses(make_batch(model)), weights) > 0
    assert ("fusion.regions" in weights) == (options.get("region_heads", options.get("variant") == "released"))


def test_the_released_descriptor_has_one_normalisation_and_the_released_stem_no_relu() -> None:
    model = build(join="plain", stem_relu=False)
    images = torch.rand(3, 3, 64, 32)
    with torch.no_grad():
        maps = model.maps(images)
        blocks = [b for head in model.heads.values() if (b := head.embed(maps)) is not None]
        expected = torch.cat(blocks, dim=1)
        torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(model.embed_batch(images), torch.nn.functional.normalize(expected))
    assert (maps["stem"] < 0).any()
    assert not (build().maps(images)["stem"] < 0).any()
    assert model.join == "plain"
    crops = [image.permute(1, 2, 0).mul(255).byte().numpy() for image in images]
    np.testing.assert_allclose(model.embed(crops, parts=True).embedding, model.embed(crops), atol=1e-5)


@pytest.mark.parametrize("join", ["equal", "plain"])
def test_a_share_makes_a_block_count_less_and_leaves_the_others(join: str) -> None:
    whole, half = build(join=join), build(join=join, shares={"identity": 0.5})
    half.load_state_dict(whole.state_dict())
    images = torch.rand(3, 3, 64, 32)
    width = whole.blocks["identity"]
    with torch.no_grad():
        one, other = whole(images), half(images)
    torch.testing.assert_close(other[:, :width], one[:, :width] / 2)
    torch.testing.assert_close(other[:, width:], one[:, width:])
    assert half.blocks == whole.blocks


def test_a_share_of_what_is_not_in_the_embedding_is_refused() -> None:
    with pytest.raises(SemreidError, match="names 'parsing', which has no share"):
        build(shares={"parsing": 0.5})


def test_options_of_every_model_leave_no_trace_where_they_are_as_usual() -> None:
    usual = build()
    assert build(join="equal", stem_relu=True, shares={}).fingerprint == usual.fingerprint
    for unusual in ({"join": "plain"}, {"shares": {"identity": 0.5}}):
        assert build(**unusual).fingerprint != usual.fingerprint
    for name, value in (
        ("join", "sum"),
        ("stem_relu", "no way"),
        ("shares", {"identity": 0}),
        ("shares", {"identity": "much"}),
        ("shares", ["identity"]),
    ):
        with pytest.raises(SemreidError, match=f"option '{name}' is "):
            build(**{name: value})


def test_an_option_overrules_the_variant() -> None:
    heads = build(variant="published", cell="lstm", srb_triplet=False, region_heads=True).heads
    assert type(heads["fusion"].fuse.cell).__name__ == "LSTMCell"
    assert not heads["regularization"].triplet
    assert heads["fusion"].region_heads is not None


@pytest.mark.parametrize(
    ("branches", "dim"), [([], 128), (["srb"], 192), (["sfb"], 192), (["srb", "sfb"], 256), (("sfb", "srb"), 256)]
)
def test_branches_for_the_ablation(branches: list[str], dim: int) -> None:
    model = build(branches=branches)
    assert model.dim == dim
    assert model.embed(CROPS[:1]).shape == (1, dim)


@pytest.mark.parametrize(
    ("option", "value"),
    [("cell", "rnn"), ("variant", "v1"), ("branches", ["seb"]), ("masks", "none"), ("label_resize", "area")],
)
def test_options_that_are_none_say_what_there_is(option: str, value: object) -> None:
    with pytest.raises(SemreidError, match=f"model magnifiernet: option '{option}' is ") as caught:
        build(**{option: value})
    assert "Input should be" in caught.value.fix


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("magnifiernet*.yaml")), ids=lambda path: path.stem)
def test_recipes_weigh_the_losses_that_there_are(path: Path) -> None:
    recipe = load_recipe(path)
    model = build(**recipe.model.options).train()
    losses = model.losses(make_batch(model))
    first, last = (weights_of(model, recipe, epoch) for epoch in (0, recipe.schedule.epochs - 1))
    assert sum_losses(losses, last) > sum_losses(losses, first)
    assert first["fusion.diversity"] == 0
    assert first["parsing.pixel"] == 2  # sheet: weight = [1, 2, ..., 0.0125, ...]
    assert first.get("fusion.regions", 0.0125) == 0.0125
    unweighted = {
        "identity.id",
        "identity.triplet",
        "regularization.id",
        "regularization.triplet",
        "fusion.id",
        "fusion.triplet",
        "attributes.bce",
    }
    assert losses.keys() - first.keys() <= unweighted


def test_attributes_cost_nothing_at_inference() -> None:
    plain, taught = build(), build(attributes={"general": 5, "head": 2})
    assert plain.inference_state().keys() == taught.inference_state().keys()
    assert "attributes" in taught.needs
    with pytest.raises(SemreidError, match="option 'attributes'"):
        build(attributes={"general": 0})


def test_batch_of_one_equals_its_row_in_a_larger_batch() -> None:
    model = build()
    whole = model.embed(CROPS)
    for i, crop in enumerate(CROPS):
        np.testing.assert_allclose(model.embed([crop])[0], whole[i], atol=1e-6)


def test_embedding_reads_the_regions_that_the_model_finds_itself() -> None:
    model = build()
    before = model.embed(CROPS)
    torch.nn.init.normal_(model.heads["parsing"].decoder[3].weight, std=1.0)
    assert np.abs(model.embed(CROPS) - before).max() > 1e-3
    assert "parsing" in "".join(model.inference_state())


def test_a_model_that_sees_background_only_still_embeds() -> None:
    model = build()
    torch.nn.init.zeros_(model.heads["parsing"].decoder[3].weight)  # all alike: the first label wins
    parts = model.embed(CROPS, parts=True)
    assert np.isfinite(parts.embedding).all()
    assert (parts.labels == 0).all()
    assert (parts.visibility[:, 0] == 1).all()
    assert not parts.visibility[:, 1:].any()
    assert not parts.regions[:, 1:].any()


def test_parts_are_what_the_embedding_is_made_of() -> None:
    model = build()
    parts = model.embed(CROPS, parts=True, batch_size=2)
    assert isinstance(parts, Parts)
    assert len(parts) == 5
    np.testing.assert_allclose(parts.embedding, model.embed(CROPS), atol=1e-6)
    assert {name: block.shape for name, block in parts.blocks.items()} == {
        "identity": (5, 128),
        "regularization": (5, 64),
        "fusion": (5, 64),
    }
    start = 0
    for block in parts.blocks.values():
        share = parts.embedding[:, start : start + block.shape[1]]
        np.testing.assert_allclose(block, share / np.linalg.norm(share, axis=1, keepdims=True), atol=1e-5)
        start += block.shape[1]
    assert parts.names == REGIONS
    assert parts.regions.shape == (5, 8, 64)
    assert parts.labels.shape == (5, 4, 2)
    assert parts.labels.dtype == np.uint8


def test_visibility_is_the_share_of_the_labels_and_hidden_regions_are_zero() -> None:
    parts = build().embed(CROPS, parts=True)
    counted = np.stack([(parts.labels == region).mean((1, 2)) for region in range(8)], axis=1)
    np.testing.assert_allclose(parts.visibility, counted, atol=1e-6)
    seen = parts.visibility > 0
    assert 0 < seen.sum() < seen.size
    np.testing.assert_allclose(np.linalg.norm(parts.regions, axis=2), seen, atol=1e-5)


def test_parts_without_background_have_seven_regions() -> None:
    parts = build(background=False).embed(CROPS, parts=True)
    assert parts.names == REGIONS[1:]
    assert parts.regions.shape == (5, 7, 64)
    np.testing.assert_allclose(parts.visibility[:, 0], (parts.labels == 1).mean((1, 2)), atol=1e-6)


def test_parts_with_test_time_flip() -> None:
    model = build()
    parts, mirrored = (model.embed(c, parts=True, flip=True) for c in (CROPS, [c[:, ::-1].copy() for c in CROPS]))
    np.testing.assert_allclose(parts.embedding, model.embed(CROPS, flip=True), atol=1e-6)
    for name in ("embedding", "regions", "visibility"):
        np.testing.assert_allclose(getattr(parts, name), getattr(mirrored, name), atol=1e-5)
    np.testing.assert_array_equal(parts.labels, model.embed(CROPS, parts=True).labels)


def test_parts_of_no_image() -> None:
    parts = build().embed([], parts=True)
    assert len(parts) == 0
    assert parts.regions.shape == (0, 8, 64)


def test_a_model_without_regions_says_so_and_stays_in_its_mode() -> None:
    model = create_model("baseline", num_ids=1, trunk="resnet18", width=0.125, size=(64, 32)).train()
    with pytest.raises(SemreidError, match="knows no body regions") as caught:
        model.embed(CROPS, parts=True)
    assert "magnifiernet" in caught.value.fix
    assert model.training
