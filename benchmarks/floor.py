"""The least time that a step of the plain recipe could take on a CPU with the installed libraries, term by term.

Arithmetic is divided by the rate of the fastest product of matrices, traffic in memory by the rate of the fastest copy.
Beside it stands what the pipeline's own layer takes alone, forward and backward.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import THREADS, table
from src.mnist.model.device import configure_determinism, keep_freed_memory
from src.mnist.model.network import CNN

BATCH, REPEATS = 128, 60
# Images forward and backward in an epoch, and images forward only.
TRAINED, VALIDATED = 54_000, 6_000
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Term:
    """A layer: operations of an image forward, how often a step does them, and floats that a step moves at least."""

    name: str
    layer: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    flop: float = 0.0
    passes: int = 3  # forward, for the gradient of the weights, for that of the input
    floats: int = 0


def layers(net: CNN) -> list[Term]:
    """The default network; its first convolution needs no gradient of its input."""
    return [
        Term("first convolution", net.conv1, (BATCH, 1, 28, 28), 2 * 24 * 24 * 25 * 10, passes=2),
        Term("second convolution", net.conv2, (BATCH, 10, 12, 12), 2 * 10 * 10 * 90 * 20),
        Term("first linear layer", net.linear1, (BATCH, 2000), 2 * 2000 * 500),
        Term("second linear layer", net.linear2, (BATCH, 500), 2 * 500 * 10),
        # Forward reads all pixels and writes a quarter; backward the other way round.
        Term("pooling", lambda x: F.max_pool2d(x, 2), (BATCH, 10, 24, 24), floats=2 * BATCH * 10 * 24 * 24 * 5 // 4),
    ]


def best_seconds(function: Callable[[], object]) -> float:
    """The shortest of many runs: what disturbs them on a shared machine only makes them longer."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def product_rate(dtype: torch.dtype, size: int = 1024) -> float:
    """Operations per second of a product of square matrices: the better of MKL's and oneDNN's."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    candidates = [lambda: a @ b]
    if dtype == torch.float32:
        candidates.append(lambda: F.linear(a.to_mkldnn(), b))
    return 2 * size**3 / min(map(best_seconds, candidates))


def layer_seconds(term: Term, dtype: torch.dtype) -> float:
    """Forward and backward of a layer."""
    x = torch.randn(term.shape)
    if x.dim() == 4:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_(term.passes == 3)

    def run() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            y = term.layer(x)
        y.backward(torch.ones_like(y))

    return best_seconds(run)


def adam_seconds(net: nn.Module) -> float:
    """A step of the optimizer as the pipeline takes it."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=torch.tensor(1e-3), weight_decay=0.0, fused=True)
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    return best_seconds(optimizer.step)


def floor_table() -> tuple[list[str], dict[str, float]]:
    """A row for each term of the step, and the seconds of the arithmetic of an epoch by precision."""
    configure_determinism(THREADS)
    keep_freed_memory()
    net = CNN().to(memory_format=torch.channels_last)
    terms = layers(net)
    source, target = torch.randn(2, BATCH * 10 * 24 * 24)
    copied = 2 * FLOAT_BYTES * source.numel() / best_seconds(lambda: target.copy_(source))
    # Adam reads weight, gradient and two moments, and writes all but the gradient.
    adam = (7 * FLOAT_BYTES * sum(weight.numel() for weight in net.parameters()) / copied, adam_seconds(net))
    rows: list[tuple[str, ...]] = [("precision", "term of a step", "floor, ms", "here, ms", "ratio")]
    floors = {}
    for precision, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        rate = product_rate(dtype)
        for term in terms:
            floor = BATCH * term.flop * term.passes / rate + term.floats * FLOAT_BYTES / copied
            rows.append(row(precision, term.name, floor, layer_seconds(term, dtype)))
        rows += [
            row(precision, "Adam", *adam),
            (precision, f"the fastest product: {rate / 1e9:.0f} GFLOP/s", "", "", ""),
        ]
        floors[precision] = sum(term.flop * (TRAINED * term.passes + VALIDATED) for term in terms) / rate
    return table(*rows), floors


def row(precision: str, name: str, floor: float, here: float) -> tuple[str, ...]:
    """Cells of a term; both times in seconds."""
    return precision, name, f"{floor * 1e3:.2f}", f"{here * 1e3:.2f}", f"{here / floor:.1f}"
