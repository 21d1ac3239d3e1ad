"""What a run learns from: in its checkpoint, so that it goes on with the same data, and in the card of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from semreid.data.sample import ReIDDataset, Sample, num_identities
from semreid.data.store import digest_and_sketch, samples_digest
from semreid.errors import SemreidError
from semreid.models.card import Card, is_run, joined_terms, read_card
from semreid.training.recipe import Recipe


def learned_from(dataset: ReIDDataset, samples: Sequence[Sample], synthetic: ReIDDataset | None) -> dict[str, Any]:
    """State what a run learns from.

    Args:
        dataset: The data set.
        samples: Those of its training samples that are learned from.
        synthetic: The data set of synthetic people whose images join every batch, if any.

    Returns:
        Name, counts, digest (content, person and camera of every image, in order) and sketch, and ``synthetic``: name
        and digest.
    """
    digest, sketch = digest_and_sketch(samples)
    return {
        "dataset": dataset.name,
        "identities": num_identities(samples),
        "images": len(samples),
        "corrupt_skipped": dataset.corrupt_skipped,
        "sha256": digest,
        "sketch": sketch,
        **(
            {}
            if synthetic is None
            else {"synthetic": {"dataset": synthetic.name, "sha256": samples_digest(synthetic.train)}}
        ),
    }


def require_same_data(before: Mapping[str, Any], now: Mapping[str, Any], checkpoint: Path) -> None:
    """Refuse to go on with other data than those that a checkpoint learned from.

    Args:
        before: What the checkpoint states: the result of `learned_from`, with ``annotations``: digests by kind.
        now: The same of the data at hand; annotations are compared once it has them.
        checkpoint: Where the checkpoint lies.

    Raises:
        SemreidError: If they differ; the message says in what.
    """
    compared = ["sha256", "synthetic", *(["annotations"] if "annotations" in now else [])]
    found = [name for name in compared if before.get(name) != now.get(name)]
    if not found:
        return
    differences = {
        "sha256": f"{_described(before)} then, {_described(now)} now: {_images(before, now)}",
        "synthetic": f"the synthetic images were {_synthetic(before)} then, and are {_synthetic(now)} now",
        "annotations": "its masks, textures or attributes were others",
    }
    raise SemreidError(
        f"{checkpoint} learned from other data: {'; '.join(differences[name] for name in found)}",
        fix="resume with the data that the run began with, or choose another folder: --out",
    )


def _described(data: Mapping[str, Any]) -> str:
    return f"{data['images']:,} images of {data['identities']:,} people ({data['dataset']})"


def _images(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if before["sketch"] == now["sketch"] and before["images"] == now["images"]:
        return "the same images, but other person or camera ids, or another order"
    shared = len({*before["sketch"]} & {*now["sketch"]})
    return f"of {len(before['sketch']):,} images compared, {shared:,} {'is' if shared == 1 else 'are'} the same"


def _synthetic(data: Mapping[str, Any]) -> str:
    synthetic = data.get("synthetic")
    return "none" if synthetic is None else f"{synthetic['dataset']} ({synthetic['sha256'][:12]})"


def card_of(recipe: Recipe, model: dict[str, Any], learned: Mapping[str, Any], datasets: Sequence[ReIDDataset]) -> Card:
    """State what is known of a model before it learns; terms and images of the runs it starts from are its own, too.

    Args:
        recipe: The recipe.
        model: Arguments that rebuild the model.
        learned: Result of `learned_from`.
        datasets: All data sets that it learns from.

    Returns:
        The card, without metrics and digest of the weights.

    Raises:
        SemreidError: If a run that it starts from has no card.
    """
    runs = {"pretrained": recipe.model.weights, "foreground": recipe.model.foreground}
    before = {role: read_card(run) for role, run in runs.items() if run and is_run(run)}
    starts = {role: card.sha256 for role, card in before.items()}
    if "pretrained" not in starts and (weights := Path(recipe.model.weights)).is_file():
        starts["pretrained"] = sha256(weights.read_bytes()).hexdigest()
    sketches = [learned["sketch"], *(card.trained_on.get("sketch", []) for card in before.values())]
    return Card(
        model=model,
        trained_on={
            **learned,
            "sketch": sorted(set().union(*sketches)),
            **{role: run for role, run in runs.items() if run},
            "starts": starts,
            "before": {role: card.origin() for role, card in before.items()},
        },
        terms=joined_terms(*(data.terms for data in datasets), *(card.terms for card in before.values())),
        seed=recipe.seed,
    )
