"""Rows 46 to 50, 59 and 60: what dvc.lock records is what ran, or a receipt says that it is not."""

import os
import py_compile
import sys
from collections.abc import Callable
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


@pytest.mark.fault(46)
def test_an_edit_that_python_takes_for_none_runs(project: Project) -> None:
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


@pytest.mark.fault(47)
def test_an_edit_between_the_end_of_a_stage_and_its_hashing_voids_the_lock(toy: Project) -> None:
    done = toy.dvc("repro", PATH=python_that_edits_after(toy, "src/mnist/train/steps.py", "train"))
    # DVC has locked the edited code by now. The next stage does not build on it.
    contradiction = "dvc.lock contradicts receipts/train.json in src/mnist/train"
    repair = "dvc repro --single-item --force train"
    assert done.returncode != 0
    assert f"evaluate: {contradiction}; run `{repair}`" in done.stderr
    assert [problem for problem in verify(toy.path)[1] if "contradicts" in problem] == [
        f"{contradiction}; run `{repair}`"
    ]
    assert toy.dvc(*repair.split()[1:]).returncode == 0
    toy.repro()
    assert verify(toy.path)[1] == []


@pytest.mark.fault(47)
def test_an_edit_during_the_last_stage_voids_the_lock(toy: Project) -> None:
    done = toy.dvc("repro", PATH=python_that_edits_after(toy, "src/mnist/evaluate/scores.py", "evaluate"))
    assert done.returncode == 0
    # Stage check read the code before the edit, too.
    check, problem = verify(toy.path)[1]
    assert check.startswith("check: src/mnist/evaluate changed;")
    assert problem.startswith("dvc.lock contradicts receipts/evaluate.json in src/mnist/evaluate;")


def add_to_fetch(project: Project, code: str) -> None:
    """Let stage fetch run this when it is imported."""
    replace_in(project.path / "stages/fetch.py", "\nSTAGE", f"\n{code}\nSTAGE")


@pytest.mark.fault(47)
def test_a_process_ends_at_once_when_its_stage_has_ended(fetching: Project) -> None:
    # The interpreter would first call what libraries registered, which takes a second or two.
    add_to_fetch(fetching, 'import atexit\natexit.register(Path("late").touch)')
    done = fetching.stage("fetch")
    assert done.returncode == 0, done.stderr
    assert not (fetching.path / "late").exists()


@pytest.mark.fault(94)
def test_an_unforeseen_error_keeps_its_traceback_which_is_the_last_thing_on_the_screen(fetching: Project) -> None:
    add_to_fetch(fetching, 'import atexit\natexit.register(print, "leaked", file=sys.stderr)')
    replace_in(fetching.path / "stages/fetch.py", "    while HOLD", '    {}["dropout"]\n    while HOLD')
    done = fetching.stage("fetch")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.endswith("KeyError: 'dropout'\n")


@pytest.mark.fault(48)
def test_what_dvc_commit_locks_by_hand_is_void(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_in(project.path / "src/mnist/model/network.py", "255 * MEAN", "254 * MEAN")
    assert project.dvc("commit", "--force").returncode == 0
    problems = [line for line in verify(project.path)[1] if "contradicts" in line]
    assert [line.partition(";")[0] for line in problems] == [
        "dvc.lock contradicts receipts/train.json in src/mnist/model",
        "dvc.lock contradicts receipts/evaluate.json in src/mnist/model",
    ]
    monkeypatch.chdir(project.path)
    assert run_stage("evaluate") == 1
    assert "evaluate: dvc.lock contradicts receipts/train.json in src/mnist/model" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"[1]", b"[{}]", b"[\xff]"])
def test_a_receipt_that_is_none_proves_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    (project.path / "receipts/train.json").write_bytes(damage)
    monkeypatch.chdir(project.path)
    assert run_stage("evaluate") == 1
    assert "evaluate: receipts/train.json: is not a receipt" in capsys.readouterr().err


# Nobody declares the first; the second is a dependency of stage check alone.
@pytest.mark.fault(49)
@pytest.mark.parametrize(
    ("module", "path"), [("src.extra", "src/extra.py"), ("src.mnist.train", "src/mnist/train/__init__.py")]
)
def test_a_file_that_is_imported_and_not_declared_is_named(fetching: Project, module: str, path: str) -> None:
    (fetching.path / "src/extra.py").write_text('"""Nobody declares this."""\n')
    add_to_fetch(fetching, f"import {module}")
    done = fetching.stage("fetch")
    assert done.returncode == 1
    assert f"fetch: {path}: stage fetch read it, but dvc.yaml does not list it among the stage's deps" in done.stderr


