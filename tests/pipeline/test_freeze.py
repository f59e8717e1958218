"""dvc.yaml is written as DVC writes it, so that a command of DVC changes what it is about, and nothing else."""

from pathlib import Path

from tests.faults.project import Project


def test_dvc_freeze_and_unfreeze_leave_dvc_yaml_as_it_was(reproduced: Project, tmp_path: Path) -> None:
    project = reproduced.copy(tmp_path / "project")
    for stage in project.read_yaml("dvc.yaml")["stages"]:
        project.dvc_ok("freeze", stage)
        assert "frozen: true" in project.git("diff", "dvc.yaml")
        project.dvc_ok("unfreeze", stage)
    assert project.git("diff", "dvc.yaml") == "", f"run dvc freeze {stage} && dvc unfreeze {stage}, and keep the result"
