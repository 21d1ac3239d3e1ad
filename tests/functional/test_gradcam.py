"""Oracle: Grad-CAM as its authors describe it, with hooks and a backward pass through the whole network."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from semreid.errors import SemreidError
from semreid.functional.gradcam import grad_cam, hires_cam
from semreid.functional.pooling import avg_pool, gem_pool, max_pool
from semreid.models.trunk import build_trunk


def hooked_grad_cam(network: nn.Module, layer: nn.Module, images: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    seen: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _module, _input, output: seen.update(maps=output)),
        layer.register_full_backward_hook(lambda _module, _input, output: seen.update(gradient=output[0])),
    ]
    score(network(images)).backward()
    for hook in hooks:
        hook.remove()
    cams = torch.zeros_like(seen["maps"][:, 0])
    for image, (maps, gradient) in enumerate(zip(seen["maps"], seen["gradient"], strict=True)):
        for channel in range(len(maps)):
            cams[image] += gradient[channel].mean() * maps[channel]
    return cams.clamp(min=0).detach()


class Classifier(nn.Module):
    """A trunk, a global pooling and a neck in training mode, so that the images of a batch depend on each other."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.pool = build_trunk("resnet18", width=0.25), pool
        self.head = nn.Sequential(nn.Linear(128, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.trunk(images)["layer4"]))


PIDS = torch.tensor([0, 1, 2, 0])


def true_logits(logits: Tensor) -> Tensor:
    return logits.gather(1, PIDS[:, None]).sum()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("pool", [avg_pool, max_pool])
def test_the_gradient_of_the_pooled_vector_is_enough(pool: Callable[[Tensor], Tensor], images: Tensor) -> None:
    network = Classifier(pool)
    expected = hooked_grad_cam(network, network.trunk.layer4, images, true_logits)
    network.zero_grad()
    maps = network.trunk(images)["layer4"].detach()
    pooled = pool(maps).requires_grad_()
    (gradient,) = torch.autograd.grad(true_logits(network.head(pooled)), pooled)
    assert expected.amax() > 0
    torch.testing.assert_close(grad_cam(maps, gradient), expected, rtol=1e-4, atol=1e-7)
    assert all(p.grad is None for p in network.parameters())


def test_the_gradient_of_the_map_does_for_any_other_pooling(images: Tensor) -> None:
    network = Classifier(gem_pool)
    expected = hooked_grad_cam(network, network.trunk.layer4, images, true_logits)
    maps = network.trunk(images)["layer4"].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(true_logits(network.head(gem_pool(maps))), maps)
    found = grad_cam(maps.detach(), gradient.sum(dim=(2, 3)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_nothing_is_lost_under_autocast() -> None:
    maps, gradient = torch.tensor([[[[1.0, 1.001]]]]), torch.tensor([[1.0]])
    with torch.autocast("cpu", torch.bfloat16):
        cam = grad_cam(maps, gradient)
    assert cam.dtype == torch.float32
    assert cam[0, 0, 1] > cam[0, 0, 0]


def test_a_score_that_no_position_raises_has_an_empty_cam() -> None:
    assert not grad_cam(torch.ones(1, 3, 2, 2), -torch.ones(1, 3)).any()


@pytest.mark.parametrize("gradient", [(2, 4), (2, 3, 4, 4), (1, 3)])
def test_shapes_that_do_not_fit_are_refused(gradient: tuple[int, ...]) -> None:
    with pytest.raises(SemreidError, match="summed over positions"):
        grad_cam(torch.zeros(2, 3, 4, 4), torch.zeros(gradient))


def test_hires_cam_adds_up_to_a_linear_score_and_is_grad_cam_for_average_pooling() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, weight = torch.rand(2, 5, 4, 3, generator=generator), torch.rand(5, 4, 3, generator=generator)
    linear = hires_cam(maps, weight.expand(2, -1, -1, -1))
    torch.testing.assert_close(linear.sum(dim=(1, 2)), (maps * weight).sum(dim=(1, 2, 3)))
    pooled = torch.randn(2, 5, generator=generator)
    spread = pooled[..., None, None].expand(maps.shape) / 12
    torch.testing.assert_close(hires_cam(maps, spread).relu(), grad_cam(maps, pooled))


def test_hires_cam_refuses_a_gradient_without_positions() -> None:
    with pytest.raises(SemreidError, match="of every position"):
        hires_cam(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3))
