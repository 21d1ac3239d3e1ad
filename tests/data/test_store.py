import json
import os
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from semreid.atlas import VERSION
from semreid.data import store as store_module
from semreid.data.images import read_image, resize
from semreid.data.sample import ReIDDataset, Sample
from semreid.data.store import annotation_paths, build_store, cache_folder, content_digest, samples_digest
from semreid.errors import SemreidError
from tests.conftest import draw_figure, full_disk, write_image


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return [
        Sample(write_image(tmp_path / f"{pid}.png", draw_figure(pid, 1, 0)), pid, camid=pid % 2) for pid in (3, 5, 4)
    ]


def test_rows_are_the_decoded_images_in_order(samples: list[Sample]) -> None:
    store = build_store(samples, (32, 16))
    for row, sample in zip(store.images.numpy(), samples, strict=True):
        np.testing.assert_array_equal(row, resize(read_image(sample), (32, 16)))
    assert store.pids.tolist() == [3, 5, 4]
    assert store.camids.tolist() == [1, 1, 0]
    assert len(store) == 3
    assert store.nbytes == 3 * 32 * 16 * 3


def test_second_opening_decodes_nothing(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_store(samples, (32, 16)).images.clone()
    monkeypatch.setattr(store_module, "read_image", lambda _: pytest.fail("decoded again"))
    assert torch.equal(build_store(samples, (32, 16)).images, first)


def test_what_another_decoding_stored_is_left_alone(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(store_module, "DECODING", store_module.DECODING - 1)
        before.setattr(store_module, "read_image", lambda _: np.zeros((32, 16, 3), np.uint8))
        assert not build_store(samples, (32, 16)).images.any()
    np.testing.assert_array_equal(build_store(samples, (32, 16)).images[0], resize(read_image(samples[0]), (32, 16)))


def test_a_wrong_store_of_the_first_decoding_is_not_opened(samples: list[Sample], own_cache: Path) -> None:
    digest = blake2b(repr((32, 16, 3)).encode(), digest_size=16)
    for sample in samples:
        digest.update(content_digest(sample))
    (own_cache / f"{digest.hexdigest()}.u8").write_bytes(bytes(3 * 32 * 16 * 3))  # as it was named then
    assert build_store(samples, (32, 16)).images.any()


@pytest.mark.parametrize("size", [0, 100, 3 * 32 * 16 * 3 + 1])
def test_a_store_of_another_length_is_built_anew(samples: list[Sample], own_cache: Path, size: int) -> None:
    expected = build_store(samples, (32, 16)).images.clone()
    (file,) = own_cache.iterdir()
    file.write_bytes(bytes(size))
    assert torch.equal(build_store(samples, (32, 16)).images, expected)
    assert file.stat().st_size == 3 * 32 * 16 * 3


@pytest.mark.parametrize(
    ("chosen", "common", "folder"),
    [("/s", "/x", "/s"), ("", "/x", "/x/semreid"), (None, "/x", "/x/semreid"), ("", "", "~/.cache/semreid")],
)
def test_the_folder_of_stores(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, common: str | None, folder: str
) -> None:
    for name, value in (("SEMREID_CACHE", chosen), ("XDG_CACHE_HOME", common)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder).expanduser()


def test_changed_content_makes_a_new_store_under_the_same_name(samples: list[Sample]) -> None:
    before = build_store(samples, (32, 16)).images.clone()
    digest = samples_digest(samples)
    write_image(samples[0].path, draw_figure(99, 1, 0))
    assert not torch.equal(build_store(samples, (32, 16)).images, before)
    assert samples_digest(samples) != digest


def test_moved_images_open_the_same_store(samples: list[Sample], tmp_path: Path, own_cache: Path) -> None:
    build_store(samples, (32, 16))
    (tmp_path / "moved").mkdir()
    moved = [Sample(s.path.rename(tmp_path / "moved" / s.path.name), s.pid, s.camid) for s in samples]
    build_store(moved, (32, 16))
    assert len(list(own_cache.iterdir())) == 1


def test_unreadable_images_are_counted_and_nothing_is_left(samples: list[Sample], own_cache: Path) -> None:
    samples[1].path.write_bytes(b"")
    samples[2].path.write_bytes(b"nonsense")
    with pytest.raises(SemreidError, match=r"2 of 3 images cannot be read; the first: .*5\.png") as caught:
        build_store(samples, (32, 16))
    assert "--skip-corrupt" in caught.value.fix
    assert list(own_cache.iterdir()) == []


def test_interrupted_writing_leaves_no_store(
    samples: list[Sample], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Sample) -> np.ndarray:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "read_image", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_store(samples, (32, 16))
    assert list(own_cache.iterdir()) == []
    assert len(build_store(samples, (32, 16))) == 3


def test_a_cache_that_cannot_be_written_names_the_variable(samples: list[Sample], own_cache: Path) -> None:
    with full_disk(100), pytest.raises(SemreidError, match="cannot write .*u8: File too large") as caught:
        build_store(samples, (32, 16))
    assert "SEMREID_CACHE" in caught.value.fix
    assert list(own_cache.iterdir()) == []


def test_a_system_without_posix_fallocate(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    np.testing.assert_array_equal(build_store(samples, (32, 16)).images[2], resize(read_image(samples[2]), (32, 16)))


def test_progress_ends_at_all(samples: list[Sample]) -> None:
    told: list[tuple[int, int]] = []
    build_store(samples, (32, 16), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)


def test_masks_keep_their_labels_and_textures_their_size(samples: list[Sample], tmp_path: Path) -> None:
    labels = np.zeros((64, 32), np.uint8)
    labels[10:30], labels[30:] = 2, 7
    masks = [write_image(tmp_path / "masks" / f"{i}.png", labels) for i in range(3)]
    textures = [write_image(tmp_path / "textures" / f"{i}.png", np.full((256, 256, 3), i, np.uint8)) for i in range(3)]
    store = build_store(samples, (32, 16), masks=masks, textures=textures)
    assert store.regions is not None
    assert store.textures is not None
    assert set(np.unique(store.regions.numpy())) == {0, 2, 7}  # no label between foot and background was invented
    assert store.regions.shape == (3, 32, 16)
    assert store.textures[2].unique().tolist() == [2]
    assert torch.equal(store.to(torch.device("cpu")).regions, store.regions)


def test_textures_are_kept_as_large_as_they_are_needed(samples: list[Sample], tmp_path: Path) -> None:
    texture = np.zeros((256, 256, 3), np.uint8)
    texture[::2, 1::2], texture[1::2] = 40, 100  # of each four texels: 0, 40, 100, 100
    texture[:2, :2, 2] = 9, 10  # a sum of 39 would be between two numbers; it is rounded
    path = write_image(tmp_path / "textures" / "0.png", texture)
    kept = build_store(samples[:1], (32, 16), textures=[path], texture_side=128).textures
    assert kept is not None
    assert kept.shape == (1, 128, 128, 3)
    assert kept[0, 1:, 1:].unique().tolist() == [60]
    assert kept[0, 0, 0].tolist() == [60, 60, 10]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.full((4, 4), 8, np.uint8), "no part mask"),
        (np.zeros((4, 4, 3), np.uint8), "no part mask"),
        (None, "cannot be read|no part mask at"),
    ],
)
def test_bad_masks(samples: list[Sample], tmp_path: Path, mask: np.ndarray | None, message: str) -> None:
    path = tmp_path / "masks" / "a.png"
    if mask is not None:
        write_image(path, mask)
    with pytest.raises(SemreidError, match=message):
        build_store(samples[:1], (32, 16), masks=[path])


