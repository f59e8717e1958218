"""The table of experiments, from the real dvc."""

import re
import shutil

import pytest
from dvc.repo.experiments.executor.base import ExecutorInfo

from src.revision.git import places
from src.sweep.experiments import SCORE, TEST_SCORE
from src.sweep.listing import main, table
from tests.faults.project import Project, called, refusal


def shown() -> str:
    done = called(main)
    assert done.returncode == 0, done.stderr
    return done.stdout


EIGHT = ("batch_size", "ema", "epochs", "label_smoothing", "rotation", "scale", "shift", "weight_decay")


def test_scores_and_varied_params_are_shown_in_80_columns(in_copy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    # DVC adds columns for the state of a queued experiment.
    settings = [f"--set-param={name}=0.25" for name in EIGHT]
    in_copy.dvc_ok("exp", "run", "--queue", "--name", "queued", "--set-param", "seed=3", *settings)
    # Names that another metric and a param have, too.
    (in_copy.path / "metrics/eval.json").write_text('{"test_acc": 0.9, "seed": 5, "final": {"val_acc": 0.5}}')
    monkeypatch.setenv("COLUMNS", "80")
    printed = shown()
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:3] == ["experiment", "final.val_acc", "test_acc"]
    rows = [line.split() for line in lines[1:] if line[1] != " "]
    # The workspace has other params than its scores.
    assert [row[:3] for row in rows[:2]] == [["workspace", "stale", "stale"], ["main", "89.90%", "90.00%"]]
    assert [row[1:4] for row in rows[2:4]] == [
        ["90.10%", "90.00%", "seed=1,"],
        ["90.00%", "90.00%", "seed=0,"],
    ]
    assert rows[4][:2] == ["queued", "Queued"]
    words = printed[printed.index("queued") :].split()
    assert {f"{name}=0.25" for name in EIGHT} | {"seed=3"} <= {word.rstrip(",") for word in words}
    assert "threads=" not in printed
    in_copy.repro()
    # A file that DVC cannot read, such as that of an experiment which is about to run.
    (in_copy.path / "metrics/train.json").write_text("{")
    assert re.search(r"workspace +- ", shown())
    # One whose copy is not ready.
    head, run = in_copy.git("rev-parse", "HEAD").strip(), in_copy.path / ".dvc/tmp/exps/standalone/run/copied"
    copy = ExecutorInfo("", head, "dvc-task", str(run), ".dvc")
    copy.dump_json(str(run / "copied.run"))
    said = refusal(called(main))
    assert said.startswith("experiments: DVC is preparing an experiment, try again in a moment;")
    shutil.rmtree(run)
    # A queue that was killed after it took a task from the folder `in`.
    broker = in_copy.path / ".dvc/tmp/exps/celery/broker"
    for message in (broker / "in").iterdir():
        message.rename(broker / "processed" / message.name)
    said = refusal(called(main))
    assert re.fullmatch(r"experiments: .*; if its queue was killed, run `dvc queue start` \(.*\)\n", said)
    shutil.rmtree(broker / "processed")
    # Without git, too.
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        places.cache_clear()
        said = refusal(called(main))
    assert re.fullmatch(r"experiments: .*: expected a folder of a git repository; .*: 'git'\n", said)
    # Errors of DVC are one line, too.
    (in_copy.path / ".dvc/config").write_text("no configuration")
    assert re.fullmatch(r"experiments: .*config.*\n", refusal(called(main)))


@pytest.mark.fault(48)
def test_scores_of_other_params_are_not_shown(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.set(lr=0.25)
    toy.dvc_ok("exp", "save", "--force", "--name", "saved")
    monkeypatch.chdir(toy.path)
    toy.git("checkout", "--quiet", ".")
    rows = {line.split()[0]: line.split()[1:3] for line in shown().splitlines()[1:]}
    assert (rows["saved"], rows["workspace"]) == (["void", "void"], rows["main"])


def test_running_experiment_has_no_scores_yet() -> None:
    done = {"Experiment": "done", "typ": "branch_commit", "State": "Success", SCORE: "0.5", TEST_SCORE: "0.25"}
    # Those of the commit that it started from.
    running = {"Experiment": "new", "typ": "branch_commit", "State": "Running", SCORE: "0.9", TEST_SCORE: "0.8"}
    columns = [list(column.cells) for column in table([running, done], []).columns]
    assert columns[:3] == [["done", "new"], ["50.00%", "Running"], ["25.00%", "Running"]]
