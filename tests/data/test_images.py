import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.data.images import IMAGE_SUFFIXES, decode_image, image_bytes, read_image, resize
from semreid.data.sample import Sample
from semreid.errors import SemreidError

RGB = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
LOSSLESS = {".png", ".bmp", ".tif", ".tiff"}


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES | {".JPG"}))
def test_every_suffix_is_read_as_rgb(tmp_path, suffix):
    red = np.zeros((16, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    image = read_image(save(tmp_path / f"a{suffix}", red))
    assert image.shape == (16, 8, 3)
    assert image.dtype == np.uint8
    assert image[8, 4, 0] > 230
    assert image[8, 4, 1:].max() < 30


@pytest.mark.parametrize("suffix", sorted(LOSSLESS))
def test_lossless_files_keep_their_pixels(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", RGB[..., ::-1])
    for source in (path, str(path), Sample(path, 1, 1)):
        assert np.array_equal(read_image(source), RGB)


def test_grey_alpha_and_16_bit_become_three_channels_of_8_bits(tmp_path):
    grey = read_image(save(tmp_path / "grey.png", RGB[..., 0]))
    assert np.array_equal(grey, np.repeat(RGB[..., :1], 3, axis=2))
    alpha = read_image(save(tmp_path / "alpha.png", np.dstack([RGB[..., ::-1], RGB[..., 0]])))
    assert np.array_equal(alpha, RGB)
    for name in ("deep.png", "deep.tif"):
        deep = read_image(save(tmp_path / name, RGB[..., ::-1].astype(np.uint16) * 257))
        assert deep.dtype == np.uint8
        assert np.array_equal(deep, RGB)
    deep_grey = read_image(save(tmp_path / "deep_grey.png", RGB[..., 0].astype(np.uint16) * 257))
    assert np.array_equal(deep_grey, grey)


def test_exif_orientation_is_obeyed(tmp_path):
    jpeg = cv2.imencode(".jpg", np.zeros((8, 16, 3), np.uint8))[1].tobytes()
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6: turn by 90 degrees
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    exif = b"Exif\0\0" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + jpeg[2:])
    assert read_image(path).shape == (16, 8, 3)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (b"<html>not found</html>", "cannot be decoded"),
        (cv2.imencode(".png", RGB)[1].tobytes()[:60], "cannot be decoded"),
        (cv2.imencode(".jpg", RGB)[1].tobytes()[:-40], "cannot be decoded"),
        (b"\xff\xd8\xff", "cannot be decoded"),
        (b"II*\0\x08\0\0\0", "cannot be decoded"),
        (png_header(20_000, 20_000), "too large: 20000 x 20000"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(tmp_path, content, says):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(SemreidError, match=says) as error:
        read_image(path)
    assert str(path) in str(error.value)


def test_missing_other_and_huge_files(tmp_path):
    with pytest.raises(SemreidError, match=r"cannot read .*gone\.png"):
        read_image(tmp_path / "gone.png")
    for name in ("gone", "zero\0byte.png", f"{'x' * 300}.png"):
        with pytest.raises(SemreidError, match="cannot read "):
            read_image(tmp_path / name)
    (tmp_path / "film.mp4").touch()
    with pytest.raises(SemreidError, match=r"film\.mp4 is not an image file"):
        read_image(tmp_path / "film.mp4")
    (tmp_path / "huge.bmp").touch()
    os.truncate(tmp_path / "huge.bmp", 2**28 + 1)  # a hole: takes no disk
    with pytest.raises(SemreidError, match=r"huge\.bmp is larger than 256 MiB"):
        read_image(tmp_path / "huge.bmp")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SemreidError, match=r"cannot read .*folder\.png"):
        read_image(tmp_path / "folder.png")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_bytes_give_an_image_or_our_error(data):
    suffix = data.draw(st.sampled_from([".jpg", ".png", ".bmp", ".webp"]))
    content = bytearray(cv2.imencode(suffix, RGB)[1].tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(content))
    except SemreidError:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.dtype == np.uint8


def test_image_bytes_are_the_file(tmp_path):
    path = save(tmp_path / "a.png", RGB)
    assert image_bytes(Sample(path, 1, 1)) == image_bytes(str(path)) == path.read_bytes()


@pytest.mark.parametrize("size", [(4, 3), (16, 12), (4, 12), (8, 6)])
def test_resize_keeps_a_flat_colour(size):
    flat = np.full((8, 6, 3), (10, 20, 30), np.uint8)
    assert np.array_equal(resize(flat, size), np.full((*size, 3), (10, 20, 30), np.uint8))


def test_resize_averages_when_it_shrinks():
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.array_equal(resize(stripes, (4, 4)), np.full((4, 4, 3), 100, np.uint8))
