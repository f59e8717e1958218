import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.fault(91)

PROGRAM = """
import os, signal, subprocess, sys
{first}
print(subprocess.run([sys.executable, "-SIc", "raise SystemExit(3)"]).returncode, flush=True)
os.kill(os.getpid(), signal.SIGTERM)
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


def test_exit_codes_and_signals_arrive_whatever_the_parent_ignores_and_blocks() -> None:
    # What a program meets without it.
    assert run("").stdout == "0\nalive\n"
    done = run("from src.core.signals import restore_signals; restore_signals()")
    assert (done.stdout, done.returncode) == ("3\n", -signal.SIGTERM)
