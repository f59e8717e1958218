import sys
from pathlib import Path

import pytest

from src.guard.opened import recording

pytestmark = pytest.mark.fault(49, 60)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a file in it and one in a folder that may be its environment."""
    for name in ("data/file", ".venv/lib/package.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened_by(action: object, root: Path) -> tuple[set[str], set[str]]:
    """Files that an action reads and writes."""
    with recording(root) as opened:
        action()  # type: ignore[operator]
        return set(opened.read), opened.written


def read_both() -> None:
    for name in ("data/file", ".venv/lib/package.py"):
        Path(name).read_text()
        Path(name).absolute().read_text()


def test_environment_files_are_not_recorded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened_by(read_both, project)[0] == {"data/file", ".venv/lib/package.py"}
    monkeypatch.setattr(sys, "prefix", f"{project}/.venv")
    assert opened_by(read_both, project)[0] == {"data/file"}
    assert opened_by(lambda: Path(sys.prefix, "../data/file").read_text(), project)[0] == {"data/file"}


def test_project_within_an_environment_is_recorded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in (project.parent, project):
        monkeypatch.setattr(sys, "prefix", str(prefix))
        assert "data/file" in opened_by(read_both, project)[0]


def test_copy_may_read_only_checkpoints_of_its_repository(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = project / ".dvc/tmp/exps/tmpabc"
    for name in ("logs/checkpoints/a", ".dvc/tmp/exps/tmpabc/data/file"):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text(name)
    monkeypatch.setattr(sys, "prefix", f"{project}/.venv")
    monkeypatch.chdir(copy)

    def act() -> None:
        for name in ("data/file", ".venv/lib/package.py", "logs/checkpoints/a"):
            (project / name).read_text()
        (project / "made").write_text("")
        Path("data/file").read_text()

    read = {"../../../../data/file", "data/file", "logs/checkpoints/a"}
    assert opened_by(act, copy) == (read, {"../../../../made"})


def test_imported_module_is_recorded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "lone_module.py").touch()
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def act() -> None:
        import lone_module  # type: ignore[import-not-found]  # noqa: F401

    assert opened_by(act, project)[0] == {"lone_module.py"}
    del sys.modules["lone_module"]


def test_reads_while_paused_or_afterwards_are_not_recorded(project: Path) -> None:
    with recording(project) as opened, opened.paused():
        Path("data/file").read_text()
    Path("data/file").read_text()
    assert not opened.read


def test_log_may_be_continued_but_not_read(project: Path) -> None:
    Path("logs").mkdir()
    Path("logs/log").write_text("before")

    def append(mode: str, path: str = "logs/log") -> None:
        with Path(path).open(mode) as file:
            file.write("more")

    def read_too() -> None:
        append("a")
        Path("logs/log").read_text()

    assert opened_by(lambda: append("a"), project) == (set(), {"logs/log"})
    assert opened_by(lambda: append("a+"), project) == ({"logs/log"}, {"logs/log"})
    assert opened_by(read_too, project) == ({"logs/log"}, {"logs/log"})
    assert opened_by(lambda: append("a", "data/file"), project) == ({"data/file"}, {"data/file"})
