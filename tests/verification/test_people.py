import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.crops import Crops, crops_at
from semreid.data.sample import Sample
from semreid.errors import SemreidError
from semreid.functional import grouping_scores
from semreid.gallery import Entry, Gallery
from semreid.gallery.enroll import crops_below
from semreid.gallery.said import named
from semreid.gallery.unlabelled import crops_in
from semreid.verification.people import (
    People,
    find_people,
    name_in_gallery,
    require_files,
    write_folders,
    write_people,
)
from tests.conftest import full_disk, write_image


class Bars:
    """Embeds by the share of the brightness in each column: who has the same stripe is one person."""

    dim, size, fingerprint, blocks = 32, (64, 32), "bars", {"columns": 32}

    def embed(self, images, *, batch_size: int = 64, flip: bool = False, unit: bool = True) -> np.ndarray:
        columns = np.array([image.astype(np.float32).mean(axis=(0, 2)) for image in images]).reshape(-1, 32) + 1e-3
        return columns / np.linalg.norm(columns, axis=1, keepdims=True)


def stripe(pid: int, image: int) -> np.ndarray:
    crop = np.zeros((64, 32, 3), np.uint8)
    crop[:, 4 * pid : 4 * pid + 4] = 200
    crop[:, 4 * pid + 3] = 90 + 5 * image
    return crop


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five people by twelve crops, two cameras, and a crop of nobody; with names, times and tracks in a CSV."""
    root = tmp_path_factory.mktemp("crops")
    rows = ["path,pid,camid,timestamp"]
    for pid in range(5):
        for image in range(12 + (pid == 3)):
            write_image(root / f"{pid}" / f"{image % 4}{image // 4}.png", stripe(pid, image))
            rows.append(f"{pid}/{image % 4}{image // 4}.png,p{pid},{image % 2 + 1},{image}")
    write_image(root / "other.png", stripe(7, 0))
    rows.append("other.png,stranger,1,")
    (root / "crops.csv").write_text("\n".join(rows))
    return root / "crops.csv"


@pytest.fixture(scope="module")
def crops(table: Path) -> Crops:
    return crops_at(table)


@pytest.fixture
def people(crops: Crops) -> People:
    return find_people(Bars(), crops)


def test_each_head_is_asked_who_is_near_whom(crops: Crops) -> None:
    class Halves(Bars):
        """The stripes of every crop beside nothing but noise of its own, which is fourteen times as loud."""

        dim, blocks = 64, {"columns": 32, "noise": 32}

        def embed(self, images, **options) -> np.ndarray:
            columns = super().embed(images, **options)
            noise = np.random.default_rng(0).normal(0, 2.5, columns.shape).astype(np.float32)
            both = np.concatenate([columns, noise], 1)
            return both / np.linalg.norm(both, axis=1, keepdims=True)

    def right(embedder) -> float:
        found = find_people(embedder, crops, cut=0.6, min_samples=2).groups
        names = np.array([sample.path.parent.name for sample in crops.samples])
        return grouping_scores(found, np.unique(names, return_inverse=True)[1]).pairwise_f1

    joined = Halves()
    joined.blocks = {"both": 64}
    assert right(Halves()) > 0.95 > 0.3 > right(joined)


def test_people_are_found_the_largest_first(people: People) -> None:
    assert people.count == 5
    truth = np.array(people.crops.people)
    for person in range(5):
        assert len(set(truth[people.groups == person])) == 1
    assert set(truth[people.groups == 0]) == {"p3"}
    assert (people.groups == 0).sum() == 13
    assert people.groups[truth == "stranger"].tolist() == [-1]
    assert people.confidence[truth == "stranger"].tolist() == [0]
    assert (people.confidence[people.groups >= 0] > 0.8).all()
    assert people.scores is not None
    assert people.scores.pairwise_f1 == people.scores.bcubed_f1 == 1
    assert (people.scores.groups, people.scores.people) == (5, 6)


def test_embeddings_are_averaged_with_those_of_mirror_images_if_wanted(crops: Crops) -> None:
    class Mirrored(Bars):
        def embed(self, images, *, batch_size: int = 64, flip: bool = False, unit: bool = True) -> np.ndarray:
            found = super().embed(images)
            return (found + found[:, ::-1]) / np.sqrt(2) if flip else found

    found = find_people(Mirrored(), crops, flip=True).features
    plain = find_people(Mirrored(), crops).features
    np.testing.assert_allclose(found, found[:, ::-1], rtol=1e-5)
    assert not np.allclose(plain, plain[:, ::-1])


def test_nobody_in_particular_is_not_judged_by(crops: Crops) -> None:
    names = tuple("0000" if name == "stranger" else name for name in crops.people)
    scores = find_people(Bars(), replace(crops, people=names)).scores
    assert scores is not None
    assert scores.people == 5
    assert find_people(Bars(), replace(crops, people=())).scores is None


def test_between_two_people_is_unsure(crops: Crops) -> None:
    people = find_people(Bars(), crops)
    crowded = replace(people, confidence=np.where(people.groups == 1, 0.55, people.confidence))
    assert crowded.unsure.sum() == 12
    assert not crowded.unsure[people.groups < 0].any()


def test_tracks_bind_and_part(crops: Crops) -> None:
    """A track of two people is one; two tracks at once of one camera are two, whatever they look like."""
    truth = np.array(crops.people)
    tracks = np.where(truth == "p0", 1, np.where(truth == "p1", 2, -1))
    tracks[np.flatnonzero(truth == "p2")[0]] = 1
    bound = find_people(Bars(), replace(crops, tracks=tracks))
    assert len(set(bound.groups[tracks == 1].tolist())) == 1
    ones = np.flatnonzero((truth == "p3") & (crops.cameras == 1))
    tracks = np.full(len(truth), -1)
    tracks[ones[:2]], tracks[ones[2:]] = 5, 6
    samples = tuple(replace(s, timestamp=1.0) for s in crops.samples)
    parted = find_people(Bars(), replace(crops, tracks=tracks, samples=samples))
    assert parted.groups[ones[0]] != parted.groups[ones[-1]]


@pytest.mark.parametrize("how", ["links", "copies"])
def test_what_was_found_can_be_learned_from(people: People, tmp_path: Path, how) -> None:
    write_folders(people, tmp_path / "who" / "people", how, tmp_path / "who" / "train.csv")
    data = load_dataset(f"folder:{tmp_path / 'who' / 'train.csv'}")
    assert (len(data.query), len(data.gallery)) == (0, 0)
    found = {(s.path.read_bytes(), s.pid, s.camid, s.timestamp) for s in data.train}
    assert found == {
        (sample.path.read_bytes(), group + 1, camera, sample.timestamp)
        for sample, group, camera in zip(people.crops.samples, people.groups, people.crops.cameras, strict=True)
        if group >= 0
    }
    assert all(sample.path.is_relative_to(tmp_path / "who" / "people") for sample in data.train)


def test_the_table_tells_all_of_every_crop(people: People, tmp_path: Path) -> None:
    write_people(people, tmp_path / "people.csv")
    rows = list(csv.DictReader((tmp_path / "people.csv").read_text().splitlines()))
    assert list(rows[0]) == ["path", "person", "confidence", "camera", "time", "track"]
    assert len(rows) == len(people.crops)
    assert [row["person"] for row in rows] == sorted((row["person"] for row in rows), key=lambda p: int(p or 99))
    found = {Path(row["path"]): row for row in rows}
    for i, sample in enumerate(people.crops.samples):
        row = found[sample.path.absolute()]
        assert row["person"] == ("" if people.groups[i] < 0 else str(people.groups[i] + 1))
        assert int(row["camera"]) == people.crops.cameras[i]
        assert row["time"] == ("" if sample.timestamp is None else str(sample.timestamp))


@pytest.mark.parametrize("how", ["links", "copies"])
def test_folders_hold_the_crops_of_a_person(people: People, tmp_path: Path, how) -> None:
    write_folders(people, tmp_path / "out" / "people", how, tmp_path / "out" / "train.csv")
    folders = sorted((tmp_path / "out" / "people").iterdir())
    assert [folder.name for folder in folders] == ["0001", "0002", "0003", "0004", "0005"]
    for number, folder in enumerate(folders):
        assert {path.is_symlink() for path in folder.iterdir()} == {how == "links"}
        wanted = sorted(people.crops.samples[row].path.read_bytes() for row in people.rows(number))
        assert sorted(path.read_bytes() for path in folder.iterdir()) == wanted
    with pytest.raises(SemreidError, match="is there already"):
        write_folders(people, tmp_path / "out" / "people", how, tmp_path / "out" / "train.csv")


def test_equal_names_do_not_replace_each_other(crops: Crops, tmp_path: Path) -> None:
    everybody = replace(find_people(Bars(), crops), groups=np.zeros(len(crops), np.int64))
    write_folders(everybody, tmp_path / "people", "copies", tmp_path / "train.csv")
    assert len(list((tmp_path / "people" / "0001").iterdir())) == len(crops)


@pytest.mark.parametrize("how", ["links", "copies"])
def test_a_number_before_an_equal_name_makes_no_other_name(crops: Crops, tmp_path: Path, how) -> None:
    paths = [tmp_path / "crops" / name for name in ("w/3-a.jpg", "x/a.jpg", "y/a.jpg", "z/a.png")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(path.parent.name)
    four = replace(crops, samples=tuple(Sample(path, 0, 0) for path in paths), cameras=np.zeros(4, np.int64))
    signs = find_people(Bars(), crops).signs
    one = People(four, np.zeros((4, 32), np.float32), np.zeros(4, np.int64), np.ones(4), signs, None)
    write_folders(one, tmp_path / "people", how, tmp_path / "train.csv")
    found = {path.name: path.read_text() for path in (tmp_path / "people" / "0001").iterdir()}
    assert found == {"3-a.jpg": "w", "a.jpg": "x", "4-a.jpg": "y", "5-a.png": "z"}  # no two share a mask


@pytest.mark.parametrize("how", ["links", "copies"])
def test_a_crop_that_is_gone_is_named_and_not_the_folder(people: People, tmp_path: Path, how) -> None:
    gone = replace(people.crops.samples[3], path=tmp_path / "crops" / "gone.png")
    crops = replace(people.crops, samples=(*people.crops.samples[:3], gone, *people.crops.samples[4:]))
    with pytest.raises(SemreidError, match=r"crops/gone\.png is gone") as caught:
        write_folders(replace(people, crops=crops), tmp_path / "people", how, tmp_path / "train.csv")
    skip, without = "leave it out with --skip-corrupt", "leave --folders out: people.csv names every crop"
    assert caught.value.fix == f"put it back, {skip}, or {without}"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_folders_behind(people: People, tmp_path: Path) -> None:
    with full_disk(10), pytest.raises(SemreidError, match="cannot write"):
        write_folders(people, tmp_path / "people", "copies", tmp_path / "train.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_there_is_not_written_over(people: People, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("somebody's")
    with pytest.raises(SemreidError, match=r"train\.csv is there already"):
        write_folders(people, tmp_path / "people", "links", tmp_path / "train.csv")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("train.csv", "somebody's")]


def test_a_stop_between_table_and_folders_leaves_neither(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(source: Path, target: Path) -> None:
        assert (tmp_path / "train.csv").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("semreid.verification.people.os.rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_folders(people, tmp_path / "people", "links", tmp_path / "train.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_crop_that_may_not_be_read_can_be_left_out(crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != crops.samples[3].path)  # as root may read all
    with pytest.raises(SemreidError, match=r"may not be read\n") as caught:
        require_files(crops)
    assert caught.value.fix == "allow to read it, or leave it out with --skip-corrupt"


def test_a_gallery_gets_names_but_what_somebody_said_stays(people: People, table: Path, tmp_path: Path) -> None:
    ids = {crop.entry.path: crop.entry.id for crop in crops_below(table)}
    paths = [str(s.path.absolute()) for s in people.crops.samples]
    first, second = (people.rows(person)[0] for person in (0, 1))
    with Gallery.open(tmp_path / "g.parquet", dim=32, fingerprint="bars") as gallery:
        said = Entry(id=ids[paths[first]], path=paths[first], pid="anna", tags=("vip",))
        unnamed = Entry(id=ids[paths[second]], path=paths[second], tags=("door",))
        gallery.upsert(people.features[[first, second]], [said, unnamed])
        gallery.upsert(people.features[:1], [Entry(id="elsewhere", pid="group-41")])
        assert name_in_gallery(people, gallery) == (60, 1, 1)
        assert gallery.get([said.id]) == [said]
        (other,) = gallery.get([unnamed.id])
        assert (other.pid, other.tags) == ("group-43", ("door", "grouped"))
        (beside,) = gallery.get([ids[paths[people.rows(0)[1]]]])
        assert (beside.pid, beside.tags) == ("anna", ("grouped",))  # a machine thinks so
        (stranger,) = gallery.get([ids[paths[int(np.flatnonzero(people.groups < 0)[0])]]])
        assert (stranger.pid, stranger.tags) == (None, ())
        assert len({e.pid for entries, _ in gallery.scan() for e in entries if e.pid}) == 6
        assert name_in_gallery(people, gallery) == (60, 1, 1)  # renewed, not named on and on
        assert gallery.get([unnamed.id]) == [other]
        lost = replace(people, groups=np.full(len(people.groups), -1))
        assert name_in_gallery(lost, gallery) == (0, 1, 61)
        assert gallery.get([unnamed.id]) == [unnamed]
        assert gallery.count() == len(people.crops) + 1


def test_what_somebody_says_meanwhile_stays(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look of a machine and its write, one row gets a person and another one is removed."""
    gallery = Gallery.open("memory:", dim=32, fingerprint="bars")
    assert name_in_gallery(people, gallery).named == 61
    rows = [entry for entries, _ in gallery.scan() for entry in entries if entry.pid == "group-2"]
    exchange = gallery.exchange

    def later(before, after, **options) -> int:
        exchange(rows[:1], [named(rows[0], "bert")])
        gallery.remove([rows[1].id])
        return exchange(before, after, **options)

    monkeypatch.setattr(gallery, "exchange", later)
    told = name_in_gallery(replace(people, groups=np.full(len(people.groups), -1)), gallery)
    assert told == (0, 2, len(people.groups) - 2)
    assert gallery.get([row.id for row in rows[:3]]) == [named(rows[0], "bert"), None, named(rows[2], None)]


