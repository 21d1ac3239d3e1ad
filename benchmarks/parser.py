"""How well a parser of part masks does on real pictures, by what others have marked in them.

python benchmarks/parser.py RUN --joints DIR      Market-1501 with keypoints.npz (docs/label.md): joints of its crops
python benchmarks/parser.py RUN --photos DIR      Clothing Co-Parsing: street photos with garments drawn by hand
python benchmarks/parser.py RUN --people 100      so many synthetic people, four pictures of each, nobody before them
python benchmarks/parser.py --quick               seconds, made-up pictures and a parser that is right; for a test

The labels are those that `semreid label` would write. Joints: the share of joints whose pixel has a right label. At a
joint, both neighbours are right (an elbow is upper or lower arm); background is always wrong. Photos: intersection over
union of the person, and the share of the pixels of hair and hats that are head, of shoes that are foot, of trousers and
skirts that are leg. The joints were found by a machine, also where a body hides them: 100 % is out of reach. Synthetic
people tell how far: what exact masks have at the exact places of the joints. With them, a parser is judged by the mean
intersection over union of the eight labels, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from _timing import command_line
from semreid import load_model
from semreid.data.images import read_image
from semreid.functional.regions import likeliest_regions
from semreid.models.heads import REGIONS
from semreid.models.model import ReIDModel
from semreid.people.dataset import PeopleRecipe, stream
from semreid.people.poses import KEYPOINTS
from semreid.people.shots import Shot

BATCH = 256
JOINTS = {
    "head-top": ("head",),
    "neck": ("head", "torso"),
    "shoulder": ("torso", "upper arm"),
    "elbow": ("upper arm", "lower arm"),
    "wrist": ("lower arm",),
    "hip": ("torso", "upper leg"),
    "knee": ("upper leg", "lower leg"),
    "ankle": ("lower leg", "foot"),
}
PEOPLE_SEED = 606
LEGS = ("upper leg", "lower leg")
GARMENTS = {
    "hair, hat → head": (("hair", "hat"), ("head",)),
    "shoes → foot": (
        ("clogs", "flats", "heels", "loafers", "pumps", "sandals", "shoes", "sneakers", "wedges"),
        ("foot",),
    ),
    "trousers, skirt → leg": (("jeans", "leggings", "panties", "pants", "shorts", "skirt", "tights"), LEGS),
}
Labels = NDArray[np.uint8]


class Parser(Protocol):
    """What is judged: probabilities (N, R, h, w) of the parts of pictures."""

    def parse(self, images: Sequence[Path], *, flip: bool) -> NDArray[np.float32]:
        """Tell the part of every pixel."""


def numbers(names: Sequence[str]) -> list[int]:
    """Part labels by name."""
    return [REGIONS.index(name) for name in names]


def parsed(model: Parser, paths: Sequence[Path]) -> Iterator[tuple[Path, NDArray[np.float32]]]:
    """Each picture with the probabilities (R, h, w) of its pixels, at the size of the model."""
    for first in range(0, len(paths), BATCH):
        some = paths[first : first + BATCH]
        yield from zip(some, model.parse(some, flip=True), strict=True)


def labels_at(probabilities: NDArray[np.float32], size: tuple[int, int]) -> Labels:
    """Part labels (H, W) of a picture of that height and width."""
    height, width = size
    each = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in probabilities]
    return likeliest_regions(np.stack(each, axis=2))


def marked_joints(folder: Path, every: int) -> tuple[list[Path], NDArray[Any], list[str]]:
    """Every Nth crop with joints, their pixels in each, (N, J, 2), and their kinds, names of `JOINTS`, (J,)."""
    with np.load(folder / "keypoints.npz", allow_pickle=False) as file:
        names, points, joints = file["names"][::every], file["points"][::every], file["joints"]
    where = {path.name: path for path in folder.rglob("*.jpg")}
    kinds = [str(joint).removeprefix("r-").removeprefix("l-") for joint in joints]
    return [where[str(name)] for name in names], points, kinds


def judge_joints(model: Parser, folder: Path, every: int) -> dict[str, float]:
    """Share of joints with a right label, in percent: by kind, and of all."""
    paths, points, kinds = marked_joints(folder, every)
    found = parsed(model, paths)
    labels = (labels_at(probabilities, read_image(path).shape[:2]) for path, probabilities in found)
    return share_right(labels, kinds, points)


def share_right(labels: Iterable[Labels], kinds: Sequence[str], points: Iterable[NDArray[Any]]) -> dict[str, float]:
    """Share of joints with a right label, of all and by kind, given the pixel (J, 2) of each in each picture."""
    right: dict[str, list[bool]] = {kind: [] for kind in JOINTS}
    for picture, spots in zip(labels, points, strict=True):
        for kind, (x, y) in zip(kinds, spots.astype(int), strict=True):
            if 0 <= y < picture.shape[0] and 0 <= x < picture.shape[1]:
                right[kind].append(picture[y, x] in numbers(JOINTS[kind]))
    shares = {kind: 100 * float(np.mean(hits)) for kind, hits in right.items() if hits}
    return {"joints": 100 * float(np.mean(np.concatenate(list(right.values())))), **shares}


def people(count: int) -> list[Shot]:
    """Four pictures of each of so many synthetic people whom nobody was trained on."""
    recipe = PeopleRecipe(count, 4, seed=PEOPLE_SEED, height=128, width=64, cameras=40, occlusion=0)
    return list(stream(recipe, range(1, count + 1)))


def judge_masks(masks: Iterable[Labels], shots: Sequence[Shot]) -> dict[str, float]:
    """Share of the joints of synthetic people at which masks are right."""
    kinds = [name.removeprefix("left_").removeprefix("right_").replace("head", "head-top") for name in KEYPOINTS]
    return share_right(masks, kinds, [shot.keypoints for shot in shots])


def judge_people(model: ReIDModel, shots: Sequence[Shot]) -> dict[str, float]:
    """Share of joints of synthetic people with a right label, and mean intersection over union."""
    found = model.parse([shot.image for shot in shots], flip=True)
    masks = [labels_at(probabilities, shot.parts.shape) for probabilities, shot in zip(found, shots, strict=True)]
    labels, truth = (np.stack(each).astype(np.intp) for each in (masks, [shot.parts for shot in shots]))
    return judge_masks(masks, shots) | {"mean IoU": accuracy_and_iou(labels, truth, len(REGIONS))[1]}


def accuracy_and_iou(labels: NDArray[np.intp], truth: NDArray[np.intp], classes: int) -> tuple[float, float]:
    """Share of right labels, and mean intersection over union of the classes that there are, in percent."""
    counts = np.bincount(truth.ravel() * classes + labels.ravel(), minlength=classes**2).reshape(classes, classes)
    right, either = np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts)
    there = counts.sum(axis=1) > 0
    return 100 * right.sum() / counts.sum(), 100 * float(np.mean(right[there] / either[there]))


def judge_photos(model: Parser, folder: Path, every: int) -> dict[str, float]:
    """Person IoU, and shares of garments with the right label, in percent."""
    garments = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")
    both = either = 0
    hits = {name: [0, 0] for name in GARMENTS}
    for path, found in parsed(model, sorted((folder / "images").glob("*.jpg"))[::every]):
        truth = np.asarray(cv2.imread(str(folder / "labels" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED))
        labels = labels_at(found, truth.shape)
        both += int(((labels > 0) & (truth > 0)).sum())
        either += int(((labels > 0) | (truth > 0)).sum())
        for name, (theirs, ours) in GARMENTS.items():
            shown = np.isin(truth, [garments.index(garment) for garment in theirs])
            hits[name][0] += int(np.isin(labels[shown], numbers(ours)).sum())
            hits[name][1] += int(shown.sum())
    return {"person IoU": 100 * both / either, **{name: 100 * hit / max(1, of) for name, (hit, of) in hits.items()}}


class Marked:
    """A parser that knows the truth: pictures of four stripes, head, torso, upper leg and foot from top to bottom."""

    parts = ("head", "torso", "upper leg", "foot")
    garments = ("hair", "shirt", "pants", "shoes")

    @classmethod
    def write(cls, folder: Path) -> None:
        """Write three such pictures, as both data sets lay them out."""
        (folder / "images").mkdir()
        (folder / "labels").mkdir()
        names = ["null", "shirt", *(name for theirs, _ in GARMENTS.values() for name in theirs)]
        (folder / "labels.txt").write_text("\n".join(names), encoding="utf-8")
        labels = np.repeat([names.index(garment) for garment in cls.garments], 32)[:, None].repeat(64, 1)
        for i in range(3):
            cv2.imwrite(str(folder / "images" / f"{i}.jpg"), np.full((128, 64, 3), 80 * i, np.uint8))
            cv2.imwrite(str(folder / "labels" / f"{i}.png"), labels.astype(np.uint8))
        joints = {
            "head-top": 2,
            "neck": 31,
            "r-shoulder": 40,
            "l-hip": 70,
            "r-knee": 90,
            "l-ankle": 120,
            "l-wrist": 200,
        }
        points = np.array([[(30, y) for y in joints.values()]] * 3, np.int16)
        names_of = np.array([f"{i}.jpg" for i in range(3)])
        np.savez(folder / "keypoints.npz", names=names_of, points=points, joints=np.array(list(joints)))

    def parse(self, images: Sequence[Path], *, flip: bool) -> NDArray[np.float32]:
        """Tell the truth."""
        stripes = np.eye(len(REGIONS), dtype=np.float32)[numbers(self.parts)].T
        return np.broadcast_to(np.repeat(stripes, 8, 1)[None, :, :, None], (len(images), len(REGIONS), 32, 16))


def show(run: str, found: dict[str, float]) -> None:
    """Print what was found in percent."""
    print(run, json.dumps({name: round(value, 1) for name, value in found.items()}, ensure_ascii=False), flush=True)


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--joints", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--people", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="look at every Nth picture only")
    arguments = parser.parse_args()
    if arguments.quick:
        with TemporaryDirectory() as folder:
            Marked.write(Path(folder))
            right = judge_joints(Marked(), Path(folder), 1) | judge_photos(Marked(), Path(folder), 1)
            show("a parser that is right", right)
            shots = people(4)
            show("exact masks of synthetic people", judge_masks([shot.parts for shot in shots], shots))
        return
    if not (arguments.runs and (arguments.joints or arguments.photos or arguments.people)):
        parser.error("give runs and --joints, --photos or --people, or --quick")
    shots = people(arguments.people) if arguments.people else []
    if shots:
        show("exact masks of synthetic people", judge_masks([shot.parts for shot in shots], shots))
    for run in arguments.runs:
        model, found = load_model(run), dict[str, float]()
        if arguments.joints:
            found |= judge_joints(model, arguments.joints, arguments.every)
        if arguments.photos:
            found |= judge_photos(model, arguments.photos, arguments.every)
        if found:
            show(run, found)
        if shots:
            show(f"{run}, synthetic people", judge_people(model, shots))


if __name__ == "__main__":
    main()
