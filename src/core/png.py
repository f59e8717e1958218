"""PNG files whose bytes depend only on their content."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from src.core.files import write_bytes


@contextmanager
def png_figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of a size in inches, and write it as PNG, atomically.

    The bytes depend only on what is drawn and on matplotlib's version, regardless of any matplotlibrc file and of the
    style of a notebook, which is kept.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        content = io.BytesIO()
        FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    write_bytes(path, content.getvalue())
