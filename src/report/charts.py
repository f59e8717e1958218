"""Charts of a report: Mermaid, which GitHub draws inside a comment, and SVG for the page."""

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from src.report.finding import visible
from src.report.policy import Pictures
from src.report.tables import MAX_VALUE, Mistake, Pair

COLOURS = {"base": "#8c8c8c", "head": "#d95f02"}
FEWER = "#2f9e57"
MIN_MARGIN = 1e-4  # above and below the lines; Mermaid cannot read exponents, so numbers have five decimals
MAX_EPOCHS = 20  # more would not fit under Mermaid's axis
MAX_POINTS = 200  # of one curve in an SVG: more cannot be told apart
MAX_CLASSES = 30
MAX_PICTURES = 200
MAX_PICTURE_BYTES = 2_000_000
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """One column of the history of one revision: (epoch, value) pairs, finite, sorted by epoch."""

    revision: str
    part: str
    points: Points


def finite_points(rows: Sequence[dict[str, float]], column: str) -> list[tuple[float, float]]:
    """Points of one column; a value that is not a number, or is absurdly large, leaves a gap."""
    return [(row["epoch"], row[column]) for row in rows if abs(row[column]) < MAX_VALUE]


def mermaid(title: str, curves: Sequence[Curve]) -> str:
    """Curves over their common epochs, one colour per revision; a few hundred characters for any number of epochs.

    Args:
        title: Our own words, not the branch's.
        curves: At least one of them with a point; a shorter one ends earlier.
    """
    lines = [curve for curve in curves if curve.points]
    epochs = _spread(sorted({epoch for curve in lines for epoch, _ in curve.points}), MAX_EPOCHS)
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


def lines(title: str, curves: Sequence[Curve], width: int = 330, height: int = 210) -> str:
    """Curves as SVG: validation in front, training faint behind it and perhaps partly outside."""
    # From validation alone: augmented training examples are often far harder.
    shown = [curve for curve in curves if curve.part == "validation" and curve.points] or [
        curve for curve in curves if curve.points
    ]
    if not shown:
        return ""
    xs = [x for curve in shown for x, _ in curve.points]
    ys = [y for curve in shown for _, y in curve.points]
    (x0, x1), (y0, y1) = (min(xs), max(xs)), (min(ys), max(ys))
    left, right, top, bottom = 52, width - 8, 26, height - 34

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / ((x1 - x0) or 1)
        up = (y - y0) / ((y1 - y0) or 1)
        return left + across * (right - left), bottom - min(9.0, max(-9.0, up)) * (bottom - top)

    drawn = [f'<text x="{width / 2}" y="14" text-anchor="middle">{escape(title)}</text>']
    for value in _ticks(y0, y1):
        y = at(x0, value)[1]
        drawn.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity=".12"/>')
        drawn.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for epoch in _ticks(x0, x1, whole=True):
        drawn.append(f'<text x="{at(epoch, y0)[0]:.1f}" y="{bottom + 15}" text-anchor="middle">{epoch:g}</text>')
    drawn.append(f'<text x="{(left + right) / 2}" y="{height - 4}" text-anchor="middle">epoch</text>')
    drawn.append(
        f'<svg x="{left}" y="{top - 4}" width="{right - left + 4}" height="{bottom - top + 8}" '
        f'viewBox="{left} {top - 4} {right - left + 4} {bottom - top + 8}">'  # cuts off what is outside
    )
    for curve in sorted(curves, key=lambda curve: curve.part == "validation"):
        points = [at(*point) for point in thinned(curve.points) if x0 <= point[0] <= x1]
        style = 'stroke-width="2"' if curve.part == "validation" else 'stroke-width="1" opacity=".4"'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[curve.revision]}" {style}/>')
        if points and curve.part == "validation":
            drawn.append(
                f'<circle cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="3" fill="{COLOURS[curve.revision]}"/>'
            )
    return _svg(width, height, [*drawn, "</svg>"], title)


