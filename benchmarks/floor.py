"""The least time that a step of the plain recipe could take on a CPU with the libraries that are installed.

Arithmetic is divided by the rate of the fastest product of matrices, traffic in memory by the rate of the fastest copy.
Beside it stands what the pipeline's own layer takes, forward and backward, alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import THREADS, table
from src.mnist.model.determinism import configure_determinism
from src.mnist.model.memory import keep_freed_memory
from src.mnist.model.network import CNN

BATCH, REPEATS = 128, 60
# Images forward and backward in an epoch, and images forward only.
TRAINED, VALIDATED = 54_000, 6_000
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Term:
    """A part of the step.

    Attributes:
        name: As in the table.
        layer: What computes it; None: the optimizer.
        shape: Of the layer's input.
        flop: Operations of an image forward.
        passes: How often they are done in a step: forward, for the gradient of the weights, for that of the input.
        floats: Numbers that a step reads or writes at least.
    """

    name: str
    layer: Callable[[Tensor], Tensor] | None
    shape: tuple[int, ...] = ()
    flop: float = 0.0
    passes: int = 3
    floats: int = 0


def terms_of(net: CNN) -> list[Term]:
    """The terms of the step of the default network; its first convolution needs no gradient of its input."""
    return [
        Term("first convolution", net.conv1, (BATCH, 1, 28, 28), 2 * 24 * 24 * 25 * 10, passes=2),
        Term("second convolution", net.conv2, (BATCH, 10, 12, 12), 2 * 10 * 10 * 90 * 20),
        Term("first linear layer", net.linear1, (BATCH, 2000), 2 * 2000 * 500),
        Term("second linear layer", net.linear2, (BATCH, 500), 2 * 500 * 10),
        # Forward reads all pixels and writes a quarter; backward the other way round.
        Term("pooling", lambda x: F.max_pool2d(x, 2), (BATCH, 10, 24, 24), floats=2 * BATCH * 10 * 24 * 24 * 5 // 4),
        # Weight, gradient and two moments are read; all but the gradient are written.
        Term("Adam", None, floats=7 * sum(weight.numel() for weight in net.parameters())),
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


def copy_rate(count: int) -> float:
    """Bytes per second, read and written, of copying that many floats."""
    source, target = torch.randn(count), torch.empty(count)
    return 2 * FLOAT_BYTES * count / best_seconds(lambda: target.copy_(source))


def layer_seconds(term: Term, bf16: bool) -> float:
    """Forward and backward of a layer."""
    assert term.layer is not None
    layer, x = term.layer, torch.randn(term.shape)
    if x.dim() == 4:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_(term.passes == 3)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            y = layer(x)
        y.backward(torch.ones_like(y))

    return best_seconds(run)


def optimizer_seconds(network: nn.Module) -> float:
    """A step of Adam as the pipeline takes it."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=torch.tensor(1e-3), weight_decay=0.0, fused=True)
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    return best_seconds(optimizer.step)


def floor_table() -> tuple[list[str], dict[str, float]]:
    """A row for each term of the step, and the seconds of the arithmetic of an epoch by precision."""
    configure_determinism(THREADS)
    keep_freed_memory()
    net = CNN().to(memory_format=torch.channels_last)
    terms = terms_of(net)
    rates = {"fp32": product_rate(torch.float32), "bf16": product_rate(torch.bfloat16)}
    copied = copy_rate(BATCH * 10 * 24 * 24)
    rows = [("term of a step", *(f"{name}, {what}" for name in rates for what in ("floor, ms", "here, ms", "ratio")))]
    for term in terms:
        cells = []
        for precision, rate in rates.items():
            floor = BATCH * term.flop * term.passes / rate + term.floats * FLOAT_BYTES / copied
            here = optimizer_seconds(net) if term.layer is None else layer_seconds(term, precision == "bf16")
            cells += [f"{floor * 1e3:.2f}", f"{here * 1e3:.2f}", f"{here / floor:.1f}"]
        rows.append((term.name, *cells))
    rows.append(
        ("fastest product, GFLOP/s", *(cell for rate in rates.values() for cell in (f"{rate / 1e9:.0f}", "", "")))
    )
    epoch = sum(term.flop * (TRAINED * term.passes + VALIDATED) for term in terms)
    return table(*rows), {name: epoch / rate for name, rate in rates.items()}
