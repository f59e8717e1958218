"""The Optuna study that workers share. Only this file uses Optuna's experimental heartbeats.

All workers of a study share one lock. Each of these happens under it, and therefore only once:

- The database is created and filled with slots, one per requested trial.
- A worker takes a slot, in the order of the queue; there are never more trials than slots.
- A trial of a dead worker is marked as failed and queued again. Only the last trial of a slot counts.
"""

import math
import os
import re
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from src.core.errors import UserError, one_line
from src.guard.lock import locked
from src.sweep.spec import MAX_TRIALS, Space

# An environment variable, which `make sweep STORAGE=...` sets: command line arguments would reveal its password.
STORAGE = "STORAGE"
DATABASE = Path("logs/sweep/optuna.db")
# Attributes of trials: the slot; the clone that took it; its experiment; whether it trained, since known experiments
# take no time; the problem.
SLOT, WORKER, EXPERIMENT, TRAINED, PROBLEM = "slot", "worker", "experiment", "trained", "problem"
MAX_DEATHS = 3
# Epochs that are too early to prune.
WARMUP_EPOCHS = 1
HEARTBEAT_SECONDS = 20
# A worker that misses this many heartbeats is considered dead, not just slow.
GRACE_BEATS = 6
SQLITE, POSTGRESQL = "sqlite", "postgresql"
SQLITE_TIMEOUT_SECONDS = 60
# An arbitrary key for this database's advisory lock.
LOCK = 7_366_533
# Precise enough for a hyperparameter, and short enough to read and type.
SIGNIFICANT_DIGITS = 4
UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)
DATABASE_ERRORS = (StorageInternalError, sqlalchemy.exc.DatabaseError)


