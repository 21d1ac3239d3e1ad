import io
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semreid
from semreid.data.images import IMAGE_SUFFIXES, decode, decode_image, image_bytes, read_image, resize
from semreid.data.sample import Sample
from semreid.data.store import _read_texture, read_mask
from semreid.errors import SemreidError
from semreid.serving.pictures import read_upload
from semreid.teachers.maps import read_label_map

RGB = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
LARGER = np.random.default_rng(1).integers(0, 256, (64, 48, 3), np.uint8)  # JPEG 2000 wants so many pixels
LOSSLESS = {".png", ".bmp", ".tif", ".tiff"}


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def save_by_content(path: Path, image: np.ndarray) -> Path:
    """Write as the suffix says, or as the format that goes by this suffix, too."""
    kind = {".jfif": ".jpg", ".pgm": ".ppm", ".pbm": ".ppm"}.get(path.suffix, path.suffix)
    path.write_bytes(cv2.imencode(kind, image)[1].tobytes())
    return path


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES | {".JPG"}))
def test_every_suffix_is_read_as_rgb(tmp_path, suffix):
    red = np.zeros((64, 48, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    image = read_image(save_by_content(tmp_path / f"a{suffix}", red))
    assert image.shape == (64, 48, 3)
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
    with pytest.raises(SemreidError, match=r"huge\.bmp is longer than 268,435,456 bytes"):
        read_image(tmp_path / "huge.bmp")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SemreidError, match=r"folder\.png is no regular file"):
        read_image(tmp_path / "folder.png")


@pytest.mark.parametrize("kind", [".png", ".tif", ".ppm"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_bits_in_use_of_a_16_bit_file_are_all_there_is(kind, bits):  # cameras store 12 bits in 16
    deep = RGB[..., ::-1].astype(np.uint16) * 2 ** (bits - 8)
    deep[0, 0] = 2**bits - 1
    expected = RGB.copy()
    expected[0, 0] = 255
    assert np.array_equal(decode_image(cv2.imencode(kind, deep)[1].tobytes()), expected)


@pytest.mark.parametrize(
    ("numbers", "says"),
    [(np.float32, "floating-point"), (np.float64, "floating-point"), (np.int16, "signed"), (np.int32, "signed")],
)
def test_measurements_are_not_called_damaged(numbers, says):
    for content in (RGB, RGB[..., 0]):
        with pytest.raises(SemreidError, match=f"x.tif holds {says} numbers, not the 8 or 16 bits") as error:
            decode_image(cv2.imencode(".tif", content.astype(numbers))[1].tobytes(), "x.tif")
        assert "8-bit PNG" in error.value.fix


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff_tiles(side: int) -> bytes:
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 64}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4 + 64)


def jpeg2000(width: int, tile: int) -> bytes:
    content = bytearray(cv2.imencode(".jp2", np.zeros((64, 48, 3), np.uint8))[1].tobytes())
    start = content.index(b"\xff\x4f\xff\x51")
    content[start + 8 : start + 16] = struct.pack(">II", width, width)
    content[start + 24 : start + 32] = struct.pack(">II", tile, tile)
    return bytes(content)


BOMBS = {
    "chunk of 2 GB": png_header(4, 8) + struct.pack(">I", 2**31 - 1) + b"IDAT",
    "chunk of 4 GB": png_header(4, 8) + struct.pack(">I", 2**32 - 1) + b"IDAT",
    "text of 2 GB": png_header(4, 8) + struct.pack(">I", 2**31 - 1) + b"tEXt" + bytes(99),
    "mask of 1.6 gigapixels": png_header(40_000, 40_000) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b""),
    "tiles of 1 GB": tiff_tiles(32_752),
    "codestream of 1.6 gigapixels": jpeg2000(40_000, 40_000),
    "a million tiles": jpeg2000(4000, 4),
    "header of PNM": b"P5 40000 40000 255\n",
    "header of BMP": cv2.imencode(".bmp", RGB)[1].tobytes()[:18] + struct.pack("<ii", 40_000, -40_000) + bytes(99),
    "header of GIF": b"GIF89a" + struct.pack("<HH", 40_000, 40_000) + bytes(99),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_no_decoder_sees_a_bomb(monkeypatch, content):
    def decoder(*_):
        raise AssertionError("this would take gigabytes")

    monkeypatch.setattr(cv2, "imdecode", decoder)
    for read in (decode_image, decode):
        with pytest.raises(SemreidError, match="bomb.png (is too large|cannot be decoded)"):
            read(content, "bomb.png")


def test_every_place_that_reads_pictures_has_bounds(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(BOMBS["mask of 1.6 gigapixels"])
    reads = (read_image, read_mask, _read_texture, lambda file: read_upload(io.BytesIO(file.read_bytes()), file.name))
    for read in reads:
        with pytest.raises(SemreidError, match="bomb.png is too large: 40000 x 40000"):
            read(path)
    with pytest.raises(SemreidError, match="cannot be read"):
        read_label_map(path)


def test_nothing_else_decodes():
    source = Path(semreid.__file__).parent
    places = [path.name for path in source.rglob("*.py") if re.search(r"cv2\.im(read|decode)\(", path.read_text())]
    assert places == ["images.py"]


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(SemreidError, match="pipe.png is no regular file"):
        read_image(tmp_path / "pipe.png")


def test_a_name_that_is_not_utf8(tmp_path):
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.png"))
    with pytest.raises(SemreidError, match=r"1 of 1 file names are not UTF-8, such as '.*caf\\udce9\.png'"):
        read_image(save_by_content(path, RGB))


def test_a_name_in_utf8_that_this_process_reads_otherwise():
    script = (
        "import os; from pathlib import Path; from semreid.data.images import require_utf8\n"
        "try: require_utf8([Path(os.fsdecode(b'/d/caf\\xc3\\xa9.png'))])\n"
        "except ValueError as error: print(ascii(str(error)))"
    )
    odd = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    said = subprocess.run([sys.executable, "-c", script], env=odd, capture_output=True, text=True, check=True).stdout
    assert "1 of 1 file names are read as ascii, though they are UTF-8, such as /d/caf\\xe9.png" in said
    assert "way out: set the environment variable PYTHONUTF8=1" in said


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_bytes_give_an_image_or_our_error(data):
    suffix = data.draw(st.sampled_from([".jpg", ".png", ".bmp", ".webp", ".gif", ".tif", ".jp2", ".ppm"]))
    content = bytearray(cv2.imencode(suffix, LARGER)[1].tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(content))
    except SemreidError:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.dtype == np.uint8


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "deep"), [(2, False), (2, True), (1, False), (0, False)])
def test_alpha_of_a_tiff_is_dropped_and_not_multiplied_in(order, kind, deep):
    pixels = np.full((4, 6, 4), (100, 150, 200, 0))
    content = (pixels * (257 if deep else 1)).astype(f"{order}u{1 + deep}").tobytes()
    width = 16 if deep else 8
    tags = {256: [6], 257: [4], 258: [width] * 4, 259: [1], 262: [2], 273: [1000], 277: [4],
            278: [4], 279: [len(content)], 284: [1], 338: [kind]}  # fmt: skip
    entries, beyond = b"", b""
    for tag, values in tags.items():
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            beyond, packed = beyond + packed, struct.pack(f"{order}I", 500 + len(beyond))
        entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)
    file = (head.ljust(500, b"\0") + beyond).ljust(1000, b"\0") + content
    assert np.array_equal(decode_image(file), pixels[..., :3])


