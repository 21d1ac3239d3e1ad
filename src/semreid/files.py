"""Writing files so that a reader sees either the old content or the new one, never half of it.

A file is written beside its place under a temporary name, and renamed. Links are followed, so that what they point to
is renewed and they stay links; owner, group and mode of a file that is replaced stay as they were, and it is replaced
only by what is on the disk already, so that one of both is there after the power failed; what is no regular file is
refused. (Of several hard links, only the one that is named gets the new content.)

Whoever writes holds a lock on its temporary file, also where a folder is filled; so the next process that writes into
a folder can tell, and removes, what a killed one has left there.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import functools
import io
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from semreid.errors import SemreidError

PATIENCE = 60.0
"""Seconds to wait for another process that writes the same file."""
ANOTHER_PLACE = "choose a path in a folder that you may write to, on a disk with free space"
_PREFIX = ".semreid-"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


@contextlib.contextmanager
def atomic_path(target: Path | str, fix: str = ANOTHER_PLACE) -> Iterator[Path]:
    """Yield the path of an empty file beside ``target``; rename it to ``target`` on success, delete it on failure.

    Args:
        target: The file to be written, or a link to it. Its folder is made if missing.
        fix: The way out if it cannot be written.

    Raises:
        SemreidError: If the folder or the file cannot be written, or ``target`` is no regular file.
    """
    with explained(target, fix):
        place, old = _place(Path(target))
        with _temporary(place.parent) as (temporary, descriptor):
            if old is not None:
                _liken(descriptor, old)
            yield temporary
            if old is not None:
                _settle(temporary, descriptor)
            temporary.replace(place)


def require_writable(target: Path | str) -> None:
    """Find out before a long job whether its result can be written.

    Args:
        target: The file to be written later; folders on the way to it may still be missing.

    Raises:
        SemreidError: If it cannot be written.
    """
    with explained(target):
        place, _ = _place(Path(target))
        folder = next(parent for parent in place.parents if parent.exists())
        if not folder.is_dir() or not _may_write(folder):
            code = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(code, f"{folder}: {os.strerror(code)}")
        longest = max(len(os.fsencode(part)) for part in place.relative_to(folder).parts)
        if longest > os.pathconf(folder, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, f"a name of {longest} bytes is too long")


def require_apart(outputs: Sequence[Path], others: Iterable[Path | str] = (), what: str = "what is read here") -> None:
    """Refuse to write a file twice, or over one that is to stay, whatever links lead there.

    Args:
        outputs: The files to be written.
        others: Files that are to stay; need not exist.
        what: What these are, for the message.

    Raises:
        SemreidError: If an output is another one, or one of ``others``.
    """
    places = [os.path.realpath(output) for output in outputs]
    if twice := [output for i, output in enumerate(outputs) if places[i] in places[:i]]:
        raise SemreidError(f"{twice[0]} would be written twice", fix="give each result a file of its own")
    there = {identity: output for output in outputs if (identity := _identity(output))}
    if lost := [there[found] for found in map(_identity, others if there else ()) if found in there]:
        raise SemreidError(f"{lost[0]} is {what}: it will not be written over", fix="choose another file to write")


def require_own(target: Path, mark: bytes) -> None:
    """Refuse to write over a file of the user's that happens to have the name of a result.

    Args:
        target: The file to be written.
        mark: What the first 4 KiB of such a result hold; an empty file has nothing to lose.

    Raises:
        SemreidError: If something else is there.
    """
    if not target.is_file():
        return
    with explained(target), target.open("rb") as file:
        start = file.read(4096)
    if start and mark not in start:
        raise SemreidError(
            f"{target} is there already, and is no such result of semreid: it will not be written over",
            fix="choose another name for what is to be written, or move this file first",
        )


def require_outside(target: Path, folder: Path) -> None:
    """Refuse to put pictures into a folder that is searched for crops.

    Args:
        target: The folder to be filled.
        folder: What crops are read from; a file, or nothing at all, is no such folder.

    Raises:
        SemreidError: If ``target`` is ``folder`` or lies in it.
    """
    if folder.is_dir() and target.resolve().is_relative_to(folder.resolve()):
        raise SemreidError(
            f"{target} lies in {folder}, where its pictures would be taken for crops",
            fix="choose a folder outside: --out",
        )


def require_suffix(target: Path, suffix: str, what: str) -> None:
    """Refuse a file name by which other programs would take the file for something else.

    Args:
        target: The file to be written.
        suffix: How its name must end, such as ``.png``.
        what: What is written, such as "a PNG picture".

    Raises:
        SemreidError: If it ends otherwise, or is a folder.
    """
    if target.is_dir():
        raise SemreidError(f"{target} is a folder, and {what} is a file", fix=f"name one that ends in {suffix}")
    if target.suffix != suffix:
        raise SemreidError(
            f"{target}: {what} has a name that ends in {suffix}", fix=f"name it {target.with_suffix(suffix)}"
        )


def _identity(path: Path | str) -> tuple[int, int] | None:
    """What tells a file from all others of the machine; None if there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def write_text(target: Path | str, text: str) -> None:
    """Write ``text`` to ``target`` atomically (UTF-8).

    Raises:
        SemreidError: If the file cannot be written.
    """
    write_bytes(target, text.encode())


