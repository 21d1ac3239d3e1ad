import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from semreid.atlas import Part
from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.teachers.label import import_masks
from semreid.teachers.maps import MAPPINGS, read_label_map, translate
from tests.conftest import write_image
from tests.teachers.glass import person, truth


def test_mappings_cover_the_schemes_and_end_in_our_parts() -> None:
    assert {name: len(table) for name, table in MAPPINGS.items()} == {"eanet": 8, "lip": 20, "atr": 18, "densepose": 25}
    for name, table in MAPPINGS.items():
        labels = np.arange(len(table), dtype=np.int32)[None].repeat(6, 0)
        parts = translate(labels, name)
        assert parts.dtype == np.uint8
        assert parts.max() <= 7
        assert (parts[:, 0] == 0).all()
        assert (parts[:, 1:] > 0).all()
        assert set(range(8)) - set(np.unique(parts)) <= ({Part.UPPER_ARM} if name in ("lip", "atr") else set())


@pytest.mark.parametrize(
    ("mapping", "theirs", "ours"),
    [
        ("eanet", 4, Part.LOWER_ARM),
        ("lip", 2, Part.HEAD),
        ("lip", 7, Part.TORSO),
        ("lip", 15, Part.LOWER_ARM),
        ("lip", 18, Part.FOOT),
        ("atr", 11, Part.HEAD),
        ("atr", 10, Part.FOOT),
        ("densepose", 2, Part.TORSO),
        ("densepose", 3, Part.LOWER_ARM),
        ("densepose", 6, Part.FOOT),
        ("densepose", 10, Part.UPPER_LEG),
        ("densepose", 11, Part.LOWER_LEG),
        ("densepose", 18, Part.UPPER_ARM),
        ("densepose", 22, Part.LOWER_ARM),
        ("densepose", 24, Part.HEAD),
    ],
)
def test_single_labels(mapping: str, theirs: int, ours: Part) -> None:
    assert translate(np.array([[theirs]]), mapping) == ours


def test_trousers_get_a_knee_in_the_middle_of_what_is_seen_of_the_legs() -> None:
    labels = np.zeros((12, 3), np.int64)
    labels[1:3], labels[3:10, 1], labels[10, 1] = 13, 9, 18
    assert translate(labels, "lip")[:, 1].tolist() == [0, 1, 1, 5, 5, 5, 5, 6, 6, 6, 7, 0]
    labels[3:8, 1], labels[8:10, 1] = 12, 16  # a skirt down to the knee, then skin
    assert translate(labels, "lip")[:, 1].tolist() == [0, 1, 1, 5, 5, 5, 5, 5, 6, 6, 7, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), "a picture in colour"),
        (np.zeros((4, 4)), "float64 numbers"),
        (np.full((4, 4), 8), "labels outside 0 to 7"),
        (np.full((4, 4), -1), "labels outside 0 to 7"),
        (np.zeros((0, 4), int), "labels outside"),
    ],
)
def test_what_is_no_label_map_is_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(SemreidError, match=message):
        translate(labels, "eanet")


def write_palette_png(path: Path, labels: np.ndarray) -> None:
    """Write a PNG of type 3 by hand: OpenCV cannot."""
    import struct

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    palette = bytes(np.random.default_rng(0).permutation(256)[:60].astype(np.uint8)) + bytes(3 * 40)  # 20, then black
    rows = b"".join(b"\0" + row.tobytes() for row in labels.astype(np.uint8))
    header = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], 8, 3, 0, 0, 0)
    content = (
        chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_files_of_all_kinds_are_read_alike(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 20, (9, 7))
    cv2.imwrite(str(tmp_path / "a.png"), labels.astype(np.uint8))
    np.save(tmp_path / "b.npy", labels)
    np.save(tmp_path / "c.npy", labels[..., None])
    np.savez(tmp_path / "d.npz", anything=labels)
    write_palette_png(tmp_path / "e.png", labels)
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_label_map(path), labels)


def test_labels_whose_colours_are_equal_stay_apart(tmp_path: Path) -> None:
    labels = np.arange(60).reshape(6, 10)  # of which 40 are black
    write_palette_png(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


def test_notes_before_the_palette_are_no_palette(tmp_path: Path) -> None:
    labels = np.arange(20).reshape(4, 5)
    write_palette_png(tmp_path / "a.png", labels)
    content, note = (tmp_path / "a.png").read_bytes(), b"tEXtComment\0my PLTE notes"
    start = content.index(b"PLTE") - 4
    chunk = (len(note) - 4).to_bytes(4) + note + zlib.crc32(note).to_bytes(4)
    (tmp_path / "a.png").write_bytes(content[:start] + chunk + content[start:])
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


@pytest.mark.parametrize(("name", "content"), [("a.png", b"no"), ("a.npy", b"no"), ("a.npz", b"no"), ("a.png", b"")])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SemreidError, match="cannot be read"):
        read_label_map(tmp_path / name)


