import csv
import itertools
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semreid.data.benchmarks import load_dataset
from semreid.data.folder import _number
from semreid.data.names import CAMERA
from semreid.data.rows import Row, read_csv
from semreid.data.sample import Sample
from semreid.errors import SemreidError

PEOPLE = ("alice", "bob", "carol", "dave")


def names(samples):
    return [s.path.name for s in samples]


# --- folders of identities ---------------------------------------------------------------------------------


@pytest.fixture
def with_cameras(write_images):
    return write_images(f"{p}/{p}_c{c}_{i}.jpg" for p in PEOPLE for c in (1, 2) for i in (1, 2))


def test_half_of_the_identities_train_and_the_first_of_each_camera_asks(with_cameras):
    dataset = load_dataset(f"folder:{with_cameras}")
    assert [sorted({s.pid for s in part}) for part in (dataset.train, dataset.query)] == [[2, 3], [1, 4]]
    assert names(dataset.query) == ["alice_c1_1.jpg", "alice_c2_1.jpg", "dave_c1_1.jpg", "dave_c2_1.jpg"]
    assert names(dataset.gallery) == ["alice_c1_2.jpg", "alice_c2_2.jpg", "dave_c1_2.jpg", "dave_c2_2.jpg"]
    assert [s.camid for s in dataset.gallery] == [1, 2, 1, 2]
    assert dataset.warnings == ()
    assert dataset.name == "folder"
    assert dataset.root == with_cameras
    assert "SHA-256" in dataset.protocol.note


def test_cameras_are_used_only_if_every_file_tells_one(with_cameras, write_images):
    write_images("alice/alice_0007.jpg")
    dataset = load_dataset(f"folder:{with_cameras}")
    assert {s.camid for s in dataset.train + dataset.query} == {0}
    assert {s.camid for s in dataset.gallery} == {1}
    assert len(dataset.query) == 2
    assert "1 of 17 images do not tell their camera (_cN_), such as" in dataset.warnings[0]
    assert "alice_0007.jpg, so none is used" in dataset.warnings[0]
    assert "no cameras known" in dataset.protocol.note


def test_the_number_of_an_image_is_no_camera(write_images):  # docs/protocols.md, bug 1
    root = write_images(f"{p}/{p}_{i}.jpg" for p in PEOPLE for i in (1, 2, 3))
    dataset = load_dataset(f"folder:{root}")
    assert {s.camid for s in dataset.query} == {0}
    assert {s.camid for s in dataset.gallery} == {1}
    assert len(dataset.gallery) == 4


@pytest.mark.parametrize(
    ("stem", "camid"),
    [
        ("c3", 3),
        ("a_c12", 12),
        ("0001_c3s1_000451_03", 3),
        ("c2_0001", 2),
        ("x-c4-y", 4),
        ("abc3", None),
        ("a_c3x", None),
        ("cat_3", None),
        ("frame_3", None),
    ],
)
def test_the_camera_token(stem, camid):
    match = CAMERA.search(stem)
    assert (match and int(match[1])) == camid


@given(st.integers(0, 999), st.text(string.ascii_letters + string.digits, max_size=8), st.sampled_from("_-"))
def test_a_camera_between_separators_is_always_found(camid, rest, separator):
    for stem in (f"person{separator}c{camid}{separator}{rest}", f"c{camid}{separator}{rest}"):
        match = CAMERA.search(stem)
        assert match is not None
        assert int(match[1]) == camid


def test_an_only_image_is_query_and_gallery_if_cameras_are_known(write_images):
    root = write_images(f"{p}/{p}_c{c}.jpg" for p in PEOPLE for c in (1, 2))
    dataset = load_dataset(f"folder:{root}")
    assert dataset.query == dataset.gallery
    assert len(dataset.query) == 4


def test_without_cameras_an_only_image_never_finds_itself(write_images):
    root = write_images("alice/1.jpg alice/2.jpg bob/1.jpg carol/1.jpg carol/2.jpg dave/1.jpg")
    dataset = load_dataset(f"folder:{root}")
    assert [s.path.parent.name for s in dataset.query] == ["alice"]
    assert [s.path.parent.name for s in dataset.gallery] == ["alice", "dave"]


