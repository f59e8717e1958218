"""The plot of the training history."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.core.png import default_style, write_png
from src.mnist.train.scores import CHARTED

LINES = {"": ("train", "#1f77b4"), "val_": ("validation", "#d95f02")}


@default_style()
def draw_learning_curve(rows: list[dict[str, float]], path: Path) -> None:
    """Each charted score by epoch in a panel of its own, train and validation, as a PNG.

    A panel's limits fit the second half of the epochs; earlier values may lie outside.

    Args:
        rows: One dictionary per epoch with `epoch` and the scores; a missing score has no line.
        path: Where to write the PNG.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    late = rows[len(rows) // 2 :]
    for position, score in enumerate(CHARTED, start=1):
        axes = figure.add_subplot(1, len(CHARTED), position)
        columns = {prefix + score.name: line for prefix, line in LINES.items() if prefix + score.name in rows[-1]}
        for column, (label, colour) in columns.items():
            epochs, values = [row["epoch"] for row in rows], [row[column] for row in rows]
            axes.plot(epochs, values, color=colour, label=label, marker="o", markersize=3.5)
        _limit(axes, [row[column] for row in late for column in columns])
        axes.set_title(score.title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        # A fixed place: on a busy machine, matplotlib takes long to find the best one and warns about it.
        axes.legend(loc="lower right" if score.higher_is_better else "upper right")
    write_png(figure, path)


def _limit(axes: Axes, values: list[float]) -> None:
    """Limit a panel to these values with half their range as margin, within the current limits."""
    spread = max(values, default=0) - min(values, default=0)
    if spread > 0:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, min(values) - spread / 2), min(high, max(values) + spread / 2))
