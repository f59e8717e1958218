"""`make bench`: the pipeline against other programs on a CPU, the floor, and whole commands; writes results.md."""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.floor import floor_table
from benchmarks.measure import Measured, command, interleaved, machine, median, program, spread, table
from benchmarks.recipes import recipe_params
from src.core.files import write_text
from src.guard.preflight import cache_folder

RESULTS = Path("benchmarks/results.md")
CONVENTIONAL = "conventional, 4 workers"
EPOCHS = 2


def fit_table(fits: dict[str, list[Measured]], floors: dict[str, float]) -> list[str]:
    """Seconds per epoch, and ratios to the conventional program."""
    reference = median(fits[CONVENTIONAL]) / EPOCHS
    rows = [("fit", "s per epoch: median (range)", f"times faster than {CONVENTIONAL}")]
    rows += [(name, spread(runs, EPOCHS), f"{reference * EPOCHS / median(runs):.1f}") for name, runs in fits.items()]
    rows += [(f"floor, {name}", f"{epoch:.2f}", f"{reference / epoch:.1f}") for name, epoch in floors.items()]
    return table(*rows)


def start(stage: str) -> Callable[[], Measured]:
    """Import a stage as its runner does."""
    program = (
        "import gc, sys; gc.disable(); sys.path.insert(0, '.'); from src.guard.unused import UNUSED, hiding\n"
        f"with hiding(UNUSED.get({stage!r}, ())): import stages.{stage}"
    )
    return command(sys.executable, "-I", "-c", program)


def fast_recipe(clone: Path) -> Callable[[], Measured]:
    """The fast recipe as a whole experiment, with a new seed each time: DVC would restore a result it already has."""
    # Not copied to params.yaml: a `dvc repro` in between must have nothing to do.
    settings = [
        word
        for name, value in recipe_params("fast").model_dump(exclude={"seed"}).items()
        for word in ("-S", f"{name}={value}")
    ]
    # Seeds of earlier benchmarks are taken, too, since the clone shares the repository's cache.
    seeds = itertools.count(int(time.time()))

    def run() -> Measured:
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
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    epochs = ("--epochs", str(EPOCHS))
    fits = interleaved(
        {
            CONVENTIONAL: program("conventional", *epochs, "--workers", "4"),
            "conventional, 0 workers": program("conventional", *epochs, "--workers", "0"),
            "this pipeline": program("ours", *epochs),
            "this pipeline, bf16": program("ours", *epochs, "--precision", "bf16"),
        },
        rounds,
    )
    terms, floors = floor_table()
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
        *fit_table(fits, floors),
        "",
        "The floor of an epoch is its arithmetic at the rate of the fastest product of matrices among the installed "
        "libraries. By term, forward and backward, the shortest of many runs; the floor of pooling and Adam is memory "
        "traffic at the rate of a copy:",
        "",
        *terms,
        "",
        *table(("start-up and whole commands", "s: median (range)"), *((n, spread(r)) for n, r in starts.items())),
    ]
    write_text(RESULTS, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