@pytest.mark.parametrize(
    "template",
    ["cam{c}/{p}/{i}.jpg", "C0{c}/{p}/{i}.jpg", "{p}/Cam_{c}/{i}.jpg", "{p}/x_cam0{c}_{i}.jpg", "{p}/C{c}_{i}.jpg"],
)
def test_cameras_by_folder_and_by_word(write_images, template):
    root = write_images(template.format(p=p, c=c, i=i) for p in PEOPLE for c in (1, 2) for i in (1, 2))
    dataset = load_dataset(f"folder:{root}")
    assert dataset.warnings == ()
    assert {s.pid for s in dataset.train + dataset.query} == {1, 2, 3, 4}
    assert sorted((s.pid, s.camid) for s in dataset.query) == [(1, 1), (1, 2), (4, 1), (4, 2)]
    assert len(dataset.train) == 8


def test_folders_of_cameras_without_people_are_no_people(write_images):
    root = write_images(f"cam{c}/{i}.jpg" for c in (1, 2) for i in (1, 2))
    with pytest.raises(SemreidError, match=r"cam1 is named after a camera, and no folder after a person"):
        load_dataset(f"folder:{root}")


def test_people_may_be_called_like_cameras(write_images):
    root = write_images(f"c{p}/{i}.jpg" for p in (1, 2, 3, 4) for i in (1, 2))
    assert {s.pid for s in load_dataset(f"folder:{root}").train} < {1, 2, 3, 4}


def test_a_flat_folder_of_market_names(write_images):
    root = write_images(f"000{p}_cam0{c}_{i}.jpg" for p in (1, 2, 3, 4) for c in (1, 2) for i in (1, 2))
    dataset = load_dataset(f"folder:{root}")
    assert (len(dataset.train), {s.camid for s in dataset.query}) == (8, {1, 2})
    write_images("portrait.jpg")
    with pytest.raises(SemreidError, match=r"portrait\.jpg: the file name does not follow .* \(1 of 17 in this folder"):
        load_dataset(f"folder:{root}")


def test_what_is_left_out_is_a_warning(with_cameras):
    (with_cameras / "alice" / "alice_c3_1.heic").touch()
    (with_cameras / "bob" / "notes.txt").touch()
    (line,) = load_dataset(f"folder:{with_cameras}").warnings
    assert line.startswith("2 files (1 .heic, 1 .txt), such as ")
    assert "alice_c3_1.heic: left out" in line


def test_what_is_left_out_of_a_flat_folder_is_a_warning(write_images):
    root = write_images(f"000{p}_c{c}_1.png" for p in (1, 2, 3, 4) for c in (1, 2))
    (root / "0005_c1.heic").touch()
    write_images("masks/0001_c1_1.png")
    (line,) = load_dataset(f"folder:{root}").warnings
    assert line.startswith(f"1 files (1 .heic), such as {root / '0005_c1.heic'}: left out")


