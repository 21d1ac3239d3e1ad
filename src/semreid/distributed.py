"""The few words of working on several processes that heads, the loop and commands share; all are silent on one process.

Two processes must learn the same model as one with the same global batch, so features are gathered (with
gradients) before mining across the batch, and batch normalisation uses the statistics of the global batch.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

Item = TypeVar("Item")
Result = TypeVar("Result")
PATIENCE = timedelta(hours=12)
"""How long processes wait for one another: the first may decode millions of images while the others wait."""


class LostProcessError(RuntimeError):
    """Another of the processes that work together is there no longer."""


def launched() -> bool:
    """Whether ``torchrun`` started this process; others set some of its variables, too."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))


def launched_as(name: Literal["RANK", "LOCAL_RANK"] = "RANK") -> int:
    """Return the number that ``torchrun`` gave this process, of all or on its machine, joined or not; 0 without it."""
    return int(os.environ[name]) if launched() else 0


def world_size() -> int:
    """Return the number of processes that train together; 1 outside ``torchrun``."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0; 0 outside ``torchrun``."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_device() -> torch.device:
    """Return the GPU of this process if the machine has any, shared if they are few, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", launched_as("LOCAL_RANK") % torch.cuda.device_count())


def processes_of_a_gpu() -> int:
    """Return how many processes of this machine share a GPU, where it has any."""
    processes = int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1
    return -(-processes // max(1, torch.cuda.device_count()))


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that ``torchrun`` started, and leave them at the end; does nothing outside of it.

    Tensors on GPUs travel by nccl, or by gloo where processes share a GPU, which nccl refuses; all else by gloo.

    Raises:
        LostProcessError: If another process ended before its work was done; why, that one says.
    """
    if not launched() or dist.is_initialized():
        yield
        return
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    alone = device.type == "cuda" and processes_of_a_gpu() == 1
    dist.init_process_group("cpu:gloo,cuda:nccl" if alone else "gloo", timeout=PATIENCE)
    try:
        yield
        with contextlib.suppress(RuntimeError):  # another process failed, and says why
            dist.barrier()  # gloo's threads stay after a DDP: none may hold a tensor as Python ends
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo/transport" in str(error):
            raise LostProcessError("another process ended before its work was done") from error
        raise
    finally:
        gc.collect()  # a DDP, in a cycle, holds the group, whose threads would outlive it and abort as Python ends
        dist.destroy_process_group()


def first_process_first(work: Callable[[], Result]) -> Result:
    """Let the first process do a job alone, and then all others, who find it done.

    Args:
        work: The job, such as to open a file, which is made if it is missing.

    Returns:
        Its result, which stays in each process.

    Raises:
        Exception: What ``work`` raised on the first process, on all of them.

    Example:
        >>> first_process_first(lambda: 2 + 2)
        4
    """
    done: list[Result] = []
    by_first(lambda: done.append(work()))
    return done[0] if done else work()


def shared(work: Callable[[Iterable[Item]], Iterator[Result]], items: Sequence[Item]) -> Iterator[Result]:
    """Share items among the processes: each works through its own, and the first gets all results.

    Args:
        work: Yields a result for each item, in order; may read ahead.
        items: The items, the same on every process; each is worked on once.

    Yields:
        On the first process all results, in the order of the items, as they come; on the others nothing, but they
        must iterate, too, for that is when they work.

    Raises:
        Exception: What ``work`` raised on any process, on all of them, after the results of the items before.

    Example:
        >>> list(shared(lambda numbers: (n * n for n in numbers), [1, 2, 3]))
        [1, 4, 9]
    """
    if world_size() == 1:
        yield from work(items)
        return
    mine = iter(work(items[rank() :: world_size()]))
    for start in range(0, len(items), world_size()):
        yield from _delivered(_tried(lambda: next(mine)) if start + rank() < len(items) else [])


def by_first(work: Callable[[], Result]) -> Result:
    """Let the first process do a job, and give all of them the result, or what it raised.

    Raises:
        Exception: What ``work`` raised, on all processes.

    Example:
        >>> by_first(lambda: 2 + 2)
        4
    """
    if world_size() == 1:
        return work()
    box: list[list[Result] | Exception] = [_tried(work) if rank() == 0 else []]
    dist.broadcast_object_list(box)
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0][0]


def _tried(work: Callable[[], Result]) -> list[Result] | Exception:
    """The result, or what was raised instead: both can travel."""
    try:
        return [work()]
    except Exception as error:  # to be raised on all processes
        return error


def _delivered(mine: list[Result] | Exception) -> Iterator[Result]:
    """Take the results of a round to the first process, in the order of the ranks, and a failure to all."""
    failed: list[Exception | None] = [None] * world_size()
    dist.all_gather_object(failed, mine if isinstance(mine, Exception) else None)
    boxes: list[list[Result]] | None = [[]] * world_size() if rank() == 0 else None
    dist.gather_object([] if isinstance(mine, Exception) else mine, boxes)
    for box, error in zip(boxes or [[]] * world_size(), failed, strict=True):
        if error is not None:
            raise error
        yield from box


class _Gather(torch.autograd.Function):
    """Concatenation over processes; each gets the gradients of all for what it gave."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, dim: int) -> Tensor:
        ctx.dim = dim  # type: ignore[attr-defined]
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size(), ctx.dim)[rank()], None  # type: ignore[attr-defined]


