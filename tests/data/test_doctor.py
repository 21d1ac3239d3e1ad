import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.doctor import Diagnosis, diagnose, without_corrupt
from semreid.data.sample import Protocol, ReIDDataset
from semreid.errors import SemreidError
from semreid.evaluation.protocol import evaluate
from semreid.models.zoo import create_model
from tests.conftest import draw_figure, write_figures, write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_figures(tmp_path / "data", train=3, test=3)


def load(folder: Path) -> ReIDDataset:
    return load_dataset(f"people:{folder}")


def texts(diagnosis: Diagnosis, level: str) -> str:
    return "\n".join(f.what for f in diagnosis.findings if f.level == level)


def test_clean_set(folder: Path) -> None:
    diagnosis = diagnose(load(folder))
    assert diagnosis.healthy
    assert diagnosis.findings == ()
    train = diagnosis.parts["train"]
    assert (train.identities, train.images, train.cameras) == (3, 18, 2)
    assert train.heights == (64, 64, 64)
    assert train.widths == (32, 32, 32)
    assert diagnosis.to_json()["healthy"] is True


def test_corrupt_images_are_listed_and_can_be_left_out(folder: Path) -> None:
    broken = sorted((folder / "query").iterdir())[:2]
    broken[0].write_bytes(b"")
    broken[1].write_bytes(broken[1].read_bytes()[:40])
    diagnosis = diagnose(load(folder))
    assert not diagnosis.healthy
    found = texts(diagnosis, "error")
    assert str(broken[0]) in found
    assert str(broken[1]) in found
    assert "2 images cannot be read" in found
    rest = without_corrupt(load(folder))
    assert rest.corrupt_skipped == 2
    assert len(rest.query) == 4
    assert "2 unreadable images were skipped" in rest.warnings[-1]
    assert diagnose(rest).healthy


def test_without_corrupt_leaves_a_clean_set_alone(folder: Path) -> None:
    dataset = load(folder)
    assert without_corrupt(dataset) is dataset


def test_all_from_one_camera_is_the_error_that_users_meet_after_training(tmp_path: Path) -> None:
    diagnosis = diagnose(load(write_figures(tmp_path, train=2, test=2, cameras=1)))
    assert not diagnosis.healthy
    assert "2 of 2 queries have matches from their own camera only" in texts(diagnosis, "error")
    assert "leave the camera out" in diagnosis.findings[0].fix


def test_people_missing_from_the_gallery(folder: Path) -> None:
    for path in (folder / "bounding_box_test").glob("0004_*"):
        path.unlink()
    diagnosis = diagnose(load(folder))
    assert diagnosis.healthy
    assert "2 of 6 queries show people who are not in the gallery" in texts(diagnosis, "warning")


def test_the_file_of_a_query_under_another_camera_counts_as_little_as_in_an_evaluation(folder: Path) -> None:
    dataset = load(folder)
    copies = tuple(replace(s, camid=3 - s.camid) for s in dataset.query)
    torn = replace(dataset, train=dataset.train[1:], gallery=(*copies, replace(dataset.train[0], pid=9)))
    diagnosis = diagnose(torn)
    assert not diagnosis.healthy
    assert "6 of 6 queries would find nothing but the very file of a query under another" in texts(diagnosis, "error")
    with pytest.raises(SemreidError, match="none of the 6 queries has a true match"):
        evaluate(create_model("baseline", 1, trunk="resnet18", width=0.25, size=(64, 32)), torn)
    partly = replace(dataset, gallery=(*copies, *(s for s in dataset.gallery if s.pid == dataset.query[0].pid)))
    assert "4 of 6 queries would find nothing but" in texts(diagnose(partly), "warning")


def test_same_camera_rule_of_the_protocol_is_obeyed(folder: Path) -> None:
    dataset = load(folder)
    separate = replace(dataset, protocol=Protocol(junk="same-camera"))
    assert diagnose(separate).healthy


def test_identities_in_training_and_test(folder: Path) -> None:
    source = folder / "bounding_box_train" / "0001_c1s1_000000_00.png"
    shutil.copy(source, folder / "query" / source.name)
    diagnosis = diagnose(load(folder))
    assert not diagnosis.healthy
    assert "1 identities are in training and in test, such as 1" in texts(diagnosis, "error")
    assert "1 images are in training and in test, such as" in texts(diagnosis, "warning")
    assert "different identities" not in texts(diagnosis, "warning")


