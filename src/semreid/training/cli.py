"""``semreid train``, ``average`` and ``adapt``: models that learn, from people who are named and from others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from semreid import distributed
from semreid.console import Json, command, draw, interruptible, progress, say, show, warn
from semreid.data.benchmarks import load_dataset
from semreid.data.cli import Data, SkipCorrupt, dataset_of
from semreid.data.crops import Crops, crops_at, crops_of
from semreid.evaluation.protocol import evaluate
from semreid.gallery import Gallery
from semreid.gallery.store import without_password
from semreid.gallery.unlabelled import crops_in
from semreid.models.loading import load_model
from semreid.models.shipped import DEFAULT

CropsArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="CROPS",
        help="Folder, searched with all below; or CSV: path[,camid][,timestamp][,track]. Or --data instead.",
    ),
]


def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Run folder to make.")],
    recipe: Annotated[
        str, typer.Argument(help="YAML file, such as recipes/tiny/baseline.yaml; recipes/tiny/best.yaml if left out.")
    ] = "",
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, such as optim.lr=3e-4.")] = None,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", help="Folder with masks/, textures/ or attributes of the training images."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Train a model and leave a run folder; under torchrun, on all its processes."""
    from semreid.training.loop import train as run
    from semreid.training.recipe import BEST, load_recipe
    from semreid.training.record import way_on

    changes = overrides or []
    if "=" in recipe and not recipe.endswith(".yaml"):  # an override, and no recipe
        recipe, changes = "", [recipe, *changes]
    settings = load_recipe(recipe or BEST, each_once(changes))
    with distributed.process_group(), interruptible(lambda: f"the same command {way_on(out)}"):
        dataset = dataset_of(data, skip_corrupt=skip_corrupt)
        trained = run(settings, dataset, out, annotations=annotations, resume=resume)
        if not trained.dim:
            step = command("label", out, "--data", "DATA", "--out", "DIR")
        elif dataset.query and dataset.gallery:
            step = command("evaluate", out, "--data", data, *["--skip-corrupt"] * skip_corrupt)
        else:
            step = command("gallery", "add", "CROPS", "--gallery", "NEW", "--model", out)
        say(f"trained: {out}. Next: {step}")


def average(
    runs: Annotated[list[str], typer.Argument(help="Run folders that started from the same weights.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder to make.")],
) -> None:
    """Average the weights of runs: one model, usually better than each of them, and no slower."""
    from semreid.training.average import average_runs

    average_runs(runs, out)
    say(f"averaged: {out}. Next: {command('evaluate', out, '--data', 'DATA')}")


def adapt(
    out: Annotated[Path, typer.Option("--out", help="Run folder to make.")],
    crops: CropsArgument = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, such as groups.cut=0.7.")] = None,
    start: Annotated[
        str, typer.Option("--from", help="Model to begin with: one that ships, or a run folder.")
    ] = DEFAULT,
    data: Annotated[
        str,
        typer.Option("--data", help="NAME[/VARIANT]:PATH: its training part; a test part tells mAP before and after."),
    ] = "",
    gallery: Annotated[
        str,
        typer.Option(
            "--gallery",
            help="Instead of CROPS: those of a gallery, by what people said of them; as in `semreid gallery`.",
        ),
    ] = "",
    recipe: Annotated[Path | None, typer.Option("--recipe", help="YAML file, such as recipes/tiny/adapt.yaml.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Begin no round that would end later.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last round that was done.")] = False,
    skip_corrupt: SkipCorrupt = False,
    json_: Json = False,
) -> None:
    """Let a model learn from your own crops, without identities: group them, learn from the groups, and again."""
    from semreid.training.adapt import adapt as run
    from semreid.training.recipe import AdaptRecipe, load_recipe, overridden, parse_recipe
    from semreid.training.record import way_on

    changes = overrides or []
    if (data or gallery) and crops is not None and "=" in str(crops):
        crops, changes = None, [str(crops), *changes]
    each_once(changes)
    if minutes is not None and minutes <= 0:
        raise typer.BadParameter("--minutes must be more than 0")
    if recipe is None:
        settings = parse_recipe(overridden(asdict(AdaptRecipe()), changes), "overrides", AdaptRecipe)
    else:
        settings = load_recipe(recipe, changes, AdaptRecipe)
    seen = crops_from(crops, data, gallery=gallery, skip_corrupt=skip_corrupt)
    with interruptible(lambda: f"the same command {way_on(out)}"):
        model = run(settings, seen, start, out, minutes=minutes, resume=resume)
    dataset = load_dataset(data) if data else None
    judged = {}
    if dataset is not None and dataset.query and dataset.gallery:
        for name, judge in (("before", load_model(start).to(model.device)), ("after", model)):
            judged[name] = evaluate(judge, dataset).to_json()
    result = {"run": str(out), "crops": len(seen), **judged}
    show(result) if json_ else _show(judged)
    if judged and judged["after"]["metrics"]["mAP"] < judged["before"]["metrics"]["mAP"]:
        warn(f"it got worse on these people; {start} finds them better")
    say(f"adapted: {out}. Next: {way_to_group(out, crops, data, gallery=gallery, skip_corrupt=skip_corrupt)}")


