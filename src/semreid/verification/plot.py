"""A calibration in one picture: the scores, what thresholds do, and whether the probabilities come true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semreid.functional.pairs import HALF, HISTOGRAM_CELLS, histogram, roc_curve
from semreid.plots import GENUINE, IMPOSTOR, INK, drawn
from semreid.verification.calibrate import CalibrationReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_plot(report: CalibrationReport, target: Path, title: str) -> None:
    """Draw the report into a PNG file.

    Raises:
        SemreidError: If matplotlib is missing, or the file cannot be written.
    """
    with drawn(target, 15, 5.2, dpi=120) as figure:
        figure.set_layout_engine("constrained", w_pad=0.2, h_pad=0.1)
        figure.suptitle(title, parse_math=False, x=0.012, ha="left", fontsize=14, fontweight="bold", color=INK)
        axes = figure.subplots(1, 3)
        _draw_scores(axes[0], report)
        _draw_rates(axes[1], report)
        _draw_reliability(axes[2], report)


def _draw_scores(axes: Axes, report: CalibrationReport) -> None:
    scores = report.evidence.scores
    width = HISTOGRAM_CELLS / HALF
    for counts, color, name in ((scores.impostor, IMPOSTOR, "impostor"), (scores.genuine, GENUINE, "genuine")):
        bars = histogram(counts)
        edges = np.arange(len(bars) + 1) * width - 1
        axes.stairs(bars / bars.sum() / width, edges, fill=True, color=color, alpha=0.30)
        axes.stairs(
            bars / bars.sum() / width, edges, color=color, label=f"{counts.sum():,} {name} pairs", linewidth=1.4
        )
    used = np.flatnonzero(scores.genuine + scores.impostor) / HALF - 1
    axes.set(title="Scores", xlabel="cosine similarity", ylabel="density", xlim=(used[0], used[-1]))
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.45 * top)  # room for thresholds and legend above the bars
    for i, point in enumerate(report.calibration.points):
        axes.vlines(point.threshold, 0, (1.16 - 0.07 * i) * top, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(point.threshold, (1.10 - 0.07 * i) * top, f" FAR {point.asked_far:g}", fontsize=8.5)
    axes.legend(loc="upper left")


def _draw_rates(axes: Axes, report: CalibrationReport) -> None:
    far, tar, _ = roc_curve(report.evidence.scores)
    shown = far > 0
    axes.plot(far[shown], tar[shown], color=INK, linewidth=1.6)
    for point in report.calibration.points:
        across = [[point.far.value - point.far.low], [point.far.high - point.far.value]]
        along = [[point.tar.value - point.tar.low], [point.tar.high - point.tar.value]]
        axes.errorbar(point.far.value, point.tar.value, along, across, fmt="o", color=GENUINE, capsize=3, zorder=3)
        text = f"{point.tar.value:.0%}"
        axes.annotate(text, (point.far.value, point.tar.value), (9, -14), textcoords="offset points", fontsize=9)
    lowest = min(point.far.low for point in report.calibration.points)
    axes.set(xscale="log", xlim=(lowest / 5, 1), ylim=(0, 1.02), title="Accepted pairs, with 95 % intervals")
    axes.set(xlabel="impostor pairs accepted (FAR)", ylabel="genuine pairs accepted (TAR)")
    axes.grid(visible=True)


def _draw_reliability(axes: Axes, report: CalibrationReport) -> None:
    table: NDArray[np.float64] = report.evidence.reliability[report.evidence.reliability[:, 0] > 0]
    share, predicted, observed = table[:, 0], table[:, 1] / table[:, 0], table[:, 2] / table[:, 0]
    axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(predicted, observed, color=GENUINE, linewidth=1.2)
    axes.scatter(predicted, observed, s=20 + 400 * share, color=GENUINE, zorder=3, edgecolor="white")
    axes.set(title="Do the probabilities come true?", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel="probability given", ylabel="share that was genuine")
    calibration = report.calibration
    note = (
        f"fitted to half of the people,\njudged on the other\nerror (ECE) {calibration.ece:.1%}\n"
        f"{calibration.method} map, prior 0.5\ndot size: share of the pairs"
    )
    axes.text(0.98, 0.04, note, ha="right", fontsize=8.5, linespacing=1.6)
    axes.grid(visible=True)
