from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semreid.data.images import resize
from semreid.explain.heat import pair_heat
from semreid.explain.sources import gather_evidence
from semreid.models.heads import Head
from semreid.models.model import ReIDModel
from semreid.models.trunk import Maps, build_trunk
from semreid.models.zoo import create_model
from tests.conftest import draw_figure


@pytest.fixture
def model() -> ReIDModel:
    torch.manual_seed(0)
    return create_model("baseline", num_ids=3, trunk="resnet18", width=0.25, size=(64, 32), pool="gem").eval()


@pytest.fixture
def crops() -> list[np.ndarray]:
    return [draw_figure(pid, camid, 0, 80, 40) for pid, camid in ((1, 1), (1, 2), (2, 2))]


def hooked_heat(model: ReIDModel, layer: str, one: np.ndarray, other: np.ndarray) -> Tensor:
    """Gradient times map at ``layer`` for one crop of a pair, by hooks and a backward pass through everything."""
    seen: dict[str, Tensor] = {}
    module = model.trunk.get_submodule(layer)
    hooks = [
        module.register_forward_hook(lambda _m, _i, output: seen.update(map=output)),
        module.register_full_backward_hook(lambda _m, _i, output: seen.update(gradient=output[0])),
    ]
    images = [torch.from_numpy(resize(c, model.size)).permute(2, 0, 1)[None] for c in (one, other)]
    vector = model(images[0])
    for hook in hooks:
        hook.remove()
    similarity = vector @ F.normalize(model(images[1]).detach()).T / vector.detach().norm()
    similarity.backward()
    heat = (seen["map"] * seen["gradient"]).sum(1)[0].detach()
    return heat + (similarity.item() - heat.sum()) / heat.numel()


def test_heat_is_what_hooks_and_a_whole_backward_pass_find(model: ReIDModel, crops: list[np.ndarray]) -> None:
    heat = pair_heat(model, crops[0], crops[1:])
    assert heat.query.shape == heat.match.shape == (2, 4, 2)
    assert all(parameter.grad is None for parameter in model.parameters())
    for k, match in enumerate(crops[1:]):
        for found, pair in ((heat.query[k], (crops[0], match)), (heat.match[k], (match, crops[0]))):
            expected = hooked_heat(model, "layer4", *pair)
            assert expected.std() > 0
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


class TwoMaps(Head):
    """Embeds two maps of different grids, each through an average."""

    dim = 96

    def embed(self, maps: Maps) -> Tensor:
        return torch.cat([maps[name].mean(dim=(2, 3)) for name in ("layer2", "layer4")], 1)


def test_maps_of_different_grids_are_added_each_for_what_it_gives_directly(crops: list[np.ndarray]) -> None:
    torch.manual_seed(0)
    model = ReIDModel(build_trunk("resnet18", width=0.25), {"two": TwoMaps()}, (64, 32)).eval()
    heat = pair_heat(model, crops[0], crops[1:2]).match[0]
    images = torch.from_numpy(np.stack([resize(c, model.size) for c in crops[:2]])).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = model.maps(images)
        query, match = model(images)
        gradient = query / query.norm() / match.norm()
    shares = {"layer2": gradient[:32], "layer4": gradient[32:]}
    single = {n: torch.einsum("chw,c->hw", maps[n][1], g).relu() / maps[n][1, 0].numel() for n, g in shares.items()}
    assert heat.shape == (8, 4)
    assert heat.sum() == pytest.approx(float(F.cosine_similarity(query, match, dim=0)))
    fine, coarse = heat - single["layer2"].numpy(), single["layer4"].numpy()
    np.testing.assert_allclose(fine.reshape(4, 2, 2, 2).sum(axis=(1, 3)).sum(), coarse.sum(), rtol=1e-4)
    corner = fine[0, 0], coarse[0, 0] / 4  # is not mixed with its neighbours
    np.testing.assert_allclose(*corner, rtol=1e-4, atol=1e-7)


def test_heat_adds_up_to_the_similarity(model: ReIDModel, crops: list[np.ndarray]) -> None:
    vectors = model.embed(crops)
    for side in pair_heat(model, crops[0], crops[1:]):
        np.testing.assert_allclose(side.sum(axis=(1, 2)), vectors[1:] @ vectors[0], rtol=1e-4)


def test_the_same_image_twice_has_the_same_heat_twice(model: ReIDModel, crops: list[np.ndarray]) -> None:
    heat = pair_heat(model, crops[0], [crops[0]])
    assert heat.query.any()
    np.testing.assert_allclose(heat.query, heat.match, rtol=1e-4)


def test_the_mode_of_the_model_stays_and_training_changes_nothing(
    model: ReIDModel, crops: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pair_heat(model, crops[0], crops[1:])
    model.train()
    np.testing.assert_array_equal(pair_heat(model, crops[0], crops[1:]).match, expected.match)
    assert model.training
    assert model.trunk.training
    with monkeypatch.context() as failing, pytest.raises(MemoryError):
        failing.setattr(type(model), "embed_maps", Mock(side_effect=MemoryError))
        pair_heat(model, crops[0], crops[1:])
    assert model.training


def test_no_matches_no_evidence(model: ReIDModel, crops: list[np.ndarray]) -> None:
    assert gather_evidence(model, crops[0], []) == []


@pytest.mark.parametrize("within", [torch.no_grad, torch.inference_mode])
def test_heat_is_the_same_where_callers_want_no_gradients(model: ReIDModel, crops: list[np.ndarray], within) -> None:
    expected = pair_heat(model, crops[0], crops[1:])
    with within():
        found = pair_heat(model, crops[0], crops[1:])
    np.testing.assert_array_equal(found.query, expected.query)
    np.testing.assert_array_equal(found.match, expected.match)
