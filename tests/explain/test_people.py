import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.crops import crops_at
from semreid.data.sample import cameras_meet
from semreid.explain.people import SHOWN, people_page
from semreid.gallery import Gallery
from semreid.gallery.said import is_free, named
from semreid.verification.people import find_people
from tests.conftest import draw_figure, write_image, write_run
from tests.explain.test_page import HOSTILE, Page, assert_self_contained
from tests.verification.test_people import Bars, stripe


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of random weights; read only."""
    run = tmp_path_factory.mktemp("model") / "run"
    write_run(run, {"name": "baseline", "trunk": "resnet18", "width": 0.125, "size": (64, 32)})
    return run


def stripes(root: Path, people: int = 3, images: int = 5) -> Path:
    for pid in range(people):
        for image in range(images):
            write_image(root / f"{pid}_c{image % 2}_{image}.png", stripe(pid, image))
    return root


def test_the_page_has_a_row_a_person_and_marks_the_unsure(tmp_path: Path) -> None:
    people = find_people(Bars(), crops_at(stripes(tmp_path)))
    rows = people.rows(1)
    confidence = people.confidence.copy()
    confidence[rows[:2]] = 0.55
    groups = people.groups.copy()
    groups[people.rows(2)] = -1
    people = replace(people, confidence=confidence, groups=groups)
    page = Page(people_page(people, HOSTILE))
    assert_self_contained(page)
    assert [text for text in page.texts if text in ("Person 1", "Person 2", "Of nobody")] == [
        "Person 1",
        "Person 2",
        "Of nobody",
    ]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 15
    assert page.texts.count("?") == 2 + 5
    assert page.texts.count("0.55") == 2
    assert "2 unsure" in page.text


def test_of_many_crops_the_surest_and_some_unsure_are_shown(tmp_path: Path) -> None:
    people = find_people(Bars(), crops_at(stripes(tmp_path, people=2, images=20)))
    groups = np.array([int(sample.path.name[0]) for sample in people.crops.samples])
    people = replace(people, groups=groups, signs=people.signs._replace(groups=2), confidence=np.ones(40))
    people.confidence[people.rows(0)[:6]] = 0.5
    page = Page(people_page(people, "m"))
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 2 * SHOWN
    assert page.texts.count("?") == SHOWN // 3
    assert "12 of them shown" in page.text
    assert "6 unsure (2 of them not shown: see person 1 in people.csv, confidence below 0.6)" in page.text


def write_table(root: Path) -> Path:
    rows = ["path,pid,camid"]
    for pid in range(4):
        for image in range(6):
            write_image(root / f"{pid}_{image}.png", draw_figure(pid, 1, image))
            rows.append(f"{pid}_{image}.png,{pid + 1},{image % 2}")
    (root / "crops.csv").write_text("\n".join(rows))
    return root / "crops.csv"


def test_the_command_leaves_table_page_folders_and_names(run, model: Path, tmp_path: Path) -> None:
    table, out = write_table(tmp_path / "in"), tmp_path / "out"
    options = ["--model", model, "--out", out, "--min-samples", "2"]
    done = run("group", table, *options, "--folders", "links", "--gallery", tmp_path / "g.parquet", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["crops"] == 24
    assert result["scores"]["people"] == 4
    assert sum(result["gallery"].values()) == 24
    assert len((out / "people.csv").read_text().splitlines()) == 25
    assert len(list((out / "people").iterdir())) == result["people"]
    found = f"folder:{out / 'train.csv'}"
    assert len({sample.pid for sample in load_dataset(found).train}) == result["people"]
    few = f"data.identities={result['people']}"  # of whom a batch of the recipe would have more
    assert done.err.endswith(f"Next: semreid train --data {found} --out RUN model.weights={model} {few}\n")
    with Gallery.open(tmp_path / "g.parquet") as gallery:
        assert gallery.stats().people == result["people"]
    again = run("group", table, *options, "--folders", "links")
    assert again.code == 1
    assert "is there already" in again.err
    before = (out / "people.csv").read_bytes()
    other = run("group", table, *options, "--cut", "0.3")
    assert (other.code, (out / "people.csv").read_bytes()) == (1, before)
    assert "holds people and train.csv of another grouping" in other.err
    text = run("group", table, *options[:-4], "--out", tmp_path / "text", *options[-2:])
    assert text.code == 0
    assert "B-cubed" in text.out
    assert "known are 4 people" in text.out


def test_what_was_corrected_by_hand_or_is_of_others_is_kept(run, model: Path, tmp_path: Path) -> None:
    """What a grouping left, the next one writes anew."""
    table, out = write_table(tmp_path / "in"), tmp_path / "out"
    command = ["group", table, "--model", model, "--out", out, "--min-samples", "2"]
    assert [run(*command).code, run(*command).code] == [0, 0]
    people, page = out / "people.csv", out / "people.html"
    for file, text in ((people, people.read_text() + "mine"), (page, "mine")):
        before = file.read_text()
        file.write_text(text)
        told = run(*command)
        assert (told.code, file.read_text()) == (1, text)
        assert f"{file} is there already" in told.err
        file.write_text(before)
    page.unlink()
    assert "people.csv is there already, and is not as `semreid group` left it" in run(*command).err


@pytest.mark.parametrize(("cameras", "cross"), [("12", True), ("11", False), ("1", False)])
def test_what_is_to_be_learned_from_has_cameras_where_they_are_known_of_all(
    run, model: Path, tmp_path: Path, cameras: str, cross: bool
) -> None:
    table = write_table(tmp_path / "in")
    header, *rows = table.read_text().splitlines()
    cells = [f"{row.rpartition(',')[0]},{cameras[i % 2 : i % 2 + 1]}" for i, row in enumerate(rows)]
    table.write_text("\n".join([header, *cells]))
    out = tmp_path / "out"
    run("group", table, "--model", model, "--out", out, "--min-samples", "2", "--folders", "links")
    assert cameras_meet(load_dataset(f"folder:{out / 'train.csv'}").train) is cross


def test_crops_listed_in_a_file_that_would_be_written_are_kept(run, model: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path).rename(tmp_path / "train.csv")
    before = table.read_bytes()
    options = ["--model", model, "--out", tmp_path, "--min-samples", "2"]
    lost = run("group", table, *options, "--folders", "links")
    assert (lost.code, "will not be written over" in lost.err) == (1, True)
    assert run("group", table, *options).code == 0  # only folders come with a file of that name
    assert table.read_bytes() == before


def test_a_gallery_is_grouped_by_what_was_said(run, model: Path, tmp_path: Path) -> None:
    place, table = tmp_path / "g.parquet", write_table(tmp_path / "in")
    options = ["--model", model, "--out", tmp_path / "out", "--min-samples", "2", "--gallery", place]
    assert run("group", table, *options).code == 0
    with Gallery.open(place) as gallery:
        rows = [entry for entries, _ in gallery.scan() for entry in entries]
        gallery.exchange(rows[:2], [named(row, "anna") for row in rows[:2]])
        gallery.exchange(rows[2:3], [replace(rows[2], pid=None, tags=("not-a-person",))])
        said = [entry for entries, _ in gallery.scan() for entry in entries if not is_free(entry)]
    own = run("group", *options, "--json")
    assert own.code == 0, own.err
    assert "2 of 23 crops show 1 people whom somebody named" in own.err
    assert json.loads(own.out)["crops"] == 23
    assert json.loads(own.out)["gallery"]["kept"] == 2
    again = run("group", table, *options)  # the same crops from their files
    assert "2 of 23 crops show 1 people" in again.err
    with Gallery.open(place) as gallery:
        assert gallery.get([entry.id for entry in said]) == said
        assert gallery.count() == 24
    assert run("group", table, "--data", "people:x", *options).code == 2
    assert "keep the gallery" in run("group", table, *options[:-1], "memory:").err
    listed = [Path(row["path"]) for row in csv.DictReader((tmp_path / "out" / "people.csv").read_text().splitlines())]
    listed[0].unlink()
    before = (tmp_path / "out" / "people.csv").read_bytes()
    early = run("group", *options, "--folders", "copies")  # before the work
    assert (early.code, f"{listed[0]} is gone" in early.err) == (1, True)
    assert (tmp_path / "out" / "people.csv").read_bytes() == before
    gone = run("group", *options)
    assert gone.code == 0, gone.err
    assert "1 of 23 pictures are gone" in gone.err
    assert len((tmp_path / "out" / "people.csv").read_text().splitlines()) == 1 + 23
    page = (tmp_path / "out" / "people.html").read_text()
    assert f"{listed[0].name} is gone" in page
    assert f"{listed[1].name} is gone" not in page


def test_the_table_that_names_the_crops_is_not_written_over(run, model: Path, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("path\n")
    done = run("group", table, "--model", model, "--out", tmp_path)
    assert (done.code, table.read_text()) == (1, "path\n")
    assert "people.csv is what is read here: it will not be written over" in done.err


def test_copies_of_one_crop_are_one_person_and_it_is_said(run, model: Path, tmp_path: Path) -> None:
    for image in range(8):
        write_image(tmp_path / "in" / f"{image}_c1.png", draw_figure(1, 1, 1))
    done = run("group", tmp_path / "in", "--model", model, "--out", tmp_path / "out")
    assert done.code == 0
    assert "all are of one camera" in done.err
    assert "8 crops: with fewer than 50" in done.err
    assert "all crops that are alike at all were taken for one person" in done.err
    table = tmp_path / "crops.csv"
    table.write_text("path,camid,track\n" + "".join(f"in/{image}_c1.png,1,7\n" for image in range(8)))
    done = run("group", table, "--model", model, "--out", tmp_path / "track")
    assert done.code == 0
    assert "taken for one person" not in done.err  # no cut takes a track apart
    table.write_text("path,camid\nin/0_c1.png,1\n")
    done = run("group", table, "--model", model, "--out", tmp_path / "one")
    assert done.code == 1
    assert "a single crop has nobody to be alike to" in done.err


def test_bad_input_leaves_nothing(run, model: Path, figures: Path, tmp_path: Path) -> None:
    out = ["--model", model, "--out", tmp_path / "out"]
    assert run("group", *out).code == 2
    assert "no folder or CSV file" in run("group", tmp_path / "nowhere", *out).err
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a_c1.png").write_bytes(b"nothing")
    assert "--skip-corrupt" in run("group", tmp_path / "in", *out).err
    write_run(tmp_path / "parser", {"name": "parser", "trunk": "resnet18", "width": 0.125, "size": (64, 32)})
    teacher = run("group", "--data", f"people:{figures}", "--model", tmp_path / "parser", "--out", tmp_path / "out")
    assert "no embedding" in teacher.err
    both = run("group", "--data", f"people:{figures}", *out, "--flip", "--gallery", tmp_path / "g.parquet")
    assert both.code == 1
    assert "leave --flip out" in both.err
    assert not (tmp_path / "out").exists()


def test_of_a_data_set_only_what_is_to_train_on_is_for_training(
    run, model: Path, figures: Path, tmp_path: Path
) -> None:
    group = ["group", "--data", f"people:{figures}", "--model", model, "--min-samples", "2", "--cut", "0.9", "--json"]
    done = run(*group, "--out", tmp_path / "a", "--folders", "links")
    assert (done.code, json.loads(done.out)["crops"]) == (0, 36)
    learned = {s.path.resolve() for s in load_dataset(f"folder:{tmp_path / 'a' / 'train.csv'}").train}
    assert {path.parent.name for path in learned} == {"bounding_box_train"}
    assert json.loads(run(*group, "--out", tmp_path / "b").out)["crops"] == 36 + 30
    said = run(*group, "--out", tmp_path / "c", "--folders", "links", "--split", "all")
    assert (said.code, json.loads(said.out)["crops"]) == (0, 36 + 30)
    assert "--split all: train.csv will hold crops to test on" in said.err


def test_pictures_are_not_put_where_the_next_look_would_take_them_for_crops(run, model: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "in")
    options = ["--model", model, "--min-samples", "2"]
    for source in ([tmp_path / "in"], ["--data", f"folder:{tmp_path / 'in'}"]):
        done = run("group", *source, *options, "--out", tmp_path / "in" / "found", "--folders", "links")
        assert done.code == 1
        assert "where its pictures would be taken for crops" in done.err
    done = run("group", table, *options, "--out", tmp_path / "in" / "found", "--folders", "links")  # names its crops
    assert done.code == 0
    again = run("group", tmp_path / "in", *options, "--out", tmp_path / "again", "--json")
    assert json.loads(again.out)["crops"] == 24
    assert "24 links to crops that are there, too, were left out" in again.err


@pytest.mark.parametrize("name", ["people.html", "train.csv"])
def test_what_cannot_be_written_is_told_before_the_work(run, model: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    table = write_table(tmp_path / "in")
    done = run("group", table, "--model", model, "--out", tmp_path / "out", "--folders", "links")
    assert done.code == 1
    assert f"{name}: it is a folder" in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_a_run_that_was_stopped_begins_anew(run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at any step leaves nothing that the same command would refuse."""
    command = ["group", write_table(tmp_path / "in"), "--model", model, "--out", tmp_path / "out", "--folders", "links"]
    command += ["--gallery", tmp_path / "g.parquet", "--min-samples", "2"]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("semreid.explain.people.name_in_gallery", "semreid.verification.people.write_csv"):
        with monkeypatch.context() as patch:
            patch.setattr(step, interrupted)
            stopped = run(*command)
            assert (stopped.code, "begins anew" in stopped.err) == (130, True)
    assert run(*command).code == 0


def test_splits_of_a_data_set(run, model: Path, figures: Path, tmp_path: Path) -> None:
    done = run(
        "group",
        "--data",
        f"people:{figures}",
        "--split",
        "query",
        "--model",
        model,
        "--out",
        tmp_path,
        "--min-samples",
        "2",
        "--json",
        "--cut",
        "0.9",
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["crops"] == 10
    assert np.isfinite(json.loads(done.out)["silhouette"])
