import json
import re

from tests.faults.project import Project, wait_for

# A toy stage writes its params to every output without numbers.
SHOWN = "plots/learning_curve.png"


def mark_code(project: Project, mark: str) -> None:
    (project.path / "src/mnist/train/mark.py").write_text(f'MARK = "{mark}"\n')


def test_a_queued_experiment_runs_the_queued_code_and_params_and_not_the_workspaces(toy: Project) -> None:
    toy.edit("stages/train.py", "dict(run.params)", '{"mark": MARK, **run.params}')
    toy.edit("stages/train.py", "import json\n", "import json\nfrom src.mnist.train.mark import MARK\n")
    mark_code(toy, "of the commit")
    toy.commit()
    before = (toy.path / SHOWN).read_bytes()
    mark_code(toy, "of the queue")
    toy.dvc_ok("exp", "run", "--queue", "--name", "queued", "-S", "seed=7", "train")
    mark_code(toy, "of the workspace")
    toy.set(seed=8)
    try:
        toy.dvc_ok("queue", "start")
        wait_for(lambda: re.search("Success|Failed", toy.dvc_ok("queue", "status")), "the experiment", seconds=180)
    finally:
        toy.dvc_ok("queue", "stop", "--kill")
    reference = toy.dvc_ref("queued")
    params = json.loads(toy.git("show", f"{reference}:{SHOWN}"))
    assert (params["mark"], params["seed"]) == ("of the queue", 7)
    assert "seed: 7" in toy.git("show", f"{reference}:params.yaml")
    assert (toy.path / SHOWN).read_bytes() == before
    assert toy.read_yaml("params.yaml")["seed"] == 8
