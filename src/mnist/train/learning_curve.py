"""The plot of the training history."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from src.core.png import png_figure
from src.mnist.model.scores import CHARTED

LINES = {"": ("train", "#1f77b4"), "val_": ("validation", "#d95f02")}
FEWEST_TICKS = 3


def draw_learning_curve(rows: list[dict[str, float]], path: Path) -> None:
    """Plot each charted score by epoch in its own panel, for training and validation, as a PNG.

    The loss has a logarithmic axis. A share, such as the accuracy, has a logit axis, on which 99% is as far from 90% as
    from 99.9%, so that early and late epochs are equally readable.

    Args:
        rows: One dictionary per epoch with `epoch` and the scores; a missing score has no line.
        path: Output file.
    """
    with png_figure(path, 12, 3.6) as figure:
        for position, (name, title) in enumerate(CHARTED.items(), start=1):
            axes = figure.add_subplot(1, len(CHARTED), position)
            columns = {prefix + name: line for prefix, line in LINES.items() if prefix + name in rows[-1]}
            is_share = name != "loss"
            low, high = _inside([row[column] for row in rows for column in columns], 1.0 if is_share else float("inf"))
            for column, (label, colour) in columns.items():
                shown = [min(max(row[column], low), high) for row in rows]
                axes.plot([row["epoch"] for row in rows], shown, color=colour, label=label, marker="o", markersize=3.5)
            axes.set_yscale("logit" if is_share else "log")
            _set_ticks(axes, is_share)
            axes.set_title(title)
            axes.set_xlabel("epoch")
            margin = max(0.5, 0.03 * len(rows))
            axes.set_xlim(rows[0]["epoch"] - margin, rows[-1]["epoch"] + margin)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(alpha=0.3)
            # A fixed location: on a busy machine, matplotlib's search for the best one is slow, and it warns.
            if columns:
                axes.legend(loc="lower right" if is_share else "upper right")


def _inside(values: list[float], most: float) -> tuple[float, float]:
    """Clip limits for 0 and `most`, which the axis cannot show: halfway between them and their nearest values."""
    low = min((value for value in values if value > 0), default=0.02) / 2
    high = most - min((most - value for value in values if value < most), default=0.02) / 2
    return low, high


def _set_ticks(axes: Axes, is_share: bool) -> None:
    """Set ticks at round numbers, or evenly spaced ones if the axis range has too few."""
    low, high = axes.get_ylim()
    numbers = [digit * 10.0**power for power in range(-5, 5) for digit in (1, 2, 5)]
    candidates = [*numbers, *(1 - number for number in numbers)] if is_share else numbers
    ticks = sorted({round(tick, 9) for tick in candidates if low <= tick <= high})
    if len(ticks) < FEWEST_TICKS:
        ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.yaxis.set_minor_locator(NullLocator())