def test_masks_textures_and_hidden_folders_are_no_identities(with_cameras, write_images):
    write_images("masks/alice/alice_c1_1.png textures/alice/alice_c1_1.png .cache/x.png")
    dataset = load_dataset(f"folder:{with_cameras}")
    assert {s.pid for s in dataset.train + dataset.query} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ("", "has no sub-folder, so no identity"),
        ("a.jpg b.jpg", r"a\.jpg lies in no identity's folder \(2 in all"),
        ("alice/1.jpg bob/1.jpg b.jpg", r"b\.jpg lies in no identity's folder"),
        ("alice/1.jpg alice/2.jpg", "one identity only: there is nobody to tell 'alice' from"),
        ("alice/1.jpg bob/1.jpg", "no test identity has two images"),
        ("-1/1.jpg -2/1.jpg", "nothing but junk"),
        ("7/1.jpg 007/1.jpg", "identities '007' and '7' read as the same number"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_error(write_images, tmp_path, files, says):
    write_images(files)
    with pytest.raises(SemreidError, match=says) as error:
        load_dataset(f"folder:{tmp_path}")
    assert str(tmp_path) in str(error.value) or "007" in files


def test_what_labelling_leaves_beside_the_identities_is_no_crop(with_cameras):
    """An earlier version drew its overview as a picture."""
    before = load_dataset(f"folder:{with_cameras}")
    for name in ("labels.jsonl", "overview.png", "report.json"):
        (with_cameras / name).write_bytes(b"")
    assert load_dataset(f"folder:{with_cameras}") == before
    (with_cameras / "labels.jsonl").unlink()
    with pytest.raises(SemreidError, match=r"overview\.png lies in no identity's folder"):
        load_dataset(f"folder:{with_cameras}")


def test_an_identity_without_images_is_named(with_cameras):
    (with_cameras / "eve").mkdir()
    with pytest.raises(SemreidError, match="eve holds no image"):
        load_dataset(f"folder:{with_cameras}")


def test_two_identities_work_and_are_called_too_few(write_images):
    root = write_images(f"{p}/{p}_c{c}.jpg" for p in PEOPLE[:2] for c in (1, 2))
    assert "too few to mean anything" in load_dataset(f"folder:{root}").warnings[-1]


# --- identities become numbers -----------------------------------------------------------------------------


def number(*identities, split=""):
    return _number([Row(None, identity, None, split) for identity in identities])


def test_whole_numbers_stay_and_names_are_numbered_in_order():
    assert number("12", "7") == {"7": 7, "12": 12}
    assert number("bob", "alice", "7") == {"7": 1, "alice": 2, "bob": 3}
    assert number("bob", "-1", "alice") == {"-1": -1, "alice": 1, "bob": 2}
    assert number("9" * 30, "1") == {"1": 1, "9" * 30: 2}


def test_zero_is_a_person_unless_only_the_gallery_has_it():
    assert number("0", "1") == {"0": 1, "1": 2}
    assert number("0000", "1", split="gallery") == {"0000": 0, "1": 1}


@given(st.sets(st.one_of(st.integers(-3, 20).map(str), st.text("ab01", min_size=1, max_size=3)), min_size=1))
def test_numbers_never_collide(identities):
    try:
        numbers = number(*identities)
    except SemreidError:
        assert len({int(i) for i in identities}) < len(identities)  # '7' and '07': refused by name
        return
    people = [n for n in numbers.values() if n >= 0]
    assert set(numbers) == identities
    assert len(set(people)) == len(people)
    assert all(n > 0 for n in people)


# --- folders that are already split ------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [("train", "query", "gallery"), ("bounding_box_train", "query", "bounding_box_test")])
def test_split_folders_with_market_names(write_images, parts):
    pids = ("0003", "0001", "0001")
    root = write_images(f"{part}/{pid}_c{c}_1.jpg" for part, pid in zip(parts, pids, strict=True) for c in (1, 2))
    write_images(f"{parts[2]}/-1_c1_1.jpg {parts[2]}/0000_c1_1.jpg")
    dataset = load_dataset(f"folder:{root}")
    assert [s.pid for s in dataset.train] == [3, 3]
    assert [(s.pid, s.camid) for s in dataset.query] == [(1, 1), (1, 2)]
    assert [s.pid for s in dataset.gallery] == [0, 1, 1]  # docs/protocols.md, bug 3
    assert dataset.junk_removed == 1
    assert dataset.protocol.note == "split as given"


@pytest.mark.parametrize("folder", [".thumbnails", "masks", "textures"])
def test_hidden_and_annotation_folders_are_no_identities_of_a_split_either(write_images, folder):
    root = write_images(f"train/1_c1.jpg train/{folder}/1_c1.jpg query/2_c1.jpg gallery/2_c2.jpg")
    assert [(s.pid, s.camid) for s in load_dataset(f"folder:{root}").train] == [(1, 1)]


def test_split_folders_with_identity_folders(write_images):
    root = write_images("train/alice/1.jpg train/bob/1.jpg query/carol/1.jpg gallery/carol/2.jpg gallery/dan/1.jpg")
    dataset = load_dataset(f"folder:{root}")
    assert [s.pid for s in dataset.train] == [1, 2]
    assert [(s.pid, s.camid) for s in dataset.query] == [(3, 0)]
    assert [(s.pid, s.camid) for s in dataset.gallery] == [(3, 1), (4, 1)]


def test_a_set_for_testing_only_and_one_with_shared_people(write_images):
    root = write_images(f"{part}/{pid}_c{c}.jpg" for pid in (1, 2) for part, c in (("query", 1), ("gallery", 2)))
    dataset = load_dataset(f"folder:{root}")
    assert dataset.train == ()
    assert dataset.warnings == ()
    write_images("train/2_c1.jpg train/3_c1.jpg")
    assert "1 identities, such as '2', are in both" in load_dataset(f"folder:{root}").warnings[0]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ("train/1_c1.jpg query/1_c1.jpg", "no folder .*gallery"),
        ("train/1_c1.jpg gallery/1_c1.jpg", "no folder .*query"),
        ("query/1_c1.jpg gallery/alice/1.jpg", "some of train, query, gallery have identity folders"),
        ("query/-1_c1.jpg gallery/1_c1.jpg", "the split has no query image"),
        ("query/1_c1.jpg gallery/portrait.jpg", r"portrait\.jpg: the file name does not follow PID_cCAMERA"),
    ],
)
def test_a_split_that_is_not_whole_is_one_error(write_images, files, says):
    root = write_images(files)
    with pytest.raises(SemreidError, match=says):
        load_dataset(f"folder:{root}")


