"""How far a sweep is, and how long it will take: a live display on a terminal, a line for each run elsewhere."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from src.sweep.records import SCORE, TRAIN, Result, Run

HISTORY, STARTED = Path("plots/history.csv"), Path("logs/train.lock")
REDRAW_SECONDS = 1.0


class Progress:
    """Counts epochs, since these take the time."""

    def __init__(self, runs: Sequence[Run], varied: Sequence[str], workers: int, console: Console) -> None:
        """Begin.

        Args:
            runs: What is to be run.
            varied: Names of the params to tell the runs apart by.
            workers: How many run at once.
            console: Where to print.
        """
        self.varied, self.workers, self.console = varied, workers, console
        self.count, self.ended = len(runs), set[str]()
        self.epochs, self.epochs_ended = sum(run.params.epochs for run in runs), 0
        self.running: list[tuple[Run, int]] = []
        self.began = self.drawn = time.monotonic()
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def update(self, running: Sequence[tuple[Run, Path]]) -> None:
        """Show what is under way: runs, and the folders in which they run."""
        if time.monotonic() - self.drawn < REDRAW_SECONDS:
            return
        self.drawn = time.monotonic()
        self.running = [(run, epochs_done(copy)) for run, copy in running]
        if self.console.is_terminal:
            self.live.update(self._table(), refresh=True)

    def finish(self, run: Run, result: Result) -> None:
        """A run has given a result."""
        self._end(run, f"{SCORE} {result.metrics[TRAIN][SCORE]:.4f}")

    def fail(self, run: Run, reason: str) -> None:
        """A run has failed, or its push has."""
        self._end(run, f"[red]failed[/red]: {escape(reason)}")

    def skip(self, run: Run, reason: str) -> None:
        """Another clone has the run."""
        self.epochs -= run.params.epochs
        self._end(run, escape(reason), epochs=0)

    def stop(self, runs: Iterable[Run], reason: str) -> None:
        """These runs will not begin."""
        self.epochs -= sum(run.params.epochs for run in runs)
        self.console.print(reason, highlight=False, soft_wrap=True, markup=False)

    def describe(self, run: Run) -> str:
        """What tells a run from the others."""
        values = run.params.model_dump()
        return " ".join([run.name, *(f"{name}={values[name]}" for name in self.varied)])

    def _end(self, run: Run, what: str, epochs: int | None = None) -> None:
        # One that was finished may fail again: its push does.
        if run.name not in self.ended:
            self.ended.add(run.name)
            self.epochs_ended += run.params.epochs if epochs is None else epochs
        self.running = [(other, done) for other, done in self.running if other != run]
        self.console.print(
            f"{len(self.ended)}/{self.count} {self.describe(run)}: {what}{self._left()}",
            highlight=False,
            soft_wrap=True,
        )

    def _left(self) -> str:
        done = self.epochs_ended + sum(epochs for _, epochs in self.running)
        if not done or done == self.epochs:
            return ""
        seconds = (time.monotonic() - self.began) / done * (self.epochs - done)
        return f"; about {_duration(seconds)} left"

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        total = self.epochs_ended + sum(epochs for _, epochs in self.running)
        table.add_row(
            f"{len(self.ended)}/{self.count} runs{self._left()}",
            ProgressBar(total=self.epochs, completed=total, width=30),
        )
        for run, epochs in self.running:
            bar = ProgressBar(total=run.params.epochs, completed=epochs, width=30)
            table.add_row(escape(self.describe(run)), bar, f"epoch {epochs}/{run.params.epochs}")
        return table


def epochs_done(copy: Path) -> int:
    """Epochs that the training in a copy has finished; until it starts, the history is the commit's."""
    try:
        if not (copy / STARTED).exists():
            return 0
        return len((copy / HISTORY).read_text(encoding="utf-8").splitlines()) - 1
    except OSError:
        return 0


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
