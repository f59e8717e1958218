"""Sweeps with the real dvc, in a project whose stages take no time."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from src.sweep import remote as remote_module
from src.sweep.__main__ import main
from src.sweep.plan import read_base
from src.sweep.records import references
from src.sweep.spec import read_sweep
from tests.faults.project import Project, is_gone, wait_for
from tests.unit.sweep.conftest import GIT_USER, Swept, working_tree, write_spec

TWO = {"lr": "0.004,0.006"}


def sweep(project: Project, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "src.sweep", *arguments, **env)


def sweep_ok(project: Project, *arguments: str) -> str:
    done = sweep(project, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start_sweep(project: Project, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return project.start(sys.executable, "-m", "src.sweep", *arguments, **env)


def learning_rates(project: Project) -> list[float]:
    """Of every experiment, from its commit."""
    shown = [project.git("show", f"{ref}:params.yaml") for ref in references(project.path).values()]
    return sorted(float(found[1]) for text in shown if (found := re.search(r"^lr: (\S+)", text, re.MULTILINE)))


def processes(project: Project, word: str) -> list[psutil.Process]:
    """Processes below the project's folder whose command has this word."""
    found = []
    for process in psutil.process_iter():
        try:
            if word in process.cmdline() and Path(process.cwd()).is_relative_to(project.path / ".dvc/tmp"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_sweep_leaves_experiments_and_nothing_else(swept: Swept) -> None:
    assert "3 runs: 0 exist, 3 to run, 2 at once" in swept.printed
    assert learning_rates(swept.project) == [0.005, 0.006]
    assert "docs.txt" in swept.before
    assert swept.after == swept.before
    assert not list((swept.project.path / ".dvc/tmp/exps").glob("sweep"))
    # DVC knows them by name.
    name = next(iter(references(swept.project.path)))
    assert name in swept.project.dvc_ok("exp", "list", "--all-commits", "--name-only").split()


def test_what_exists_is_not_run_again_for_another_commit_with_the_same_code(swept: Swept, tmp_path: Path) -> None:
    lab = swept.copy(tmp_path / "lab")
    made = lab.git("for-each-ref", "refs/exps")
    (lab.path / "README.md").write_text("other words")
    write_spec(lab, {"lr": "0.005,0.006"})
    lab.commit()
    assert "2 runs: 2 exist, 0 to run" in sweep_ok(lab)
    assert lab.git("for-each-ref", "refs/exps") == made


def test_a_sweep_is_summed_up(swept: Swept, tmp_path: Path) -> None:
    lab = swept.copy(tmp_path / "lab")
    done = lab.run(sys.executable, "-m", "src.sweep.summary")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 runs" in done.stdout
    assert "Best by validation: lr=0.005: final.val_acc 0.9000" in done.stdout
    page = (lab.path / "report/sweep.html").read_text()
    assert "data:image/png;base64," in page
    assert "://" not in page


@pytest.mark.slow
def test_other_code_is_another_experiment(lab: Project) -> None:
    write_spec(lab, {"lr": 0.004})
    sweep_ok(lab)
    lab.append("src/mnist/evaluate/scores.py", "# edited\n")
    done = sweep(lab)
    assert done.returncode == 1
    assert done.stderr.startswith("sweep: src/mnist/evaluate/scores.py: not committed")
    lab.commit()
    assert "1 runs: 0 exist, 1 to run" in sweep_ok(lab)
    assert learning_rates(lab) == [0.004, 0.004]
    done = lab.run(sys.executable, "-m", "src.sweep.summary", "--rev", "HEAD~1")
    assert "1 of 1 runs" in done.stdout


def test_a_run_that_fails_leaves_the_others_alone_and_is_tried_again(swept: Swept, tmp_path: Path) -> None:
    assert "1 of 3 failed; run this again to retry them" in swept.printed
    (log,) = re.findall(r"lr=13.0: failed: .*; see (logs/sweep/\S+\.log)", swept.printed)
    assert "train: 13 is unlucky" in (swept.project.path / log).read_text()
    lab = swept.copy(tmp_path / "lab")
    done = sweep(lab)
    assert "3 runs: 2 exist, 1 to run" in done.stdout
    assert done.returncode == 1


@pytest.mark.slow
def test_a_run_that_cannot_be_begun_leaves_the_others_alone(lab: Project) -> None:
    write_spec(lab, TWO)
    base = read_base(lab.path)
    first, second = (run.name for run in base.runs(read_sweep(lab.path / "sweep.yaml")))
    # As a full disk would: its log cannot be written.
    (lab.path / f"logs/sweep/{first}.log").mkdir(parents=True)
    done = sweep(lab, "--workers", "1")
    assert done.returncode == 1
    assert not done.stderr
    assert f"{first}: could not be begun: [Errno 21] Is a directory" in done.stdout
    assert list(references(lab.path)) == [second]


def test_what_the_machine_refuses_is_one_line(lab: Project) -> None:
    write_spec(lab, TWO)
    (lab.path / "logs/sweep").touch()
    done = sweep(lab)
    assert done.returncode == 1
    assert re.fullmatch(r"sweep: \S+/logs/sweep: File exists; a folder must be there; .*\n", done.stderr), done.stderr


@pytest.mark.slow
def test_a_sweep_that_a_git_hook_runs_leaves_the_repository_alone(lab: Project) -> None:
    write_spec(lab, {"lr": 0.004})
    before = working_tree(lab)
    # As git sets them for a hook in a second working tree, and for `git rebase --exec`.
    done = sweep(lab, GIT_DIR=str(lab.path / ".git"), GIT_INDEX_FILE=str(lab.path / ".git/index"))
    assert working_tree(lab) == before
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(references(lab.path)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.yaml"], "none.yaml: there is no such file"),
        (["--workers", "0"], "--workers: expected at least 1, got 0"),
        (["--remote", "nowhere"], "git ls-remote: .*nowhere"),
    ],
)
def test_what_is_wrong_is_one_line(
    lab: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    write_spec(lab, TWO)
    monkeypatch.chdir(lab.path)
    monkeypatch.setattr(remote_module, "ATTEMPTS", 1)
    for name, value in GIT_USER.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert re.fullmatch(rf"sweep: {said}.*\n", printed), printed
    assert not references(lab.path)


def test_without_an_identity_nothing_starts(lab: Project) -> None:
    write_spec(lab, TWO)
    nobody = {name: "" for name in lab.env if name.startswith("GIT_") and name.endswith(("NAME", "EMAIL"))}
    done = sweep(lab, **nobody, HOME="/nonexistent")
    assert done.returncode == 1
    assert "sweep: git does not know who you are" in done.stderr


@pytest.mark.slow
def test_a_killed_worker_costs_one_run_which_goes_on_when_it_is_run_again(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, TWO)
    hold = tmp_path / "hold"
    hold.touch()
    process = start_sweep(lab, "--workers", "2", TOY_HOLD=str(hold))
    stages = wait_for(lambda: len(found := processes(lab, "train")) == 2 and found, "two trainings")
    victim, other = (next(p for p in stage.parents() if "dvc" in p.cmdline()) for stage in stages)
    victim.kill()
    wait_for(lambda: len(processes(lab, "train")) == 1, "the end of its stage")
    hold.unlink()
    assert process.wait(60) == 1
    assert "failed: dvc exp run ended with exit code -9" in lab.output()
    assert is_gone(other)
    assert len(references(lab.path)) == 1
    assert "2 runs: 1 exist, 1 to run" in sweep_ok(lab)
    assert learning_rates(lab) == [0.004, 0.006]


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
    stages = wait_for(lambda: len(found := processes(lab, "train")) == 2 and found, "two trainings")
    second = sweep(lab)
    assert re.fullmatch(r"sweep: process \d+ is running experiments in this clone; .*\n", second.stderr)
    os.kill(process.pid, number)
    assert process.wait(60) == (-number if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: all(map(is_gone, stages)) and not processes(lab, "dvc"), "the end of all processes")
    assert working_tree(lab) == before
    assert not references(lab.path)
    if number != signal.SIGKILL:
        assert "sweep: stopped; run it again" in lab.output()
    hold.unlink()
    assert "2 runs: 0 exist, 2 to run" in sweep_ok(lab)
    assert learning_rates(lab) == [0.004, 0.006]


def clone(project: Project, remote: Path, folder: Path) -> Project:
    """A clone with its own copy of DVC's cache."""
    subprocess.run(["git", "clone", "--quiet", str(remote), str(folder)], check=True)
    other = Project(folder)
    other.env = {**project.env, "DVC_SITE_CACHE_DIR": str(folder.parent / f"site-{folder.name}")}
    (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {project.path / '.dvc/cache'}\n")
    return other


@pytest.mark.slow
def test_two_clones_at_once_run_nothing_twice_and_lose_nothing(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, {"seed": "range(0, 6)"})
    lab.commit()
    remote = tmp_path / "remote.git"
    lab.git("clone", "--quiet", "--bare", ".", str(remote))
    clones = [clone(lab, remote, tmp_path / name) for name in ("a", "b")]
    running = [start_sweep(one, "--workers", "1", "--remote", "origin") for one in clones]
    assert [process.wait(120) for process in running] == [0, 0], [one.output() for one in clones]
    made = [len(re.findall(r"final\.val_acc", one.output())) for one in clones]
    assert sum(made) == 6, made
    listed = clones[0].git("ls-remote", "origin", "refs/exps/*", "refs/sweep/*")
    assert listed.count("refs/exps/") == 6
    assert "refs/sweep/" not in listed
    # A third has nothing to do, and gets the results.
    third = clone(lab, remote, tmp_path / "c")
    assert "6 runs: 6 exist, 0 to run" in sweep_ok(third, "--remote", "origin")
    assert len(references(third.path)) == 6


@pytest.mark.slow
def test_what_was_run_alone_is_pushed_later(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, TWO)
    lab.commit()
    remote = tmp_path / "remote.git"
    lab.git("clone", "--quiet", "--bare", ".", str(remote))
    sweep_ok(lab)
    assert "2 runs: 2 exist" in sweep_ok(lab, "--remote", str(remote))
    assert lab.git("ls-remote", str(remote), "refs/exps/*").count("refs/exps/") == 2


@pytest.mark.slow
def test_a_remote_that_vanishes_ends_no_run_under_way(lab: Project, tmp_path: Path) -> None:
    write_spec(lab, {"seed": "13,14,15"})
    remote, hold = tmp_path / "remote.git", tmp_path / "hold"
    lab.git("clone", "--quiet", "--bare", ".", str(remote))
    hold.touch()
    # The order in which a clone takes the runs depends on its name: this one begins with 13, which fails, and 15.
    (lab.path / "logs/sweep").mkdir(parents=True)
    (lab.path / "logs/sweep/owner").write_text(f"a {lab.path.resolve()}\n")
    process = start_sweep(lab, "--workers", "2", "--remote", str(remote), TOY_HOLD=str(hold))
    wait_for(lambda: processes(lab, "train"), "a training")
    remote.rename(tmp_path / "gone")
    wait_for(lambda: "runs not begun: 1" in lab.output(), "a claim that cannot be made")
    hold.unlink()
    assert process.wait(180) == 1
    assert "seed=15: final.val_acc" in lab.output()
    assert "seed=15: failed: is done, but could not be pushed" in lab.output()
    # That it failed after all makes no third.
    assert lab.output().count("\n2/3 ") == 2
    assert "runs not begun: 1; run this again to continue" in lab.output()
    assert len(references(lab.path)) == 1
    (tmp_path / "gone").rename(remote)
    assert "3 runs: 1 exist, 2 to run" in sweep(lab, "--remote", str(remote)).stdout
    assert lab.git("ls-remote", str(remote), "refs/exps/*").count("refs/exps/") == 2