def test_a_damaged_mask_is_named_with_the_way_to_make_it_anew(samples: list[Sample], tmp_path: Path) -> None:
    masks = [write_image(tmp_path / "masks" / f"{i}.png", np.ones((64, 32), np.uint8)) for i in range(3)]
    masks[1].write_bytes(masks[1].read_bytes()[:40])
    with pytest.raises(SemreidError, match=r"1 of 3 masks cannot be read; the first: .*masks/1\.png") as caught:
        build_store(samples, (32, 16), masks=masks)
    assert "`semreid label`" in caught.value.fix
    assert "doctor" not in str(caught.value)  # looks at images alone


@pytest.mark.parametrize(
    ("texture", "message"),
    [
        (np.zeros((64, 64, 3), np.uint8), "64x64, not 256x256"),
        (np.zeros((256, 256), np.uint8), "is no texture"),
        (np.zeros((256, 256, 3), np.uint16), "is no texture"),
        (None, "1 of 1 textures .* no texture at .*t.png"),
    ],
)
def test_bad_textures(samples: list[Sample], tmp_path: Path, texture: np.ndarray | None, message: str) -> None:
    path = tmp_path / "t.png"
    if texture is not None:
        write_image(path, texture)
    with pytest.raises(SemreidError, match=message):
        build_store(samples[:1], (32, 16), textures=[path])


