"""Explanations and curves as PNG files, for slides, papers and mail."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semreid.data.images import resize
from semreid.evaluation.protocol import Evaluation
from semreid.explain.evidence import Layer
from semreid.explain.explanation import Candidate, Explanation
from semreid.explain.findings import Scores, score_histograms
from semreid.explain.page import caption, verdict
from semreid.explain.pictures import Picture
from semreid.explain.texts import GLYPHS, grounds_text, percent_text
from semreid.plots import FAINT, GENUINE, IMPOSTOR, INK, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SOFT = "#5c6870"
COLORS = {True: GENUINE, False: IMPOSTOR, None: SOFT}
DPI, COLUMNS = 150, 10
MARGIN, GAP, CELL, TALL, TEXT = 0.4, 0.12, 0.95, 1.9, 0.2  # inches
ABOVE, BELOW, HEADER = 0.26, 0.76, 0.85
EDGE = 5  # pixels


def save_explanation(explanation: Explanation, target: Path) -> None:
    """Draw the query, its ranked matches and the evidence of each pair into a PNG file.

    Raises:
        SemreidError: If matplotlib is missing, or the file cannot be written.
    """
    count = len(explanation.candidates)
    layers = max((c.evidence.layers for c in explanation.candidates), key=len, default=())
    band = ABOVE + TALL + BELOW + len(layers) * 2 * (TALL + GAP) + 2 * GAP
    width = 2 * MARGIN + (min(COLUMNS, max(5, count)) + 1) * (CELL + GAP) + 2 * GAP
    height = 2 * MARGIN + HEADER + max(1, -(-count // COLUMNS)) * band
    with drawn(target, width, height, dpi=DPI) as figure:
        sheet = _Sheet(figure)
        title = f"Matches of {Path(explanation.query.path).name or 'query'}"
        sheet.write(MARGIN, MARGIN, title, size=15, weight="bold", room=width - 2 * MARGIN)
        sheet.write(MARGIN, MARGIN + 0.36, verdict(explanation), color=SOFT, room=width - 2 * MARGIN)
        if explanation.prior is not None:
            grounds = f"percent: probability by similarity alone ({grounds_text(explanation.prior, explanation.basis)})"
            sheet.write(MARGIN, MARGIN + 0.58, grounds, size=9, color=SOFT, room=width - 2 * MARGIN)
        _draw_query(sheet, explanation, layers)
        for index, candidate in enumerate(explanation.candidates):
            left = MARGIN + (1 + index % COLUMNS) * (CELL + GAP) + 2 * GAP
            _draw_match(sheet, candidate, left, MARGIN + HEADER + index // COLUMNS * band)
        sheet.finish()


def save_evaluation(evaluation: Evaluation, target: Path) -> None:
    """Draw CMC curve and score histogram of an evaluation into a PNG file.

    Raises:
        SemreidError: If matplotlib is missing, or the file cannot be written.
    """
    scores = score_histograms(evaluation)
    with drawn(target, 10.8 if scores else 5.6, 4.4, dpi=DPI) as figure:
        figure.set_layout_engine("constrained", w_pad=0.2, h_pad=0.14)
        axes = figure.subplots(1, 2 if scores else 1, squeeze=False)[0]
        _draw_cmc(axes[0], evaluation)
        if scores:
            _draw_scores(axes[1], scores)


class _Sheet:
    """A figure with pictures and texts whose places are given in inches from the upper left corner."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.width, self.height = figure.get_size_inches()
        self.canvas = np.full((round(self.height * DPI), round(self.width * DPI), 3), 255, np.uint8)

    def show(self, picture: Picture, left: float, top: float, *, edge: str = "") -> None:
        """Show a picture as large as fits into a cell, with a coloured edge below."""
        room = round(CELL * DPI), round(TALL * DPI)
        scale = min(room[0] / picture.shape[1], room[1] / picture.shape[0])
        height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
        y, x = round(top * DPI), round(left * DPI) + (room[0] - width) // 2
        self.canvas[y : y + height, x : x + width] = resize(picture, (height, width))
        if edge:
            self.canvas[y + height : y + height + EDGE, x : x + width] = list(bytes.fromhex(edge[1:]))

    def write(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size: float = 11,
        color: str = INK,
        weight: str = "normal",
        align: str = "left",
        room: float = CELL + GAP / 2,
    ) -> None:
        """Write a line of text, whatever it holds; one that is longer than its room in inches is cut short."""
        x, y = left / self.width, 1 - top / self.height
        written = self.figure.text(x, y, text, parse_math=False, color=color, ha=align, va="top")
        written.set(fontsize=size, fontweight=weight)
        while len(text) > 1 and (long := written.get_window_extent().width / DPI) > room:
            text = text[: max(1, min(len(text) - 1, int(len(text) * room / long)))]
            written.set_text(f"{text}…")

    def finish(self) -> None:
        """Put the pictures under the texts."""
        self.figure.figimage(self.canvas)


