"""Recipes: everything that decides a training run, as plain dataclasses that read from and print to YAML."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_type_hints, overload

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from semreid.data.augment import AugmentRecipe, Share
from semreid.errors import SemreidError
from semreid.reading import brief, parse_yaml, read_bytes

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
LossWeight = NonNegative | Annotated[dict[Annotated[int, Field(ge=0)], NonNegative], Field(min_length=1)]
"""A weight, or weights by the epoch from which they hold (0 before the first)."""
_BEST_OF = (Path(__file__).parent / "best.yaml", Path(__file__).parents[3] / "recipes" / "tiny" / "best.yaml")
BEST = next(filter(Path.is_file, _BEST_OF), _BEST_OF[0])
"""The recipe that is taken where none is named: recipes/tiny/best.yaml, which the wheel has beside this file."""
START_FROM = "start from a file of recipes/"
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class ModelRecipe:
    """What to build.

    Attributes:
        name: Composition of the zoo.
        trunk: Trunk name.
        width: Multiplier of the trunk's channels.
        last_stride: Stride of the trunk's last stage.
        weights: ``scratch``; the path of pretrained trunk weights; or a run folder, its card file or the name of a
            model that ships, whose trunk and heads are taken as far as they fit. ``imagenet`` stands in published
            recipes for "give the path": there is no silent fall-back to random weights.
        fresh: Heads that begin at random even so: what they learned of other people is not taken from that run.
        imprint: Classifiers begin with the mean embeddings of their people, by what the model knows already, instead of
            at random.
        foreground: ``people-parser``, or the run folder of another parser, which becomes part of the model and fades
            the background of every image in training and in use; none if empty.
        white_balance: In use, first take that background for grey, and undo its cast, so that cameras agree on colours.
        options: Options of the composition.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str = "baseline"
    trunk: str = "resnet50"
    width: Positive = 1.0
    last_stride: Literal[1, 2] = 1
    weights: str = "imagenet"
    fresh: tuple[str, ...] = ()
    imprint: bool = False
    foreground: str = ""
    white_balance: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataRecipe:
    """How images come in.

    Attributes:
        height: Input height.
        width: Input width.
        identities: P, identities in a (global) batch.
        instances: K, images of each.
        meeting: Who meets in a batch: people drawn by ``chance``, or people of whom the same ``camera`` has a picture.
        holdout: Share of the training identities held out for validation; 0 trains on all of them.
        synthetic: NAME[/VARIANT]:PATH of a data set with textures, such as synthetic people, whose training images join
            every batch for reconstruction alone; none if empty.
        synthetic_per_batch: How many of them join a (global) batch.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    height: Annotated[int, Field(ge=16, le=2048)] = 256
    width: Annotated[int, Field(ge=16, le=2048)] = 128
    identities: Annotated[int, Field(ge=2)] = 16
    instances: Annotated[int, Field(ge=2)] = 4
    meeting: Literal["chance", "camera"] = "chance"
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    synthetic: str = ""
    synthetic_per_batch: Count = 16

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True)
class OptimRecipe:
    """How the weights move.

    Attributes:
        name: Optimiser.
        lr: Base learning rate.
        weight_decay: Weight decay (decoupled for AdamW, L2 otherwise).
        decay_norms: Decay biases and normalisation parameters too, as the published recipes do.
        momentum: Momentum of SGD.
        clip: Largest gradient norm; 0 is off.
        ema: Decay of the averaged weights that are saved and judged; 0 is off. After n steps it is (1 + n) / (10 + n)
            if that is less.
        separate_losses: Losses with an Adam of their own (momentum 0.5, no decay), whose gradient is taken from the
            same state of the weights as that of the others; as the released code of SAN means to. One process only.
        separate_lr: Learning rate of that optimiser; it does not change.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Literal["adam", "adamw", "amsgrad", "sgd"] = "adam"
    lr: Positive = 3.5e-4
    weight_decay: NonNegative = 5e-4
    decay_norms: bool = True
    momentum: Share = 0.9
    clip: NonNegative = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    separate_losses: tuple[str, ...] = ()
    separate_lr: Positive = 1e-5


