from pathlib import Path

import pytest
import torch
from torch import nn

from semreid.errors import SemreidError
from semreid.models.trunk import IBN, ResNet, build_trunk, load_trunk_weights


def resnet(name: str, width: float = 1.0, last_stride: int = 1) -> ResNet:
    trunk = build_trunk(name, width=width, last_stride=last_stride)
    assert isinstance(trunk, ResNet)
    return trunk


@pytest.mark.parametrize(("name", "parameters"), [("resnet18", 11_176_512), ("resnet50", 23_508_032)])
def test_size_is_that_of_torchvision_without_classifier(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in resnet(name).parameters()) == parameters


def test_key_names_are_torchvisions() -> None:
    keys = set(resnet("resnet50", width=0.125).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"} <= keys
    assert len([k for k in keys if not k.endswith("num_batches_tracked")]) == 265
    assert "layer3.0.bn1.IN.weight" in resnet("resnet50_ibn_a", width=0.125).state_dict()


@pytest.mark.parametrize(("last_stride", "size"), [(1, (8, 4)), (2, (4, 2))])
@pytest.mark.parametrize(("name", "channels"), [("resnet18", 128), ("resnet50_ibn_a", 512)])
def test_maps_channels_and_strides(name: str, channels: int, last_stride: int, size: tuple[int, int]) -> None:
    trunk = resnet(name, width=0.25, last_stride=last_stride)
    maps = trunk(torch.zeros(2, 3, 128, 64))
    assert list(maps) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert maps["layer4"].shape == (2, channels, *size)
    for key, found in maps.items():
        assert found.shape[1] == trunk.channels[key]
        assert found.shape[2] == 128 // trunk.strides[key]


def test_ibn_normalises_half_by_instance_and_half_by_batch() -> None:
    layer = IBN(4)
    x = torch.randn(3, 4, 5, 6) * 3 + 1
    expected = torch.cat((nn.InstanceNorm2d(2)(x[:, :2]), nn.BatchNorm2d(2)(x[:, 2:])), 1)
    torch.testing.assert_close(layer(x), expected)


def test_ibn_is_in_the_first_three_stages_only() -> None:
    trunk = resnet("resnet18_ibn_a", width=0.25)
    places = [name for name, module in trunk.named_modules() if isinstance(module, IBN)]
    assert places == [f"layer{stage}.{block}.bn1" for stage in (1, 2, 3) for block in (0, 1)]


def test_loads_an_imagenet_file_by_path(tmp_path: Path) -> None:
    source, target = resnet("resnet18"), resnet("resnet18")
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}  # as in 2016
    torch.save({**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "r18.pth")
    load_trunk_weights(target, tmp_path / "r18.pth")
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv1.weight"), r"lacks 1 tensor\(s\), such as 'conv1.weight'"),
        (lambda state: state.update({"bn1.bias": torch.zeros(3)}), "has other shapes for 1 .* 'bn1.bias'"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_loaded(tmp_path: Path, change, message: str) -> None:
    trunk = resnet("resnet18", width=0.25)
    before = trunk.layer2[0].conv1.weight.detach().clone()
    state = resnet("resnet18", width=0.25).state_dict()
    change(state)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(SemreidError, match=message):
        load_trunk_weights(trunk, tmp_path / "odd.pth")
    assert torch.equal(trunk.layer2[0].conv1.weight, before)


def test_weights_of_another_width(tmp_path: Path) -> None:
    torch.save(resnet("resnet18", width=0.5).state_dict(), tmp_path / "half.pth")
    with pytest.raises(SemreidError, match="has other shapes"):
        load_trunk_weights(resnet("resnet18", width=0.25), tmp_path / "half.pth")


def test_weights_of_a_whole_model_point_to_its_run_folder(tmp_path: Path) -> None:
    state = {f"trunk.{name}": tensor for name, tensor in resnet("resnet18", width=0.25).state_dict().items()}
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(SemreidError, match="lacks") as caught:
        load_trunk_weights(resnet("resnet18", width=0.25), tmp_path / "model.pth")
    assert caught.value.fix == f"it holds a whole model: give its run folder, such as {tmp_path}"


def test_unknown_trunks_and_options() -> None:
    with pytest.raises(SemreidError, match="no trunk named 'resnet19'") as caught:
        build_trunk("resnet19")
    assert "resnet50_ibn_a" in caught.value.fix
    with pytest.raises(SemreidError, match="width must be"):
        build_trunk("resnet18", width=0)
    with pytest.raises(SemreidError, match="do not apply to timm"):
        build_trunk("timm:resnet18", width=0.5)


def test_a_stem_without_relu_takes_the_same_weights() -> None:
    plain, rectified = (build_trunk("resnet18", width=0.25, stem_relu=relu).eval() for relu in (False, True))
    rectified.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(plain(images)["stem"].relu(), rectified(images)["stem"])
    assert (plain(images)["stem"] < 0).any()


def test_timm_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(SemreidError, match="timm is not installed") as caught:
        build_trunk("timm:resnet18")
    assert "semreid[timm]" in caught.value.fix


class FakeTimm:
    """What timm's feature interface promises, without timm: five maps, a ``model`` inside, fussy arguments."""

    class Net(nn.Module):
        class Info:
            @staticmethod
            def channels() -> list[int]:
                return [8, 16, 24, 32, 40]

            @staticmethod
            def reduction() -> list[int]:
                return [2, 4, 8, 16, 32]

        feature_info = Info()

        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Conv2d(3, 40, 1)

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [
                torch.zeros(len(x), c, 64 // r, 32 // r)
                for c, r in zip([8, 16, 24, 32, 40], [2, 4, 8, 16, 32], strict=True)
            ]

    @classmethod
    def create_model(cls, model_name: str, pretrained: bool, features_only: bool) -> nn.Module:
        assert not pretrained
        assert features_only
        if model_name != "net":
            raise RuntimeError(f"Unknown model ({model_name})")
        return cls.Net()


def test_timm_trunks_name_their_last_four_maps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", FakeTimm)
    trunk = build_trunk("timm:net")
    maps = trunk(torch.zeros(2, 3, 64, 32))
    assert {name: (m.shape[1], 64 // m.shape[2]) for name, m in maps.items()} == {
        name: (trunk.channels[name], trunk.strides[name]) for name in ("layer1", "layer2", "layer3", "layer4")
    }
    torch.save({"weight": torch.ones(40, 3, 1, 1), "bias": torch.ones(40), "head": torch.ones(1)}, tmp_path / "n.pth")
    load_trunk_weights(trunk, tmp_path / "n.pth")
    assert trunk.net.model.bias.unique().tolist() == [1]
    with pytest.raises(SemreidError, match="timm cannot build 'nat' as a trunk"):
        build_trunk("timm:nat")
