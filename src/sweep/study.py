"""The Optuna study that workers share: the one file that uses what Optuna calls experimental (heartbeats).

One lock for all workers of a study guards every decision, so each of them is made once:

- The database is created and filled with slots, one for each trial that is wanted, under the lock.
- A worker takes a slot under the lock; there are never more trials than slots.
- A worker claims an experiment under the lock; of several trials with the same params one trains, the others wait.
- A trial of a dead worker is failed and queued again under the lock. The last trial of a slot is the one that counts.
"""

import math
import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import FrozenTrial, TrialState

from src.core.errors import UserError
from src.guard.lock import locked
from src.sweep.spec import MAX_TRIALS, Space

# The variable's own name, so that `make sweep STORAGE=...` sets it; on a command line, others would see its password.
STORAGE = "STORAGE"
DATABASE = Path("logs/sweep/optuna.db")
# Attributes of trials: the slot; the clone that took it; the experiment that it claims; whether it trained, for known
# experiments take no time; what went wrong; how many workers died of it. Queued again, it has the first and the last.
SLOT, WORKER, EXPERIMENT, TRAINED, PROBLEM, DEATHS = "slot", "worker", "experiment", "trained", "problem", "deaths"
MAX_DEATHS = 3
# Epochs that say too little to prune by.
WARMUP_EPOCHS = 1
HEARTBEAT_SECONDS = 20
# A worker that is silent for this many heartbeats is dead, not just slow.
GRACE_BEATS = 6
SQLITE, POSTGRESQL = "sqlite", "postgresql"
SQLITE_TIMEOUT_SECONDS = 60
# Any number that no one else takes for a lock of this database.
LOCK = 7_366_533
# Enough for a hyperparameter, and few enough to read and to type.
SIGNIFICANT_DIGITS = 4
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)


