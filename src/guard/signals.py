"""Makes a signal end a stage, even one that is busy inside a library, and never with success."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-C, a request to end, a closed terminal, and what batch systems send before they take the machine away.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# How long the main thread may take to unwind.
GRACE_SECONDS = 3.0


@contextmanager
def ending_on_signals(message: str) -> Iterator[list[int]]:
    """While active, turn signals into SystemExit with code 128 + number.

    Python runs handlers in the main thread, between two of its instructions. While a library spins, no handler runs, so
    a thread ends the process if the main thread has not done so in time. Nothing is lost: file writes are atomic.

    Args:
        message: What that thread prints; nothing if empty.

    Yields:
        The signals received so far; the list grows.
    """
    received: list[int] = []
    ended = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def unwind(number: int, _: FrameType | None) -> None:
        received.append(number)
        # Whatever else comes, such as a second Ctrl-C, must not cut short what this one lets end.
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    def end_by_force() -> None:
        with os.fdopen(reader, "rb", buffering=0) as wakeups:
            while (wakeup := wakeups.read(1)) and wakeup[0] not in caught:
                continue
        if wakeup and not ended.wait(GRACE_SECONDS):
            # Not with print, whose lock the main thread may hold.
            os.write(2, f"{message}\n".encode() if message else b"")
            os._exit(128 + wakeup[0])

    # A program started in the background of a script ignores Ctrl-C; one started by nohup ignores a closed terminal.
    caught = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in caught:
        signal.signal(number, unwind)
    threading.Thread(target=end_by_force, daemon=True).start()
    try:
        yield received
    finally:
        ended.set()
        for number, handler in caught.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous)
        os.close(writer)