def _draw_query(sheet: _Sheet, explanation: Explanation, layers: Sequence[Layer]) -> None:
    """The first column: the query, what is known of it, and what the rows of the first band show."""
    top = MARGIN + HEADER
    sheet.write(MARGIN, top, "query", color=SOFT, size=9)
    sheet.show(explanation.crop, MARGIN, top + ABOVE)
    for line, text in enumerate(caption(replace(explanation.query, timestamp=None))):
        sheet.write(MARGIN, top + ABOVE + TALL + 0.08 + line * TEXT, text, size=9, color=SOFT)
    top += ABOVE + TALL + BELOW + 0.02
    for layer in layers:
        for line, text in enumerate((*textwrap.wrap(layer.title, 16), "in the match")):
            sheet.write(MARGIN, top + line * TEXT, text, size=9, color=SOFT, room=CELL + 3 * GAP)
        sheet.write(MARGIN, top + TALL + GAP, "in the query", size=9, color=SOFT)
        top += 2 * (TALL + GAP)


def _draw_match(sheet: _Sheet, candidate: Candidate, left: float, top: float) -> None:
    color = COLORS[candidate.is_same]
    sheet.write(left, top, str(candidate.rank), weight="bold")
    if candidate.is_same is not None:
        sheet.write(left + CELL, top, GLYPHS[candidate.is_same], color=color, weight="bold", align="right")
    top += ABOVE
    if candidate.crop is None:
        sheet.write(left, top, "no image", color=SOFT, size=8)
    else:
        sheet.show(candidate.crop, left, top, edge=color)
    top += TALL + 0.08
    probability = "" if candidate.probability is None else percent_text(candidate.probability)
    sheet.write(left, top, f"{candidate.match.similarity:.3f}", size=9)
    sheet.write(left + CELL, top, probability, size=9, color=SOFT, align="right")
    for line, text in enumerate(caption(replace(candidate.match.entry, timestamp=None)), 1):
        sheet.write(left, top + line * TEXT, text, size=8, color=SOFT)
    top += BELOW - 0.08
    for layer in candidate.evidence.layers:
        for picture in (layer.match, layer.query):
            sheet.show(picture, left, top)
            top += TALL + GAP


def _draw_cmc(axes: Axes, evaluation: Evaluation) -> None:
    shares = 100 * evaluation.cmc[:20]
    axes.plot(np.arange(1, len(shares) + 1), shares, color=GENUINE, linewidth=2)
    for rank in (1, 5, 10):
        axes.plot(rank, shares[rank - 1], "o", color=GENUINE, markeredgecolor="white", markersize=7)
        text, place = f"{shares[rank - 1]:.1f} %", (rank, float(shares[rank - 1]))
        axes.annotate(text, place, (7, -13), textcoords="offset points", fontsize=9, fontweight="bold")
    axes.set(ylim=(0, 102), xticks=(1, 5, 10, 15, 20), xlabel="rank", ylabel="queries with a match, %")
    axes.set_title(f"CMC, {evaluation.protocol['dataset']}", parse_math=False)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _draw_scores(axes: Axes, scores: Scores) -> None:
    for counts, color, name in (
        (scores.impostor, IMPOSTOR, "of two people"),
        (scores.genuine, GENUINE, "of one person"),
    ):
        heights = counts / counts.sum()
        axes.stairs(heights, scores.edges, fill=True, color=color, alpha=0.28)
        axes.stairs(heights, scores.edges, color=color, linewidth=1.4, label=f"{counts.sum():,} pairs {name}")
    axes.set(xlim=(scores.edges[0], scores.edges[-1]), yticks=[], xlabel="cosine similarity")
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
    axes.set_title(f"Scores, equal error rate {scores.eer:.1%}")
    axes.legend(loc="upper left", fontsize=9)
    axes.spines["left"].set_visible(False)
    axes.axhline(0, color=FAINT, linewidth=1)
