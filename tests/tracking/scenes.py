"""Small videos of coloured boxes on a grey ground, each box of a track in its own colour."""

from pathlib import Path

import cv2
import numpy as np

SIZE = (96, 128)
COLOURS = {1: (200, 40, 40), 2: (40, 200, 40), 3: (40, 40, 200)}


def frames(boxes, count):
    """Draw frames: boxes are (frame, track, left, top, width, height); those that stand lower are drawn last."""
    images = np.full((count, *SIZE, 3), 90, np.uint8)
    for frame, track, left, top, width, height in sorted(boxes, key=lambda box: box[3] + box[5]):
        images[frame - 1, max(top, 0) : top + height, max(left, 0) : left + width] = COLOURS[track]
    return images


def write_video(path: Path, images, rate=10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, SIZE[::-1])
    for image in images:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    return path


def write_mot(path: Path, boxes) -> Path:
    path.write_text("".join(f"{','.join(map(str, box))},1,-1,-1,-1\n" for box in boxes))
    return path


def walk(track, first, last, top=20, left=10, step=3):
    """A box of 16×40 that walks to the right."""
    return [(frame, track, left + step * (frame - first), top, 16, 40) for frame in range(first, last + 1)]