def test_an_image_of_two_identities_in_training_and_test(folder: Path) -> None:
    source = folder / "bounding_box_train" / "0001_c1s1_000000_00.png"
    shutil.copy(source, folder / "query" / "0099_c1s1_000000_00.png")
    diagnosis = diagnose(load(folder))
    assert "1 images are in training and in test under different identities" in texts(diagnosis, "warning")


def test_query_that_finds_itself_under_another_camera(folder: Path) -> None:
    source = folder / "query" / "0004_c1s1_000000_00.png"
    shutil.copy(source, folder / "bounding_box_test" / "0004_c2s1_000009_00.png")
    assert "1 queries find the very same image" in texts(diagnose(load(folder)), "warning")


def test_copies_and_torn_identities(folder: Path) -> None:
    train = folder / "bounding_box_train"
    shutil.copy(train / "0001_c1s1_000000_00.png", train / "0001_c1s1_000009_00.png")
    shutil.copy(train / "0002_c1s1_000000_00.png", train / "0003_c1s1_000009_00.png")
    diagnosis = diagnose(load(folder))
    assert "train: 2 images are copies of others" in texts(diagnosis, "note")
    assert "train: 1 images belong to two identities" in texts(diagnosis, "warning")


def test_single_camera_identities(folder: Path) -> None:
    for part, pid in (("bounding_box_test", "0004"), ("query", "0004"), ("bounding_box_train", "0001")):
        for path in (folder / part).glob(f"{pid}_c2*"):
            path.unlink()
    diagnosis = diagnose(load(folder))
    assert "1 of 3 test identities are seen by one camera only, such as 4" in texts(diagnosis, "warning")
    assert "1 training identities are seen by one camera only, such as 1" in texts(diagnosis, "note")


def test_one_training_identity_one_image_and_sizes(tmp_path: Path) -> None:
    folder = write_figures(tmp_path, train=0, test=2)
    write_image(folder / "bounding_box_train" / "0001_c1.png", draw_figure(1, 1, 0)[:20, :6])
    diagnosis = diagnose(load(folder))
    assert "all training images show one identity" in texts(diagnosis, "error")
    assert "1 training identities have one image only" in texts(diagnosis, "note")
    assert "1 crops have less than 32x8" in texts(diagnosis, "note")


def test_frames_instead_of_crops(tmp_path: Path) -> None:
    folder = write_figures(tmp_path, train=2, test=2)
    for path in folder.rglob("*.png"):
        write_image(path, np.random.default_rng(len(str(path))).integers(0, 255, (40, 80, 3), np.uint8))
    assert "images are wider than high" in texts(diagnose(load(folder)), "warning")


def test_pictures_of_one_colour(folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    write_image(paths[0], np.full((64, 32, 3), 7, np.uint8))
    assert f"1 of {len(paths)} images show next to nothing" in texts(diagnose(load(folder)), "warning")
    for number, path in enumerate(paths):
        write_image(path, np.full((64, 32, 3), number, np.uint8) + (np.arange(32) % 2).astype(np.uint8)[:, None])
    diagnosis = diagnose(load(folder))
    assert not diagnosis.healthy
    assert f"{len(paths)} of {len(paths)} images show next to nothing" in texts(diagnosis, "error")


def test_equal_pictures_are_found_by_what_they_show(folder: Path) -> None:
    first, second, *_ = sorted((folder / "bounding_box_train").glob("0001_*"))
    image = cv2.imread(str(first))
    second.unlink()
    cv2.imwrite(str(second.with_suffix(".bmp")), image)
    assert "train: 1 images are copies of others" in texts(diagnose(load(folder)), "note")
    for path in (folder / "bounding_box_train").iterdir():
        cv2.imwrite(str(path), image)
    assert "train: 17 images are copies of others" in texts(diagnose(load(folder)), "warning")


def test_test_only_and_empty_sets(folder: Path) -> None:
    dataset = load(folder)
    assert "no training images" in texts(diagnose(replace(dataset, train=())), "note")
    diagnosis = diagnose(replace(dataset, query=()))
    assert not diagnosis.healthy
    assert "0 query and 6" not in texts(diagnosis, "note")
    assert "an evaluation needs both" in texts(diagnosis, "error")


def test_warnings_of_the_loader_are_repeated(folder: Path) -> None:
    dataset = replace(load(folder), warnings=("counts differ",))
    assert texts(diagnose(dataset), "warning") == "counts differ"
