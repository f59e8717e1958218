"""Settings that make the same program give the same bytes."""

import torch

# The order of summation depends on the number of threads. Left to the machine, so would the weights.
CPU_THREADS = 2


def configure_determinism() -> None:
    """Compute with the same number of CPU threads on every machine."""
    torch.set_num_threads(CPU_THREADS)
    # Lightning's deterministic mode makes PyTorch fill all new memory, one kernel launch each time. Nothing here reads
    # memory that it did not write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
