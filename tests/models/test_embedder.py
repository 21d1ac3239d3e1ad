from collections.abc import Callable

import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.models.embedder import prepared_batches
from semreid.models.loading import load_embedder
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model


def build(**changes: object) -> ReIDModel:
    torch.manual_seed(0)
    arguments = {"num_ids": 3, "trunk": "resnet18", "width": 0.125, "size": (64, 32), **changes}
    return create_model("baseline", **arguments).eval()


def test_fingerprint_stays_where_the_embedding_stays() -> None:
    model, fingerprint = build(center=True), build(center=True).fingerprint
    model(torch.rand(2, 3, 64, 32))
    torch.nn.init.zeros_(model.heads["identity"].classifier.weight)
    torch.nn.init.ones_(model.heads["identity"].centers)
    model.trunk.bn1.num_batches_tracked += 1
    assert model.train().to(memory_format=torch.channels_last).fingerprint == fingerprint
    assert set(fingerprint) <= set("0123456789abcdef")


def shift_mean(model: ReIDModel) -> None:
    model.trunk.bn1.running_mean[3] += 1e-6


def shift_weight(model: ReIDModel) -> None:
    model.heads["identity"].neck.weight.data[0] += 1e-6


@pytest.mark.parametrize("change", [shift_mean, shift_weight])
def test_fingerprint_changes_with_every_number_that_counts(change: Callable[[ReIDModel], None]) -> None:
    model = build()
    before = model.fingerprint
    change(model)
    assert model.fingerprint != before


@pytest.mark.parametrize("changes", [{"size": (64, 48)}, {"last_stride": 2}, {"pool": "max"}])
def test_fingerprint_sees_what_leaves_no_trace_in_the_weights(changes: dict[str, object]) -> None:
    model, other = build(), build(**changes)
    other.load_state_dict(model.state_dict())
    assert other.fingerprint != model.fingerprint


def test_a_zoo_name_is_an_embedder() -> None:
    embedder = load_embedder("baseline")
    assert (embedder.dim, embedder.size) == (2048, (256, 128))


@pytest.mark.parametrize("size", [0, -1, 1.5])
@pytest.mark.parametrize("parts", [False, True])
def test_batches_of_no_number_of_images_are_refused(size: float, parts: bool) -> None:
    with pytest.raises(SemreidError, match=f"batch_size={size} is no number of images"):
        build().embed([np.zeros((8, 4, 3), np.uint8)], batch_size=size, parts=parts)


@pytest.mark.parametrize("size", [1, 2, np.int64(5), 64])
def test_no_image_is_lost_between_batches(size: int) -> None:
    batches = list(prepared_batches([np.full((8, 4, 3), value, np.uint8) for value in range(5)], (8, 4), size))
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
