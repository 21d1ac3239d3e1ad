import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from semreid.data.benchmarks import load_dataset
from semreid.data.images import image_bytes, read_image
from semreid.data.sample import Sample
from semreid.errors import SemreidError

FILES = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_2_07.png", "2_001_1_02.png"]
FILES += ["2_001_2_08.png", "5_001_1_03.png", "5_001_2_09.png"]
LABELS = [1, 1, 2, 2, 5, 5, 9, 9]
NUM_FILLED = 87  # 9 people, 10 slots each, 3 of them empty


def write_config(root, files=FILES, **parts):
    parts = {"train_idx": [1, 2, 3, 4], "query_idx": [5, 6], "gallery_idx": [7, 8]} | parts
    columns = {name: np.array(values).reshape(-1, 1) for name, values in parts.items()}
    filelist = np.array(files, object).reshape(-1, 1)
    labels = np.array(LABELS).reshape(-1, 1)
    for boxes in ("labeled", "detected"):
        target = root / f"cuhk03_new_protocol_config_{boxes}.mat"
        savemat(target, {"filelist": filelist, "labels": labels, "camId": labels % 2 + 1, **columns})


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_classic_splits_are_the_fixed_ones(raw_cuhk03, boxes):
    dataset = load_dataset(f"cuhk03/classic-{boxes}/1:{raw_cuhk03}")
    assert {s.pid for s in dataset.query} == {1003, 5001}
    assert {s.pid for s in dataset.train} == {1001, 1002, 1004, 2001, 2002, 3001, 4001}
    assert len(dataset.train) + len(dataset.query) == NUM_FILLED
    assert dataset.gallery == dataset.query
    assert {s.camid for s in dataset.gallery} == {0, 1}
    assert all((s.camid == 0) == (int(s.item[-2:]) <= 5) for s in dataset.gallery)


def test_the_classic_protocol_is_single_shot_cmc_over_separate_views(raw_cuhk03):
    protocol = load_dataset(f"cuhk03/classic-labeled:{raw_cuhk03}").protocol
    assert protocol.junk == "same-camera"
    assert protocol.gallery_shots == "single"
    assert protocol.repeats == 10
    assert not protocol.has_map
    assert "split 0 of 0-19" in protocol.note


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_the_torchreid_rule_has_the_same_samples_and_other_junk(raw_cuhk03, boxes):
    classic, torchreid = (load_dataset(f"cuhk03/{rule}-{boxes}/1:{raw_cuhk03}") for rule in ("classic", "torchreid"))
    assert (torchreid.train, torchreid.query, torchreid.gallery) == (classic.train, classic.query, classic.gallery)
    assert replace(torchreid.protocol, junk="same-camera", note=classic.protocol.note) == classic.protocol
    assert "torchreid" in torchreid.protocol.note


def test_counts_that_differ_are_said(raw_cuhk03):
    warnings = load_dataset(f"cuhk03/classic-labeled:{raw_cuhk03}").warnings
    assert "published are 1,367 and any" in warnings[0]
    assert len(warnings) == 3


def test_every_crop_has_its_pixels_upright_and_in_rgb(raw_cuhk03, crop_of):
    dataset = load_dataset(f"cuhk03/classic-detected:{raw_cuhk03}")
    for sample in dataset.train[::7] + dataset.query[::7]:
        boxes, *numbers = sample.item.split("/")
        crop = crop_of(boxes, *map(int, numbers))
        assert np.array_equal(read_image(sample), crop)
        assert image_bytes(sample) == crop.tobytes()


