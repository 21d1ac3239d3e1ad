"""Calibrating a trained model on people that it has never seen, and saying which people these were."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semreid.data.sample import Protocol, ReIDDataset, Sample, cameras_by_pid, num_identities
from semreid.data.split import hold_out, query_and_gallery, without_leaked
from semreid.data.store import build_store, samples_digest, sketch_overlap
from semreid.errors import SemreidError
from semreid.evaluation.protocol import embed_store
from semreid.functional.calibration import FEWEST_PEOPLE, RELIABILITY_BINS, UNTOLD, Calibration, Evidence, calibrate
from semreid.functional.identification import identify_open_set
from semreid.functional.pairs import CELLS, HALF, HISTOGRAM_CELLS, histogram
from semreid.functional.ranking import position
from semreid.models.card import Card, read_card
from semreid.models.model import ReIDModel
from semreid.parallel import Progress
from semreid.training.recipe import load_recipe
from semreid.training.record import RECIPE

Split = Literal["heldout", "test", "all"]
SPLITS = ("heldout", "test", "all")
ANYBODYS = {"folder", "people"}
"""Data set names that stand for different people each time."""
IDENTIFICATION_FARS = (0.1, 0.01)


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """A calibration with what it was made from.

    Attributes:
        calibration: What the card keeps.
        evidence: What else a reader wants to see.
        warnings: What a user must be told before using it.
    """

    calibration: Calibration
    evidence: Evidence
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON can hold it; commands that want a calibration can read it from there."""
        scores = self.evidence.scores
        return {
            "calibration": asdict(self.calibration),
            "warnings": list(self.warnings),
            "log_loss_by_method": dict(self.evidence.losses),
            "reliability": _reliability_rows(self.evidence.reliability),
            "histogram": {
                "edges": (np.arange(0, CELLS + HISTOGRAM_CELLS, HISTOGRAM_CELLS) / HALF - 1).tolist(),
                "genuine": histogram(scores.genuine).tolist(),
                "impostor": histogram(scores.impostor).tolist(),
            },
        }


class CalibrationSplit(NamedTuple):
    """The crops to calibrate on.

    Attributes:
        query: Those that search, for open-set identification.
        gallery: Those that are searched.
        split: What split of the data they are.
        protocol: Of the data that they are from.
        warnings: What is doubtful about them.
    """

    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    split: Split
    protocol: Protocol
    warnings: tuple[str, ...]


def calibrate_model(
    model: ReIDModel,
    run: Path | str,
    dataset: ReIDDataset,
    *,
    split: Split | None = None,
    fars: Sequence[float] | None = None,
    flip: bool = False,
    per_camera_pair: bool = False,
    progress: Progress | None = None,
) -> CalibrationReport:
    """Calibrate a trained model on a data set.

    Args:
        model: The model.
        run: Its run folder or card.
        dataset: The data.
        split: Which people, as in `choose_split`.
        fars: False-accept rates to find thresholds for; if None, all powers of ten that can be stated.
        flip: Average embeddings with those of the mirror images, in calibration and in use.
        per_camera_pair: Find thresholds for each pair of cameras too.
        progress: Told how far the decoding is.

    Raises:
        SemreidError: If the model was trained on these people, there are too few of them, their cameras are not known,
            or images cannot be read.
    """
    people = choose_split(run, dataset, split)
    gallery = without_leaked(people.query, people.gallery)
    crops = tuple({s.place: s for s in (*gallery, *people.query)}.values())  # a crop may be both
    _require_cameras(people.protocol, crops)
    features = embed_store(model, build_store(crops, model.size, progress=progress), flip=flip)
    pids, camids = (np.array([getattr(s, name) for s in crops]) for name in ("pid", "camid"))
    # Distractors (0) may be nobody, or anybody: whether a pair of them is genuine, nobody knows.
    known = np.where(pids == 0, -1, pids)
    calibration, evidence = calibrate(features, known, camids, fars=fars, per_camera_pair=per_camera_pair)
    row = {s.place: i for i, s in enumerate(crops)}
    q, g = ([row[s.place] for s in side] for side in (people.query, gallery))
    ids, junk = (pids[q], pids[g], camids[q], camids[g]), dataset.protocol.junk
    searches = identify_open_set(features[q], features[g], *ids, IDENTIFICATION_FARS, junk=junk)
    complete = replace(
        calibration,
        identification=tuple(point for point in searches if point.far.is_known),
        flip=flip,
        fingerprint=model.fingerprint,
        made_on={
            "dataset": dataset.name,
            "split": people.split,
            "sha256": samples_digest(crops),
            "terms": dataset.terms,
            "warnings": [*dataset.warnings, *people.warnings],
        },
    )
    return CalibrationReport(complete, evidence, people.warnings)


