"""Trunks: networks that turn images into named feature maps for the heads to read.

The ResNets use torchvision's key names, so the classic ImageNet files load by path; the IBN-a variant uses
the key names of the IBN-Net release (``bn1.IN``, ``bn1.BN``). Any timm model comes through the extra
``semreid[timm]`` as ``timm:NAME``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from semreid.errors import SemreidError
from semreid.weights import read_tensors

Maps = dict[str, Tensor]
"""Named feature maps (B, C, h, w): what the trunk computed and what earlier heads added."""


class Trunk(Protocol):
    """What heads need to know of a trunk: its maps, and their channels and strides by name."""

    channels: dict[str, int]
    strides: dict[str, int]

    def __call__(self, images: Tensor) -> Maps:
        """Compute the maps of normalised images (B, 3, H, W)."""


class IBN(nn.Module):
    """Instance-batch normalisation (variant a): half of the channels instance-, half batch-normalised.

    Args:
        channels: Number of channels; the first half gets instance normalisation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.instance = channels // 2
        self.IN = nn.InstanceNorm2d(self.instance, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.instance)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, h, w); the shape stays."""
        return torch.cat((self.IN(x[:, : self.instance].contiguous()), self.BN(x[:, self.instance :].contiguous())), 1)


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions (ResNet-18).

    Args:
        c_in: Input channels.
        planes: Output channels.
        stride: Stride of the first convolution.
        ibn: Use IBN-a as the first normalisation.
    """

    expansion = 1

    def __init__(self, c_in: int, planes: int, stride: int = 1, *, ibn: bool = False) -> None:
        super().__init__()
        self.conv1 = _conv(c_in, planes, 3, stride)
        self.bn1 = IBN(planes) if ibn else nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(c_in, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, h, w) to (B, planes, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(y)) + self.downsample(x))
        return out


class Bottleneck(nn.Module):
    """Residual block 1x1 → 3x3 → 1x1 with the stride on the 3x3 (ResNet-50).

    Args:
        c_in: Input channels.
        planes: Inner channels; the output has four times as many.
        stride: Stride of the 3x3 convolution.
        ibn: Use IBN-a as the first normalisation.
    """

    expansion = 4

    def __init__(self, c_in: int, planes: int, stride: int = 1, *, ibn: bool = False) -> None:
        super().__init__()
        c_out = planes * self.expansion
        self.conv1 = _conv(c_in, planes, 1)
        self.bn1 = IBN(planes) if ibn else nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _conv(planes, c_out, 1)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, h, w) to (B, 4 * planes, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.relu(self.bn3(self.conv3(y)) + self.downsample(x))
        return out


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Module:
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    return nn.Sequential(_conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))


class ResNet(nn.Module):
    """ResNet that returns the maps of its ``stem`` and of its four stages, ``layer1`` to ``layer4``.

    Args:
        block: Residual block class.
        depths: Blocks in each of the four stages.
        width: Multiplier of all channel counts (1 is the published network).
        last_stride: Stride of the last stage; 1 doubles its resolution (Bag of Tricks).
        ibn: Use IBN-a in stages 1 to 3.
        stem_relu: Rectify after the first normalisation; the code of Bag of Tricks and MagnifierNet does not.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        width: float = 1.0,
        last_stride: int = 1,
        ibn: bool = False,
        stem_relu: bool = True,
    ) -> None:
        super().__init__()
        planes = [_scaled(base, width) for base in (64, 128, 256, 512)]
        self.conv1 = _conv(3, planes[0], 7, 2)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU(inplace=True) if stem_relu else nn.Identity()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        c_in, stride = planes[0], 4
        self.channels = {"stem": c_in}
        self.strides = {"stem": 2}
        for i, step in enumerate((1, 2, 2, last_stride)):
            name, use_ibn = f"layer{i + 1}", ibn and i < 3
            first = block(c_in, planes[i], step, ibn=use_ibn)
            c_in, stride = planes[i] * block.expansion, stride * step
            rest = [block(c_in, planes[i], ibn=use_ibn) for _ in range(depths[i] - 1)]
            self.add_module(name, nn.Sequential(first, *rest))
            self.channels[name], self.strides[name] = c_in, stride
        self.apply(_init)

    def forward(self, images: Tensor) -> Maps:
        """Compute the stage maps of normalised images (B, 3, H, W)."""
        maps: Maps = {"stem": self.relu(self.bn1(self.conv1(images)))}
        x = self.maxpool(maps["stem"])
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            x = maps[stage] = self.get_submodule(stage)(x)
        return maps


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width / 8) * 8)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class TimmTrunk(nn.Module):
    """Any timm network with feature maps, its last four maps named ``layer1`` to ``layer4``.

    Args:
        name: The timm model name.

    Raises:
        SemreidError: If the extra is missing, the name is unknown or the network has no feature maps.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise SemreidError("timm is not installed", fix="pip install 'semreid[timm]'") from error
        try:
            self.net = _create_timm(timm.create_model, name)
        except (RuntimeError, ValueError, AttributeError) as error:
            raise SemreidError(
                f"timm cannot build '{name}' as a trunk: {error}", fix="see timm.list_models()"
            ) from error
        info: Any = self.net.feature_info
        names = [f"layer{i}" for i in range(5 - min(4, len(info.channels())), 5)]
        self.channels = dict(zip(names, info.channels()[-4:], strict=True))
        self.strides = dict(zip(names, info.reduction()[-4:], strict=True))

    def forward(self, images: Tensor) -> Maps:
        """Compute the maps of normalised images (B, 3, H, W)."""
        return dict(zip(self.channels, self.net(images)[-len(self.channels) :], strict=True))


