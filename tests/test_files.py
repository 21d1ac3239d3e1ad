import contextlib
import csv
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid import files
from semreid.errors import SemreidError
from semreid.files import (
    atomic_path,
    exclusive,
    folder_beside,
    require_apart,
    require_suffix,
    require_writable,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)
from tests.conftest import full_disk

NOBODY = 65534


def test_writes_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "héllo")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "héllo"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_failure_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("anew", [False, True])
def test_what_replaces_something_is_on_the_disk_before(
    tmp_path: Path, anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else, after the power failed, neither may be there."""
    target, settled = tmp_path / "a.txt", []
    monkeypatch.setattr(
        os, "fsync", lambda fd: settled.append((Path(f"/proc/self/fd/{fd}").read_text(), target.read_text()))
    )
    write_text(target, "old")
    assert settled == []  # nothing can be lost
    with atomic_path(target) as temporary:
        if anew:
            temporary.unlink()
        temporary.write_text("new")
    assert settled == [("new", "old")]
    assert target.read_text() == "new"


def test_path_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SemreidError, match="cannot write .*file/report.json") as caught:
        write_json(tmp_path / "file" / "report.json", {})
    assert "folder" in caught.value.fix


def test_whether_a_file_can_be_written_is_known_beforehand(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "deep" / "a.json")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for target in (tmp_path, tmp_path / "file" / "a.json"):
        with pytest.raises(SemreidError, match="cannot write"):
            require_writable(target)


def test_json_round_trip_and_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()


@contextlib.contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder of an ordinary user, and the rights of one: root may do everything."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid():
            yield Path(name)
            return
        os.chown(name, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)
            os.setegid(0)


class Stopped(Exception):  # noqa: N818 - no error
    """What stops a write in the middle."""


@settings(deadline=None, max_examples=50)
@given(
    old=st.none() | st.binary(max_size=50),
    new=st.binary(max_size=50),
    mode=st.sampled_from([0o600, 0o640, 0o644, 0o664, 0o666, 0o755]),
    links=st.lists(st.booleans(), max_size=3),
    umask=st.sampled_from([0o022, 0o077]),
    fails=st.booleans(),
)
def test_links_stay_links_and_modes_stay_modes(
    old: bytes | None, new: bytes, mode: int, links: list[bool], umask: int, fails: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        real = Path(name, "real")
        real.mkdir()
        target = real = real / "file"
        if old is not None:
            real.write_bytes(old)
            real.chmod(mode)
        for number, relative in enumerate(links):
            link = Path(name, f"link{number}")
            link.symlink_to(os.path.relpath(target, name) if relative else target)
            target = link
        before = os.umask(umask)
        try:
            with contextlib.suppress(Stopped), atomic_path(target) as temporary:
                wanted = 0o666 & ~umask if old is None else mode
                assert stat.S_IMODE(temporary.stat().st_mode) == wanted  # at no time may anybody see more
                temporary.write_bytes(new)
                if fails:
                    raise Stopped
        finally:
            os.umask(before)
        expected = old if fails else new
        assert (target.read_bytes() if real.exists() else None) == expected
        assert all(Path(name, f"link{number}").is_symlink() for number in range(len(links)))
        assert [path.name for path in real.parent.iterdir()] == ([] if expected is None else ["file"])
        if expected is not None:
            assert stat.S_IMODE(real.stat().st_mode) == wanted


def test_the_owner_stays_the_owner(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.touch()
    owner = (12345, 54321) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(target, *owner)
    write_text(target, "new")
    assert (target.stat().st_uid, target.stat().st_gid) == owner


@pytest.mark.parametrize("group_may", [True, False])
def test_whoever_may_not_give_a_file_away_opens_it_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_may: bool
) -> None:
    given: list[tuple[int, int]] = []

    def refused(_: int, owner: int, group: int) -> None:
        if owner != -1 or not group_may:
            raise PermissionError
        given.append((owner, group))

    target = tmp_path / "a"
    target.touch()
    target.chmod(0o664)
    monkeypatch.setattr(os, "fchown", refused)
    write_text(target, "new")
    assert stat.S_IMODE(target.stat().st_mode) == (0o664 if group_may else 0o604)
    assert given == ([(-1, target.stat().st_gid)] if group_may else [])


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])
def test_what_is_no_regular_file_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, linked: bool
) -> None:
    target = tmp_path / "target"
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("target")
    else:
        target.mkdir()
    mode = target.stat().st_mode
    if linked:
        (tmp_path / "link").symlink_to(target)
    for write in (lambda path: write_text(path, ""), require_writable):
        with pytest.raises(SemreidError, match=f"it is a {kind}") as caught:
            write(tmp_path / ("link" if linked else "target"))
        assert "regular file" in caught.value.fix
    assert target.stat().st_mode == mode


def test_devices_and_the_root_are_refused() -> None:
    for target, kind in (("/dev/null", "device"), ("/dev/full", "device"), ("/", "folder"), ("", "folder")):
        with pytest.raises(SemreidError, match=f"it is a {kind}"):
            require_writable(target)


def test_read_only_files_and_folders_are_refused() -> None:
    with as_nobody() as folder:
        (folder / "old").write_text("old")
        (folder / "old").chmod(0o444)
        (folder / "closed").mkdir(mode=0o555)
        for write in (lambda path: write_text(path, "new"), require_writable):
            with pytest.raises(SemreidError, match="it is read-only"):
                write(folder / "old")
            with pytest.raises(SemreidError, match="Permission denied"):
                write(folder / "closed" / "new")
            with pytest.raises(SemreidError, match="Permission denied"):
                write(folder / "closed" / "deep" / "new")
        assert (folder / "old").read_text() == "old"


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for write in (lambda path: write_text(path, ""), require_writable):
        with pytest.raises(SemreidError, match="levels of symbolic links"):
            write(tmp_path / "a")


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127])
def test_names_may_be_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    require_writable(tmp_path / name)
    with exclusive(tmp_path / name):
        write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    for place in (tmp_path / (name + "ab"), tmp_path / "new" / (name + "ab") / "a.json"):
        for write in (lambda path: write_text(path, ""), require_writable):
            with pytest.raises(SemreidError, match="cannot write .* too long"):
                write(place)


@pytest.mark.parametrize("write", ["bytes", "torch"])
def test_a_full_disk_keeps_the_old_content_and_leaves_nothing_else(tmp_path: Path, write: str) -> None:
    target = tmp_path / "a"
    target.write_text("old")
    with full_disk(4096), pytest.raises(SemreidError, match="cannot write .*a: File too large"):
        if write == "bytes":
            write_bytes(target, bytes(8192))
        else:
            with atomic_path(target) as temporary, temporary.open("wb") as file:
                torch.save({"weights": torch.ones(8192)}, file)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


KILLED = """
import sys, time
from pathlib import Path
from semreid import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])) as made:
    if sys.argv[1] == "folder_beside":
        made.mkdir()
    (made / "x" if made.is_dir() else made).write_text("half")
    print(made, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("write", ["atomic_path", "folder_beside"])
def test_the_next_process_removes_what_a_killed_one_left(tmp_path: Path, write: str) -> None:
    command = [sys.executable, "-c", KILLED, write, tmp_path / "a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        made = Path(process.stdout.readline().strip())
        write_text(tmp_path / "b", "b")  # nobody sweeps away what a living process writes
        assert (made / "x" if made.is_dir() else made).read_text() == "half"
        process.send_signal(signal.SIGKILL)
    assert made.exists()
    files._sweep.cache_clear()
    with folder_beside(tmp_path / "c"):
        assert not made.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_one_at_a_time_loses_no_count(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    (tmp_path / "link").symlink_to("counter")

    def count(name: str) -> None:
        with exclusive(tmp_path / name):
            write_text(tmp_path / name, str(int((tmp_path / "counter").read_text()) + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, ["counter", "link"] * 20))
    assert (tmp_path / "counter").read_text() == "40"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter", "link"]


def test_who_waits_is_told_and_then_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with exclusive(tmp_path / "a"):
        with pytest.raises(SemreidError, match="another process writes .*a\n") as caught, exclusive(
            tmp_path / "a", patience=1.2
        ):  # fmt: skip
            pass
        with exclusive(tmp_path / "b"):
            pass
    assert "once it has ended" in caught.value.fix
    assert capsys.readouterr().err.count("waiting for it") == 1
    with exclusive(tmp_path / "a", patience=0):
        pass


def test_a_lock_that_a_kill_left_holds_nobody_up(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a"):
        left = next(tmp_path.iterdir())
    left.touch()
    with exclusive(tmp_path / "a", patience=0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_neither_another_one_nor_a_file_that_stays(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    new = [tmp_path / "b", tmp_path / "c"]
    require_apart(new, [tmp_path / "a", tmp_path / "b", "no\0path", "people-s"])
    for twins in ([tmp_path / "b", tmp_path / "x" / ".." / "b"], [tmp_path / "a", tmp_path / "link"]):
        with pytest.raises(SemreidError, match=f"{twins[1]} would be written twice"):
            require_apart(twins)
    for name in ("a", "link", "hard"):
        with pytest.raises(SemreidError, match=f"{name} is what is read here: it will not be written over"):
            require_apart([*new, tmp_path / name], [str(tmp_path / "a")])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.npz", "x.npz: a Parquet file has a name that ends in .parquet\n  way out: name it .*/x.parquet"),
        ("x", "name it .*/x.parquet"),
        ("", "is a folder, and a Parquet file is a file\n  way out: name one that ends in .parquet"),
    ],
)
def test_a_name_says_what_is_in_the_file(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SemreidError, match=message):
        require_suffix(tmp_path / name, ".parquet", "a Parquet file")
    require_suffix(tmp_path / "x.parquet", ".parquet", "a Parquet file")
    for folder in (Path(), Path("/"), Path("..")):
        with pytest.raises(SemreidError, match="is a folder"):
            require_suffix(folder, ".onnx", "a file")


@pytest.mark.parametrize("write", [atomic_path, folder_beside])
def test_a_file_that_is_read_meanwhile_is_not_taken_for_the_one_that_is_written(tmp_path: Path, write) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    target = tmp_path / "link" / "out"
    with pytest.raises(FileNotFoundError, match="missing"), write(target):
        (tmp_path / "missing").read_bytes()
    with pytest.raises(SemreidError, match=f"cannot write {target}: No"), write(target) as made:
        (made / "x").write_bytes(b"")
    with pytest.raises(SemreidError, match=f"cannot write {target}: "), write(target) as made:
        (made / "x").symlink_to(tmp_path / "elsewhere")  # the system names both
    with pytest.raises(SemreidError, match=f"cannot write {target}: No such file"), write(target):
        os.open(target / "x", os.O_WRONLY)
    assert list((tmp_path / "real").iterdir()) == []


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    with folder_beside(target) as made:
        made.mkdir()
        (made / "a.txt").write_text("a")
        made.rename(target)
    assert (target / "a.txt").read_text() == "a"
    with pytest.raises(KeyboardInterrupt), folder_beside(tmp_path / "new" / "other") as made:
        made.mkdir()
        raise KeyboardInterrupt
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [["path", "what"], ['a, "b"', "c\nd"], ["", "5"]]
    write_csv(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == rows