def _require_cameras(protocol: Protocol, crops: Sequence[Sample]) -> None:
    """Tell apart, before they are embedded, crops of too few people from crops whose cameras are too few or unknown."""
    fix = (
        "give crops of more cameras; or, where these are, tell which: _c3_ in the names of the files, folders cam1, "
        "cam2, or the column camid of a CSV file (docs/data.md)"
    )
    if not protocol.cameras_known:
        raise SemreidError(
            f"nobody knows of two crops here that two cameras took them ({protocol.note}): pairs of one camera are "
            "near-copies, and a model that is calibrated on them claims far too much",
            fix=fix,
        )
    seen_by = [len(cameras) for cameras in cameras_by_pid(s for s in crops if s.pid).values()]
    paired = sum(cameras > 1 for cameras in seen_by)
    if paired < FEWEST_PEOPLE <= len(seen_by):
        raise SemreidError(
            f"only {paired} of {len(seen_by):,} people are seen by two cameras, and crops of one make no pairs: "
            f"a calibration needs {FEWEST_PEOPLE} such people, and many more to say anything of rare errors",
            fix=fix,
        )


def choose_split(run: Path | str, dataset: ReIDDataset, split: Split | None = None) -> CalibrationSplit:
    """Choose the people of a data set to calibrate on, and make sure that the model was not trained on them.

    Args:
        run: Run folder or card of the model.
        dataset: The data.
        split: ``heldout``: the training identities that the recipe kept out of training; ``test``: query and
            gallery; ``all``: everybody, for data that the model was not trained on. If None, ``heldout`` where
            there are such identities, else ``test``.

    Returns:
        The people, with a warning where the choice or its proof is not beyond doubt.

    Raises:
        SemreidError: If the model was trained on some of them, or there is no such split.
    """
    if split is not None:
        position(split, SPLITS, "split")
    card = read_card(run)
    trained, held_out = _training_split(card, run, dataset)
    is_its_own = bool(trained) and samples_digest(trained) == card.trained_on.get("sha256")
    if split is None:
        split = "heldout" if held_out is not None and is_its_own else "test"
    if split == "heldout" and (held_out is None or not is_its_own):
        raise SemreidError(
            f"{dataset.name}: no identities of it were held out of the training of {run}",
            fix="train with data.holdout=0.15, or calibrate on other people: --split test, or other data",
        )
    if split == "all" and (benchmark := _shared_benchmark(card, dataset)):
        raise _trained_on(f"the training split of {benchmark}", split)
    chosen = held_out if split == "heldout" and held_out is not None else dataset
    query, gallery = _everybody(dataset) if split == "all" else (chosen.query, chosen.gallery)
    if not query:
        raise SemreidError(f"{dataset.name} has no crops in split '{split}'", fix="choose another --split")
    _refuse_trained_people(card, query + gallery, trained if is_its_own else (), split)
    return CalibrationSplit(query, gallery, split, chosen.protocol, tuple(_doubts(card, dataset, split, is_its_own)))


