"""Reading tensors from files that users bring: safetensors, or pickles with everything but tensors refused."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from semreid.errors import SemreidError
from semreid.reading import read_bytes, reading

MOST = 8 * 2**30
"""Bytes of a file of weights."""
SAVE_AGAIN = "save a plain state dict, best as .safetensors"
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Read named tensors from a ``.safetensors`` file or a PyTorch file.

    Args:
        path: The file. A PyTorch file is read with ``weights_only``: nothing in it is executed.

    Returns:
        Tensor by name, on the CPU. A dictionary inside the file, such as ``state_dict``, is unwrapped, whatever single
        numbers are beside it, and so are names that all begin with ``module.``.

    Raises:
        SemreidError: If the file is missing, damaged, holds anything but tensors, more than one set of them, or NaN.
    """
    path = Path(path)
    if not path.is_file():
        raise SemreidError(f"no weights file at {path}", fix="check the path; semreid never downloads weights")
    if path.suffix == ".safetensors":
        return tensors_in(read_bytes(path, MOST), path)
    content = read_torch(path)
    with reading(path, SAVE_AGAIN):
        return _named(content, path)


def tensors_in(content: bytes, path: Path) -> dict[str, Tensor]:
    """Read named tensors from the content of a ``.safetensors`` file.

    Args:
        content: What is in the file.
        path: The file, for error messages.

    Returns:
        As `read_tensors`.

    Raises:
        SemreidError: As `read_tensors`.
    """
    with reading(path):
        return _named(load(content), path)


def read_torch(path: Path | str, fix: str = SAVE_AGAIN) -> dict[str, Any]:
    """Read a dictionary of plain values and tensors that ``torch.save`` wrote; nothing in it is executed.

    Args:
        path: The file.
        fix: The way out if it cannot be read.

    Returns:
        The dictionary, tensors on the CPU.

    Raises:
        SemreidError: If the file is damaged or holds objects that would have to be executed.
    """
    path = Path(path)
    with reading(path, fix):
        _require_plain(path, fix)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # its text tells how to switch the safety off
            raise SemreidError(f"{path} holds more than tensors, or is damaged", fix=fix) from error
    if not isinstance(content, dict):
        raise SemreidError(f"{path} holds a {type(content).__name__}, not named tensors", fix=fix)
    return content


def _require_plain(path: Path, fix: str) -> None:
    """Refuse what would unfold in memory: PyTorch compresses nothing."""
    length = unfolded = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(item.file_size for item in archive.infolist())
    if unfolded > length or length > MOST:
        raise SemreidError(f"{path} of {length:,} bytes unfolds to {unfolded:,}", fix=fix)


def _named(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors = _unwrapped(content, path)
    while prefix := next((each for each in WRAPPERS if all(name.startswith(each) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise SemreidError(f"{path}: '{name}' claims more values than the file holds", fix=SAVE_AGAIN)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SemreidError(f"{path} holds NaN or infinity in '{name}'", fix="take weights from before it diverged")
    return tensors


def _unwrapped(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a dictionary, or of the only dictionary in it that has any."""
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    inner = {key: value for key, value in content.items() if isinstance(value, Mapping) and _holds_tensors(value)}
    weights = not inner or any(tensor.ndim for tensor in tensors.values())  # not only an accuracy beside a dictionary
    if tensors and weights and "state_dict" not in inner:
        return tensors
    key = "state_dict" if "state_dict" in inner else next(iter(inner), None)
    if key is None:
        raise SemreidError(f"{path} holds no tensors", fix="give a state dict, such as torchvision's ImageNet files")
    if len(inner) > 1 and key != "state_dict":
        raise SemreidError(
            f"{path} holds several state dicts: {', '.join(map(str, inner))}",
            fix="save the one that you want: torch.save(torch.load(FILE)['model'], NEW)",
        )
    return _unwrapped(inner[key], path)


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    return any(
        isinstance(value, Tensor) or (isinstance(value, Mapping) and _holds_tensors(value))
        for value in content.values()
    )
