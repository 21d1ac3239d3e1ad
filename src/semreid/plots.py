"""How plots look, and what draws them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semreid.errors import SemreidError
from semreid.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    Raises:
        SemreidError: If it is not installed.
    """
    try:
        import matplotlib as mpl
        import matplotlib.figure
    except ImportError as error:
        raise SemreidError("drawing needs matplotlib", fix="pip install 'semreid[plot]'") from error
    return mpl


OWN = b"Software\0semreid"
"""What a picture of ours holds in front (`semreid.files.require_own`)."""


@contextmanager
def drawn(target: Path, width: float, height: float, *, dpi: int) -> Iterator[Figure]:
    """Yield a figure, and write what is drawn on it into a PNG file; letters that the font lacks become boxes.

    Args:
        target: The file.
        width: Of the figure in inches.
        height: Of the figure in inches.
        dpi: Pixels an inch.

    Raises:
        SemreidError: If matplotlib is missing, or the file cannot be written.
    """
    mpl = require_matplotlib()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = mpl.figure.Figure(figsize=(width, height), dpi=dpi)
        yield figure
        with atomic_path(target) as temporary:
            figure.savefig(temporary, format="png", facecolor="white", metadata={"Software": "semreid"})
