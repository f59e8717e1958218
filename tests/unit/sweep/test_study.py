"""The study by itself: the assignment of trials to workers, and the trials of dead workers. No pipeline runs."""

import multiprocessing
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from src.core.errors import UserError
from src.sweep.spec import Space, Spec
from src.sweep.study import MAX_DEATHS, SLOT, Study, storage_url
from tests.conftest import REPOSITORY

DRAWN = {
    "lr": FloatDistribution(0.00123456, 0.9, log=True),
    "ema": FloatDistribution(0.1, 0.2),
    "schedule": CategoricalDistribution(["constant", "cosine"]),
    "shift": IntDistribution(0, 8),
}
PARAMS = {"lr": 0.25, "ema": 0.125, "schedule": "cosine", "shift": 3}


def slots(count: int) -> dict[str, Mapping[str, Any]]:
    return {str(number): {} for number in range(count)}


def open_study(folder: Path, count: int = 2, **options: Any) -> Study:
    """Open a study with `count` slots."""
    spec = Spec(params={"lr": 0.1}, **options, trials=count if "sampler" in options else None)
    study = Study(sqlalchemy.make_url(f"sqlite:///{folder}/study.db"), "s-1", Space("s", spec, {}, DRAWN, ()), 20)
    study.fill(slots(count))
    return study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study with two slots."""
    return open_study(tmp_path)


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.trials()]


def taken(study: Study, worker: str = "w") -> optuna.Trial:
    trial = study.take(worker)
    assert trial
    return trial


def fall_silent(folder: Path) -> None:
    """Age all heartbeats, as if all workers had died long ago."""
    with sqlite3.connect(folder / "study.db") as database:
        assert database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'").rowcount


def fill_at_once(folder: Path, barrier: "multiprocessing.synchronize.Barrier") -> None:
    barrier.wait()
    study = open_study(folder, 3)
    for _ in range(4):
        if trial := study.take("w"):
            study.tell(trial, TrialState.COMPLETE, 0.5)


@pytest.mark.fault(69)
def test_concurrent_workers_run_each_trial_once(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(3)
    processes = [fork.Process(target=fill_at_once, args=(tmp_path, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    trials = open_study(tmp_path, 3).trials()
    assert [(trial.state.name, trial.user_attrs[SLOT]) for trial in trials] == [("COMPLETE", slot) for slot in "012"]


def test_trials_never_exceed_slots_and_failed_trials_keep_their_params(study: Study) -> None:
    # A trial that somebody has added has no slot.
    study.optuna.add_trial(optuna.create_trial(params=PARAMS, distributions=DRAWN, value=0.5))
    study.fill(slots(2))
    first, second = taken(study), taken(study)
    assert study.take("w") is None
    study.tell(first, TrialState.FAIL)
    study.tell(second, TrialState.COMPLETE, 0.5)
    assert [trial.number for trial in study.failed()] == [first.number]
    study.fill(slots(2))
    assert not study.failed()
    assert taken(study).params == first.params
    assert study.take("w") is None


def test_waiting_trials_follow_the_requested_number(study: Study) -> None:
    study.tell(taken(study), TrialState.FAIL)
    study.fill(slots(0))
    assert study.take("w") is None
    assert not study.failed()
    study.fill(slots(2))
    assert len(study.trials(TrialState.WAITING)) == 2


@pytest.mark.fault(69)
@pytest.mark.parametrize("where", ["this clone", "another clone"])
def test_grid_params_survive_a_worker_killed_while_taking_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    study = open_study(tmp_path, 0)
    study.fill({"run-x": PARAMS})
    ask = study.optuna.ask

    def killed(_: object) -> None:
        ask()  # It runs now, and nothing is drawn.
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(study.optuna, "ask", killed)
        with pytest.raises(SystemExit):
            study.take("w")
    if where == "this clone":
        study.give_back("w")
    else:
        fall_silent(tmp_path)
    assert taken(study).params == PARAMS
    assert states(study) == ["FAIL", "RUNNING"]


@pytest.mark.fault(69, 76)
def test_trial_of_a_silent_worker_is_requeued_with_its_params(tmp_path: Path) -> None:
    study = open_study(tmp_path, 1)
    paused = taken(study)
    assert study.take("w") is None
    fall_silent(tmp_path)
    again = taken(study)
    assert again.number != paused.number
    assert again.params == paused.params
    # The first worker was only paused; it finds its trial finished, and continues.
    with study.beating(paused):
        study.report(paused, {1: 0.4})
        pytest.fail("the report did not end the context")
    study.tell(paused, TrialState.COMPLETE, 0.4)
    study.tell(again, TrialState.COMPLETE, 0.5)
    assert states(study) == ["FAIL", "COMPLETE"]


@pytest.mark.fault(69)
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_heartbeats_outlast_a_lost_database_without_a_traceback(study: Study, tmp_path: Path) -> None:
    trial = taken(study)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("ALTER TABLE trial_heartbeats RENAME TO away")
    with study.beating(trial):
        pass
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("ALTER TABLE away RENAME TO trial_heartbeats")
    study.tell(trial, TrialState.COMPLETE, 0.5)
    assert states(study) == ["COMPLETE", "WAITING"]


def test_trial_is_abandoned_after_repeated_deaths_until_the_next_sweep(tmp_path: Path) -> None:
    study = open_study(tmp_path, 1)
    for _ in range(2):
        for _ in range(MAX_DEATHS):
            taken(study)
            # A worker that is stopped has not died.
            study.give_back("w")
            taken(study)
            fall_silent(tmp_path)
        assert study.take("w") is None
        assert len(study.failed()) == 1
        study.fill(slots(1))


def test_trials_of_an_ended_clone_are_requeued(tmp_path: Path) -> None:
    study = open_study(tmp_path, 0)
    study.fill({"a": PARAMS, "b": PARAMS})
    mine, other = taken(study, "host:/a:1"), taken(study, "host:/a:10")
    assert study.twin(other)
    study.give_back("host:/a:1")
    assert [trial.number for trial in study.trials(TrialState.RUNNING)] == [other.number]
    assert study.twin(other) is None
    assert taken(study).params == mine.params


def test_duplicate_trial_waits_and_reuses_the_value(tmp_path: Path) -> None:
    study = open_study(tmp_path, 0)
    study.fill(dict.fromkeys("abc", PARAMS))
    first, second, third = (taken(study) for _ in range(3))

    def twins() -> list[tuple[int, str] | None]:
        found = map(study.twin, (first, second, third))
        return [(twin.number, twin.state.name) if twin else None for twin in found]

    # One of them trains.
    assert twins() == [None, (0, "RUNNING"), (0, "RUNNING")]
    study.tell(first, TrialState.PRUNED)
    assert twins() == [None, (0, "PRUNED"), (1, "RUNNING")]
    study.tell(second, TrialState.COMPLETE, 0.7)
    assert twins()[2] == (1, "COMPLETE")


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_drawn_values_are_rounded_and_differ_between_workers(tmp_path: Path, sampler: str) -> None:
    workers = [open_study(tmp_path, 4, sampler=sampler) for _ in range(2)]
    drawn = [taken(worker).params for worker in workers]
    # TPE starts to model after ten trials.
    for number in range(10):
        known = optuna.create_trial(params=PARAMS, distributions=DRAWN, value=number / 100, user_attrs={SLOT: "known"})
        workers[0].optuna.add_trial(known)
    drawn += [taken(worker).params for worker in workers]
    assert len({str(params) for params in drawn}) == 4
    for params in drawn:
        for name in ("lr", "ema"):
            assert re.fullmatch(r"0\.0*\d{1,4}", str(params[name])) or params[name] == 0.00123456
            assert DRAWN[name]._contains(params[name])


def test_trial_below_the_median_is_pruned(tmp_path: Path) -> None:
    study = open_study(tmp_path, 1, pruner="median")
    for _ in range(5):
        study.optuna.add_trial(optuna.create_trial(value=0.95, intermediate_values={1: 0.9, 2: 0.95}))
    bad = taken(study)
    assert study.report(bad, {1: 0.5})
    assert not study.report(bad, {1: 0.5})
    assert not bad.should_prune()  # The first epoch is too early.
    assert study.report(bad, {1: 0.5, 2: 0.6})
    assert bad.should_prune()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("journal.log", "expected sqlite:////ABSOLUTE/PATH or postgresql"),
        ("sqlite:///team.db", "expected sqlite:////ABSOLUTE/PATH"),
        ("mysql://u:secret@h/d", r"got mysql://\*\*\*@h/d; Optuna's journal file and gRPC proxy"),
        ("grpc://localhost:13000", "gRPC proxy have no heartbeat"),
        ("sqlite://", "expected sqlite:////ABSOLUTE/PATH"),
        ("postgresql:/u:secret@h/d", r"got postgresql:/\*\*\*@h/d; "),
        (" postgresql+psycopg://u:sec/secret@h/d", r"got  postgresql\+psycopg://\*\*\*@h/d; "),
        ("postgresql+psycopg://h:port/d", "got postgresql"),
        ("postgresql+nonsense://h/d", "got postgresql"),
        ("postgresql+psycopg2://h/d", "No module named 'psycopg2'; `make .venv/installed-dev` installs psycopg"),
    ],
)
def test_unsupported_storage_is_rejected(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    monkeypatch.setenv("STORAGE", url)
    with pytest.raises(UserError, match=f"STORAGE: .*{said}") as raised:
        storage_url(Path())
    assert "secret" not in str(raised.value)


def test_experimental_api_of_optuna_is_confined_to_one_file_and_pinned() -> None:
    words = ("RDBStorage", "storages", "fail_stale", "._storage", "_trial_id")
    users = [path.name for path in (REPOSITORY / "src").rglob("*.py") if any(w in path.read_text() for w in words)]
    assert users == ["study.py"]
    assert re.search(r"^optuna==\S+$", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
