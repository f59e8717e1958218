"""The study by itself: who gets which trial, and what becomes of the trials of the dead. No pipeline runs."""

import multiprocessing
import re
import sqlite3
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from src.core.errors import UserError
from src.sweep.experiments import Base
from src.sweep.spec import Space
from src.sweep.study import DEATHS, MAX_DEATHS, SLOT, WORKER, Plan, Study
from tests.conftest import REPOSITORY

SPACE = Space(
    {"lr": 0.1, "schedule": "constant", "shift": 0, "ema": 0.0},
    {
        "lr": FloatDistribution(0.00123456, 0.9, log=True),
        "ema": FloatDistribution(0.1, 0.2),
        "schedule": CategoricalDistribution(["constant", "cosine"]),
        "shift": IntDistribution(0, 8),
    },
)
THREE: dict[str, dict[str, object]] = {"0": {}, "1": {}, "2": {}}


def make_plan(sampler: str = "random", pruner: str = "none") -> Plan:
    return Plan(Base(Path(), "0" * 40, {}, {}), SPACE, "s-1", sampler, pruner)


def open_study(url: str, sampler: str = "random", pruner: str = "none") -> Study:
    return Study(make_plan(sampler, pruner), url)


def states(study: Study) -> dict[str, int]:
    return dict(Counter(trial.state.name for trial in study.trials()))


def taken(study: Study, worker: str = "w") -> optuna.Trial:
    trial = study.take(worker)
    assert trial
    return trial


def running(study: Study, worker: str = "w") -> FrozenTrial:
    (found,) = (trial for trial in study.trials(TrialState.RUNNING) if trial.user_attrs[WORKER] == worker)
    return found


