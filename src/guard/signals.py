"""Makes signals end a stage, even if a library is busy, and never with success."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-C, a request to terminate, a closed terminal, and warnings of batch systems before they kill a job.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Timeout for the main thread to unwind.
GRACE_SECONDS = 3.0


@contextmanager
def ending_on_signals(message: str) -> Iterator[list[int]]:
    """Convert signals to SystemExit with code 128 + number within the context.

    Python runs handlers in the main thread, between two of its instructions. While a library is busy, no handler runs,
    so a second thread ends the process if the main thread has not done so in time. Nothing is lost, since file writes
    are atomic.

    Args:
        message: Message that the second thread prints; nothing if empty.

    Yields:
        The signals received so far; the list grows.
    """
    received: list[int] = []
    ended = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def unwind(number: int, _: FrameType | None) -> None:
        received.append(number)
        # Further signals, such as a second Ctrl-C, must not interrupt the cleanup.
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    def end_by_force() -> None:
        with os.fdopen(reader, "rb", buffering=0) as wakeups:
            while (wakeup := wakeups.read(1)) and wakeup[0] not in caught:
                continue
            # The pipe stays open, since Python writes every signal to it.
            if wakeup and not ended.wait(GRACE_SECONDS):
                # Not `print`, because the main thread may hold its lock.
                os.write(2, f"{message}\n".encode() if message else b"")
                os._exit(128 + wakeup[0])

    # A background program of a script ignores Ctrl-C, and a program under nohup ignores a closed terminal.
    caught = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in caught:
        signal.signal(number, unwind)
    threading.Thread(target=end_by_force, daemon=True).start()
    try:
        yield received
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous)
        ended.set()
        os.close(writer)
