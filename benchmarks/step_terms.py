"""Where the time of the plain recipe's step goes, and how many operators it has."""

import os
import time
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.machine import THREADS
from benchmarks.recipes import recipe_params
from src.mnist.model.determinism import configure_determinism
from src.mnist.model.memory import keep_freed_memory
from src.mnist.model.network import build_model
from src.mnist.model.shifts import shifted_views
from src.mnist.train.batches import BATCHES_PER_CALL, Batches, Pass, epoch_plan
from src.mnist.train.steps import StepRunner

BATCH_SIZE, CALLS = 128, 10
# Operators by term; all others, autograd and Python are what remains of the step.
TERMS = {
    "convolutions": ("mkldnn_convolution", "convolution_backward"),
    "linear layers": (
        "addmm",
        "mm",
        "mkldnn_linear",
        "mkldnn_linear_backward_input",
        "mkldnn_linear_backward_weights",
    ),
    "pooling": ("max_pool2d_with_indices", "max_pool2d_with_indices_backward"),
    "ReLU": ("clamp_min", "threshold_backward"),
    "Adam": ("_fused_adamw_", "_foreach_add_"),
    "copies, casts, batches": ("copy_", "fill_", "index", "sub", "div_", "to_mkldnn", "_to_dense"),
}


class _Count(TorchDispatchMode):
    """Counts operators that launch something."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count += not (func.is_view or "empty" in name or name.startswith("_record_function"))
        return func(*args, **(kwargs or {}))


def term_of(event: Any) -> str | None:
    """The term that a profiled operator belongs to."""
    name = event.key.removeprefix("aten::")
    return next((term for term, names in TERMS.items() if name in names), None)


def step_terms(precision: str) -> tuple[dict[str, float], float]:
    """Milliseconds of a step by term, their sum as `step`, and the number of operators."""
    configure_determinism(THREADS)
    keep_freed_memory()
    # As the trainer does: what importing Lightning sets makes each optimizer step look for a driver.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    size, generator = BATCHES_PER_CALL * BATCH_SIZE, np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 256, (size, 28, 28), dtype=np.uint8))
    params = recipe_params("plain", precision=precision)
    labels = torch.from_numpy(generator.integers(0, 10, size))
    whole = Batches(shifted_views(images, 0), labels, epoch_plan(size, 0, params))
    batches = next(iter(Pass(whole, BATCH_SIZE, BATCHES_PER_CALL)))
    model = build_model("cnn", 0).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.zeros(()), weight_decay=0.0, fused=True)
    runner, rates = StepRunner(model, None, optimizer, batches, params), torch.full((BATCHES_PER_CALL,), 0.001)
    seconds = []
    for _ in range(2 * CALLS):
        started = time.perf_counter()
        runner.run(batches, rates)
        seconds.append(time.perf_counter() - started)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(CALLS):
            runner.run(batches, rates)
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        if (term := term_of(event)) is not None:
            spent[term] += event.self_cpu_time_total / 1e3 / CALLS / BATCHES_PER_CALL
    with _Count() as counter:
        runner.run(batches, rates)
    step = 1e3 * float(np.median(seconds[CALLS:])) / BATCHES_PER_CALL
    terms = {term: spent[term] for term in TERMS} | {"the rest": step - sum(spent.values()), "step": step}
    return terms, counter.count / BATCHES_PER_CALL


def main() -> None:
    """Print the terms."""
    for precision in ("fp32", "bf16"):
        terms, operators = step_terms(precision)
        print(precision, {term: round(value, 2) for term, value in terms.items()}, f"{operators:.1f} operators")


if __name__ == "__main__":
    main()
