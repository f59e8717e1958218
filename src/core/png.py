"""PNG files whose bytes depend only on their content."""

import io
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from src.core.files import write_bytes

# Draw with matplotlib's defaults, regardless of any matplotlibrc file.
matplotlib.rcdefaults()


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically; the bytes depend only on the figure and on matplotlib's version."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    write_bytes(path, content.getvalue())
