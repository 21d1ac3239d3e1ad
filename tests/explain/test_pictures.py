from base64 import b64decode

import numpy as np
import pytest

from semreid.data.images import decode_image
from semreid.explain.pictures import SIDE, data_uri, fitted, heat_over, jpeg

GREY = np.full((64, 32, 3), 120, np.uint8)


@pytest.mark.parametrize(("shape", "expected"), [((64, 32), (64, 32)), ((640, 320), (320, 160)), ((1, 4000), (1, 320))])
def test_pictures_are_shrunk_and_never_stretched(shape, expected) -> None:
    assert fitted(np.zeros((*shape, 3), np.uint8)).shape == (*expected, 3)


def test_heat_is_clear_where_there_is_none_and_yellow_where_there_is_most() -> None:
    heat = np.zeros((4, 2), np.float32)
    heat[3] = 0.001  # the scale is that of the picture itself
    shown = heat_over(GREY, heat).astype(int)
    np.testing.assert_allclose(shown[:20], 120, atol=2)
    red, green, blue = shown[-4, 16]
    assert min(red, green) > blue + 40
    assert (heat_over(GREY, np.zeros((4, 2), np.float32)) == 120).all()


def test_a_picture_survives_its_uri() -> None:
    gradient = np.linspace(0, 255, 2 * SIDE * SIDE * 3).reshape(2 * SIDE, SIDE, 3).astype(np.uint8)
    kind, _, content = data_uri(jpeg(gradient)).partition(",")
    assert kind == "data:image/jpeg;base64"
    np.testing.assert_allclose(decode_image(b64decode(content)).astype(int), fitted(gradient), atol=12)
