"""How much faster exported files embed than the model they come from, and that they embed the same.

python benchmarks/export.py                             ResNet-50 at 256x128, trained for six epochs on synthetic people
python benchmarks/export.py --model RUN --data SPEC     a trained model on its data, such as cuhk03-np/labeled:DIR
python benchmarks/export.py --quick                     seconds; for a test

Everything runs in turn, round after round, and the best round of each counts: other work on the machine slows a
round, nothing speeds one up. Each file ranks the gallery of the data for all of its queries, as the model does; what
changes places must be as close as rounding. int8 is used where `semreid export` accepts it: where the model itself is
clearly better than chance, the two agree, and at most half a point of mAP is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from _timing import best_of, command_line
from semreid.data.benchmarks import load_dataset
from semreid.data.images import read_image, resize
from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.evaluation.embeddings import embed_files
from semreid.evaluation.protocol import evaluate_features
from semreid.export import SUFFIXES, Kind, export_model
from semreid.export.agreement import Int8
from semreid.models.embedder import Embedder
from semreid.models.loading import load_embedder
from semreid.people.dataset import PeopleRecipe, synthesize
from semreid.training.loop import train
from semreid.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
BATCH = 16


def trained_model(folder: Path, dataset: ReIDDataset, *, quick: bool) -> Path:
    """A run folder, trained briefly on the people of the data: only a model that knows people tells what int8 costs."""
    overrides = ["model.options={pool: gem}", "data.holdout=0", "schedule.warmup_epochs=1", "validate_every=100"]
    full = ["model.trunk=resnet50", "model.width=1", "data.height=256", "data.width=128", "schedule.epochs=6"]
    small = ["data.identities=4", "data.instances=2", "schedule.epochs=8"]
    recipe = load_recipe(ROOT / "recipes" / "tiny" / "baseline.yaml", [*overrides, *(small if quick else full)])
    train(recipe, dataset, folder)
    return folder


def export_all(model: Path, dataset: ReIDDataset, folder: Path, kinds: tuple[Kind, ...]) -> dict[str, Path]:
    """Every file that gives the model's embeddings; int8 where it is accepted."""
    found: dict[str, Path] = {}
    for kind in kinds:
        found[f"{kind} fp32"] = export_model(model, folder / f"fp32{SUFFIXES[kind]}", kind=kind).files[0]
    for kind in kinds:
        try:
            done = export_model(model, folder / f"int8{SUFFIXES[kind]}", kind=kind, int8=Int8(dataset))
        except SemreidError as error:
            print(f"{kind} int8 is refused: {error.what}")
            continue
        found[f"{kind} int8"] = done.files[0]
    return found


def parity(expected: NDArray[np.float32], found: NDArray[np.float32], dataset: ReIDDataset) -> str:
    """Least cosine; how many ranks are the same, and how close what changed places is; what the figures become."""
    cosine = (expected.astype(float) * found).sum(1) / np.linalg.norm(found.astype(float), axis=1)
    queries = len(dataset.query)
    similarity, other = (v[:queries] @ v[queries:].T for v in (expected, found))
    order, changed = (np.argsort(-s, axis=1, kind="stable") for s in (similarity, other))
    gaps = np.abs(np.take_along_axis(similarity, order, 1) - np.take_along_axis(similarity, changed, 1))
    before, after = (
        evaluate_features(v[:queries], v[queries:], dataset.query, dataset.gallery, dataset.protocol).metrics
        for v in (expected, found)
    )
    figures = [f"{name} {before[name]:.2f} % to {after[name]:.2f} %" for name in ("mAP", "rank1") if name in before]
    same = f"{(order == changed).mean():.2%} of all ranks the same, similarities there at most {gaps.max():.1e} apart"
    return f"cosine {cosine.min():.7f}, {same}, {', '.join(figures)}"


def compare(eager: Embedder, files: dict[str, Path], dataset: ReIDDataset, rounds: int) -> str:
    """Print the speed of each runner and what it makes of the data; return the name of the fastest."""
    runners: dict[str, Embedder] = {"eager fp32": eager}
    runners |= {name: load_embedder(path) for name, path in files.items()}
    crops = [resize(read_image(s), eager.size) for s in (*dataset.query, *dataset.gallery)]
    works: dict[str, Callable[[], object]] = {
        name: partial(runner.embed, crops[:BATCH], batch_size=BATCH) for name, runner in runners.items()
    }
    seconds = best_of(works, rounds)
    expected = eager.embed(crops)
    for name, best in seconds.items():
        note = parity(expected, runners[name].embed(crops), dataset) if name in files else ""
        print(f"{name:14} {BATCH / best:7.1f} images/s  {seconds['eager fp32'] / best:5.2f}x  {note}")
    return min(files, key=lambda name: seconds[name])


def end_to_end(name: str, embedder: Embedder, folder: Path, rounds: int) -> None:
    """Print the throughput of `semreid embed` on JPEG files as a share of that of the network alone."""
    paths = sorted((folder / "jpeg").iterdir())
    crops = [resize(read_image(path), embedder.size) for path in paths]
    works: dict[str, Callable[[], object]] = {
        "alone": lambda: embedder.embed(crops),
        "files": lambda: embed_files(embedder, folder / "jpeg", folder / "vectors.parquet"),
    }
    seconds = best_of(works, rounds)
    share = seconds["alone"] / seconds["files"]
    print(f"semreid embed with {name}: {len(paths) / seconds['files']:.1f} images/s, {share:.0%} of the network alone")


def write_jpeg(dataset: ReIDDataset, folder: Path, count: int) -> None:
    (folder / "jpeg").mkdir()
    for i, sample in enumerate(dataset.gallery[:count]):
        cv2.imwrite(str(folder / "jpeg" / f"{i:05d}.jpg"), read_image(sample)[..., ::-1])


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data")
    asked = parser.parse_args()
    people, images, rounds = (8, 4, 2) if asked.quick else (240, 6, 13)
    kinds: tuple[Kind, ...] = ("onnx",) if asked.quick else ("onnx", "openvino")
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SEMREID_CACHE"] = str(folder / "cache")
        spec = asked.data or f"people:{synthesize(PeopleRecipe(people, images), folder / 'people')}"
        dataset = load_dataset(spec)
        model = asked.model or trained_model(folder / "run", dataset, quick=asked.quick)
        write_jpeg(dataset, folder, 16 if asked.quick else 192)
        eager, files = load_embedder(model), export_all(model, dataset, folder, kinds)
        fastest = compare(eager, files, dataset, rounds)
        print(f"fastest accepted runner: {fastest}")
        end_to_end("eager fp32", eager, folder, max(2, rounds // 3))
        end_to_end(fastest, load_embedder(files[fastest]), folder, max(2, rounds // 3))


if __name__ == "__main__":
    main()
