"""Writing files so that a reader sees either the old content or the new one, never half of it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semreid.errors import SemreidError


@contextlib.contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; rename it to ``target`` on success, delete it on failure.

    Args:
        target: The file to be written. Its folder is made if missing.

    Raises:
        SemreidError: If the folder or the file cannot be written.
    """
    target = Path(target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise SemreidError(
            f"cannot write {target}: {error.strerror or error}",
            fix="choose a path in a folder that you may write to, on a disk with free space",
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone already, or in a folder that nothing can be written to
            temporary.unlink()


def require_writable(target: Path | str) -> None:
    """Find out before a long job whether its result can be written.

    Args:
        target: The file to be written later; folders on the way to it may still be missing.

    Raises:
        SemreidError: If it cannot be written.
    """
    target = Path(target).absolute()
    folder = next(p for p in target.parents if p.exists())
    if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SemreidError(f"cannot write {target}", fix="choose a path in a folder that you may write to")


def write_text(target: Path | str, text: str) -> None:
    """Write ``text`` to ``target`` atomically (UTF-8).

    Args:
        target: The file to be written.
        text: Its whole content.

    Raises:
        SemreidError: If the file cannot be written.
    """
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path | str, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Write ``value`` to ``target`` as indented JSON, atomically.

    Args:
        target: The file to be written.
        value: Anything ``json`` can hold. NaN and infinity are refused: they are not JSON.

    Raises:
        SemreidError: If the file cannot be written.
    """
    write_text(target, json.dumps(value, indent=2, allow_nan=False) + "\n")
