"""`make bench`: runs every program in turn, for several rounds, and writes medians and ratios to benchmarks/results.md.

The ratios count: machines are shared and noisy, and both sides of a ratio see the same noise.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.machine import THREADS, machine
from benchmarks.recipes import FAST
from benchmarks.step_terms import step_terms
from src.core.files import write_text
from src.guard.preflight import cache_folder
from stages.train import DATA_DIR

RESULTS = Path("benchmarks/results.md")
EPOCHS = 2
# 54,000 images forward and backward, 6,000 only forward. An image takes 2.66 MFLOP forward, 7.69 both ways (the first
# layer needs no gradient of its input). All 60,000 both ways take 461 GFLOP.
EPOCH_GFLOP = 54.0 * 7.69 + 6.0 * 2.66


def program(module: str, *arguments: str) -> Callable[[], float]:
    """A program of this folder in its own process; its last line of output is what it measured."""

    def run() -> float:
        command = [sys.executable, "-m", f"benchmarks.{module}", "--data-dir", str(DATA_DIR), "--epochs", str(EPOCHS)]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
        return float(done.stdout.splitlines()[-1])

    return run


def command(*words: str, cwd: Path | None = None) -> Callable[[], float]:
    """A whole command, timed from outside."""

    def run() -> float:
        started = time.perf_counter()
        subprocess.run(words, check=True, cwd=cwd, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    return run


def matrix_rate(dtype: torch.dtype) -> Callable[[], float]:
    """GFLOP/s of a square matrix product, the best of ten."""

    def run() -> float:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(THREADS)
        size = 8192 if device == "cuda" else 2048
        a = torch.randn(size, size, device=device, dtype=dtype)
        seconds = []
        for _ in range(10):
            started = time.perf_counter()
            (a @ a)[0, 0].item()
            seconds.append(time.perf_counter() - started)
        return 2 * size**3 / min(seconds) / 1e9

    return run


def interleaved(cases: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every case once per round, so that all see the same noise."""
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(1, rounds + 1):
        for name, run in cases.items():
            measured[name].append(run())
            print(f"round {number}/{rounds}  {name}: {measured[name][-1]:.2f}", flush=True)
    return measured


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def fit_table(fits: dict[str, list[float]], rates: dict[str, list[float]]) -> list[str]:
    """Seconds per epoch, and ratios to the conventional program and to the raw loop."""
    reference = statistics.median(fits["conventional, 4 workers"])
    lines = ["| fit | s per epoch: median (range) | times faster than conventional, 4 workers | raw loop's time = 1 |"]
    lines.append("|---|---|---|---|")
    for name, values in fits.items():
        median = statistics.median(values)
        raw = statistics.median(fits["raw loop, bf16" if "bf16" in name else "raw loop"])
        epochs = [value / EPOCHS for value in values]
        lines.append(f"| {name} | {spread(epochs)} | {reference / median:.1f} | {median / raw:.2f} |")
    for name, values in rates.items():
        floor = EPOCH_GFLOP / statistics.median(values)
        lines.append(f"| floor, {name} | {floor:.2f} | {reference / EPOCHS / floor:.1f} | |")
    return lines


def terms_table() -> list[str]:
    """Milliseconds of the plain recipe's step by term, and its operators."""
    measured = {precision: step_terms(precision) for precision in ("fp32", "bf16")}
    lines = [f"| term | {' | '.join(f'{precision}, ms a step' for precision in measured)} |", "|---|---|---|"]
    for term in next(iter(measured.values()))[0]:
        lines.append(f"| {term} | {' | '.join(f'{terms[term]:.2f}' for terms, _ in measured.values())} |")
    lines.append(f"| operators | {' | '.join(f'{operators:.1f}' for _, operators in measured.values())} |")
    return lines


def start(stage: str) -> Callable[[], float]:
    """Import a stage as its runner does."""
    program = (
        "import gc, sys; gc.disable(); sys.path.insert(0, '.'); from src.guard.unused import UNUSED, hiding\n"
        f"with hiding(UNUSED.get({stage!r}, ())): import stages.{stage}"
    )
    return command(sys.executable, "-I", "-c", program)


def fast_recipe(clone: Path) -> Callable[[], float]:
    """The fast recipe as a whole experiment, with a new seed each time: DVC would restore a result it already has."""
    settings = [word for name, value in FAST.items() for word in ("-S", f"{name}={value}")]
    # Seeds of earlier benchmarks are taken, too, since the clone shares the repository's cache.
    seeds = itertools.count(int(time.time()))

    def run() -> float:
        return command("dvc", "exp", "run", "--quiet", *settings, "-S", f"seed={next(seeds)}", cwd=clone)()

    return run


def dvc_clone(folder: Path) -> Path:
    """A clone for timing DVC, with data and model checked out from this repository's cache."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
    cache = cache_folder().resolve()
    subprocess.run(["dvc", "cache", "dir", "--local", str(cache)], check=True, cwd=clone, stdout=subprocess.DEVNULL)
    subprocess.run(["dvc", "checkout", "--quiet"], check=True, cwd=clone)
    return clone


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    fits = interleaved(
        {
            "conventional, 4 workers": program("conventional", "--workers", "4"),
            "conventional, 0 workers": program("conventional", "--workers", "0"),
            "raw loop": program("raw_loop"),
            "raw loop, bf16": program("raw_loop", "--bf16"),
            "this pipeline": program("ours"),
            "this pipeline, bf16": program("ours", "--precision", "bf16"),
        },
        rounds,
    )
    rates = interleaved({"fp32": matrix_rate(torch.float32), "bf16": matrix_rate(torch.bfloat16)}, rounds)
    with tempfile.TemporaryDirectory() as folder:
        clone = dvc_clone(Path(folder))
        starts = interleaved(
            {
                **{f"start of {stage}": start(stage) for stage in ("check", "fetch", "train", "evaluate")},
                "`dvc repro` with nothing to do": command("dvc", "repro", "--quiet", cwd=clone),
                "`dvc exp run` of the fast recipe, data fetched": fast_recipe(clone),
            },
            rounds,
        )
    lines = [
        "# Benchmark",
        "",
        f"Written by `make bench`. {machine()}; {rounds} interleaved rounds, {EPOCHS} epochs of the plain recipe "
        "(batches of 128, Adam at a constant rate of 0.001, no augmentation), each in its own process.",
        "",
        *fit_table(fits, rates),
        "",
        f"The floor is {EPOCH_GFLOP:.0f} GFLOP per epoch divided by the measured rate of a matrix product: "
        + ", ".join(f"{statistics.median(values):.0f} GFLOP/s in {name}" for name, values in rates.items())
        + ".",
        "",
        "Where a step of the plain recipe goes: `step` is timed without the profiler, the terms are what the profiler "
        "counts. *The rest* is the difference: autograd, Python, the loss, and operators that no term names.",
        "",
        *terms_table(),
        "",
        "| start-up and whole commands | s: median (range) |",
        "|---|---|",
        *(f"| {name} | {spread(values)} |" for name, values in starts.items()),
    ]
    write_text(RESULTS, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
