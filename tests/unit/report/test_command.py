import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from src.report.checks import CHECKS
from src.report.command import judge, main
from src.report.finding import Level
from tests.unit.history import REPOSITORY, History
from tests.unit.report.attacks import worse


@pytest.mark.parametrize(("errors", "code"), [(120, 0), (300, 1)])
def test_pass_and_fail(history: History, errors: int, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    history.rerun(range(0, 10 * errors, 10))
    assert main(["main"]) == code
    outcome = {0: "pass", 1: "fail"}[code]
    assert (
        (history.path / "report/report.md")
        .read_text()
        .startswith(f"## {'✅' if code == 0 else '❌'} Metrics: {outcome}")
    )
    assert json.loads((history.path / "report/verdict.json").read_text())["outcome"] == outcome
    printed = capfd.readouterr().out
    assert f"Metrics: {outcome}" in printed.splitlines()[0]
    assert printed.splitlines()[-1] == "report/report.html"
    assert len(printed.splitlines()) == {0: 3, 1: 8}[code]
    assert (history.path / "report/report.html").read_text().startswith("<!DOCTYPE html>")
    assert "report" not in history.git("status", "--porcelain"), "the folder is ignored"


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["nonsense"],
            "nonsense: is not a revision in this clone; try `git fetch --tags origin",
        ),
        (["main", "--", "-x"], "-x: is not a revision in this clone"),
        ([""], "expected the name of a revision, such as main, got an empty string"),
        (["main", ""], "expected the name of a revision, such as main, got an empty string"),
    ],
)
def test_unknown_revision_is_rejected(words: list[str], complaint: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capfd.readouterr()
    assert printed.err.startswith(f"report: could not tell: {complaint}")
    assert printed.err.count("\n") == 1
    assert Path("report/report.md").read_text().startswith("## ❓ Metrics: could not tell")
    assert json.loads(Path("report/verdict.json").read_text())["outcome"] == "could not tell"


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock"])
@pytest.mark.parametrize("content", ["stages: [", "stages: {train: 7}"])
def test_unreadable_pipeline_is_reported(history: History, name: str, content: str) -> None:
    history.write(name, content)
    report = judge("main", None)
    assert report.level is Level.UNSURE
    assert f"{name} of working tree: " in str(report.verdict)


def test_failed_report_leaves_no_old_verdict(
    history: History, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["main"]) == 0

    def broken(*_: object) -> str:
        raise RecursionError("a defect of the report")

    monkeypatch.setattr("src.report.command.write_comment", broken)
    assert main(["main"]) == 2
    assert "## ❓ Metrics: could not tell" in (history.path / "report/report.md").read_text()
    assert "a defect of the report" in capfd.readouterr().err
    monkeypatch.setattr("src.report.command.render_page", broken)
    with pytest.raises(RecursionError):  # src.report.__main__ makes it exit code 2
        main(["main"])
    assert not list((history.path / "report").iterdir())


@pytest.mark.parametrize("is_worse", [False, True])
def test_broken_check_neither_passes_nor_hides_others(
    history: History, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], is_worse: bool
) -> None:
    def broken(_: object) -> None:
        raise IndexError("a defect of a check")

    if is_worse:
        worse(history)
    monkeypatch.setattr("src.report.checks.CHECKS", (broken, *CHECKS))
    assert main(["main"]) == (1 if is_worse else 2)
    assert "the check broken broke: IndexError" in Path("report/verdict.json").read_text()
    assert "a defect of a check" in capfd.readouterr().err


@pytest.mark.usefixtures("history")
def test_broken_report_does_not_pass(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_: object) -> None:
        raise IndexError("a defect of the report")

    monkeypatch.setattr("src.report.command.find", broken)
    assert main(["main"]) == 2
    assert "the report itself broke; see the traceback" in Path("report/verdict.json").read_text()
    assert "a defect of the report" in capfd.readouterr().err


