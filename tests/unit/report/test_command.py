import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.report.command import main
from tests.unit.history import REPOSITORY, History


@pytest.mark.parametrize(("errors", "code"), [(120, 0), (300, 1)])
def test_pass_and_fail(history: History, errors: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    history.write_results(range(0, 10 * errors, 10))
    history.relock()
    assert main(["main"]) == code
    printed = capsys.readouterr()
    assert printed.out == (history.path / "report/report.md").read_text()
    assert (history.path / "report/report.html").read_text().startswith("<!DOCTYPE html>")
    assert "report" not in history.git("status", "--porcelain"), "the folder is ignored"


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["nonsense"],
            "nonsense: is not a revision in this clone; try `git fetch`, or origin/nonsense for a branch",
        ),
        (["main", "--", "-x"], "-x: is not a revision in this clone"),
        (["main", "../../etc"], "../../etc: is not a revision in this clone"),
        ([""], "expected the name of a revision, got an empty string"),
        (["main", ""], "expected the name of a revision, got an empty string"),
    ],
)
def test_a_name_that_is_not_a_revision(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"report: {complaint}")
    assert printed.err.count("\n") == 1
    assert "### ❓ Could not tell" in printed.out


@pytest.mark.parametrize("object_name", ["main:params.yaml", "main:src", "main^{tree}"])
def test_an_object_that_is_not_a_commit(history: History, object_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (object_name, history.git("rev-parse", object_name)):
        assert main([name]) == 2
        assert capsys.readouterr().err.startswith(f"report: {name}: is not a revision in this clone")


def test_any_name_of_a_commit(history: History) -> None:
    history.git("tag", "-a", "-m", "annotated", "v1")
    for name in ("v1", "HEAD", history.git("rev-parse", "--short", "main"), "main@{0}", ":/base"):
        assert main([name]) == 0, name


def test_no_policy(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    history.git("rm", "-q", "metrics_policy.yaml")
    history.git("commit", "-qm", "none")
    assert main(["HEAD"]) == 2
    assert "metrics_policy.yaml: is missing in HEAD and in working tree" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock"])
@pytest.mark.parametrize("content", ["stages: [", "stages: {train: 7}", "\tx"])
def test_a_pipeline_that_cannot_be_read(
    history: History, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    history.write(name, content)
    history.commit("broken")
    assert main(["main~1", "main"]) == 2
    assert capsys.readouterr().err.startswith(f"report: {name} of main: ")


def test_a_report_that_breaks_leaves_no_old_verdict(
    history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["main"]) == 0

    def broken(*_: object) -> str:
        raise RecursionError("a defect of the report")

    monkeypatch.setattr("src.report.command.compare", broken)
    assert main(["main"]) == 2
    assert "### ❓ Could not tell" in (history.path / "report/report.md").read_text()
    assert "a defect of the report" in capsys.readouterr().err
    monkeypatch.setattr("src.report.command.render_markdown", broken)
    assert main(["main"]) == 2
    assert not (history.path / "report/report.md").exists()
    assert not (history.path / "report/report.html").exists()


def endless(*_: object) -> None:
    while True:
        pass


def test_a_branch_that_takes_too_long_is_given_up(
    history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("src.report.command.MAX_SECONDS", 1)
    monkeypatch.setattr("src.report.command.compare", endless)
    assert main(["main"]) == 2
    assert "report: took more than 1 seconds" in capsys.readouterr().err
    assert "### ❓ Could not tell" in (history.path / "report/report.md").read_text()


def test_a_part_that_takes_too_long_does_not_pass_for_an_unreadable_file(
    history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("src.report.command.MAX_SECONDS", 1)
    monkeypatch.setattr("src.report.compare.compare_behaviour", endless)
    history.write_results(range(0, 1000, 10))
    history.relock()
    assert main(["main"]) == 2
    assert "report: took more than 1 seconds" in capsys.readouterr().err


def test_outside_a_repository(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert main(["main"]) == 2


def test_the_command_imports_no_training_package(history: History) -> None:
    """Run in a process of its own; the heavy packages may not even be imported."""
    heavy = ["torch", "numpy", "pandas", "sklearn", "matplotlib", "PIL", "pytorch_lightning", "scipy", "dvc"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({heavy})); "  # None makes an import of it fail
        f"import runpy; sys.argv = ['report', 'main']; sys.path.insert(0, {str(REPOSITORY)!r}); "
        "runpy.run_module('src.report', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=history.path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "### ✅ Pass" in done.stdout


def test_the_installation_brings_no_heavy_package() -> None:
    wanted = (REPOSITORY / "requirements-report.txt").read_text()
    names = {line.split("==")[0] for line in wanted.splitlines() if "==" in line}
    assert names == {"markdown-it-py", "pathspec", "psutil", "pydantic", "ruamel.yaml", "vl-convert-python"}


@pytest.mark.parametrize("base", ["$(shell touch pwned)", "`touch pwned`", '"; touch pwned; "', "$$(touch pwned)"])
def test_make_expands_nothing_in_the_name_of_a_base(tmp_path: Path, base: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    recipe = "\n".join(line for line in makefile.splitlines() if "BASE" in line)
    (tmp_path / "Makefile").write_text(recipe.replace(": $(VENV)/installed-report", ":").replace("python -m", "echo"))
    # The suite may itself be run by make, which tells a make within of it.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for command, environment in ((["make", "report", f"BASE={base}"], {}), (["make", "report"], {"BASE": base})):
        done = subprocess.run(
            command, cwd=tmp_path, env={**outside, **environment}, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"src.report {base}\n"
    assert not (tmp_path / "pwned").exists()


def test_a_report_whose_packages_are_missing_leaves_no_old_verdict(history: History) -> None:
    old = history.path / "report/report.md"
    old.parent.mkdir(exist_ok=True)
    old.write_text("### ✅ Pass")
    code = (
        "import runpy, sys; sys.modules['pydantic'] = None; "
        f"sys.path.insert(0, {str(REPOSITORY)!r}); runpy.run_module('src.report', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=history.path, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "the package pydantic is missing; run `make report` once" in line
    assert not old.exists()
