"""What commands say: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from semreid import distributed
from semreid.parallel import Progress


class _Plain(Console):
    """A console that shows names as they are, but for what would steer the terminal: of a name, that is no message."""

    def render_str(self, text: str, **how: Any) -> Text:  # noqa: ANN401 - as its parent has them
        """Render a text, its control characters as Python writes them."""
        return super().render_str(_CONTROL.sub(lambda found: repr(found[0])[1:-1], text), **how)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_AS_IT_IS = {"markup": False, "emoji": False, "highlight": False}
stdout, stderr = _Plain(**_AS_IT_IS), _Plain(stderr=True, **_AS_IT_IS)  # type: ignore[arg-type]
"""What users and their files call things is printed as it is: ``[/x]`` is no markup, and ``:dog:`` no picture."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
WIDE = 100_000
"""Columns of a file, which has no right border."""
INTERRUPTED = 130
"""The status that shells expect after Ctrl-C: 128, and the number of the signal."""


def say(text: str, style: str = "") -> None:
    """Print a line on stderr, if this process `speaks`."""
    if speaks():
        stderr.print(text, style=style, soft_wrap=True)


def speaks() -> bool:
    """Whether this is the one of several processes that speaks: the first, or the first of a machine while apart."""
    return distributed.rank() == 0 and distributed.launched_as("LOCAL_RANK") == 0


def warn(*texts: str) -> None:
    """Print warnings on stderr."""
    for text in texts:
        say(f"warning: {text}", style="yellow")


def write(*lines: str, style: str = "") -> None:
    """Print lines of a result on stdout, each as long as it is."""
    for line in lines:
        stdout.print(line, style=style, soft_wrap=True)


def draw(table: Table) -> None:
    """Print a table on stdout; where that is no terminal, with every cell on one line."""
    console = stdout if stdout.is_terminal else _Plain(width=WIDE, **_AS_IT_IS)  # type: ignore[arg-type]
    console.print(table)


def command(*words: object) -> str:
    """Write a command of semreid so that a shell takes it as it is meant, whatever is in the names of files.

    Example:
        >>> command("doctor", "people:my crops")
        "semreid doctor 'people:my crops'"
        >>> command("group", Path("-crops"), "--out", "who")  # which is no option
        'semreid group ./-crops --out who'
    """
    return shlex.join(["semreid", *map(_word, words)])


def _word(word: object) -> str:
    return f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)


def show(content: Mapping[str, Any]) -> None:
    """Print a result as JSON on stdout."""
    typer.echo(json.dumps(content, indent=2))


@contextmanager
def interruptible(way_on: Callable[[], str]) -> Iterator[None]:
    """Say how to go on when Ctrl-C ends a command, and exit with the status that shells expect."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted: {way_on()}", style="yellow")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def progress(title: str, line: str = "") -> Iterator[Progress]:
    """Show a progress bar on stderr that is told (done, all).

    Args:
        title: What is being done.
        line: What to print at each step where stderr is no terminal, such as ``{done} of {total} images``;
            nothing if empty.
    """
    with Bar(console=stderr, transient=True, disable=not (stderr.is_terminal and speaks())) as bar:
        task = bar.add_task(title, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if line and not stderr.is_terminal:
                say(line.format(done=done, total=total))

        yield tell
