"""The picture of the training history."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.core.png import own_style, write_png

PANELS = {"loss": "Loss", "acc": "Accuracy", "f1": "F1 (macro)"}
TRAIN_COLOUR, VAL_COLOUR = "#1f77b4", "#d95f02"


@own_style()
def draw_learning_curve(rows: list[dict[str, float]], path: Path) -> None:
    """Loss, accuracy and F1 by epoch, three panels, train and validation, as a PNG.

    Args:
        rows: One dictionary an epoch with `epoch` and the scores; a score that is missing leaves its line out.
        path: Where the picture goes.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for position, (name, title) in enumerate(PANELS.items(), start=1):
        axes = figure.add_subplot(1, len(PANELS), position)
        for column, label, colour in (name, "train", TRAIN_COLOUR), (f"val_{name}", "validation", VAL_COLOUR):
            if column in rows[-1]:
                epochs, values = [row["epoch"] for row in rows], [row[column] for row in rows]
                axes.plot(epochs, values, color=colour, label=label, marker="o", markersize=3.5)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        # A place of its own: looking for the best one takes matplotlib long on a busy machine, and it then warns.
        axes.legend(loc="upper right" if name == "loss" else "lower right")
    write_png(figure, path)
