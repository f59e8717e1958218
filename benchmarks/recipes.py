"""The README's recipes over several seeds: mean and standard deviation of the test accuracy after the last epoch.

Each run is added to recipes.json, from which recipes.md is written. Seeds that recipes.json already has for the same
recipe on the same kind of machine are not run again. `make seeds` writes metrics_noise.json.
"""

import argparse
import csv
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from src.core.files import write_json, write_text
from src.mnist.model.params import Params, load_params
from stages import evaluate, train
from stages.train import DATA_DIR

MEASURED = Path("benchmarks/recipes.json")
TABLE = Path("benchmarks/recipes.md")
# Each recipe names every param, so that it stays the same when a default in params.yaml changes.
RECIPES = {
    "plain": Path("recipes/plain.yaml"),
    "default": Path("params.yaml"),
    "fast": Path("recipes/fast.yaml"),
    "accurate": Path("recipes/accurate.yaml"),
}
# Pixels of `tta_shift` with which every model is scored a second time.
TTA_SHIFT = 1
# Test metrics that are kept for each run, in addition to the indices of the images it gets wrong.
SCORES = ("test_acc", "test_f1", "test_loss", "test_ece", "test_precision", "test_recall")


def recipe_params(recipe: str, **changes: object) -> Params:
    """The params of a recipe, with changes; the seed is 0 unless they include it."""
    return Params.model_validate(load_params(RECIPES[recipe]).model_dump() | {"seed": 0} | changes)


def measure(recipe: str, seed: int) -> dict[str, Any]:
    """Train once and evaluate twice, with and without test-time shifts; leaves the workspace's outputs alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        params = recipe_params(recipe, seed=seed)
        outputs = train.Outputs(folder / "model.safetensors", folder / "t.json", folder / "h.csv", folder / "l.png")
        result = train.train(params, DATA_DIR, outputs)
        scores = evaluate.Outputs(*(folder / f"{output}.out" for output in vars(evaluate.Outputs())))
        as_they_are = evaluate.evaluate(params, DATA_DIR, outputs.model, scores)
        with scores.errors.open(newline="") as file:
            wrong = [int(row["index"]) for row in csv.DictReader(file)]
        shifted = evaluate.evaluate(params.model_copy(update={"tta_shift": TTA_SHIFT}), DATA_DIR, outputs.model, scores)
        validation = json.loads(outputs.metrics.read_text())["final"]["val_acc"]
    return {
        "seed": seed,
        **{name: as_they_are[name] for name in SCORES},
        "test_acc_shifted": shifted["test_acc"],
        "val_acc": validation,
        "fit_seconds": result.fit_seconds,
        "wrong": sorted(wrong),
    }


def spread(runs: list[dict[str, Any]], metric: str, form: str = ".3%") -> str:
    """Mean and sample standard deviation of a metric over the seeds, without old runs that did not measure it."""
    values = [run[metric] for run in runs if metric in run]
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{deviation}"


def table(measured: dict[str, dict]) -> list[str]:
    """One row per recipe."""
    shifted = f"with `tta_shift={TTA_SHIFT}`"
    lines = [
        f"| recipe | seeds | test accuracy | {shifted} | test loss | ECE | val: mean | fit, s: median | params |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for recipe, entry in measured.items():
        runs = entry["runs"]
        lines.append(
            f"| {recipe} | {len(runs)} | {spread(runs, 'test_acc')} | {spread(runs, 'test_acc_shifted')} | "
            f"{spread(runs, 'test_loss', '.4f')} | {spread(runs, 'test_ece', '.4f')} | "
            f"{statistics.mean(run['val_acc'] for run in runs):.3%} | "
            f"{statistics.median(run['fit_seconds'] for run in runs):.1f} | `{RECIPES[recipe]}` |"
        )
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    entry: dict[str, Any] = {
        "machine": machine(),
        "params": recipe_params(arguments.recipe, seed=0).model_dump(),
        "runs": [],
    }
    before = measured.get(arguments.recipe, entry)
    if {**before, "runs": []} == entry:
        entry = before
    for seed in range(len(entry["runs"]), arguments.seeds):
        entry["runs"].append(measure(arguments.recipe, seed))
        save({**measured, arguments.recipe: entry})


def save(measured: dict[str, dict]) -> None:
    """Write all runs and the table."""
    measured = {name: measured[name] for name in RECIPES if name in measured}
    write_json(MEASURED, measured)
    machines = dict.fromkeys(entry["machine"] for entry in measured.values())
    heading = [
        "# Recipes",
        "",
        f"Written by `python -m benchmarks.recipes RECIPE`. {' / '.join(machines)}. Accuracies are means ± standard "
        "deviations over the seeds, at the last epoch; `tta_shift` averages over shifted copies of each test image.",
        "",
    ]
    write_text(TABLE, "\n".join([*heading, *table(measured)]) + "\n")
    print("\n".join(table(measured)), flush=True)


if __name__ == "__main__":
    main()
