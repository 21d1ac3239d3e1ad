"""``semreid label``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from semreid.console import Json, command, draw, interruptible, progress, say, show, write
from semreid.data.cli import Data, SkipCorrupt, dataset_of
from semreid.errors import SemreidError
from semreid.files import require_writable
from semreid.models.card import card_file
from semreid.models.cli import model_of
from semreid.models.shipped import PAINTER, PARSER, missing
from semreid.teachers.maps import Mapping as Scheme


def label(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for masks/ and textures/, to be given as --annotations.")],
    teachers: Annotated[
        list[str] | None,
        typer.Argument(help=f"Run folders or card files of teachers; if left out, {PARSER} and {PAINTER}."),
    ] = None,
    from_masks: Annotated[
        Path | None, typer.Option("--from-masks", help="Folder of label maps to use instead of teachers.")
    ] = None,
    mapping: Annotated[
        Scheme | None, typer.Option("--mapping", help="Whose labels they are; if left out, eanet.")
    ] = None,
    split: Annotated[
        Literal["all", "train"], typer.Option("--split", help="train: only the crops that training needs.")
    ] = "all",
    replace: Annotated[bool, typer.Option("--replace", help="Label again what is labelled.")] = False,
    skip_corrupt: SkipCorrupt = False,
    json_: Json = False,
) -> None:
    """Label a data set with part masks and textures, by teachers or from label maps; report how they look."""
    from semreid.data.listing import OVERVIEW
    from semreid.teachers.label import import_masks
    from semreid.teachers.label import label as run
    from semreid.teachers.report import write_report

    if teachers and from_masks:
        raise SemreidError("labels come from teachers or from label maps", fix="name teachers, or give --from-masks")
    if mapping and not from_masks:
        raise SemreidError(
            "a mapping is for label maps, and none are named",
            fix="give their folder, --from-masks, or no --mapping",
        )
    require_writable(out / OVERVIEW)
    named = [] if from_masks else teachers or shipped_teachers()
    models = [model_of(teacher) for teacher in named]
    way_on = f"the same command{' without --replace' if replace else ''} completes it"
    with interruptible(lambda: way_on):
        dataset = dataset_of(data, skip_corrupt=skip_corrupt)
    with interruptible(lambda: way_on), progress("labelling") as told:
        if from_masks is not None:
            scheme = mapping or "eanet"
            labels = import_masks(from_masks, scheme, dataset, out, split=split, replace=replace, progress=told)
        else:
            labels = run(models, dataset, out, split=split, replace=replace, progress=told)
    with interruptible(lambda: way_on), progress("looking at labels") as told:
        report = write_report(labels, dataset, progress=told)
    show(report) if json_ else _show_report(report)
    step = command("train", "--data", data, "--annotations", out, "--out", "RUN", *["--skip-corrupt"] * skip_corrupt)
    say(f"labelled: look at {out / OVERVIEW}. Next: {step}")


def shipped_teachers() -> list[str]:
    """Return the names of the teachers that ship; say which of them this installation lacks.

    Raises:
        SemreidError: If it has none.
    """
    there = [name for name in (PARSER, PAINTER) if card_file(name).is_file()]
    if not there:
        raise missing(PARSER)
    lost = "" if PAINTER in there else f"; there is no {PAINTER} in this installation, so no textures"
    say(f"labelling by {' and '.join(there)}{lost}")
    return there


def _show_report(report: Mapping[str, Any]) -> None:
    lines = [f"{report['crops']:,} crops; {report['kept']:,} were labelled before"]
    if report["of_other_crops"]:
        lines.append(
            f"{report['of_other_crops']:,} labels there were not known to be of these crops, and were made anew"
        )
    if report["without_label_map"]:
        lines.append(f"{report['without_label_map']:,} crops for testing have no label map")
    if "parts" in report:
        draw(_table(report))
        lines += [
            f"parts follow one another from head to foot in {_percent(report['ordered'])} of the crops",
            f"{report['background_only']['count']:,} crops without a person ({report['background_only']['fallback']})",
        ]
        if report["mean_confidence"] is not None:
            low = report["low_confidence"]
            counted = f"below {low['threshold']} in {low['count']:,} crops"
            lines.append(f"confidence {report['mean_confidence']:.3f} in the mean, {counted}")
    write(*lines)


def _table(report: Mapping[str, Any]) -> Table:
    agreement = report["iou"] or {}
    table = Table("part", "area", "empty", *(f"IoU, {split}" for split in agreement), title=report["dataset"])
    for name, part in report["parts"].items():
        ious = [_number(each[name]) for each in agreement.values()]
        table.add_row(name, _percent(part["mean_area"]), _percent(part["empty"]), *ious)
    if agreement:
        table.add_row("mean", "", "", *(_number(each["mean"]) for each in agreement.values()))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
