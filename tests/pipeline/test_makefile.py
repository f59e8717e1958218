"""The Makefile's own expressions against the real dvc."""

import shlex
import subprocess

import yaml

from tests.faults.project import Project


def test_the_list_of_experiments_has_the_scores_and_every_param_and_nothing_else(project: Project) -> None:
    # What make would run, after whatever it would install.
    recipe = subprocess.check_output(["make", "-n", "experiments"], cwd=project.path, text=True)
    _, *command = shlex.split(next(line for line in recipe.splitlines() if line.startswith("dvc exp show")))
    command.remove("--only-changed")
    header = project.dvc_ok(*command, "--csv").splitlines()[0].split(",")
    params = yaml.safe_load((project.path / "params.yaml").read_text())
    assert set(header) == {"Experiment", "rev", "typ", "parent", "final.val_acc", "test_acc", *params}
