import io
import re
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from src.sweep.progress import follow
from src.sweep.study import EXPERIMENT, PROBLEM, TRAINED, Study
from tests.unit.sweep.test_study import open_study, taken


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return open_study(tmp_path, 5)


def named(study: Study, name: str) -> optuna.Trial:
    trial = taken(study)
    trial.set_user_attr(EXPERIMENT, name)
    return trial


def test_terminal_shows_running_trials_and_time_left(study: Study) -> None:
    done, first, _ = named(study, "run-0"), named(study, "run-1"), taken(study)
    done.set_user_attr(TRAINED, True)
    study.tell(done, TrialState.COMPLETE, 0.5)
    first.report(0.91, 3)
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    follow(study, ["lr", "shift"], console, lambda: True)
    text = output.getvalue()
    assert re.search(rf"run-1 lr={first.params['lr']} shift={first.params['shift']} +epoch 3: 0\.9100", text)
    assert "trial 2 lr=" in text
    assert "no epoch yet" in text
    assert "1 complete, 2 running, 2 to run; less than a minute left" in text
    assert "run-0" not in text  # It ended before.


def test_each_trial_prints_one_line_without_a_terminal(study: Study) -> None:
    output = io.StringIO()
    trained, known, bad, broken = (named(study, f"run-{number}") for number in range(4))

    def end_all() -> bool:
        trained.set_user_attr(TRAINED, True)
        study.tell(trained, TrialState.COMPLETE, 0.5)
        known.set_user_attr(PROBLEM, "is done, but could not be pushed")
        study.tell(known, TrialState.COMPLETE, 0.6)
        bad.report(0.1, 2)
        study.tell(bad, TrialState.PRUNED)
        broken.set_user_attr(PROBLEM, "exit code 1")
        study.tell(broken, TrialState.FAIL)
        return True

    follow(study, [], Console(file=output, width=100), end_all)
    lines = [line.partition("; less")[0] for line in output.getvalue().splitlines()]
    assert lines == [
        "run-0: final.val_acc 0.5000",
        "run-1: final.val_acc 0.6000, known already, is done, but could not be pushed",
        "run-2: pruned after epoch 2: 0.1000",
        "run-3: failed: exit code 1",
    ]
