"""Settings that make the same program give the same bytes."""

import os

import torch


def configure_determinism(threads: int, *, tf32: bool = False) -> None:
    """Compute with the same number of CPU threads, deterministic kernels and the same arithmetic on every machine.

    Args:
        threads: CPU threads. The order of a sum depends on their number, and so would the weights on the machine.
        tf32: Whether GPUs may round the factors of float32 products to TF32's 10 bits of mantissa. By default, PyTorch
            does so in convolutions but not in linear layers; here, float32 is float32 unless it is asked for.
    """
    torch.set_num_threads(threads)
    # As `use_deterministic_algorithms(True)`, which also tells PyTorch's compiler: importing that takes 1.5 s.
    torch.set_deterministic_debug_mode("error")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.backends.cudnn.benchmark = False
    # This mode makes PyTorch fill all new memory, one kernel launch each time. Nothing here reads memory that it did
    # not write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Their successors, `fp32_precision`, cannot be used: once they are set, reading one of these raises, and Lightning
    # reads them.
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