def confusion_map(changes: dict[Pair, int], cell: int = 28) -> str:
    """A map of classes: green where a confusion became rarer, orange where it became more frequent."""
    classes = sorted({label for pair in changes for label in pair}, key=_order)
    if not classes or len(classes) > MAX_CLASSES:
        return ""
    place = {label: position for position, label in enumerate(classes)}
    most, edge = max(abs(change) for change in changes.values()), 46
    drawn = [
        f'<text x="{edge + cell * len(classes) / 2}" y="12" text-anchor="middle">predicted</text>',
        f'<text x="12" y="{edge + cell * len(classes) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {edge + cell * len(classes) / 2})">actual</text>',
    ]
    for label, position in place.items():
        middle, name = edge + (position + 0.5) * cell, escape(visible(label)[:5])
        drawn.append(f'<text x="{middle}" y="{edge - 8}" text-anchor="middle">{name}</text>')
        drawn.append(f'<text x="{edge - 8}" y="{middle + 4}" text-anchor="end">{name}</text>')
    for (actual, predicted), change in changes.items():
        x, y = edge + place[predicted] * cell, edge + place[actual] * cell
        colour, opacity = COLOURS["head"] if change > 0 else FEWER, 0.15 + 0.75 * abs(change) / most
        drawn.append(f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="{colour}" opacity="{opacity:.2f}"/>')
        drawn.append(f'<text x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle">{change:+d}</text>')
    side = edge + cell * len(classes) + 4
    return _svg(side, side, drawn, "Change in confusions")


def tiles(name: str, mistakes: Sequence[Mistake], png: bytes | None, pictures: Pictures) -> str:
    """The pictures of mistakes, cut from the one file that holds them all.

    Args:
        name: Our own word for them, also a CSS class.
        mistakes: What to show.
        png: The file, or None.
        pictures: How it is laid out.
    """
    if not mistakes or png is None or not is_usable(png, pictures):
        return "<p>This revision has no usable picture of its errors.</p>" if mistakes else ""
    zoom = max(1, 56 // pictures.side)
    size, width = pictures.side * zoom, pictures.side * zoom * pictures.columns
    shown = [mistake for mistake in mistakes if mistake.position < pictures.most][:MAX_PICTURES]
    figures = []
    for mistake in shown:
        row, column = divmod(mistake.position, pictures.columns)
        words = f"{escape(visible(mistake.actual))}→{escape(visible(mistake.predicted))}<br>{mistake.index}"
        figures.append(
            f'<figure><i class="{name}" style="background-position:-{column * size}px -{row * size}px"></i>'
            f"{words}</figure>"
        )
    style = (
        f".{name}{{width:{size}px;height:{size}px;background-size:{width}px auto;"
        f"background-image:url(data:image/png;base64,{b64encode(png).decode()})}}"
    )
    more = f"<p>and {len(mistakes) - len(shown)} more</p>" if len(mistakes) > len(shown) else ""
    return f'<style>{style}</style><div class="tiles">{"".join(figures)}</div>{more}'


def is_usable(png: bytes, pictures: Pictures) -> bool:
    """Whether a PNG is one that the policy describes: small, grey, 8 bits, of that width, and nothing but the picture.

    A few kilobytes can hold a picture that takes gigabytes to show.
    """
    if len(png) > MAX_PICTURE_BYTES or not png.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    chunks, start = [], 8
    while start + 12 <= len(png):
        length = int.from_bytes(png[start : start + 4], "big")
        chunks.append((png[start + 4 : start + 8], png[start + 8 : start + 8 + length]))
        start += 12 + length
    kinds = [kind for kind, _ in chunks]
    if start != len(png) or kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or set(kinds[1:-1]) != {b"IDAT"}:
        return False
    header = chunks[0][1]
    wide, high = (int.from_bytes(header[place : place + 4], "big") for place in (0, 4))
    rows = math.ceil(pictures.most / pictures.columns)
    fits = wide == pictures.side * pictures.columns and high % pictures.side == 0 and 0 < high <= rows * pictures.side
    # Bit depth 8, grey, deflate, adaptive filters, not interlaced.
    return fits and header[8:] == bytes([8, 0, 0, 0, 0])


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most MAX_POINTS of a curve: the lowest and the highest of each stretch of epochs, so peaks remain."""
    if len(points) <= MAX_POINTS:
        return list(points)
    stretches = MAX_POINTS // 2
    kept: dict[int, tuple[float, float]] = {}
    for stretch in range(stretches):
        begin, end = (len(points) * edge // stretches for edge in (stretch, stretch + 1))
        for choose in (min, max):
            position = choose(range(begin, end), key=lambda place: points[place][1])
            kept[position] = points[position]
    return [kept[position] for position in sorted(kept)]


def _svg(width: float, height: float, drawn: Sequence[str], title: str) -> str:
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return (
        f'<svg {size} role="img" aria-label="{escape(title)}" font-size="11" fill="currentColor">{"".join(drawn)}</svg>'
    )


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """About four round numbers within a range."""
    if low == high:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    if whole:
        step = max(1, round(step))
    first = math.ceil(low / step)
    return [(first + number) * step for number in range(12) if (first + number) * step <= high]


def _order(label: str) -> tuple[bool, float, str]:
    """Numbers by value, then names."""
    return (False, float(label), "") if label.isascii() and label.isdigit() else (True, 0.0, label)


def _spread(epochs: list[float], most: int) -> list[float]:
    """At most so many of them, evenly spread, the first and the last included."""
    if len(epochs) <= most:
        return epochs
    return [epochs[round(step * (len(epochs) - 1) / (most - 1))] for step in range(most)]


def _over(curve: Curve, epochs: list[float]) -> list[float]:
    """Values of a curve at these epochs, up to its end; a gap, which Mermaid cannot draw, repeats the value before."""
    points = dict(curve.points)
    values: list[float] = []
    for epoch in epochs:
        if epoch > curve.points[-1][0]:
            break
        values.append(points.get(epoch, values[-1] if values else curve.points[0][1]))
    return values
