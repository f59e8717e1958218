"""How far a sweep is, and how long it will take: a live display on a terminal, a line for each trial elsewhere."""

import statistics
from collections.abc import Sequence
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.live import Live
from rich.table import Table

from src.sweep.experiments import SCORE
from src.sweep.study import PROBLEM, TRAINED, Study, experiment_of

STATES = (
    (TrialState.COMPLETE, "complete"),
    (TrialState.PRUNED, "pruned"),
    (TrialState.RUNNING, "running"),
    (TrialState.WAITING, "to run"),
)


class Progress:
    """Shows a study, wherever its trials run."""

    def __init__(self, study: Study, varied: Sequence[str], console: Console) -> None:
        """Begin.

        Args:
            study: The study.
            varied: Names of the params to tell trials apart by.
            console: Where to print.
        """
        self.study, self.varied, self.console = study, varied, console
        # Whether a trial has ended with a problem meanwhile.
        self.has_problems = False
        self.seen = {trial.number for trial in study.trials() if trial.state.is_finished()}
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.live.stop()

    def update(self) -> None:
        """Print trials that have ended since the last time, and show those that run."""
        trials = self.study.trials()
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self.seen:
                self.seen.add(trial.number)
                self.has_problems |= PROBLEM in trial.user_attrs
                self.say(f"{self.describe(trial)}: {outcome(trial)}{left(trials)}")
        if self.console.is_terminal:
            self.live.update(self._table(trials), refresh=True)

    def describe(self, trial: FrozenTrial) -> str:
        """What tells a trial from the others."""
        name = experiment_of(trial) or f"trial {trial.number}"
        return " ".join([name, *(f"{param}={trial.params[param]}" for param in self.varied if param in trial.params)])

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _table(self, trials: Sequence[FrozenTrial]) -> Table:
        table = Table.grid(padding=(0, 1))
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                table.add_row(self.describe(trial), epoch(trial))
        table.add_row(f"{counts(trials)}{left(trials)}")
        return table


def counts(trials: Sequence[FrozenTrial]) -> str:
    """How many trials are in which state, in words. One that failed and was queued again counts once."""
    states = [trial.state for trial in trials]
    return ", ".join(f"{number} {word}" for state, word in STATES if (number := states.count(state)))


def outcome(trial: FrozenTrial) -> str:
    """How a trial ended, in words."""
    if trial.state == TrialState.PRUNED:
        return f"pruned after {epoch(trial)}"
    if trial.state == TrialState.FAIL:
        return f"failed: {trial.user_attrs.get(PROBLEM, 'its worker ended')}"
    known = "" if TRAINED in trial.user_attrs else ", known already"
    return f"{SCORE} {trial.values[0]:.4f}{known}" + (
        f", {problem}" if (problem := trial.user_attrs.get(PROBLEM)) else ""
    )


def epoch(trial: FrozenTrial) -> str:
    """The last epoch that a trial has reported, in words."""
    if trial.last_step is None:
        return "no epoch yet"
    return f"epoch {trial.last_step}: {trial.intermediate_values[trial.last_step]:.4f}"


def left(trials: Sequence[FrozenTrial]) -> str:
    """How long the rest may take, from how long the others took."""
    took = [trial.duration.total_seconds() for trial in trials if TRAINED in trial.user_attrs and trial.duration]
    running, waiting = (sum(t.state == state for t in trials) for state in (TrialState.RUNNING, TrialState.WAITING))
    if not took or not running + waiting:
        return ""
    seconds = statistics.mean(took) * (waiting + running / 2) / max(1, running)
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"; about {max(1, round(seconds))} s left"
    return f"; about {minutes} min left" if minutes < 120 else f"; about {minutes / 60:.1f} h left"