def gather(local: Tensor, dim: int = 0) -> Tensor:
    """Concatenate the features or labels of all processes; gradients flow back to where each came from.

    Args:
        local: What this process has, such as features (b, D) or labels (b,), of the same shape on every process.
        dim: Dimension of the images.

    Returns:
        That of the global batch, such as (b * world, D), in the order of the ranks.
    """
    if world_size() == 1:
        return local
    gathered: Tensor = _Gather.apply(local, dim)  # type: ignore[no-untyped-call]
    return gathered


def mean(value: Tensor) -> Tensor:
    """Average what each process has of the same thing, such as the loss of its share of a batch; without gradients.

    Args:
        value: Local numbers, of the same shape on every process.

    Returns:
        Their mean over the processes, the same on all.
    """
    if world_size() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / world_size()


def pooled_moments(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and variance of samples that lie in equally large parts.

    Of the variance within the parts and that of their means: the square of a mean that is large against the spread,
    taken from the mean of squares, would leave nothing but rounding.

    Args:
        moments: Mean and variance of each part, (parts, 2, C), divided by the number of samples.

    Returns:
        Mean and variance of all, (C,) each.

    Example:
        >>> mean, var = pooled_moments(torch.tensor([[[1.0], [0.0]], [[3.0], [0.0]]]))
        >>> mean.item(), var.item()
        (2.0, 1.0)
    """
    means, variances = moments.unbind(1)
    return means.mean(0), variances.mean(0) + means.var(0, unbiased=False)


class GlobalBatchNorm(nn.Module):
    """Batch normalisation over the global batch, for processes that train on CPU (gloo).

    PyTorch's own SyncBatchNorm runs on accelerators only. Shares parameters and buffers with the layer it
    replaces, so checkpoints stay the same.

    Args:
        norm: The layer to replace.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.momentum = norm.weight, norm.bias, norm.eps, norm.momentum
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...) by the statistics of the batches of all processes."""
        if not self.training:
            mean, var = self.running_mean, self.running_var
            return nn.functional.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)
        rows = x.float().transpose(0, 1).flatten(1)
        count = rows.shape[1] * world_size()
        mean, var = pooled_moments(gather(torch.stack((rows.mean(1), rows.var(1, unbiased=False)))[None]))
        self._track(mean.detach(), var.detach() * count / (count - 1))
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale = self.weight * torch.rsqrt(var + self.eps)
        out: Tensor = (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        self.num_batches_tracked += 1


def synchronise_norms(module: nn.Module) -> nn.Module:
    """Make every batch normalisation below ``module`` use the statistics of the global batch.

    Args:
        module: The module to convert in place; unchanged on one process.
    """
    if world_size() == 1:
        return module
    if any(p.is_cuda for p in module.parameters()):
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-any-return]
    for name, child in module.named_children():
        new = GlobalBatchNorm(child) if isinstance(child, _BatchNorm) else synchronise_norms(child)
        setattr(module, name, new)
    return module
