from xml.etree import ElementTree

import numpy as np
import pytest

from semreid.explain.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, cmc_chart, score_chart


def points(svg: str, kind: str) -> np.ndarray:
    (line,) = (e for e in ElementTree.fromstring(svg).iter("polyline") if e.get("class") == kind)
    return np.array([[float(v) for v in pair.split(",")] for pair in line.get("points").split()])


def texts(svg: str) -> list[str]:
    return [e.text for e in ElementTree.fromstring(svg).iter("text")]


def test_the_cmc_curve_has_the_heights_of_its_shares() -> None:
    cmc = np.minimum(1, 0.25 + 0.05 * np.arange(50))
    svg = cmc_chart(cmc)
    drawn = points(svg, "curve")
    np.testing.assert_allclose((BOTTOM - drawn[:, 1]) / (BOTTOM - TOP), cmc[:20], atol=1e-3)
    assert (np.diff(drawn[:, 0]) > 0).all()
    assert {"25.0 %", "45.0 %", "70.0 %"} <= set(texts(svg))


def test_a_short_curve_is_drawn_as_far_as_it_goes() -> None:
    svg = cmc_chart([0.5, 1.0, 1.0])
    assert len(points(svg, "curve")) == 3
    assert "10" not in texts(svg)


def test_histograms_are_shares_of_their_own_kind() -> None:
    svg = score_chart([0, 10, 10], [3000, 1000, 0], [-0.2, 0.2, 0.6, 1.0])
    genuine, impostor = (BOTTOM - points(svg, kind)[:, 1] for kind in ("genuine", "impostor"))
    np.testing.assert_allclose(genuine[1::2][:3] / impostor.max(), [0, 2 / 3, 2 / 3], atol=0.01)
    np.testing.assert_allclose(impostor[1::2][:3] / impostor.max(), [1, 1 / 3, 0], atol=0.01)
    assert {"-0.2", "0.0", "0.4", "1.0"} <= set(texts(svg))


@pytest.mark.parametrize("svg", [cmc_chart([0.0, 1.0]), score_chart([1], [1], [0.5, 0.6])])
def test_nothing_lies_outside_the_frame(svg: str) -> None:
    for element in ElementTree.fromstring(svg).iter("polyline"):
        drawn = points(svg, element.get("class"))
        assert (drawn >= (LEFT - 0.1, TOP - 0.1)).all()
        assert (drawn <= (RIGHT + 0.1, BOTTOM + 0.1)).all()
    assert ElementTree.fromstring(svg).get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