# Stage check imports numpy and is the quickest that does.
@pytest.mark.fault(50)
@pytest.mark.parametrize("command", ["the one of DVC", "python -m stages check", "python stages/__main__.py check"])
def test_nothing_shadows_what_a_stage_imports(project: Project, command: str) -> None:
    evil = 'open("shadowed", "w")\nraise SystemExit(1)\n'
    foreign = project.path.parent / "foreign"
    foreign.mkdir()
    for folder in (foreign, project.path):
        (folder / "numpy.py").write_text(evil)
    variables = {"PYTHONPATH": str(foreign), "PYTHONSAFEPATH": "1", "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error"}
    if command == "python -m stages check":
        # By hand, Python could not even find the package.
        del variables["PYTHONSAFEPATH"]
    by_dvc = command == "the one of DVC"
    done = project.stage("check", **variables) if by_dvc else project.run(*command.split(), **variables)
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
    assert "evaluate: models/model.safetensors: touched during the run" in capsys.readouterr().err
    assert project.results() == before


def restore_metrics(project: Project) -> None:
    """What `git checkout metrics` does."""
    (project.path / "metrics/eval.json").write_text('{"test_acc": 1.0}\n')


def delete_table(project: Project) -> None:
    (project.path / "plots/confusion.csv").unlink()


@pytest.mark.fault(59)
@pytest.mark.parametrize(
    ("act", "said"),
    [
        (restore_metrics, "metrics/eval.json: is not what the stage wrote"),
        (delete_table, "plots/confusion.csv: is missing"),
    ],
)
def test_an_output_that_changes_before_the_receipt_is_written_is_named(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    act: Callable[[Project], None],
    said: str,
) -> None:
    class Disturbed:
        """Stage evaluate, whose outputs change while it still runs."""

        @staticmethod
        def main(run: object) -> object:
            facts = stages.evaluate.main(run)  # type: ignore[arg-type]
            act(project)
            return facts

    monkeypatch.setattr(stages.__main__, "import_module", lambda _: Disturbed)
    monkeypatch.chdir(project.path)
    receipt = (project.path / "receipts/evaluate.json").read_bytes()
    assert run_stage("evaluate") == 1
    assert f"evaluate: {said}" in capsys.readouterr().err
    assert (project.path / "receipts/evaluate.json").read_bytes() == receipt


@pytest.mark.fault(59)
def test_a_file_in_an_output_folder_that_the_stage_did_not_write_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.edit("dvc.yaml", "    - models/model.safetensors\n    metrics:", "    - models\n    metrics:")
    (project.path / "models/notes.txt").touch()
    monkeypatch.chdir(project.path)
    assert run_stage("train") == 1
    assert "train: models/notes.txt: is not what the stage wrote" in capsys.readouterr().err


def add_and_remove(project: Project) -> str:
    """A module that exists only while the stage imports it."""
    add_to_fetch(
        project,
        'brief = Path("src/mnist/fetch/brief.py")\nbrief.touch()\nimport src.mnist.fetch.brief\nbrief.unlink()',
    )
    return "src/mnist/fetch/brief.py"


def shadow(project: Project) -> str:
    """The same with a package that Python prefers to a declared module of the same name."""
    module, package = "src/mnist/fetch/plain.py", "src/mnist/fetch/plain/__init__.py"
    (project.path / module).touch()
    make = f'Path("{package}").parent.mkdir()\nPath("{package}").touch()'
    remove = f'Path("{package}").unlink()\nPath("{package}").parent.rmdir()'
    add_to_fetch(project, f"{make}\nimport src.mnist.fetch.plain\n{remove}")
    return package


def hide(project: Project) -> str:
    """A module that DVC never hashes."""
    (project.path / "src/mnist/fetch/hidden.py").touch()
    project.append(".dvcignore", "/src/mnist/fetch/hidden.py\n")
    add_to_fetch(project, "import src.mnist.fetch.hidden")
    return "src/mnist/fetch/hidden.py"


@pytest.mark.fault(60)
@pytest.mark.parametrize("act", [add_and_remove, shadow, hide])
def test_code_that_was_not_hashed_is_named(fetching: Project, act: Callable[[Project], str]) -> None:
    path = act(fetching)
    done = fetching.stage("fetch")
    assert done.returncode == 1
    assert f"fetch: {path}: stage fetch read it, but it was not there when the inputs were hashed" in done.stderr
