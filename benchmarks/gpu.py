"""The second half of `make gpu`: the recipes compared with the conventional program on one GPU; writes gpu.md."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.measure import CONVENTIONAL, fit_table, interleaved, machine
from src.core.files import write_text
from src.mnist.data.dataset import DATA_DIR

RESULTS = Path("benchmarks/gpu.md")
EPOCHS = 10
PROGRAMS = {
    CONVENTIONAL: f"conventional --epochs {EPOCHS} --workers 4",
    "default, fp32": "ours --recipe default",
    "default, tf32": "ours --recipe default --precision tf32",
    "default, bf16": "ours --recipe default --precision bf16",
    "fast": "ours --recipe fast",
    "accurate": "ours --recipe accurate",
    "gpu": "ours --recipe gpu",
}


def main() -> int:
    """Measure and write the table; returns 1 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if not torch.cuda.is_available():
        print("gpu: nothing was measured, since torch finds no NVIDIA GPU; see `nvidia-smi`", file=sys.stderr)
        return 1
    os.environ["PL_TRAINER_ACCELERATOR"] = "gpu"
    if not DATA_DIR.exists():
        subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", "fetch"], check=True)
    lines = [
        "# GPU",
        "",
        f"Written by `make gpu`. {machine()}; {rounds} interleaved rounds, each program in its own process; the "
        f"conventional program trains {EPOCHS} epochs. A fit includes everything from its start: CUDA's libraries, "
        "capturing, validation, checks.",
        "",
        *fit_table(interleaved(PROGRAMS, rounds)),
    ]
    write_text(RESULTS, "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
