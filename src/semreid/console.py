"""What commands say: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from semreid import distributed
from semreid.parallel import Progress

stdout, stderr = Console(), Console(stderr=True)
INTERRUPTED = 130
"""The status that shells expect after Ctrl-C: 128, and the number of the signal."""


def say(text: str, style: str = "") -> None:
    """Print a line on stderr; of several processes, the first one speaks, or that of a machine while they are apart."""
    if distributed.rank() == 0 and os.environ.get("LOCAL_RANK", "0") == "0":
        stderr.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def show(content: Mapping[str, Any]) -> None:
    """Print a result as JSON on stdout."""
    typer.echo(json.dumps(content, indent=2))


@contextmanager
def interruptible(way_on: Callable[[], str]) -> Iterator[None]:
    """Say how to go on when Ctrl-C ends a command, and exit with the status that shells expect.

    Args:
        way_on: Tells it, once the command has ended.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted: {way_on()}", style="yellow")
        raise typer.Exit(INTERRUPTED) from None


class progress:  # noqa: N801 - reads as a function
    """A progress bar on stderr that is told (done, all).

    Args:
        title: What is being done.
        line: What to print at each step where stderr is no terminal, such as ``{done} of {total} images``;
            nothing if empty.
    """

    def __init__(self, title: str, line: str = "") -> None:
        self.bar = Bar(console=stderr, transient=True, disable=not stderr.is_terminal)
        self.task = self.bar.add_task(title, total=None)
        self.line = "" if stderr.is_terminal else line

    def __enter__(self) -> Progress:
        self.bar.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def _tell(self, done: int, total: int) -> None:
        self.bar.update(self.task, completed=done, total=total)
        if self.line:
            say(self.line.format(done=done, total=total))
