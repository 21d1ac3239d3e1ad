"""How well a model paints what a picture does not show: textures of synthetic people that nobody was trained on.

python benchmarks/textures.py RUN --data people:DIR     people for testing of a synthesised data set, seen anew
python benchmarks/textures.py --quick                   seconds, an untrained model; for a test
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from _timing import command_line
from semreid.atlas import CHARTS, SIZE, valid_texels
from semreid.data.images import read_image
from semreid.errors import SemreidError
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.people.dataset import PeopleRecipe, stream
from semreid.people.shots import Shot, create_person

NEAR = 3  # texels: a pixel of a small picture covers several
Array = NDArray[np.floating]


def charts(*words: str) -> NDArray[np.bool_]:
    """Texels of the charts whose names hold one of these words."""
    chosen = np.zeros((SIZE, SIZE), np.bool_)
    for name, chart in CHARTS.items():
        chosen[chart.window] = any(word in name for word in words)
    return chosen


PARTS = {"head": charts("head"), "torso": charts("torso"), "arms": charts("arm", "hand"), "legs": charts("leg", "foot")}


def copied(shot: Shot, colours: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Colours (H, W, 3) of the visible pixels laid on the atlas, their mean elsewhere; and which texels are seen."""
    shown = shot.parts > 0
    x, y = (shot.uv[shown] * SIZE).astype(int).clip(0, SIZE - 1).T
    hit = np.ones((SIZE, SIZE), np.uint8)
    painted = np.zeros((SIZE, SIZE, 3))
    hit[y, x], painted[y, x] = 0, colours[shown]
    distance, label = cv2.distanceTransformWithLabels(hit, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(hit == 0)
    order = np.argsort(label[rows, columns])
    nearest = painted[rows[order], columns[order]][label - 1]
    seen = (distance <= NEAR) & valid_texels()
    return np.where(seen[..., None], nearest, colours[shown].mean(axis=0)), seen


def sampled(shot: Shot) -> Array:
    """The true texture at every pixel, (H, W, 3): what a picture without light, blur and noise would show."""
    u, v = (shot.uv * SIZE).astype(int).clip(0, SIZE - 1).transpose(2, 0, 1)
    colours: Array = shot.person.texture[v, u] / 255
    return colours


def errors(textures: Array, shots: Sequence[Shot], seen: NDArray[np.bool_]) -> dict[str, float]:
    """Mean absolute error over the whole atlas, and over the seen and the hidden texels of the body."""
    truth = np.stack([shot.person.texture for shot in shots]) / 255
    each = np.abs(textures - truth).mean(axis=3)
    body = np.logical_or.reduce(list(PARTS.values()))
    regions = {"atlas": np.ones_like(seen), "seen": seen & body, "hidden": ~seen & body}
    regions |= {f"hidden {name}": ~seen & part for name, part in PARTS.items()}
    return {name: float(each[region].mean()) for name, region in regions.items()}


def take_pictures(folder: Path, count: int) -> tuple[list[Shot], Array]:
    """Pictures of people for testing, by the recipe of a data set, and the mean texture of those for training."""
    recipe = PeopleRecipe(**{k: v for k, v in json.loads((folder / "people.json").read_text()).items() if k != "atlas"})
    first = recipe.train_identities + 1
    shots = list(stream(recipe, range(first, min(recipe.identities, first + count - 1) + 1)))
    known = next((folder / "textures").rglob(f"{first:04d}_*.png"))
    if not np.array_equal(read_image(known), shots[0].person.texture):
        raise SemreidError(f"{folder} was made by another version of the generator", fix="synthesize it anew")
    return shots, mean_texture(recipe, min(300, recipe.train_identities))


def mean_texture(recipe: PeopleRecipe, people: int) -> Array:
    total = sum(create_person(recipe.seed, pid).texture / 255 for pid in range(1, people + 1))
    return np.asarray(total / people)


def compare(model: ReIDModel, shots: Sequence[Shot], mean: Array) -> None:
    painted = model.texture([shot.image for shot in shots], flip=True).transpose(0, 2, 3, 1)
    copies, seen = (np.stack(part) for part in zip(*(copied(s, s.image / 255) for s in shots), strict=True))
    ideal = np.stack([copied(shot, sampled(shot))[0] for shot in shots])
    rows = {
        "the model": errors(painted, shots, seen),
        "the mean texture": errors(np.broadcast_to(mean, painted.shape), shots, seen),
        "copying what is seen": errors(copies, shots, seen),
        "copying without light": errors(ideal, shots, seen),
    }
    assert rows["copying without light"]["seen"] < 0.05  # the atlas is where the pixels say
    print(f"{len(shots)} pictures; L1 of the texture, colours from 0 to 1; {seen.mean():.0%} of the atlas is seen")
    print(" " * 22 + "".join(f"{name:>14}" for name in rows["the model"]))
    for name, row in rows.items():
        print(f"{name:22}" + "".join(f"{value:14.4f}" for value in row.values()))
    for name in ("the mean texture", "copying what is seen"):
        ratios = [rows["the model"][region] / rows[name][region] for region in ("atlas", "hidden")]
        print(f"the model's error is {ratios[0]:.2f} of that of {name}, {ratios[1]:.2f} where nothing is seen")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--data", default="", help="people:DIR")
    parser.add_argument("--people", type=int, default=100, help="how many of those for testing")
    given = parser.parse_args()
    if given.quick:
        recipe = PeopleRecipe(8, 2, height=128, width=64, cameras=2)
        model = create_model("san_pg", num_ids=1, trunk="resnet18", width=0.25, size=recipe.size)
        compare(model.eval(), list(stream(recipe, range(7, 9))), mean_texture(recipe, 6))
    elif given.run and given.data:
        compare(load_model(given.run), *take_pictures(Path(given.data.removeprefix("people:")), given.people))
    else:
        parser.error("give RUN and --data people:DIR, or --quick")


if __name__ == "__main__":
    main()
