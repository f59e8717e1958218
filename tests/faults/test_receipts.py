"""dvc.lock records what actually ran, or a receipt contradicts it."""

import os
import py_compile
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import stages.evaluate
from src.audit.verify import verify
from src.core.run import ReceiptFields, Run
from tests.faults.project import Project, refusal


@pytest.mark.fault(46)
def test_edit_missed_by_bytecode_caches_is_run(toy: Project) -> None:
    source = toy.path / "stages/fetch.py"
    py_compile.compile(str(source))
    before = source.stat()
    toy.edit("stages/fetch.py", '"device": "none"', '"device": "nine"')
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert toy.stage("fetch").returncode == 0
    assert '"device": "nine"' in (toy.path / "receipts/fetch.json").read_text()


def python_that_edits_after(project: Project, path: str, stage: str) -> str:
    """A folder for PATH whose python runs its arguments and edits a file at the end of a stage."""
    folder = project.path.parent / "bin"
    folder.mkdir()
    script = folder / "python"
    script.write_text(
        f'#!/bin/sh\n{sys.executable} "$@"\ncode=$?\n[ "$3" = {stage} ] && echo "# edited" >> {path}\nexit $code\n'
    )
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{project.env['PATH']}"


@pytest.mark.fault(47)
def test_edit_between_end_and_hashing_voids_the_lock(toy: Project) -> None:
    toy.append("src/mnist/train/steps.py", "# edited\n")
    path = python_that_edits_after(toy, "src/mnist/train/steps.py", "train")
    toy.repro("--single-item", "train", PATH=path)
    # DVC has locked the second edit, but the next stage does not build on it.
    contradiction = "dvc.lock contradicts receipts/train.json in src/mnist/train"
    repair = "dvc repro --single-item --force train"
    assert f"evaluate: {contradiction}; run `{repair}`" in refusal(toy.here("evaluate"))
    assert [problem for problem in verify(toy.path)[1] if "contradicts" in problem] == [
        f"{contradiction}; run `{repair}`"
    ]
    assert toy.dvc(*repair.split()[1:]).returncode == 0
    # Stage check is not up to date with the edits.
    assert [problem.partition(" ")[0] for problem in verify(toy.path)[1]] == ["check:"]
    assert toy.forked_stage("evaluate").returncode == 0


@pytest.mark.fault(47)
def test_edit_during_the_last_stage_voids_the_lock(toy: Project) -> None:
    toy.append("src/mnist/evaluate/scores.py", "# edited\n")
    path = python_that_edits_after(toy, "src/mnist/evaluate/scores.py", "evaluate")
    toy.repro("--single-item", "evaluate", PATH=path)
    # Stage check read the code before the edit, too.
    check, problem = verify(toy.path)[1]
    assert check.startswith("check: src/mnist/evaluate changed;")
    assert problem.startswith("dvc.lock contradicts receipts/evaluate.json in src/mnist/evaluate;")


def add_to_fetch(project: Project, code: str) -> None:
    """Make the fetch stage run this code when it is imported."""
    project.edit("stages/fetch.py", "\nSTAGE", f"\n{code}\nSTAGE")


@pytest.mark.fault(47)
def test_process_ends_immediately_after_its_stage(toy: Project) -> None:
    # The interpreter would first call exit handlers of libraries, which takes a second or two.
    add_to_fetch(toy, 'import atexit\natexit.register(Path("late").touch)')
    done = toy.stage("fetch")
    assert done.returncode == 0, done.stderr
    assert not (toy.path / "late").exists()


@pytest.mark.fault(94)
def test_unexpected_error_keeps_its_traceback_as_the_last_output(toy: Project) -> None:
    add_to_fetch(toy, 'import atexit\natexit.register(print, "leaked", file=sys.stderr)')
    toy.edit("stages/fetch.py", "    while HOLD", '    {}["dropout"]\n    while HOLD')
    done = toy.stage("fetch")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.endswith("KeyError: 'dropout'\n")


@pytest.mark.fault(48)
def test_manual_dvc_commit_is_void(toy: Project) -> None:
    toy.edit("src/mnist/model/network.py", "255 * MEAN", "254 * MEAN")
    assert toy.dvc("commit", "--force").returncode == 0
    problems = [line for line in verify(toy.path)[1] if "contradicts" in line]
    assert [line.partition(";")[0] for line in problems] == [
        "dvc.lock contradicts receipts/train.json in src/mnist/model",
        "dvc.lock contradicts receipts/evaluate.json in src/mnist/model",
    ]
    assert "evaluate: dvc.lock contradicts receipts/train.json in src/mnist/model" in refusal(toy.here("evaluate"))


