import dataclasses
import json
import re
import shutil
from base64 import b64decode
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from semreid.data.annotations import require_own_labels
from semreid.data.listing import JOURNAL, left_out, list_images
from semreid.data.sample import ReIDDataset
from semreid.data.store import annotation_paths, build_store
from semreid.errors import SemreidError
from semreid.models.heads import REGIONS
from semreid.models.zoo import create_model
from semreid.teachers.label import crops_of, import_masks, label
from semreid.teachers.report import write_report
from tests.conftest import full_disk, write_image
from tests.teachers.glass import MeanPainter, RedParser, person, teacher, truth


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image


def test_masks_have_the_size_of_their_crops_and_lie_where_training_looks(
    crowd: Path, crowd_data: ReIDDataset, tmp_path: Path
) -> None:
    out, told = tmp_path / "labels", []
    labels = label([teacher(RedParser())], crowd_data, out, progress=lambda *x: told.append(x))
    assert told[-1] == (16, 16)
    for name, mask in truth(crowd):
        found = read(out / "masks" / name)
        assert found.shape == mask.shape
        assert (found == mask).mean() > (0.999 if mask.shape == (64, 32) else 0.97)  # enlarged again from 64×32
    masks = annotation_paths(crowd_data, crowd_data.train, "masks", out)
    assert build_store(crowd_data.train, (64, 32), masks=masks).regions.shape == (8, 64, 32)
    sure = np.exp(3.0) / (np.exp(3.0) + 7)
    small = labels.confidences["query/0005_c1s1_000000_00.png"]
    assert small == pytest.approx(sure, abs=1e-5)


def test_several_parsers_are_averaged(crowd_data: ReIDDataset, tmp_path: Path) -> None:
    labels = label([teacher(RedParser(3)), teacher(RedParser(0), name="b")], crowd_data, tmp_path / "labels")
    sure = (np.exp(3.0) / (np.exp(3.0) + 7) + 1 / 8) / 2
    assert labels.confidences["query/0005_c1s1_000000_00.png"] == pytest.approx(sure, abs=1e-5)


