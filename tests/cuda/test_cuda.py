"""A GPU computes what the CPU computes: `pytest -m cuda`.

Tolerances are those of float32 whose sums are taken in another order. With ``SEMREID_REHEARSE_CUDA`` set, the CPU
stands in for the GPU, so that these tests themselves can be tried without one.
"""

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semreid.data.sample import ReIDDataset
from semreid.data.sampler import pk_batches
from semreid.functional import hardmix, losses, pooling, rank_features
from semreid.functional.gradcam import grad_cam
from semreid.functional.reranking import reranked_blocks
from semreid.models.loading import load_model
from semreid.training.loop import train
from semreid.training.recipe import dump_recipe
from semreid.training.replay import WARM_UP
from semreid.training.trainer import Trainer
from tests.functional.test_reranking import clusters
from tests.training.test_loop import recipe
from tests.training.test_trainer import STEPS, make_trainer
from tests.two_processes import run_by_two

# PyTorch warns once that its way to find out who waits is a prototype, and cuBLAS in threads that are new to it.
pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("default")]
REHEARSED = bool(os.environ.get("SEMREID_REHEARSE_CUDA"))


@pytest.fixture(scope="module")
def device() -> torch.device:
    if not (REHEARSED or torch.cuda.is_available()):
        pytest.skip("no GPU: python benchmarks/gpu.py --rehearse tries these tests on the CPU")
    return torch.device("cpu" if REHEARSED else "cuda")


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    """No shortcuts of the tensor cores: they are right to three digits, and would hide what is wrong."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    yield
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


def trainer_of(name: str, device: torch.device | str, **changes) -> Trainer:
    options, synthetic = STEPS[name]
    changes = {"precision": "fp32", "optim": {"clip": 1.0, "ema": 0.9}, **changes}
    model = {"name": name.split()[0], "options": options}
    trainer = make_trainer(str(device), synthetic=synthetic, model=model, **changes)
    trainer.model.train()
    return trainer


def steps_of(trainer: Trainer, count: int = 2) -> list[dict[str, torch.Tensor]]:
    rows = next(iter(pk_batches(trainer.labels, 4, 2, seed=0, epoch=0)))
    found = []
    for step in range(count):
        trainer.set_lr(step / 10)
        found.append({name: value.cpu() for name, value in trainer.step(trainer.batch(rows, step)).items()})
    return found


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_every_system(name: str, device: torch.device) -> None:
    """Losses of the first step tell of trunk and heads, those of the second of gradients and optimiser."""
    (first, second), expected = steps_of(trainer_of(name, device)), steps_of(trainer_of(name, "cpu"))
    torch.testing.assert_close(first, expected[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(second, expected[1], rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("name", STEPS)
def test_steps_in_bf16(name: str, device: torch.device) -> None:
    found, expected = (steps_of(trainer_of(name, d, precision="bf16"), 1)[0] for d in (device, "cpu"))
    torch.testing.assert_close(found["total"], expected["total"], rtol=0.1, atol=0.1)


@pytest.mark.parametrize("engine", ["eager", "graphs"])
@pytest.mark.parametrize("name", STEPS)
def test_no_step_waits_for_the_device(name: str, engine: str, device: torch.device) -> None:
    optim = {"name": "sgd", "lr": 0.02, "clip": 1.0, "ema": 0.9}
    trainer = trainer_of(name, device, engine=engine, optim=optim)
    steps_of(trainer, WARM_UP + 1)  # what is sent once is there, and what is recorded
    rows = next(iter(pk_batches(trainer.labels, 4, 2, seed=0, epoch=0)))
    try:
        if not REHEARSED:
            torch.cuda.set_sync_debug_mode("error")
        trainer.set_lr(0.5)
        trainer.step(trainer.batch(rows, 3))
    finally:
        if not REHEARSED:
            torch.cuda.set_sync_debug_mode("default")


def learned_by(trainer: Trainer) -> torch.Tensor:
    """How far the weights move in seven steps, of which a graph replays four; what it reads of the host is compared."""

    def weights() -> torch.Tensor:
        return torch.cat([p.detach().flatten().cpu() for p in trainer.model.parameters()])

    start, rows = weights(), list(pk_batches(trainer.labels, 4, 2, seed=0, epoch=0))
    for step in range(WARM_UP + 4):
        trainer.set_lr(step / 10)
        loss = trainer.step(trainer.batch(rows[step % len(rows)], step))["total"]
        if trainer.replayed is not None and trainer.replayed.recorded:
            trainer.set_lr(step / 10)  # for the same draws once more
            for make, there in trainer.replayed._host._taken:
                assert torch.equal(there.cpu(), make())
    assert torch.isfinite(loss)
    assert trainer.replayed is None or trainer.replayed.recorded
    return weights() - start


CALM = {"name": "sgd", "lr": 0.002, "clip": 1.0}
"""So that what a GPU adds up in another order each time does not grow: no choice within a step turns out otherwise."""
REPLAYED = {name: (name, {"optim": {**CALM, "ema": 0.9}}, 0.04) for name in STEPS} | {
    "adamw": ("baseline", {"optim": {"name": "adamw", "lr": 1e-3}}, 0.3),
    "amsgrad": ("baseline", {"optim": {"name": "amsgrad", "lr": 1e-3}}, 0.3),
    "bf16": ("unified", {"optim": CALM, "precision": "bf16"}, 0.3),
    "contrast": ("unified", {"optim": CALM, "contrast": {"weight": 1.0, "heads": ["parsing"]}}, 0.04),
    "two gradients": ("baseline", {"optim": {"lr": 1e-3, "separate_losses": ["identity.triplet"]}}, 0.3),
}


@pytest.mark.parametrize("case", REPLAYED)
def test_a_replayed_graph_learns_what_the_step_as_written_does(case: str, device: torch.device) -> None:
    """Weights that Adam moves by the sign of gradients near zero differ, and so do those that bf16 rounds."""
    name, changes, tolerance = REPLAYED[case]
    expected, found = (learned_by(trainer_of(name, device, engine=engine, **changes)) for engine in ("eager", "graphs"))
    apart = float((found - expected).norm() / expected.norm())
    print(f"{case}: {apart:.2g} of {tolerance}")
    assert apart < tolerance


def test_a_graph_is_recorded_anew_after_resuming(device: torch.device) -> None:
    trainer = trainer_of("baseline", device, engine="graphs")
    learned_by(trainer)
    state = copy.deepcopy(trainer.state())
    expected = learned_by(trainer)
    trainer.restore(state)
    found = learned_by(trainer)
    assert float((found - expected).norm() / expected.norm()) < 0.3


def test_maps_and_embeddings(device: torch.device) -> None:
    here, there = (trainer_of("magnifiernet", d).model.eval() for d in ("cpu", device))
    images = torch.rand(4, 3, *here.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = here.maps(images), there.maps(images.to(device))
    torch.testing.assert_close({k: v.cpu() for k, v in found.items()}, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(there.embed_batch(images).cpu(), here.embed_batch(images), rtol=0, atol=1e-4)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


PIDS = torch.arange(4).repeat_interleave(4)
LABELS = torch.randint(0, 8, (16, 12, 6), generator=torch.Generator().manual_seed(3))
FUNCTIONS = {
    "smoothed cross entropy": lambda to: losses.label_smoothed_cross_entropy(to(random(16, 9)), to(PIDS)),
    "hard triplet": lambda to: losses.batch_hard_triplet(to(random(16, 8)), to(PIDS)),
    "soft triplet": lambda to: losses.batch_hard_triplet(to(random(16, 8)), to(PIDS), margin=None),
    "contrast": lambda to: losses.batch_contrast(to(random(16, 8)), to(PIDS)),
    "center": lambda to: losses.center_loss(to(random(16, 8)), to(PIDS), to(random(4, 8, seed=1))),
    "balanced": lambda to: losses.class_balanced_cross_entropy(to(random(16, 8, 12, 6)), to(LABELS)),
    "overlap": lambda to: losses.soft_overlap(to(random(16, 8, 12, 6)), to(LABELS))[0],
    "diversity": lambda to: losses.semantic_diversity(to(random(16, 8, 5))),
    "region max": lambda to: pooling.region_pool(to(random(16, 5, 12, 6)), to(LABELS), 8),
    "gem": lambda to: pooling.gem_pool(to(random(16, 5, 12, 6).abs())),
    "grad-cam": lambda to: grad_cam(to(random(16, 5, 12, 6)), to(random(16, 5, seed=1))),
    "blocks": lambda to: hardmix.salient_blocks(
        hardmix.block_scores(to(random(16, 12, 6)), (4, 2)), 3, to(random(16, 8, seed=1))
    ),
    "negatives": lambda to: hardmix.choose_negatives(to(random(16, 16)), to(PIDS)),
    "paste": lambda to: hardmix.paste(
        *[to(random(16, 5, 12, 6))] * 2, to(torch.arange(16).flip(0)), to(random(16, 12, 6, seed=1) > 0)
    ),
    "owners": lambda to: hardmix.owner_shares(to(LABELS), 8),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, device: torch.device) -> None:
    found, expected = FUNCTIONS[name](lambda t: t.to(device)), FUNCTIONS[name](lambda t: t)
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_segment_maxima(device: torch.device) -> None:
    found = []
    for place in (torch.device("cpu"), device):
        maps = random(16, 5, 12, 6).to(place).requires_grad_()
        pooling.region_pool(maps, LABELS.to(place), 8).square().sum().backward()
        found.append(maps.grad.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_ranking_and_reranking(device: torch.device) -> None:
    query, gallery, q_pids, g_pids = clusters(0, queries=60, gallery=900, dim=32, identities=30, noise=1.6)
    ids = q_pids, g_pids, np.zeros(60, int), np.arange(900) % 3
    here = torch.from_numpy(query).float(), torch.from_numpy(gallery).float()
    there = tuple(F.normalize(features).to(device) for features in here)
    expected, found = (rank_features(*features, *ids) for features in (here, there))
    assert found.mAP == pytest.approx(expected.mAP, abs=1e-5)
    assert (found.first_rank == expected.first_rank).mean() > 0.99
    blocks = [list(reranked_blocks(*(f.to(d) for f in there))) for d in ("cpu", device)]
    reranked = [torch.cat([torch.as_tensor(block).cpu() for block in some]) for some in blocks]
    assert ((reranked[0] - reranked[1]).abs() < 1e-5).float().mean() > 0.999


def test_a_store_on_the_device_gives_the_batches_of_one_on_the_host(device: torch.device) -> None:
    there = make_trainer(
        str(device), augment={"jitter": 0.3, "noise": 0.1, "sharpness": 0.5, "zoom": 0.2, "erase": 0.5}
    )
    rows = next(iter(pk_batches(there.labels, 4, 2, seed=0, epoch=0)))
    batch = there.batch(rows, 0)
    there.store = there.store.to(torch.device("cpu"))
    other = there.batch(rows, 0)
    for name in ("images", "pids", "regions", "textures"):
        a, b = getattr(batch, name), getattr(other, name)
        assert a.device.type == b.device.type == device.type
        assert torch.equal(a, b), name


def weights_of(folder: Path) -> torch.Tensor:
    state = load_model(folder).state_dict()
    return torch.cat([value.flatten() for value in state.values() if value.is_floating_point()])


def test_resuming_is_as_exact_as_running_twice(figure_data: ReIDDataset, device: torch.device, tmp_path: Path) -> None:
    """A run that was interrupted is no farther from two that were not than these are from each other.

    That of an optimiser that forgot its momentum is 0.013 away, without averaged weights 0.5.
    """
    plan = recipe(schedule={"epochs": 2}, optim=CALM)
    for name in ("whole", "again"):
        train(plan, figure_data, tmp_path / name, device=device)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "finish_epoch", interrupted_after_the_first(Trainer.finish_epoch))
        with pytest.raises(KeyboardInterrupt):
            train(plan, figure_data, tmp_path / "resumed", device=device)
    train(plan, figure_data, tmp_path / "resumed", resume=True, device=device)
    whole, again, resumed = (weights_of(tmp_path / name) for name in ("whole", "again", "resumed"))
    apart, gap = float((whole - again).norm()), float((whole - resumed).norm())
    print(f"two runs differ by {apart:.3g}, the resumed one by {gap:.3g}, of {float(whole.norm()):.3g}")
    assert gap <= max(3 * apart, 1e-4)


def interrupted_after_the_first(finish):
    def finish_epoch(self, row):
        if self.epoch == 1:
            raise KeyboardInterrupt
        finish(self, row)

    return finish_epoch


@pytest.mark.timeout(300)
@pytest.mark.skipif(REHEARSED, reason="tests/training/test_distributed.py does this on CPUs")
def test_two_processes_on_one_gpu_learn_the_model_of_one(
    figures: Path, figure_data: ReIDDataset, figure_masks: Path, device: torch.device, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")  # what `full_float32` sets, for the processes that are started
    settings = recipe(model={"name": "baseline"}, optim={"lr": 1e-5, "name": "sgd"}, schedule={"epochs": 1})
    plan = tmp_path / "recipe.yaml"
    plan.write_text(dump_recipe(settings))
    assert run_by_two(["train", plan, "--data", f"people:{figures}", "--out", tmp_path / "two"]) == [0]
    train(settings, figure_data, tmp_path / "one", device=device)
    one, two = (load_model(tmp_path / name).state_dict() for name in ("one", "two"))
    for key in (key for key, value in one.items() if value.is_floating_point()):
        torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=1e-5)
