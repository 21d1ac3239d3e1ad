import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from semreid.errors import SemreidError
from semreid.training.recipe import (
    RENAMED,
    AdaptRecipe,
    BatchContrastRecipe,
    DataRecipe,
    GroupRecipe,
    ModelRecipe,
    OptimRecipe,
    Recipe,
    ScheduleRecipe,
    checked_recipe,
    dump_recipe,
    load_recipe,
    overridden,
    parse_recipe,
)

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_shipped_recipes_are_valid_and_survive_the_round_trip(path: Path, tmp_path: Path) -> None:
    kind = AdaptRecipe if path.stem.startswith("adapt") else Recipe
    recipe = load_recipe(path, [], kind)
    assert load_recipe(write(tmp_path / "again.yaml", dump_recipe(recipe)), [], kind) == recipe


STEPS = {"cuhk03": (94, 141), "market1501": (182, 220), "dukemtmc": (240, 275), "msmt17": (485, 534)}
"""Steps of an epoch of 16 people by 4 images: of the authors' sampler, which drops what is left, and of ours."""
THERE = {
    "baseline": (120, 10, [40, 70]),
    "magnifiernet-cuhk03": (600, 10, [40]),
    "magnifiernet": (500, 10, [40, 70]),
    "san": (320, 20, [60, 100, 140, 180, 220, 260, 300]),
}
"""Epochs, epochs of warm-up and milestones of the authors."""


@pytest.mark.parametrize(
    "path",
    [p for p in RECIPES if p.parent.name == "paper" and not p.stem.startswith(("pmm", "san-pg"))],
    ids=lambda path: path.stem,
)
def test_paper_recipes_take_as_many_steps_as_the_authors(path: Path) -> None:
    there, here = next((steps for name, steps in STEPS.items() if name in path.stem), STEPS["market1501"])
    epochs, warmup, milestones = next(plan for name, plan in THERE.items() if path.stem.startswith(name))
    schedule = load_recipe(path).schedule
    stated = int(re.search(r"About ([\d,]+) steps", path.read_text())[1].replace(",", ""))
    assert schedule.epochs * here == pytest.approx(epochs * there, rel=0.005)
    assert stated == pytest.approx(epochs * there, rel=0.005)
    assert schedule.warmup_epochs * here == pytest.approx(warmup * there, rel=0.01)
    assert [m * here for m in schedule.milestones] == pytest.approx([m * there for m in milestones], abs=0.5 * here)
    if diversity := load_recipe(path).losses.get("fusion.diversity"):
        (start,) = diversity
        assert (schedule.epochs - start) * here == pytest.approx(40 * there, abs=0.5 * here)


def test_there_are_shipped_recipes() -> None:
    assert {"tiny", "paper"} <= {path.parent.name for path in RECIPES}


def test_overrides(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "optim: {lr: 0.1}\n")
    recipe = load_recipe(path, ["optim.lr=3e-4", "model.options.pool=gem", "augment.erase_area=[0.1, 0.2]", "seed=7"])
    assert recipe.optim.lr == 3e-4
    assert recipe.model.options == {"pool": "gem"}
    assert recipe.augment.erase_area == (0.1, 0.2)
    assert recipe.seed == 7
    assert load_recipe(write(path, "")) == Recipe()
    assert load_recipe(write(path, "optim:\n"), ["optim.lr=0.1"]).optim.lr == 0.1


def test_losses_have_dots_in_their_names_and_may_weigh_by_epoch(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "losses: {a.id: 2, fusion.diversity: {560: 0.01}}\n")
    recipe = load_recipe(path, ["losses.a.id=3", "losses.a.triplet={0: 0.5, 7: 1}"])
    assert recipe.losses == {"a.id": 3, "fusion.diversity": {560: 0.01}, "a.triplet": {0: 0.5, 7: 1}}
    assert load_recipe(write(path, dump_recipe(recipe))) == recipe


@pytest.mark.parametrize(
    ("override", "message", "fix"),
    [
        ("optim.lrr=1", "'optim.lrr'", "did you mean 'lr'"),
        ("color=red", "'color'", "the keys here are seed"),
        ("optim.lr=fast", "'optim.lr'.*number", ""),
        ("optim.lr=-1", "'optim.lr'.*greater than 0", ""),
        ("optim.lr=.nan", "'optim.lr'.*finite", ""),
        ("schedule.decay=linear", "'schedule.decay'", ""),
        ("data.instances=1", "'data.instances'", ""),
        ("losses.identity.id=-1", "'losses.identity", ""),
        ("losses.identity.id={-1: 1}", "'losses.identity.id", ""),
        ("losses.identity.id={3: -1}", "'losses.identity.id", ""),
        ("losses.identity.id={}", "'losses.identity.id", ""),
        ("optim.lr", "cannot read the override", "key.sub=value"),
        ("optim.lr=[", "not YAML", ""),
        ("seed.x=1", "'seed' holds a value", "seed=..."),
        ("augment.erase_area=[0.9,0.1]", "'augment.erase_area': the smallest share comes first", ""),
        ("augment.pad=100000", "'augment.pad'", ""),
    ],
)
def test_wrong_keys_and_values_name_themselves(tmp_path: Path, override: str, message: str, fix: str) -> None:
    path = write(tmp_path / "r.yaml", "seed: 1\n")
    with pytest.raises(SemreidError, match=message) as caught:
        load_recipe(path, [override])
    assert fix in caught.value.fix