def test_textures_of_another_atlas_are_refused(samples: list[Sample], tmp_path: Path) -> None:
    dataset = ReIDDataset("toy", tmp_path, tuple(samples), (), ())
    (tmp_path / "textures").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(SemreidError, match="nothing in .* says on what atlas the textures are painted") as caught:
        annotation_paths(dataset, samples, "textures")
    assert f'teachers.json: {{"atlas": {VERSION}}}' in caught.value.fix
    for name in ("people.json", "teachers.json"):
        file = tmp_path / name
        file.write_text(json.dumps({"atlas": VERSION + 1}))
        with pytest.raises(SemreidError, match=f"of atlas {VERSION + 1}; .* paints atlas {VERSION}") as caught:
            annotation_paths(dataset, samples, "textures")
        assert "semreid label" in caught.value.fix
        assert len(annotation_paths(dataset, samples, "masks")) == 3  # masks know no atlas
        file.write_text("[")
        with pytest.raises(SemreidError, match=f"{name} is damaged"):
            annotation_paths(dataset, samples, "textures")
        file.write_text(json.dumps({"atlas": VERSION}))
    assert len(annotation_paths(dataset, samples, "textures")) == 3


def test_annotations_lie_where_the_image_path_says(samples: list[Sample], tmp_path: Path) -> None:
    dataset = ReIDDataset("toy", tmp_path, tuple(samples), (), ())
    with pytest.raises(SemreidError, match="no folder .*masks"):
        annotation_paths(dataset, samples, "masks")
    (tmp_path / "else" / "masks").mkdir(parents=True)
    paths = annotation_paths(dataset, samples, "masks", tmp_path / "else")
    assert paths[0] == tmp_path / "else" / "masks" / "3.png"
    with pytest.raises(SemreidError, match="lies outside of"):
        annotation_paths(dataset, [Sample(Path("/else/a.png"), 1, 0)], "masks", tmp_path / "else")
    item = Sample(tmp_path / "cuhk-03.mat", 1, 0, item="labeled/1/003/04")
    assert annotation_paths(dataset, [item], "masks", tmp_path / "else")[0].parts[-3:] == ("1", "003", "04.png")


def test_resize_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 255
    assert np.ptp(resize(stripes, (32, 32))) <= 1  # bilinear sampling would keep stripes
    assert cv2.INTER_AREA != cv2.INTER_LINEAR


def test_two_images_do_not_share_an_annotation(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    samples = tuple(Sample(tmp_path / name, 1, 1) for name in ("a/x.png", "a/x.jpg"))
    dataset = ReIDDataset("toy", tmp_path, samples, (), ())
    assert annotation_paths(dataset, samples[:1] * 2, "masks") == [tmp_path / "masks" / "a" / "x.png"] * 2
    with pytest.raises(SemreidError, match=r"a/x\.png and a/x\.jpg would share masks"):
        annotation_paths(dataset, samples, "masks")