# --- CSV ---------------------------------------------------------------------------------------------------


@pytest.fixture
def table(write_images, tmp_path):
    """Write a CSV of four people, two cameras and two images each, with edits; return its specification."""
    images = [f"im/{p}_{c}_{i}.png" for p, c, i in itertools.product(PEOPLE, (3, 4), (1, 2))]
    write_images(images)

    def write(edit=lambda rows: rows, encoding="utf-8"):
        rows = [["path", "pid", "camid"], *([i, *i[3:].split("_")[:2]] for i in images)]
        with (tmp_path / "list.csv").open("w", newline="", encoding=encoding) as file:
            csv.writer(file).writerows(edit(rows))
        return f"folder:{tmp_path / 'list.csv'}"

    return write


def set_cell(row, column, value):
    def edit(rows):
        rows[row - 1][column] = value
        return rows

    return edit


def with_column(name, *values):
    def edit(rows):
        cells = itertools.chain([name], itertools.cycle(values))
        return [[*row, next(cells)] for row in rows]

    return edit


def test_a_csv_is_read_and_halved(table, tmp_path):
    dataset = load_dataset(table())
    assert dataset.root == tmp_path
    assert {s.camid for s in dataset.query} == {3, 4}
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (8, 4, 4)
    assert dataset.query[0] == Sample(tmp_path / "im/alice_3_1.png", 1, 3)
    assert all(s.path.is_relative_to(dataset.root) for s in dataset.train)


def test_timestamps_and_a_given_split(table):
    parts = ["train"] * 8 + ["query", "gallery"] * 4

    def edit(rows):
        return with_column("split", *parts)(with_column("timestamp", "1.5", "")(rows))

    dataset = load_dataset(table(edit))
    assert {s.pid for s in dataset.train} == {1, 2}
    assert [s.timestamp for s in dataset.train[:2]] == [1.5, None]
    assert names(dataset.query)[0] == "carol_3_1.png"
    assert len(dataset.gallery) == 4