def write_bytes(target: Path | str, content: bytes) -> None:
    """Write ``content`` to ``target`` atomically.

    Raises:
        SemreidError: If the file cannot be written.
    """
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_json(target: Path | str, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Write ``value`` to ``target`` as indented JSON, atomically.

    Args:
        target: The file to be written.
        value: Anything ``json`` can hold. NaN and infinity are refused: they are not JSON.

    Raises:
        SemreidError: If the file cannot be written.
    """
    write_text(target, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(target: Path | str, rows: Iterable[Sequence[Any]]) -> None:
    """Write a table, its header first, as CSV, atomically.

    Raises:
        SemreidError: If the file cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(target, text.getvalue())


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Yield where a folder can be filled that is then renamed to its place; if it is not, it is deleted.

    Args:
        target: The folder that it shall be, which must not be there. Those above it are made if missing.

    Raises:
        SemreidError: If it cannot be written.
    """
    with explained(target), _temporary(target.parent) as (lock, _):
        folder = lock.with_suffix("")
        folder.mkdir(mode=0o700)
        try:
            yield folder / target.name
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards, for programs that choose the names of their files themselves.

    Raises:
        SemreidError: If it cannot be made or written.
    """
    home = tempfile.gettempdir()
    with (
        explained(home, fix="make room there, or name another folder for temporary files in TMPDIR"),
        tempfile.TemporaryDirectory(prefix="semreid-") as folder,
    ):
        yield Path(folder)


def is_temporary(path: Path) -> bool:
    """Whether a file is one of those that writing leaves for a moment, or after a crash: none of the user's."""
    return path.name.startswith(_PREFIX)


@contextlib.contextmanager
def exclusive(target: Path | str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Be the only one who writes ``target``, of all processes and threads that ask for it in this way.

    Args:
        target: A file or folder, or a link to it; need not exist.
        patience: Seconds to wait for another one, with a message, before it is refused.

    Raises:
        SemreidError: If another one is still at it, or the folder of ``target`` cannot be written.
    """
    place = Path(os.path.realpath(target))
    lock = place.with_name(f"{_PREFIX}{blake2b(os.fsencode(place.name), digest_size=8).hexdigest()}.lock")
    with contextlib.ExitStack() as stack:
        with explained(target):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(_held(lock, patience, f"another process writes {target}: waiting for it"))
            except BlockingIOError as error:
                raise SemreidError(
                    f"another process writes {target}", fix="run the same command again once it has ended"
                ) from error
        yield


def user_path(text: Path | str) -> Path:
    """Make a path of what a user wrote, with ``~`` for a home folder; there need not be anything.

    Raises:
        SemreidError: If it can be no path.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long; no such home; zero bytes
        reason = getattr(error, "strerror", None) or error
        raise SemreidError(f"there can be no {str(text)[:200]!r}: {reason}", fix="check the path") from error
    return path


@contextlib.contextmanager
def explained(target: Path | str, fix: str = ANOTHER_PLACE) -> Iterator[None]:
    """Tell what the system says against writing a file in the words of a user.

    Args:
        target: What is being written: a file, or a folder with all that is in it.
        fix: The way out.

    Raises:
        SemreidError: If the system raises an error, unless it names other files: one that is read meanwhile, say.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = _reason(error, Path(os.path.realpath(target)))
        if not reason:
            raise
        raise SemreidError(f"cannot write {target}: {reason}", fix=fix) from error


def _reason(error: BaseException, place: Path) -> str:
    """What the system said, also through torch.save, which hides it, and the streams of C++, which only say that."""
    for each in (error, error.__context__):
        if isinstance(each, OSError):
            return each.strerror or str(each) if _is_about(each, place) else ""
        if "iostream error" in str(each):
            return "the disk is full, or fails"
    return ""


def _is_about(error: OSError, place: Path) -> bool:
    """Whether an error names a place, a folder on the way to it, what is in it or a temporary file; or nothing."""
    named = [name for name in (error.filename, error.filename2) if name is not None and not isinstance(name, int)]
    files = [Path(os.path.realpath(os.fsdecode(name))) for name in named]
    return not files or any(
        place.is_relative_to(file) or file.is_relative_to(place) or any(part.startswith(_PREFIX) for part in file.parts)
        for file in files
    )


def _place(target: Path) -> tuple[Path, os.stat_result | None]:
    """Where a file really is, behind all links, and what is known of it; None if it is not there yet."""
    try:
        old = target.stat()
    except FileNotFoundError:
        return Path(os.path.realpath(target)), None
    if not stat.S_ISREG(old.st_mode):
        kind = _KINDS.get(stat.S_IFMT(old.st_mode), "no file")
        raise SemreidError(f"cannot write {target}: it is {kind}", fix="name a regular file, or one that is not there")
    if not _may_write(target):
        raise SemreidError(f"cannot write {target}: it is read-only", fix="choose another file, or allow to write it")
    return Path(os.path.realpath(target)), old


def _may_write(path: Path) -> bool:
    mode = os.W_OK | (os.X_OK if path.is_dir() else 0)
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _liken(descriptor: int, old: os.stat_result) -> None:
    """Give a new file owner, group and mode of the old one; where it is not allowed, nobody may do more than before."""
    mode = stat.S_IMODE(old.st_mode)
    for owner, group in ((old.st_uid, old.st_gid), (-1, old.st_gid)):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner, group)
            break
    else:
        mode &= ~stat.S_IRWXG  # the group is another one now
    os.fchmod(descriptor, mode)


def _settle(file: Path, descriptor: int) -> None:
    """Wait until the content of a file is on the disk; some programs make it anew under its name."""
    if _is_at(file, descriptor):
        os.fsync(descriptor)
    else:
        with file.open("rb") as anew:
            os.fsync(anew.fileno())


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[tuple[Path, int]]:
    """Make an empty file in a folder, made if missing, that is held and then removed, if it still has this name."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    path = folder / f"{_PREFIX}{secrets.token_hex(8)}.tmp"  # a target's name may be of full length
    with _held(path) as descriptor:
        yield path, descriptor


@contextlib.contextmanager
def _held(path: Path, patience: float = PATIENCE, message: str = "") -> Iterator[int]:
    """Make a file, hold a lock on it, and remove it in the end, if it still has this name."""
    descriptor = _lock(path, patience, message)
    try:
        yield descriptor
    finally:
        if _is_at(path, descriptor):
            path.unlink()
        os.close(descriptor)


def _lock(path: Path, patience: float, message: str) -> int:
    """Open a file, made if missing, and lock it.

    Raises:
        BlockingIOError: If another one still holds it after ``patience`` seconds.
    """
    start = time.monotonic()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return descriptor
        except OSError as error:
            if error.errno in _NO_LOCKS:
                _tell(message and f"warning: {path.parent} knows no locks: let one process at a time write there")
                return descriptor
            if not isinstance(error, BlockingIOError) or time.monotonic() > start + patience:
                os.close(descriptor)
                raise
        os.close(descriptor)
        if time.monotonic() > start + 1:
            _tell(message)
            message = ""
        time.sleep(0.02)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at a path, which who held its lock before may have removed."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _tell(message: str) -> None:
    if message:
        from semreid.console import say

        say(message, style="yellow")


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder; once in a process: it takes time where there are many files."""
    for leftover in folder.glob(f"{_PREFIX}*.tmp"):
        with contextlib.suppress(OSError), leftover.open("r+b") as file:  # BlockingIOError: somebody writes it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover.with_suffix(""), ignore_errors=True)  # what `folder_beside` filled
            leftover.unlink()
