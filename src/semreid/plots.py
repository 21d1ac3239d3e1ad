"""How plots look, and what draws them."""

from __future__ import annotations

from typing import Any

from semreid.errors import SemreidError

GENUINE, IMPOSTOR, INK, FAINT = "#0b7a75", "#d1495b", "#22303c", "#c9d1d9"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 12,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "grid.color": FAINT,
    "grid.alpha": 0.5,
}


def require_matplotlib() -> Any:  # noqa: ANN401 - the module
    """Import matplotlib.

    Returns:
        The module.

    Raises:
        SemreidError: If it is not installed.
    """
    try:
        import matplotlib as mpl
        import matplotlib.figure
    except ImportError as error:
        raise SemreidError("drawing needs matplotlib", fix="pip install 'semreid[plot]'") from error
    return mpl
