"""Sweeps with the real dvc, in a project whose stages take no time."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from src.sweep import crew
from src.sweep import remote as remote_module
from src.sweep.__main__ import main
from src.sweep.command import DATABASE
from src.sweep.crew import MAX_WORKERS, clone_name
from src.sweep.experiments import read_base, references
from src.sweep.spec import make_spec
from tests.faults.project import Project, is_gone, wait_for
from tests.unit.sweep.conftest import (
    GIT_USER,
    LONG,
    Swept,
    clone,
    count,
    learning_rates,
    make_remote,
    processes,
    start_sweep,
    sweep,
    sweep_ok,
    working_tree,
    write_spec,
)

TWO = {"lr": "0.004,0.006"}


def states(database: Path) -> list[str]:
    """State of every trial that holds a slot at last, from the database itself."""
    with sqlite3.connect(database) as opened:
        rows = opened.execute(
            "SELECT value_json, state FROM trials JOIN trial_user_attributes USING (trial_id) WHERE key = 'slot' "
            "ORDER BY number"
        )
        return sorted(dict(rows.fetchall()).values())


def test_a_sweep_leaves_experiments_and_nothing_else(swept: Swept) -> None:
    assert "3 to run; 2 workers" in swept.printed
    assert learning_rates(swept.project) == [0.005, 0.006]
    assert "docs.txt" in swept.before
    assert swept.after == swept.before
    assert not list((swept.project.path / ".dvc/tmp/exps").glob("sweep/*"))
    # DVC knows them by name.
    name = next(iter(references(swept.project.path)))
    assert name in swept.project.dvc_ok("exp", "list", "--all-commits", "--name-only").split()


def test_each_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "visible_gpus", lambda _: ["GPU-a", "GPU-b"])
    assert crew.gpus_of_workers(3, {}) == ["GPU-a", "GPU-b", "GPU-a"]
    assert crew.gpus_of_workers(2, {"PL_TRAINER_ACCELERATOR": "cpu"}) == [None, None]
    assert crew.fitting_workers({"threads": 1}) == 2
    monkeypatch.setattr(crew, "visible_gpus", lambda _: [])
    assert crew.gpus_of_workers(2, {}) == [None, None]
    assert crew.fitting_workers({"threads": 10_000}) == 1


def test_test_scores_are_in_no_study(swept: Swept) -> None:
    assert b"test_acc" not in (swept.project.path / DATABASE).read_bytes()


@pytest.mark.fault(67)
def test_a_trial_that_fails_leaves_the_others_alone_and_is_tried_again(swept: Swept, tmp_path: Path) -> None:
    assert "1 failed, 0 are left; run this again to go on" in swept.printed
    (log,) = re.findall(r"lr=13.0: failed: .*; see (logs/sweep/\S+\.log)", swept.printed)
    assert "train: 13 is unlucky" in (swept.project.path / log).read_text()
    lab = swept.copy(tmp_path / "lab")
    done = sweep(lab)
    assert "2 complete, 1 to run; 1 workers" in done.stdout
    assert done.returncode == 1


def test_what_exists_is_not_run_again_for_another_commit_with_the_same_code(swept: Swept, tmp_path: Path) -> None:
    lab = swept.copy(tmp_path / "lab")
    made, counted = lab.git("for-each-ref", "refs/exps"), tmp_path / "counted"
    (lab.path / "README.md").write_text("other words")
    write_spec(lab, {"lr": "0.005,0.006"})
    lab.commit()
    # Not even where the study is new.
    (lab.path / DATABASE).unlink()
    assert sweep_ok(lab, TOY_COUNT=str(counted)).count("known already") == 2
    assert not counted.exists()
    assert lab.git("for-each-ref", "refs/exps") == made


def test_a_sweep_is_summed_up(swept: Swept, tmp_path: Path) -> None:
    lab = swept.copy(tmp_path / "lab")
    # Without the study, as where others ran it.
    (lab.path / DATABASE).unlink()
    done = lab.run(sys.executable, "-m", "src.sweep.summary")
    assert done.returncode == 0, done.stderr
    assert "2 experiments, 2 settings" in done.stdout
    assert "Best by validation: lr=0.005: final.val_acc 0.9000" in done.stdout
    page = (lab.path / "report/sweep.html").read_text()
    assert page.count('class="plotly-graph-div"') == 3
    assert not re.search(r"<script[^>]+src=|<link", page)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.yaml"], "none.yaml: there is no such file"),
        (["--workers", "0"], f"--workers: expected 1 to {MAX_WORKERS}, got 0"),
        # More would delete each other's checkpoints.
        (["--workers", "17"], "--workers: expected 1 to 16, got 17"),
        (["--heartbeat", "0"], "--heartbeat: expected 1 to 3600, got 0"),
        (["--remote", "nowhere"], "git ls-remote: .*nowhere"),
        (["bad.yaml"], "bad.yaml: lr must be a finite number"),
    ],
)
def test_what_is_wrong_is_one_line_and_no_trial_starts(
    lab: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    write_spec(lab, TWO)
    (lab.path / "bad.yaml").write_text("params: {lr: [0.1, x]}")
    monkeypatch.chdir(lab.path)
    monkeypatch.setattr(remote_module, "ATTEMPTS", 1)
    for name, value in GIT_USER.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert re.fullmatch(rf"sweep: {said}.*\n", printed), printed
    assert not references(lab.path)


@pytest.mark.fault(76)
def test_a_copy_of_a_clone_is_another_clone(tmp_path: Path) -> None:
    (tmp_path / "a/.dvc").mkdir(parents=True)
    (tmp_path / "a").rename(tmp_path / "b")
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    names = [clone_name(tmp_path / name) for name in ("a", "b", "a")]
    assert names[0] == names[2] != names[1]


@pytest.mark.fault(79)
def test_what_the_machine_refuses_is_one_line(lab: Project) -> None:
    write_spec(lab, TWO)
    (lab.path / "logs/sweep").touch()
    done = sweep(lab)
    assert done.returncode == 1
    assert re.fullmatch(r"sweep: \S+/logs/sweep: File exists; a folder must be there; .*\n", done.stderr), done.stderr


def test_a_database_that_cannot_be_reached_is_one_line_without_its_password(lab: Project) -> None:
    write_spec(lab, TWO)
    done = sweep(lab, STORAGE="postgresql+psycopg://user:secret@127.0.0.1:1/nothing")
    assert done.returncode == 1
    assert re.fullmatch(r"sweep: STORAGE: the database cannot be used: .*refused.*\n", done.stderr), done.stderr
    assert "secret" not in done.stderr


def test_without_an_identity_nothing_starts(lab: Project) -> None:
    write_spec(lab, TWO)
    nobody = {name: "" for name in lab.env if name.startswith("GIT_") and name.endswith(("NAME", "EMAIL"))}
    done = sweep(lab, **nobody, HOME="/nonexistent")
    assert done.returncode == 1
    assert "sweep: git does not know who you are" in done.stderr


@pytest.mark.slow
def test_other_code_is_another_experiment(lab: Project) -> None:
    write_spec(lab, {"lr": 0.004})
    sweep_ok(lab)
    lab.append("src/mnist/evaluate/scores.py", "# edited\n")
    done = sweep(lab)
    assert done.returncode == 1
    assert done.stderr.startswith("sweep: src/mnist/evaluate/scores.py: not committed")
    lab.commit()
    assert "1 to run" in sweep_ok(lab)
    assert learning_rates(lab) == [0.004, 0.004]
    done = lab.run(sys.executable, "-m", "src.sweep.summary", "--rev", "HEAD~1")
    assert "1 experiments" in done.stdout


@pytest.mark.fault(79)
@pytest.mark.slow
def test_a_trial_that_cannot_be_begun_leaves_the_others_alone(lab: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write_spec(lab, TWO)
    monkeypatch.chdir(lab.path)
    base = read_base()
    first, second = (base.run(p).name for p in make_spec("s", TWO).settings(base.params))
    # As a full disk would: its log cannot be written.
    (lab.path / f"logs/sweep/{first}.log").mkdir(parents=True)
    done = sweep(lab, "--workers", "1")
    assert done.returncode == 1
    assert not done.stderr
    assert re.search(rf"{first} lr=0.004: failed: \[Errno 21\] Is a directory", done.stdout)
    assert list(references(lab.path)) == [second]


@pytest.mark.fault(77)
@pytest.mark.slow
def test_a_sweep_that_a_git_hook_runs_leaves_the_repository_alone(lab: Project) -> None:
    write_spec(lab, {"lr": 0.004})
    before = working_tree(lab)
    # As git sets them for a hook in a second working tree, and for `git rebase --exec`.
    done = sweep(lab, GIT_DIR=str(lab.path / ".git"), GIT_INDEX_FILE=str(lab.path / ".git/index"))
    assert working_tree(lab) == before
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(references(lab.path)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("below", ["", "ml/ziffern"])
def test_a_clone_may_lie_anywhere(lab: Project, tmp_path: Path, below: str) -> None:
    write_spec(lab, {"lr": "tag(log, interval(0.001, 0.1))"}, sampler="random", trials=1)
    top = tmp_path / "zürich/klon"
    project = lab.copy(top / below)
    if below:
        # A project below git's top folder, which has params of its own.
        subprocess.run(["mv", project.path / ".git", top / ".git"], check=True)
        (top / "params.yaml").write_text("lr: nonsense\n")
        project.git("config", "core.excludesFile", str(top / "none"))
        for name in ("add --all .", "commit --quiet --message moved"):
            subprocess.run(["git", *name.split()], cwd=top, env=project.env, check=True)
        project.dvc_ok("config", "core.no_scm", "false")
        project.git("commit", "--quiet", "--all", "--message", "config", "--allow-empty")
    sweep_ok(project)
    assert len(references(project.path)) == 1
    done = project.run(sys.executable, "-m", "src.sweep.summary")
    assert "1 experiments" in done.stdout, done.stderr


@pytest.mark.fault(67)
@pytest.mark.slow
def test_a_killed_worker_costs_nothing_where_another_works(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, TWO)
    hold, counted = tmp_path / "hold", tmp_path / "counted"
    hold.touch()
    process = start_sweep(lab, "--workers", "2", TOY_HOLD=str(hold), TOY_COUNT=str(counted))
    wait_for(lambda: count(counted) == 2, "two trainings", LONG)
    stages = processes(lab, "train")
    worker = next(parent for parent in stages[0].parents() if "src.sweep.worker" in parent.cmdline())
    worker.kill()
    wait_for(lambda: is_gone(stages[0]), "the end of what it started")
    hold.unlink()
    assert process.wait(LONG) == 1  # a worker died, and that is said
    assert learning_rates(lab) == [0.004, 0.006]
    assert count(counted) == 3
    assert states(lab.path / DATABASE) == ["COMPLETE"] * 2


@pytest.mark.fault(68)
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_sweep_leaves_nothing_running_and_goes_on(
    lab: Project, tmp_path: Path, number: signal.Signals
) -> None:
    write_spec(lab, TWO)
    before = working_tree(lab)
    hold = tmp_path / "hold"
    hold.touch()
    process = start_sweep(lab, "--workers", "2", TOY_HOLD=str(hold))
    stages = wait_for(lambda: len(found := processes(lab, "train")) == 2 and found, "two trainings", LONG)
    second = sweep(lab)
    assert re.fullmatch(r"sweep: process \d+ is running a sweep in this clone; .*\n", second.stderr)
    os.kill(process.pid, number)
    assert process.wait(LONG) == (-number if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: all(map(is_gone, stages)) and not processes(lab, "dvc"), "the end of all processes")
    assert working_tree(lab) == before
    assert not references(lab.path)
    if number != signal.SIGKILL:
        assert "sweep: stopped; run it again" in lab.output()
        assert states(lab.path / DATABASE) == ["WAITING"] * 2
        assert not list((lab.path / ".dvc/tmp/exps/sweep").glob("*"))
    hold.unlink()
    # The dead have no heartbeat to wait for: this clone knows them.
    assert "2 to run" in sweep_ok(lab)
    assert learning_rates(lab) == [0.004, 0.006]
    assert states(lab.path / DATABASE) == ["COMPLETE"] * 2


@pytest.mark.slow
def test_a_pruned_trial_ends_its_processes_and_frees_its_copy(lab: Project, tmp_path: Path) -> None:
    lab.edit("stages/train.py", 'epoch,val_acc\\n1,{score}\\n")', 'epoch,val_acc\\n1,{score}\\n2,{score}\\n")')
    lab.commit()
    good = {"lr": "0.005,0.006,0.007,0.008,0.009"}
    write_spec(lab, good)
    sweep_ok(lab)
    # The five are known now, and tell a new study what is usual; the sixth would never end.
    write_spec(lab, {"lr": f"{good['lr']},0.4"}, pruner="median")
    hold = tmp_path / "hold"
    hold.touch()
    process = start_sweep(lab, "--workers", "1", TOY_HOLD=str(hold))
    assert process.wait(LONG) == 0, lab.output()
    assert "lr=0.4: pruned after epoch 2: 0.5050" in lab.output()
    assert len(references(lab.path)) == 5
    assert not processes(lab, "train")
    assert not list((lab.path / ".dvc/tmp/exps/sweep").glob("*"))


@pytest.mark.fault(69)
@pytest.mark.slow
def test_the_last_running_trial_is_finished_by_an_idle_worker_of_another_clone(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, {"seed": 1})
    remote = make_remote(lab, tmp_path)
    hold, counted = tmp_path / "hold", tmp_path / "counted"
    hold.touch()
    shared = {"STORAGE": f"sqlite:///{tmp_path}/team.db", "TOY_HOLD": str(hold), "TOY_COUNT": str(counted)}
    one, other = (clone(lab, remote, tmp_path / name) for name in ("a", "b"))
    first = start_sweep(one, "--remote", "origin", "--heartbeat", "3", **shared)
    wait_for(lambda: count(counted) == 1, "a training", LONG)
    (stage,) = processes(one, "train")
    idle = start_sweep(other, "--remote", "origin", "--heartbeat", "3", **shared)
    wait_for(lambda: "1 running; 1 workers" in other.output(), "a worker that waits", LONG)
    os.killpg(first.pid, signal.SIGKILL)
    wait_for(lambda: is_gone(stage), "the end of all it started")
    wait_for(lambda: processes(other, "train"), "the training elsewhere", LONG)
    hold.unlink()
    assert idle.wait(LONG) == 0, other.output()
    assert count(counted) == 2
    assert states(tmp_path / "team.db") == ["COMPLETE"]
    assert other.git("ls-remote", "origin", "refs/exps/*").count("refs/exps/") == 1
    one.clean_up()
    other.clean_up()


@pytest.mark.fault(69)
@pytest.mark.slow
def test_two_clones_at_once_run_nothing_twice_and_a_third_gets_it_all(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, {"seed": "range(0, 6)"})
    remote, counted = make_remote(lab, tmp_path), tmp_path / "counted"
    env = {"STORAGE": f"sqlite:///{tmp_path}/team.db", "TOY_COUNT": str(counted)}
    clones = [clone(lab, remote, tmp_path / name) for name in ("a", "b")]
    running = [start_sweep(one, "--workers", "1", "--remote", "origin", **env) for one in clones]
    assert [process.wait(LONG) for process in running] == [0, 0], [one.output() for one in clones]
    assert count(counted) == 6
    assert states(tmp_path / "team.db") == ["COMPLETE"] * 6
    assert lab.git("ls-remote", "origin", "refs/exps/*").count("refs/exps/") == 6
    # A fresh clone with the remote alone has nothing to train.
    third = clone(lab, remote, tmp_path / "c")
    assert sweep_ok(third, "--remote", "origin", TOY_COUNT=str(counted)).count("known already") == 6
    assert len(references(third.path)) == 6
    assert count(counted) == 6


@pytest.mark.fault(75)
@pytest.mark.slow
def test_what_was_run_alone_is_pushed_later(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, TWO)
    make_remote(lab, tmp_path)
    sweep_ok(lab)
    assert "2 complete; 0 workers" in sweep_ok(lab, "--remote", "origin")
    assert lab.git("ls-remote", "origin", "refs/exps/*").count("refs/exps/") == 2


@pytest.mark.fault(75)
@pytest.mark.slow
def test_a_remote_that_vanishes_ends_no_trial_under_way(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, TWO)
    remote, hold = make_remote(lab, tmp_path), tmp_path / "hold"
    hold.touch()
    process = start_sweep(lab, "--workers", "1", "--remote", "origin", TOY_HOLD=str(hold))
    wait_for(lambda: processes(lab, "train"), "a training", LONG)
    remote.rename(tmp_path / "gone")
    hold.unlink()
    assert process.wait(LONG) == 1
    assert "lr=0.004: final.val_acc 0.8990, is done, but could not be pushed to origin" in lab.output()
    assert "sweep: git ls-remote" in lab.output()
    assert "0 failed, 1 are left; run this again to go on" in lab.output()
    assert learning_rates(lab) == [0.004]
    (tmp_path / "gone").rename(remote)
    assert "1 complete, 1 to run" in sweep_ok(lab, "--remote", "origin")
    assert lab.git("ls-remote", "origin", "refs/exps/*").count("refs/exps/") == 2


@pytest.mark.fault(68)
@pytest.mark.slow
def test_kills_at_any_moment_leave_head_params_and_stash_as_they_were(lab: Project) -> None:
    write_spec(lab, {"lr": "0.001,0.002,0.003,0.004"})
    (lab.path / "docs.txt").write_text("not committed")
    before, params = working_tree(lab), (lab.path / "params.yaml").read_bytes()
    for step in range(12):
        process = start_sweep(lab, "--workers", "2")
        try:
            # From the first imports to the second experiments.
            process.wait(0.3 + 0.7 * step)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL if step % 2 else signal.SIGTERM)
            process.wait(LONG)
        wait_for(lambda: not processes(lab, "dvc") and not processes(lab, "train"), "the end of all processes")
        assert (working_tree(lab), (lab.path / "params.yaml").read_bytes()) == (before, params)
    sweep_ok(lab)
    assert learning_rates(lab) == [0.001, 0.002, 0.003, 0.004]
    assert states(lab.path / DATABASE) == ["COMPLETE"] * 4


def test_processes_are_those_of_a_project(lab: Project) -> None:
    # The tests above would pass if these were never found.
    process = lab.start("sleep", "100")
    assert wait_for(lambda: processes(lab, "sleep"), "it")
    process.kill()
    psutil.wait_procs([psutil.Process(process.pid)])
