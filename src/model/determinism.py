"""What makes the same program give the same bytes."""

import torch

# Sums are added up in another order by another number of threads, so weights would depend on the size of the machine.
CPU_THREADS = 2


def configure_determinism() -> None:
    """Compute with the same number of CPU threads on every machine."""
    torch.set_num_threads(CPU_THREADS)
    # Lightning's deterministic mode has PyTorch fill all new memory, a kernel launch each; nothing here reads what it
    # did not write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