def test_empty_slots_are_left_out(raw_cuhk03):
    dataset = load_dataset(f"cuhk03/classic-labeled:{raw_cuhk03}")
    items = {s.item for s in dataset.train + dataset.gallery}
    assert {"labeled/1/002/04", "labeled/1/002/06"} <= items
    assert items.isdisjoint({"labeled/1/002/05", "labeled/1/002/10", "labeled/2/001/06"})


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_the_new_protocol_follows_its_lists(raw_cuhk03, boxes):
    write_config(raw_cuhk03)
    dataset = load_dataset(f"cuhk03/np-{boxes}:{raw_cuhk03}")
    assert [(s.pid, s.camid, s.item) for s in dataset.query] == [
        (5, 0, f"{boxes}/2/001/02"),
        (5, 1, f"{boxes}/2/001/08"),
    ]
    assert [s.pid for s in dataset.train] == [1, 1, 2, 2]
    assert [s.pid for s in dataset.gallery] == [9, 9]
    assert dataset.protocol.junk == "same-pid-and-camera"
    assert dataset.protocol.gallery_shots == "all"  # never single-shot here: docs/protocols.md, bug 6
    assert "published are 767 and" in dataset.warnings[0]


def test_the_release_folder_is_looked_into(raw_cuhk03):
    (raw_cuhk03 / "cuhk03_release").mkdir()
    (raw_cuhk03 / "cuhk-03.mat").rename(raw_cuhk03 / "cuhk03_release" / "cuhk-03.mat")
    assert load_dataset(f"cuhk03/classic-labeled:{raw_cuhk03}").query


def test_a_listed_crop_that_is_missing_is_loud(raw_cuhk03):  # docs/protocols.md, bug 20
    write_config(raw_cuhk03, ["1_002_1_05.png", *FILES[1:]])  # an empty slot
    with pytest.raises(SemreidError, match=r"no crop labeled/1/002/05 \(1 listed"):
        load_dataset(f"cuhk03:{raw_cuhk03}")


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (FILES, {"query_idx": [0, 5]}),
        (FILES, {"query_idx": [99]}),
        (["portrait.png", *FILES[1:]], {}),
    ],
)
def test_a_wrong_split_file_is_named(raw_cuhk03, files, parts):
    write_config(raw_cuhk03, files, **parts)
    with pytest.raises(SemreidError, match=r"config_labeled\.mat is not a split file"):
        load_dataset(f"cuhk03/np-labeled:{raw_cuhk03}")


def test_missing_and_damaged_files(raw_cuhk03):
    with pytest.raises(SemreidError, match="has no file cuhk03_new_protocol_config_labeled"):
        load_dataset(f"cuhk03:{raw_cuhk03}")
    (raw_cuhk03 / "cuhk03_new_protocol_config_labeled.mat").write_bytes(b"not MATLAB" * 20)
    with pytest.raises(SemreidError, match=r"config_labeled\.mat is not a readable"):
        load_dataset(f"cuhk03:{raw_cuhk03}")
    mat = raw_cuhk03 / "cuhk-03.mat"
    mat.write_bytes(mat.read_bytes()[:1000])
    with pytest.raises(SemreidError, match=r"cuhk-03\.mat is not a readable raw CUHK03 file"):
        load_dataset(f"cuhk03/classic-labeled:{raw_cuhk03}")
    mat.unlink()
    with pytest.raises(SemreidError, match=r"has no file cuhk-03\.mat"):
        load_dataset(f"cuhk03:{raw_cuhk03}")


def test_another_hdf5_file_is_not_taken_for_cuhk03(raw_cuhk03):
    import h5py

    with h5py.File(raw_cuhk03 / "cuhk-03.mat", "w") as file:
        file["something"] = 1
    with pytest.raises(SemreidError, match="is not a readable raw CUHK03 file"):
        load_dataset(f"cuhk03/classic-labeled:{raw_cuhk03}")


@pytest.mark.parametrize("item", ["labeled/1/002/05", "labeled/9/001/01", "labeled/1/x/01", "other/1/001/01", "1"])
def test_a_wrong_address_is_an_error_that_names_it(raw_cuhk03, item):
    with pytest.raises(SemreidError, match=rf"cuhk-03\.mat.*{item}"):
        read_image(Sample(raw_cuhk03 / "cuhk-03.mat", 1, 0, item))


def test_the_extra_is_named_where_it_is_missing(raw_cuhk03, monkeypatch):
    write_config(raw_cuhk03)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SemreidError, match=r"semreid\[cuhk03\]"):
        load_dataset(f"cuhk03/classic-labeled:{raw_cuhk03}")
