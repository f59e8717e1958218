import hashlib
import multiprocessing
import multiprocessing.process
import os
import signal
import threading

import pytest

from src.guard import signals
from src.guard.signals import SIGNALS, ending_on_signals

pytestmark = pytest.mark.fault(51, 56)

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.1)


def exit_code(process: multiprocessing.process.BaseProcess) -> int | None:
    """Exit code of a process, which is killed if it keeps spinning."""
    process.start()
    process.join(20)
    try:
        return process.exitcode
    finally:
        process.kill()


def spin(number: int) -> None:
    """A busy main thread that no Python handler can interrupt, and a signal."""
    with ending_on_signals("stopped"):
        threading.Timer(0.02, os.kill, (os.getpid(), number)).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


# Repeated here, so that the test notices a missing signal.
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_signal_ends_a_process_with_a_busy_main_thread(name: str) -> None:
    number = signal.Signals[name]
    assert exit_code(FORK.Process(target=spin, args=(number,))) == 128 + number


def spin_briefly() -> None:
    """The same, but many signals arrive before the main thread continues."""

    def signal_often() -> None:
        for _ in range(100_000):
            os.kill(os.getpid(), signal.SIGTERM)

    with ending_on_signals("stopped"):
        sender = threading.Timer(0.02, signal_often)
        sender.start()
        try:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 3_000_000)
        finally:
            # Afterwards, signals have their usual effect again.
            sender.join()


def test_repeated_signals_print_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(signals, "GRACE_SECONDS", 20)
    assert exit_code(FORK.Process(target=spin_briefly)) == 128 + signal.SIGTERM
    assert capfd.readouterr().err == ""


def swallow() -> None:
    with ending_on_signals("stopped"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def test_swallowed_exit_still_ends_the_process() -> None:
    assert exit_code(FORK.Process(target=swallow)) == 128 + signal.SIGTERM


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_on_signals("stopped") as received:
            os.kill(os.getpid(), signal.SIGHUP)
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(SystemExit, match="143"), ending_on_signals("stopped") as received:
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in SIGNALS] == before
