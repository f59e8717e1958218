import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from src.core.process import prepare_process
from tests.conftest import REPOSITORY
from tests.faults.project import Project

PROGRAM = """
import os, signal, subprocess, sys
{first}
print(subprocess.run([sys.executable, "-SIc", "raise SystemExit(3)"]).returncode, flush=True)
os.kill(os.getpid(), signal.SIGTERM)
print("alive")
"""

LEAVING = """
import os, signal, sys, tempfile
from src.core.process import prepare_process
prepare_process()
with tempfile.TemporaryDirectory(dir=sys.argv[1]):
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])
    print("alive")
"""


def ignore_and_block() -> None:
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def run(first: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(first=first)]
    return subprocess.run(
        command,
        preexec_fn=ignore_and_block,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.fault(91)
def test_ignored_and_blocked_signals_are_restored() -> None:
    # The behaviour without it.
    assert run("").stdout == "0\nalive\n"
    done = run("from src.core.process import prepare_process; prepare_process()")
    assert (done.stdout, done.returncode) == ("3\n", 128 + signal.SIGTERM)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signal_ends_a_command_without_leftovers(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVING, tmp_path, name], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.Signals[name], "", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.fault(84)
def test_user_without_a_name_can_open_a_dvc_repository(reproduced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    # OSError since Python 3.13.
    with pytest.raises((KeyError, OSError)), Repo(str(reproduced.path)) as repo:
        assert repo.site_cache_dir
    # Registered with the fixture, so that it is gone after the test.
    monkeypatch.setenv("USER", "")
    prepare_process()
    assert os.environ["USER"] == str(os.getuid())
    with Repo(str(reproduced.path)) as repo:
        assert repo.site_cache_dir


@pytest.mark.fault(84)
def test_existing_user_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setenv("USER", "else")
    prepare_process()
    assert os.environ["USER"] == "else"


def test_unexpected_arguments_are_rejected() -> None:
    command = [sys.executable, "-m", "src.mnist.evaluate.summary", "main"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert not done.stdout
    assert "python -m src.mnist.evaluate.summary: error: unrecognized arguments: main" in done.stderr
