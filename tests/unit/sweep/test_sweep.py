"""Sweeps with the real dvc, in a project with toy stages."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.sweep import crew, summary
from src.sweep.__main__ import main
from src.sweep.command import guarded
from src.sweep.crew import clone_name, run_missing
from src.sweep.experiments import check_committed, read_base, references
from src.sweep.git import COPIES, copied
from src.sweep.spec import Spec
from src.sweep.study import DATABASE
from tests.faults.project import Project, called, is_gone, refusal, wait_for
from tests.unit.sweep.conftest import (
    IDENTITY,
    LONG,
    PRINTED,
    count,
    learning_rates,
    make_remote,
    processes,
    pushed,
    start_sweep,
    states,
    sweep,
    sweep_ok,
    working_tree,
    write_spec,
)

# Not the value of params.yaml, whose results already exist.
TWO = {"lr": "0.003,0.004"}


@pytest.mark.fault(77)
def test_sweep_leaves_only_experiments(swept: Project) -> None:
    printed = (swept.path / PRINTED).read_text()
    assert "3 to run; workers: 2" in printed
    assert sorted(re.findall(r"seed=(\d+): final.val_acc (0.\d+)", printed)) == [("0", "0.9000"), ("1", "0.9010")]
    assert "known already" not in printed
    for reference in references(swept.path).values():
        assert swept.git("log", "-1", "--format=%ae %ce", reference) == "ada@example.org ada@example.org\n"
    assert not list((swept.path / COPIES).glob("*"))
    assert b"test_acc" not in (swept.path / DATABASE).read_bytes()


def swept_again(*arguments: str) -> str:
    """What a sweep prints that has nothing more to do."""
    done = called(main, [*arguments])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.fault(67, 79)
def test_failed_trial_does_not_affect_others_and_is_retried(in_copy: Project) -> None:
    printed = (in_copy.path / PRINTED).read_text()
    assert "1 failed; run this again to continue" in printed
    (log,) = map(Path, re.findall(r"seed=13: failed: .*; see (logs/sweep/\S+\.log)", printed))
    assert "train: 13 is unlucky" in log.read_text()
    # Now its log cannot be written, as on a full disk.
    log.unlink()
    log.mkdir()
    done = called(main, [])
    assert done.returncode == 1
    assert "2 complete, 1 to run" in done.stdout
    assert "seed=13: failed: [Errno 21] Is a directory" in done.stdout


def test_known_results_are_not_rerun(in_copy: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = in_copy.git("for-each-ref", "refs/exps")
    monkeypatch.setenv("TOY_COUNT", str(tmp_path / "counted"))
    # Known from experiments, in another commit with the same code and a new study.
    (in_copy.path / "README.md").write_text("other words")
    write_spec(in_copy, {"seed": "0,1"})
    in_copy.commit()
    assert swept_again().count("known already") == 2
    assert in_copy.git("for-each-ref", "refs/exps") == made
    # Known from the study, as if another clone had the experiments.
    for reference in references(in_copy.path).values():
        in_copy.git("update-ref", "-d", reference)
    write_spec(in_copy, {"seed": "0,1"}, sampler="random", trials=2)
    assert swept_again().count("known already") == 2
    assert not count(tmp_path / "counted")


def test_changed_code_makes_new_experiments(in_copy: Project) -> None:
    in_copy.append("src/mnist/evaluate/scores.py", "# edited\n")
    assert refusal(called(main, [])).startswith("sweep: src/mnist/evaluate/scores.py: not committed")
    in_copy.commit()
    # Experiments of the old code are not found.
    said = refusal(called(summary.main, []))
    assert "none of its experiments is in this clone for the code of HEAD" in said
    # The study knows the results of experiments that were removed, so it would not run them again.
    assert "if they were removed, first delete the study" in said
    # Without the study, as if others had run the sweep.
    (in_copy.path / DATABASE).unlink()
    done = called(summary.main, ["--rev", "HEAD~1"])
    assert done.returncode == 0, done.stderr
    assert "Best by validation: the only setting: final.val_acc 0.9005, mean of 2 seeds" in done.stdout
    assert (in_copy.path / summary.PAGE).read_text().count('class="plotly-graph-div"') == 4


def test_unusable_result_can_be_removed_as_advised(in_copy: Project) -> None:
    in_copy.edit("stages/train.py", '{"val_acc": score}', '{"val_acc": None}')
    write_spec(in_copy, {"lr": 0.003})
    in_copy.commit()
    done = called(main, [])
    assert done.returncode == 1
    (name,) = re.findall(r"final.val_acc: .*`dvc exp remove (run-\w+)` removes it", done.stdout)
    in_copy.dvc_ok("exp", "remove", name)


def test_unremovable_copy_is_removed_by_the_next_sweep(in_copy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write_spec(in_copy, {"seed": "0,1"})

    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTEMPTY, "a stage that is ending has written a file")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        with copied(in_copy.path, "HEAD", "run-x") as copy:
            pass
        assert copy.exists()
    swept_again()
    assert not (in_copy.path / COPIES).exists()


def test_data_tracked_by_dvc_must_be_committed(
    swept: Project, in_copy: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A fresh clone with only the remote has nothing to train.
    write_spec(in_copy, {"seed": "1"})
    remote = make_remote(in_copy, tmp_path)
    # Another clone made the same experiments from another commit.
    for name, reference in references(in_copy.path).items():
        in_copy.git("update-ref", f"refs/exps/00/{'0' * 38}/{name}", reference)
    # The experiment arrives, but its files do not, until the next sweep.
    in_copy.dvc_ok("remote", "modify", "--local", "store", "url", "/proc/none")
    done = called(main, ["--remote", "origin"])
    assert done.returncode == 1
    said = done.stdout
    assert "is done, but could not be pushed to origin: dvc exp push ended with exit code" in said
    (in_copy.path / ".dvc/config.local").unlink()
    assert pushed(in_copy) == 1
    said += swept_again("--remote", "origin")
    assert any('"seed": 1' in file.read_text() for file in swept.path.parent.glob("store/files/md5/*/*"))  # the model
    subprocess.run(["git", "clone", "--quiet", remote, tmp_path / "other"], check=True)
    monkeypatch.chdir(tmp_path / "other")
    said += swept_again("--remote", "origin")
    assert said.count("known already") == 2
    monkeypatch.chdir(in_copy.path)
    (in_copy.path / "unheard/1").write_text("another")
    with pytest.raises(UserError, match="unheard: changed, and a sweep runs what is committed"):
        check_committed(read_base())
    in_copy.dvc_ok("add", "unheard")
    with pytest.raises(UserError, match=r"unheard\.dvc: not committed, and a sweep runs what is committed"):
        check_committed(read_base())
    in_copy.git("rm", "--quiet", "--force", "unheard.dvc")
    in_copy.git("commit", "--quiet", "--message", "without the data")
    with pytest.raises(UserError, match=r"unheard/1 of HEAD: dvc.yaml names it, but it is not committed"):
        read_base()


def test_check_does_not_lock_the_index(in_copy: Project) -> None:
    """The user may run git or dvc meanwhile."""
    index = in_copy.path / ".git/index"
    # Git would record the new time.
    (in_copy.path / "params.yaml").touch()
    before = index.read_bytes()
    check_committed(read_base())
    assert index.read_bytes() == before


def test_number_of_workers_fits_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "visible_gpus", lambda _: ["GPU-a", "GPU-b", "GPU-c"])
    assert crew.fitting(10_000) == 3
    monkeypatch.setenv("PL_TRAINER_ACCELERATOR", "cpu")
    assert crew.fitting(10_000) == 1
    assert crew.fitting(1) == min(16, len(os.sched_getaffinity(0)))


def test_invalid_spec_is_a_one_line_error(in_copy: Project) -> None:
    (in_copy.path / "bad.yaml").write_text("params: {lr: [0.1, x]}")
    for name, said in (("none.yaml", "there is no such file"), ("bad.yaml", "lr must be a valid number")):
        assert re.fullmatch(rf"sweep: {name}: {said}.*\n", refusal(called(main, [name])))


@pytest.mark.fault(79)
def test_setup_error_is_one_line_and_starts_no_trial(in_copy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    # As returned by stage check, but without its process.
    params = in_copy.read_yaml("params.yaml")
    space = Spec(params={"seed": [13, 0, 1]}).space("sweep.yaml", [{**params, "seed": seed} for seed in (13, 0, 1)])

    def complaint(**given: object) -> str:
        options = Namespace(**{"workers": 1, "heartbeat": 20, "remote": None} | given)
        done = called(guarded, "sweep", lambda: run_missing(read_base(), space, options))
        assert not done.stdout
        return refusal(done)

    assert complaint(workers=0) == "sweep: --workers: expected 1 to 16, got 0\n"
    # More workers would delete each other's checkpoints.
    assert complaint(workers=17) == "sweep: --workers: expected 1 to 16, got 17\n"
    assert complaint(heartbeat=0) == "sweep: --heartbeat: expected 1 to 3600, got 0\n"
    assert re.fullmatch(r"sweep: git ls-remote: .*nowhere.*\n", complaint(remote="nowhere"))
    monkeypatch.setenv("STORAGE", "postgresql+psycopg://user:secret@127.0.0.1:1/nothing")
    printed = complaint()
    assert re.fullmatch(r"sweep: STORAGE: the database cannot be used: .*refused.*\n", printed), printed
    assert "secret" not in printed
    monkeypatch.setenv("STORAGE", f"sqlite:///{in_copy.path}/params.yaml")
    assert re.fullmatch(
        r"sweep: STORAGE: the database cannot be used: file is not a database; once it can, .*\n", complaint()
    )
    monkeypatch.delenv("STORAGE")
    shutil.rmtree(in_copy.path / "logs/sweep")
    (in_copy.path / "logs/sweep").touch()
    assert re.fullmatch(r"sweep: \S+/logs/sweep: File exists; a folder must be there; .*\n", complaint())
    in_copy.git("config", "--remove-section", "user")
    for name in IDENTITY:
        monkeypatch.delenv(name)
    assert complaint().startswith("sweep: git does not know who you are")


@pytest.mark.fault(76)
def test_copy_of_a_clone_has_a_different_name(tmp_path: Path) -> None:
    (tmp_path / "a/.dvc").mkdir(parents=True)
    (tmp_path / "a").rename(tmp_path / "b")
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    names = [clone_name(tmp_path / name) for name in ("a", "b", "a")]
    assert names[0] == names[2] != names[1]


@pytest.mark.slow
@pytest.mark.parametrize("below", ["", "ml/ziffern"])
def test_sweep_runs_in_any_folder(toy: Project, tmp_path: Path, below: str) -> None:
    write_spec(toy, {"lr": "tag(log, interval(0.001, 0.1))"}, sampler="random", trials=1)
    top = tmp_path / "zürich/klon"
    project = toy.copy(top / below)
    if below:
        # A project in a subfolder of a git repository with a params.yaml of its own.
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


@pytest.mark.fault(68)
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_sweep_leaves_no_processes_and_resumes(toy: Project, tmp_path: Path, number: signal.Signals) -> None:
    write_spec(toy, TWO)
    before = working_tree(toy)
    hold = tmp_path / "hold"
    hold.touch()
    process = start_sweep(toy, "--workers", "2", TOY_HOLD=str(hold))
    stages = wait_for(lambda: len(found := processes(toy, "train")) == 2 and found, "two trainings", LONG)
    second = sweep(toy)
    assert re.fullmatch(r"sweep: process \d+ is running a sweep in this clone; .*\n", second.stderr)
    os.kill(process.pid, number)
    assert process.wait(LONG) == (-number if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: all(map(is_gone, stages)) and not processes(toy, "dvc"), "the end of all processes")
    assert working_tree(toy) == before
    assert not references(toy.path)
    if number != signal.SIGKILL:
        assert "sweep: stopped; run it again" in toy.output()
        assert states(f"sqlite:///{toy.path / DATABASE}") == ["WAITING"] * 2
        assert not list((toy.path / COPIES).glob("*"))
    hold.unlink()
    # This clone does not wait for the heartbeats of its own dead workers.
    assert "2 to run" in sweep_ok(toy)
    assert learning_rates(toy) == [0.003, 0.004]
    assert states(f"sqlite:///{toy.path / DATABASE}") == ["COMPLETE"] * 2


@pytest.mark.slow
def test_pruned_trial_leaves_no_processes_and_no_copy(toy: Project, tmp_path: Path) -> None:
    good = {"lr": "0.005,0.006,0.007,0.008,0.009"}
    write_spec(toy, good)
    sweep_ok(toy)
    # The five known trials define the median of a new study; the sixth would never end.
    write_spec(toy, {"lr": f"{good['lr']},0.4"}, pruner="median")
    hold = tmp_path / "hold"
    hold.touch()
    process = start_sweep(toy, "--workers", "1", TOY_HOLD=str(hold))
    assert process.wait(LONG) == 0, toy.output()
    assert "lr=0.4: pruned after epoch 2: 0.5050" in toy.output()
    assert len(references(toy.path)) == 5
    assert not processes(toy, "train")
    assert not list((toy.path / COPIES).glob("*"))


@pytest.mark.fault(68)
@pytest.mark.slow
def test_kills_at_any_moment_preserve_head_params_and_stash(toy: Project) -> None:
    write_spec(toy, {"lr": "0.001,0.002,0.003,0.004"})
    (toy.path / "docs.txt").write_text("not committed")
    before = working_tree(toy)
    for step in range(12):
        process = start_sweep(toy, "--workers", "2")
        try:
            # From the first imports to the second pair of experiments.
            process.wait(0.3 + 0.7 * step)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL if step % 2 else signal.SIGTERM)
            process.wait(LONG)
        wait_for(lambda: not processes(toy, "dvc") and not processes(toy, "train"), "the end of all processes")
        assert working_tree(toy) == before
    sweep_ok(toy)
    assert learning_rates(toy) == [0.001, 0.002, 0.003, 0.004]
    assert states(f"sqlite:///{toy.path / DATABASE}") == ["COMPLETE"] * 4
