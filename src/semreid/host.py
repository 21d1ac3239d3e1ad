"""From the host to the device in a training step that never waits, and that can be replayed with other numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Send a tensor to a device without waiting for the work that the device still has to do.

    Args:
        tensor: The tensor; from the host, it travels through memory that the device can read by itself.
        device: Where to.

    Returns:
        The tensor there; whatever the device does next finds it complete.
    """
    return _readable(tensor, device).to(device, non_blocking=True)


def from_host(make: Callable[[], Tensor], device: torch.device) -> Tensor:
    """Have the host make a tensor that a step needs, such as random numbers, and send it.

    Heads and losses call this instead of `sent`, so that a step can be recorded: see `HostTensors`.

    Args:
        make: Makes it, of the same shape in every step, from nothing that the device computed.
        device: Where to.

    Returns:
        The tensor there, not to be changed in place.
    """
    return sent(make(), device) if _taken is None else _taken.take(make, device)


class HostTensors:
    """What a step takes from the host, in order.

    A recorded step reads the same memory whenever it is replayed; `renew` writes there what the host would have sent.
    """

    def __init__(self) -> None:
        self._taken: list[tuple[Callable[[], Tensor], Tensor]] = []
        self._following: Iterator[tuple[Callable[[], Tensor], Tensor]] | None = None

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note all that `from_host` sends within."""
        self._taken, self._following = [], None
        with self._listening():
            yield

    @contextlib.contextmanager
    def given(self) -> Iterator[None]:
        """Let `from_host` give what was noted, in the same order; nothing is made or sent within."""
        self._following = iter(self._taken)
        with self._listening():
            yield

    def renew(self) -> None:
        """Make all of it again, and write it to where it was sent."""
        for make, there in self._taken:
            there.copy_(_readable(make(), there.device), non_blocking=True)

    def take(self, make: Callable[[], Tensor], device: torch.device) -> Tensor:
        """Answer `from_host`."""
        if self._following is not None:
            return next(self._following)[1]
        there = sent(make(), device)
        self._taken.append((make, there))
        return there

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        global _taken
        _taken = self
        try:
            yield
        finally:
            _taken = None


_taken: HostTensors | None = None
"""Who listens to what is sent."""


def _readable(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor in memory that the device can read by itself."""
    return tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
