"""Installation: the lock files match the lists that they are made from."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import install
from tests.conftest import REPOSITORY
from tests.faults.project import wait_for

LISTS = ["requirements", "requirements-report", "requirements-dev"]


def pins(text: str) -> dict[str, str]:
    """Version of each package, by its normalized name."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def locked(name: str) -> dict[str, str]:
    return pins((REPOSITORY / f"{name}.lock").read_text())


def listed(name: str) -> dict[str, str]:
    text = (REPOSITORY / f"{name}.txt").read_text()
    included = re.findall(r"^-r (.+)\.txt$", text, re.MULTILINE)
    return pins(text) | {package: version for other in included for package, version in listed(other).items()}


@pytest.mark.parametrize("name", LISTS)
def test_requirements_have_exact_pins_and_hashed_locks(name: str) -> None:
    lines = (REPOSITORY / f"{name}.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|-r \S+|[\w.-]+==[\w.]+", line)] == []
    assert listed(name).items() <= locked(name).items() <= locked("requirements-dev").items(), "run `make lock`"
    packages = re.sub(r"\\\n|^#.*\n", "", (REPOSITORY / f"{name}.lock").read_text(), flags=re.MULTILINE).splitlines()
    assert len(packages) == len(locked(name))
    # Neither an index nor a URL, and a hash for each package.
    assert [line for line in packages if not re.fullmatch(r"[^:]+==[^:]+(?: +--hash=sha256:[0-9a-f]{64})+", line)] == []


