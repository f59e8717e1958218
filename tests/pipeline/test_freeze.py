"""dvc.yaml has the format of DVC's own writer, so DVC's commands change nothing else in it."""

import pytest
from dvc.repo import Repo

from tests.faults.project import Project


def test_dvc_freeze_and_unfreeze_keep_dvc_yaml(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.path)
    before = sorted((toy.path / "dvc.yaml").read_text().splitlines())
    with Repo() as repo:
        repo.freeze("train")
        assert "frozen: true" in toy.git("diff", "dvc.yaml")
        repo.unfreeze("train")
    # DVC may reorder lists.
    assert sorted((toy.path / "dvc.yaml").read_text().splitlines()) == before
