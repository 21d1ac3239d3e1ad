from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semreid.data.sample import ReIDDataset, Sample
from semreid.errors import SemreidError
from semreid.export.agreement import Int8, accepted, agreement, chance


class Oracle:
    """Embeds a crop by the colour of the shirt, turned by some noise; of noise alone, it knows nothing."""

    dim, size, join, fingerprint = 64, (64, 32), "equal", "of no file"

    def __init__(self, noise: float = 0.0, seed: int = 0, knows: bool = True) -> None:
        self.noise, self.rng, self.knows = noise, np.random.default_rng(seed), knows

    def embed(self, images: np.ndarray, *, batch_size: int = 64, flip: bool = False, unit: bool = True) -> np.ndarray:
        colours = np.stack([image[20:30, 10:22].mean((0, 1)) - 128 for image in images]) / 60
        projection = np.random.default_rng(1).normal(size=(3, self.dim))
        vectors = np.sin(colours @ projection) if self.knows else np.zeros((len(images), self.dim))
        vectors = vectors + self.rng.normal(size=vectors.shape) * (self.noise if self.knows else 1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_file_that_agrees_is_accepted_and_what_was_measured_is_kept(figure_data: ReIDDataset) -> None:
    found = accepted(Oracle(), Oracle(noise=0.02), Int8(figure_data, max_map_loss=2))
    assert found["mAP"] > 60 > found["mAP_chance"] > 10
    assert 0.98 < found["least_cosine"] <= found["mean_cosine"] < 1
    assert found["same_neighbours"] > 0.8


def test_a_file_that_does_not_agree_is_refused_though_its_map_is_as_good(figure_data: ReIDDataset) -> None:
    with pytest.raises(SemreidError, match=r"int8 does not agree .* least cosine 0\.\d+, the bound is 0\.9") as caught:
        accepted(Oracle(), Oracle(noise=0.3), Int8(figure_data, max_map_loss=100))
    assert "keep fp32" in caught.value.fix
    with pytest.raises(SemreidError, match="same neighbours"):
        accepted(Oracle(), Oracle(noise=0.05), Int8(figure_data, 100, same_neighbours=1.01))


@pytest.mark.parametrize("loss", [-1, 101, float("nan"), float("inf")])
def test_losses_that_bound_nothing_are_refused(figure_data: ReIDDataset, loss: float) -> None:
    with pytest.raises(SemreidError, match="points of mAP") as caught:
        Int8(figure_data, max_map_loss=loss)
    assert "--max-map-loss 0.5" in caught.value.fix


@pytest.mark.parametrize("exported", [Oracle(), Oracle(knows=False)])
def test_data_on_which_the_model_is_at_chance_judge_nothing(figure_data: ReIDDataset, exported: Oracle) -> None:
    with pytest.raises(SemreidError, match=r"int8 cannot be judged on people: the model itself has .* chance has"):
        accepted(Oracle(knows=False), exported, Int8(figure_data, max_map_loss=100))


def test_chance_is_the_expected_precision_of_a_random_order() -> None:
    def side(folder: str, camid: int, people: int, images: int) -> tuple[Sample, ...]:
        return tuple(Sample(Path(f"{folder}/{i}"), 1 + i % people, camid) for i in range(people * images))

    data = ReIDDataset("toy", Path(), (), side("q", 1, 20, 3), side("g", 2, 20, 5))
    n, r = 100, 5
    harmonic = (1 / np.arange(1, n + 1)).sum()
    expected = (harmonic + (r - 1) / (n - 1) * (n - harmonic)) / n  # of a uniformly random order, in closed form
    assert chance(data, draws=20) == pytest.approx(100 * expected, rel=0.05)
    alone = replace(data, gallery=side("g", 2, 20, 1))
    assert chance(alone, draws=20) == pytest.approx(100 * (1 / np.arange(1, 21)).sum() / 20, rel=0.07)


def test_agreement_looks_at_neighbours_in_any_order() -> None:
    rng = np.random.default_rng(0)
    q, g = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (rng.normal(size=(6, 8)), rng.normal(size=(40, 8))))
    other = g[rng.permutation(40)]
    assert agreement((q, q), (g, g)).same_neighbours == 1
    assert agreement((q, q), (g, other)).same_neighbours < 0.6
    assert agreement((q, -q), (g, g)).same_neighbours == 0
    assert agreement((q, -q), (g, g)).least_cosine == pytest.approx(-1)