def test_absolute_paths_a_byte_order_mark_and_a_dot_are_fine(table, tmp_path):
    def edit(rows):
        rows[1][0] = str(tmp_path / rows[1][0])
        rows[2][0] = "./im/../" + rows[2][0]
        return rows

    assert load_dataset(table(edit, "utf-8-sig")) == load_dataset(table())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_csv_in_utf_16_is_read_as_in_utf_8(table, encoding):
    def edit(rows):
        return [
            [cell.replace("alice", "zoë") if column == 1 else cell for column, cell in enumerate(row)] for row in rows
        ]

    assert load_dataset(table(edit, encoding)) == load_dataset(table(edit))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda rows: [], "has no column path, pid; it has nothing"),
        (lambda rows: rows[:1], "has no row below its header"),
        (lambda rows: [row[::2] for row in rows], "has no column pid; it has path, camid"),
        (set_cell(3, 2, "left"), "row 3: camid 'left' is not a whole number"),
        (set_cell(3, 2, "-3"), "row 3: camid '-3' is negative\n  way out: number the cameras"),
        (set_cell(3, 2, "-1"), "row 3: camid '-1'"),
        (set_cell(3, 2, "2147483648"), "row 3: .* camera 2147483648 is not between 0 and 2147483647"),
        (set_cell(3, 2, "9" * 5000), "row 3: camid '9999"),
        (set_cell(1, 2, "Camera"), "has a column 'camera' and no camid\n  way out: call it camid"),
        (set_cell(1, 2, "cam_id"), "has a column 'cam_id' and no camid"),
        (set_cell(1, 1, "person_ID"), "has a column 'person_id' and no pid\n  way out: call it pid"),
        (set_cell(1, 0, "image"), "has a column 'image' and no path"),
        (with_column("Splits", "train"), "has a column 'splits' and no split"),
        (with_column("timestamps", "1"), "has a column 'timestamps' and no timestamp"),
        (with_column("Time", "1"), "has a column 'time' and no timestamp"),
        (set_cell(1, 2, "PID"), "more than one column 'pid'"),
        (set_cell(4, 1, "nan"), "row 4: pid is 'nan'"),
        (set_cell(4, 1, " "), "row 4: pid is empty"),
        (set_cell(5, 0, "im/gone.png"), r"row 5: path 'im/gone\.png': there is no image"),
        (set_cell(5, 0, ""), "row 5: path is empty\n  way out: name the image, or remove the row"),
        (set_cell(5, 0, "list.csv"), r"row 5: path 'list\.csv': there is no image .*\n  way out: name files ending"),
        (set_cell(5, 0, "im/../../x.png"), "row 5: .* leaves the folder of the CSV"),
        (set_cell(6, 0, "im/alice_3_1.png"), "rows 2 and 6 are the same image"),
        (lambda rows: [*rows, ["im/a.png"]], "row 18: it has more or fewer cells"),
        (lambda rows: [*rows, ["im/a.png", "1", "2", "3"]], "row 18: it has more or fewer cells"),
        (with_column("split", "train", "val"), "row 3: split 'val' is not one of train, query, gallery"),
        (with_column("split", "train", "query"), "the split has no gallery image"),
        (with_column("timestamp", "1", "noon"), "row 3: cannot read the time 'noon'"),
        (with_column("timestamp", "inf"), "row 2: cannot read the time 'inf'"),
        (with_column("timestamp", "12", "20240501"), r"row 3: the time '20240501' may be a date .*\n.* 2024-05-01, or"),
        (with_column("timestamp", "20240501123000"), "row 2: the time '20240501123000', .* beyond the year 3000"),
        (
            with_column("timestamp", "2025", "2024", ""),
            r"the times, such as 2025, may be years .*\n.* fraction: 2025\.0",
        ),
        (lambda rows: rows[:5], "one identity only"),
    ],
)
def test_a_wrong_csv_is_one_error_with_its_row(table, edit, says):
    with pytest.raises(SemreidError, match=says) as error:
        load_dataset(table(edit))
    assert "list.csv" in str(error.value)


def test_rows_are_counted_as_a_spreadsheet_shows_them(table, tmp_path):
    def edit(rows):
        rows[1][0] = "im/gone.png"
        return [rows[0], ["im/alice_3_1.png", "a\nb\nc", "3"], [], rows[1]]

    with pytest.raises(SemreidError, match=r"row 4: path 'im/gone\.png'"):
        load_dataset(table(edit))


def spelled(separator=",", header=str, path=str, camid=str):
    def edit(rows):
        (names, *cells) = rows
        lines = [[header(name) for name in names], *([path(p), pid, camid(c)] for p, pid, c in cells)]
        return [[separator.join(line)] for line in lines] if separator != "," else lines

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        spelled(header=" {} ".format),
        spelled(header=str.upper),
        spelled(path=lambda path: path.replace("/", "\\")),
        spelled(camid="{}.0".format),
        spelled(camid=" {} ".format),
        with_column("timestamp", "", "nan"),
        lambda rows: [*rows, ["", "", ""], ["", ""], [" ", "", "", ""], []],  # as spreadsheets leave them
    ],
)
def test_spellings_whose_meaning_is_plain(table, edit):
    assert load_dataset(table(edit)) == load_dataset(table())


