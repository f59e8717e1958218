import json
import time

from tests.faults.project import Project

DEADLINE_SECONDS = 180.0


def wait_for_the_queue(project: Project) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(state in (status := project.dvc_ok("queue", "status")) for state in ("Success", "Failed")):
        assert time.monotonic() < deadline, status
        # Asking takes the processor time that the experiment needs.
        time.sleep(1)
    assert "Failed" not in status, status


def mark_code(project: Project, old: str, new: str) -> None:
    project.edit("src/train/summary.py", f"return {{{old}", f"return {{{new}")


def test_a_queued_experiment_trains_the_queued_code_and_params_and_not_the_workspaces(project: Project) -> None:
    before = (project.path / "metrics/train.json").read_bytes()
    mark_code(project, '"final"', '"of_queue": {"mark": 1}, "final"')
    project.dvc_ok("exp", "run", "--queue", "--name", "queued", "-S", "seed=7", "-S", "epochs=1", "train")
    mark_code(project, '"of_queue"', '"of_workspace"')
    project.set(seed=8)
    try:
        project.dvc_ok("queue", "start")
        wait_for_the_queue(project)
    finally:
        project.dvc_ok("queue", "stop", "--kill")
    reference = next(
        name for name in project.git("for-each-ref", "--format=%(refname)", "refs/exps").split() if "queued" in name
    )
    metrics = json.loads(project.git("show", f"{reference}:metrics/train.json"))
    assert set(metrics) == {"of_queue", "final", "best", "temperature"}
    assert "seed: 7" in project.git("show", f"{reference}:params.yaml")
    assert (project.path / "metrics/train.json").read_bytes() == before
    assert project.read_yaml("params.yaml")["seed"] == 8
