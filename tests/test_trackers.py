"""Our embeddings in trackers of others: the real packages, over a made-up video."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.tracking import embed_boxes
from tests.conftest import draw_figure

sv = pytest.importorskip("supervision")
trackers = pytest.importorskip("trackers")
PAGE = (Path(__file__).parents[1] / "docs" / "trackers.md").read_text(encoding="utf-8")
HEIGHT, WIDTH = 64, 32


@pytest.fixture(scope="module")
def model() -> ReIDModel:
    """A model of random weights that tells figures apart: its statistics are those of figures."""
    torch.manual_seed(0)
    model = create_model("baseline", 1, trunk="resnet18", width=0.25, size=(HEIGHT, WIDTH))
    for norm in (m for m in model.modules() if hasattr(m, "momentum")):
        norm.momentum = None
    crops = np.stack([draw_figure(pid, camid, 0) for pid in range(1, 25) for camid in (1, 2)])
    images = torch.from_numpy(crops).permute(0, 3, 1, 2)
    with torch.no_grad():
        model.train().heads["identity"].embed(model.maps(images))
    return model.eval()


def video(swapped_at: int, hidden: int, frames: int) -> list[tuple[np.ndarray, list[int], np.ndarray]]:
    """Two people on a street who stand still, are both hidden for a while, and come back in each other's place."""
    found = []
    for number in range(frames):
        street = np.full((120, 200, 3), 90, np.uint8)
        if swapped_at <= number < swapped_at + hidden:
            found.append((street, [], np.zeros((0, 4), np.float32)))
            continue
        people = [1, 2] if number < swapped_at else [2, 1]
        boxes = np.array([[20, 30, 20 + WIDTH, 30 + HEIGHT], [120, 30, 120 + WIDTH, 30 + HEIGHT]], np.float32)
        for pid, (x, y, *_) in zip(people, boxes.astype(int), strict=True):
            street[y : y + HEIGHT, x : x + WIDTH] = draw_figure(pid, 1, number)
        found.append((street, people, boxes))
    return found


def ids_by_person(update, frames) -> dict[int, list[int]]:
    """Which track ids each person got, in order; -1 is nobody yet."""
    found: dict[int, list[int]] = {1: [], 2: []}
    for frame, people, boxes in frames:
        followed = update(frame, sv.Detections(xyxy=boxes, confidence=np.full(len(boxes), 0.9)))
        where = {tuple(box): pid for box, pid in zip(boxes.tolist(), people, strict=True)}
        for box, track in zip(followed.xyxy.tolist(), followed.tracker_id, strict=True):
            if track >= 0 and track not in found[where[tuple(box)]]:
                found[where[tuple(box)]].append(int(track))
    return found


def looks(model: ReIDModel):
    """The measure that the page shows."""
    source = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]
    names: dict[str, object] = {"np": np, "embed_boxes": embed_boxes}
    exec(compile(source.split("\nlooks = ")[0], "docs/trackers.md", "exec"), names)
    return names["Looks"](model)


def test_detections_are_boxes(model: ReIDModel) -> None:
    frame, _, boxes = video(5, 0, 1)[0]
    detections = sv.Detections(xyxy=boxes, confidence=np.ones(2), class_id=np.zeros(2, int))
    np.testing.assert_array_equal(embed_boxes(model, frame, detections), embed_boxes(model, frame, boxes))
    assert embed_boxes(model, frame, sv.Detections.empty()).shape == (0, model.dim)


def test_people_who_change_places_unseen_keep_their_tracks_by_their_looks(model: ReIDModel) -> None:
    frames = video(swapped_at=6, hidden=4, frames=16)
    places = trackers.ByteTrackTracker()
    by_place = ids_by_person(lambda _, detections: places.update(detections), frames)
    assert len(set(by_place[1]) & set(by_place[2])) == 2  # where they stand is all it knows: the tracks change owners

    measure = looks(model)
    tracker = trackers.ByteTrackTracker(iou=measure)
    by_looks = ids_by_person(lambda frame, detections: measure.track(tracker, frame, detections), frames)
    assert not set(by_looks[1]) & set(by_looks[2])
    assert [len(by_looks[pid]) for pid in (1, 2)] == [1, 1]