def test_people_of_a_gallery_are_found_by_its_vectors_and_by_what_was_said(people: People) -> None:
    """Two people merged, one torn, one crop taken out: a machine that looks again keeps to all of it."""
    gallery = Gallery.open("memory:", dim=32, fingerprint="bars")
    name_in_gallery(people, gallery)
    by_name: dict[str | None, list[Entry]] = {}
    for entry in (entry for entries, _ in gallery.scan() for entry in entries):
        by_name.setdefault(entry.pid, []).append(entry)
    one, two, three, four = (by_name[f"group-{number}"] for number in (1, 2, 3, 4))
    for rows, pid, more in (
        (one + two, "anna", ()),
        (three[:2], "group-9", ("split:k:left",)),
        (three[2:], None, ("split:k:stayed",)),
        (four[:1], None, ("not-a-person",)),
    ):
        gallery.exchange(rows, [replace(row, pid=pid, tags=more) for row in rows])
    crops = crops_in(gallery)
    again = find_people(Bars(), crops, features=gallery.vectors(crops.ids))
    of = {id_: int(group) for id_, group in zip(crops.ids, again.groups, strict=True)}
    assert len({of[row.id] for row in one + two}) == 1
    left, stayed = ({of[row.id] for row in rows} for rows in (three[:2], three[2:]))
    assert len(left) == 1
    assert left.isdisjoint(stayed)
    assert four[0].id not in of
    assert (again.confidence[[crops.ids.index(row.id) for row in one + two]] == 1).all()
    before = {entry.id: entry for entries, _ in gallery.scan() for entry in entries}
    name_in_gallery(again, gallery)
    after = {entry.id: entry for entries, _ in gallery.scan() for entry in entries}
    assert all(after[row.id] == before[row.id] for row in (*one, *two, *three[:2], four[0]))
    assert {after[row.id].pid for row in three[2:]}.isdisjoint({"group-9", "anna"})


def test_nobody_alike_is_an_error_that_tells_the_way_out(crops: Crops) -> None:
    with pytest.raises(SemreidError, match=r"no 30 of the 62 crops .*(?s:.*)--cut 0.9"):
        find_people(Bars(), crops, min_samples=30)


def test_features_that_are_no_numbers_are_refused(crops: Crops) -> None:
    class Broken(Bars):
        def embed(self, images, **options):
            return np.full((len(images), 32), np.nan, np.float32)

    with pytest.raises(SemreidError, match="NaN"):
        find_people(Broken(), crops)