class Study:
    """A study in a database; several threads may use it."""

    def __init__(self, url: sqlalchemy.URL, name: str, space: Space, heartbeat_seconds: int) -> None:
        """Open the study, or create it."""
        self.name, self._drawn, self._url = name, dict(space.drawn), url
        self._slots: Collection[str] = ()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # `beating` replaces the heartbeat of Study.optimize.
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")
        # Processes that create the tables of a database concurrently fail.
        with self.locked():
            self._storage = RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs=engine_options(url),
                heartbeat_interval=heartbeat_seconds,
                grace_period=GRACE_BEATS * heartbeat_seconds,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MAX_DEATHS - 1),
            )
            self.optuna = optuna.create_study(
                study_name=name,
                storage=self._storage,
                # No seed, or all workers would draw the same values. TPE starts with random trials: ten, or all.
                sampler=_Rounding() if space.spec.sampler == "tpe" else _Rounding(n_startup_trials=MAX_TRIALS),
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=WARMUP_EPOCHS + 1)
                if space.spec.pruner == "median"
                else optuna.pruners.NopPruner(),
                direction="maximize",
                load_if_exists=True,
            )

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock of all workers on all machines; it is released when the process ends."""
        if self._url.get_backend_name() == SQLITE:
            return locked(Path(f"{self._url.database}.lock"), "uses the study", wait_seconds=math.inf)
        return _database_lock(self._url)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states, or all trials, ordered by number, but not those that others have added."""
        found = self.optuna.get_trials(deepcopy=False, states=states or None)
        return [trial for trial in found if SLOT in trial.user_attrs]

    def fill(self, slots: Mapping[str, Mapping[str, Any]]) -> None:
        """Queue a trial for each slot without one and each slot whose trial failed; drop slots that are not requested.

        A slot has the params of its trial, or none if the sampler chooses them.
        """
        self._slots = slots.keys()
        with self.locked():
            last = {trial.user_attrs[SLOT]: trial for trial in self.trials()}
            for slot, params in slots.items():
                if slot not in last:
                    self._queue(slot, params)
                elif last[slot].state == TrialState.FAIL:
                    self._queue(slot, last[slot].params)
            for slot, trial in last.items():
                if trial.state == TrialState.WAITING and slot not in slots:
                    self._fail(trial)

    def take(self, worker: str) -> optuna.Trial | None:
        """Take a slot for the clone named `worker` and draw its params; None if no slot is waiting."""
        with self.locked():
            fail_stale_trials(self.optuna)
            if not (waiting := self.trials(TrialState.WAITING)):
                return None
            # Before it runs, so that it never runs without them. Optuna takes the first trial that waits.
            self._storage.set_trial_user_attr(waiting[0]._trial_id, WORKER, worker)
            self._storage.record_heartbeat(waiting[0]._trial_id)
            return self.optuna.ask(self._drawn)

    def twin(self, trial: optuna.Trial) -> FrozenTrial | None:
        """An earlier trial with the same params that has completed, or else is running, or else was pruned."""
        with self.locked():
            fail_stale_trials(self.optuna)
        earlier = [one for one in self.trials() if one.number < trial.number and one.params == trial.params]
        states = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED)
        return next((one for state in states for one in earlier if one.state == state), None)

    @contextmanager
    def beating(self, trial: optuna.Trial) -> Iterator[None]:
        """Send heartbeats of the trial's worker; the context ends early if other workers considered it dead."""
        ended = threading.Event()

        def beat() -> None:
            while True:
                # The next use of a lost database reports it; if it is back before, the heartbeats must not have ended.
                with suppress(*DATABASE_ERRORS):
                    self._storage.record_heartbeat(trial._trial_id)
                if ended.wait(self._storage.heartbeat_interval):
                    return

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            with suppress(UpdateFinishedTrialError):
                yield
        finally:
            ended.set()
            thread.join()

    def report(self, trial: optuna.Trial, epochs: Mapping[int, float]) -> bool:
        """Report the values after each epoch of a trial or its twin; returns whether any was new."""
        known = self._storage.get_trial(trial._trial_id).intermediate_values
        new = {step: value for step, value in epochs.items() if step not in known}
        for step, value in new.items():
            trial.report(value, step)
        return bool(new)

    def tell(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        """End a trial, unless its worker was considered dead and the trial was queued again."""
        self.optuna.tell(trial, value, state, skip_if_finished=True)

    def give_back(self, worker: str) -> None:
        """Requeue the running trials of a clone whose workers have ended."""
        with self.locked():
            for trial in self.trials(TrialState.RUNNING):
                if trial.user_attrs.get(WORKER) == worker:
                    self._fail(trial)
                    # With the deaths that Optuna has counted.
                    self._queue(trial.user_attrs[SLOT], trial.params, trial.system_attrs)

    def failed(self) -> list[FrozenTrial]:
        """The failed trials among the last trials of the requested slots."""
        last = {trial.user_attrs[SLOT]: trial for trial in self.trials()}
        return [trial for slot, trial in last.items() if slot in self._slots and trial.state == TrialState.FAIL]

    def _queue(self, slot: str, params: Mapping[str, Any], deaths: dict[str, Any] | None = None) -> None:
        """Queue a trial with these params; the sampler chooses the others."""
        self.optuna.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=dict(params),
                distributions={name: self._drawn[name] for name in params},
                user_attrs={SLOT: slot},
                system_attrs=deaths,
            )
        )

    def _fail(self, trial: FrozenTrial) -> None:
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def storage_url(root: Path) -> sqlalchemy.URL:
    """URL of the database: the variable STORAGE, or a file in this clone; raises UserError if it is unsupported."""
    given = os.environ.get(STORAGE)
    if not given:
        return sqlalchemy.URL.create(SQLITE, database=os.fspath(root / DATABASE))
    # ValueError: a port that is not a number.
    with suppress(sqlalchemy.exc.ArgumentError, ValueError):
        url = sqlalchemy.make_url(given)
        # A relative path would be another file in each clone.
        is_file = url.get_backend_name() == SQLITE and Path(url.database or "").is_absolute()
        if is_file or (url.get_backend_name() == POSTGRESQL and url.database):
            try:
                url.get_dialect().import_dbapi()
            except ImportError as error:
                raise UserError(f"{STORAGE}: {error}; `make .venv/installed-dev` installs psycopg") from error
            return url
    # Without a user's name and password.
    shown = re.sub(r"(:/*).*@", r"\1***@", given)
    raise UserError(
        f"{STORAGE}: expected sqlite:////ABSOLUTE/PATH or postgresql+psycopg://USER@HOST/DATABASE, got {shown}; "
        "Optuna's journal file and gRPC proxy have no heartbeat, so the trial of a dead worker would be lost"
    )


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """Convert errors of the database to UserError."""
    try:
        yield
    except DATABASE_ERRORS as error:
        where = STORAGE if os.environ.get(STORAGE) else f"{DATABASE} (if it is damaged, delete it; experiments stay)"
        # The first cause says it best: Optuna always suspects invalid data, and SQLAlchemy quotes the whole statement.
        reason: Exception = error
        while isinstance(reason.__cause__, Exception):
            reason = reason.__cause__
        raise UserError(
            f"{where}: the database cannot be used: {one_line(reason)}; once it can, run this again"
        ) from error


@contextmanager
def _database_lock(url: sqlalchemy.URL) -> Iterator[None]:
    options = engine_options(url) | {"isolation_level": "AUTOCOMMIT"}
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **options)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        # The server releases the lock when the connection closes.
        yield


def engine_options(url: sqlalchemy.URL) -> dict[str, Any]:
    """Options of a database engine."""
    if url.get_backend_name() == SQLITE:
        return {"connect_args": {"timeout": SQLITE_TIMEOUT_SECONDS}}
    # With UTF-8, psycopg returns text for any database encoding. A connection may drop while a trial trains for hours.
    return {"connect_args": {"client_encoding": "utf8"}, "pool_pre_ping": True}


class _Rounding(optuna.samplers.TPESampler):
    """Rounds its draws, so that the study has the same values as DVC."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Draw one param."""
        return _rounded(super().sample_independent(study, trial, param_name, param_distribution), param_distribution)

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Draw several params."""
        values = super().sample_relative(study, trial, search_space)
        return {name: _rounded(value, search_space[name]) for name, value in values.items()}


def _rounded(value: Any, distribution: BaseDistribution) -> Any:
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), distribution.low), distribution.high)
