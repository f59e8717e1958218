import json
import re

import pytest

from tests.faults.project import Project, wait_for

# A toy stage writes its params to every output without numbers.
SHOWN = "plots/learning_curve.png"


def mark_code(project: Project, mark: str) -> None:
    (project.path / "src/mnist/train/mark.py").write_text(f'MARK = "{mark}"\n')


def run_queue(project: Project) -> None:
    try:
        project.dvc_ok("queue", "start")
        wait_for(lambda: re.search("Success|Failed", project.dvc_ok("queue", "status")), "the experiment", seconds=180)
    finally:
        project.dvc_ok("queue", "stop", "--kill")


@pytest.mark.parametrize("how", ["--temp", pytest.param("--queue", marks=pytest.mark.slow)])
def test_experiment_in_a_copy_does_not_touch_the_workspace(toy: Project, how: str) -> None:
    toy.edit("stages/train.py", "dict(run.params)", '{"mark": MARK, **run.params}')
    toy.edit("stages/train.py", "import json\n", "import json\nfrom src.mnist.train.mark import MARK\n")
    mark_code(toy, "of the commit")
    toy.commit()
    before = (toy.path / SHOWN).read_bytes()
    mark_code(toy, "of the copy")
    toy.dvc_ok("exp", "run", how, "--name", "copied", "-S", "seed=7", "train")
    mark_code(toy, "of the workspace")
    toy.set(seed=8)
    if how == "--queue":
        run_queue(toy)
    reference = toy.dvc_ref("copied")
    params = json.loads(toy.git("show", f"{reference}:{SHOWN}"))
    assert (params["mark"], params["seed"]) == ("of the copy", 7)
    assert "seed: 7" in toy.git("show", f"{reference}:params.yaml")
    assert (toy.path / SHOWN).read_bytes() == before
    assert toy.read_yaml("params.yaml")["seed"] == 8
