import numpy as np
import pytest

from semreid.data.benchmarks import load_dataset
from semreid.data.crops import crops_at, crops_of
from semreid.errors import SemreidError
from tests.conftest import draw_figure, write_image


def figures(root, names):
    for number, name in enumerate(names):
        write_image(root / name, draw_figure(number, 1, number))
    return root


def test_all_images_below_a_folder_are_crops_whatever_folders_are_called(tmp_path):
    figures(tmp_path, ["a.png", "monday/x_c3_1.png", "cam2/anna/1.png"])
    crops = crops_at(tmp_path)
    found = {s.path.name: camera for s, camera in zip(crops.samples, crops.cameras, strict=True)}
    assert found == {"a.png": -1, "x_c3_1.png": 3, "1.png": 2}
    assert {s.pid for s in crops.samples} == {0}
    assert crops.people == ()
    assert (crops.tracks == -1).all()
    assert "1 of 3 crops do not tell their camera" in crops.warnings[1]


def test_a_link_to_a_crop_that_is_there_is_no_further_crop(tmp_path):
    figures(tmp_path, ["a_c1.png", "b_c2.png"])
    figures(tmp_path / "elsewhere", ["x_c3.png"])
    (tmp_path / "in" / "people").mkdir(parents=True)
    for name in ("a_c1.png", "b_c2.png"):
        (tmp_path / name).rename(tmp_path / "in" / name)
        (tmp_path / "in" / "people" / name).symlink_to(tmp_path / "in" / name)
    (tmp_path / "in" / "x_c3.png").symlink_to(tmp_path / "elsewhere" / "x_c3.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "elsewhere")
    crops = crops_at(tmp_path / "in")
    assert {s.path.relative_to(tmp_path / "in").as_posix() for s in crops.samples} == {
        "a_c1.png",
        "b_c2.png",
        "again/x_c3.png",
    }
    assert "in: 3 links to crops that are there, too, were left out" in crops.warnings[0]


def test_the_order_does_not_depend_on_names(tmp_path):
    names = [f"{i}_c1.png" for i in range(12)]
    one = crops_at(figures(tmp_path / "one", names))
    for image in (tmp_path / "one").iterdir():
        (tmp_path / "two").mkdir(exist_ok=True)
        turned = f"{11 - int(image.name.partition('_')[0])}_c1.png"
        (tmp_path / "two" / turned).write_bytes(image.read_bytes())
    two = crops_at(tmp_path / "two")
    assert [s.path.read_bytes() for s in one.samples] == [s.path.read_bytes() for s in two.samples]


def test_a_csv_needs_paths_alone_and_tells_tracks_of_a_camera(tmp_path):
    figures(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    rows = ["path,camid,timestamp,track", "a.png,1,10,7", "b.png,1,12.5,7", "c.png,2,,7", "d.png,,,"]
    (tmp_path / "crops.csv").write_text("\n".join(rows))
    crops = crops_at(tmp_path / "crops.csv")
    by_name = {s.path.name: i for i, s in enumerate(crops.samples)}
    a, b, c, d = (by_name[f"{name}.png"] for name in "abcd")
    assert crops.tracks[a] == crops.tracks[b] != crops.tracks[c] >= 0
    assert crops.tracks[d] == -1
    assert crops.cameras[[a, b, c, d]].tolist() == [1, 1, 2, -1]
    assert crops.times[[a, b]].tolist() == [10, 12.5]
    assert np.isnan(crops.times[[c, d]]).all()


def test_people_are_known_where_all_rows_name_one(tmp_path):
    figures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "crops.csv").write_text("path,pid\na.png,anna\nb.png,bert\n")
    assert sorted(crops_at(tmp_path / "crops.csv").people) == ["anna", "bert"]
    (tmp_path / "crops.csv").write_text("path,pid\na.png,anna\nb.png,\n")
    assert crops_at(tmp_path / "crops.csv").people == ()
    with pytest.raises(SemreidError, match="pid is empty"):
        load_dataset(f"folder:{tmp_path / 'crops.csv'}")


def test_a_data_set_gives_the_parts_that_are_asked_for(figures):
    data = load_dataset(f"people:{figures}")
    crops = crops_of(f"people:{figures}")
    assert {s.path for s in crops.samples} == {s.path for s in data.train}
    assert {(s.path, p) for s, p in zip(crops.samples, crops.people, strict=True)} == {
        (s.path, str(s.pid)) for s in data.train
    }
    everybody = crops_of(f"people:{figures}", ("train", "query", "gallery"))
    assert len(everybody) == len({s.path for s in data.train + data.query + data.gallery})


def test_a_track_that_pandas_wrote_as_a_fraction_is_the_whole_number(tmp_path):
    for name in "abc":
        write_image(tmp_path / f"{name}.png", np.zeros((8, 4, 3), np.uint8))
    (tmp_path / "c.csv").write_text("path,camid,track\na.png,1,5.0\nb.png,1,5\nc.png,1,5.5\n")
    crops = crops_at(tmp_path / "c.csv")
    assert {s.path.name: t for s, t in zip(crops.samples, crops.track_names, strict=True)} == {
        "a.png": "5",
        "b.png": "5",
        "c.png": "5.5",
    }
    assert len(set(crops.tracks.tolist())) == 2


def test_folder_data_keeps_tracks_and_unknown_cameras(tmp_path):
    names = [f"{p}{i}.png" for p in "wxyz" for i in range(2)]
    figures_in = [write_image(tmp_path / name, draw_figure(i, 1, i)) for i, name in enumerate(names)]
    rows = [f"{path.name},{path.name[0]},t{path.name[0]},train" for path in figures_in]
    (tmp_path / "c.csv").write_text("path,pid,track,split\n" + "\n".join(rows))
    crops = crops_of(f"folder:{tmp_path / 'c.csv'}")
    assert len(set(crops.tracks.tolist())) == 4
    assert (crops.cameras == -1).all()


def test_what_a_data_set_tells_its_user_is_told_of_its_crops(tmp_path, figures):
    folder = tmp_path / "own"
    for i, name in enumerate(f"000{p}_c{c}_1.png" for p in (1, 2, 3, 4) for c in (1, 2)):
        write_image(folder / name, draw_figure(i, 1, i))
    (folder / "0005_c1.heic").touch()
    assert crops_of(f"folder:{folder}").warnings[0].startswith("1 files (1 .heic), such as ")
    withdrawn = crops_of(f"dukemtmc:{figures}").warnings
    assert withdrawn[:2] == load_dataset(f"dukemtmc:{figures}").warnings[:2]
    assert "withdrawn by its authors" in withdrawn[0]


def test_corrupt_crops_are_left_out_on_the_users_word_and_counted(tmp_path):
    figures(tmp_path, ["a_c1.png", "b_c2.png"])
    (tmp_path / "c_c1.png").write_bytes(b"nothing")
    crops = crops_at(tmp_path, skip_corrupt=True)
    assert (len(crops), len(crops.cameras), len(crops.tracks), crops.corrupt_skipped) == (2, 2, 2, 1)
    assert "1 unreadable images were left out" in crops.warnings[-1]


def test_what_is_lost_is_said(tmp_path):
    assert "all are of one camera" in crops_at(figures(tmp_path / "one", ["a_c1.png", "b_c1.png"])).warnings[1]
    assert "no crop tells its camera" in crops_at(figures(tmp_path / "none", ["a.png", "b.png"])).warnings[1]
    with pytest.raises(SemreidError, match="no folder or CSV file"):
        crops_at(tmp_path / "nowhere")


def test_a_data_set_without_such_crops_is_refused(tmp_path):
    figures(tmp_path, [f"{part}/{pid}_c{c}_1.png" for part in ("query", "gallery") for pid in (1, 2) for c in (1, 2)])
    with pytest.raises(SemreidError, match="has no crop for train"):
        crops_of(f"folder:{tmp_path}")
