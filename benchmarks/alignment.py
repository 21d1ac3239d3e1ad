"""How aligned the maps of a trunk are: how well can be read off a position, linearly, what of the body it shows.

python benchmarks/alignment.py RUN [RUN …]                        synthetic people, made anew, whose labels are exact
python benchmarks/alignment.py RUN [RUN …] --joints MARKET1501    and real crops with keypoints.npz
python benchmarks/alignment.py --quick                            seconds, random weights; for a test

The trunk is frozen. For each of its maps, a linear probe (ridge regression) learns from some people and is judged on
others. `place` is a probe that sees no map but knows where in the picture it is: that much a trunk need not have
learned. A zoo name, such as baseline, stands for random weights.

All maps are asked on the grid of the finest (a position every four pixels), so that their figures can be compared.

accuracy, parts: which of the eight part labels a position has. A coarse map answers for all the fine positions that it
covers, with an answer of its own for each: accuracy, and mean intersection over union of the parts, in percent.
uv: where on the body atlas a position lies, part by part, from maps interpolated to the grid: how much of the variance
of u and v within the parts is explained, in percent.
joints: which of the eight kinds of joints is at the place of a joint of a real crop: accuracy, in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from _timing import command_line
from parser import JOINTS, accuracy_and_iou, marked_joints
from semreid import load_model
from semreid.data.images import read_image, resize
from semreid.models.heads import REGIONS
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.people.dataset import PeopleRecipe, stream
from semreid.people.shots import Shot

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
PARTS = len(REGIONS)
LAYERS = ("layer1", "layer2", "layer3", "layer4")
PENALTIES, FAINT = (1e-3, 1e-2, 1e-1, 1.0), 1e-2
BATCH = 64


class Probe(NamedTuple):
    """A linear map of features.

    Attributes:
        mean: What is taken off the features first, (C,).
        weights: Then they are multiplied by this, (C, K),
        bias: and this is added, (K,).
    """

    mean: Array
    weights: Array
    bias: Array

    def __call__(self, features: Array) -> Array:
        """Map (N, C) to (N, K)."""
        return (features - self.mean) @ self.weights + self.bias


def fit(features: Array, targets: Array) -> Probe:
    """Ridge regression of targets (N, K) on features (N, C), with the penalty that does best on the last fifth.

    Features are brought to unit variance first; the bias goes free.
    """
    cut = max(1, 4 * len(features) // 5)
    tried = [_ridge(features[:cut], targets[:cut], penalty) for penalty in PENALTIES]
    errors = [np.square(probe(features[cut:]) - targets[cut:]).sum() for probe in tried]
    return _ridge(features, targets, PENALTIES[int(np.argmin(errors))])


def _ridge(features: Array, targets: Array, penalty: float) -> Probe:
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.maximum(scale, FAINT * scale.max()) + np.finfo(float).tiny  # what hardly varies is not blown up
    unit, bias = (features - mean) / scale, targets.mean(axis=0)
    gram = unit.T @ unit + penalty * len(unit) * np.eye(unit.shape[1])
    weights = np.linalg.solve(gram, unit.T @ (targets - bias))
    return Probe(mean, weights / scale[:, None], bias)


def explained(found: Array, truth: Array, groups: NDArray[np.intp]) -> float:
    """Share of the variance of the truth (N, K) within its groups (N,) that is explained, in percent."""
    rest, all_ = np.square(found - truth).sum(), 0.0
    for group in np.unique(groups):
        own = truth[groups == group]
        all_ += np.square(own - own.mean(axis=0)).sum()
    return 100 * float(1 - rest / all_)


def maps_of(model: ReIDModel, images: Sequence[Image]) -> dict[str, Tensor]:
    """The maps (N, C, h, w) of pictures by name, and ``place``: where a position is, one-hot."""
    found: dict[str, list[Tensor]] = {name: [] for name in LAYERS}
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = np.stack([resize(image, model.size) for image in images[start : start + BATCH]])
            maps = model.eval().maps(torch.from_numpy(batch).permute(0, 3, 1, 2).to(model.device))
            for name in LAYERS:
                found[name].append(maps[name].float().cpu())
    maps = {name: torch.cat(parts) for name, parts in found.items()}
    h, w = maps["layer1"].shape[2:]
    return {"place": torch.eye(h * w).view(1, h * w, h, w).expand(len(images), -1, -1, -1), **maps}


def rows(maps: Tensor) -> Array:
    """The positions of maps (N, C, h, w), (N·h·w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2).double().numpy()


def judge_parts(maps: Tensor, parts: Tensor, learn: slice, test: slice) -> tuple[float, float]:
    """Accuracy and mean IoU of part labels on a grid (N, H, W), of which each position covers a few."""
    share = parts.shape[1] // maps.shape[2]
    wanted = F.pixel_unshuffle(F.one_hot(parts[learn], PARTS).permute(0, 3, 1, 2).float(), share)
    said = torch.from_numpy(fit(rows(maps[learn]), rows(wanted))(rows(maps[test])))
    said = said.view(-1, *maps.shape[2:], wanted.shape[1]).permute(0, 3, 1, 2)
    labels = F.pixel_shuffle(said, share).argmax(dim=1)
    return accuracy_and_iou(labels.numpy(), parts[test].numpy(), PARTS)