@pytest.mark.usefixtures("history")
def test_report_times_out(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """This includes a process that blocks signals, and its children."""

    def deaf(*_: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        Path("started").write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        while True:
            signal.pause()

    monkeypatch.setattr("src.report.command.MAX_SECONDS", 1)
    monkeypatch.setattr("src.report.command.find", deaf)
    assert main(["main"]) == 2
    assert "could not tell: took more than 1 seconds" in capfd.readouterr().err
    assert "## ❓ Metrics: could not tell" in Path("report/report.md").read_text()
    state = Path("/proc", Path("started").read_text(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


@pytest.mark.usefixtures("history")
def test_report_ends_if_its_parent_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, started = os.pipe()

    def last(*_: object) -> None:
        os.write(started, str(os.getpid()).encode())
        while True:
            signal.pause()

    monkeypatch.setattr("src.report.command.MAX_SECONDS", 1)
    monkeypatch.setattr("src.report.command.find", last)
    starter = os.fork()
    if starter == 0:
        try:
            main(["main"])
        finally:
            os._exit(0)
    os.close(started)
    report = int(os.read(ends, 20))
    os.kill(starter, signal.SIGKILL)
    os.waitpid(starter, 0)
    if not select.select([ends], [], [], 60)[0]:
        os.kill(report, signal.SIGKILL)
        pytest.fail("it still runs")
    assert os.read(ends, 10) == b""
    os.close(ends)


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the report's process ended with -9"),
        (lambda: os._exit(7), "the report's process ended with 7"),
        (lambda: bytearray(600_000_000), "took more than 400,000,000 bytes of memory"),
    ],
)
def test_killed_report_does_not_pass(
    end: Callable[[], None], words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("src.report.checks.CHECKS", (lambda _: end(),))
    assert main(["main"]) == 2
    assert words in Path("report/verdict.json").read_text()
    assert "Traceback" not in capfd.readouterr().err


def words_to_run(*words: str, missing: Sequence[str] = (), first: str = "pass") -> list[str]:
    """Run the command in a separate process in which some packages cannot be imported."""
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({missing!r})); sys.path.insert(0, {str(REPOSITORY)!r}); "
        f"{first}; runpy.run_module('src.report', run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *words]


def run_module(
    history: History, *words: str, missing: Sequence[str] = (), **options: Any
) -> "subprocess.CompletedProcess[str]":
    command = words_to_run(*words, missing=missing)
    return subprocess.run(command, cwd=history.path, capture_output=True, text=True, **options)


def test_report_does_not_pass_if_the_parent_ignores_sigchld(history: History) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})

    done = run_module(history, "no-such-revision", "HEAD", preexec_fn=ignore)
    assert done.returncode == 2
    assert "no-such-revision: is not a revision" in done.stderr


def test_ascii_terminal_and_no_heavy_packages_are_sufficient(history: History) -> None:
    heavy = ("torch", "numpy", "pandas", "sklearn", "matplotlib", "PIL", "pytorch_lightning", "scipy", "dvc")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = run_module(history, "main", missing=heavy, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Metrics: pass" in done.stdout


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "| true; exit ${PIPESTATUS[0]}", "> /dev/full"])
def test_broken_streams_do_not_change_the_exit_code(history: History, closed: str) -> None:
    code = (
        f"import runpy, sys; sys.path[:1] = [{str(REPOSITORY)!r}]; runpy.run_module('src.report', run_name='__main__')"
    )
    command = ["bash", "-c", f'"$0" -u -c "$1" main {closed}', sys.executable, code]
    assert subprocess.run(command, cwd=history.path, capture_output=True).returncode == 0
    assert json.loads(Path("report/verdict.json").read_text())["outcome"] == "pass"


@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("report", lambda path: path.write_text("a file")),
        ("report", lambda path: path.symlink_to("src")),
        ("report/verdict.json", lambda path: path.mkdir(parents=True)),
    ],
)
def test_unwritable_report_is_not_a_fail(
    history: History, path: str, make: Callable[[Path], object], capfd: pytest.CaptureFixture[str]
) -> None:
    make(history.path / path)
    assert main(["main"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"report: could not tell: {path}: ")
    assert line.endswith("; move report away")


@pytest.mark.usefixtures("history")
def test_page_link_must_be_an_address(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["main", "--page", "https://example.org/1?x=2"]) == 0
    assert "[page with pictures](https://example.org/1?x=2)" in Path("report/report.md").read_text()
    for bad in ("javascript:x", "https://example.org/) evil", "https://{}"):
        with pytest.raises(SystemExit):
            main(["main", "--page", bad])
    capfd.readouterr()


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ("", "expected a folder of a git repository; "),
        ("sha256", "expected a git repository with SHA-1 names, got sha256, unknown to DVC; begin another with "),
    ],
)
def test_folder_without_a_dvc_repository_is_rejected(
    names: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if names:
        subprocess.run(["git", "init", "-q", f"--object-format={names}"], check=True)
    assert main(["main"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"report: could not tell: {tmp_path}: {complaint}")


def test_ctrl_c_ends_the_report_and_its_children(history: History) -> None:
    first = (
        "import signal, subprocess, src.report.command as report; "
        "report.find = lambda _: (print(subprocess.Popen(['sleep', '600']).pid, flush=True), signal.pause())"
    )
    command = words_to_run("main", first=first)
    with subprocess.Popen(command, cwd=history.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        started = Path("/proc", process.stdout.readline().decode().strip(), "stat")
        process.send_signal(signal.SIGINT)
        assert (*process.communicate(), process.returncode) == (b"", b"", 130)
    assert not started.exists() or started.read_text().split()[2] == "Z"


def test_installation_has_no_heavy_packages() -> None:
    wanted = (REPOSITORY / "requirements-report.txt").read_text()
    names = {line.split("==")[0] for line in wanted.splitlines() if "==" in line}
    assert names == {"markdown-it-py", "pathspec", "pydantic", "ruamel.yaml", "ruamel.yaml.clib"}


@pytest.mark.parametrize("base", ["$(shell touch pwned)", "`touch pwned`", '"; touch pwned; "', "$$(touch pwned)"])
def test_make_does_not_expand_the_name_of_the_base(tmp_path: Path, base: str) -> None:
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


def test_missing_packages_leave_no_old_verdict(history: History) -> None:
    history.write("report/report.md", "## ✅ Metrics: pass")
    done = run_module(history, "main", missing=["pydantic"])
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "the package pydantic is missing; run `source .venv/bin/activate`, or " in line
    assert not (history.path / "report/report.md").exists()
