"""A replayed step learns what one that runs as written learns; a CPU runs it again where a GPU replays a graph."""

import gc
import weakref

import pytest
import torch

from semreid.data.batch import Batch
from semreid.data.sampler import pk_batches
from semreid.errors import SemreidError
from semreid.host import from_host
from semreid.training.checkpoint import load_checkpoint, save_checkpoint
from semreid.training.replay import WARM_UP, ReplayedStep, make_replayable
from semreid.training.trainer import Trainer
from tests.training.test_trainer import STEPS, make_trainer

CPU = torch.device("cpu")
EXACT = {"optim": {"name": "sgd", "lr": 0.01, "clip": 1.0, "ema": 0.9}}
"""With Adam, a learning rate that is kept as a tensor is rounded to float32."""


def steps_of(trainer: Trainer, start: int, end: int) -> list[dict[str, torch.Tensor]]:
    trainer.model.train()
    rows = list(pk_batches(trainer.labels, 4, 2, seed=0, epoch=0))
    found = []
    for step in range(start, end):
        trainer.set_lr(step / 10)
        losses = trainer.step(trainer.batch(rows[step % len(rows)], step))
        found.append({name: value.clone() for name, value in losses.items()})
    return found


def trainer_of(name: str, engine: str, **changes) -> Trainer:
    options, synthetic = STEPS[name]
    return make_trainer(
        "cpu", synthetic=synthetic, engine=engine, model={"name": name.split()[0], "options": options}, **changes
    )


@pytest.mark.parametrize("name", STEPS)
def test_every_system_learns_the_same(name: str) -> None:
    eager, replayed = (trainer_of(name, engine, **EXACT) for engine in ("eager", "graphs"))
    torch.testing.assert_close(
        steps_of(replayed, 0, WARM_UP + 3), steps_of(eager, 0, WARM_UP + 3), rtol=0, atol=0, equal_nan=True
    )
    torch.testing.assert_close(replayed.judged.state_dict(), eager.judged.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("optim", [{}, {"name": "adamw"}, {"separate_losses": ["identity.triplet"]}])
def test_every_optimiser_does(optim: dict) -> None:
    eager, replayed = (trainer_of("baseline", engine, optim=optim) for engine in ("eager", "graphs"))
    torch.testing.assert_close(steps_of(replayed, 0, 6), steps_of(eager, 0, 6), rtol=1e-4, atol=1e-5)


def test_a_resumed_run_replays_from_its_own_state(tmp_path) -> None:
    first = trainer_of("baseline", "graphs")
    steps_of(first, 0, 5)
    save_checkpoint(tmp_path / "checkpoint.pt", first.state())
    expected = steps_of(first, 5, 11)
    second = trainer_of("baseline", "graphs")
    steps_of(second, 0, 5)  # what it has recorded is of weights and moments that are about to be replaced
    second.restore(load_checkpoint(tmp_path / "checkpoint.pt", second.recipe))
    assert second.replayed is not None
    assert not second.replayed.recorded
    assert all(isinstance(group["lr"], torch.Tensor) for group in second.optimiser.param_groups)
    torch.testing.assert_close(steps_of(second, 5, 11), expected, rtol=0, atol=0)
    assert second.replayed.recorded


def test_a_checkpoint_of_an_optimiser_that_was_not_fused_goes_on_fused() -> None:
    trainer = trainer_of("baseline", "graphs", **EXACT)
    state = trainer.state()
    for group in state["optimiser"]["param_groups"]:
        group |= {"fused": None, "lr": 0.01}
    trainer.restore(state)
    assert all(group["fused"] and float(group["lr"]) == pytest.approx(0.01) for group in trainer.optimiser.param_groups)


def test_a_trainer_that_nobody_needs_frees_what_it_recorded() -> None:
    trainer = trainer_of("baseline", "graphs")
    steps_of(trainer, 0, WARM_UP + 1)
    gc.disable()
    try:
        gone = weakref.ref(trainer)
        del trainer
        assert gone() is None  # without waiting for a collection: a graph holds all the memory of its step
    finally:
        gc.enable()


def batch_of(*values: float) -> Batch:
    images = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    return Batch(images, torch.arange(len(values)), torch.zeros(len(values), dtype=torch.int64))


class Counted:
    """A step that adds up its images, and what the host tells, and counts how often Python ran it."""

    def __init__(self) -> None:
        self.runs, self.told = 0, 0

    def __call__(self, batch: Batch, weights: dict[str, float]) -> dict[str, torch.Tensor]:
        self.runs += 1
        number = from_host(self.tell, CPU)
        return {"sum": batch.images.mean() * weights["sum"], "told": number + 0, "runs": torch.tensor(self.runs)}

    def tell(self) -> torch.Tensor:
        self.told += 1
        return torch.tensor(float(self.told))


def test_new_batches_and_numbers_of_the_host_reach_what_was_recorded() -> None:
    work = Counted()
    step = ReplayedStep(CPU)
    for number in range(1, 8):
        found = step(work, batch_of(number, number + 1), {"sum": 2.0})
        assert (float(found["sum"]), float(found["told"])) == (2 * number + 1, number)
    assert work.told == 7  # no number is drawn and not used: the next ones would be others


def test_other_weights_or_another_layout_are_recorded_anew() -> None:
    step, work = ReplayedStep(CPU), Counted()
    for number, weight in enumerate((1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0)):
        assert float(step(work, batch_of(1, 1), {"sum": weight})["sum"]) == weight
        assert step.recorded is (number % 5 >= WARM_UP)
    for number in range(5):
        assert float(step(work, batch_of(1, 2, 3), {"sum": 1.0})["sum"]) == 2
        assert step.recorded is (number >= WARM_UP)


def test_what_is_replayed_goes_without_asking_again() -> None:
    step, work = ReplayedStep(CPU), Counted()
    for _ in range(WARM_UP + 1):
        found = step(work, batch_of(1), {"sum": 1.0})
    again = step(work, batch_of(5), {"sum": 1.0})
    assert again is found
    assert float(again["sum"]) == 5


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semreid.distributed.world_size", lambda: 2)
    monkeypatch.setattr("semreid.training.trainer.DistributedDataParallel", lambda network, **_: network)
    with pytest.raises(SemreidError, match="engine=graphs is for one process") as caught:
        trainer_of("baseline", "graphs")
    assert "engine=eager" in caught.value.fix


def test_steps_that_were_counted_on_the_host_go_to_the_parameters() -> None:
    """A checkpoint may be that of an optimiser that was not fused, and a fused one wants the number where it works."""
    parameter = torch.nn.Parameter(torch.empty(2, device="meta"))
    optimiser = torch.optim.AdamW([parameter])
    optimiser.state[parameter] = {"step": torch.tensor(3.0)}
    make_replayable(optimiser, parameter.device)
    (group,) = optimiser.param_groups
    assert optimiser.state[parameter]["step"].device == group["lr"].device == parameter.device
    assert group["capturable"]
