from pathlib import Path

import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.tracking import open_video
from tests.conftest import write_image
from tests.tracking.scenes import SIZE, write_video


def levels(count):
    """Frames whose brightness tells their number."""
    return [np.full((*SIZE, 3), 20 + 8 * number, np.uint8) for number in range(count)]


def test_frames_are_those_of_their_numbers(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", levels(25), rate=12.5)
    video = open_video(path)
    assert (video.height, video.width, video.rate) == (*SIZE, 12.5)
    found = list(video.frames([1, 2, 9, 25]))
    assert [frame.number for frame in found] == [1, 2, 9, 25]
    assert [frame.seconds for frame in found] == [0, 0.08, 0.64, 1.92]
    assert [round(frame.image.mean()) for frame in found] == pytest.approx([20, 28, 84, 212], abs=2)
    assert open_video(path, rate=5).rate == 5
    assert list(video.frames([])) == []


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for number, image in enumerate(levels(12), 1):
        write_image(tmp_path / f"{number}.png", image)
    video = open_video(tmp_path)
    assert video.rate == 25
    found = list(video.frames([2, 10]))
    assert [(frame.number, frame.image[0, 0, 0]) for frame in found] == [(2, 28), (10, 92)]
    with pytest.raises(SemreidError, match="no frame 13"):
        list(video.frames([2, 13]))
    write_image(tmp_path / "5.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SemreidError, match="frame 5 has another size"):
        list(video.frames([5]))
    write_image(tmp_path / "x05.png", levels(1)[0])
    with pytest.raises(SemreidError, match="is frame 5, as 5.png is"):
        open_video(tmp_path)


def test_pictures_that_count_from_0_are_refused(tmp_path: Path) -> None:
    """Frame 1 of a tracker would be the second of them."""
    for number, image in enumerate(levels(3)):
        write_image(tmp_path / f"{number:06d}.png", image)
    with pytest.raises(SemreidError, match="000000.png is frame 0, and frames count from 1") as told:
        open_video(tmp_path)
    assert "one higher" in told.value.fix


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", levels(5))
    with pytest.raises(SemreidError, match="no frame 6, where the tracker saw"):
        list(open_video(path).frames([1, 6, 7]))
    with pytest.raises(SemreidError, match="no video at"):
        open_video(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(SemreidError, match="no video that can be read"):
        open_video(tmp_path / "text.mp4")
    write_image(tmp_path / "frame_001.png", levels(1)[0])
    with pytest.raises(SemreidError, match="no video that can be read"):
        open_video(tmp_path / "frame_001.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SemreidError, match="has no picture in it"):
        open_video(tmp_path / "empty")


@pytest.mark.parametrize("rate", [-5.0, 0.0, float("nan"), float("inf")])
def test_no_video_has_such_a_rate(tmp_path: Path, rate: float) -> None:
    path = write_video(tmp_path / "v.avi", levels(2))
    with pytest.raises(SemreidError, match="frames a second"):
        open_video(str(path), rate)
