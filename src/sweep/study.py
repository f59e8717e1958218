"""The Optuna study that workers share: the one file that uses what Optuna calls experimental (heartbeats).

One lock for all workers of a study guards every decision, so each of them is made once:

- The database is created and filled with slots, one for each trial that is wanted, under the lock.
- A worker takes a slot under the lock; there are never more trials than slots.
- A worker claims an experiment under the lock; of several trials with the same params one trains, the others wait.
- A trial of a dead worker is failed and queued again under the lock: by its heartbeat; at once where it is known that
  the worker is dead.
"""

import fcntl
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, FloatDistribution, distribution_to_json
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import FrozenTrial, TrialState

from src.core.errors import UserError
from src.sweep.experiments import Base
from src.sweep.spec import Space, Spec

# Attributes of trials: the slot; the worker that took it; the experiment that it claims; whether it trained, for known
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


@dataclass(frozen=True)
class Plan:
    """What workers need to know, besides the database.

    Attributes:
        base: The commit to run.
        space: What trials may have.
        study: Name of the study.
        sampler: One of SAMPLERS of spec.py.
        pruner: One of PRUNERS of spec.py.
        remote: A git remote, or None.
        heartbeat_seconds: How often a worker shows that it lives.
    """

    base: Base
    space: Space
    study: str
    sampler: str
    pruner: str
    remote: str | None = None
    heartbeat_seconds: int = HEARTBEAT_SECONDS


def study_name(spec: Spec, base: Base, space: Space) -> str:
    """The same for the same space of params and the same code, in every clone."""
    fixed = {name: value for name, value in space.common.items() if name not in space.drawn}
    drawn = {name: distribution_to_json(distribution) for name, distribution in space.drawn.items()}
    text = json.dumps([base.code, fixed, drawn], sort_keys=True)
    return f"{Path(spec.where).stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def experiment_of(trial: FrozenTrial) -> str | None:
    """The experiment that a trial has claimed, if any."""
    return trial.user_attrs.get(EXPERIMENT)


