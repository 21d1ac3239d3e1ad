"""A training step that is recorded once and then replayed: the host hands over one graph, not a thousand kernels.

A GPU computes many of the small kernels of a step faster than Python can ask for them. A CUDA graph is asked for once.
It reads and writes the same memory at each replay: new batches, random numbers and learning rates are copied there.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.host import HostTensors

Losses = dict[str, Tensor]
Work = Callable[[Batch, Mapping[str, float]], Losses]
"""A step: learns from a batch, given the weights of the losses, and returns losses on the device."""
WARM_UP = 3
"""Steps that run as they are written before one is recorded: libraries choose and optimisers build what they need."""


class ReplayedStep:
    """A step on batches of one layout; another layout or other weights of the losses are recorded anew.

    On a CPU, which has no graphs, the same is done with a step that is run again instead.

    Args:
        device: Where it runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.forget()

    def forget(self) -> None:
        """Record anew: the tensors that a step works on have been replaced."""
        self._kind: object = None
        self._seen = 0
        self._batch: Batch | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._losses: Losses = {}

    @property
    def recorded(self) -> bool:
        """Whether the next step of the same kind is replayed."""
        return self._batch is not None

    def __call__(self, work: Work, batch: Batch, weights: Mapping[str, float]) -> Losses:
        """Learn from a batch.

        Args:
            work: The step, the same in every call. It must not look at what the device computed, and takes from the
                host by `semreid.host.from_host` alone.
            batch: The batch.
            weights: Weights of the losses.

        Returns:
            What the step returns. The next call writes to the same memory.

        Raises:
            SemreidError: If the step cannot be recorded.
        """
        kind = (_layout(batch), dict(weights))
        if kind != self._kind:
            self.forget()
            self._kind = kind
        self._seen += 1
        if self._seen <= WARM_UP:
            self._host = HostTensors()
            with _beside(self._stream), self._host.noted():
                return work(batch, weights)
        if self._batch is None:
            self._batch = _copied(batch)
            if self._stream is not None:
                self._graph, self._losses = self._record(partial(work, self._batch, weights), self._stream)
        else:
            _overwrite(self._batch, batch)
        self._host.renew()
        if self._graph is not None:
            self._graph.replay()
        else:
            with self._host.given():
                self._losses.update(work(self._batch, weights))
        return self._losses

    def _record(self, step: Callable[[], Losses], stream: torch.cuda.Stream) -> tuple[torch.cuda.CUDAGraph, Losses]:
        usual, graph = torch.cuda.current_stream(stream.device), torch.cuda.CUDAGraph()
        failed: list[BaseException] = []
        gc.collect()  # another graph must not end while this one is recorded
        try:
            with torch.cuda.graph(graph, stream=stream), _first_kept(failed), self._host.given():
                losses = step()
        except BaseException as error:
            torch.cuda.set_stream(usual)  # a recording that failed does not go back to it
            self.forget()
            cause = failed[0] if failed else error  # ending such a recording fails, too, and does not tell why
            if not isinstance(cause, RuntimeError) or isinstance(cause, torch.OutOfMemoryError):
                raise cause from None  # out of memory, a smaller batch may do
            message = f"this step cannot be recorded as a CUDA graph: {cause}"
            raise SemreidError(message, fix="set engine=eager") from cause
        return graph, losses


@contextlib.contextmanager
def _first_kept(failed: list[BaseException]) -> Iterator[None]:
    """Keep what fails within, before what encloses it fails for that reason."""
    try:
        yield
    except BaseException as error:
        failed.append(error)
        raise


def make_replayable(optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Let an optimiser be recorded: its learning rate becomes a number on the device, which can be changed there.

    Args:
        optimiser: The optimiser, of a kind that can be fused; the others ask the device for the learning rate.
        device: Where its parameters are.
    """
    for group in optimiser.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        group["fused"], group["foreach"] = True, None
        if "capturable" in group:
            group["capturable"] = True
    for parameter, state in optimiser.state.items():
        if "step" in state:  # counted on the host so far, where it was not fused
            state["step"] = state["step"].to(parameter.device, torch.float32)


@contextlib.contextmanager
def _beside(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Work on that stream, after all that the usual one has to do, and before all that it will have to."""
    if stream is None:
        yield
        return
    usual = torch.cuda.current_stream(stream.device)
    stream.wait_stream(usual)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        usual.wait_stream(stream)


def _layout(batch: Batch) -> list[Any]:
    """What must not change from one replay to the next."""
    there = [(name, each.shape, each.dtype, each.stride()) for name, each in batch.tensors().items()]
    return [*there, batch.synthetic]


def _copied(batch: Batch) -> Batch:
    return replace(batch, **{name: tensor.clone() for name, tensor in batch.tensors().items()})


def _overwrite(old: Batch, new: Batch) -> None:
    for name, tensor in old.tensors().items():
        tensor.copy_(getattr(new, name), non_blocking=True)