@dataclass(frozen=True)
class ScheduleRecipe:
    """How the learning rate moves, step by step.

    Attributes:
        epochs: Passes over the training images.
        warmup_epochs: Epochs of linear warm-up.
        warmup_factor: Where the warm-up starts, as a share of the base rate.
        decay: ``step`` (multiply by ``gamma`` at each milestone), ``cosine`` or ``constant``.
        milestones: Epochs of the steps.
        gamma: Factor of a step.
        final_factor: Where the cosine ends, as a share of the base rate.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    epochs: Count = 120
    warmup_epochs: NonNegative = 10
    warmup_factor: Share = 0.01
    decay: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[Count, ...] = (40, 70)
    gamma: Share = 0.1
    final_factor: Share = 0.0


@dataclass(frozen=True)
class BatchContrastRecipe:
    """What the joined embedding, all heads together as search compares it, learns from the people of a batch.

    Attributes:
        weight: Weight of telling a person's pictures from all strangers in the batch; 0 leaves it to the heads.
        temperature: Its temperature.
        pairs: Which pairs of a person's pictures are pulled together: ``all``, or those of two ``cameras``, but
            all where nobody is known to have been seen by two.
        heads: Heads that learn by losses of their own, too; all if None. The others learn by what they add to the
            joined embedding, and need no classifier.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    weight: NonNegative = 0.0
    temperature: Positive = 0.07
    pairs: Literal["all", "cameras"] = "all"
    heads: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.heads is not None and not self.weight:
            raise ValueError("heads without losses of their own would learn nothing: give contrast.weight, too")
        if self.pairs != "all" and not self.weight:
            raise ValueError("pairs of no contrast teach nothing: give contrast.weight, too, or contrast.pairs=all")


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
        seed: Decides everything random.
        precision: ``bf16`` autocast (losses and distances stay in float32) or ``fp32``.
        engine: How a step runs: ``eager``, kernel by kernel; ``compiled``, the trunk by ``torch.compile``, which takes
            a minute or two at the start, and on a CPU a C++ compiler; or ``graphs``, recorded as a CUDA graph after
            three steps and then replayed, on one process; a CPU gains nothing by it.
        validate_every: Epochs between validations on held-out identities.
        model: What to build.
        data: How images come in.
        augment: Augmentation.
        optim: Optimiser.
        schedule: Learning rate.
        contrast: What the joined embedding learns from the batch, beside the losses of the heads.
        losses: Weight by loss name (``HEAD.LOSS``); a loss that is not named weighs 1. ``{560: 0.01}`` stands for
            0 before epoch 560 and 0.01 from there on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    engine: Literal["eager", "compiled", "graphs"] = "eager"
    validate_every: Count = 10
    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    optim: OptimRecipe = field(default_factory=OptimRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    contrast: BatchContrastRecipe = field(default_factory=BatchContrastRecipe)
    losses: dict[str, LossWeight] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupRecipe:
    """How crops are grouped.

    Attributes:
        k1: Size of the neighbourhood in which two crops must find each other; None for as many as people seem to have
            crops, which a first look with 15 tells in each round, but 15 at most.
        k2: Number of neighbours whose encodings are averaged; None for what fits that.
        cut: Largest mean Jaccard distance of two groups that become one; None to let the crops tell in each round, as
            `semreid group` does: that joins more, and what is joined wrongly is learned.
        min_samples: Crops that make a group; two of one track do, too.
        balance: How far neighbours from other cameras are helped: not at all (0) to as near as those from the own (1).
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    k1: Count | None = None
    k2: Count | None = None
    cut: Annotated[float, Field(gt=0, lt=1)] | None = 0.7
    min_samples: Count = 4
    balance: Annotated[float, Field(ge=0, le=1)] = 0.7


@dataclass(frozen=True)
class ContrastRecipe:
    """What the joined embedding learns from the proxies of groups.

    Attributes:
        weight: Weight of telling a crop's group from the others.
        temperature: Its temperature.
        cameras: Weight of pulling a crop to what other cameras have of its group; nothing where one camera is known.
        camera_temperature: Its temperature.
        momentum: What is kept of a proxy at each crop that moves it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    weight: NonNegative = 1.0
    temperature: Positive = 0.05
    cameras: NonNegative = 0.5
    camera_temperature: Positive = 0.07
    momentum: Share = 0.1


@dataclass(frozen=True)
class AdaptRecipe:
    """How a model learns from crops without identities, round after round.

    Attributes:
        seed: Decides everything random.
        precision: As in `Recipe`.
        rounds: How often crops are grouped and learned from.
        steps: Batches a round.
        identities: P, groups in a batch; fewer where fewer are found.
        instances: K, crops of each.
        groups: How crops are grouped.
        contrast: What the joined embedding learns from groups.
        augment: Augmentation.
        optim: Optimiser; it begins anew in each round.
        losses: Weights of the heads' own losses, as in `Recipe`. A head beside the global branch learns by its own only
            if one of them is named.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    rounds: Count = 25
    steps: Count = 250
    identities: Annotated[int, Field(ge=2)] = 16
    instances: Annotated[int, Field(ge=2)] = 4
    groups: GroupRecipe = field(default_factory=GroupRecipe)
    contrast: ContrastRecipe = field(default_factory=ContrastRecipe)
    augment: AugmentRecipe = field(
        default_factory=lambda: AugmentRecipe(flip=0.5, pad=6, jitter=0.1, erase=0.5, erase_area=(0.02, 0.3))
    )
    optim: OptimRecipe = field(
        default_factory=lambda: OptimRecipe(name="adamw", lr=5e-4, weight_decay=0.05, decay_norms=False, ema=0.99)
    )
    losses: dict[str, LossWeight] = field(default_factory=dict)


AnyRecipe = TypeVar("AnyRecipe", Recipe, AdaptRecipe)


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (Recipe, AdaptRecipe)}


@overload
def load_recipe(path: Path | str, overrides: Sequence[str] = ...) -> Recipe: ...
@overload
def load_recipe(path: Path | str, overrides: Sequence[str], kind: type[AnyRecipe]) -> AnyRecipe: ...
def load_recipe(path: Path | str, overrides: Sequence[str] = (), kind: type[Any] = Recipe) -> Any:
    """Read a recipe and apply overrides.

    Args:
        path: YAML file; keys that it leaves out keep their defaults.
        overrides: ``key.sub=value`` strings, values in YAML.
        kind: What it is a recipe for: training (`Recipe`) or adapting (`AdaptRecipe`).

    Raises:
        SemreidError: If the file cannot be read, or a key or value is wrong; the message names the key.
    """
    path = Path(path)
    if not path.is_file():
        raise SemreidError(f"no recipe at {path}", fix="give a YAML file, such as recipes/tiny/baseline.yaml")
    content = parse_yaml(read_bytes(path), path, fix=START_FROM) or {}
    if not isinstance(content, dict):
        raise SemreidError(f"{path} holds no mapping", fix=START_FROM)
    return parse_recipe(overridden(content, overrides), str(path), kind)


def overridden(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply overrides to the content of a recipe.

    Args:
        content: Keys and values as in YAML; changed in place.
        overrides: ``key.sub=value`` strings, values in YAML.

    Raises:
        SemreidError: If one cannot be read.

    Example:
        >>> overridden({"rounds": 3}, ["groups.cut=0.7"])
        {'rounds': 3, 'groups': {'cut': 0.7}}
    """
    for override in overrides:
        _apply(content, override)
    return content


@overload
def parse_recipe(content: dict[str, Any], source: str = ...) -> Recipe: ...
@overload
def parse_recipe(content: dict[str, Any], source: str, kind: type[AnyRecipe]) -> AnyRecipe: ...
def parse_recipe(content: dict[str, Any], source: str = "recipe", kind: type[Any] = Recipe) -> Any:
    """Validate a nested dictionary as a recipe.

    Args:
        content: Keys and values as in YAML.
        source: Where it came from, for error messages.
        kind: As in `load_recipe`.

    Raises:
        SemreidError: If a key or value is wrong; the message names the key.

    Example:
        >>> parse_recipe({"optim": {"lr": 0.001}}).optim.lr
        0.001
    """
    try:
        return _ADAPTERS[kind].validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [".".join(map(str, each["loc"])) for each in error.errors()]
        if renamed := [f"{key} is now {RENAMED[key]}" for key in keys if key in RENAMED]:
            what = f"{source} has keys of an earlier version: {', '.join(renamed)}"
            raise SemreidError(what, fix="write the new names; what they mean is the same") from error
        if first["loc"][:1] == ("losses",) and len(first["loc"]) > 1:
            name = str(first["loc"][1])
            given = next(weight for key, weight in content["losses"].items() if str(key) == name)
            raise SemreidError(
                f"{source}: 'losses.{name}': this is no weight of a loss: {brief(repr(given))}",
                fix=f"weigh it 0 or more, or by epochs, from 0, from which weights hold: {name}: {{0: 1, 30: 0.1}}; "
                "losses are named HEAD.LOSS, such as identity.triplet",
            ) from error
        key = keys[0]
        fix = _suggest(kind, first["loc"]) if first["type"] in _UNKNOWN_KEY else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise SemreidError(f"{source}: '{key}': {reason} (got {brief(repr(first['input']))})", fix=fix) from error


def checked_recipe(recipe: AnyRecipe, kind: type[AnyRecipe]) -> AnyRecipe:
    """Validate a recipe that was built in Python, as one from a file is.

    Args:
        recipe: The recipe; its parts may be dictionaries.
        kind: What it must be a recipe for.

    Returns:
        The same recipe, with values of the types that it names.

    Raises:
        SemreidError: If it is of another kind, or a value is wrong; the message names the key.

    Example:
        >>> checked_recipe(Recipe(optim=OptimRecipe(lr="3e-4")), Recipe).optim.lr
        0.0003
    """
    if not isinstance(recipe, kind):
        raise SemreidError(
            f"the recipe is {brief(repr(recipe))}, and no {kind.__name__}",
            fix="load_recipe reads one from a file, and parse_recipe from a dictionary",
        )
    return parse_recipe(dataclasses.asdict(recipe), kind.__name__, kind)


RENAMED = {
    "data.pairs": "data.synthetic",
    "data.pairs_per_batch": "data.synthetic_per_batch",
    "optim.apart": "optim.separate_losses",
    "optim.apart_lr": "optim.separate_lr",
    "augment.cast": "augment.colour_cast",
    "augment.focus": "augment.sharpness",
}
"""Keys of earlier versions, and what they are called now."""
_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")


def dump_recipe(recipe: Recipe | AdaptRecipe) -> str:
    """Print a recipe as YAML, every key spelled out.

    Args:
        recipe: The recipe.

    Returns:
        YAML that :func:`load_recipe` reads back to an equal recipe.
    """
    return yaml.safe_dump(_ADAPTERS[type(recipe)].dump_python(recipe, mode="json"), sort_keys=False)


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *parents, last = key.split(".", 1 if key.startswith("losses.") else -1)  # names of losses have dots
    if not equals or not last:
        raise SemreidError(f"cannot read the override '{override}'", fix="write key.sub=value, such as optim.lr=3e-4")
    for parent in parents:
        if content.get(parent) is None:  # not there, or there and empty
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise SemreidError(
                f"override '{override}': '{parent}' holds a value, not keys",
                fix=f"set it as a whole ({parent}=...), or write keys below it in the recipe",
            )
    content[last] = parse_yaml(text, f"the value of the override '{key}'", fix="write a value as YAML has it")


def _suggest(kind: type[Any], location: tuple[int | str, ...]) -> str:
    parent: Any = kind
    for part in location[:-1]:
        parent = get_type_hints(parent)[str(part)]
    names = [f.name for f in dataclasses.fields(parent)]
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"the keys here are {', '.join(names)}"