class Study:
    """A study in a database; several threads may use it."""

    def __init__(self, url: sqlalchemy.URL, name: str, space: Space, heartbeat_seconds: int) -> None:
        """Open it; created if missing."""
        self.name, self._drawn, self._url = name, dict(space.drawn), url
        self._slots: Collection[str] = ()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # `beating` does what this asks for.
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")
        # Several processes that create the tables of one database at once fail.
        with self.locked():
            self._storage = RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs=engine_options(url),
                heartbeat_interval=heartbeat_seconds,
                grace_period=GRACE_BEATS * heartbeat_seconds,
                heartbeat_stale_trial_callback=self._requeue_after_death,
            )
            self.optuna = optuna.create_study(
                study_name=name,
                storage=self._storage,
                # No seed: workers that draw alike would draw the same. TPE begins with random draws, ten or all.
                sampler=_Rounding() if space.spec.sampler == "tpe" else _Rounding(n_startup_trials=MAX_TRIALS),
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=WARMUP_EPOCHS + 1)
                if space.spec.pruner == "median"
                else optuna.pruners.NopPruner(),
                direction="maximize",
                load_if_exists=True,
            )

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock of all workers, on this machine or any other; it ends with the process."""
        if self._url.get_backend_name() == SQLITE:
            return locked(Path(f"{self._url.database}.lock"), "uses the study", wait_seconds=math.inf)
        return _database_lock(self._url)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states, or all; in order of their numbers."""
        return self.optuna.get_trials(deepcopy=False, states=states or None)

    def fill(self, slots: Mapping[str, Mapping[str, Any]]) -> None:
        """Queue a trial for each slot that has none, and for each whose trial failed; drop slots that are not wanted.

        A slot has the params of its trial, or none where the sampler chooses.
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
        """Take a slot for a clone of this name and draw its params; None if no slot waits."""
        with self.locked():
            self._bury_the_dead()
            if not self.trials(TrialState.WAITING):
                return None
            trial = self.optuna.ask(self._drawn)
            self._storage.record_heartbeat(trial._trial_id)
            trial.set_user_attr(WORKER, worker)
            return trial

    def claim(self, trial: optuna.Trial, experiment: str) -> bool:
        """Claim an experiment for a trial; false while another trial runs it."""
        with self.locked():
            self._bury_the_dead()
            for other in self.trials(TrialState.RUNNING):
                if other.number != trial.number and other.user_attrs.get(EXPERIMENT) == experiment:
                    return False
            trial.set_user_attr(EXPERIMENT, experiment)
            return True

    def twin(self, experiment: str) -> FrozenTrial | None:
        """A trial of the same experiment that was completed, or else pruned."""
        found = [trial for trial in self.trials(*ENDED) if trial.user_attrs[EXPERIMENT] == experiment]
        return max(found, key=lambda trial: trial.state == TrialState.COMPLETE, default=None)

    @contextmanager
    def beating(self, trial: optuna.Trial) -> Iterator[None]:
        """While active, show that the trial's worker lives. It ends early if others took it for dead all the same."""
        with suppress(UpdateFinishedTrialError), get_heartbeat_thread(trial._trial_id, self._storage):
            yield

    def report(self, trial: optuna.Trial, epochs: Mapping[int, float]) -> bool:
        """Tell what a trial, or one like it, has reached after each epoch; whether any was new."""
        known = self._storage.get_trial(trial._trial_id).intermediate_values
        new = {step: value for step, value in epochs.items() if step not in known}
        for step, value in new.items():
            trial.report(value, step)
        return bool(new)

    def tell(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        """End a trial, unless others have taken its worker for dead: then it was queued again."""
        self.optuna.tell(trial, value, state, skip_if_finished=True)

    def give_back(self, worker: str) -> None:
        """Queue again what a clone runs of which it is known that it does not go on with it."""
        with self.locked():
            for trial in self.trials(TrialState.RUNNING):
                if trial.user_attrs.get(WORKER) == worker:
                    self._fail(trial)
                    self._queue(trial.user_attrs[SLOT], trial.params, trial.user_attrs[DEATHS])

    def failed(self) -> list[FrozenTrial]:
        """The last trial of each slot that is wanted, if it failed."""
        last = {trial.user_attrs[SLOT]: trial for trial in self.trials()}
        return [trial for slot, trial in last.items() if slot in self._slots and trial.state == TrialState.FAIL]

    def _bury_the_dead(self) -> None:
        """Fail the trials of dead workers and queue them again. The lock is held."""
        for trial in self.trials(TrialState.RUNNING):
            # Taken under the lock, which we hold, and yet without a worker: it was killed while it took the slot.
            if WORKER not in trial.user_attrs:
                self._fail(trial)
                self._requeue_after_death(self.optuna, trial)
        fail_stale_trials(self.optuna)

    def _queue(self, slot: str, params: Mapping[str, Any], deaths: int = 0) -> None:
        """Queue a trial with some params; the sampler chooses the others."""
        self.optuna.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=dict(params),
                distributions={name: self._drawn[name] for name in params},
                user_attrs={SLOT: slot, DEATHS: deaths},
            )
        )

    def _requeue_after_death(self, _: optuna.Study, trial: FrozenTrial) -> None:
        deaths = trial.user_attrs[DEATHS] + 1
        if deaths < MAX_DEATHS:
            self._queue(trial.user_attrs[SLOT], trial.params, deaths)

    def _fail(self, trial: FrozenTrial) -> None:
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def storage_url(root: Path) -> sqlalchemy.URL:
    """URL of the database: the variable STORAGE, else a file of this clone; UserError if it cannot be used."""
    given = os.environ.get(STORAGE)
    if not given:
        return sqlalchemy.URL.create(SQLITE, database=os.fspath(root / DATABASE))
    with suppress(sqlalchemy.exc.ArgumentError):
        url = sqlalchemy.make_url(given)
        if url.get_backend_name() in (SQLITE, POSTGRESQL) and url.database:
            return url
        given = url.render_as_string()
    raise UserError(
        f"{STORAGE}: expected sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE, got {given}; Optuna's journal "
        "file and gRPC proxy know no heartbeat, so the trial of a dead worker would be lost"
    )


@contextmanager
def _database_lock(url: sqlalchemy.URL) -> Iterator[None]:
    options = engine_options(url) | {"isolation_level": "AUTOCOMMIT"}
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **options)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        # The server ends the lock with the connection.
        yield


def engine_options(url: sqlalchemy.URL) -> dict[str, Any]:
    """What a connection to a database needs."""
    if url.get_backend_name() == SQLITE:
        return {"connect_args": {"timeout": SQLITE_TIMEOUT_SECONDS}}
    # psycopg gives text whatever the database's encoding is. A connection may be lost while a trial trains for hours.
    return {"connect_args": {"client_encoding": "utf8"}, "pool_pre_ping": True}


class _Rounding(optuna.samplers.TPESampler):
    """Rounds what it draws, so that the study has the values that DVC runs."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution) -> Any:
        """One param."""
        return _rounded(super().sample_independent(study, trial, param_name, param_distribution), param_distribution)

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Several params."""
        values = super().sample_relative(study, trial, search_space)
        return {name: _rounded(value, search_space[name]) for name, value in values.items()}


def _rounded(value: Any, distribution: BaseDistribution) -> Any:
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), distribution.low), distribution.high)
