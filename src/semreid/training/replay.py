"""A training step that is recorded once and then replayed: the host hands over one graph, not a thousand kernels.

A GPU computes many of the small kernels of a step faster than Python can ask for them. A CUDA graph is asked for once.
It reads and writes the same memory at each replay: new batches, random numbers and learning rates are copied there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from semreid.data.batch import Batch
from semreid.host import HostTensors

Losses = dict[str, Tensor]
WARM_UP = 3
"""Steps that run as they are written before one is recorded: libraries choose and optimisers build what they need."""


class ReplayedStep:
    """A step on batches of one layout; another layout or other weights of the losses are recorded anew.

    On a CPU, which has no graphs, the same is done with a step that is run again instead.

    Args:
        work: The step: learns from a batch, given the weights of the losses, and returns losses on the device. It must
            not look at what the device computed, and takes from the host by `semreid.host.from_host` alone.
        device: Where it runs.
    """

    def __init__(self, work: Callable[[Batch, Mapping[str, float]], Losses], device: torch.device) -> None:
        self.work, self.device = work, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.forget()

    def forget(self) -> None:
        """Record anew: the tensors that a step works on have been replaced."""
        self._kind: object = None
        self._seen = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self, batch: Batch, weights: Mapping[str, float]) -> Losses:
        """Learn from a batch.

        Returns:
            What the step returns. The next call writes to the same memory.
        """
        kind = (_layout(batch), dict(weights))
        if kind != self._kind:
            self.forget()
            self._kind = kind
        self._seen += 1
        if self._seen <= WARM_UP:
            return self._as_written(batch, weights)
        if self._replay is None:
            self._record(batch, weights)
        else:
            _overwrite(self._batch, batch)
        assert self._replay is not None
        self._host.renew()
        self._replay()
        return self._losses

    def _as_written(self, batch: Batch, weights: Mapping[str, float]) -> Losses:
        self._host = HostTensors()
        with _beside(self._stream), self._host.noted():
            return self.work(batch, weights)

    def _record(self, batch: Batch, weights: Mapping[str, float]) -> None:
        self._batch = _copied(batch)

        def step() -> Losses:
            with self._host.given():
                return self.work(self._batch, weights)

        if self._stream is None:
            losses: Losses = {}
            self._replay, self._losses = (lambda: losses.update(step())), losses
            return
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._losses = step()
        self._replay = graph.replay


def make_replayable(optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Let an optimiser be recorded: its learning rate becomes a number on the device, which can be changed there.

    Args:
        optimiser: The optimiser, one of those that are fused.
        device: Where its parameters are.
    """
    for group in optimiser.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "capturable" in group:
            group["capturable"] = True


@contextlib.contextmanager
def _beside(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Work on that stream, after all that the usual one has to do, and before all that it will have to."""
    if stream is None:
        yield
        return
    usual = torch.cuda.current_stream(stream.device)
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        yield
    usual.wait_stream(stream)


def _layout(batch: Batch) -> list[Any]:
    """What must not change from one replay to the next."""
    there = [
        None if tensor is None else (tensor.shape, tensor.dtype, tensor.stride())
        for tensor in (getattr(batch, field.name) for field in fields(batch))
    ]
    return [*there, None if batch.synthetic is None else batch.synthetic.tolist()]


def _copied(batch: Batch) -> Batch:
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: tensor.clone() for name, tensor in tensors.items() if tensor is not None})


def _overwrite(old: Batch, new: Batch) -> None:
    for field in fields(old):
        if (tensor := getattr(old, field.name)) is not None:
            tensor.copy_(getattr(new, field.name), non_blocking=True)
