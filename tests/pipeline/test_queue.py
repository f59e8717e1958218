import json
import time

from tests.faults.project import Project

DEADLINE_SECONDS = 180.0


def wait_for_the_queue(project: Project) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(state in (status := project.dvc_ok("queue", "status")) for state in ("Success", "Failed")):
        assert time.monotonic() < deadline, status
        # Asking takes the processor time that the experiment needs.
        time.sleep(0.5)
    assert "Failed" not in status, status


def mark_code(project: Project, mark: str) -> None:
    (project.path / "src/mnist/train/mark.py").write_text(f'MARK = "{mark}"\n')


def test_a_queued_experiment_runs_the_queued_code_and_params_and_not_the_workspaces(project: Project) -> None:
    project.make_toy()
    project.edit("stages/train.py", "dict(run.params)", '{"mark": MARK, **run.params}')
    project.edit("stages/train.py", "import json\n", "import json\nfrom src.mnist.train.mark import MARK\n")
    mark_code(project, "of the commit")
    project.commit()
    before = (project.path / "metrics/train.json").read_bytes()
    mark_code(project, "of the queue")
    project.dvc_ok("exp", "run", "--queue", "--name", "queued", "-S", "seed=7", "train")
    mark_code(project, "of the workspace")
    project.set(seed=8)
    try:
        project.dvc_ok("queue", "start")
        wait_for_the_queue(project)
    finally:
        project.dvc_ok("queue", "stop", "--kill")
    reference = project.dvc_ref("queued")
    metrics = json.loads(project.git("show", f"{reference}:metrics/train.json"))
    assert (metrics["mark"], metrics["seed"]) == ("of the queue", 7)
    assert "seed: 7" in project.git("show", f"{reference}:params.yaml")
    assert (project.path / "metrics/train.json").read_bytes() == before
    assert project.read_yaml("params.yaml")["seed"] == 8
