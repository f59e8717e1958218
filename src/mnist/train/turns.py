"""Trainings that share cores compute in turns: side by side, each of their operators would wait for the other's.

A step has some sixty operators, and each waits until all its threads are done. If another training occupies a core,
every one of these waits may take a time slice of the scheduler. So a training computes several batches at full speed,
then the other does.
"""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback

from src.core.lease import LEASES, Lease

POLL_SECONDS = 0.001
# Several times what a training waits for: a turn takes a tenth of a second, with the larger network more than one.
# Whoever has the turn for longer has been suspended, or is confined to other cores and stands in another line.
PATIENCE_SECONDS = 10.0


class Turns(Callback):
    """Leases as many cores as there are threads for each call of several batches, in training and validation.

    Waiting trainings stand in line, so that none comes twice before another has had its turn.
    """

    def __init__(self, threads: int, cores: Collection[int], folder: Path = LEASES) -> None:
        """Take turns on these of the system's cores; their files are in the folder."""
        self.needed = min(threads, len(cores))
        self.cores: list[Lease] = []
        # None: this training takes no turns.
        self.line: Lease | None = None
        try:
            self.cores = [Lease(f"core-{core}", folder) for core in sorted(cores)]
            # Trainings confined to other cores have a line of their own.
            self.line = Lease(f"cores-{sum(1 << core for core in cores):x}", folder)
        except OSError:
            self.cores = []

    def take(self, *_: Any) -> None:
        """Wait for this training's turn; after PATIENCE_SECONDS, go on without turns."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.line is not None:
            if self.line.take() and self._take_cores():
                self.line.give()
                return
            if time.monotonic() > deadline:
                self.line.give()
                self.line = None
            time.sleep(POLL_SECONDS)

    def give(self, *_: Any) -> None:
        """End the turn."""
        for core in self.cores:
            core.give()

    # Lightning's names. A training batch is here a call of several batches.
    on_train_batch_start = on_validation_batch_start = take  # type: ignore[assignment]
    # A training that fails within a call may be one of several in its process, as in a notebook.
    on_train_batch_end = on_validation_batch_end = on_exception = give  # type: ignore[assignment]

    def _take_cores(self) -> bool:
        """Take as many cores as are needed, or none."""
        taken = 0
        for core in self.cores:
            taken += core.take()
            if taken == self.needed:
                return True
        self.give()
        return False
