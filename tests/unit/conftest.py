import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.history import History
from tests.unit.server import Answer, Server

if TYPE_CHECKING:
    from src.mnist.model.params import Params
    from tests.unit.trainings import Trainings


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
def few(few_digits: Path, tmp_path: Path, params: "Params") -> "Trainings":
    """Trainings of a tiny network on the first digits."""
    from tests.unit.trainings import TINY, Trainings

    return Trainings(tmp_path, few_digits, params.model_copy(update={"architecture": TINY}))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without drawing, which takes as long as a small training; the history has the same values."""
    from src.mnist.train import learning_curve

    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda _, path: path.touch())


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Server]]:
    """Start servers that answer in a certain way."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


@pytest.fixture
def server(serve: Callable[[Answer], Server]) -> Iterator[Server]:
    """A server with excellent metrics, which nobody may contact."""
    metrics = b'{"test_acc": 0.9999, "test_f1": 0.9999}'
    server = serve(lambda request: request.reply(metrics, len(metrics)))
    yield server
    assert server.requested == [], "somebody was contacted"
