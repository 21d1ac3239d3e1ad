"""Training by a recipe: data and model made ready, epochs, a run folder; exact to resume, on one process or many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semreid import distributed
from semreid.data.annotations import require_own_labels, require_own_sizes
from semreid.data.attributes import attribute_file, read_attributes
from semreid.data.benchmarks import load_dataset
from semreid.data.sample import ReIDDataset, Sample, cameras_meet, num_identities
from semreid.data.sampler import require_shares
from semreid.data.split import hold_out
from semreid.data.store import Store, annotation_paths, build_store
from semreid.errors import SemreidError
from semreid.evaluation.protocol import BATCH, embed_store, evaluate
from semreid.functional.proxies import group_proxies
from semreid.models.card import Card, parse_card, save_model
from semreid.models.heads import Supervision
from semreid.models.loading import load_model
from semreid.models.masks import part_masks
from semreid.models.model import ReIDModel
from semreid.models.shipped import PARSER
from semreid.reading import reading
from semreid.training.build import build_model, model_arguments
from semreid.training.checkpoint import load_checkpoint, save_checkpoint
from semreid.training.provenance import card_of, learned_from, require_same_data
from semreid.training.recipe import Recipe, checked_recipe, dump_recipe
from semreid.training.record import CHECKPOINT, Reporter, RunFolder
from semreid.training.trainer import Trainer, on_device

WELL_USED = 0.8
"""Share of the images that an epoch uses where nothing need be said."""


def train(
    recipe: Recipe,
    dataset: ReIDDataset,
    out: Path | str,
    *,
    annotations: Path | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
) -> ReIDModel:
    """Train a model and leave a run folder.

    Under ``torchrun`` every process calls this with the same arguments; the first one writes.

    Args:
        recipe: The recipe.
        dataset: The data; only its training samples are looked at.
        out: The run folder.
        annotations: Folder with ``masks``, ``textures`` and ``attributes.csv`` or ``market_attribute.mat``, or such
            a file, beside which the others are; the data set's own folder if None, and if that has no masks, the parser
            that ships tells body regions. Looked at only if a head of the model learns from them.
        resume: Go on from the folder's checkpoint.
        device: Where to train; the GPU of this process if there is one, else the CPU.

    Returns:
        The trained model, in evaluation mode.

    Raises:
        SemreidError: If the data, the recipe or the folder do not allow it; nothing is left half-written.
    """
    recipe, first = checked_recipe(recipe, Recipe), distributed.rank() == 0
    require_shares(recipe.data.identities, distributed.world_size())
    folder = RunFolder(out, resume=resume)
    text = dump_recipe(recipe)
    checkpoint = folder.path / CHECKPOINT
    state = load_checkpoint(checkpoint, recipe) if resume else None
    if not dataset.train:
        raise SemreidError(f"{dataset.name} has no training images", fix="it can only be evaluated")
    samples, validation = hold_out(dataset, recipe.data.holdout, recipe.seed)
    device = torch.device(device) if device else distributed.local_device()
    synthetic = load_dataset(recipe.data.synthetic) if recipe.data.synthetic else None
    learned = learned_from(dataset, samples, synthetic)
    if state is not None:
        _require_same_data(state, learned, checkpoint)
    with Reporter(recipe.schedule.epochs, quiet=not first) as reporter:
        model, card = _begun(state, checkpoint) or _build(recipe, dataset, synthetic, samples, learned, reporter)
        model.to(device)
        _require_fit(model, validation, synthetic)
        _require_contrast(recipe, model, samples, reporter)
        homes = [_folder(annotations) or dataset.root, *([] if synthetic is None else [synthetic.root])]
        needs = _needs(model, homes, recipe.contrast.heads)
        store = _open_store(model, dataset, samples, annotations, reporter, needs, require_textures=synthetic is None)
        if recipe.model.imprint and state is None:
            reporter.say("classifiers begin with the mean embeddings of their people")
            imprint_people(model, store, bf16=recipe.precision == "bf16")
        trainer = Trainer(recipe, model, on_device(store, device), device)
        if synthetic is not None:
            trainer.synthetic = on_device(_open_store(model, synthetic, synthetic.train, None, reporter, needs), device)
        _tell_what_is_used(trainer, reporter)
        learned["annotations"] = [dict(each.digests) for each in (store, trainer.synthetic) if each is not None]
        if state is not None:
            _require_same_data(state, learned, checkpoint)
            with reading(checkpoint):
                trainer.restore(state)
            reporter.say(f"resumed after epoch {trainer.epoch}")
        with folder.claimed() if first else nullcontext():
            if first and trainer.history:
                folder.record(text, trainer.history)  # a stop may have come before this
            for row in _epochs(trainer, validation, reporter):
                if first:  # the checkpoint first: without it, a folder holds no run
                    save_checkpoint(checkpoint, {**trainer.state(), "learned": learned, "card": card.to_json()})
                    folder.record(text, trainer.history)
                reporter.epoch(row)
            if first:
                judged = {name: value for name, value in trainer.history[-1].items() if name.startswith("val_")}
                save_model(folder.path, trainer.judged, replace(card, metrics=judged))
    return trainer.judged.eval()


def imprint_people(model: ReIDModel, store: Store, *, bf16: bool = True) -> None:
    """Let the classifiers of a model that has learned from others begin with the mean embeddings of new people.

    At random, they would first pull at all that the model knows (``docs/notes/transfer.md``). It takes as long as
    embedding the images; under ``torchrun``, the processes share them.

    Args:
        model: The model, where it is to train, with a class for each identity of the store.
        store: The training images.
        bf16: Compute in it, as training does.
    """
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        features = embed_store(model, store)
    people, labels = np.unique(store.pids, return_inverse=True)
    model.imprint(group_proxies(torch.from_numpy(features), torch.from_numpy(labels), len(people)))


def _begun(state: Mapping[str, Any] | None, checkpoint: Path) -> tuple[ReIDModel, Card] | None:
    """Model and card that a checkpoint began with: the runs that it started from may be gone by now, or other ones."""
    if state is None or "card" not in state:  # versions before this one did not note it
        return None
    with reading(checkpoint):
        card = parse_card(state["card"])
    return card.build(), card


def _build(
    recipe: Recipe,
    dataset: ReIDDataset,
    synthetic: ReIDDataset | None,
    samples: Sequence[Sample],
    learned: Mapping[str, Any],
    reporter: Reporter,
) -> tuple[ReIDModel, Card]:
    people, data = num_identities(samples), [dataset] if synthetic is None else [dataset, synthetic]
    model = build_model(recipe, people, reporter.say)
    return model, card_of(recipe, model_arguments(recipe, people), learned, data)


def _needs(model: ReIDModel, homes: Sequence[Path], learning: Sequence[str] | None) -> set[Supervision]:
    """What to open beside the images: what heads learn from, and masks wherever they can spare the parser the work."""
    masked = model.foreground is not None and all((home / "masks").is_dir() for home in homes)  # known parts are exact
    read = {each for name, head in model.named_heads() if learning is None or name in learning for each in head.needs}
    return read | ({"regions"} if masked else set())


def _epochs(trainer: Trainer, validation: ReIDDataset | None, reporter: Reporter) -> Iterator[dict[str, Any]]:
    """Train what is left of the epochs; yield the metrics of each once it is done."""
    epochs, every = trainer.recipe.schedule.epochs, trainer.recipe.validate_every
    for epoch in range(trainer.epoch, epochs):
        row = {"epoch": epoch, **trainer.train_epoch(reporter)}
        if validation is not None and ((epoch + 1) % every == 0 or epoch + 1 == epochs):
            row |= _validate(trainer.judged, validation)
        trainer.finish_epoch(row)
        yield row


def _open_store(
    model: ReIDModel,
    dataset: ReIDDataset,
    samples: Sequence[Sample],
    annotations: Path | None,
    reporter: Reporter,
    needs: Set[Supervision],
    *,
    require_textures: bool = True,
) -> Store:
    """Decode the training images, with the annotations that are needed; one process writes the file.

    Without ``require_textures``, textures are taken where there are any, but not asked for. Masks that nobody has made,
    and nobody named a folder for, are made in memory by the parser that ships.
    """
    if annotations is not None and not needs and not annotations.exists():
        raise SemreidError(
            f"there are no annotations at {annotations}", fix="check the path, or leave it out: this model needs none"
        )
    attributes = read_attributes(attribute_file(annotations, dataset.root), samples) if "attributes" in needs else None
    folder = _folder(annotations)
    home = folder or dataset.root
    if not require_textures and "textures" in needs and not (home / "textures").is_dir():
        reporter.say(f"no textures at {home}: reconstruction is learned from the synthetic images alone")
        needs = needs - {"textures"}
    parsed = "regions" in needs and folder is None and not (home / "masks").is_dir()
    masks = annotation_paths(dataset, samples, "masks", folder) if "regions" in needs and not parsed else None
    textures = annotation_paths(dataset, samples, "textures", folder) if "textures" in needs else None
    if masks is not None or textures is not None:
        require_own_labels(dataset, samples, home)
    if masks is not None:
        require_own_sizes(samples, masks)
    build = partial(build_store, masks=masks, textures=textures, texture_side=model.texture_side)
    store = distributed.first_process_first(lambda: build(samples, model.size, progress=reporter.decoding))
    if parsed:
        reporter.say(f"no masks at {home}: {PARSER} tells body regions")
        store = _parsed(store, model.device)
    if attributes is None:
        return store
    digest = blake2b(attributes.numpy().tobytes(), digest_size=16).hexdigest()
    return replace(store, attributes=attributes, digests={**store.digests, "attributes": digest})


def _parsed(store: Store, device: torch.device) -> Store:
    """Let the parser that ships tell the body regions of all images; the processes share them."""
    parser = load_model(PARSER).to(device)

    def work(starts: Iterable[int]) -> Iterator[NDArray[np.uint8]]:
        for start in starts:
            yield np.stack(part_masks([parser], list(store.images[start : start + BATCH].numpy()))[0])

    found = list(distributed.shared(work, range(0, len(store), BATCH)))
    regions = distributed.by_first(lambda: np.concatenate(found))
    return replace(store, regions=torch.from_numpy(regions), digests={**store.digests, "masks": parser.fingerprint})


def _folder(annotations: Path | None) -> Path | None:
    return annotations.parent if annotations is not None and annotations.is_file() else annotations


def _require_same_data(state: Mapping[str, Any], learned: Mapping[str, Any], checkpoint: Path) -> None:
    if "learned" in state:  # versions before this one did not note it
        with reading(checkpoint):
            require_same_data(state["learned"], learned, checkpoint)


def _require_fit(model: ReIDModel, validation: ReIDDataset | None, synthetic: ReIDDataset | None) -> None:
    if validation is not None:
        model.require_embedding()
    if synthetic is not None and ("textures" not in model.needs or not synthetic.train):
        name = synthetic.name
        what = f"{name} has no training images" if not synthetic.train else "no head of this model learns from textures"
        raise SemreidError(
            f"data.synthetic is set, and {what}", fix="use a model such as san, or set data.synthetic=''"
        )


def _require_contrast(recipe: Recipe, model: ReIDModel, samples: Sequence[Sample], reporter: Reporter) -> None:
    """Refuse a contrast of embeddings that the model does not have, and unknown heads; tell where no pairs cross."""
    contrast = recipe.contrast
    if contrast.weight:
        model.require_embedding()
    if unknown := sorted(set(contrast.heads or ()) - set(model.heads)):
        raise SemreidError(
            f"contrast.heads names '{unknown[0]}', which the model does not have",
            fix=f"its heads are {', '.join(model.heads)}",
        )
    resting = {*model.heads} - {*(model.heads if contrast.heads is None else contrast.heads)}
    named = (*recipe.losses, *recipe.optim.separate_losses)
    if idle := [loss for loss in named if loss.partition(".")[0] in resting]:
        raise SemreidError(
            f"the recipe names the loss '{idle[0]}', and by contrast.heads that head learns by no loss of its own",
            fix="leave out the weights of such losses (losses={}), or name the head in contrast.heads, too",
        )
    if contrast.pairs == "cameras" and not cameras_meet(samples):
        reporter.say("nobody is known to have been seen by two cameras: all pairs of a person are pulled together")


def _tell_what_is_used(trainer: Trainer, reporter: Reporter) -> None:
    """Say so where batches of P people leave many images out."""
    batches, images = trainer.batches(), len(trainer.store)
    used = len(np.unique(np.concatenate(batches)))
    if used < WELL_USED * images:
        reporter.say(
            f"an epoch has {len(batches):,} steps and uses {used:,} of {images:,} images, as a few people have most of "
            f"them and each batch has {trainer.recipe.data.identities}: a smaller data.identities uses more"
        )


def _validate(model: ReIDModel, validation: ReIDDataset) -> dict[str, float]:
    with torch.compiler.set_stance("force_eager"):  # a trunk is compiled for batches to learn from
        report = evaluate(model, validation)
    return {f"val_{name}": value for name, value in report.metrics.items() if name in ("mAP", "mINP", "rank1")}
