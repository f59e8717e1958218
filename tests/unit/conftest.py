import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.history import History
from tests.unit.server import Server


@pytest.fixture(scope="session")
def _base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    history = History.begin(tmp_path_factory.mktemp("history"))
    # Every test then copies one file instead of hundreds.
    history.git("gc", "--quiet")
    return history.path


@pytest.fixture
def history(_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """A fresh copy of a repository with one revision, main, of 120 errors; the current directory is in it."""
    shutil.copytree(_base, tmp_path / "clone", symlinks=True)
    monkeypatch.chdir(tmp_path / "clone")
    return History(tmp_path / "clone")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without drawing, which takes as long as a small training; the history has the same values."""
    from src.mnist.train import learning_curve

    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda _, path: path.touch())


@pytest.fixture(scope="module")
def _server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture
def server(_server: Server) -> Iterator[Server]:
    yield _server
    contacts = list(_server.contacts)
    _server.contacts.clear()
    assert contacts == [], "somebody was contacted"
