"""The second half of `make gpu`: the recipes against the conventional program on one card; writes gpu.md."""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.measure import Measured, interleaved, machine, median, program, spread, table
from src.core.files import write_text
from stages.train import DATA_DIR

RESULTS = Path("benchmarks/gpu.md")
EPOCHS = 10
CONVENTIONAL = "conventional, 4 workers"
OURS = {
    "default, fp32": ("default", "fp32"),
    "default, tf32": ("default", "tf32"),
    "default, bf16": ("default", "bf16"),
    "fast": ("fast", "bf16"),
    "accurate": ("accurate", "bf16"),
}


def fit_table(fits: dict[str, list[Measured]]) -> list[str]:
    """A row for the conventional program and for each recipe."""
    reference = median(fits[CONVENTIONAL])
    rows = [("program", "fit, s: median (range)", "times faster", "test accuracy", "same bytes")]
    for name, runs in fits.items():
        ours = [facts for _, facts in runs if "model" in facts]
        cells = ("", "")
        if ours:
            same = len({facts["model"] for facts in ours}) == 1
            accuracy = statistics.mean(facts["test_acc"] for facts in ours)
            cells = (f"{accuracy:.2%}", "yes" if same else "**no**")
        rows.append((name, spread(runs), f"{reference / median(runs):.1f}", *cells))
    return table(*rows)


def main() -> int:
    """Measure and write the table; 1 if there is no card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if not torch.cuda.is_available():
        print("gpu: nothing was measured, since torch finds no NVIDIA GPU; see `nvidia-smi`", file=sys.stderr)
        return 1
    os.environ["PL_TRAINER_ACCELERATOR"] = "gpu"
    if not DATA_DIR.exists():
        subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", "fetch"], check=True)
    cases = {CONVENTIONAL: program("conventional", "--epochs", str(EPOCHS), "--workers", "4")}
    cases |= {name: program("ours", "--recipe", recipe, "--precision", what) for name, (recipe, what) in OURS.items()}
    lines = [
        "# GPU",
        "",
        f"Written by `make gpu`. {machine()}; {rounds} interleaved rounds, each program in its own process; the "
        f"conventional program trains {EPOCHS} epochs. A fit includes everything from its start: CUDA's libraries, "
        "capturing, validation, checks.",
        "",
        *fit_table(interleaved(cases, rounds)),
    ]
    write_text(RESULTS, "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