def test_report_imports_only_locked_packages() -> None:
    code = """
import pkgutil, sys
from importlib import import_module
from importlib.metadata import packages_distributions
at_start = set(sys.modules)
import src.report
for module in pkgutil.iter_modules(src.report.__path__, "src.report."):
    if not module.name.endswith("__main__"):
        import_module(module.name)
found = packages_distributions()
print(*{name for module in sys.modules.keys() - at_start for name in found.get(module.partition(".")[0], [])})
"""
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True)
    imported = {re.sub(r"[-_.]+", "-", name).lower() for name in printed.split()}
    assert {"pathspec", "markdown-it-py"} <= imported
    assert imported <= locked("requirements-report").keys()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose pip only prints its location, so that nothing is installed or looked up."""
    folder = tmp_path / "one's" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = folder / "bin" / "pip"
    pip.write_text(f'#!{folder}/bin/python\nprint("pip 1.0 from {folder}/lib")\n')
    pip.chmod(0o755)
    use(folder, monkeypatch)
    return folder


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "ENVIRONMENT", folder)
    monkeypatch.setattr(install, "UNFINISHED", folder / "unfinished")


@pytest.mark.parametrize("damage", ["none", "no pip", "no python", "unfinished", "made elsewhere", "copied"])
def test_incomplete_or_moved_environment_is_detected(
    damage: str, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = environment.parent.with_name("other")
    if damage.startswith("no "):
        (environment / "bin" / damage.removeprefix("no ")).unlink()
    elif damage == "unfinished":
        (environment / "unfinished").touch()
    elif damage == "made elsewhere":
        environment.parent.rename(other)
        use(other / ".venv", monkeypatch)
    elif damage == "copied":
        shutil.copytree(environment, other / ".venv", symlinks=True)
        use(other / ".venv", monkeypatch)
    assert install.is_whole() is (damage == "none")


def test_make_reinstalls_in_a_renamed_project_and_without_its_python(environment: Path) -> None:
    project = environment.parent
    # The installation is replaced by a message; the Makefile's own rules decide when it runs.
    makefile = (REPOSITORY / "Makefile").read_text().replace("$(PYTHON) install.py", "echo installed by $(PYTHON):")
    (project / "Makefile").write_text(makefile + "probe: $(VENV)/installed\n")
    (project / "requirements.lock").write_text("")

    def probe(folder: Path) -> str:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.check_output(["make", "-C", folder, "--no-print-directory", "probe"], text=True, env=outside)

    done = "installed by .venv/bin/python: requirements.lock\n"
    assert probe(project) == done
    assert "installed" not in probe(project)
    renamed = project.rename(project.with_name("renamed"))
    assert probe(renamed) == done
    (renamed / ".venv/bin/pip").write_text(f"#!{renamed}/.venv/bin/python")
    assert "installed" not in probe(renamed)
    for python in renamed.glob(".venv/bin/python*"):
        python.unlink()
        python.symlink_to("/nowhere/python")
    assert probe(renamed) == f"installed by {shutil.which('python3')}: requirements.lock\n"


@pytest.mark.fault(50)
def test_make_unsets_variables_that_break_commands(tmp_path: Path) -> None:
    (tmp_path / "probe.mk").write_text(
        "probe:\n\t@python -c 'import src.core.errors, sys; sys.exit(sys.flags.optimize)'\n"
    )
    variables = dict.fromkeys(("PYTHONHOME", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONSAFEPATH"), "1")
    done = subprocess.run(
        ["make", "--silent", "-f", "Makefile", "-f", tmp_path / "probe.mk", "probe"],
        cwd=REPOSITORY,
        env={**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("content", ["another project's", "nothing", "missing"])
def test_link_targets_are_not_deleted(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, link = tmp_path / "shared", tmp_path / "project/.venv"
    link.parent.mkdir()
    link.symlink_to(shared)
    if content != "missing":
        shared.mkdir()
    if content == "another project's":
        (shared / "bin").mkdir()
    use(link, monkeypatch)
    monkeypatch.setattr(install.venv, "create", lambda *_, **__: pytest.fail("it would be emptied"))
    if content == "nothing":
        install.refuse_to_empty_a_link()
    else:
        with pytest.raises(SystemExit, match=r"^install: \.venv is a symbolic link to [^\n]*; remove the link"):
            install.main(tmp_path / "requirements.lock")
    assert link.is_symlink()
    assert [path.name for path in shared.glob("*")] == ["bin"] * (content == "another project's")


def test_only_a_failed_installation_invalidates_the_environment(environment: Path) -> None:
    packages = next(environment.glob("lib/python*/site-packages"))
    made = packages.stat().st_mtime
    install.UNFINISHED.touch()
    os.utime(install.UNFINISHED, (made, made))
    assert install.is_unchanged()
    (packages / "half").mkdir()
    os.utime(packages, (made + 1, made + 1))
    assert not install.is_unchanged()


@pytest.mark.usefixtures("environment")
def test_installation_locks_files_as_nfs_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.fcntl, "flock", fcntl.lockf)
    monkeypatch.setattr(install, "install", lambda _: True)
    assert install.main(Path("requirements.lock")) == 0


def test_pip_that_installs_for_the_user_is_overruled(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = environment / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (own / "packages.pth").write_text(sysconfig.get_path("purelib"))
    monkeypatch.setattr(install, "TOOLS", ())
    monkeypatch.setattr(install, "pip_has_its_own_index", lambda: True)
    monkeypatch.setenv("PIP_USER", "1")
    (tmp_path / "empty.lock").touch()
    assert install.install(tmp_path / "empty.lock")


@pytest.mark.parametrize(
    ("version", "is_known"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 14, 9), True), ((3, 15, 0), False)]
)
def test_other_pythons_are_rejected_in_one_line(version: tuple[int, int, int], is_known: bool) -> None:
    code = f"import runpy, sys; sys.version_info = {version}; runpy.run_path('install.py')"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is is_known
    assert is_known or re.fullmatch(r"Python 3\.11 to 3\.14 is needed, this is .*; use: make repro .*\n", done.stderr)


def test_folder_with_a_colon_is_rejected_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path / "12:30/.venv", monkeypatch)
    with pytest.raises(SystemExit, match=r"^install: .*12:30[^\n]*; move the project to another folder$"):
        install.main(tmp_path / "requirements.lock")


def test_interrupted_installation_ends_without_a_traceback(tmp_path: Path) -> None:
    script = Path(shutil.copy(REPOSITORY / "install.py", tmp_path))
    with script.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = subprocess.Popen([sys.executable, script, "any.lock"], stderr=subprocess.PIPE, text=True)
        wait_for(lambda: f" {process.pid} " in Path("/proc/locks").read_text(), "its wait for the other installation")
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1] == ""
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("tool", install.TOOLS)
def test_tools_are_locked(tool: str) -> None:
    assert re.fullmatch(rf"{tool}==\S+ \\\n( +--hash=sha256:[0-9a-f]{{64}}( \\)?\n)+", install.locked(tool))


def test_pip_is_used_if_only_pip_has_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_NO_INDEX", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    use(Path(sys.prefix), monkeypatch)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert not install.pip_has_its_own_index()
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere")
    assert install.pip_has_its_own_index()
    monkeypatch.setenv("UV_DEFAULT_INDEX", "file:///nowhere")
    assert not install.pip_has_its_own_index()
