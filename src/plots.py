"""Pictures, drawn from plain tables."""

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.files import write_bytes

PANELS = {"loss": "Loss", "acc": "Accuracy", "f1": "F1 (macro)"}
TRAIN_COLOUR, VAL_COLOUR = "#1f77b4", "#d95f02"


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


def draw_errors(images: np.ndarray, titles: list[str], caption: str, path: Path, columns: int = 10) -> None:
    """A grid of digits with a line above each, as a PNG.

    Args:
        images: uint8 of shape (N, 28, 28); N may be 0.
        titles: N lines.
        caption: What the picture shows.
        path: Where the picture goes.
        columns: Digits in a row.
    """
    lines = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(columns * 0.95, lines * 1.15 + 0.5), layout="constrained")
    figure.suptitle(caption, fontsize=11)
    for position, (image, title) in enumerate(zip(images, titles, strict=True), start=1):
        axes = figure.add_subplot(lines, columns, position)
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    write_png(figure, path)


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; the bytes depend on the figure and on matplotlib's version alone."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    write_bytes(path, content.getvalue())
