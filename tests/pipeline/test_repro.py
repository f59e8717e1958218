import shutil
from pathlib import Path

from tests.faults.project import Project
from tests.pipeline.conftest import STAGES, paths


def stages_run(output: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def test_all_outputs_exist_and_only_small_ones_are_in_git(reproduced: Project) -> None:
    tracked = reproduced.git("ls-files").splitlines()
    for stage in reproduced.read_yaml("dvc.yaml")["stages"].values():
        for out in paths(stage.get("outs", [])):
            assert (reproduced.path / out).exists()
            assert not any(name.startswith(out) for name in tracked)
        assert set(tracked) >= {*paths(stage.get("metrics", [])), *paths(stage.get("plots", []))}


def test_changed_evaluation_reruns_only_evaluation(toy: Project) -> None:
    toy.append("src/mnist/evaluate/scores.py", "\n# changed\n")
    assert stages_run(toy.dvc_ok("repro")) == ["evaluate"]
    changed = ["dvc.lock", "receipts/evaluate.json", "src/mnist/evaluate/scores.py"]
    assert toy.git("status", "--porcelain").split()[1::2] == changed


def test_rerun_in_another_folder_leaves_git_clean(one_epoch: Project, tmp_path: Path) -> None:
    # DVC ran them in separate processes.
    project = one_epoch.copy(tmp_path / "project")
    for path in [project.path / out for out in project.outs()]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert [project.here(stage).returncode for stage in ("check", *STAGES)] == [0, 0, 0, 0]
    assert project.git("status", "--porcelain") == ""
    assert "up to date" in project.dvc_ok("status")


def test_clone_is_up_to_date_without_a_pull(project: Project) -> None:
    project.git("clean", "-d", "--force", "-x", "--quiet", "--exclude", ".dvc")
    assert not (project.path / "models").exists()
    output = project.dvc_ok("repro", "--pull")
    assert stages_run(output) == []
    assert project.git("status", "--porcelain") == ""
    assert (project.path / "models/model.safetensors").exists()
