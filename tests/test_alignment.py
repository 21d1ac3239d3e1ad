from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, jaccard_score, r2_score
from sklearn.preprocessing import StandardScaler

SCRIPTS = Path(__file__).parents[1] / "benchmarks"
LEARN, TEST = slice(6), slice(6, None)


@pytest.fixture
def alignment(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import alignment

    return alignment


def test_the_probe_is_the_ridge_regression_of_another_library(alignment) -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(3, 5, (60, 7)), rng.normal(1, 2, (60, 3))
    features[:, 4] = 2.0  # says nothing
    scaler = StandardScaler().fit(features)
    others = rng.normal(3, 5, (9, 7))
    others[:, 4] = 2.0
    for penalty in (1e-3, 0.5):
        oracle = Ridge(alpha=penalty * 60).fit(scaler.transform(features), targets)
        expected = oracle.predict(scaler.transform(others))
        np.testing.assert_allclose(alignment._ridge(features, targets, penalty)(others), expected, rtol=1e-9)


def test_the_penalty_is_the_one_that_does_best_on_the_last_fifth(alignment) -> None:
    """Of noise, the strongest; of what follows exactly, the weakest."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(60, 30))
    for targets, penalty in ((features[:, :2], 1e-3), (rng.normal(size=(60, 2)), 1.0)):
        expected = alignment._ridge(features, targets, penalty)(features)
        np.testing.assert_allclose(alignment.fit(features, targets)(features), expected)


def test_figures_are_those_of_another_library(alignment) -> None:
    rng = np.random.default_rng(1)
    truth, labels = rng.integers(0, 4, 500), rng.integers(0, 5, 500)
    found = alignment.accuracy_and_iou(labels, truth, 8)
    expected = accuracy_score(truth, labels), jaccard_score(truth, labels, labels=range(4), average="macro")
    assert found == pytest.approx([100 * value for value in expected])
    values, groups = rng.normal(size=(200, 2)), np.repeat([0, 1], 100)
    said = values + rng.normal(0, 0.3, (200, 2))
    centred = values - np.repeat([values[:100].mean(0), values[100:].mean(0)], 100, axis=0)
    said_centred = said - (values - centred)
    flat = r2_score(centred.ravel(), said_centred.ravel())  # both have a mean of zero
    assert alignment.explained(said, values, groups) == pytest.approx(100 * flat, abs=1e-6)


def test_what_is_in_the_maps_is_read_and_what_is_not_is_not(alignment) -> None:
    """Maps that hold the labels, hidden behind a random rotation, and maps of noise."""
    generator = torch.Generator().manual_seed(0)
    parts, uv = torch.randint(0, 8, (12, 8, 4), generator=generator), torch.rand(12, 2, 8, 4, generator=generator)
    told = torch.cat((torch.nn.functional.one_hot(parts, 8).permute(0, 3, 1, 2), uv), 1)
    turn = torch.linalg.qr(torch.randn(10, 10, generator=generator))[0]
    knowing, noise = torch.einsum("dc,nchw->ndhw", turn, told.float()), torch.randn(12, 10, 8, 4, generator=generator)
    assert alignment.judge_parts(knowing, parts, LEARN, TEST) == (100, 100)
    assert alignment.judge_uv(knowing, parts, uv, LEARN, TEST) > 95
    assert alignment.judge_parts(noise, parts, LEARN, TEST)[0] < 25
    assert alignment.judge_uv(noise, parts, uv, LEARN, TEST) < 10


def test_a_coarse_map_answers_for_each_of_the_positions_that_it_covers(alignment) -> None:
    """Every position of the map tells the labels of all four."""
    parts = torch.randint(0, 8, (12, 8, 4), generator=torch.Generator().manual_seed(0))
    told = torch.nn.functional.pixel_unshuffle(torch.nn.functional.one_hot(parts, 8).permute(0, 3, 1, 2).float(), 2)
    assert alignment.judge_parts(told, parts, LEARN, TEST)[0] > 80  # of 96 positions with 32 numbers each


def test_joints_are_read_at_their_places(alignment) -> None:
    """Every column of the map tells its number, and every joint is in a column of its own."""
    maps = torch.eye(8).view(1, 8, 1, 8).expand(12, -1, 4, -1)
    points = torch.stack([torch.tensor([(2 * j + 1) / 8 - 1, 0.1]) for j in range(8)]).expand(12, -1, -1)
    assert alignment.judge_joints(maps, points, np.arange(8), LEARN, TEST) == 100
    assert alignment.judge_joints(torch.ones(12, 3, 4, 8), points, np.arange(8), LEARN, TEST) == 12.5
