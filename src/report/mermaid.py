"""Learning curves as a Mermaid chart, which GitHub draws inside a comment without any image host."""

from collections.abc import Sequence

from src.report.document import Curve

COLOURS = {"base": "#8c8c8c", "head": "#d95f02"}
MIN_MARGIN = 1e-4  # above and below the lines; Mermaid cannot read exponents, so numbers have five decimals
MAX_POINTS = 20  # more epochs than this would not fit under the axis


def xychart(title: str, curves: Sequence[Curve]) -> str:
    """Curves over their common epochs, one colour per revision.

    Args:
        title: Our own words, not the branch's.
        curves: Lines by epoch, at least one of them with a point; a shorter one ends earlier.

    Returns:
        The text of a chart, a few hundred characters for any number of epochs.
    """
    lines = [curve for curve in curves if curve.points]
    epochs = _thinned(sorted({epoch for curve in lines for epoch, _ in curve.points}))
    values = [value for curve in lines for epoch, value in curve.points if epoch in epochs]
    margin = max((max(values) - min(values)) * 0.05, MIN_MARGIN)
    palette = ", ".join(COLOURS[curve.revision] for curve in lines)
    return "\n".join(
        [
            f'%%{{init: {{"themeVariables": {{"xyChart": {{"plotColorPalette": "{palette}"}}}}}}}}%%',
            "xychart-beta",
            f'    title "{title}"',
            f'    x-axis "epoch" [{", ".join(f"{epoch:.6g}" for epoch in epochs)}]',
            f"    y-axis {min(values) - margin:.5f} --> {max(values) + margin:.5f}",
            *(f"    line [{', '.join(f'{value:.5f}' for value in _over(curve, epochs))}]" for curve in lines),
        ]
    )


def _thinned(epochs: list[float]) -> list[float]:
    """At most MAX_POINTS of them, evenly spread, the first and the last included."""
    if len(epochs) <= MAX_POINTS:
        return epochs
    return [epochs[round(step * (len(epochs) - 1) / (MAX_POINTS - 1))] for step in range(MAX_POINTS)]


def _over(curve: Curve, epochs: list[float]) -> list[float]:
    """Values of a curve at these epochs, up to its end; a gap, which Mermaid cannot draw, repeats the value before."""
    points = dict(curve.points)
    values: list[float] = []
    for epoch in epochs:
        if epoch > curve.points[-1][0]:
            break
        values.append(points.get(epoch, values[-1] if values else curve.points[0][1]))
    return values
