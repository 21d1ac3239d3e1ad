from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from semreid.data.images import read_image
from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate
from semreid.explain import Explanation, explain
from semreid.explain.sheet import DPI, _Sheet, save_evaluation, save_explanation
from semreid.gallery import Entry, Gallery
from semreid.models.model import ReIDModel


@pytest.fixture
def explanation(model: ReIDModel, crops: list[Path], gallery: Gallery) -> Explanation:
    return explain(model, crops[0], gallery, top=11)


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    packed = np.unique(picture.astype(np.int64) @ [1 << 16, 1 << 8, 1])  # whole rows would be sorted for ten seconds
    return set(zip(packed >> 16, packed >> 8 & 255, packed & 255, strict=True))


def test_a_sheet_shows_crops_and_marks(explanation: Explanation, tmp_path: Path) -> None:
    save_explanation(explanation, tmp_path / "sheet.png")
    sheet = read_image(tmp_path / "sheet.png")
    green, red = (0x0B, 0x7A, 0x75), (0xD1, 0x49, 0x5B)
    assert {green, red} <= colours(sheet)
    few = replace(explanation, candidates=explanation.candidates[:1])
    save_explanation(few, tmp_path / "few.png")
    assert read_image(tmp_path / "few.png").size < sheet.size / 2
    nothing = replace(explanation, candidates=())
    save_explanation(nothing, tmp_path / "nothing.png")
    assert not {green, red} & colours(read_image(tmp_path / "nothing.png"))


@pytest.mark.parametrize("name", ["$x_{$", "\\frac$1$", "人.png", "<b>&"])
def test_names_are_shown_as_they_are(explanation: Explanation, tmp_path: Path, name: str) -> None:
    entry = Entry(id="x", path=f"/d/{name}", pid=name, camid=1)
    save_explanation(replace(explanation, query=entry), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_curves_are_drawn_and_an_unwritable_place_is_named(
    model: ReIDModel, figure_data: ReIDDataset, tmp_path: Path
) -> None:
    evaluation = evaluate(model, figure_data)
    save_evaluation(evaluation, tmp_path / "curves.png")
    assert read_image(tmp_path / "curves.png").shape == (660, 1620, 3)
    (tmp_path / "file").touch()
    with pytest.raises(SemreidError, match="cannot write"):
        save_evaluation(evaluation, tmp_path / "file" / "curves.png")


def test_a_line_is_cut_only_where_there_is_no_room_for_it() -> None:
    figure = Figure(figsize=(8, 2), dpi=DPI)
    sheet = _Sheet(figure)
    for room in (7.0, 1.0, 0.01):
        sheet.write(0.4, 0.4, "i" * 90, room=room)
    whole, cut, least = (text.get_text() for text in figure.texts)
    assert whole == "i" * 90
    assert least == "i…"
    assert cut.endswith("…")
    assert 10 < len(cut) < 60
    assert 0.8 < figure.texts[1].get_window_extent().width / DPI <= 1
