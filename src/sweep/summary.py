"""The results of a sweep: the best settings in the terminal, figures in report/sweep.html.

Read from the experiments in this clone; `dvc exp pull REMOTE` brings those of others.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import optuna
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from src.core.errors import UserError
from src.core.files import write_text
from src.core.signals import restore_signals
from src.sweep.command import guarded
from src.sweep.experiments import SCORE, TEST_SCORE, Result, read_all, read_base
from src.sweep.page import render
from src.sweep.settings import Setting, as_good, group, seed_deviation
from src.sweep.spec import SPEC, Spec, read_spec

PAGE = Path("report/sweep.html")
MAX_ROWS = 20  # on the terminal


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 1 if there is nothing to summarise or something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep.summary", description=__doc__)
    parser.add_argument("spec", nargs="?", type=Path, default=SPEC, help="the sweep (%(default)s)")
    parser.add_argument("--rev", default="HEAD", help="the commit whose code was run, if it has changed since")
    arguments = parser.parse_args(argv)

    def run() -> int:
        spec, base = read_spec(arguments.spec), read_base(arguments.rev)
        found, problems = read_all(base)
        results = [result for result in found if spec.asks_for(result.run.params, base.params)]
        if not results:
            raise UserError(
                f"{arguments.spec}: none of its experiments is in this clone for the code of {arguments.rev}; "
                "`make sweep` runs them, `dvc exp pull --all-commits --no-cache origin` brings those of others, and "
                "--rev names the commit if the code has changed since" + "".join(f"; {problem}" for problem in problems)
            )
        settings, console = group(results), Console()
        sentences = describe(spec, results, settings, problems)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        write_text(base.root / PAGE, render(spec, results, sentences))
        show(spec, settings, sentences, console)
        return 0

    return guarded("summary", run)


def describe(
    spec: Spec, results: Sequence[Result], settings: Sequence[Setting], problems: Sequence[str] = ()
) -> list[str]:
    """Sentences about what the runs show.

    Args:
        spec: What was asked for.
        results: The runs.
        settings: The same by setting, the best first.
        problems: Experiments that could not be used.
    """
    sentences = [f"{len(results)} experiments, {len(settings)} settings."]
    sentences += [f"Left out: {problem}." for problem in problems]
    return [*sentences, *_best(spec, settings), *_chance(settings), *_machines(results)]


def _best(spec: Spec, settings: Sequence[Setting]) -> list[str]:
    best = settings[0]
    seeds = f", mean of {len(best.results)} seeds" if len(best.results) > 1 else ""
    values = ", ".join(f"{name}={best.params[name]}" for name in compared(spec)) or "the only setting"
    return [
        f"Best by validation: {values}: {SCORE} {best.score:.4f}{seeds}; `dvc exp apply {best.results[0].run.name}`.",
        f"Its {TEST_SCORE} is {best.test_score:.4f}, which played no part in the choice. Its {SCORE} did, so it is "
        "optimistic, the more so the more settings were tried.",
    ]


def _chance(settings: Sequence[Setting]) -> list[str]:
    noise = seed_deviation(settings)
    if noise is None:
        return ["No setting was run with several seeds, so it is not known how much of a difference is chance."]
    others = len(as_good(settings))
    return [
        f"Seeds alone change {SCORE} by {noise[0]:.4f} (standard deviation, {noise[1]} degrees of freedom): "
        f"as far as the seeds can tell, {others} of the other {len(settings) - 1} settings are as good as the best."
    ]


def _machines(results: Sequence[Result]) -> list[str]:
    kinds = {repr((receipt.versions, receipt.machine)) for r in results for receipt in [r.receipts["train"]]}
    return [f"They were trained on {len(kinds)} kinds of machine or with other packages."] if len(kinds) > 1 else []


def compared(spec: Spec) -> list[str]:
    """Params that settings differ in: all that vary but the seed, whose effect is noise."""
    return [name for name in spec.varied if name != "seed"]


def show(spec: Spec, settings: Sequence[Setting], sentences: Sequence[str], console: Console) -> None:
    """Print the settings, the best first, and what is known of them."""
    good = {id(setting) for setting in as_good(settings)}
    header = [*compared(spec), "seeds", SCORE, "std", "as good", "experiment"]
    table = Table(*(Column(name, overflow="fold") for name in header), box=SIMPLE_HEAD)
    for place, setting in enumerate(settings[:MAX_ROWS]):
        table.add_row(
            *(f"{setting.params[name]}" for name in compared(spec)),
            str(len(setting.results)),
            f"{setting.score:.4f}",
            "-" if setting.deviation is None else f"{setting.deviation:.4f}",
            "best" if place == 0 else "yes" if id(setting) in good else "",
            setting.results[0].run.name,
        )
    console.print(table)
    for sentence in sentences:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Figures: {PAGE}", highlight=False)


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