def _training_split(card: Card, run: Path | str, dataset: ReIDDataset) -> tuple[tuple[Sample, ...], ReIDDataset | None]:
    """What the recipe of the run would train on and hold out, were this its data."""
    recipe_file = (Path(run) if Path(run).is_dir() else Path(run).parent) / RECIPE
    if recipe_file.is_file() and num_identities(dataset.train) > card.trained_on.get("identities", 0):
        recipe = load_recipe(recipe_file)
        with contextlib.suppress(SemreidError):  # this recipe was not trained on data that it cannot divide
            return hold_out(dataset, recipe.data.holdout, recipe.seed)
    return dataset.train, None


def _everybody(dataset: ReIDDataset) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    everybody = dict.fromkeys((*dataset.train, *dataset.query, *dataset.gallery))
    query, gallery = query_and_gallery([s for s in everybody if s.pid > 0])
    return query, gallery + tuple(s for s in everybody if s.pid == 0)


def _refuse_trained_people(card: Card, crops: Sequence[Sample], trained: Sequence[Sample], split: Split) -> None:
    pids = {s.pid for s in trained} & {s.pid for s in crops}
    if not pids and not sketch_overlap(card.trained_on.get("sketch", ()), crops):
        return
    raise _trained_on(f"{len(pids)} of these people" if pids else "some of these images", split)


def seen_before(trained_on: Mapping[str, Any], dataset: ReIDDataset) -> tuple[str, ...]:
    """Warn of an evaluation on images that a model learned from, as far as its card tells.

    Args:
        trained_on: Of its card.
        dataset: What it is to be judged on.

    Returns:
        The warning, if there is one.
    """
    sketch = trained_on.get("sketch", ())
    shared = sketch_overlap(sketch, tuple(dict.fromkeys((*dataset.query, *dataset.gallery))))
    if not shared:
        return ()
    return (
        f"{dataset.name}: the model learned from images that it is judged on, {shared:,} or more by its card: what it "
        "scores on them says nothing about others; judge it on people that it has not seen",
    )


def _shared_benchmark(card: Card, dataset: ReIDDataset) -> str:
    """Name of the benchmark if data and training data are of one, perhaps with other boxes or another split."""
    name = _benchmark(dataset.name)
    return name if name in _learned_from(card.trained_on) - ANYBODYS else ""


def _learned_from(trained_on: Mapping[str, Any]) -> set[str]:
    """Benchmarks that a model saw, and the runs that it started from."""
    before = (_learned_from(other) for other in trained_on.get("before", {}).values())
    return {_benchmark(trained_on.get("dataset", ""))}.union(*before)


def _benchmark(name: str) -> str:
    return name.partition("/")[0]


def _trained_on(what: str, split: Split) -> SemreidError:
    others = "such as --split test, or other data" if split == "all" else "with other data"
    return SemreidError(
        f"the model was trained on {what}: what it scores on them says nothing about others",
        fix=f"calibrate on people that it has not seen, {others}",
    )


def _doubts(card: Card, dataset: ReIDDataset, split: Split, is_its_own: bool) -> list[str]:
    doubts = []
    if split == "test":
        doubts.append(
            f"calibrated on the test split (query and gallery) of {dataset.name}: figures of verification on these "
            "same people are no longer those of unseen ones"
        )
    if not is_its_own:
        known = "none of these images is in a sample of it" if "sketch" in card.trained_on else "no image compared"
        doubts.append(
            f"{UNTOLD} whether the model was trained on these people ({card.trained_on.get('dataset')}; "
            f"{known}): if it was, errors are more frequent than this calibration says"
        )
    return doubts


def _reliability_rows(table: NDArray[np.float64]) -> list[dict[str, float]]:
    edges = np.arange(RELIABILITY_BINS + 1) / RELIABILITY_BINS
    return [
        {
            "from": float(edges[i]),
            "to": float(edges[i + 1]),
            "share": float(share),
            "predicted": float(predicted / share),
            "observed": float(observed / share),
        }
        for i, (share, predicted, observed) in enumerate(table)
        if share > 0
    ]
