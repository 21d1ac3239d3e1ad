"""Reading tensors from files that users bring: safetensors, or pickles with everything but tensors refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from semreid.errors import SemreidError


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Read named tensors from a ``.safetensors`` file or a PyTorch file.

    Args:
        path: The file. A PyTorch file is read with ``weights_only``: nothing in it is executed.

    Returns:
        Tensor by name, on the CPU. A ``state_dict`` inside the file is unwrapped.

    Raises:
        SemreidError: If the file is missing, damaged, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise SemreidError(f"no weights file at {path}", fix="check the path; semreid never downloads weights")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    content = content.get("state_dict", content)
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise SemreidError(f"{path} holds no tensors", fix="give a state dict, such as torchvision's ImageNet files")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise SemreidError(f"{path} is damaged: {error}", fix="copy or write the file again") from error


def read_torch(path: Path | str) -> dict[str, Any]:
    """Read a dictionary of plain values and tensors that ``torch.save`` wrote; nothing in it is executed.

    Args:
        path: The file.

    Returns:
        The dictionary, tensors on the CPU.

    Raises:
        SemreidError: If the file is damaged or holds objects that would have to be executed.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SemreidError(
            f"cannot read {path} safely: {reason}",
            fix="the file is damaged or holds more than tensors; save a plain state dict, best as .safetensors",
        ) from error
    if not isinstance(content, dict):
        raise SemreidError(f"{path} holds a {type(content).__name__}, not named tensors", fix="save a plain state dict")
    return content
