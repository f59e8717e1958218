"""Summarize a sweep: print the best settings, write plots to report/sweep.html.

The results come from the experiments in this clone; `dvc exp pull REMOTE` adds those of others. A setting is the params
of a run without its seed.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from src.core.errors import UserError
from src.core.files import write_text
from src.core.process import prepare_process
from src.noise.significance import t_limit
from src.sweep.command import guarded
from src.sweep.experiments import FETCH, FORGET, SCORE, TEST_SCORE, Result, read_all, read_base
from src.sweep.page import render
from src.sweep.progress import say
from src.sweep.spec import SPEC, read_spec

PAGE = Path("report/sweep.html")
MAX_ROWS, WIDTH = 20, 80  # on the terminal
ROUNDING = 1e-9  # of a mean


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns 1 if there is nothing to summarise, or after an error."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep.summary", description=__doc__)
    parser.add_argument("spec", nargs="?", type=Path, default=SPEC, help="file of the sweep (default: %(default)s)")
    parser.add_argument("--rev", default="HEAD", help="commit whose code was run, if the code has changed since")
    arguments = parser.parse_args(argv)

    def run() -> int:
        spec, base = read_spec(arguments.spec), read_base(arguments.rev)
        found, problems = read_all(base)
        results = [result for result in found if spec.asks_for(result.params, base.params)]
        if not results:
            raise UserError(
                f"{arguments.spec}: none of its experiments is in this clone for the code of {arguments.rev}; "
                f"`make sweep` runs them (if they were removed, first {FORGET}), {FETCH}, and --rev names the commit "
                "if the code has changed since" + "".join(f"; {problem}" for problem in problems)
            )
        # All params that vary, except the seed, whose effect is noise.
        compared = [name for name in spec.varied if name != "seed"]
        write_text(base.root / PAGE, render(spec, results))
        show(results, compared, Console(), problems)
        return 0

    return guarded("summary", run)


def group(results: Sequence[Result], compared: Sequence[str]) -> pd.DataFrame:
    """Group runs by setting, best first.

    Args:
        results: The runs.
        compared: Names of the params that distinguish settings.

    Returns:
        For each setting its params, the number of `seeds`, mean (`score`), standard deviation (`std`, NaN for one seed)
        and mean on the test set (`test`) over them, the name of one `experiment`, and whether it is as `good` as the
        best: it is level, or the seeds explain its lag (Student's t, 95%, each setting on its own). `attrs` has
        `noise`, the standard deviation over the seeds pooled over all settings, and `df`, its degrees of freedom.
    """
    # Params are text, because pandas would convert 1 to 1.0 next to 0.5. `all` makes one group if no params vary.
    rows = [
        {name: str(result.params[name]) for name in compared}
        | {"all": "", "score": result.score, "test": result.test[TEST_SCORE], "experiment": result.name}
        for result in results
    ]
    by_setting = pd.DataFrame(rows).groupby([*compared, "all"], sort=False, as_index=False)
    settings = by_setting.agg(
        seeds=("score", "size"),
        score=("score", "mean"),
        std=("score", "std"),
        test=("test", "mean"),
        experiment=("experiment", "first"),
    )
    settings = settings.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    more = settings["seeds"] - 1
    df = int(more.sum())
    noise = math.sqrt((settings["std"].fillna(0) ** 2 * more).sum() / df) if df else math.nan
    limit = t_limit(df) * noise * (1 / settings["seeds"][0] + 1 / settings["seeds"]) ** 0.5 if df else 0.0
    settings["good"] = settings["score"][0] - settings["score"] <= limit + ROUNDING
    settings.attrs = {"noise": noise, "df": df}
    return settings


def show(results: Sequence[Result], compared: Sequence[str], console: Console, problems: Sequence[str] = ()) -> None:
    """Print the settings, best first, and how reliable their differences are.

    Args:
        results: The runs.
        compared: Names of the params that distinguish settings.
        console: Where to print.
        problems: Lines about experiments that could not be used.
    """

    def named(row: pd.Series) -> str:
        return ", ".join(f"{name}={row[name]}" for name in compared) or "the only setting"

    settings = group(results, compared)
    header = ["seeds", SCORE, "std", "as good", "experiment"]
    columns = [Column("setting", overflow="fold"), *(Column(name, no_wrap=True) for name in header)]
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, row in settings.head(MAX_ROWS).iterrows():
        std = "-" if row["seeds"] == 1 else f"{row['std']:.4f}"
        mark = "best" if place == 0 else "yes" if row["good"] else ""
        table.add_row(named(row), str(row["seeds"]), f"{row['score']:.4f}", std, mark, row["experiment"])
    # A narrower terminal wraps whole lines; rich would break words.
    console.print(table, width=max(console.width, WIDTH), crop=False)
    say(console, f"{len(results)} experiments, {len(settings)} settings.")
    for problem in problems:
        say(console, f"Left out: {problem}.")
    best = settings.iloc[0]
    seeds = f", mean of {best['seeds']} seeds" if best["seeds"] > 1 else ""
    say(
        console,
        f"Best by validation: {named(best)}: {SCORE} {best['score']:.4f}{seeds}; `dvc exp apply {best['experiment']}`.",
    )
    say(
        console,
        f"Its {TEST_SCORE} is {best['test']:.4f}, which played no part in the choice. Its {SCORE} did, so it is "
        "optimistic, the more so the more settings were tried.",
    )
    chance = "No setting was run with several seeds, so it is not known how much of a difference is chance."
    noise, df = settings.attrs["noise"], settings.attrs["df"]
    if df:
        chance = (
            f"Seeds alone change {SCORE} by {noise:.4f} (standard deviation, {df} degrees of freedom): as far "
            f"as the seeds can tell, as good as the best: {settings['good'].sum() - 1} of {len(settings) - 1} others."
        )
    say(console, chance)
    receipts = [result.receipts["train"] for result in results]
    if (kinds := len({repr((receipt.versions, receipt.machine)) for receipt in receipts})) > 1:
        say(console, f"They were trained on {kinds} kinds of machine or with other packages.")
    say(console, f"Figures: {PAGE}")


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
