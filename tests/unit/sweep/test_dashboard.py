"""The dashboard on a study."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import optuna
import pytest

from src.sweep.dashboard import main
from src.sweep.study import DATABASE
from tests.conftest import REPOSITORY
from tests.faults.project import called, refusal

COMMAND = [sys.executable, "-m", "src.sweep.dashboard"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, in the current directory."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STORAGE", raising=False)
    return tmp_path


def test_two_dashboards_show_the_study_until_ctrl_c(repository: Path) -> None:
    database = repository / DATABASE
    database.parent.mkdir(parents=True)
    optuna.create_study(storage=f"sqlite:///{database}", study_name="sweep-1")
    # The second finds the first one's port in use.
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    started = [
        subprocess.Popen(COMMAND, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in started:
        assert process.stdout
        address = re.match(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert address
        with urlopen(f"{address[0]}api/studies") as answer:
            assert '"study_name": "sweep-1"' in answer.read().decode()
    for process in started:
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.communicate()[1]
        assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("", "logs/sweep/optuna.db: is missing; `make sweep` writes it"),
        ("nonsense", "STORAGE: expected sqlite:////ABSOLUTE/PATH or postgresql.*, got nonsense; .*"),
        ("postgresql+psycopg://user:secret@127.0.0.1:1/x", "STORAGE: the database cannot be used: .*refused.*"),
        ("sqlite:////proc/none/x.db", "STORAGE: the database cannot be used: unable to open database file; .*"),
    ],
)
@pytest.mark.usefixtures("repository")
def test_unusable_database_is_one_line_without_password(
    monkeypatch: pytest.MonkeyPatch, storage: str, said: str
) -> None:
    monkeypatch.setenv("STORAGE", storage)
    printed = refusal(called(main))
    assert re.fullmatch(f"dashboard: {said}\n", printed)
    assert "secret" not in printed
