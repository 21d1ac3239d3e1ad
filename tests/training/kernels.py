"""A CUDA graph for a machine that has none: the kernels of a step are recorded, and asked for again without Python."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semreid.training.replay import Losses, ReplayedStep


class Recording(TorchDispatchMode):
    """Note each kernel with the very tensors that it reads and writes, as a graph notes addresses.

    A recording changes nothing: what kernels wrote to tensors that were there before is taken back at its end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[torch.Tensor]]] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage | None]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        for tensor in tensors_of((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._before:
                self._before[storage.data_ptr()] = storage, storage.clone()
        found = func(*args, **(kwargs or {}))
        for tensor in tensors_of(found):
            storage = tensor.untyped_storage()
            self._before.setdefault(storage.data_ptr(), (storage, None))  # made here
        self.kernels.append((func, args, kwargs or {}, tensors_of(found)))
        return found

    def __exit__(self, *failure: object) -> None:
        super().__exit__(*failure)
        for storage, before in self._before.values():
            if before is not None:
                storage.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        """Run the kernels again; each writes to where it wrote."""
        for func, args, kwargs, found in self.kernels:
            for old, new in zip(found, tensors_of(func(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class EmulatedStep(ReplayedStep):
    """A replayed step as on a GPU, but for its graph, which is emulated."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._stream: Any = "emulated"

    def _record(self, step: Callable[[], Losses], stream: object) -> Any:
        with Recording() as graph, self._host.given():
            losses = step()
        made = [str(func) for func, *_ in graph.kernels if func == torch.ops.aten.lift_fresh.default]
        assert not made, "a tensor is made of Python's numbers, which a GPU would refuse to record"
        return graph, losses


def tensors_of(tree: object) -> list[torch.Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
