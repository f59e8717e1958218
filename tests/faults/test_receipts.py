"""Rows 46 to 50: what dvc.lock records is what ran, or a receipt says that it is not."""

import os
import py_compile
import sys
from pathlib import Path

import pytest

import stages.__main__
import stages.evaluate
from src.audit.verify import verify
from tests.faults.project import Project, run_stage


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_row_46_an_edit_that_python_takes_for_none_runs(project: Project) -> None:
    source = project.path / "stages/check.py"
    py_compile.compile(str(source))
    before = source.stat()
    replace_in(source, "is sound", "is noise")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert project.stage("check").returncode == 0
    assert "is noise" in (project.path / "data/checked").read_text()


def python_that_edits_after(project: Project, path: str, stage: str) -> str:
    """A folder for PATH whose python runs what it is told and edits a file at the end of a stage."""
    folder = project.path.parent / "bin"
    folder.mkdir()
    script = folder / "python"
    script.write_text(
        f'#!/bin/sh\n{sys.executable} "$@"\ncode=$?\n[ "$3" = {stage} ] && echo "# edited" >> {path}\nexit $code\n'
    )
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{project.env['PATH']}"


def test_row_47_an_edit_between_the_end_of_a_stage_and_its_hashing_voids_the_lock(toy: Project) -> None:
    done = toy.dvc("repro", PATH=python_that_edits_after(toy, "src/train/steps.py", "train"))
    # DVC has locked the edited code by now. The next stage does not build on it.
    contradiction = "dvc.lock contradicts receipts/train.json in src/train: stage train was not run like that"
    repair = "dvc repro --single-item --force train"
    assert done.returncode != 0
    assert f"evaluate: {contradiction}; run `{repair}`" in done.stderr
    assert [problem for problem in verify(toy.path)[1] if "contradicts" in problem] == [
        f"{contradiction}; run `{repair}`"
    ]
    assert toy.dvc(*repair.split()[1:]).returncode == 0
    toy.repro()
    assert verify(toy.path)[1] == []


def test_row_47_an_edit_during_the_last_stage_voids_the_lock(toy: Project) -> None:
    done = toy.dvc("repro", PATH=python_that_edits_after(toy, "src/evaluate/scores.py", "evaluate"))
    assert done.returncode == 0
    (problem,) = verify(toy.path)[1]
    assert problem.startswith("dvc.lock contradicts receipts/evaluate.json in src/evaluate:")


def test_row_48_what_dvc_commit_locks_by_hand_is_void(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_in(project.path / "src/model/network.py", "255 * MEAN", "254 * MEAN")
    assert project.dvc("commit", "--force").returncode == 0
    problems = [line for line in verify(project.path)[1] if "contradicts" in line]
    assert [line.partition(":")[0] for line in problems] == [
        "dvc.lock contradicts receipts/train.json in src/model",
        "dvc.lock contradicts receipts/evaluate.json in src/model",
    ]
    monkeypatch.chdir(project.path)
    assert run_stage("evaluate") == 1
    assert "evaluate: dvc.lock contradicts receipts/train.json in src/model" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"[1]", b"[{}]", b"[\xff]"])
def test_a_receipt_that_is_none_proves_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    (project.path / "receipts/train.json").write_bytes(damage)
    monkeypatch.chdir(project.path)
    assert run_stage("evaluate") == 1
    assert "evaluate: receipts/train.json: is not a receipt" in capsys.readouterr().err


# Nobody declares the first; the second is a dependency of stage check alone.
@pytest.mark.parametrize(("module", "path"), [("src.extra", "src/extra.py"), ("src.train", "src/train/__init__.py")])
def test_row_49_a_file_that_is_imported_and_not_declared_is_named(project: Project, module: str, path: str) -> None:
    (project.path / "src/extra.py").write_text('"""Nobody declares this."""\n')
    replace_in(project.path / "stages/fetch.py", "\nDATA_DIR", f"\nimport {module}\n\nDATA_DIR")
    done = project.stage("fetch")
    assert done.returncode == 1
    assert f"fetch: {path}: was imported but is not a dependency in dvc.yaml" in done.stderr


def test_row_50_nothing_shadows_what_a_stage_imports(project: Project) -> None:
    evil = 'open("shadowed", "w")\nraise SystemExit(1)\n'
    foreign = project.path.parent / "foreign"
    foreign.mkdir()
    for folder in (foreign, project.path):
        (folder / "numpy.py").write_text(evil)
    variables = {"PYTHONPATH": str(foreign), "PYTHONSAFEPATH": "1", "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error"}
    done = project.stage("fetch", **variables)
    assert done.returncode == 0, done.stderr
    assert not (project.path / "shadowed").exists()


def test_a_model_that_is_swapped_and_put_back_is_noticed(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = project.path / "models/model.safetensors"
    right = model.read_bytes()

    class Swapped:
        """Stage evaluate, with another model in place while it runs."""

        @staticmethod
        def main(run: object) -> object:
            model.chmod(0o644)
            model.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
            try:
                return stages.evaluate.main(run)  # type: ignore[arg-type]
            finally:
                model.write_bytes(right)

    monkeypatch.setattr(stages.__main__, "import_module", lambda _: Swapped)
    monkeypatch.chdir(project.path)
    before = project.results()
    assert run_stage("evaluate") == 1
    assert "evaluate: models/model.safetensors changed during the run" in capsys.readouterr().err
    assert project.results() == before