@pytest.mark.fault(48)
def test_repair_of_a_manual_dvc_commit_lasts(toy: Project) -> None:
    before = toy.results()
    toy.set(lr=0.004)
    toy.repro()
    other = toy.results()
    toy.git("checkout", "--quiet", "params.yaml")
    # DVC restores the newest run with the same inputs: now, one with outputs of other params.
    toy.dvc_ok("commit", "--force")
    toy.repro("--single-item", "--force", "train")
    for lr, expected in ((0.004, other), (None, before)):
        toy.git("checkout", "--quiet", "params.yaml")
        toy.set(**{"lr": lr} if lr else {})
        toy.repro()
        assert toy.results() == expected
        assert verify(toy.path)[1] == []


# The first is not declared at all; the second is a dependency of stage check only.
@pytest.mark.fault(49)
@pytest.mark.parametrize(
    ("module", "path"), [("src.extra", "src/extra.py"), ("src.mnist.train", "src/mnist/train/__init__.py")]
)
def test_undeclared_import_is_reported(toy: Project, module: str, path: str) -> None:
    (toy.path / "src/extra.py").write_text('"""Nobody declares this."""\n')
    add_to_fetch(toy, f"import {module}")
    said = refusal(toy.forked_stage("fetch"))
    assert f"fetch: {path}: stage fetch read it, but dvc.yaml does not list it among the stage's deps" in said


@pytest.mark.fault(50)
@pytest.mark.parametrize("command", ["the one of DVC", "python -m stages fetch", "python stages/__main__.py fetch"])
def test_local_modules_do_not_shadow_imports(toy: Project, command: str) -> None:
    evil = 'open("shadowed", "w")\nraise SystemExit(1)\n'
    foreign = toy.path.parent / "foreign"
    foreign.mkdir()
    for folder in (foreign, toy.path):
        (folder / "pathspec.py").write_text(evil)
    variables = {"PYTHONPATH": str(foreign), "PYTHONSAFEPATH": "1", "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error"}
    if command == "python -m stages fetch":
        # Otherwise, Python would not find the package.
        del variables["PYTHONSAFEPATH"]
    by_dvc = command == "the one of DVC"
    done = toy.stage("fetch", **variables) if by_dvc else toy.run(*command.split(), **variables)
    assert done.returncode == 0, done.stderr
    assert not (toy.path / "shadowed").exists()


def refusal_of(project: Project, main: Callable[[Run], ReceiptFields]) -> str:
    """Run the evaluate stage with another main function; it must fail and keep its receipt unchanged."""
    receipt = (project.path / "receipts/evaluate.json").read_bytes()
    said = refusal(project.here("evaluate", main))
    assert (project.path / "receipts/evaluate.json").read_bytes() == receipt
    return said


def test_temporarily_swapped_model_is_detected(project: Project) -> None:
    model = project.path / "models/model.safetensors"
    right = model.read_bytes()

    def main(run: Run) -> ReceiptFields:
        model.chmod(0o644)
        model.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
        try:
            return stages.evaluate.main(run)
        finally:
            model.write_bytes(right)

    assert "evaluate: models/model.safetensors: touched during the run" in refusal_of(project, main)


@pytest.mark.fault(59)
@pytest.mark.parametrize(
    ("act", "said"),
    [
        # As `git checkout metrics` does.
        (lambda: Path("metrics/eval.json").write_text("{}\n"), "metrics/eval.json: is not what the stage wrote"),
        (lambda: Path("plots/confusion.csv").unlink(), "plots/confusion.csv: is missing, which dvc.yaml lists"),
    ],
)
def test_output_changed_before_the_receipt_is_reported(project: Project, act: Callable[[], object], said: str) -> None:
    def main(run: Run) -> ReceiptFields:
        fields = stages.evaluate.main(run)
        act()
        return fields

    assert f"evaluate: {said}" in refusal_of(project, main)


def add_and_remove(project: Project) -> str:
    """A module that exists only while the stage imports it."""
    add_to_fetch(
        project,
        'brief = Path("src/mnist/fetch/brief.py")\nbrief.touch()\nimport src.mnist.fetch.brief\nbrief.unlink()',
    )
    return "src/mnist/fetch/brief.py"


def add_and_remove_by_others(project: Project) -> str:
    """The same, but other programs make and remove it."""
    path, run = "src/mnist/fetch/brief.py", "subprocess.run({!r}, check=True)"
    make, remove = (run.format([program, path]) for program in ("touch", "rm"))
    add_to_fetch(project, f"import subprocess\n{make}\nimport src.mnist.fetch.brief\n{remove}")
    return path


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
@pytest.mark.parametrize("act", [add_and_remove, add_and_remove_by_others, shadow, hide])
def test_unhashed_code_is_reported(toy: Project, act: Callable[[Project], str]) -> None:
    path = act(toy)
    said = refusal(toy.forked_stage("fetch"))
    assert f"fetch: {path}: stage fetch read it, but it is no input that was hashed" in said
