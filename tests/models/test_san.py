from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.export.graph import crops_to_vectors, example_input, to_onnx
from semreid.models.card import Card, save_model
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.training.recipe import load_recipe
from semreid.training.schedule import loss_weights
from semreid.training.trainer import sum_losses
from tests.conftest import draw_figure

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = {"num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": (64, 32)}
CROPS = [draw_figure(pid, 1, 0) for pid in range(5)]


def build(name: str = "san", **options: object) -> ReIDModel:
    """A small one with running statistics, in evaluation mode."""
    torch.manual_seed(0)
    model = create_model(name, **SMALL | options)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)):
        norm.momentum = 1.0
    torch.nn.init.normal_(model.heads["texture"].decoder.paint.weight, std=5.0)  # a painter that has opinions
    model.losses(make_batch())
    return model.eval()


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 64, 32, generator=generator)
    pids = torch.tensor([0, 0, 1, 1, 2, 2])
    return Batch(images, pids, pids, textures=torch.rand(6, 3, 256, 256, generator=generator))


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("san*.yaml")), ids=lambda path: path.stem)
def test_recipes_fit_the_model(path: Path) -> None:
    recipe = load_recipe(path)
    model = build(recipe.model.name, **recipe.model.options).train()
    losses = model.losses(make_batch())
    weights = model.loss_weights | loss_weights(recipe.losses, 0)
    assert sum_losses(losses, weights) > 0
    if path.parent.name == "paper" and recipe.model.name == "san":
        released = recipe.model.options["variant"] == "released"
        wanted = (
            {"identity.id": 1, "identity.triplet": 1} if released else {"identity.id": 0.5, "identity.triplet": 1.5}
        )
        assert {name: weights.get(name, 1) for name in losses} == {
            **wanted,
            **dict.fromkeys(losses.keys() - wanted.keys(), 1),
        }
    assert set(recipe.optim.separate_losses) <= losses.keys()


def test_textures_are_wanted_as_large_as_they_are_painted() -> None:
    assert create_model("san", **SMALL).texture_side == 256
    assert create_model("unified", **SMALL, decoder_blocks=3).texture_side == 128
    assert create_model("baseline", **SMALL).texture_side == 256  # of no use to it


def test_the_baseline_of_the_ablation_needs_no_textures_and_paints_nothing() -> None:
    model = create_model("san", **SMALL, decoder=False)
    assert not model.needs
    assert list(model.heads) == ["identity"]
    assert model.loss_weights == {"identity.id": 0.5, "identity.triplet": 1.5}


@pytest.mark.parametrize(
    ("variant", "parameters", "dim", "decoder"),
    [("published", 23_508_032, 2048, 8_396_835), ("released", 24_558_144, 512, 9_071_075)],
)
def test_size_of_the_published_models(variant: str, parameters: int, dim: int, decoder: int) -> None:
    with torch.device("meta"):
        model = create_model("san", num_ids=767, variant=variant)
    info = model.info()
    assert info["parameters_without_classifiers"] == parameters
    assert info["embedding_dim"] == dim
    assert info["macs"] == pytest.approx(4.053e9, rel=1e-3)  # the trunk alone: nothing is painted at inference
    total = sum(p.numel() for p in model.parameters())
    assert total == parameters + decoder + 767 * dim


@pytest.mark.parametrize(("skips", "macs"), [(False, 2.929e9), (True, 3.097e9)])
def test_operations_of_the_decoder(skips: bool, macs: float) -> None:
    with torch.device("meta"):
        info = create_model("san_pg", num_ids=1, skips=skips).info()
    doubling = sum(
        channels * (2 * h + 2) * w * (h + 2 * w + 2)  # rows from rows, then places from places
        for channels, h, w in ((512, 16, 8), (256, 32, 16), (64, 64, 32), (32, 128, 64))
    )
    assert info["macs"] - 4.0532e9 - doubling == pytest.approx(macs, rel=1e-3)
    assert info["maps"]["texture"] == [3, 256, 256]
    assert info["embedding_dim"] == 0


def test_variants_decide_what_paper_and_code_disagree_on() -> None:
    published, released = build().heads, build(variant="released").heads
    assert (published["texture"].triplet, released["texture"].triplet) == ("published", "released")
    assert (len(published["texture"].decoder.skips), len(released["texture"].decoder.skips)) == (0, 3)
    assert (published["identity"].dim, released["identity"].dim) == (128, 512)
    mixed = build(variant="released", skips=False, triplet="published", embedding="bnneck").heads
    assert (mixed["texture"].triplet, len(mixed["texture"].decoder.skips)) == ("published", 0)
    assert mixed["identity"].neck.weight.shape == (128,)


def test_features_are_those_of_the_variants() -> None:
    image = torch.rand(2, 3, 64, 32)
    model = build()
    pooled = model.maps(image)["layer4"].mean((2, 3))
    torch.testing.assert_close(model(image), pooled)
    released = build(variant="released")
    linear, norm, _ = released.heads["identity"].reduce
    expected = norm(linear(released.maps(image)["layer4"].mean((2, 3)))).clamp(min=0)
    torch.testing.assert_close(released(image), expected)


@pytest.mark.parametrize("variant", ["published", "released"])
def test_embedding_is_bit_identical_without_the_decoder(variant: str) -> None:
    model = build(variant=variant)
    state = model.inference_state()
    assert not [name for name in state if "texture" in name]
    bare = build(variant=variant)
    del bare.heads["texture"]
    assert set(state) == set(bare.inference_state())
    bare.load_state_dict(state, strict=False)
    np.testing.assert_array_equal(bare.embed(CROPS), model.embed(CROPS))
    before, fingerprint = model.embed(CROPS), model.fingerprint
    for parameter in model.heads["texture"].parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    np.testing.assert_array_equal(model.embed(CROPS), before)
    assert model.fingerprint == fingerprint