def test_textures_are_painted_in_the_same_pass(crowd: Path, crowd_data: ReIDDataset, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    labels = label([teacher(RedParser()), teacher(MeanPainter())], crowd_data, out)
    assert labels.kinds == ("masks", "textures")
    crop = read(crowd / "query" / "0005_c1s1_000000_00.png")
    painted = read(out / "textures" / "query" / "0005_c1s1_000000_00.png")
    assert painted.shape == (256, 256, 3)
    np.testing.assert_allclose(painted[3, 5], crop.mean((0, 1)), atol=1)
    assert label([teacher(MeanPainter())], crowd_data, tmp_path / "other").kinds == ("textures",)
    report = write_report(labels, crowd_data)
    assert report["crops"] == 16


def test_a_stopped_run_goes_on_where_it_was(crowd_data: ReIDDataset, tmp_path: Path) -> None:
    out, head = tmp_path / "labels", RedParser()
    whole = label([teacher(head)], crowd_data, out)
    assert (whole.kept, head.seen) == (0, 32)  # each with its mirror image
    journal = out / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    begun = "".join(f"{json.dumps([json.loads(line)[0], None, ''])}\n" for line in lines)
    journal.write_text(begun + "".join(lines[:10]) + lines[10][:20])  # stopped in the middle of a line
    (out / "masks" / json.loads(lines[0])[0]).unlink()
    head.seen = 0
    again = label([teacher(head)], crowd_data, out)
    assert (again.kept, head.seen) == (9, 14)
    assert again.confidences == pytest.approx(whole.confidences)
    assert label([teacher(head)], crowd_data, out).kept == 16


def test_labels_of_other_crops_with_the_same_names_are_made_anew(
    crowd: Path, crowd_data: ReIDDataset, tmp_path: Path
) -> None:
    out, head = tmp_path / "labels", RedParser()
    label([teacher(head)], crowd_data, out)
    (out / "masks" / "query" / "0006_c1s1_000000_00.png").unlink()
    changed, mask = person(999)
    write_image(crowd / "query" / "0005_c1s1_000000_00.png", changed)
    head.seen = 0
    again = label([teacher(head)], crowd_data, out)
    assert (again.kept, again.strange, head.seen) == (14, 1, 4)
    assert (read(out / "masks" / "query" / "0005_c1s1_000000_00.png") == mask).mean() > 0.999
    assert label([teacher(head)], crowd_data, out).kept == 16


def test_a_stop_between_a_label_and_its_line_leaves_no_line_of_another_crop(
    crowd: Path, crowd_data: ReIDDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, parser = tmp_path / "labels", teacher(RedParser())
    label([parser], crowd_data, out)
    path = crowd / "query" / "0005_c1s1_000000_00.png"
    before = path.read_bytes()
    write_image(path, person(999)[0])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("semreid.teachers.label._Journal.note", Mock(side_effect=KeyboardInterrupt))
        label([parser], crowd_data, out)
    path.write_bytes(before)  # the label is now that of another picture
    with pytest.raises(SemreidError, match="1 of 4 labels in"):
        require_own_labels(crowd_data, crowd_data.query, out)
    assert label([parser], crowd_data, out).kept == 15


def test_masks_that_somebody_put_there_are_neither_overwritten_nor_removed(
    crowd_data: ReIDDataset, tmp_path: Path
) -> None:
    out, parser = tmp_path / "labels", teacher(RedParser())
    label([parser], crowd_data, out, split="train")
    made = {file: file.read_bytes() for file in (out / "masks").rglob("*.png")}
    crop = crops_of(crowd_data)[-1]
    theirs = [crop.file(out, "masks"), out / "masks" / "hand" / "mine.png"]
    for file in theirs:
        write_image(file, np.full((4, 4), 3, np.uint8))
    for replace in (False, True):
        with pytest.raises(SemreidError, match="1 labels in .* were not made by `semreid label`, such as") as caught:
            label([parser], crowd_data, out, replace=replace)
        assert str(theirs[0]) in caught.value.what
        assert {file: file.read_bytes() for file in made} == made  # who is refused loses nothing
        label([parser], crowd_data, out, split="train", replace=replace)
    assert all((read(file) == 3).all() for file in theirs)
    assert {file: file.read_bytes() for file in made} == made
    theirs[0].unlink()
    assert label([parser], crowd_data, out).kept == 8


def test_labels_of_a_kind_that_was_not_made_here_are_somebody_elses(crowd_data: ReIDDataset, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    label([teacher(RedParser())], crowd_data, out)
    mine = write_image(crops_of(crowd_data)[0].file(out, "textures"), np.full((4, 4, 3), 3, np.uint8))
    for teachers in ([teacher(MeanPainter())], [teacher(RedParser()), teacher(MeanPainter())]):
        with pytest.raises(SemreidError, match="holds what `semreid label` did not make: textures"):
            label(teachers, crowd_data, out, replace=True)
    assert (read(mine) == 3).all()
    mine.unlink()
    mine.parent.rmdir()
    mine.parent.parent.rmdir()
    label([teacher(MeanPainter())], crowd_data, out, replace=True)
    assert len(list((out / "masks").rglob("*.png"))) == 16  # of another kind
    assert label([teacher(MeanPainter())], crowd_data, out, replace=True).kept == 0


@pytest.mark.parametrize("name", ["report.json", "overview.html", "labels.parquet", "labels.jsonl", "teachers.json"])
def test_files_of_somebody_else_are_not_overwritten(crowd_data: ReIDDataset, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"atlas": 1}')
    for replace in (False, True):
        with pytest.raises(SemreidError, match=f"holds what `semreid label` did not make: {name}"):
            label([teacher(RedParser())], crowd_data, tmp_path, replace=replace)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir() if path.is_file()] == [(name, '{"atlas": 1}')]


def test_masks_put_where_a_stopped_run_had_not_come_are_kept(
    crowd_data: ReIDDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semreid.teachers.label.BATCH", 4)
    out, parser = tmp_path / "labels", teacher(RedParser())
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("semreid.teachers.label._write", Mock(side_effect=KeyboardInterrupt))
        label([parser], crowd_data, out)
    mine = write_image(crops_of(crowd_data)[-1].file(out, "masks"), np.full((4, 4), 3, np.uint8))
    label([parser], crowd_data, out, split="train")
    with pytest.raises(SemreidError, match="1 labels in .* were not made by `semreid label`"):
        label([parser], crowd_data, out)
    assert (read(mine) == 3).all()


def test_labels_that_a_stop_left_unnoted_are_ours_after_a_run_for_training_alone(
    crowd_data: ReIDDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, parser = tmp_path / "labels", teacher(RedParser())
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("semreid.teachers.label._Journal.note", Mock(side_effect=KeyboardInterrupt))
        label([parser], crowd_data, out)
    assert label([parser], crowd_data, out, split="train").strange == 8
    assert label([parser], crowd_data, out).strange == 8


def test_a_full_disk_names_the_journal(crowd_data: ReIDDataset, tmp_path: Path) -> None:
    with full_disk(1000), pytest.raises(SemreidError, match=r"cannot write .*labels\.jsonl: File too large"):
        label([teacher(RedParser())], crowd_data, tmp_path / "labels")


def test_labelling_again_leaves_the_labels_of_other_crops_by_the_same_teachers(
    crowd_data: ReIDDataset, tmp_path: Path
) -> None:
    out, head = tmp_path / "labels", RedParser()
    label([teacher(head)], crowd_data, out)
    head.seen = 0
    assert label([teacher(head)], crowd_data, out, split="train", replace=True).kept == 0
    assert head.seen == 16
    assert label([teacher(head)], crowd_data, out).kept == 16
    label([teacher(head, name="other")], crowd_data, out, split="train", replace=True)
    assert len(list((out / "masks").rglob("*.png"))) == 8


def test_a_data_set_may_hold_its_own_labels(crowd: Path, crowd_data: ReIDDataset) -> None:
    write_report(label([teacher(RedParser())], crowd_data, crowd), crowd_data)
    assert (crowd / "overview.html").exists()
    (crowd / "overview.png").write_bytes(b"")  # earlier versions drew it
    assert len(list_images(crowd, nested=True)) == 16
    assert left_out(crowd) == ""


def test_training_crops_alone(crowd_data: ReIDDataset, tmp_path: Path) -> None:
    parser = teacher(RedParser())
    labels = label([parser], crowd_data, tmp_path / "labels", split="train")
    assert len(labels.crops) == 8
    assert not (tmp_path / "labels" / "masks" / "query").exists()
    assert label([parser], crowd_data, tmp_path / "labels").kept == 8


def test_where_there_is_nothing_to_label_nothing_is_written(crowd_data: ReIDDataset, tmp_path: Path) -> None:
    untrained = dataclasses.replace(crowd_data, train=())
    with pytest.raises(SemreidError, match="people has no crops for training"):
        label([teacher(RedParser())], untrained, tmp_path / "labels", split="train")
    for data in (untrained, crowd_data):
        with pytest.raises(SemreidError, match=f"no label map of the {8 if data is untrained else 16} crops"):
            import_masks(tmp_path / "theirs", "eanet", data, tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_labels_from_elsewhere_are_neither_taken_nor_overwritten(
    crowd: Path, crowd_data: ReIDDataset, tmp_path: Path
) -> None:
    mine = write_image(crowd / "masks" / "query" / "mine.png", np.zeros((4, 4), np.uint8))
    for replace in (False, True):
        with pytest.raises(SemreidError, match="holds what `semreid label` did not make: masks"):
            label([teacher(RedParser())], crowd_data, crowd, replace=replace)
    assert mine.exists()
    out, head = tmp_path / "labels", RedParser()
    label([teacher(RedParser(1))], crowd_data, out)
    with pytest.raises(SemreidError, match="holds labels from elsewhere") as caught:
        label([teacher(head, name="other")], crowd_data, out)
    assert "--replace" in caught.value.fix
    assert label([teacher(head, name="other")], crowd_data, out, replace=True).kept == 0
    assert head.seen == 32


def test_labels_by_another_rule_are_not_gone_on_with(
    crowd_data: ReIDDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, parser = tmp_path / "labels", teacher(RedParser())
    label([parser], crowd_data, out)
    assert label([parser], crowd_data, out).kept == 16
    monkeypatch.setattr("semreid.teachers.label.SURE_BACKGROUND", 0.5)
    with pytest.raises(SemreidError, match=r"'sure_background': 0\.55"):
        label([parser], crowd_data, out)


def test_models_that_are_no_teachers_are_refused(crowd_data: ReIDDataset, tmp_path: Path) -> None:
    baseline = create_model("baseline", 1, trunk="resnet18", width=0.25, size=(64, 32))
    for teachers in ([], [baseline], [teacher(RedParser()), baseline]):
        with pytest.raises(SemreidError, match="without parsing or texture head"):
            label(teachers, crowd_data, tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_crops_that_would_share_a_mask_are_refused(crowd: Path, crowd_data: ReIDDataset, tmp_path: Path) -> None:
    from semreid.data.benchmarks import load_dataset

    twin = next((crowd / "query").iterdir())
    shutil.copy(twin, twin.with_suffix(".bmp"))
    with pytest.raises(SemreidError, match="would share a mask"):
        label([teacher(RedParser())], load_dataset(f"people:{crowd}"), tmp_path / "labels")


def test_a_crop_that_cannot_be_read_stops_the_pass_and_is_named(
    crowd: Path, crowd_data: ReIDDataset, tmp_path: Path
) -> None:
    (crowd / "query" / "0006_c1s1_000000_00.png").write_bytes(b"")
    with pytest.raises(SemreidError, match="0006_c1s1_000000_00.png is empty"):
        label([teacher(RedParser())], crowd_data, tmp_path / "labels")


def test_report_counts_what_a_user_must_know(crowd: Path, crowd_data: ReIDDataset, tmp_path: Path) -> None:
    empty = np.full((64, 32, 3), 16, np.uint8)
    write_image(crowd / "query" / "0005_c1s1_000000_00.png", empty)
    upside_down = np.ascontiguousarray(person(1)[0][::-1])
    write_image(crowd / "query" / "0006_c1s1_000000_00.png", upside_down)
    report = write_report(label([teacher(RedParser(3))], crowd_data, tmp_path / "labels"), crowd_data)
    assert report["background_only"]["count"] == 1
    assert report["background_only"]["examples"] == ["query/0005_c1s1_000000_00.png"]
    assert report["ordered"] == pytest.approx(14 / 15)
    assert report["parts"]["head"]["empty"] == pytest.approx(1 / 16)
    assert report["parts"]["head"]["mean_area"] == pytest.approx(15 / 16 * 2 / 16 / 2, rel=0.02)
    assert report["low_confidence"]["count"] == 16  # 0.74
    assert report["iou"] is None
    table = pq.read_table(tmp_path / "labels" / "labels.parquet").to_pylist()
    assert len(table) == 16
    row = next(r for r in table if r["path"] == "query/0005_c1s1_000000_00.png")
    assert row["visible"] == ["background"]
    assert (row["area_background"], row["ordered"], row["train"]) == (1.0, None, False)
    assert json.loads((tmp_path / "labels" / "report.json").read_text()) == report
    page = (tmp_path / "labels" / "overview.html").read_text()
    (content,) = re.findall('src="data:image/png;base64,(.*)"', page)
    sheet = cv2.imdecode(np.frombuffer(b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (2 * 2 * 192, 16 * 96, 3)  # all 16 by chance, then the 16 least sure


def test_masks_of_the_data_set_judge_the_teacher(crowd: Path, crowd_data: ReIDDataset, tmp_path: Path) -> None:
    pairs = dict.fromkeys(("train", "test"), ())
    for name, mask in list(truth(crowd)):
        wrong = mask.copy()
        wrong[:8] = 7  # a strip of the background and of the head
        write_image(crowd / "masks" / name, wrong)
        split = "train" if name.parts[0] == "bounding_box_train" else "test"
        found = cv2.resize(cv2.resize(mask, (32, 64), interpolation=cv2.INTER_AREA), mask.shape[::-1])
        pairs[split] += ((wrong, found),)
    report = write_report(label([teacher(RedParser())], crowd_data, tmp_path / "labels"), crowd_data)
    found, true = (np.concatenate([p[i].ravel() for p in pairs["test"]]) for i in (1, 0))
    for part, name in enumerate(REGIONS):
        expected = ((found == part) & (true == part)).sum() / ((found == part) | (true == part)).sum()
        assert report["iou"]["test"][name] == pytest.approx(expected, abs=1e-3)
    mean = np.mean([report["iou"]["test"][name] for name in REGIONS])
    assert report["iou"]["test"]["mean"] == pytest.approx(mean)
    assert set(report["iou"]) == {"train", "test"}


def test_crops_of_one_picture_have_no_label_of_their_own(crowd_data: ReIDDataset, tmp_path: Path) -> None:
    boxed = tuple(dataclasses.replace(s, box=(0.0, 0.0, 16.0, 64.0)) for s in crowd_data.train)
    with pytest.raises(SemreidError, match="is a part of its picture"):
        label([teacher(RedParser())], dataclasses.replace(crowd_data, train=boxed), tmp_path / "labels")
    assert not (tmp_path / "labels").exists()