@pytest.fixture
def their_masks(crowd: Path, tmp_path: Path) -> Path:
    """EANet's parts for all crops, half of them as `a.npy`, half as `a.png.npy`."""
    folder = tmp_path / "theirs"
    for i, (name, mask) in enumerate(truth(crowd)):
        file = folder / (f"{name}.npy" if i % 2 else name.with_suffix(".npy"))
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, mask.astype(np.int64))
    return folder


def test_label_maps_become_masks(crowd: Path, crowd_data: ReIDDataset, their_masks: Path, tmp_path: Path) -> None:
    labels = import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels")
    assert (len(labels.crops), labels.kept, labels.without) == (16, 0, 0)
    for name, mask in truth(crowd):
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "labels" / "masks" / name), -1), mask)
    assert import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels").kept == 16
    with pytest.raises(SemreidError, match="holds labels from elsewhere"):
        import_masks(their_masks, "lip", crowd_data, tmp_path / "labels")


def test_masks_of_changed_crops_are_written_anew(
    crowd: Path, crowd_data: ReIDDataset, their_masks: Path, tmp_path: Path
) -> None:
    import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels")
    crop, (picture, mask) = crowd_data.query[0], person(999)
    write_image(crop.path, picture)
    their = next(f for f in (their_masks / "query").iterdir() if f.name.startswith(crop.path.stem))
    np.save(their, mask.astype(np.int64))
    again = import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels")
    assert (again.kept, again.strange) == (15, 1)
    written = cv2.imread(str(tmp_path / "labels" / "masks" / crop.path.relative_to(crowd)), -1)
    np.testing.assert_array_equal(written, mask)


@pytest.mark.parametrize("name", ["../../theirs.jpg", "/{}/theirs.jpg"])
def test_a_journal_that_names_files_outside_of_its_folder_removes_none(
    crowd_data: ReIDDataset, their_masks: Path, tmp_path: Path, name: str
) -> None:
    theirs, out = tmp_path / "theirs.png", tmp_path / "labels"
    theirs.write_bytes(b"a picture")
    import_masks(their_masks, "eanet", crowd_data, out, split="train")
    with (out / "labels.jsonl").open("a") as journal:
        journal.write(f'["{name.format(str(tmp_path).strip("/"))}", null, ""]\n')
    with pytest.raises(SemreidError, match="names a label outside of its folder"):
        import_masks(their_masks, "lip", crowd_data, out, split="train", replace=True)
    assert theirs.exists()


def test_crops_for_testing_need_no_label_map(crowd_data: ReIDDataset, their_masks: Path, tmp_path: Path) -> None:
    for file in (their_masks / "query").iterdir():
        file.unlink()
    labels = import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels")
    assert (len(labels.crops), labels.without) == (12, 4)


def test_what_is_wrong_is_counted_and_the_rest_written(
    crowd_data: ReIDDataset, their_masks: Path, tmp_path: Path
) -> None:
    files = sorted((their_masks / "bounding_box_train").iterdir())
    files[0].unlink()
    np.save(files[1], np.zeros((64, 32, 3), np.uint8))
    np.save(files[2], np.full((64, 32), 9))
    np.save(files[3], np.full((64, 32), 9))
    np.save(files[7], np.zeros((32, 32), np.uint8))
    with pytest.raises(SemreidError, match="5 of 16 label maps cannot be used") as caught:
        import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels")
    message = caught.value.what
    assert "1 missing, such as that of bounding_box_train/0001_c1s1_000000_00.png" in message
    assert "1 a picture in colour, not labels" in message
    assert "2 labels outside 0 to 7" in message
    assert "1 of another size than their crops" in message
    assert len(list((tmp_path / "labels" / "masks").rglob("*.png"))) == 11


def test_label_maps_that_were_mended_are_read_again(
    crowd: Path, crowd_data: ReIDDataset, their_masks: Path, tmp_path: Path
) -> None:
    first = import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels")
    assert import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels").kept == len(first.crops)
    name, _ = next(iter(truth(crowd)))
    mask, changed = tmp_path / "labels" / "masks" / name, their_masks / name.with_suffix(".npy")
    np.save(changed, np.zeros_like(np.load(changed)))
    assert cv2.imread(str(mask), cv2.IMREAD_UNCHANGED).any()
    again = import_masks(their_masks, "eanet", crowd_data, tmp_path / "labels")
    assert (again.kept, again.strange) == (len(first.crops) - 1, 1)
    assert not cv2.imread(str(mask), cv2.IMREAD_UNCHANGED).any()
