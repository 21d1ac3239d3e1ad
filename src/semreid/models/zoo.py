"""The compositions by name. A system is a trunk and a list of heads; this page shows all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from semreid.errors import SemreidError
from semreid.models.heads import Head, Identity
from semreid.models.heads.identity import Pooling
from semreid.models.model import ReIDModel
from semreid.models.trunk import Trunk, build_trunk


def baseline(trunk: Trunk, num_ids: int, *, pool: Pooling = "avg", center: bool = False) -> dict[str, Head]:
    """Bag of Tricks: one identity head with BNNeck on the last map.

    Args:
        trunk: The trunk.
        num_ids: Number of training identities.
        pool: Global pooling.
        center: Add the center loss.

    Returns:
        The heads by name.
    """
    return {"identity": Identity("layer4", trunk.channels["layer4"], num_ids, pool=pool, center=center)}


MODELS: dict[str, Callable[..., dict[str, Head]]] = {"baseline": baseline}
"""Heads by model name; each takes the trunk, the number of identities and its own options."""


def create_model(
    name: str,
    num_ids: int,
    *,
    trunk: str = "resnet50",
    width: float = 1.0,
    last_stride: int = 1,
    size: tuple[int, int] = (256, 128),
    **options: object,
) -> ReIDModel:
    """Build an untrained model.

    Args:
        name: Composition, such as ``baseline``.
        num_ids: Number of training identities.
        trunk: Trunk name (see :func:`semreid.models.trunk.build_trunk`).
        width: Multiplier of the trunk's channels.
        last_stride: Stride of the trunk's last stage.
        size: Input height and width.
        **options: Options of the composition.

    Returns:
        The model with random weights.

    Raises:
        SemreidError: If there is no such model, trunk or option.

    Example:
        >>> create_model("baseline", num_ids=10, trunk="resnet18", width=0.5).dim
        256
    """
    if name not in MODELS:
        raise SemreidError(f"no model named '{name}'", fix=f"choose one of {', '.join(MODELS)}")
    known = list(inspect.signature(MODELS[name]).parameters)[2:]
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise SemreidError(f"model {name} has no option '{unknown[0]}'", fix=f"its options are {', '.join(known)}")
    built = build_trunk(trunk, width=width, last_stride=last_stride)
    architecture = {"name": name, "trunk": trunk, "width": width, "last_stride": last_stride, **options}
    return ReIDModel(built, MODELS[name](built, num_ids, **options), size, architecture)
