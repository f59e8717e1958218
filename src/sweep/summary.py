"""The results of a sweep: tables in the terminal, the same with a picture in report/sweep.html and report/sweep.png.

Read from the experiments in this clone; `dvc exp pull REMOTE` brings those of others.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from src.core.errors import UserError
from src.core.files import write_text
from src.core.signals import restore_signals
from src.revision.git import find_root
from src.sweep.command import guarded
from src.sweep.effects import compared, is_drawn, levels, trend
from src.sweep.figure import draw
from src.sweep.page import Grid, Summary, render
from src.sweep.plan import read_base
from src.sweep.records import SCORE, TEST_SCORE, Result, read_results
from src.sweep.settings import Setting, as_good, group, seed_deviation
from src.sweep.spec import SPEC, Sweep, read_sweep

PICTURE, PAGE = Path("report/sweep.png"), Path("report/sweep.html")
MAX_ROWS = 20  # on the terminal


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 1 if there is nothing to summarise or something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep.summary", description=__doc__)
    parser.add_argument("spec", nargs="?", type=Path, default=SPEC, help="the sweep (%(default)s)")
    parser.add_argument("--rev", default="HEAD", help="the commit whose code was run, if it has changed since")
    arguments = parser.parse_args(argv)

    def run() -> int:
        sweep = read_sweep(arguments.spec)
        base = read_base(find_root(), arguments.rev)
        runs = base.runs(sweep)
        results, problems = read_results(base.root, runs, base.code)
        if not results:
            raise UserError(
                f"{arguments.spec}: none of its {len(runs)} experiments is in this clone for the code of "
                f"{arguments.rev}; `make sweep` runs them, `dvc exp pull --all-commits --no-cache origin` brings those "
                "of others, and --rev names the commit if the code has changed since"
                + "".join(f"; {problem}" for problem in problems)
            )
        settings = group(results)
        summary = summarise(sweep, results, settings, len(runs), problems)
        draw(sweep, results, settings[0], base.root / PICTURE)
        write_text(base.root / PAGE, render(str(arguments.spec), summary, (base.root / PICTURE).read_bytes()))
        show(summary, Console())
        return 0

    return guarded("summary", run)


def summarise(
    sweep: Sweep, results: Sequence[Result], settings: Sequence[Setting], planned: int, problems: Sequence[str]
) -> Summary:
    """Describe what the runs show.

    Args:
        sweep: What was asked for.
        results: The runs.
        settings: The same by setting, the best first.
        planned: Number of runs asked for.
        problems: Experiments that could not be used.
    """
    sentences = [f"{len(results)} of {planned} runs, {len(settings)} settings."]
    sentences += [f"Left out: {problem}." for problem in problems]
    sentences += [*_best(sweep, settings), *_chance(settings), *_machines(results)]
    effects = [_effect(sweep, name, results, settings) for name in compared(sweep)]
    return Summary(sentences, [_ranking(sweep, settings), *effects])


def _best(sweep: Sweep, settings: Sequence[Setting]) -> list[str]:
    best = settings[0]
    seeds = f", mean of {len(best.results)} seeds" if len(best.results) > 1 else ""
    values = ", ".join(f"{name}={best.params[name]}" for name in compared(sweep)) or "the only setting"
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
        f"as far as these runs tell, {others} of the other {len(settings) - 1} settings may be as good as the best."
    ]


def _machines(results: Sequence[Result]) -> list[str]:
    kinds = {repr((receipt["versions"], receipt["machine"])) for r in results for receipt in [r.receipts["train"]]}
    return [f"They were trained on {len(kinds)} kinds of machine or with other packages."] if len(kinds) > 1 else []


def _ranking(sweep: Sweep, settings: Sequence[Setting]) -> Grid:
    names = compared(sweep)
    rows = [
        [
            *(f"{setting.params[name]}" for name in names),
            str(len(setting.results)),
            f"{setting.score:.4f}",
            _number(setting.deviation),
            setting.results[0].run.name,
        ]
        for setting in settings
    ]
    return Grid("Settings, best first", [*names, "seeds", SCORE, "std", "experiment"], rows)


def _effect(sweep: Sweep, name: str, results: Sequence[Result], settings: Sequence[Setting]) -> Grid:
    if is_drawn(sweep, name):
        found = trend(name, settings)
        rows = [[str(found.settings), f"{found.correlation:+.2f}", f"{found.p:.2g}"]] if found else []
        return Grid(f"Effect of {name}", ["settings", "rank correlation (Spearman)", "p"], rows)
    rows = [
        [str(level.value), str(level.runs), f"{level.mean:.4f}", _number(level.deviation)]
        for level in levels(name, results)
    ]
    return Grid(f"Effect of {name}, over all other params", [name, "runs", f"mean {SCORE}", "std"], rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def show(summary: Summary, console: Console) -> None:
    """Print it."""
    for grid in summary.tables:
        console.print(f"\n{grid.title}", highlight=False)
        table = Table(*grid.header, box=SIMPLE_HEAD)
        for row in grid.rows[:MAX_ROWS]:
            table.add_row(*row)
        console.print(table)
        if len(grid.rows) > MAX_ROWS:
            console.print(f"and {len(grid.rows) - MAX_ROWS} more in {PAGE}", highlight=False)
    for sentence in summary.sentences:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Page: {PAGE}; picture: {PICTURE}", highlight=False)


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