@pytest.mark.parametrize("separator", [";", "\t", "; "])
def test_other_separators(table, tmp_path, separator):
    expected = load_dataset(table())
    text = (tmp_path / "list.csv").read_text().replace(",", separator)
    (tmp_path / "list.csv").write_text(text)
    assert load_dataset(f"folder:{tmp_path / 'list.csv'}") == expected


def test_times_of_iso_8601(table):
    (sample, *_) = load_dataset(table(with_column("timestamp", "2024-05-03T14:22:07"))).train
    assert sample.timestamp == 1714746127.0


def test_seconds_that_could_be_years_are_seconds_among_others(table):
    times = ["1969", "1970", "2025", "202512", "1714746127"]
    dataset = load_dataset(table(with_column("timestamp", *times)))
    found = {sample.timestamp for sample in (*dataset.train, *dataset.query, *dataset.gallery)}
    assert found == {float(time) for time in times}


def test_cameras_like_addresses_are_kept(table):
    assert {s.camid for s in load_dataset(table(spelled(camid="192168001{}".format))).query} == {1921680013, 1921680014}


@pytest.mark.parametrize(
    ("edit", "lacking"),
    [(lambda rows: [row[:2] for row in rows], 16), (spelled(camid=lambda _: ""), 16), (set_cell(2, 2, "nan"), 1)],
)
def test_a_csv_without_cameras_is_read_with_the_warning(table, edit, lacking):
    dataset = load_dataset(table(edit))
    assert {s.camid for s in dataset.query} == {0}
    assert {s.camid for s in dataset.gallery} == {1}
    assert f"{lacking} of 16 images do not tell their camera" in dataset.warnings[0]


@pytest.mark.parametrize("column", ["", ",camid"])
def test_a_csv_that_tells_no_camera_leaves_it_to_the_names(write_images, tmp_path, column):
    names = [f"{pid:04d}_c{camid}s1_000{camid}.png" for pid in (1, 2, 3, 4) for camid in (1, 2, 3)]
    write_images(" ".join(names))
    rows = [f"{name},{int(name[:4])}{column and ','}" for name in names]
    (tmp_path / "list.csv").write_text("\n".join([f"path,pid{column}", *rows]))
    listed, flat = (load_dataset(f"folder:{place}") for place in (tmp_path / "list.csv", tmp_path))
    assert {sample.camid for sample in listed.query} == {1, 2, 3}
    assert (listed.train, listed.query, listed.gallery) == (flat.train, flat.query, flat.gallery)
    assert listed.protocol.cameras_known


def test_a_link_back_makes_nobody_somebody_else(write_images, tmp_path):
    """Neither one to the folder of all people, nor one to a camera's."""
    write_images("cam1/alice/1.png cam1/bob/1.png cam2/alice/1.png cam2/bob/1.png")
    before = load_dataset(f"folder:{tmp_path}")
    (tmp_path / "cam1" / "bob" / "all").symlink_to("../..")
    (tmp_path / "cam2" / "bob" / "these").symlink_to("..")
    assert load_dataset(f"folder:{tmp_path}") == before


def test_a_csv_for_training_only(table):
    dataset = load_dataset(table(with_column("split", "train")))
    assert (len(dataset.train), dataset.query, dataset.gallery) == (16, (), ())
    assert dataset.warnings == ()
    (warning,) = load_dataset(table(lambda rows: set_cell(2, 2, "")(with_column("split", "train")(rows)))).warnings
    assert "1 of 16 images do not tell their camera" in warning
    assert warning.endswith("so none is used")  # no word of queries and a gallery that are not there


def test_a_link_that_leads_nowhere_is_called_one(table, tmp_path):
    spec, image = table(), tmp_path / "im" / "bob_3_1.png"
    image.unlink()
    image.symlink_to(tmp_path / "moved" / "a.png")
    with pytest.raises(SemreidError, match=r"bob_3_1\.png is a link to .*moved/a\.png, where nothing is") as caught:
        load_dataset(spec)
    assert "--folders copies" in caught.value.fix


