"""Binds the threads of a training to cores, so that other programs slow it down less."""

import ctypes
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress


@contextmanager
def bound_threads(threads: int) -> Iterator[None]:
    """Keep each thread of PyTorch on a core of its own if there are as many threads as cores that this process may use.

    Otherwise, the system may put two of them on one core beside another program, where the one that waits for the other
    takes the time that the other needs. With more cores than threads, the system moves the threads to idle cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    if threads != len(cores):
        yield
        return
    try:
        _set_affinity([{core} for core in cores])
        yield
    finally:
        _set_affinity([cores] * threads)


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
