"""The plot of the worst errors."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from src.core.png import default_style, write_png


@default_style()
def draw_errors(images: np.ndarray, titles: list[str], caption: str, path: Path, columns: int = 10) -> None:
    """Write a grid of digits, each with a title, as a PNG.

    Args:
        images: uint8 of shape (N, 28, 28); N may be 0.
        titles: N titles of one line.
        caption: Heading of the grid.
        path: Where to write the PNG.
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
