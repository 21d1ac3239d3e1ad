"""The compositions by name. A system is a trunk and a list of heads; this page shows all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, NotRequired, get_args, get_type_hints

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from semreid.errors import SemreidError
from semreid.models.embedder import Join
from semreid.models.foreground import Foreground
from semreid.models.heads import (
    Attributes,
    Fusion,
    Head,
    Identity,
    Multistage,
    Parser,
    Parsing,
    Regularization,
    Texture,
)
from semreid.models.heads.fusion import Cell
from semreid.models.heads.identity import Embedding, Pooling
from semreid.models.heads.multistage import Mix, Mixing, Negative
from semreid.models.heads.parsing import LabelResize, MaskSource
from semreid.models.heads.texture import Blocks, TripletForm
from semreid.models.model import ReIDModel
from semreid.models.trunk import Trunk, build_trunk


def baseline(trunk: Trunk, num_ids: int, *, pool: Pooling = "avg", center: bool = False) -> dict[str, Head]:
    """Bag of Tricks: one identity head with BNNeck on the last map.

    Args:
        trunk: The trunk.
        num_ids: Number of training identities.
        pool: Global pooling.
        center: Add the center loss.
    """
    return {"identity": Identity("layer4", trunk.channels["layer4"], num_ids, pool=pool, center=center)}


Variant = Literal["published", "released"]
Branch = Literal["srb", "sfb"]


def magnifiernet(
    trunk: Trunk,
    num_ids: int,
    *,
    variant: Variant = "released",
    branches: tuple[Branch, ...] = ("srb", "sfb"),
    pool: Pooling = "avg",
    cell: Cell | None = None,
    srb_triplet: bool | None = None,
    region_heads: bool | None = None,
    background: bool = True,
    masks: MaskSource = "offline",
    label_resize: LabelResize = "nearest",
    attributes: dict[str, PositiveInt] | None = None,
) -> dict[str, Head]:
    """MagnifierNet: a global branch, and two that look at body regions.

    Where paper and released code disagree, ``variant`` decides, unless the option itself is given:

    ================  ========  =========
    option            released  published
    ================  ========  =========
    ``cell``          lstm      gru
    ``srb_triplet``   False     True
    ``region_heads``  True      False
    ================  ========  =========

    Args:
        trunk: The trunk.
        num_ids: Number of training identities.
        variant: What the authors' code does, or what the figure of the paper (BMVC 2020) shows.
        branches: Which of the two branches to have.
        pool: Pooling of the global branch.
        cell: What fuses the regions.
        srb_triplet: Triplet loss on the Semantic Regularization Branch.
        region_heads: Identity heads for each region in the Semantic Fusion Branch.
        background: Fuse the background, too, first of all regions.
        masks: Regions in training: from the part masks or the model's own.
        label_resize: How part masks are brought to the grid of the parsing head.
        attributes: Learn attributes too: number of columns of ``attributes.csv`` by group, in their order. Those of
            Market-1501 are 5, 2, 10 and 13 (docs/data.md#attributes-of-people).
    """
    published = variant == "published"
    channels = trunk.channels["layer3"]
    heads: dict[str, Head] = {
        "identity": Identity("layer4", trunk.channels["layer4"], num_ids, pool=pool),
        "parsing": Parsing("layer4", trunk.channels["layer4"], grid="layer3", masks=masks, label_resize=label_resize),
    }
    if "srb" in branches:
        triplet = published if srb_triplet is None else srb_triplet
        heads["regularization"] = Regularization("layer3", channels, num_ids, triplet=triplet)
    if "sfb" in branches:
        heads["fusion"] = Fusion(
            "layer3",
            channels,
            num_ids,
            cell=cell or ("gru" if published else "lstm"),
            background=background,
            region_heads=not published if region_heads is None else region_heads,
        )
    if attributes:
        heads["attributes"] = Attributes("layer4", trunk.channels["layer4"], attributes)
    return heads


def parser(trunk: Trunk, num_ids: int) -> dict[str, Head]:
    """A teacher that makes part masks (``semreid label``). It learns from part masks and has no embedding.

    Args:
        trunk: The trunk.
        num_ids: Number of training identities, which play no part.
    """
    return {"parser": Parser(trunk)}


Painted = Annotated[float, Field(gt=0, le=1)]


def san(
    trunk: Trunk,
    num_ids: int,
    *,
    variant: Variant = "published",
    embedding: Embedding | None = None,
    pool: Pooling = "avg",
    skips: bool | None = None,
    triplet: TripletForm | None = None,
    masked: bool = False,
    decoder: bool = True,
    decoder_blocks: Blocks = 4,
    painted: Painted = 1.0,
) -> dict[str, Head]:
    """SAN: a global branch whose trunk must also paint the whole body of the person; the painter is for training only.

    Where paper and released code disagree, ``variant`` decides, unless the option itself is given:

    =============  =========  ========
    option         published  released
    =============  =========  ========
    ``embedding``  pooled     fc512
    ``skips``      False      True
    ``triplet``    published  released
    =============  =========  ========

    As published, the identity loss weighs 0.5 and its triplet loss 1.5.

    Args:
        trunk: The trunk.
        num_ids: Number of training identities.
        variant: What the paper (AAAI 2020) says, or what the authors' code does.
        embedding: What the global feature is: the pooled one, or as our baseline has it (``bnneck``).
        pool: Pooling of the global branch.
        skips: Let the decoder see the trunk's earlier maps, too.
        triplet: Form of the Triplet ReID constraints, or ``none``.
        masked: Reconstruct only texels that lie on the body.
        decoder: Paint; without, this is the baseline of the ablation, which needs no textures.
        decoder_blocks: Four as published; three learn from textures of half the size, in less than half the time.
        painted: Share of the images of a batch that are painted in training.

    Raises:
        SemreidError: If the decoder cannot see the trunk's earlier maps because their sizes do not fit.
    """
    released = variant == "released"
    embedding = embedding or ("fc512" if released else "pooled")
    skips = released if skips is None else skips
    identity = Identity("layer4", trunk.channels["layer4"], num_ids, pool=pool, embedding=embedding)
    identity.weights = {} if released else {"id": 0.5, "triplet": 1.5}
    if not decoder:
        return {"identity": identity}
    form = triplet or variant
    _require_maps_for(trunk, skips=skips)
    texture = Texture(trunk.channels, skips=skips, triplet=form, masked=masked, blocks=decoder_blocks, share=painted)
    return {"identity": identity, "texture": texture}


def san_pg(
    trunk: Trunk, num_ids: int, *, skips: bool = False, masked: bool = False, decoder_blocks: Blocks = 4
) -> dict[str, Head]:
    """SAN-PG: a teacher that paints textures (``semreid label``), taught by synthetic people and reconstruction alone.

    Args:
        trunk: The trunk.
        num_ids: Number of training identities, which play no part.
        skips: Let the decoder see the trunk's earlier maps, too.
        masked: Reconstruct only texels that lie on the body.
        decoder_blocks: Four as published; three paint half as fine, in less than half the time.

    Raises:
        SemreidError: If the decoder cannot see the trunk's earlier maps because their sizes do not fit.
    """
    _require_maps_for(trunk, skips=skips)
    texture = Texture(trunk.channels, skips=skips, triplet="none", masked=masked, teacher=True, blocks=decoder_blocks)
    return {"texture": texture}


def _require_maps_for(trunk: Trunk, *, skips: bool) -> None:
    """Refuse a trunk whose earlier maps the decoder cannot see, where it is to see them."""
    if skips and [trunk.strides[f"layer{i}"] for i in (1, 2, 3, 4)] != [4, 8, 16, 16]:
        raise SemreidError("the decoder cannot see earlier maps of this trunk", fix="set last_stride=1, or skips=false")


def bdb(trunk: Trunk, num_ids: int, *, dim: PositiveInt = 512, unit_triplet: bool = False) -> dict[str, Head]:
    """Batch DropBlock network, which PMM grew out of: a global stage, and one that never sees a third of the body.

    Args:
        trunk: The trunk.
        num_ids: Number of training identities.
        dim: Width of the global feature; that of the other is twice as large.
        unit_triplet: Let the triplet losses compare features of unit length.
    """
    channels, dims = trunk.channels["layer4"], (dim, 2 * dim)
    head = Multistage("layer4", channels, num_ids, dims=dims, mixing=Mixing("batchdrop"), unit_triplet=unit_triplet)
    return {"multistage": head}


def pmm(
    trunk: Trunk,
    num_ids: int,
    *,
    stages: Literal[1, 2, 3] = 3,
    dim: PositiveInt = 512,
    mix: Mix = "hardmix",
    negative: Negative = "random",
    detach_negative: bool = False,
    cumulative: bool = False,
    label_mixing: bool = False,
    grid: tuple[PositiveInt, PositiveInt] = (8, 4),
    blocks: PositiveInt = 3,
    unit_triplet: bool = False,
) -> dict[str, Head]:
    """PMM: stages that each lose what the one before relied on, by Attentive feature Hard-Mix.

    Args:
        trunk: The trunk.
        num_ids: Number of training identities.
        stages: How many.
        dim: Width of the feature of each.
        mix: What is replaced between two stages, and by what.
        negative: Which image of another person of the batch the blocks come from.
        detach_negative: Let no gradient flow into it.
        cumulative: Mix what is mixed already; else stage III starts from the whole map, as stage II does.
        label_mixing: Teach each image all identities that it shows, in shares of the area.
        grid: Rows and columns of blocks.
        blocks: How many of them are replaced.
        unit_triplet: Let the triplet losses compare features of unit length; not as published, but from random weights
            features as they are collapse.

    Raises:
        SemreidError: If there are not as many blocks, or there is no other person whose label could be mixed in.
    """
    mixing = Mixing(mix, negative, detach_negative, cumulative, label_mixing, grid, blocks)
    channels, dims = trunk.channels["layer4"], (dim,) * stages
    head = Multistage("layer4", channels, num_ids, dims=dims, mixing=mixing, unit_triplet=unit_triplet)
    return {"multistage": head}


UnifiedPart = Literal["parsing", "srb", "sfb", "texture", "stages"]


def unified(
    trunk: Trunk,
    num_ids: int,
    *,
    parts: tuple[UnifiedPart, ...] = ("parsing", "srb", "sfb", "texture", "stages"),
    pool: Pooling = "avg",
    dim: PositiveInt = 512,
    masks: MaskSource = "offline",
    triplet: TripletForm = "published",
    decoder_blocks: Blocks = 4,
    painted: Painted = 1.0,
    unit_triplet: bool = False,
) -> dict[str, Head]:
    """All three systems on one trunk: a global branch, and of each system what its paper added.

    Args:
        trunk: The trunk.
        num_ids: Number of training identities.
        parts: Which of the additions to have; SRB and SFB bring the parsing that they need.
        pool: Pooling of the global branch.
        dim: Width of the feature of each stage.
        masks: Regions in training: from the part masks or the model's own.
        triplet: Form of the Triplet ReID constraints on textures, or ``none``.
        decoder_blocks: Four as published; three learn from textures of half the size, in less than half the time.
        painted: Share of the images of a batch whose textures are painted in training.
        unit_triplet: Let the triplet losses of the stages compare features of unit length.
    """
    branches = tuple(branch for branch in get_args(Branch) if branch in parts)
    heads = magnifiernet(trunk, num_ids, branches=branches, pool=pool, masks=masks)
    if not branches and "parsing" not in parts:
        del heads["parsing"]
    if "texture" in parts:
        heads["texture"] = Texture(trunk.channels, triplet=triplet, blocks=decoder_blocks, share=painted)
    return heads | (pmm(trunk, num_ids, dim=dim, unit_triplet=unit_triplet) if "stages" in parts else {})


MODELS: dict[str, Callable[..., dict[str, Head]]] = {
    "baseline": baseline,
    "magnifiernet": magnifiernet,
    "san": san,
    "bdb": bdb,
    "pmm": pmm,
    "unified": unified,
    "parser": parser,
    "san_pg": san_pg,
}
"""Heads by model name; each takes the trunk, the number of identities and its own options."""


Count = Annotated[int, Field(strict=True, ge=1)]
Side = Annotated[int, Field(strict=True, ge=1, le=4096)]
Width = Annotated[float, Field(strict=True, gt=0, le=8)]
Name = Annotated[str, Field(strict=True)]
Stride = Literal[1, 2]


class ForegroundOptions(TypedDict):
    """The parser that fades the background, and whether the model undoes the cast that it shows."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    trunk: Name
    width: Width
    last_stride: Stride
    size: tuple[Side, Side]
    stem_relu: NotRequired[Annotated[bool, Field(strict=True)]]
    white_balance: NotRequired[Annotated[bool, Field(strict=True)]]


def create_model(
    name: str,
    num_ids: Count,
    *,
    trunk: Name = "resnet50",
    width: Width = 1.0,
    last_stride: Stride = 1,
    size: tuple[Side, Side] = (256, 128),
    foreground: ForegroundOptions | None = None,
    join: Join = "equal",
    stem_relu: bool = True,
    shares: Mapping[str, PositiveFloat] | None = None,
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
        foreground: ``trunk``, ``width``, ``last_stride``, ``size`` and, where unusual, ``stem_relu`` of a parser that
            fades the background, and ``white_balance`` if the model undoes its cast.
        join: How the blocks of several heads become one embedding: each of the same length, or ``plain``, as they are.
        stem_relu: Rectify after the first normalisation of the trunk.
        shares: What the block of a head counts in the embedding, by its name; 1 for those that are not named.
        **options: Options of the composition.

    Raises:
        SemreidError: If there is no such model, trunk or option, a value is none that it takes, or ``shares`` names a
            head that has no embedding.

    Example:
        >>> create_model("baseline", num_ids=10, trunk="resnet18", width=0.5).dim
        256
    """
    if name not in MODELS:
        raise SemreidError(f"no model named '{name}'", fix=f"choose one of {', '.join(MODELS)}")
    known = list(inspect.signature(MODELS[name]).parameters)[2:]
    unknown = sorted(options.keys() - set(known))
    if unknown:
        every = ", ".join((*known, *_ANY))
        raise SemreidError(f"model {name} has no option '{unknown[0]}'", fix=f"its options are {every}")
    given = {"num_ids": num_ids, "trunk": trunk, "width": width, "last_stride": last_stride, "size": size}
    given["foreground"] = foreground
    num_ids, trunk, width, last_stride, size, foreground = (
        _checked(create_model, name, option, value) for option, value in given.items()
    )
    options = {option: _checked(MODELS[name], name, option, value) for option, value in options.items()}
    general = {"join": join, "stem_relu": stem_relu, "shares": shares or {}}
    unusual = {  # others leave no trace
        option: _checked(create_model, name, option, value)
        for option, value in general.items()
        if value != _ANY[option]
    }
    built = build_trunk(trunk, width=width, last_stride=last_stride, stem_relu=stem_relu)
    architecture = {"name": name, "trunk": trunk, "width": width, "last_stride": last_stride, **options, **unusual}
    heads = MODELS[name](built, num_ids, **options)
    _require_embeddings(name, shares or {}, heads)
    if foreground is None:
        return ReIDModel(built, heads, size, architecture)
    return ReIDModel(built, heads, size, {**architecture, "foreground": foreground}, _foreground(**foreground))


_ANY: Mapping[str, object] = {"join": "equal", "stem_relu": True, "shares": {}}
"""Options of every model, and their defaults."""


def _require_embeddings(model: str, names: Collection[str], heads: Mapping[str, Head]) -> None:
    embedding = [name for name, head in heads.items() if head.dim]
    if strange := sorted(set(names) - set(embedding)):
        raise SemreidError(
            f"model {model}: option 'shares' names '{strange[0]}', which has no share in the embedding",
            fix=f"name some of {', '.join(embedding)}" if embedding else "leave the option out",
        )


def _foreground(
    *,
    trunk: str,
    width: float,
    last_stride: int,
    size: tuple[int, int],
    stem_relu: bool = True,
    white_balance: bool = False,
) -> Foreground:
    built = build_trunk(trunk, width=width, last_stride=last_stride, stem_relu=stem_relu)
    return Foreground(built, Parser(built), (size[0], size[1]), white_balance)


def _checked(takes: Callable[..., object], model: str, option: str, value: object) -> Any:  # noqa: ANN401 - what it is annotated as
    """Validate an option against its annotation; lists, as cards and recipes hold them, become tuples."""
    try:
        return TypeAdapter(get_type_hints(takes, include_extras=True)[option]).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        fix = ": ".join(map(str, (*problem["loc"], problem["msg"])))
        raise SemreidError(f"model {model}: option '{option}' is {value!r}", fix=fix) from error
