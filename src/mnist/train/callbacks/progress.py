"""Training as a table in the terminal."""

import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from src.mnist.train.callbacks.recorder import EpochRecorder
from src.mnist.train.scores import SCORES


class ProgressTable(EpochRecorder):
    """Prints one aligned row per epoch and, in a terminal, a live bar with the current epoch's percentage."""

    def __init__(self, console: Console | None = None) -> None:
        """Print to this console, standard output by default."""
        super().__init__()
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("")
        self.epoch_started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the header and, after a resume, the rows of finished epochs."""
        for line in header():
            self.console.print(line, style="bold")
        for row in self.rows:
            self.console.print(format_row(row))
        self.bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the bar."""
        self.epoch_started = time.perf_counter()
        description = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.bar.reset(self.task, total=trainer.num_training_batches, description=description)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; it is drawn at its own pace, not here."""
        self.bar.update(self.task, completed=batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's row above the bar."""
        super().on_train_epoch_end(trainer, pl_module)
        self.console.print(format_row(self.rows[-1], time.perf_counter() - self.epoch_started))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar, so that the error has lines of its own."""
        self.bar.stop()


def header() -> list[str]:
    """The two lines above the rows, as wide as these: 80 characters with five scores."""
    names = "".join(f"{score.heading:>7}" for score in SCORES)
    return [f"{'':10}{'train':>7}{'':{len(names) - 7}}{'validation':>12}", f"epoch time{names}{names}"]


def format_row(row: dict[str, float], seconds: float | None = None) -> str:
    """One epoch as a line.

    Args:
        row: `epoch` and the logged values; a score that was not logged shows as a dash.
        seconds: What the epoch took; unknown for an epoch before a resume.
    """
    values = [row.get(prefix + score.name) for prefix in ("", "val_") for score in SCORES]
    cells = "".join(f"{'-':>7}" if value is None else f"{value:7.4f}" for value in values)
    # From 100 seconds on, a decimal would fill the column and touch the epoch.
    took = "-" if seconds is None else f"{seconds:.{1 if seconds < 99.95 else 0}f}"
    return f"{row['epoch']:5d}{took:>5}{cells}"
