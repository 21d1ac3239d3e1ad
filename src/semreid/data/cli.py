"""``semreid datasets`` and ``semreid doctor``, and the data that other commands are told to use."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from semreid import distributed
from semreid.console import Json, draw, progress, show, warn, write
from semreid.data.benchmarks import describe_benchmarks, load_dataset
from semreid.data.doctor import Diagnosis, diagnose, without_corrupt
from semreid.data.sample import ReIDDataset

Data = Annotated[str, typer.Option("--data", help="NAME[/VARIANT]:PATH; `semreid datasets` lists the names.")]
SkipCorrupt = Annotated[bool, typer.Option("--skip-corrupt", help="Leave unreadable images out, and say how many.")]


def dataset_of(spec: str, *, skip_corrupt: bool = False) -> ReIDDataset:
    """Load the data that a user named, and tell what must be known of them; one process does it for all."""

    def loaded() -> ReIDDataset:
        dataset = load_dataset(spec)
        if not skip_corrupt:
            return dataset
        with progress("looking for unreadable images") as told:
            return without_corrupt(dataset, progress=told)

    dataset = distributed.by_first(loaded)
    warn(*dataset.warnings)
    return dataset


def datasets() -> None:
    """List the data sets that can be named in --data."""
    typer.echo(describe_benchmarks())


def doctor(
    data: Annotated[str, typer.Argument(help="NAME[/VARIANT]:PATH")],
    json_: Json = False,
) -> None:
    """Say what is in a data set, what is wrong with it, and how to mend it; exit 1 if it cannot be used as it is."""
    with progress("looking at images") as told:
        diagnosis = diagnose(load_dataset(data), progress=told)
    show(diagnosis.to_json()) if json_ else _show(diagnosis)
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _show(diagnosis: Diagnosis) -> None:
    table = Table("part", "identities", "images", "cameras", "height", "width", title=diagnosis.name)
    for name, part in diagnosis.parts.items():
        sides = [" / ".join(map(str, side)) or "-" for side in (part.heights, part.widths)]
        table.add_row(name, f"{part.identities:,}", f"{part.images:,}", str(part.cameras), *sides)
    draw(table)
    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in diagnosis.findings:
        way_out = f"\n  way out: {finding.fix}" if finding.fix else ""
        write(f"{finding.level}: {finding.what}{way_out}", style=styles[finding.level])
    use = "evaluated" if diagnosis.parts["query"].images else "trained on"
    verdict = f"can be {use}" if diagnosis.healthy else f"cannot be {use} honestly as it is"
    write(f"{diagnosis.name} {verdict}", style="bold")
