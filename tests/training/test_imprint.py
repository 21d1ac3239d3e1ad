from pathlib import Path

import numpy as np
import torch

from semreid.data.sample import ReIDDataset
from semreid.data.store import build_store
from semreid.models.card import read_card
from semreid.models.loading import load_model
from semreid.models.zoo import create_model
from semreid.training.build import build_model
from semreid.training.imprint import imprint_people
from semreid.training.loop import train
from tests.training.test_loop import recipe


def test_classifiers_point_to_the_mean_embeddings_of_their_people(figure_data: ReIDDataset) -> None:
    store = build_store(figure_data.train, (64, 32))
    people, labels = np.unique(store.pids, return_inverse=True)
    model = create_model("unified", len(people), trunk="resnet18", width=0.125, size=(64, 32)).train()
    imprint_people(model, store, bf16=False)
    assert model.training
    means = np.stack([model.embed(store.images[labels == i].numpy()).mean(axis=0) for i in range(len(people))])
    heads = [model.heads["identity"].classifier, model.heads["regularization"].classifier]
    heads += [model.heads["fusion"].classifier, *model.heads["multistage"].classifiers]
    assert sum(head.in_features for head in heads) == model.dim
    for head, block in zip(heads, torch.from_numpy(means).split([h.in_features for h in heads], 1), strict=True):
        torch.testing.assert_close(head.weight.detach(), torch.nn.functional.normalize(block), atol=1e-4, rtol=1e-3)


def test_a_run_begins_with_them_where_its_recipe_says_so(figure_data: ReIDDataset, tmp_path: Path) -> None:
    still = {"optim": {"lr": 1e-12, "weight_decay": 0.0, "ema": 0.0}, "schedule": {"epochs": 1}}
    wanted = recipe(model={"imprint": True}, **still)
    train(wanted, figure_data, tmp_path / "run")
    untrained = build_model(wanted, read_card(tmp_path / "run").model["num_ids"])
    imprint_people(untrained, build_store(figure_data.train, untrained.size), bf16=wanted.precision == "bf16")
    found = load_model(tmp_path / "run").heads["identity"].classifier.weight
    torch.testing.assert_close(found, untrained.heads["identity"].classifier.weight, atol=1e-5, rtol=1e-4)