def _create_timm(create_model: Callable[..., nn.Module], name: str) -> nn.Module:
    """Build without weights; transformers, which alone know the argument, then take any input size."""
    arguments = {"model_name": name, "pretrained": False, "features_only": True}
    try:
        return create_model(**arguments, dynamic_img_size=True)
    except TypeError:
        return create_model(**arguments)


_RESNETS: dict[str, Callable[..., ResNet]] = {
    "resnet18": lambda **kw: ResNet(BasicBlock, (2, 2, 2, 2), **kw),
    "resnet50": lambda **kw: ResNet(Bottleneck, (3, 4, 6, 3), **kw),
    "resnet18_ibn_a": lambda **kw: ResNet(BasicBlock, (2, 2, 2, 2), ibn=True, **kw),
    "resnet50_ibn_a": lambda **kw: ResNet(Bottleneck, (3, 4, 6, 3), ibn=True, **kw),
}


def build_trunk(name: str, *, width: float = 1.0, last_stride: int = 1, stem_relu: bool = True) -> Trunk:
    """Build a trunk with random weights.

    Args:
        name: ``resnet18``, ``resnet50``, ``resnet18_ibn_a``, ``resnet50_ibn_a`` or ``timm:NAME``.
        width: Multiplier of the channel counts, for small machines (ResNets only).
        last_stride: Stride of the last stage, 1 or 2 (ResNets only).
        stem_relu: Rectify after the first normalisation (ResNets only).

    Raises:
        SemreidError: If there is no such trunk, or the options do not fit it.

    Example:
        >>> trunk = build_trunk("resnet18", width=0.25)
        >>> {name: tuple(m.shape[1:]) for name, m in trunk(torch.zeros(1, 3, 64, 32)).items()}
        {'stem': (16, 32, 16), 'layer1': (16, 16, 8), 'layer2': (32, 8, 4), 'layer3': (64, 4, 2), 'layer4': (128, 4, 2)}
    """
    if name.startswith("timm:"):
        if width != 1.0 or last_stride != 1 or not stem_relu:
            raise SemreidError(
                "width, last_stride and stem_relu do not apply to timm trunks", fix="leave them at their defaults"
            )
        return TimmTrunk(name.removeprefix("timm:"))
    if name not in _RESNETS:
        raise SemreidError(f"no trunk named '{name}'", fix=f"choose one of {', '.join(_RESNETS)} or timm:NAME")
    if not 0 < width <= 8 or last_stride not in (1, 2):
        raise SemreidError(f"trunk {name}: width must be in (0, 8] and last_stride 1 or 2; got {width}, {last_stride}")
    return _RESNETS[name](width=width, last_stride=last_stride, stem_relu=stem_relu)


def load_trunk_weights(trunk: nn.Module, path: Path | str) -> None:
    """Load pretrained weights into a trunk: torchvision's files for our ResNets, timm's for timm trunks.

    What the trunk does not have, such as the classifier, is left out. What the file does not have is an
    error: a trunk that silently keeps random weights costs a training run. Only batch counters may be
    missing, as in the oldest ImageNet files.

    Args:
        trunk: The trunk to fill.
        path: A ``.pth`` or ``.safetensors`` file.

    Raises:
        SemreidError: If the file cannot be read or does not fit.
    """
    target = getattr(trunk.net, "model", trunk.net) if isinstance(trunk, TimmTrunk) else trunk
    own, tensors = target.state_dict(), read_tensors(path)
    missing = sorted(k for k in own.keys() - tensors.keys() if not k.endswith("num_batches_tracked"))
    reshaped = sorted(k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape)
    fix = "give weights of exactly this trunk (same name, width 1), or set model.weights=scratch"
    if any(key.startswith("trunk.") for key in tensors):
        fix = f"it holds a whole model: give its run folder, such as {Path(path).absolute().parent}"
    for problem, keys in (("lacks", missing), ("has other shapes for", reshaped)):
        if keys:
            raise SemreidError(f"{path} {problem} {len(keys)} tensor(s), such as '{keys[0]}'", fix=fix)
    target.load_state_dict(tensors, strict=False)
