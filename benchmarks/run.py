"""`make bench`: the pipeline compared with the conventional program on a CPU, and the floor; writes results.md."""

import argparse
from pathlib import Path

from benchmarks.floor import floor_table
from benchmarks.measure import CONVENTIONAL, fit_table, interleaved, machine, median
from src.core.files import write_text

RESULTS = Path("benchmarks/results.md")
EPOCHS = 2
PROGRAMS = {
    CONVENTIONAL: f"conventional --epochs {EPOCHS} --workers 4",
    "conventional, 0 workers": f"conventional --epochs {EPOCHS} --workers 0",
    "this pipeline": f"ours --epochs {EPOCHS}",
    "this pipeline, bf16": f"ours --epochs {EPOCHS} --precision bf16",
}


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    fits = interleaved(PROGRAMS, rounds)
    terms, floors = floor_table()
    reference = median(fits[CONVENTIONAL]) / EPOCHS
    lines = [
        "# Benchmark",
        "",
        f"Written by `make bench`. {machine()}; {rounds} interleaved rounds, {EPOCHS} epochs of the plain recipe "
        "(batches of 128, Adam at a constant rate of 0.001, no augmentation), each in its own process. Seconds of "
        "an epoch:",
        "",
        *fit_table(fits, EPOCHS),
        *(f"| floor, {name} | {epoch:.2f} | {reference / epoch:.1f} | | |" for name, epoch in floors.items()),
        "",
        "The floor of an epoch is its arithmetic at the rate of the fastest product of matrices among the installed "
        "libraries. By term, forward and backward; that of pooling and Adam is memory traffic at the rate of a copy:",
        "",
        *terms,
    ]
    write_text(RESULTS, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
