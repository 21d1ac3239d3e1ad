"""Pages that need nothing but themselves: no script, no font, no picture from elsewhere; light and dark, and printable.

Everything that came from a user, such as names of files and people, is escaped; a policy in the page forbids
scripts and connections, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from semreid.evaluation.protocol import Evaluation
from semreid.explain.charts import cmc_chart, score_chart
from semreid.explain.explanation import Explanation
from semreid.explain.findings import choose_examples, score_histograms
from semreid.explain.pictures import SIDE, data_uri, jpeg
from semreid.explain.texts import GLYPHS, MARKS, MEANINGS, grounds_text, percent_text, time_text
from semreid.gallery import Entry
from semreid.models.card import shipped_as
from semreid.version import __version__

HEADLINE = (
    ("mAP", "mAP"),
    *((f"rank{k}", f"Rank {k}") for k in (1, 3, 5, 10)),
    ("mINP", "mINP"),
)


def explanation_page(explanation: Explanation) -> str:
    """Write an explanation as a page.

    Returns:
        HTML that holds all its pictures.
    """
    known = [c.is_same for c in explanation.candidates if c.is_same is not None]
    values = {
        "e": explanation,
        "name": Path(explanation.query.path).name or "query",
        "verdict": verdict(explanation),
        "known": known,
        "caption": caption,
        "model": shipped_as(explanation.fingerprint) or explanation.fingerprint[:12],
    }
    return environment().get_template("explanation.html").render(values)


def evaluation_page(evaluation: Evaluation, model: str) -> str:
    """Write an evaluation as a page: figures, curves, examples, and how it was measured.

    Returns:
        HTML that holds all its pictures.

    Raises:
        SemreidError: If an image cannot be read.
    """
    scores = score_histograms(evaluation)
    values = {
        "model": model,
        "metrics": evaluation.metrics,
        "ci95": evaluation.ci95,
        "protocol": evaluation.protocol,
        "headline": HEADLINE,
        "cmc": cmc_chart(evaluation.cmc),
        "scores": scores,
        "histogram": scores and score_chart(scores.genuine, scores.impostor, scores.edges),
        "examples": choose_examples(evaluation),
        "rules": list(_rules(evaluation.counts, evaluation.protocol)),
    }
    return environment().get_template("evaluation.html").render(values)


def verdict(explanation: Explanation) -> str:
    """Sum up the matches in a sentence."""
    marks = [c.is_same for c in explanation.candidates]
    right, known = marks.count(True), len(marks) - marks.count(None)
    if not marks:
        return "Nothing in the gallery passes the filter."
    if not known:
        return f"The {len(marks)} best matches; whether they show the person of the query is not known."
    first = marks.index(True) + 1 if right else 0
    shows = "shows" if right == 1 else "show"
    unknown = f"; of {len(marks) - known} it is not known" if known < len(marks) else ""
    tail = f" The first one is at rank {first}." if first > 1 else ""
    more = _not_among(right, explanation.of_person)
    return f"{right} of the {len(marks)} best matches {shows} the person of the query{unknown}.{tail}{more}"


def _not_among(right: int, of_person: int | None) -> str:
    """Say whether there was more to find: 2 of 10 is all that can be had where the gallery holds 2."""
    if of_person is None:
        return ""
    if left := of_person - right:
        return f" {left} more of this person {'was' if left == 1 else 'were'} searched."
    return f" No {'other ' if right else ''}crop of this person was searched."


def caption(entry: Entry) -> list[str]:
    """Say who and where a crop was, as far as it is known.

    Returns:
        Short texts.

    Example:
        >>> caption(Entry(pid="7", camid=3, timestamp=83.5))
        ['person 7', 'camera 3', '0:01:23.5']
    """
    texts = [] if entry.pid is None else [f"person {entry.pid}"]
    texts += [] if entry.camid is None else [f"camera {entry.camid}"]
    return texts + ([] if entry.timestamp is None else [time_text(entry.timestamp)])


OWN_PAGE = b'<meta name="generator" content="semreid '
"""What all pages hold in front (`semreid.files.require_own`)."""


@cache
def environment() -> Environment:
    """Return what fills the templates: everything that is put in is escaped, and pictures become addresses."""
    loader = PackageLoader("semreid.explain")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        uri=lambda picture, side=SIDE: data_uri(jpeg(picture, side)), time=time_text, percent=percent_text
    )
    style = Markup(loader.get_source(environment, "style.css")[0])
    environment.globals.update(version=__version__, style=style, grounds=grounds_text)
    environment.globals.update(marks=MARKS, glyphs=GLYPHS, meanings=MEANINGS)
    return environment


def _rules(counts: Mapping[str, int], protocol: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((name.replace("_", " "), f"{value:,}") for name, value in counts.items())
    for name, value in protocol.items():
        if name != "warnings" and value not in ("", None):
            yield name.replace("_", " "), _plain(value)


def _plain(value: Any) -> str:  # noqa: ANN401 - anything a protocol records
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return " × ".join(map(str, value)) if isinstance(value, list) else str(value)