def fall_silent(url: str) -> None:
    """As if all workers had died long ago."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        assert database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'").rowcount


def fill_at_once(url: str, barrier: "multiprocessing.synchronize.Barrier") -> None:
    barrier.wait()
    study = open_study(url)
    study.fill(THREE)
    while trial := study.take("w"):
        study.tell(trial, TrialState.COMPLETE, 0.5)


@pytest.mark.fault(69)
def test_many_that_create_fill_and_take_at_once_make_each_trial_once(url: str) -> None:
    spawn = multiprocessing.get_context("fork")
    barrier = spawn.Barrier(4)
    processes = [spawn.Process(target=fill_at_once, args=(url, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    study = open_study(url)
    assert states(study) == {"COMPLETE": 3}
    assert {trial.user_attrs[SLOT] for trial in study.trials()} == set(THREE)


def test_there_are_never_more_trials_than_slots(url: str) -> None:
    study = open_study(url)
    assert study.take("w") is None
    study.fill(THREE)
    study.fill(THREE)
    numbers = [taken(study).number for _ in THREE]
    assert study.take("w") is None
    assert numbers == [0, 1, 2]
    assert states(study) == {"RUNNING": 3}


def test_what_failed_is_queued_again_with_its_params(url: str) -> None:
    study = open_study(url)
    study.fill({"0": {}, "1": {}})
    first, second = taken(study), taken(study)
    study.tell(first, TrialState.FAIL)
    study.tell(second, TrialState.COMPLETE, 0.5)
    assert [trial.number for trial in study.failed()] == [first.number]
    study.fill({"0": {}, "1": {}})
    assert not study.failed()
    again = taken(study)
    assert again.params == first.params
    assert study.take("w") is None


def test_fewer_trials_drop_those_that_wait_and_more_bring_them_back(url: str) -> None:
    study = open_study(url)
    study.fill(THREE)
    study.tell(taken(study), TrialState.COMPLETE, 0.5)
    study.fill({"0": {}})
    assert study.take("w") is None
    assert not study.failed()
    study.fill(THREE)
    assert len(study.trials(TrialState.WAITING)) == 2


def test_a_grid_is_queued_as_it_is(url: str) -> None:
    params = {"lr": 0.25, "ema": 0.1, "schedule": "cosine", "shift": 3}
    study = open_study(url, "grid")
    study.fill({"run-x": params})
    assert taken(study).params == params


@pytest.mark.fault(69)
def test_the_trial_of_a_silent_worker_goes_to_another_with_its_params(url: str) -> None:
    study = open_study(url)
    study.fill({"0": {}})
    lost = taken(study)
    assert study.take("w") is None
    fall_silent(url)
    again = taken(open_study(url))
    assert again.number != lost.number
    assert again.params == lost.params
    assert running(study).user_attrs[SLOT] == "0"


@pytest.mark.fault(76)
def test_a_worker_that_was_only_paused_finds_its_trial_gone_and_goes_on(url: str) -> None:
    study = open_study(url)
    study.fill({"0": {}})
    paused = taken(study)
    fall_silent(url)
    again = taken(study)
    study.tell(paused, TrialState.COMPLETE, 0.4)
    study.tell(again, TrialState.COMPLETE, 0.5)
    assert [trial.state.name for trial in study.trials()] == ["FAIL", "COMPLETE"]


def test_a_trial_that_kills_its_workers_is_given_up_until_the_next_sweep(url: str) -> None:
    study = open_study(url)
    study.fill({"0": {}})
    for _ in range(MAX_DEATHS):
        taken(study)
        fall_silent(url)
    assert study.take("w") is None
    assert len(study.failed()) == 1
    study.fill({"0": {}})
    taken(study)
    assert running(study).user_attrs[DEATHS] == 0


@pytest.mark.fault(69)
def test_a_worker_that_was_killed_while_it_took_a_slot_loses_none(url: str) -> None:
    study = open_study(url)
    study.fill({"0": {}})
    with pytest.warns(UserWarning, match="Heartbeat"):
        study.optuna.ask()  # what `take` does first
    assert taken(study).number == 1


@pytest.mark.parametrize("died", [False, True])
def test_what_a_worker_gives_back_waits_again(url: str, died: bool) -> None:
    study = open_study(url)
    study.fill({"0": {}, "1": {}})
    mine, other = taken(study, "host:/a/1/"), taken(study, "host:/a/10/")
    study.give_back("host:/a/1/", died)
    assert [trial.number for trial in study.trials(TrialState.RUNNING)] == [other.number]
    assert taken(study).params == mine.params
    assert running(study, "w").user_attrs[DEATHS] == died


def test_of_two_trials_with_the_same_params_one_runs_and_the_other_learns_its_value(url: str) -> None:
    study = open_study(url)
    study.fill({"0": {}, "1": {}})
    first, second = taken(study), taken(study)
    # The later one may be quicker.
    assert study.claim(second, "run-1")
    assert not study.claim(first, "run-1")
    assert study.twin("run-1") is None
    study.tell(second, TrialState.COMPLETE, 0.7)
    assert study.claim(first, "run-1")
    twin = study.twin("run-1")
    assert twin
    assert twin.values == [0.7]


def test_a_trial_that_was_queued_again_does_not_hold_what_it_claimed_before(url: str) -> None:
    study = open_study(url)
    study.fill({"0": {}, "1": {}})
    first, second = taken(study, "w"), taken(study, "v")
    assert study.claim(first, "run-1")
    study.give_back("w", died=False)
    taken(study)
    assert study.claim(second, "run-1")


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_study_has_the_values_that_are_run(url: str, sampler: str) -> None:
    study = open_study(url, sampler)
    study.fill({str(number): {} for number in range(14)})
    for number in range(14):
        trial = taken(study)
        for name in ("lr", "ema"):
            assert re.fullmatch(r"0\.0*\d{1,4}", str(trial.params[name])) or trial.params[name] == 0.00123456
            assert SPACE.drawn[name]._contains(trial.params[name])
        study.tell(trial, TrialState.COMPLETE, number / 100)


def test_workers_do_not_draw_the_same(tmp_path: Path) -> None:
    drawn = []
    for name in ("a", "b"):
        study = open_study(f"sqlite:///{tmp_path}/{name}.db", "tpe")
        study.fill(THREE)
        drawn.append([taken(study).params["lr"] for _ in THREE])
    assert drawn[0] != drawn[1]


def test_a_trial_below_the_median_is_pruned(url: str) -> None:
    study = open_study(url, pruner="median")
    study.fill({str(number): {} for number in range(6)})
    for _ in range(5):
        good = taken(study)
        good.report(0.9, 1)
        good.report(0.95, 2)
        study.tell(good, TrialState.COMPLETE, 0.95)
    bad = taken(study)
    bad.report(0.5, 1)
    assert not bad.should_prune()  # the first epoch says little
    bad.report(0.6, 2)
    assert bad.should_prune()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("journal.log", "expected sqlite:///PATH or postgresql"),
        ("mysql://u:secret@h/d", r"got mysql://u:\*\*\*@h/d; Optuna's journal file and gRPC proxy"),
        ("grpc://localhost:13000", "gRPC proxy know no heartbeat"),
        ("sqlite://", "expected sqlite:///PATH"),
    ],
)
def test_databases_without_a_heartbeat_are_refused(url: str, said: str) -> None:
    with pytest.raises(UserError, match=f"STORAGE: .*{said}"):
        open_study(url)


def test_one_file_uses_what_optuna_calls_experimental() -> None:
    words = ("RDBStorage", "storages", "fail_stale", "._storage", "_trial_id")
    users = [path.name for path in (REPOSITORY / "src").rglob("*.py") if any(w in path.read_text() for w in words)]
    assert users == ["study.py"]


def test_optuna_is_pinned() -> None:
    assert re.search(r"^optuna==\S+$", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
