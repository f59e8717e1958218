"""The validation accuracy of all runs against each param that varies."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.core.png import default_style, write_png
from src.sweep.effects import compared
from src.sweep.records import SCORE, Result
from src.sweep.settings import Setting, score
from src.sweep.spec import Interval, Sweep

COLUMNS = 3
WIDTH, HEIGHT, DPI = 4.0, 3.2, 120  # inches of a panel, dots per inch


def draw(sweep: Sweep, results: Sequence[Result], best: Setting, path: Path) -> None:
    """Write a PNG with one panel for each param that varies, the best setting marked."""
    names = compared(sweep) or ["seed"]
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    with default_style():
        figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows), dpi=DPI, layout="constrained")
        for place, name in enumerate(names, start=1):
            axes = figure.add_subplot(rows, columns, place)
            _panel(axes, sweep, name, results, best)
            if place % columns == 1 or columns == 1:
                axes.set_ylabel(SCORE)
        write_png(figure, path)


def _panel(axes: Axes, sweep: Sweep, name: str, results: Sequence[Result], best: Setting) -> None:
    values = [getattr(result.run.params, name) for result in results]
    places, asked = values, sweep.params.get(name)
    if not isinstance(asked, Interval):
        known = sorted(set(values))
        places = [known.index(value) for value in values]
        axes.set_xticks(range(len(known)), [str(value) for value in known])
        axes.margins(x=0.2)
    elif asked.log:
        axes.set_xscale("log")
    axes.scatter(places, [score(result) for result in results], s=24, alpha=0.7)
    chosen = [place for place, result in enumerate(results) if result in best.results]
    axes.scatter(
        [places[place] for place in chosen],
        [score(results[place]) for place in chosen],
        s=80,
        facecolors="none",
        edgecolors="tab:red",
        label="best setting",
    )
    axes.set_xlabel(name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
