"""dvc.yaml is written as DVC writes it, so that a command of DVC changes what it is about, and nothing else."""

import pytest
from dvc.repo import Repo

from tests.faults.project import Project


def test_dvc_freeze_and_unfreeze_leave_dvc_yaml_as_it_was(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.path)
    before = sorted((toy.path / "dvc.yaml").read_text().splitlines())
    with Repo() as repo:
        repo.freeze("train")
        assert "frozen: true" in toy.git("diff", "dvc.yaml")
        repo.unfreeze("train")
    # DVC sorts lists, which need not be sorted.
    assert sorted((toy.path / "dvc.yaml").read_text().splitlines()) == before
