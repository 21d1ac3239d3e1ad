"""``semreid explain``, and the files that ``semreid evaluate`` writes for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from semreid.console import Json, draw, say, show
from semreid.data.images import read_image
from semreid.data.sample import MAX_CAMID
from semreid.errors import SemreidError
from semreid.explain import explanation as explanations
from semreid.explain.explanation import MOST, TOP, Explanation
from semreid.explain.page import OWN_PAGE
from semreid.explain.texts import GLYPHS, grounds_text, percent_text
from semreid.files import require_apart, require_own, require_suffix, require_writable, write_json, write_text
from semreid.gallery import Gallery
from semreid.models.cli import FirstWithGradients, model_of, no_model
from semreid.models.exported import is_exported
from semreid.models.shipped import DEFAULT
from semreid.plots import OWN, require_matplotlib


def explain(
    uri: Annotated[str, typer.Option("--gallery", help="URI of the gallery, as in `semreid gallery`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for explanation.html, .png and .json.")],
    model: FirstWithGradients = None,
    query: Annotated[Path | None, typer.Argument(metavar="QUERY", help="An image.")] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=MOST, help="How many matches.")] = TOP,
    pid: Annotated[str | None, typer.Option("--query-pid", help="Person that the query shows, if known.")] = None,
    camid: Annotated[
        int | None, typer.Option("--query-camid", min=0, max=MAX_CAMID, help="Camera that saw it, if known.")
    ] = None,
    other_cameras: Annotated[
        bool, typer.Option("--other-cameras", help="Leave out crops of the query's own camera.")
    ] = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank the best by k-reciprocal neighbours.")] = False,
    prior: Annotated[
        float | None, typer.Option("--prior", help="Probability of a match before looking; else one in all people.")
    ] = None,
    json_: Json = False,
) -> None:
    """Show why a gallery answers a query as it does: ranked matches with marks, and what makes each pair similar."""
    if model is None:
        raise typer.BadParameter("give an image: QUERY")
    if query is None:
        model, query = DEFAULT, no_model(model, "QUERY", "no query is named")
    require_matplotlib()
    require_writable(out / "explanation.html")
    require_apart([out / f"explanation.{kind}" for kind in ("html", "png", "json")], [query], "the query")
    require_own(out / "explanation.html", OWN_PAGE)
    require_own(out / "explanation.png", OWN)
    if is_exported(model):
        raise SemreidError(f"{model} has no gradients to explain it by", fix="give the run folder it was exported from")
    loaded = model_of(model)
    options = {"pid": pid, "camid": camid, "other_cameras": other_cameras, "rerank": rerank, "prior": prior}
    with Gallery.open(uri) as gallery:
        found = explanations.explain(loaded, query, gallery, top=top, **options)  # type: ignore[arg-type]
    write_explanation(found, out)
    show(found.to_json()) if json_ else draw(_table(found))
    if found.prior is not None:
        say(f"probabilities by similarity alone: {grounds_text(found.prior, found.basis)}")
    say(f"explained: {out / 'explanation.html'}")


def stages(
    model: Annotated[str, typer.Argument(help="Run folder or card file of a model with stages, such as pmm.")],
    images: Annotated[list[Path], typer.Argument(help="Crops of as many people, two or more.")],
    out: Annotated[Path, typer.Option("--out", help="PNG file to draw.")],
) -> None:
    """Draw what each stage of PMM looks at, and what is taken from the next because of it."""
    from semreid.explain.stages import save_stages

    _require_picture(out, images)
    save_stages(model_of(model), [read_image(path) for path in images], out)
    say(f"drawn: {out}")


def texture(
    model: Annotated[str, typer.Argument(help="Run folder or card file of a model that paints, such as san_pg.")],
    images: Annotated[list[Path], typer.Argument(help="Images, a row for each.")],
    out: Annotated[Path, typer.Option("--out", help="PNG file.")],
) -> None:
    """Draw what people look like from all sides, as a model believes: their textures, and a body that wears them."""
    from semreid.explain.textures import save_textures

    _require_picture(out, images)
    save_textures(model_of(model), images, out)
    say(f"drawn: {out}")


def write_explanation(explanation: Explanation, folder: Path) -> None:
    """Write an explanation as ``explanation.html``, ``.png`` and ``.json`` into a folder, made if missing.

    Raises:
        SemreidError: If matplotlib is missing, or a file cannot be written.
    """
    from semreid.explain.page import explanation_page
    from semreid.explain.sheet import save_explanation

    write_text(folder / "explanation.html", explanation_page(explanation))
    save_explanation(explanation, folder / "explanation.png")
    write_json(folder / "explanation.json", explanation.to_json())


def _require_picture(out: Path, images: list[Path]) -> None:
    """Refuse, before the job, a picture that cannot be drawn, or one that would take the place of an image."""
    require_matplotlib()
    require_suffix(out, ".png", "a PNG picture")
    require_apart([out], images)
    require_own(out, OWN)
    require_writable(out)


def _table(explanation: Explanation) -> Table:
    columns = ("#", "", "similarity", "probability", "person", "camera", Column("path or id", overflow="fold"))
    table = Table(*columns, title=explanation.query.path or "query")
    for c in explanation.candidates:
        entry = c.match.entry
        mark = "" if c.is_same is None else GLYPHS[c.is_same]
        probability = "-" if c.probability is None else percent_text(c.probability)
        facts = (entry.pid, entry.camid, entry.path or entry.id)
        texts = ("-" if fact is None else str(fact) for fact in facts)
        table.add_row(str(c.rank), mark, f"{c.match.similarity:.3f}", probability, *texts)
    return table