class Study:
    """A study in a database."""

    def __init__(self, plan: Plan, url: str) -> None:
        """Open it; created if missing.

        Args:
            plan: What the study is about.
            url: SQLAlchemy's URL of an SQLite or PostgreSQL database.

        Raises:
            UserError: If it is another kind of database or cannot be opened.
        """
        self.plan, self._url = plan, check_url(url)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Several processes that create the tables of one database at once fail.
        with self.locked(), warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            self._storage = RDBStorage(
                url,
                engine_kwargs=_engine_options(self._url),
                heartbeat_interval=plan.heartbeat_seconds,
                grace_period=GRACE_BEATS * plan.heartbeat_seconds,
                heartbeat_stale_trial_callback=_requeue_after_death,
            )
            self.optuna = optuna.create_study(
                study_name=plan.study,
                storage=self._storage,
                # No seed: workers that draw alike would draw the same.
                sampler=_Tpe() if plan.sampler == "tpe" else _Random(),
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=WARMUP_EPOCHS + 1)
                if plan.pruner == "median"
                else optuna.pruners.NopPruner(),
                direction="maximize",
                load_if_exists=True,
            )

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock of all workers, on this machine or any other; it ends with the process."""
        return _file_lock(self._url) if self._url.get_backend_name() == SQLITE else _database_lock(self._url)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states, or all; in order of their numbers."""
        return self.optuna.get_trials(deepcopy=False, states=states or None)

    def fill(self, slots: Mapping[str, Mapping[str, Any]]) -> None:
        """Queue a trial for each slot that has none, and for each whose trial failed; drop slots that are not wanted.

        Args:
            slots: Params by slot; empty where the sampler chooses.
        """
        with self.locked():
            trials = self.trials()
            alive = {trial.user_attrs[SLOT] for trial in trials if trial.state != TrialState.FAIL}
            failed = {trial.user_attrs[SLOT]: trial for trial in trials if trial.state == TrialState.FAIL}
            for slot, params in slots.items():
                if slot in failed.keys() - alive:
                    _requeue(self.optuna, failed[slot], deaths=0)
                elif slot not in alive:
                    self.optuna.enqueue_trial(dict(params), user_attrs={SLOT: slot})
            for trial in trials:
                if trial.state == TrialState.WAITING and trial.user_attrs[SLOT] not in slots:
                    self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def take(self, worker: str) -> optuna.Trial | None:
        """Take a slot and draw its params; None if no slot waits.

        Args:
            worker: Name of who takes it.
        """
        with self.locked():
            self._bury_the_dead()
            if not self.trials(TrialState.WAITING):
                return None
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                # Optuna reminds that only `optimize` beats the heart; `beating` does here.
                trial = self.optuna.ask(dict(self.plan.space.drawn))
            self._storage.record_heartbeat(trial._trial_id)
            trial.set_user_attr(WORKER, worker)
            return trial

    def claim(self, trial: optuna.Trial, experiment: str) -> bool:
        """Claim an experiment for a trial; false while another trial runs it."""
        with self.locked():
            self._bury_the_dead()
            for other in self.trials(TrialState.RUNNING):
                if other.number != trial.number and experiment_of(other) == experiment:
                    return False
            trial.set_user_attr(EXPERIMENT, experiment)
            return True

    def twin(self, experiment: str) -> FrozenTrial | None:
        """A trial of the same experiment that was completed, or else pruned."""
        found = [trial for trial in self.trials(*ENDED) if experiment_of(trial) == experiment]
        return max(found, key=lambda trial: trial.state == TrialState.COMPLETE, default=None)

    @contextmanager
    def beating(self, trial: optuna.Trial) -> Iterator[None]:
        """While active, show that the trial's worker lives."""
        with get_heartbeat_thread(trial._trial_id, self._storage):
            yield

    def tell(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        """End a trial, unless others have taken its worker for dead: then it was queued again."""
        self.optuna.tell(trial, value, state, skip_if_finished=True)

    def give_back(self, workers: str, died: bool) -> None:
        """Queue again what workers run that are told to end, or of which it is known that they died.

        Args:
            workers: What their names begin with.
            died: Whether they died; a trial of which too many do is not queued again.
        """
        with self.locked():
            for trial in self.trials(TrialState.RUNNING):
                if trial.user_attrs.get(WORKER, "").startswith(workers):
                    self._requeue(trial, died)

    def failed(self) -> list[FrozenTrial]:
        """The last trial of each slot that failed."""
        trials = self.trials()
        others = {trial.user_attrs[SLOT] for trial in trials if trial.state != TrialState.FAIL}
        # What was dropped before any worker took it did not fail.
        failed = [trial for trial in trials if trial.state == TrialState.FAIL and WORKER in trial.user_attrs]
        return list(
            {trial.user_attrs[SLOT]: trial for trial in failed if trial.user_attrs[SLOT] not in others}.values()
        )

    def _bury_the_dead(self) -> None:
        """Fail the trials of dead workers and queue them again. The lock is held."""
        for trial in self.trials(TrialState.RUNNING):
            # Taken under the lock, which we hold, and yet without a worker: it was killed while it took the slot.
            if WORKER not in trial.user_attrs:
                self._requeue(trial, died=True)
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            fail_stale_trials(self.optuna)

    def _requeue(self, trial: FrozenTrial, died: bool) -> None:
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        if died:
            _requeue_after_death(self.optuna, trial)
        else:
            _requeue(self.optuna, trial, trial.user_attrs.get(DEATHS, 0))


def check_url(url: str) -> sqlalchemy.URL:
    """The parts of a URL of a database that can be used.

    Raises:
        UserError: If it is another one.
    """
    expected = "STORAGE: expected sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE"
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise UserError(f"{expected}, got {url!r}") from error
    if parsed.get_backend_name() not in (SQLITE, POSTGRESQL) or not parsed.database:
        raise UserError(
            f"{expected}, got {parsed.render_as_string()}; Optuna's journal file and gRPC proxy know no heartbeat, so "
            "the trial of a dead worker would be lost"
        )
    return parsed


@contextmanager
def _file_lock(url: sqlalchemy.URL) -> Iterator[None]:
    path = Path(f"{url.database}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _database_lock(url: sqlalchemy.URL) -> Iterator[None]:
    options = _engine_options(url) | {"isolation_level": "AUTOCOMMIT"}
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **options)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        # The server ends the lock with the connection.
        yield


def _engine_options(url: sqlalchemy.URL) -> dict[str, Any]:
    if url.get_backend_name() == SQLITE:
        return {"connect_args": {"timeout": SQLITE_TIMEOUT_SECONDS}}
    # psycopg gives text whatever the database's encoding is. A connection may be lost while a trial trains for hours.
    return {"connect_args": {"client_encoding": "utf8"}, "pool_pre_ping": True}


def _requeue_after_death(study: optuna.Study, trial: FrozenTrial) -> None:
    deaths = trial.user_attrs.get(DEATHS, 0) + 1
    if deaths < MAX_DEATHS:
        _requeue(study, trial, deaths)


def _requeue(study: optuna.Study, trial: FrozenTrial, deaths: int) -> None:
    """Queue the params of a failed trial again; if none were drawn yet, its slot."""
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={SLOT: trial.user_attrs[SLOT], DEATHS: deaths},
            system_attrs=trial.system_attrs,
        )
    )


class _Rounding:
    """Rounds what a sampler draws, so that the study has the values that DVC runs."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution) -> Any:
        """One param."""
        value = super().sample_independent(study, trial, param_name, param_distribution)  # type: ignore[misc]
        return _rounded(value, param_distribution)

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Several params."""
        values = super().sample_relative(study, trial, search_space)  # type: ignore[misc]
        return {name: _rounded(value, search_space[name]) for name, value in values.items()}


class _Tpe(_Rounding, optuna.samplers.TPESampler):
    pass


class _Random(_Rounding, optuna.samplers.RandomSampler):
    pass


def _rounded(value: Any, distribution: BaseDistribution) -> Any:
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), distribution.low), distribution.high)
