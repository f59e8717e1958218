"""Progress of a sweep and the time it will take: a live display on a terminal, otherwise a line per trial."""

import statistics
import time
from collections.abc import Callable, Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.live import Live
from rich.table import Table

from src.sweep.experiments import SCORE
from src.sweep.study import EXPERIMENT, PROBLEM, TRAINED, Study

POLL_SECONDS = 0.5
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "to run",
}


def follow(study: Study, varied: Sequence[str], console: Console, is_over: Callable[[], bool]) -> None:
    """Show a study, wherever its trials run, until it is over.

    Args:
        study: The study.
        varied: Names of the params that distinguish trials.
        console: Where to print.
        is_over: Polled until it returns true.
    """
    seen = {trial.number for trial in study.trials() if trial.state.is_finished()}
    over = False
    # Shows nothing without a terminal.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not over:
            over = is_over()
            trials = study.trials()
            table = Table.grid(padding=(0, 1))
            for trial in trials:
                if trial.state == TrialState.RUNNING:
                    table.add_row(_describe(trial, varied), _epoch(trial))
                elif trial.state.is_finished() and trial.number not in seen:
                    seen.add(trial.number)
                    say(console, f"{_describe(trial, varied)}: {_outcome(trial)}{_left(trials)}")
            table.add_row(f"{counts(trials)}{_left(trials)}")
            live.update(table, refresh=True)
            time.sleep(0 if over else POLL_SECONDS)


def say(console: Console, line: str) -> None:
    """Print a line without formatting it."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def counts(trials: Sequence[FrozenTrial]) -> str:
    """Describe how many trials are in each state; a trial that failed and was queued again counts once."""
    states = [trial.state for trial in trials]
    return ", ".join(f"{number} {word}" for state, word in STATES.items() if (number := states.count(state)))


def _describe(trial: FrozenTrial, varied: Sequence[str]) -> str:
    name = trial.user_attrs.get(EXPERIMENT, f"trial {trial.number}")
    return " ".join([name, *(f"{param}={trial.params[param]}" for param in varied if param in trial.params)])


def _outcome(trial: FrozenTrial) -> str:
    problem = trial.user_attrs.get(PROBLEM)
    if trial.state == TrialState.PRUNED:
        return f"pruned after {_epoch(trial)}"
    if trial.state == TrialState.FAIL:
        return f"failed: {problem or 'its worker ended'}"
    known = "" if TRAINED in trial.user_attrs else ", known already"
    return f"{SCORE} {trial.values[0]:.4f}{known}{f', {problem}' if problem else ''}"


def _epoch(trial: FrozenTrial) -> str:
    if trial.last_step is None:
        return "no epoch yet"
    return f"epoch {trial.last_step}: {trial.intermediate_values[trial.last_step]:.4f}"


def _left(trials: Sequence[FrozenTrial]) -> str:
    """Estimate the time left from the duration of finished trials."""
    took = [trial.duration.total_seconds() for trial in trials if TRAINED in trial.user_attrs and trial.duration]
    running, waiting = (sum(t.state == state for t in trials) for state in (TrialState.RUNNING, TrialState.WAITING))
    if not took or not running + waiting:
        return ""
    minutes = statistics.mean(took) * (waiting + running / 2) / max(1, running) / 60
    return f"; about {minutes:.0f} min left" if minutes >= 1 else "; less than a minute left"
