"""A replayed step learns what one that runs as written learns: by an emulated graph, and as a CPU does it."""

import gc
import weakref
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semreid.data.batch import Batch
from semreid.data.sampler import pk_batches
from semreid.errors import SemreidError
from semreid.host import from_host
from semreid.training import replay
from semreid.training import trainer as module
from semreid.training.checkpoint import load_checkpoint, save_checkpoint
from semreid.training.replay import WARM_UP, ReplayedStep, make_replayable
from semreid.training.trainer import Trainer
from tests.training.kernels import EmulatedStep, tensors_of
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


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ReplayedStep", EmulatedStep)
    monkeypatch.setattr(replay, "_beside", lambda _: nullcontext())


OPTIMISERS = {"adam": {}, "adamw": {"name": "adamw"}, "two gradients": {"separate_losses": ["identity.triplet"]}}


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("case", [*STEPS, "bf16", "contrast"])
def test_a_graph_of_every_system_learns_the_same(case: str) -> None:
    changes = {"bf16": {"precision": "bf16"}, "contrast": {"contrast": {"weight": 1.0, "heads": ["parsing"]}}}
    name = case if case in STEPS else "unified"
    eager, graph = (trainer_of(name, engine, **EXACT, **changes.get(case, {})) for engine in ("eager", "graphs"))
    torch.testing.assert_close(
        steps_of(graph, 0, WARM_UP + 3), steps_of(eager, 0, WARM_UP + 3), rtol=0, atol=0, equal_nan=True
    )
    torch.testing.assert_close(graph.judged.state_dict(), eager.judged.state_dict(), rtol=0, atol=0)


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("optim", OPTIMISERS)
def test_a_graph_of_every_optimiser_does(optim: str) -> None:
    eager, graph = (trainer_of("baseline", engine, optim=OPTIMISERS[optim]) for engine in ("eager", "graphs"))
    torch.testing.assert_close(steps_of(graph, 0, 6), steps_of(eager, 0, 6), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optim", OPTIMISERS)
def test_so_does_a_step_that_runs_again(optim: str) -> None:
    eager, again = (trainer_of("baseline", engine, optim=OPTIMISERS[optim]) for engine in ("eager", "graphs"))
    torch.testing.assert_close(steps_of(again, 0, 6), steps_of(eager, 0, 6), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("emulated")
def test_a_graph_knows_nothing_of_python() -> None:
    """What a step takes of the host otherwise than by `from_host` stays as it was recorded: the emulation shows it."""
    work, step = Counted(), EmulatedStep(CPU)
    for number in range(1, WARM_UP + 4):
        found = step(work, batch_of(number, number + 1), {"sum": 2.0})
        assert (float(found["sum"]), float(found["told"])) == (2 * number + 1, number)
        assert float(found["runs"]) == min(number, WARM_UP + 1)  # the last time to record it


class FromHost(TorchDispatchMode):
    """Note the kernels that read or write a tensor of the host, which a GPU refuses to record."""

    def __init__(self) -> None:
        super().__init__()
        self.of_host, self.seen = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.seen += 1
        if any(tensor.device == CPU for tensor in tensors_of((args, kwargs, found))):
            self.of_host.append(func)
        return found


class MetaStep(EmulatedStep):
    def _record(self, step, stream) -> Any:
        with FromHost() as self.noted, self._host.given():
            losses = step()
        return SimpleNamespace(replay=lambda: None), losses


STEPS_WITH_CONTRAST = {"unified": None, "san with synthetic people": None, "magnifiernet": ("parsing", "fusion")}


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(
    ("name", "contrast"),
    [(name, {}) for name in STEPS]
    + [(name, {"weight": 1.0, "heads": heads}) for name, heads in STEPS_WITH_CONTRAST.items()],
)
def test_a_step_never_waits_for_the_device_nor_sends_while_it_is_recorded(
    name: str, contrast: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device, nothing can be looked at: no item(), nonzero() or boolean index, no way back to the host."""
    monkeypatch.setattr(module, "ReplayedStep", MetaStep)
    monkeypatch.setattr(module, "make_replayable", lambda *_: None)  # no optimiser is fused on this device
    monkeypatch.setattr(module, "build_optimiser", lambda _, model: torch.optim.SGD(model.parameters(), 0.1))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # unknown to it
    options, synthetic = STEPS[name]
    trainer = make_trainer(
        "meta",
        synthetic=synthetic,
        engine="graphs",
        model={"name": name.split()[0], "options": options},
        optim={"clip": 1.0, "ema": 0.9},
        contrast=contrast,
    )
    trainer.model.train()
    rows = next(iter(pk_batches(trainer.labels, 4, 2, seed=0, epoch=0)))
    for step in range(WARM_UP + 1):
        assert trainer.step(trainer.batch(rows, step))["total"].shape == ()
    recorded = trainer.replayed.noted
    assert recorded.seen > 300
    assert recorded.of_host == []


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("make", [lambda: torch.tensor([1.0]), lambda: torch.ones(3)[[2, 0]]])
def test_what_a_gpu_would_refuse_to_record_is_noticed(make: Callable[[], torch.Tensor]) -> None:
    with FromHost() as noted:
        make().to("meta")
    assert noted.of_host
    step = EmulatedStep(CPU)
    for _ in range(WARM_UP):
        step(lambda *_: {"made": make()}, batch_of(1), {})
    with pytest.raises(AssertionError, match="made of Python's numbers"):
        step(lambda *_: {"made": make()}, batch_of(1), {})


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (RuntimeError("item() is not permitted"), SemreidError, r"recorded as a CUDA graph: item\(\) is not permitted"),
        (None, SemreidError, "recorded as a CUDA graph: the recording was broken before"),
        (torch.OutOfMemoryError("20 GiB"), torch.OutOfMemoryError, "20 GiB"),
        (KeyboardInterrupt("by hand"), KeyboardInterrupt, "by hand"),
    ],
)
def test_what_fails_while_a_step_is_recorded_is_told(
    failure: BaseException | None, kind: type[BaseException], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyTorch has it, to end a recording that failed fails as well."""

    @contextmanager
    def graph(*_, **__):
        try:
            yield
        finally:
            raise RuntimeError("the recording was broken before")

    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    usual, current = object(), []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: usual)
    monkeypatch.setattr(torch.cuda, "set_stream", current.append)
    monkeypatch.setattr(replay, "_beside", lambda _: nullcontext())
    step, work = ReplayedStep(CPU), Counted()
    step._stream = SimpleNamespace(device=CPU)
    for _ in range(WARM_UP):
        step(work, batch_of(1), {"sum": 1.0})

    def recorded(batch, weights):
        if failure is not None:
            raise failure
        return work(batch, weights)

    with pytest.raises(kind, match=message) as caught:
        step(recorded, batch_of(1), {"sum": 1.0})
    if kind is SemreidError:
        assert "engine=eager" in caught.value.fix
        assert failure is None or caught.value.__cause__ is failure
    assert not step.recorded
    assert current == [usual]


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
        return {"sum": batch.images.mean() * weights["sum"], "told": number + 0, "runs": torch.full((), self.runs)}

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