def test_keys_of_earlier_versions_tell_their_new_names(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.yaml", "data: {pairs: 'people:x', pairs_per_batch: 4}\noptim: {apart: [a.id], apart_lr: 0.1}\n"
    )
    with pytest.raises(SemreidError, match="data.pairs is now data.synthetic, data.pairs_per_batch is now") as caught:
        load_recipe(path, ["augment.cast=0.1"])
    for name in ("optim.separate_losses", "optim.separate_lr", "augment.colour_cast"):
        assert name in caught.value.what
    assert not {new for _, new in RENAMED.items()} & RENAMED.keys()
    for new in RENAMED.values():
        room, _, key = new.partition(".")
        assert hasattr(getattr(parse_recipe({}), room), key)


@pytest.mark.parametrize(("text", "message"), [("a: [", "is not YAML"), ("- 1", "holds no mapping")])
def test_files_that_are_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SemreidError, match=message):
        load_recipe(write(tmp_path / "r.yaml", text))
    with pytest.raises(SemreidError, match="no recipe at"):
        load_recipe(tmp_path / "none.yaml")


def test_unknown_key_deep_inside() -> None:
    with pytest.raises(SemreidError, match=r"'data\.hight'") as caught:
        parse_recipe({"data": {"hight": 3}})
    assert "height" in caught.value.fix
    with pytest.raises(SemreidError, match=r"'augment\.flop'") as caught:  # which adapting has defaults of its own for
        parse_recipe({"augment": {"flop": 1}}, "recipe", AdaptRecipe)
    assert caught.value.fix == "did you mean 'flip'?"


def test_adapting_without_a_recipe_is_what_the_recipe_for_small_machines_says() -> None:
    path = Path(__file__).parents[2] / "recipes" / "tiny" / "adapt.yaml"
    assert load_recipe(path, (), AdaptRecipe) == AdaptRecipe()
    changed = parse_recipe(overridden(asdict(AdaptRecipe()), ["optim.lr=0.1"]), "overrides", AdaptRecipe)
    assert changed.optim == replace(AdaptRecipe().optim, lr=0.1)  # the other settings of the optimiser stay


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        (Recipe(optim=OptimRecipe(name="sdg")), "optim.name"),
        (Recipe(optim=OptimRecipe(lr="quick")), "optim.lr"),
        (Recipe(precision="fp16"), "precision"),
        (Recipe(engine="compile"), "engine"),
        (Recipe(data=DataRecipe(meeting="cameras")), "data.meeting"),
        (Recipe(data=DataRecipe(identities=0)), "data.identities"),
        (Recipe(schedule=ScheduleRecipe(decay="exp")), "schedule.decay"),
        (Recipe(schedule=ScheduleRecipe(epochs=1.5)), "schedule.epochs"),
        (Recipe(contrast=BatchContrastRecipe(weight=1, pairs="camera")), "contrast.pairs"),
        (Recipe(losses={"identity.id": -1}), "losses.identity"),
        (AdaptRecipe(rounds=0), "rounds"),
        (AdaptRecipe(groups=GroupRecipe(cut=1.0)), "groups.cut"),
    ],
)
def test_a_recipe_built_in_python_is_held_to_the_same_rules(recipe: Recipe | AdaptRecipe, key: str) -> None:
    with pytest.raises(SemreidError, match=f"Recipe: '{key}"):
        checked_recipe(recipe, type(recipe))


def test_a_recipe_built_in_python_of_the_same_values_is_the_same() -> None:
    recipe = Recipe(seed=3, losses={"a.b": {2: 0.5}}, model=ModelRecipe(fresh=("identity",)))
    assert checked_recipe(recipe, Recipe) == recipe
    assert checked_recipe(Recipe(optim={"lr": 0.5}), Recipe) == Recipe(optim=OptimRecipe(lr=0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"seed": 1}, None, AdaptRecipe()])
def test_what_is_no_recipe_of_this_kind_is_told(wrong: object) -> None:
    with pytest.raises(SemreidError, match="and no Recipe"):
        checked_recipe(wrong, Recipe)  # type: ignore[type-var]


@pytest.mark.parametrize(
    "losses", [{"a.id": {-1: 1}}, {"a.id": {1.5: 1}}, {"a.id": {}}, {"a.id": -1}, {"a.id": "x"}, {"a": {"id": 0.5}}]
)
def test_a_weight_that_is_none_is_told_with_what_is_one(losses: dict[str, object]) -> None:
    with pytest.raises(SemreidError, match=r"'losses\.a(\.id)?': this is no weight of a loss: ") as caught:
        parse_recipe({"losses": losses})
    assert "HEAD.LOSS" in caught.value.fix
    assert "constrained" not in str(caught.value)


@pytest.mark.parametrize("name", [1, 1.5, None])
def test_a_loss_whose_name_is_no_text_is_told(name: object) -> None:
    with pytest.raises(SemreidError, match=f"'losses.{name}': this is no weight of a loss: 0.5"):
        parse_recipe({"losses": {name: 0.5}})