def test_rows_for_testing_are_divided(table):
    dataset = load_dataset(table(with_column("split", *["train"] * 8, *["Test"] * 8)))
    assert names(dataset.query) == [f"{p}_{c}_1.png" for p in ("carol", "dave") for c in (3, 4)]
    assert names(dataset.gallery) == [f"{p}_{c}_2.png" for p in ("carol", "dave") for c in (3, 4)]


CELLS = st.one_of(st.text(max_size=8), st.text("0123456789", max_size=30), st.sampled_from(["nan", "1e400", "-1", "٣"]))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.one_of(st.just("im/alice_3_1.png"), CELLS), CELLS, CELLS, CELLS, CELLS), max_size=3))
def test_any_cells_give_a_data_set_or_our_error(table, rows):
    columns = [["path", "pid", "camid", "timestamp", "split"]]
    try:
        dataset = load_dataset(table(lambda known: [*columns, *([*row, "5", "train"] for row in known[2:]), *rows]))
    except SemreidError:
        return
    for sample in dataset.train + dataset.query + dataset.gallery:
        assert -(2**63) < sample.pid < 2**63
        assert 0 <= sample.camid < 2**31


def test_a_csv_without_a_header_is_told(table):
    with pytest.raises(SemreidError, match=r"no header: its first row is im/alice_3_1.png,alice,3"):
        load_dataset(table(lambda rows: rows[1:]))


def test_a_file_that_is_no_csv(tmp_path):
    path = tmp_path / "list.csv"
    for content in (
        b"\xff\xfep\x00a\x00t\x00h\x00,\x00p",
        b"path,pid\na.png,M\xfcller\n",
        b'path,pid,camid\n"a.png,1,1\n',
    ):
        path.write_bytes(content)
        with pytest.raises(SemreidError, match=r"list\.csv is not a readable CSV file"):
            load_dataset(f"folder:{path}")


def test_junk_of_a_csv_is_left_out_and_counted(table):
    dataset = load_dataset(table(set_cell(2, 1, "-1")))
    assert dataset.junk_removed == 1
    assert all(s.pid > 0 for s in dataset.train + dataset.query + dataset.gallery)


def test_pids_counted_from_0_are_people(table):
    def edit(rows):
        return [rows[0], *([path, str(PEOPLE.index(pid)), camid] for path, pid, camid in rows[1:])]

    dataset = load_dataset(table(edit))
    assert {s.pid for s in dataset.train + dataset.query} == {1, 2, 3, 4}
    assert "numbered anew" in dataset.warnings[0]


def test_numbers_that_pandas_wrote_as_fractions_are_numbers(write_images):
    root = write_images(f"{i}.jpg" for i in range(10))
    pids = ["1.0", "1", "2.0", "2", "-1.0", "0.0", "3.", "3", "4.00", "4"]
    splits = ["train", "train", "query", "gallery", "gallery", "gallery", "query", "gallery", "query", "gallery"]
    rows = [f"{i}.jpg,{pid},{split}" for i, (pid, split) in enumerate(zip(pids, splits, strict=True))]
    (root / "crops.csv").write_text("\n".join(["path,pid,split", *rows]))
    dataset = load_dataset(f"folder:{root / 'crops.csv'}")
    assert [s.pid for s in dataset.train] == [1, 1]
    assert [s.pid for s in dataset.query] == [2, 3, 4]
    assert [s.pid for s in dataset.gallery] == [2, 0, 3, 4]
    assert dataset.junk_removed == 1


def test_columns_of_ones_own_and_second_names_beside_the_first_are_no_mistake(table, tmp_path):
    expected = load_dataset(table())
    for name in ("camera", "tracker", "id", "x", "bbox", ""):
        assert load_dataset(table(with_column(name, "7"))) == expected
    (tmp_path / "rows.csv").write_text(f"id,path\nr1,{expected.train[0].path}\n")
    assert [row.identity for row in read_csv(tmp_path / "rows.csv", unlabelled=True)] == [""]