def way_to_group(model: Path, crops: Path | None, data: str, *, gallery: str, skip_corrupt: bool) -> str:
    """The command that finds out, by a model that has learned from crops, who is who among them."""
    source = ["--data", data] if data else [crops]
    step = (
        ["gallery", "add", "--from", without_password(gallery), "--gallery", "NEW", "--model", model]
        if gallery
        else ["group", *source, "--model", model, "--out", "DIR"]
    )
    return command(*step, *["--skip-corrupt"] * skip_corrupt)


def each_once(overrides: list[str]) -> list[str]:
    """Return the overrides of a command if no key is given twice.

    Args:
        overrides: ``key.sub=value`` strings.

    Raises:
        typer.BadParameter: If a key is there twice: one of the values would be forgotten.
    """
    for key, count in Counter(override.partition("=")[0] for override in overrides).items():
        if count > 1:
            raise typer.BadParameter(f"{key}= is given {count} times: it takes one value")
    return overrides


def crops_from(
    crops: Path | None,
    data: str,
    splits: tuple[str, ...] = ("train",),
    *,
    gallery: str = "",
    skip_corrupt: bool = False,
) -> Crops:
    """Take the crops that a user named by a folder, a CSV file, a data set or a gallery, and tell what must be known.

    Args:
        crops: Folder or CSV file.
        data: ``NAME[/VARIANT]:PATH`` instead.
        splits: Of the data set.
        gallery: Its URI instead.
        skip_corrupt: Leave unreadable images out.

    Raises:
        SemreidError: If there is none.
    """
    if (crops is not None) + bool(data) + bool(gallery) != 1:
        raise typer.BadParameter("give CROPS, --data or --gallery, one of them")
    with progress("looking for unreadable images") as told:
        options: dict[str, Any] = {"skip_corrupt": skip_corrupt, "progress": told}
        if gallery:
            with Gallery.open(gallery) as rows:
                found = crops_in(rows, **options)
            tell_said(found)
        else:
            found = crops_of(data, splits, **options) if crops is None else crops_at(crops, **options)
    warn(*found.warnings)
    return found


def tell_said(crops: Crops) -> None:
    """Tell how much people said of crops."""
    if crops.said is not None:
        people = crops.said.people
        count = f"{(people >= 0).sum():,} of {len(crops):,} crops show {people.max() + 1:,} people whom somebody named"
        say(f"{count}: these stay together and apart")


def _show(judged: Mapping[str, Mapping[str, Any]]) -> None:
    if not judged:
        say("how much better it is, no crop without identities can tell: judge it on a few that you have named")
        return
    table = Table("metric", "before, %", "after, %", title=str(judged["after"]["protocol"]["dataset"]))
    for name, value in judged["after"]["metrics"].items():
        table.add_row(name, f"{judged['before']['metrics'][name]:.1f}", f"{value:.1f}")
    draw(table)
