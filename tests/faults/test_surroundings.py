"""Stages in other folders, with other Pythons and with other streams."""

import os
import shutil
import signal
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.faults.project import Project, refusal

INJECT = Path(__file__).parent / "inject"


@pytest.mark.fault(61)
def test_code_in_another_folder_is_rejected(toy: Project) -> None:
    other = toy.copy(toy.path.with_name("other"))
    (toy.path / "stages").rename(toy.path / "unused")
    (toy.path / "stages").symlink_to(other.path / "stages")
    assert refusal(toy.stage("check")).startswith(f"check: run it in {other.path}, where its code is")


@pytest.mark.fault(62)
def test_user_packages_are_not_imported(toy: Project, tmp_path: Path) -> None:
    # A Python that would import them, as outside of virtual environments.
    venv.create(tmp_path / "python", system_site_packages=True, symlinks=True)
    python = tmp_path / "python/bin/python"
    own = tmp_path / "python" / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (own / "packages.pth").write_text(sysconfig.get_path("purelib"))
    home = tmp_path / "home/.local" / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    home.mkdir(parents=True)
    (home / "usercustomize.py").write_text("import os\nos._exit(99)\n")
    assert toy.run(str(python), "-c", "", HOME=str(tmp_path / "home")).returncode == 99
    path = f"{python.parent}{os.pathsep}{toy.env['PATH']}"
    done = toy.stage("fetch", PATH=path, HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr


def python_without_packages(folder: Path) -> str:
    """A PATH whose `python` has no packages, as without an active environment."""
    folder.mkdir()
    (folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (folder / "python").chmod(0o755)
    return f"{folder}{os.pathsep}{os.defpath}"


@pytest.mark.fault(63)
def test_python_without_packages_is_reported_and_loses_no_results(toy: Project, tmp_path: Path) -> None:
    before, lock = toy.results(), toy.lock()
    toy.set(epochs=1)
    done = toy.dvc("repro", PATH=python_without_packages(tmp_path / "bin"))
    assert done.returncode != 0
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("check:")]
    assert "has no package " in line
    assert "`. .venv/bin/activate`" in line
    assert "Traceback" not in done.stderr
    assert (toy.results(), toy.lock()) == (before, lock)


@pytest.mark.fault(63)
def test_missing_package_is_reported(toy: Project) -> None:
    toy.append("requirements.txt", "no-such-package==1\n")
    said = "has no package no-such-package; DVC runs the `python` that is first on PATH"
    assert said in refusal(toy.here("check"))


# The second case is what dvc turns closed streams into.
@pytest.mark.fault(65)
@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "1</dev/null 2</dev/null"])
def test_closed_streams_do_not_break_a_stage(toy: Project, streams: str) -> None:
    toy.append("stages/fetch.py", '\nprint("written at once", flush=True)\n')
    done = toy.run("sh", "-c", f"exec python -I stages/__main__.py fetch {streams}")
    assert done.returncode == 0
    assert (toy.path / "logs/fetch.lock").read_text().isdecimal()


# DVC wraps the streams when it is imported.
@pytest.mark.fault(65)
@pytest.mark.parametrize("first", ["sys", "dvc.repo"])
def test_unprintable_characters_are_escaped(toy: Project, first: str) -> None:
    code = r"import sys; sys.path[:0] = '.'; from src.core.process import *; prepare_process(); print('\u2026\udcff')"
    done = toy.run("python", "-c", f"import {first}; {code}", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout) == (0, "\\u2026\\udcff\n")


@pytest.mark.fault(50)
def test_matplotlib_settings_have_no_effect(toy: Project) -> None:
    code = (
        "import matplotlib\nfrom src.core.png import png_figure\n"
        "with png_figure(Path('logs/x.png'), 1, 1):\n    print(matplotlib.rcParams['lines.linewidth'], 'points')"
    )
    toy.edit("stages/fetch.py", "\nSTAGE", f"\n{code}\n\nSTAGE")
    # A missing backend, and an undeclared file next to dvc.yaml.
    (toy.path / "matplotlibrc").write_text("lines.linewidth: 7\n")
    done = toy.stage("fetch", MPLBACKEND="Qt4Agg")
    assert done.returncode == 0, done.stderr
    assert "1.5 points" in done.stdout


@pytest.mark.fault(66)
def test_early_ctrl_c_gives_no_traceback(toy: Project) -> None:
    path = f"{INJECT}{os.pathsep}{toy.env['PATH']}"
    kill = "fetch,SIGINT,open,src/guard/signals.py,0,0"
    done = toy.run("python", "-I", "stages/__main__.py", "fetch", PATH=path, REAL_PYTHON=sys.executable, KILL_AT=kill)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.fault(96)
def test_project_without_git_runs_after_git_init(folder: Project) -> None:
    shutil.rmtree(folder.path / ".git")
    shutil.rmtree(folder.path / "made")
    assert folder.dvc("repro").returncode != 0
    assert folder.run("sh", "-c", "git init && git add --all && git commit --message start").returncode == 0
    folder.repro()
    assert (folder.path / "made/one").exists()
