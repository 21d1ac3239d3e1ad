"""How fast synthetic people are made: pictures with masks on disk, and the renderer against plain NumPy.

python benchmarks/people.py               256×128 on all cores
python benchmarks/people.py --quick       seconds; for a test
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from _timing import command_line
from semreid.people.dataset import PeopleRecipe, write_person
from semreid.people.mesh import texture_coordinates
from semreid.people.poses import draw_pose, take_pose
from semreid.people.render import Projection, View, bounding_box, project, render
from semreid.people.shots import Person, create_person


def write_some(recipe: PeopleRecipe, folder: Path, pids: range) -> tuple[float, float]:
    """Seconds for painting these people and for writing their pictures; a warm-up round is not counted."""
    cv2.setNumThreads(1)
    began = time.perf_counter()
    people = [create_person(recipe.seed, pid) for pid in pids]
    painted = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as elsewhere:
        for person in people:  # the places that the cameras see are painted now
            write_person(recipe, Path(elsewhere), person)
    began = time.perf_counter()
    for person in people:
        write_person(recipe, folder, person)
    return painted, time.perf_counter() - began


def measure(recipe: PeopleRecipe, workers: int) -> None:
    shares = [range(1 + w, recipe.identities + 1, workers) for w in range(workers)]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        done = [pool.submit(write_some, recipe, Path(folder), pids) for pids in shares]
        times = [future.result() for future in done]
        pictures = recipe.identities * recipe.images_per_identity
        written = len(list(Path(folder).rglob("*.jpg")))
        assert written == pictures == len(list((Path(folder) / "masks").rglob("*.png")))
    painting = sum(painted for painted, _ in times) / recipe.identities
    rate = pictures / max(wrote for _, wrote in times)
    print(f"{pictures} pictures of {recipe.height}x{recipe.width} with masks: {rate:.0f} images/s on {workers} cores")
    print(f"painting one person: {1e3 * painting:.1f} ms on one core")


def numpy_render(
    seen: Projection, faces: NDArray[np.int32], texture: NDArray[np.floating], height: int, width: int
) -> NDArray[np.floating]:
    """The same z-buffer, triangle by triangle in NumPy: nearest texel, no supersampling."""
    left, top, right, bottom = bounding_box(seen)
    screen = (seen.points - (left, top)) * (width / (right - left), height / (bottom - top))
    uv = texture_coordinates()
    depth, image = np.zeros((height, width)), np.zeros((height, width, 3))
    for a, b, c in faces:
        (ax, ay), (bx, by), (cx, cy) = screen[[a, b, c]]
        area = (cx - ax) * (by - ay) - (bx - ax) * (cy - ay)
        x0, x1 = max(0, int(min(ax, bx, cx))), min(width, int(max(ax, bx, cx)) + 1)
        y0, y1 = max(0, int(min(ay, by, cy))), min(height, int(max(ay, by, cy)) + 1)
        if area <= 1e-12 or x1 <= x0 or y1 <= y0:
            continue
        y, x = np.mgrid[y0:y1, x0:x1] + 0.5
        wa = ((cx - x) * (by - y) - (bx - x) * (cy - y)) / area
        wb = ((cx - ax) * (y - ay) - (x - ax) * (cy - ay)) / area
        shares = np.stack((wa, wb, 1 - wa - wb)) * seen.nearness[[a, b, c]][:, None, None]
        near = shares.sum(0)
        ahead = (wa >= 0) & (wb >= 0) & (wa + wb <= 1) & (near > depth[y0:y1, x0:x1])
        u, v = (uv[[a, b, c]].T @ (shares[:, ahead] / near[ahead]) * 256).astype(int).clip(0, 255)
        depth[y0:y1, x0:x1][ahead] = near[ahead]
        image[y0:y1, x0:x1][ahead] = texture[v, u]
    return image


def compare(person: Person, size: tuple[int, int], rounds: int) -> None:
    body = person.body
    pose = draw_pose(body, np.random.default_rng(0))
    seen = project(take_pose(body, pose), View())
    texture = person.texture.astype(np.float32) / 255

    def ours() -> NDArray[np.floating]:
        return render(seen, body.faces, texture, bounding_box(seen), size, supersample=1).colour

    ours()
    began = time.perf_counter()
    for _ in range(10 * rounds):
        fast = ours()
    fast_seconds = (time.perf_counter() - began) / (10 * rounds)
    began = time.perf_counter()
    for _ in range(rounds):
        slow = numpy_render(seen, body.faces, texture, *size)
    slow_seconds = (time.perf_counter() - began) / rounds
    assert np.median(np.abs(fast - slow).max(2)) < 0.02
    print(f"rendering: {1e3 * fast_seconds:.2f} ms, {slow_seconds / fast_seconds:.0f}x faster than plain NumPy")


def main() -> None:
    quick = command_line(__doc__).parse_args().quick
    recipe = PeopleRecipe(4, 4, 0, 64, 32, 2) if quick else PeopleRecipe(24, 60, 0, 256, 128, 6)
    compare(create_person(0, 1), recipe.size, 1 if quick else 5)
    measure(recipe, 1 if quick else os.cpu_count() or 1)


if __name__ == "__main__":
    main()