def test_image_bytes_are_the_file(tmp_path):
    path = save(tmp_path / "a.png", RGB)
    assert image_bytes(Sample(path, 1, 1)) == image_bytes(str(path)) == path.read_bytes()


@pytest.mark.parametrize("size", [(4, 3), (16, 12), (4, 12), (8, 6)])
def test_resize_keeps_a_flat_colour(size):
    flat = np.full((8, 6, 3), (10, 20, 30), np.uint8)
    assert np.array_equal(resize(flat, size), np.full((*size, 3), (10, 20, 30), np.uint8))


@pytest.mark.parametrize("width", [96, 128, 200])
def test_resize_averages_along_the_side_that_shrinks_alone(width):
    rows = np.zeros((1024, 128, 3), np.uint8)
    rows[::8] = 255
    found = resize(rows, (256, width)).astype(float)
    assert np.allclose(found[::2], 255 / 4, atol=1)  # each second of the new rows has one white row of four
    assert np.array_equal(found[1::2], np.zeros((128, width, 3)))
    turned = resize(rows.transpose(1, 0, 2), (width, 256))
    assert np.array_equal(turned, found.transpose(1, 0, 2))
    ramp = np.broadcast_to(np.arange(0, 128, 2, dtype=np.uint8)[None, :, None], (64, 64, 3))
    assert np.array_equal(resize(ramp, (16, 128)), cv2.resize(ramp[:16].copy(), (128, 16)))


@given(st.tuples(*[st.integers(1, 40)] * 4))
def test_resize_is_plain_where_both_sides_shrink_or_none_does(sides):
    h, w, height, width = sides
    image = np.random.default_rng(h * w).integers(0, 256, (h, w, 3), np.uint8)
    if (height < h) == (width < w):
        method = cv2.INTER_AREA if height < h else cv2.INTER_LINEAR
        assert np.array_equal(resize(image, (height, width)), cv2.resize(image, (width, height), interpolation=method))


def test_resize_averages_when_it_shrinks():
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.array_equal(resize(stripes, (4, 4)), np.full((4, 4, 3), 100, np.uint8))


def test_a_box_outside_of_its_picture_is_no_crop(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.zeros((64, 32, 3), np.uint8))
    assert read_image(Sample(path, 1, 1, box=(-5, 10, 20, 90))).shape == (54, 20, 3)
    for box in ((1000, 1000, 1020, 1100), (-20, 0, -1, 64), (10, 64, 20, 80)):
        with pytest.raises(SemreidError, match=r"a\.png: the box .* lies outside of its picture, which is 32 x 64"):
            read_image(Sample(path, 1, 1, box=box))
