"""dvc.yaml is written as DVC writes it, so that a command of DVC changes what it is about, and nothing else."""

import pytest
from dvc.repo import Repo

from tests.faults.project import Project


def test_dvc_freeze_and_unfreeze_leave_dvc_yaml_as_it_was(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.path)
    for stage in toy.read_yaml("dvc.yaml")["stages"]:
        with Repo() as repo:
            repo.freeze(stage)
            assert "frozen: true" in toy.git("diff", "dvc.yaml")
            repo.unfreeze(stage)
    assert toy.git("diff", "dvc.yaml") == "", f"run dvc freeze {stage} && dvc unfreeze {stage}, and keep the result"