def test_the_decoder_is_not_exported() -> None:
    model = build()
    graph = to_onnx(crops_to_vectors(model), example_input(model, 2)).graph
    numbers = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    used = sum(tensor.numel() for tensor in model.inference_state().values())
    assert numbers < 1.01 * used
    assert sum(p.numel() for p in model.heads["texture"].parameters()) > 0.05 * used


def test_a_saved_model_still_paints(tmp_path: Path) -> None:
    model = build()
    architecture = {"name": "san", **SMALL}
    save_model(tmp_path, model, Card(architecture, {}, "none", 0))
    loaded = load_model(tmp_path)
    textures = loaded.texture(CROPS, batch_size=2)
    assert textures.shape == (5, 3, 256, 256)
    assert textures.dtype == np.float32
    assert 0 <= textures.min() < textures.max() <= 1
    np.testing.assert_allclose(textures, model.texture(CROPS), atol=1e-5)


@pytest.mark.parametrize("options", [{"skips": True}, {"decoder_blocks": 3}])
def test_texture_with_flip_follows_the_mirror(options: dict[str, object]) -> None:
    model = build("san_pg", **options)
    straight, mirrored = (model.texture(c, flip=True) for c in (CROPS, [c[:, ::-1].copy() for c in CROPS]))
    np.testing.assert_allclose(straight, mirrored[..., ::-1], atol=1e-5)
    assert np.abs(straight - straight[..., ::-1]).max() > 1e-3
    assert model.texture([]).shape == (0, 3, 256, 256)


def test_the_teacher_counts_its_decoder_and_does_not_embed() -> None:
    teacher = build("san_pg")
    assert [name for name in teacher.inference_state() if "texture.decoder" in name]
    assert teacher.dim == 0
    with pytest.raises(SemreidError, match="has no embedding"):
        teacher.embed(CROPS)


def test_models_without_a_painter_say_so() -> None:
    model = create_model("baseline", **SMALL)
    with pytest.raises(SemreidError, match="paints textures") as caught:
        model.texture(CROPS)
    assert "san_pg" in caught.value.fix
    with pytest.raises(SemreidError, match=r"image 0 has shape \(64, 32\)"):
        build().texture([CROPS[0][..., 0]])


def test_skips_need_maps_that_fit() -> None:
    with pytest.raises(SemreidError, match="cannot see earlier maps") as caught:
        build(variant="released", last_stride=2)
    assert "last_stride=1" in caught.value.fix
    assert build(last_stride=2).texture(CROPS[:1]).shape == (1, 3, 256, 256)


@pytest.mark.parametrize(
    ("option", "value"),
    [("variant", "v1"), ("embedding", "gap"), ("triplet", "hard"), ("skips", 3), ("decoder_blocks", 2)],
)
def test_options_that_are_none_say_so(option: str, value: object) -> None:
    with pytest.raises(SemreidError, match=f"model san: option '{option}' is "):
        build(**{option: value})


def test_synthetic_images_have_no_identity() -> None:
    model = build()
    real, extra = make_batch(), make_batch()
    extra = replace(extra, textures=1 - 0.5 * extra.textures)
    joined = Batch(
        images=torch.cat([real.images, extra.images.flip(0)]),
        pids=torch.cat([real.pids, torch.full((6,), -1)]),
        camids=torch.cat([real.camids, extra.camids]),
        textures=torch.cat([real.textures, extra.textures]),
        synthetic=6,
    )
    torch.manual_seed(3)
    alone = model.losses(real)
    torch.manual_seed(3)
    found = model.losses(joined)
    for name in ("identity.id", "identity.triplet", "texture.triplet"):
        torch.testing.assert_close(found[name], alone[name], rtol=1e-4, atol=1e-5)
    assert found["texture.reconstruction"] != alone["texture.reconstruction"]
    pairs_only = model.losses(replace(joined, textures=extra.textures))
    both = (pairs_only["texture.reconstruction"] + alone["texture.reconstruction"]) / 2
    torch.testing.assert_close(found["texture.reconstruction"], both, rtol=1e-4, atol=1e-5)


def test_synthetic_images_are_normalised_apart_in_the_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    model, real = build().train(), make_batch()
    joined = Batch(
        images=torch.cat([real.images, torch.rand(2, 3, 64, 32)]),
        pids=torch.cat([real.pids, torch.tensor([-1, -1])]),
        camids=torch.cat([real.camids, torch.tensor([9, 9])]),
        textures=torch.rand(8, 3, 256, 256),
        synthetic=2,
    )
    alone = model.losses(real)["identity.triplet"]
    statistics = {name: value.clone() for name, value in model.trunk.named_buffers() if "running" in name}
    found = model.losses(joined)["identity.triplet"]
    torch.testing.assert_close(found, alone)
    for name, value in statistics.items():
        torch.testing.assert_close(model.trunk.get_buffer(name), value)
    maps, shown = model.maps(real.images), {}
    monkeypatch.setattr(model.heads["texture"], "losses", lambda maps, batch: shown.update(maps) or {})
    model.losses(joined)
    assert set(shown) == {"layer4"}  # what its decoder reads, and nothing else
    assert torch.equal(shown["layer4"][:6], maps["layer4"])
    assert len(shown["layer4"]) == 8
    assert {norm.momentum for norm in model.trunk.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {1.0}
