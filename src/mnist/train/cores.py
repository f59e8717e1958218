"""Sharing of cores with other trainings and other programs, so that they slow a training down less.

A step has some sixty operators, each of which waits for all its threads. If another training occupies a core, every
one of these waits may take a time slice of the scheduler. With turns, one training computes for a second at full speed,
then the other does. Beside another program, the system may put two threads on one core, where the one that waits for
the other takes the time that the other needs, unless each is bound to a core of its own.
"""

import ctypes
import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback

from src.core.lease import LEASES, Lease

POLL_SECONDS = 0.001
# At least; a turn ends with a call of several batches, which takes a tenth of a second with a small network and over a
# second with a large one. If each call were a turn, the small one would wait ten times as long as it computes.
TURN_SECONDS = 1.0
# Many turns. A training that holds the cores for longer is suspended, or is confined to other cores and waits in a
# different queue.
PATIENCE_SECONDS = 30.0


class Cores(Callback):
    """Binds threads to cores, and leases a core per thread for the calls of several batches, also in validation.

    Threads are bound only if there are as many as cores; otherwise, the system moves them to idle cores. Waiting
    trainings queue, so that none gets two turns while another waits.
    """

    def __init__(self, threads: int, cores: Collection[int], folder: Path = LEASES) -> None:
        """Use these of the system's cores, with lease files in `folder`."""
        self.cores = sorted(cores)
        self.is_bound = threads == len(cores)
        self.needed = min(threads, len(cores))
        self.leases: list[Lease] = []
        # On the clock of `time.monotonic`; None between turns.
        self.started: float | None = None
        # None: this training takes no turns.
        self.line: Lease | None = None
        try:
            self.leases = [Lease(f"core-{core}", folder) for core in self.cores]
            # Trainings confined to other cores have a separate queue.
            self.line = Lease(f"cores-{sum(1 << core for core in cores):x}", folder)
        except OSError:
            self.leases = []

    def on_fit_start(self, *_: Any) -> None:
        """Bind the threads."""
        if self.is_bound:
            _set_affinity([{core} for core in self.cores])

    def take(self, *_: Any) -> None:
        """Wait for this training's turn, unless it lasts; after PATIENCE_SECONDS, continue without turns."""
        if self.started is not None:
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.line is not None:
            try:
                is_mine = self.line.take() and self._take_cores()
            except OSError:
                # A file system without locks.
                self.line, self.leases = None, []
                return
            if is_mine:
                self.line.give()
                self.started = time.monotonic()
                return
            if time.monotonic() > deadline:
                self.line.give()
                self.line = None
            time.sleep(POLL_SECONDS)

    def give_if_over(self, *_: Any) -> None:
        """End the turn if it took TURN_SECONDS."""
        if self.started is not None and time.monotonic() - self.started >= TURN_SECONDS:
            self.give()

    def give(self, *_: Any) -> None:
        """End the turn."""
        self.started = None
        for lease in self.leases:
            lease.give()

    def release(self, *_: Any) -> None:
        """End the turn and the binding; the process may go on to something else, as in a notebook."""
        self.give()
        if self.is_bound:
            _set_affinity([self.cores] * len(self.cores))

    # Lightning's hooks. What Lightning calls a training batch is a call of several batches here.
    on_train_batch_start = on_validation_batch_start = take  # type: ignore[assignment]
    on_train_batch_end = on_validation_batch_end = give_if_over  # type: ignore[assignment]
    on_fit_end = on_exception = release  # type: ignore[assignment]

    def _take_cores(self) -> bool:
        """Take as many cores as needed, or none."""
        taken = 0
        for lease in self.leases:
            taken += lease.take()
            if taken == self.needed:
                return True
        self.give()
        return False


def _set_affinity(cores: Sequence[Collection[int]]) -> None:
    """Let each thread with which this one computes use the given cores; without GNU's OpenMP, do nothing."""
    # The program with all that it has loaded.
    openmp = ctypes.CDLL(None)
    if not hasattr(openmp, "GOMP_parallel"):
        return

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def of_this_thread(_: object) -> None:
        # A container may have lost the core.
        with suppress(OSError):
            os.sched_setaffinity(0, cores[openmp.omp_get_thread_num()])

    # What a compiler makes of `#pragma omp parallel`.
    openmp.GOMP_parallel(of_this_thread, None, len(cores), 0)
