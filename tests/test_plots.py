from pathlib import Path

import cv2
import pytest

from semreid.errors import SemreidError
from semreid.plots import drawn


def test_what_is_drawn_is_written_whatever_letters_it_has(tmp_path: Path) -> None:
    with drawn(tmp_path / "plot.png", 2, 1, dpi=50) as figure:
        figure.text(0.5, 0.5, "\N{CJK UNIFIED IDEOGRAPH-4EBA}")  # the font lacks it
    image = cv2.imread(str(tmp_path / "plot.png"))
    assert image.shape == (50, 100, 3)
    assert (image[0, 0] == 255).all()
    assert (image < 200).any()


def test_what_cannot_be_drawn_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), drawn(tmp_path / "plot.png", 2, 1, dpi=50):
        _ = 1 / 0
    assert (tmp_path / "plot.png").read_bytes() == b"before"
    with pytest.raises(SemreidError, match="cannot write"), drawn(tmp_path, 2, 1, dpi=50):
        pass
