"""What a run shows and leaves behind: progress on the screen, metrics in files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from semreid.errors import SemreidError
from semreid.files import exclusive, require_writable, write_text
from semreid.models.card import CARD, WEIGHTS

RECIPE, ADAPT, METRICS, CHECKPOINT = "recipe.yaml", "adapt.yaml", "metrics.jsonl", "checkpoint.pt"
_COMMANDS = {RECIPE: "semreid train", ADAPT: "semreid adapt"}
"""Who writes a run with such a recipe."""


class Reporter(AbstractContextManager["Reporter"]):
    """Progress bar with ETA and losses on stderr; a line an epoch where there is no terminal.

    Args:
        epochs: Number of epochs of the run.
        quiet: Show nothing (processes other than the first).
        unit: What an epoch is called.
    """

    def __init__(self, epochs: int, *, quiet: bool = False, unit: str = "epoch") -> None:
        self.console = Console(stderr=True, quiet=quiet, markup=False, emoji=False)
        self.epochs = epochs
        self.note = ""
        columns = (
            TextColumn(unit + " {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("train", total=None, epoch=0, epochs=epochs, note="")

    def __enter__(self) -> Reporter:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def decoding(self, done: int, total: int) -> None:
        """Show how far the decoding of the images is."""
        self.bar.update(self.task, completed=done, total=total, note="decoding images, once")

    def step(self, epoch: int, done: int, steps: int, sums: Mapping[str, Tensor]) -> None:
        """Show how far the epoch is; the losses are looked at now and then, since each look waits for the device."""
        if not self.bar.disable and done % 10 == 0:
            self.note = _losses({name: float(value) / done for name, value in sums.items()})
        total = self.epochs * steps
        self.bar.update(self.task, completed=epoch * steps + done, total=total, epoch=epoch + 1, note=self.note)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print the line of a finished epoch."""
        losses = {k: v for k, v in row.items() if "." in k or k == "total"}
        judged = "".join(f"  {k.removeprefix('val_')} {v:.1f}" for k, v in row.items() if k.startswith("val_"))
        self.console.print(
            f"epoch {row['epoch'] + 1}/{self.epochs}  {_losses(losses)}  lr {row['lr']:.2g}  "
            f"{row['images_per_second']:.0f} images/s  data {row['data_share']:.0%}{judged}",
            highlight=False,
            soft_wrap=True,
        )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def way_on(folder: Path) -> str:
    """Tell how a training that was stopped is taken up again: from its last whole epoch, if there is one."""
    return "with --resume goes on" if (folder / CHECKPOINT).exists() else "begins anew"


def run_files(folder: Path) -> list[Path]:
    """List the files of the run that a folder holds; none if it holds no run."""
    names = (CARD, CHECKPOINT, WEIGHTS, METRICS)
    if not any((folder / name).is_file() for name in names[:2]):
        return []
    return [*(folder / name for name in names), *folder.glob("*.yaml")]


def _losses(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())


class RunFolder:
    """The folder of a run.

    Args:
        path: The folder.
        resume: Go on with what is in it; otherwise it must not hold a run. None: whoever makes it never goes on.
        recipe: Name of the file that keeps the recipe.

    Raises:
        SemreidError: If it holds a run already, or to go on with one of another command, or cannot be written.
    """

    def __init__(self, path: Path | str, *, resume: bool | None, recipe: str = RECIPE) -> None:
        self.path, self.resume, self.recipe = Path(path), resume, recipe
        self._require_free()
        require_writable(self.path / CARD)
        self._events: Any = None

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes from training into the folder.

        Raises:
            SemreidError: If one does, or has done so meanwhile.
        """
        with exclusive(self.path / CARD, patience=1):
            self._require_free()
            try:
                yield
            finally:
                self._close()

    def _require_free(self) -> None:
        begun = next((name for name in (self.recipe, *_COMMANDS) if (self.path / name).exists()), self.recipe)
        if self.resume and begun != self.recipe:
            command = _COMMANDS[begun]
            raise SemreidError(
                f"{self.path} holds a run of `{command}`, and `{_COMMANDS[self.recipe]}` cannot go on with it",
                fix=f"go on with `{command} --resume`, or choose another folder for --out",
            )
        if self.resume:
            return
        if any((self.path / name).exists() for name in (CHECKPOINT, CARD)):  # a mean has no checkpoint
            may_go_on = self.resume is not None and begun == self.recipe and (self.path / CHECKPOINT).exists()
            way_on = "go on with its training (--resume), or " if may_go_on else ""
            raise SemreidError(f"{self.path} already holds a run", fix=f"{way_on}choose another folder for --out")
        for name in (self.recipe, WEIGHTS, METRICS):
            if (self.path / name).exists():
                raise SemreidError(
                    f"{self.path} holds a {name} without a run: it will not be written over",
                    fix="move it elsewhere, or choose another folder for --out",
                )

    def record(self, recipe: str, history: list[dict[str, Any]]) -> None:
        """Write the recipe and the metrics of all epochs so far, and the newest to TensorBoard."""
        write_text(self.path / self.recipe, recipe)
        write_text(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in history))
        if history:
            self._add_events(history[-1])

    def _close(self) -> None:
        """End the thread that writes for TensorBoard, and close its file."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _add_events(self, row: Mapping[str, Any]) -> None:
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.path), purge_step=row["epoch"])
        for name, value in row.items():
            if value is not None:
                self._events.add_scalar(name.replace(".", "/"), value, row["epoch"])
        self._events.flush()
