"""Lower bound on the time of the plain recipe on a CPU with the installed libraries, by term of a step.

Arithmetic is divided by the rate of the fastest matrix product, memory traffic by the rate of the fastest copy.
"""

from collections.abc import Callable
from timeit import repeat

import torch
from torch.nn import functional as F

from benchmarks.measure import THREADS, table

BATCH, REPEATS = 128, 60
# Images per epoch with forward and backward pass, and with a forward pass only.
TRAINED, VALIDATED = 54_000, 6_000
FLOAT_BYTES = 4
WEIGHTS = 1_007_590
# Operations of the forward pass per image, and how many times a step takes them: forward, gradient of the weights, and
# gradient of the input, which the first convolution does not need.
FLOP = {
    "first convolution": (2 * 24 * 24 * 25 * 10, 2),
    "second convolution": (2 * 10 * 10 * 90 * 20, 3),
    "first linear layer": (2 * 2000 * 500, 3),
    "second linear layer": (2 * 500 * 10, 3),
}
# Minimum number of floats that a step reads or writes.
FLOATS = {
    # The forward pass reads all pixels and writes a quarter of them; the backward pass does the opposite.
    "pooling": 2 * BATCH * 10 * 24 * 24 * 5 // 4,
    # Weight, gradient and two moments are read; all but the gradient are written.
    "Adam": 7 * WEIGHTS,
}


def best_seconds(function: Callable[[], object]) -> float:
    """Minimum over many runs, since interference on a shared machine only makes them longer."""
    return min(repeat(function, number=1, repeat=REPEATS))


def product_rate(dtype: torch.dtype, size: int = 1024) -> float:
    """Operations per second of a product of square matrices, with the faster of MKL and oneDNN."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    candidates = [lambda: a @ b]
    if dtype == torch.float32:
        candidates.append(lambda: F.linear(a.to_mkldnn(), b))
    return 2 * size**3 / min(map(best_seconds, candidates))


def floor_table() -> tuple[list[str], dict[str, float]]:
    """A table with a row per term of a step, and the seconds of an epoch's arithmetic by precision."""
    torch.set_num_threads(THREADS)
    rates = {"fp32": product_rate(torch.float32), "bf16": product_rate(torch.bfloat16)}
    source, target = torch.randn(2, BATCH * 10 * 24 * 24)
    moved = 2 * FLOAT_BYTES * source.numel() / best_seconds(lambda: target.copy_(source))
    rows = [("term of a step", *(f"{name}, ms" for name in rates))]
    for term, (flop, passes) in FLOP.items():
        rows.append((term, *(f"{1e3 * BATCH * flop * passes / rate:.2f}" for rate in rates.values())))
    for term, floats in FLOATS.items():
        rows.append((term, *[f"{1e3 * FLOAT_BYTES * floats / moved:.2f}"] * len(rates)))
    rows.append(("the fastest product", *(f"{rate / 1e9:.0f} GFLOP/s" for rate in rates.values())))
    epoch = sum(flop * (TRAINED * passes + VALIDATED) for flop, passes in FLOP.values())
    return table(*rows), {name: epoch / rate for name, rate in rates.items()}
