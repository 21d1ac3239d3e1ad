import pytest
import torch
from torch import nn

from semreid.export.winograd import WinogradConv, pays, with_winograd


@pytest.mark.parametrize("size", [(16, 8), (8, 12), (4, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_convolution(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 40, 3, padding=1, bias=bias)
    maps = torch.randn(3, 24, *size)
    found = WinogradConv(conv, *size)(maps)
    expected = conv.double()(maps.double())
    assert ((found - expected).norm() / expected.norm()).item() < 5e-6


@pytest.mark.parametrize(
    "changes", [{"stride": 2}, {"padding": 0}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "circular"}]
)
def test_other_convolutions_are_left_alone(changes: dict[str, object]) -> None:
    assert pays(nn.Conv2d(512, 512, 3, padding=1), 16, 8)
    assert not pays(nn.Conv2d(512, 512, 3, **{"padding": 1, **changes}), 16, 8)
    assert not pays(nn.Conv2d(512, 512, 5, padding=1), 16, 8)
    assert not pays(nn.Conv2d(512, 512, 3, padding=1), 16, 6)


def test_a_network_is_copied_and_a_convolution_seen_at_two_sizes_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.once, self.twice = (nn.Conv2d(128, 128, 3, padding=1) for _ in range(2))

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return self.twice(self.twice(self.once(maps))[..., :4])

    torch.manual_seed(0)
    network, maps = Twice(), torch.randn(2, 128, 8, 8)
    faster = with_winograd(network, maps)
    assert isinstance(faster.once, WinogradConv)
    assert isinstance(faster.twice, nn.Conv2d)
    assert isinstance(network.once, nn.Conv2d)
    assert not network.once._forward_pre_hooks
    torch.testing.assert_close(faster(maps), network(maps), atol=1e-5, rtol=1e-4)
