"""Training progress as a table in the terminal."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from src.mnist.model.scores import HEADINGS
from src.mnist.train.history import History

# Interval between reads of the running loss. Each read waits for the device.
LOSS_SECONDS = 0.5


class ProgressTable(Callback):
    """Prints one aligned row per epoch and, in a terminal, a live bar with the current epoch's percentage and loss."""

    def __init__(
        self,
        history: History,
        outputs: Collection[Path] = (),
        console: Console | None = None,
    ) -> None:
        """Print the rows of a history.

        Args:
            history: Must precede this callback in the trainer's list.
            outputs: Outputs of a run that can be resumed; interrupting it prints how, and which of them are missing.
            console: Standard output by default.
        """
        self.history, self.outputs = history, outputs
        self.console = console or Console(highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn())
        self.bar = Progress(
            *columns,
            TextColumn("{task.fields[loss]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", loss="")
        self.epoch_started = self.loss_shown = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the header and, after a resume, the rows of finished epochs."""
        names = "".join(f"{HEADINGS[name]:>7}" for group in shown().values() for name in group)
        self.console.print(f"{'':10}{'train':>7}{'':{7 * len(shown()['']) - 7}}{'validation':>12}", style="bold")
        self.console.print(f"epoch time{names}", style="bold")
        for row in self.history.rows:
            self.console.print(format_row(row))
        self.bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the bar."""
        self.epoch_started = time.perf_counter()
        description = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.bar.reset(self.task, total=trainer.num_training_batches, description=description, loss="")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Advance the bar, which redraws itself at its own rate."""
        self.bar.update(self.task, completed=batch_idx + 1)
        is_last = batch_idx + 1 == trainer.num_training_batches
        if self.console.is_terminal and not is_last and time.perf_counter() - self.loss_shown > LOSS_SECONDS:
            self.loss_shown = time.perf_counter()
            self.bar.update(self.task, loss=f"loss {float(pl_module.running_loss()):.4f}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's row above the bar."""
        self.console.print(format_row(self.history.rows[-1], time.perf_counter() - self.epoch_started))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar above an error; after a signal, print how to resume and which outputs are missing."""
        self.bar.stop()
        if not self.outputs or isinstance(exception, Exception):
            return
        done = trainer.current_epoch
        resumes = f"to resume after epoch {done}" if done else "to start again: no epoch was done"
        missing = ", ".join(str(path) for path in self.outputs if not path.exists())
        self.console.print(
            f"Stopped: run the same command {resumes}.{f' Missing until then: {missing}.' * bool(missing)}"
        )


def shown() -> dict[str, list[str]]:
    """Names of the ten scores that fit into 80 columns, by prefix: all of validation, and the first of training."""
    names = list(HEADINGS)
    return {"": names[: max(1, 10 - len(names))], "val_": names}


def format_row(row: dict[str, float], seconds: float | None = None) -> str:
    """Format an epoch as a line of 80 characters.

    Args:
        row: `epoch` and the logged values; a score that was not logged appears as a dash.
        seconds: Duration of the epoch; unknown for an epoch before a resume.
    """
    values = [row.get(prefix + name) for prefix, names in shown().items() for name in names]
    # With four decimals, values of 10 or more would fill the column and touch the previous one.
    cells = "".join(f"{'-':>7}" if value is None else f"{value:7.{4 if value < 10 else 1}f}" for value in values)
    took = "-" if seconds is None else f"{seconds:.{1 if seconds < 99.95 else 0}f}"
    return f"{row['epoch']:5d}{took:>5}{cells}"
