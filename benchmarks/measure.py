"""Runs programs in turn, each in its own process, and describes what they ran on.

Ratios within one run count: machines are shared and noisy, and both sides of a ratio see the same noise.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from src.mnist.model.device import device_facts
from stages.train import DATA_DIR

# As in the recipes.
THREADS = 2
PACKAGES = ("torch", "pytorch-lightning", "torchvision", "dvc")
# What a program measured, and what else it says about its run.
Measured = tuple[float, dict[str, Any]]


def program(module: str, *options: str) -> Callable[[], Measured]:
    """A program of this folder, whose last line of output is JSON with `seconds`."""
    command = [sys.executable, "-m", f"benchmarks.{module}", "--data-dir", str(DATA_DIR), *options]

    def run() -> Measured:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
        facts = json.loads(done.stdout.splitlines()[-1])
        return facts["seconds"], facts

    return run


def command(*words: str, cwd: Path | None = None) -> Callable[[], Measured]:
    """A whole command, timed from outside."""

    def run() -> Measured:
        started = time.perf_counter()
        subprocess.run(words, check=True, cwd=cwd, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started, {}

    return run


def interleaved(cases: Mapping[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """Run every case once per round, so that all see the same noise."""
    measured: dict[str, list[Measured]] = {name: [] for name in cases}
    for number in range(1, rounds + 1):
        for name, run in cases.items():
            measured[name].append(run())
            print(f"round {number}/{rounds}  {name}: {measured[name][-1][0]:.2f}", flush=True)
    return measured


def median(runs: list[Measured]) -> float:
    """Of what the runs measured."""
    return statistics.median(value for value, _ in runs)


def spread(runs: list[Measured], unit: float = 1.0) -> str:
    """Median and range, in units of `unit`."""
    values = [value / unit for value, _ in runs]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(*rows: tuple[str, ...]) -> list[str]:
    """Lines of a Markdown table; the first row is its heading."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def machine() -> str:
    """Hardware and versions in one line."""
    cores = os.cpu_count()
    if torch.cuda.is_available():
        gpu = device_facts(torch.device("cuda"))
        device = f"{gpu['device']}, driver {gpu['driver']}, CUDA {gpu['cuda']}, cuDNN {gpu['cudnn']}, {cores} CPU cores"
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        device = f"{names[0] if names else platform.processor()}, {cores} cores, {THREADS} threads used"
    return f"{device}; Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}"
