"""The scripts of cluster/, run as by a batch system."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY
from tests.faults.project import Project, wait_for
from tests.unit.sweep.conftest import LONG, make_remote, processes, pushed, write_spec

SLURM, WORKER = REPOSITORY / "cluster/slurm.sbatch", REPOSITORY / "cluster/worker.sh"
JOB = YAML(typ="safe").load(REPOSITORY / "cluster/kubernetes.yaml")


@pytest.fixture
def remote(toy: Project, tmp_path: Path) -> Path:
    """A bare repository with the lab's commit, the scripts and a sweep of two runs."""
    write_spec(toy, {"seed": "1,2"})
    (toy.path / "cluster").mkdir()
    for script in (SLURM, WORKER):
        (toy.path / "cluster" / script.name).write_bytes(script.read_bytes())
        (toy.path / "cluster" / script.name).chmod(0o755)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/cache").symlink_to(toy.path / ".dvc/cache")
    return make_remote(toy, tmp_path)


@pytest.mark.fault(70)
@pytest.mark.slow
@pytest.mark.usefixtures("remote")
def test_slurm_task_is_requeued_after_a_signal_and_resumes(toy: Project, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin/scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/requeued\n')
    scontrol.chmod(0o755)
    hold = tmp_path / "hold"
    hold.touch()
    env = {
        "SLURM_SUBMIT_DIR": str(toy.path),
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
        "SHARED": str(tmp_path / "shared"),
        "STORAGE": f"sqlite:///{tmp_path}/team.db",
        "TOY_HOLD": str(hold),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{toy.env['PATH']}",
    }
    task = Project(tmp_path / "shared/clones/3")
    # The job is cancelled, then reaches its time limit. SLURM kills remaining processes when the script ends.
    for number, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGUSR1, 0)):
        first = toy.start("bash", str(SLURM), **env)
        wait_for(lambda: processes(task, "train"), "a training", LONG)
        os.kill(first.pid, number)
        assert first.wait(LONG) == code, toy.output()
        assert not processes(task, "train")
    assert (tmp_path / "requeued").read_text() == "requeue 7_3\n"
    assert not pushed(toy)
    hold.unlink()
    again = toy.run("bash", str(SLURM), **env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert pushed(toy) == 2


@pytest.mark.slow
def test_kubernetes_job_runs_its_worker(toy: Project, remote: Path, tmp_path: Path) -> None:
    spec: dict[str, Any] = JOB["spec"]
    assert (JOB["apiVersion"], JOB["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = spec["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    (mount,) = container["volumeMounts"]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert (mount["name"], mount["mountPath"]) == (volume["name"], env["SHARED"])
    assert env["STORAGE"].startswith("postgresql+psycopg://")
    # Run the container's command in this machine's environment.
    env |= {"REPOSITORY": str(remote), "SHARED": str(tmp_path / "shared"), "TMPDIR": str(tmp_path)}
    env["STORAGE"] = f"sqlite:///{tmp_path}/team.db"
    done = toy.run(*container["command"], *container["args"], JOB_COMPLETION_INDEX="0", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pushed(toy) == 2


@pytest.mark.parametrize(
    ("missing", "said"),
    [("REPOSITORY", "the URL of the git"), ("SHARED", "a folder that all"), ("STORAGE", "the URL of the database")],
)
def test_worker_reports_missing_variables(missing: str, said: str, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "REPOSITORY": "x", "SHARED": str(tmp_path), "STORAGE": "y"}
    del env[missing]
    done = subprocess.run(["bash", str(WORKER), "0"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{missing}: expected {said}" in done.stderr
