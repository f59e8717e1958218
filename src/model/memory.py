"""How the process keeps its memory."""

import ctypes

# Numbers of `mallopt` in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Bytes, less than any training holds in one tensor.
THRESHOLD = 1 << 30


def keep_freed_memory() -> None:
    """Make the C library reuse freed memory instead of giving it back to the system.

    Else it gives back the activations of each training step, and the next step faults them in again, page by page: half
    a thousand to two thousand faults a step, a fifth to a third of its time. Without glibc, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, THRESHOLD)
        mallopt(M_MMAP_THRESHOLD, THRESHOLD)