def judge_uv(maps: Tensor, parts: Tensor, uv: Tensor, learn: slice, test: slice) -> float:
    """Explained variance of texture coordinates on a grid (N, 2, H, W) within the parts."""
    fine = F.interpolate(maps, (parts.shape[1], parts.shape[2]), mode="bilinear").permute(0, 2, 3, 1)
    where = uv.permute(0, 2, 3, 1)
    found, truth, groups = [], [], []
    for label in range(1, PARTS):
        shown = parts == label
        known, asked, targets, wanted = (
            values[some][shown[some]].double().numpy() for values in (fine, where) for some in (learn, test)
        )
        if len(known) > 1:
            found.append(fit(known, targets)(asked))
            truth.append(wanted)
            groups.append(np.full(len(wanted), label))
    return explained(np.concatenate(found), np.concatenate(truth), np.concatenate(groups))


def judge_joints(maps: Tensor, points: Tensor, kinds: NDArray[np.intp], learn: slice, test: slice) -> float:
    """Accuracy of the kind of joints at points (N, J, 2), from -1 to 1 over the picture; kinds (J,)."""
    seen = F.grid_sample(maps, points[:, None].float(), padding_mode="border", align_corners=False)[:, :, 0]
    features = seen.permute(0, 2, 1).double().numpy()  # (N, J, C)
    known, asked = (features[some].reshape(-1, features.shape[2]) for some in (learn, test))
    wanted = np.tile(np.eye(len(JOINTS))[kinds], (len(features[learn]), 1))
    labels = fit(known, wanted)(asked).argmax(axis=1).reshape(-1, len(kinds))
    return 100 * float((labels == kinds).mean())


def on_people(model: ReIDModel, shots: Sequence[Shot], count: int) -> dict[str, dict[str, float]]:
    """What can be read off pictures of synthetic people, by map; the first so many are to learn from."""
    maps = maps_of(model, [shot.image for shot in shots])
    grid = maps["layer1"].shape[2:]
    parts = _centres(torch.from_numpy(np.stack([shot.parts for shot in shots]))[:, None], grid)[:, 0].long()
    uv = _centres(torch.from_numpy(np.stack([shot.uv for shot in shots])).permute(0, 3, 1, 2), grid)
    learn, test = slice(count), slice(count, None)
    found = {}
    for name, each in maps.items():
        accuracy, iou = judge_parts(each, parts, learn, test)
        found[name] = {"accuracy": accuracy, "parts": iou, "uv": judge_uv(each, parts, uv, learn, test)}
    return found


def _centres(pictures: Tensor, grid: Sequence[int]) -> Tensor:
    """What (N, C, H, W) show in the middle of each cell of a grid."""
    return F.interpolate(pictures.float(), tuple(grid), mode="nearest-exact")


def on_joints(model: ReIDModel, folder: Path, every: int) -> dict[str, dict[str, float]]:
    """What can be read off the joints of real crops, by map; the people for training are to learn from."""
    paths, points, joints = marked_joints(folder, every)
    training = np.array([path.parent.name == "bounding_box_train" for path in paths])
    order = np.argsort(~training, kind="stable")
    images = [read_image(paths[i]) for i in order]
    sizes = np.array([image.shape[1::-1] for image in images])[:, None]
    places = torch.from_numpy((points[order].astype(float) + 0.5) / sizes * 2 - 1)
    kinds = np.array([list(JOINTS).index(joint) for joint in joints])
    learn, test = slice(int(training.sum())), slice(int(training.sum()), None)
    maps = maps_of(model, images)
    return {name: {"joints": judge_joints(each, places, kinds, learn, test)} for name, each in maps.items()}


def made_people(size: tuple[int, int], count: int) -> tuple[list[Shot], int]:
    """Pictures of so many people, of whom no model has learned, and how many of them are to learn from."""
    recipe = PeopleRecipe(
        count, 4, seed=4711, height=size[0], width=size[1], cameras=max(2, count // 8), occlusion=0.35
    )
    shots = list(stream(recipe))
    return shots, sum(shot.person.pid <= recipe.train_identities for shot in shots)


def show(run: str, found: dict[str, dict[str, float]]) -> None:
    """Print the rows of the table."""
    for name, figures in found.items():
        print(f"| {run} | {name} | " + " | ".join(f"{value:.1f}" for value in figures.values()) + " |", flush=True)


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--people", type=int, default=240)
    parser.add_argument("--joints", type=Path)
    parser.add_argument("--every", type=int, default=2, help="look at every Nth crop of --joints only")
    given = parser.parse_args()
    if not (given.runs or given.quick):
        parser.error("give runs, or --quick")
    columns = ["run", "map", "accuracy", "parts", "uv", *(["joints"] if given.joints else [])]
    print("| " + " | ".join(columns) + " |", "| " + "--- | " * len(columns), sep="\n")
    if given.quick:
        small = create_model("baseline", 1, trunk="resnet18", width=0.25, size=(64, 32))
        show("random weights", on_people(small, *made_people((64, 32), 12)))
    shots: dict[tuple[int, int], tuple[list[Shot], int]] = {}
    for run in given.runs:
        model = load_model(run)
        if model.size not in shots:
            shots[model.size] = made_people(model.size, given.people)
        found = on_people(model, *shots[model.size])
        joints = on_joints(model, given.joints, given.every) if given.joints else {}
        show(run, {name: figures | joints.get(name, {}) for name, figures in found.items()})


if __name__ == "__main__":
    main()
