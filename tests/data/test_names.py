from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semreid.data.names import camera_below, camera_of, is_camera
from semreid.data.sample import MAX_CAMID, MAX_PID, Sample
from semreid.errors import SemreidError

DIGITS = st.text("0123456789", min_size=1, max_size=25)


@given(DIGITS, st.sampled_from(["c", "C", "cam", "CAM", "camera"]))
def test_a_camera_is_its_number_or_beyond_the_bound(digits, word):
    path = Path(f"d/0001_{word}{digits}_7.jpg")
    if int(digits) <= MAX_CAMID:
        assert camera_of(path) == camera_below(path, Path("d")) == int(digits)
        return
    with pytest.raises(SemreidError, match=f"{path.name}: camera {int(digits)} is not between 0 and 2147483647"):
        camera_of(path)


@given(st.text(max_size=30))
def test_any_name_gives_a_camera_none_or_our_error(name):
    try:
        camera = camera_of(Path(f"{name}.jpg"))
    except SemreidError:
        return
    assert camera is None or 0 <= camera <= MAX_CAMID


@given(st.integers(-(2**70), 2**70), st.integers(-1, 2**40))
def test_numbers_of_samples_fit_into_64_and_31_bits(pid, camid):
    fits = -MAX_PID <= pid <= MAX_PID and 0 <= camid <= MAX_CAMID
    if fits:
        assert Sample(Path("a.jpg"), pid, camid).pid == pid
        return
    with pytest.raises(SemreidError, match=r"a\.jpg: .*\n  way out: number "):
        Sample(Path("a.jpg"), pid, camid)


def test_the_file_name_tells_the_camera_before_its_folders_do():
    assert camera_below(Path("d/cam2/0001/x_c3.jpg"), Path("d")) == 3
    assert camera_below(Path("d/cam2/0001/x.jpg"), Path("d")) == 2
    assert camera_below(Path("cam9/0001/x.jpg"), Path("cam9")) is None  # a folder above what the user named


@pytest.mark.parametrize(("name", "camera"), [("cam1", True), ("C01", True), ("Camera_2", True), ("cat1", False)])
def test_folders_of_cameras(name, camera):
    assert is_camera(Path(name)) is camera
