"""The two curves of a report as SVG that follows the colours of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 440, 260
LEFT, RIGHT, TOP, BOTTOM = 38, 428, 14, 216
RANKS = 20
NAMED_RANKS = (1, 5, 10)


def cmc_chart(cmc: ArrayLike) -> Markup:
    """Draw a CMC curve.

    Args:
        cmc: Share of queries with a true match among the first k, (ranks,), k from 1.

    Returns:
        An ``<svg>`` element.
    """
    shares = np.asarray(cmc, float)[:RANKS]
    x = np.linspace(LEFT + 14, RIGHT, RANKS)[: len(shares)]
    y = _up(shares)
    line = Markup('<polyline class="curve" points="{}"/>').format(_points(x, y))
    named = [(x[k - 1], y[k - 1], f"{100 * shares[k - 1]:.1f} %") for k in NAMED_RANKS if k <= len(shares)]
    dots = _join(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(a, b) for a, b, _ in named)
    texts = _join(_text(a + 7, b + (17 if b < BOTTOM - 24 else -8), t, "value") for a, b, t in named)
    ticks = [(x[k - 1], str(k)) for k in (1, 5, 10, 15, 20) if k <= len(shares)]
    return _svg("CMC curve", _levels() + _ticks(ticks, "rank") + line + dots + texts)


def score_chart(genuine: ArrayLike, impostor: ArrayLike, edges: ArrayLike) -> Markup:
    """Draw the histograms of genuine and of impostor scores, each in shares of its own kind.

    Args:
        genuine: Pairs in each bar, (bars,).
        impostor: Likewise.
        edges: Scores between the bars, (bars + 1,), rising.

    Returns:
        An ``<svg>`` element.
    """
    counts, limits = np.stack([np.asarray(impostor, float), np.asarray(genuine, float)]), np.asarray(edges, float)
    shares = counts / counts.sum(axis=1, keepdims=True)
    shares = 0.94 * shares / shares.max()
    x = LEFT + (limits - limits[0]) / (limits[-1] - limits[0]) * (RIGHT - LEFT)
    areas = _join(_stairs(x, row, kind) for kind, row in zip(("impostor", "genuine"), shares, strict=True))
    values = [v for v in np.round(np.arange(-1, 1.01, 0.2), 1) if limits[0] <= v <= limits[-1]]
    ticks = [(float(np.interp(v, limits, x)), f"{v + 0:.1f}") for v in values]
    return _svg("score histogram", _ticks(ticks, "cosine similarity") + areas)


def _stairs(x: NDArray[np.float64], heights: NDArray[np.float64], kind: str) -> Markup:
    across = np.repeat(x, 2)
    up = _up(np.concatenate([[0.0], np.repeat(heights, 2), [0.0]]))
    return Markup('<polyline class="{}" points="{}"/>').format(kind, _points(across, up))


def _levels() -> Markup:
    """Lines and labels of the shares."""
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    heights = [float(_up(share)) for share in shares]
    lines = _join(line.format(LEFT, RIGHT, y, y) for y in heights)
    texts = zip(shares, heights, strict=True)
    return lines + _join(_text(LEFT - 8, y + 4, f"{100 * share:.0f}", "end") for share, y in texts)


def _ticks(ticks: Sequence[tuple[float, str]], title: str) -> Markup:
    base = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, RIGHT, BOTTOM, BOTTOM)
    labels = _join(_text(x, BOTTOM + 18, text, "") for x, text in ticks)
    return base + labels + _text((LEFT + RIGHT) / 2, BOTTOM + 38, title, "title")


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, text)


def _svg(title: str, content: Markup) -> Markup:
    frame = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDTH, HEIGHT, title, content)


def _up(share: float | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(BOTTOM - np.asarray(share) * (BOTTOM - TOP))


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _join(pieces: Iterable[Markup]) -> Markup:
    return Markup("").join(pieces)
