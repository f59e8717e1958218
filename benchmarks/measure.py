"""Runs programs in turn, each in its own process, and tabulates their measurements.

Only ratios within a run are meaningful: machines are shared and noisy, and the noise affects both sides of a ratio.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from src.core.errors import UserError
from src.mnist.data.dataset import DATA_DIR, load_examples
from src.mnist.model.device import device_facts

# Same as in the recipes.
THREADS = 2
PACKAGES = ("torch", "pytorch-lightning", "torchvision", "dvc")
# Training images of MNIST.
IMAGES = 60_000
CONVENTIONAL = "conventional, 4 workers"
# Output of a program: `seconds`, and for the pipeline the test accuracy and the hash of the model.
Run = dict[str, Any]


def interleaved(programs: Mapping[str, str], rounds: int) -> dict[str, list[Run]]:
    """Run every program, given as a module of this folder with options, once per round, all on MNIST."""
    try:
        images = len(load_examples(DATA_DIR, "train").images)
    except UserError as error:
        sys.exit(f"benchmark: {error}")
    if images != IMAGES:
        sys.exit(
            f"benchmark: {DATA_DIR}: expected MNIST, {IMAGES:,} images, got {images:,}; `dvc exp run -S dataset=mnist`"
        )
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for number in range(1, rounds + 1):
        for name, words in programs.items():
            module, *options = words.split()
            command = [sys.executable, "-m", f"benchmarks.{module}", "--data-dir", str(DATA_DIR), *options]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"round {number}/{rounds}  {name}: {runs[name][-1]['seconds']:.2f}", flush=True)
    return runs


def median(runs: Sequence[Run]) -> float:
    """Median duration of a fit in seconds."""
    return statistics.median(run["seconds"] for run in runs)


def fit_table(fits: Mapping[str, Sequence[Run]], epochs: int = 1) -> list[str]:
    """Tabulate each program: seconds, divided by `epochs`, and speedup over CONVENTIONAL."""
    rows = [("program", "s: median (range)", f"times faster than {CONVENTIONAL}", "test accuracy", "same bytes")]
    for name, runs in fits.items():
        seconds = [run["seconds"] / epochs for run in runs]
        accuracy, same = "", ""
        if "model" in runs[0]:
            accuracy = f"{statistics.mean(run['test_acc'] for run in runs):.2%}"
            if len(runs) > 1:
                same = "yes" if len({run["model"] for run in runs}) == 1 else "**no**"
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        rows.append((name, spread, f"{median(fits[CONVENTIONAL]) / median(runs):.1f}", accuracy, same))
    return table(*rows)


def table(*rows: tuple[str, ...]) -> list[str]:
    """Lines of a Markdown table; the first row is its heading."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def machine() -> str:
    """Describe hardware and versions in one line."""
    if torch.cuda.is_available():
        gpu = device_facts(torch.device("cuda"))
        device = f"{gpu['device']}, driver {gpu['driver']}, CUDA {gpu['cuda']}, cuDNN {gpu['cudnn']}"
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        device = f"{names[0] if names else platform.machine()}, {THREADS} threads used"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{device}, {os.cpu_count()} CPU cores; Python {platform.python_version()}, {versions}"
