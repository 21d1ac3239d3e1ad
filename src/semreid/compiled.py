"""How inner loops are compiled.

Modules with kernels are imported where they are used, so that nobody waits for Numba in vain; nor does who needs
kernels alone, such as the processes that make people, wait for PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile ``function``, which lets go of the GIL; keep the machine code on disk where a place can be written."""
    import numba

    fastmath = {"reassoc", "contract"}  # sums may become vector instructions; NaN stays NaN
    try:
        return cast("F", numba.njit(function, nogil=True, fastmath=fastmath, cache=True))
    except RuntimeError:  # read-only installation and no home folder: compile anew in every process
        return cast("F", numba.njit(function, nogil=True, fastmath=fastmath))
