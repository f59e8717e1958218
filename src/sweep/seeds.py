"""Measure how much the seed alone changes the results of params.yaml; write metrics_noise.json, which the report reads.

Missing seeds, counted from 0, are run as experiments.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from src.core.errors import UserError
from src.core.files import write_text
from src.core.process import prepare_process
from src.noise.measurement import (
    NOISE,
    Measurement,
    find_measurement,
    format_noise,
    measure_noise,
    parse_noise,
    updated,
)
from src.noise.significance import t_limit
from src.report.policy import POLICY, Policy, read_policy
from src.report.tables import read_classes, read_mistakes
from src.revision.revision import open_revision
from src.sweep.command import guarded
from src.sweep.crew import add_options, run_missing
from src.sweep.experiments import EVAL, FETCH, FORGET, TEST_SCORE, Base, Result, read_base, read_result, references
from src.sweep.progress import say
from src.sweep.spec import Spec, read_space

# Limits of the interval of the accuracy apply to a single run.
LEFT_OUT = ("accuracy_low", "accuracy_high")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns 0 if all seeds have run and the file is written."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep.seeds", description=__doc__)
    parser.add_argument("seeds", type=int, help="number of seeds, at least 2")
    add_options(parser)
    arguments = parser.parse_args(argv)

    def run() -> int:
        if arguments.seeds < 2:
            raise UserError(f"expected at least 2 seeds, got {arguments.seeds}")
        base = read_base()
        rules = read_rules(base)
        space = read_space(base, Spec(params={"seed": list(range(arguments.seeds))}), "seeds")
        code = run_missing(base, space, arguments)
        names = map(base.name, space.grid)
        known = references(base.root)
        results = [found for name in names if name in known and (found := read_result(base, known[name]))]
        if len(results) < arguments.seeds:
            raise UserError(
                f"{len(results)} of {arguments.seeds} seeds are in this clone; nothing was written; {FETCH}; if they "
                f"were removed, {FORGET} and run this again"
            )
        measurement = measure(base.root, rules, space.common, results)
        show(measurement, record(base.root / NOISE, measurement), Console())
        return code

    return guarded("seeds", run)


def read_rules(base: Base) -> Policy:
    """Read the policy, which names the data and the tables; raises UserError if a name is missing."""
    with open_revision(base.root, base.commit, "HEAD") as revision:
        rules = read_policy(revision)
    if not (rules.data and rules.examples.wrong and rules.examples.classes):
        raise UserError(f"{POLICY}: expected `data`, and `wrong` and `classes` of `examples`")
    return rules


def measure(root: Path, rules: Policy, params: Mapping[str, Any], results: Sequence[Result]) -> Measurement:
    """Summarise runs of these params, given in the schema's order, that differ only in the seed.

    Raises:
        UserError: If the runs were not scored on the same data, or a table is malformed.
    """
    runs = [read_run(root, rules, result) for result in results]
    if (count := len({run["data"] for run in runs})) > 1:
        raise UserError(f"{rules.data}: expected the same in all runs, got {count} versions")
    return measure_noise(runs[0]["data"], params, machines(results), runs[0]["images"], runs)


def read_run(root: Path, rules: Policy, result: Result) -> dict[str, Any]:
    """Read what `measure_noise` needs of a run, the hash of its data and the number of test `images`.

    Raises:
        UserError: If a table is malformed, or DVC does not know the data.
    """
    data, errors, classes = str(rules.data), str(rules.examples.wrong), str(rules.examples.classes)
    with open_revision(root, result.commit, result.name) as revision:
        digest = revision.data_hashes([data])[data]
        images = sum(scores.images for scores in read_classes(revision, classes).values())
        wrong = list(read_mistakes(revision, errors))
    if digest is None:
        raise UserError(f"{data} of {result.name}: is no output, nor tracked by DVC; correct `data` in {POLICY}")
    if beyond := [index for index in wrong if index >= images]:
        raise UserError(f"{errors} of {result.name}: expected test images below {images}, got {beyond[0]}")
    kinds = rules.examples.metrics.get(EVAL, {})
    metrics = {EVAL: {name: value for name, value in result.test.items() if kinds.get(name) not in LEFT_OUT}}
    return {"data": digest, "images": images, "seed": result.params["seed"], "wrong": wrong, "metrics": metrics}


def machines(results: Sequence[Result]) -> str:
    """Describe the machines that the runs were trained on, each once."""
    receipts = [result.receipts["train"] for result in results]
    facts = [
        {name: receipt.machine[name] for name in ("device", "threads", "cpu") if name in receipt.machine}
        | receipt.versions
        for receipt in receipts
    ]
    return " / ".join(dict.fromkeys(", ".join(f"{name} {value}" for name, value in one.items()) for one in facts))


def record(path: Path, measurement: Measurement) -> Measurement | None:
    """Add a measurement to the file; it replaces one of the same data and recipe, which is returned."""
    known = parse_noise(path.read_text(encoding="utf-8"), path.name) if path.exists() else []
    write_text(path, format_noise(updated(known, measurement)))
    return find_measurement(known, measurement.data, measurement.params)


def show(measurement: Measurement, replaced: Measurement | None, console: Console) -> None:
    """Print the mean of each metric with its 95% interval, how much of the variance is luck, and what was replaced."""
    n = len(measurement.seeds)
    say(console, f"{n} seeds of params.yaml")
    table = Table("metric", "mean", "std", "95% interval of the mean", box=SIMPLE_HEAD)
    for name, spread in measurement.metrics[EVAL].items():
        half = t_limit(n - 1) * spread.std / math.sqrt(n)
        interval = f"{spread.mean - half:.5f} to {spread.mean + half:.5f}"
        table.add_row(name, f"{spread.mean:.5f}", f"{spread.std:.5f}", interval)
    console.print(table)
    luck, real = measurement.split((EVAL, TEST_SCORE))
    variance = measurement.metrics[EVAL][TEST_SCORE].std ** 2
    share = f"{min(1.0, luck**2 / variance):.0%}" if variance else "-"
    say(
        console,
        f"Of the variance of {TEST_SCORE} between seeds, {share} is luck with this test set (std {luck:.5f}), the rest "
        f"is real (std {real:.5f}).",
    )
    instead = f" instead of a measurement with {len(replaced.seeds)} seeds" if replaced else ""
    say(console, f"Written to {NOISE}{instead}; commit it, so that reports weigh changes against it.")


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
