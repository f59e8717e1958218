"""`make gpu`: every test and measurement that needs a GPU, in one command; writes benchmarks/gpu.md.

The tests marked `gpu`; the recipes and the three precisions against the conventional program on the same card,
interleaved; whether each gives the same bytes every time; a training that is killed and resumed; the scores of one
model on GPU and CPU.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.machine import machine
from benchmarks.recipes import recipe_params
from benchmarks.run import interleaved, spread
from src.core.errors import UserError
from src.core.files import md5, write_text
from src.guard.driver import check_accelerator
from src.guard.gpu_lease import lease_gpus
from stages import evaluate, train
from stages.train import DATA_DIR

RESULTS = Path("benchmarks/gpu.md")
CONVENTIONAL = "conventional, 4 workers"
# Recipe and precision; None: the recipe's own.
FITS: dict[str, tuple[str, str | None]] = {
    "default, fp32": ("default", "fp32"),
    "default, tf32": ("default", "tf32"),
    "default, bf16": ("default", "bf16"),
    "fast": ("fast", None),
    "accurate": ("accurate", None),
}
# The goals for one card.
TIMES_FASTER, SECONDS_TO_99 = 100, 0.3
DEADLINE_SECONDS = 600


@dataclass(frozen=True)
class Sizes:
    """How much is run; a test takes the least.

    Attributes:
        accelerator: Lightning's name of the device.
        data_dir: What the fetch stage wrote.
        rounds: How often each program runs.
        epochs: Of the conventional program.
        options: Options of benchmarks.ours for all recipes.
        params: Changes of params.yaml for the training that is killed.
    """

    accelerator: str = "gpu"
    data_dir: Path = DATA_DIR
    rounds: int = 3
    epochs: int = 10
    options: tuple[str, ...] = ()
    params: Mapping[str, object] = field(default_factory=dict)


def run_program(module: str, sizes: Sizes, *options: str, facts: list[dict[str, Any]] | None = None) -> float:
    """Run a program of this folder; adds its line of JSON to `facts` and returns the seconds in its last line."""
    command = [sys.executable, "-m", f"benchmarks.{module}", "--data-dir", str(sizes.data_dir), *options]
    environ = os.environ | {"PL_TRAINER_ACCELERATOR": sizes.accelerator}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    if done.returncode:
        sys.exit(f"gpu: {' '.join(command)} failed:\n{done.stderr}")
    lines = done.stdout.splitlines()
    if facts is not None:
        facts.append(json.loads(lines[-2]))
    return float(lines[-1])


def measure_fits(sizes: Sizes) -> tuple[dict[str, list[float]], dict[str, list[dict[str, Any]]]]:
    """Seconds of every fit in every round, and the facts that benchmarks.ours prints about each run."""
    facts: dict[str, list[dict[str, Any]]] = {name: [] for name in FITS}

    def ours(name: str) -> Callable[[], float]:
        recipe, precision = FITS[name]
        options = ["--recipe", recipe, "--accelerator", sizes.accelerator, *sizes.options]
        options += ["--precision", precision] if precision else []
        return lambda: run_program("ours", sizes, *options, facts=facts[name])

    def conventional() -> float:
        return run_program("conventional", sizes, "--epochs", str(sizes.epochs), "--workers", "4")

    return interleaved({CONVENTIONAL: conventional, **{name: ours(name) for name in FITS}}, sizes.rounds), facts


def fit_table(seconds: Mapping[str, list[float]], facts: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """A row for the conventional program and for each recipe."""
    reference = statistics.median(seconds[CONVENTIONAL])
    lines = [
        "| program | fit, s: median (range) | times faster than conventional | test accuracy | captured | same bytes |",
        "|---|---|---|---|---|---|",
        f"| {CONVENTIONAL} | {spread(seconds[CONVENTIONAL])} | 1 | | | |",
    ]
    for name, runs in facts.items():
        accuracy = statistics.mean(run["test_acc"] for run in runs)
        captured = "yes" if all(run["machine"].get("captured") for run in runs) else "no"
        lines.append(
            f"| {name} | {spread(seconds[name])} | {reference / statistics.median(seconds[name]):.1f} | {accuracy:.2%} "
            f"| {captured} | {verdict(same_bytes(runs))} |"
        )
    return lines


def same_bytes(runs: list[dict[str, Any]]) -> bool:
    """Whether all runs wrote the same model file."""
    return len({run["model"] for run in runs}) == 1


def verdict(is_good: bool) -> str:
    """In a cell of a table."""
    return "yes" if is_good else "**no**"


def kill_and_resume(sizes: Sizes, folder: Path) -> bool:
    """Whether a `dvc repro` that is killed after its first checkpoint and run again ends in the bytes of a whole one.

    Runs the last commit in a clone.
    """
    clone = folder / "clone"
    # DVC runs `python` from PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = os.environ | {"PL_TRAINER_ACCELERATOR": sizes.accelerator, "PATH": path}
    repro = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    # Forced, because DVC would restore a result that its cache has.
    train_again = [*repro, "--single-item", "--force", "train"]
    subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
    yaml, file = YAML(), clone / "params.yaml"
    yaml.dump({**yaml.load(file), **sizes.params}, file)
    model, checkpoints = clone / "models/model.safetensors", clone / "logs/checkpoints"
    subprocess.run([*repro, "fetch"], cwd=clone, env=environ, check=True)
    subprocess.run(train_again, cwd=clone, env=environ, check=True)
    whole = md5(model)
    shutil.rmtree(checkpoints)
    with subprocess.Popen(train_again, cwd=clone, env=environ, process_group=0) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while process.poll() is None and not list(checkpoints.glob("*.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != -signal.SIGKILL:
        sys.exit("gpu: training ended before it was killed; give it more epochs")
    done = subprocess.run(train_again, cwd=clone, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    return "Resuming after epoch" in done.stdout and md5(model) == whole


def largest_difference(sizes: Sizes, folder: Path) -> float:
    """The largest difference of a test metric of one model, with test shifts, between the device and the CPU."""
    outputs = train.Outputs(*(folder / f"{name}.out" for name in vars(train.Outputs())))
    params = recipe_params("fast", tta_shift=1)
    train.train(params, sizes.data_dir, outputs, sizes.accelerator)
    written = evaluate.Outputs(*(folder / f"{name}.out" for name in vars(evaluate.Outputs())))
    there, here = (
        evaluate.evaluate(params, sizes.data_dir, outputs.model, written, name) for name in (sizes.accelerator, "cpu")
    )
    return max(abs(there[name] - here[name]) for name in here)


def report(sizes: Sizes, tests: str) -> tuple[list[str], bool]:
    """Run everything but the tests.

    Args:
        sizes: How much to run.
        tests: Last line of the tests' output.

    Returns:
        Lines of Markdown, and whether all bytes and scores were as they should be.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds, facts = measure_fits(sizes)
        resumed = kill_and_resume(sizes, folder)
        difference = largest_difference(sizes, folder)
    all_same = all(map(same_bytes, facts.values()))
    fast = statistics.median(seconds[CONVENTIONAL]) / statistics.median(seconds["fast"])
    lines = [
        "# GPU",
        "",
        f"Written by `make gpu`. {machine()}; {sizes.rounds} interleaved rounds, each program in its own process; the "
        f"conventional program trains {sizes.epochs} epochs. A fit includes everything from its start: CUDA's "
        "libraries, capturing, validation, checks.",
        "",
        *fit_table(seconds, facts),
        "",
        f"- Tests marked `gpu`: {tests}",
        f"- *fast* is {fast:.0f} times as fast as the conventional program (goal: {TIMES_FASTER}) and takes "
        f"{statistics.median(seconds['fast']):.2f} s (goal: {SECONDS_TO_99}).",
        f"- A training that was killed and resumed ends in the bytes of a whole one: {verdict(resumed)}.",
        f"- Largest difference of a test metric between this device and the CPU, with `tta_shift=1`: {difference:.1e}.",
    ]
    return lines, all_same and resumed


def run_tests() -> tuple[str, bool]:
    """Run the tests marked `gpu`; returns their last line and whether they passed."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    return done.stdout.splitlines()[-1].strip("= "), done.returncode == 0


def main() -> int:
    """Command line; 1 if there is no card that can be used, or if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=Sizes.rounds)
    sizes = Sizes(rounds=parser.parse_args().rounds)
    try:
        # In this order: a process sees the GPUs that were visible when CUDA started, and the check starts it.
        lease_gpus(os.environ)
        check_accelerator("cuda", os.environ)
    except UserError as error:
        print(f"gpu: nothing was run, since this needs an NVIDIA GPU: {error}", file=sys.stderr)
        return 1
    if not DATA_DIR.exists():
        subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", "fetch"], check=True)
    tests, passed = run_tests()
    lines, good = report(sizes, tests)
    write_text(RESULTS, "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if passed and good else 1


if __name__ == "__main__":
    sys.exit(main())
