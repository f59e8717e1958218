"""Pictures of a report: Mermaid, which GitHub draws inside a comment; SVG, tables and PNG for the page."""

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

from src.report.finding import visible
from src.report.policy import Pictures
from src.report.tables import Mistake, Pair

COLOURS = {"base": "#8c8c8c", "head": "#d95f02"}
FEWER, MORE = "#2f9e57", COLOURS["head"]
MAX_VALUE = 1e9  # beyond it, a value is not drawn
MIN_MARGIN = 1e-4  # above and below the lines; Mermaid cannot read exponents, so numbers have five decimals
FEW_EPOCHS = 6
MAX_EPOCHS = 20  # more would not fit under Mermaid's axis
MAX_POINTS = 200  # of one curve in an SVG: more cannot be told apart
MAX_CLASSES = 30
MAX_PICTURES = 200
MAX_PICTURE_BYTES = 2_000_000
MIN_PICTURE_WIDTH = 56
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 330, 210, 52, 322, 26, 176  # of a chart, and of its area
Points = Sequence[tuple[float, float]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Curve:
    """One column of the history of one revision: (epoch, value) pairs, finite, sorted by epoch."""

    revision: str
    is_validation: bool
    points: Points


def finite_points(rows: Sequence[dict[str, float]], column: str) -> list[tuple[float, float]]:
    """Points of one column; a value that is not a number, or is absurdly large, leaves a gap."""
    return [(row["epoch"], row[column]) for row in rows if abs(row[column]) < MAX_VALUE]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of them, evenly spread, the first and the last included."""
    if len(items) <= most:
        return list(items)
    return [items[round(step * (len(items) - 1) / (most - 1))] for step in range(most)]


def mermaid(title: str, curves: Sequence[Curve]) -> str:
    """Curves over their common epochs, one colour per revision; a few hundred characters for any number of epochs.

    Args:
        title: Our own words, not the branch's.
        curves: At least one of them with a point; a shorter one ends earlier.
    """
    drawn = [curve for curve in curves if curve.points]
    epochs = spread(sorted({epoch for curve in drawn for epoch, _ in curve.points}), MAX_EPOCHS)
    values = [value for curve in drawn for epoch, value in curve.points if epoch in epochs]
    margin = max((max(values) - min(values)) * 0.05, MIN_MARGIN)
    palette = ", ".join(COLOURS[curve.revision] for curve in drawn)
    return "\n".join(
        [
            f'%%{{init: {{"themeVariables": {{"xyChart": {{"plotColorPalette": "{palette}"}}}}}}}}%%',
            "xychart-beta",
            f'    title "{title}"',
            f'    x-axis "epoch" [{", ".join(f"{epoch:.6g}" for epoch in epochs)}]',
            f"    y-axis {min(values) - margin:.5f} --> {max(values) + margin:.5f}",
            *(f"    line [{', '.join(f'{value:.5f}' for value in _over(curve, epochs))}]" for curve in drawn),
        ]
    )


def _over(curve: Curve, epochs: list[float]) -> list[float]:
    """Values of a curve at these epochs, up to its end; a gap, which Mermaid cannot draw, repeats the value before."""
    points = dict(curve.points)
    values = [curve.points[0][1]]
    for epoch in epochs:
        if epoch <= curve.points[-1][0]:
            values.append(points.get(epoch, values[-1]))
    return values[1:]


def lines(title: str, curves: Sequence[Curve]) -> str:
    """Curves as SVG: validation in front, training faint behind it; what is outside the chart is cut off."""
    # From validation alone: augmented training examples are often far harder.
    shown = [curve.points for curve in curves if curve.is_validation and curve.points]
    if not shown:
        return ""
    xs = sorted({x for points in shown for x, _ in points})
    # Of many epochs, the first half, which is far worse, would flatten the rest.
    ys = [y for points in shown for _, y in points[len(points) // 2 if len(points) > FEW_EPOCHS else 0 :]]
    (x0, x1), (y0, y1) = (xs[0], xs[-1]), (min(ys), max(ys))

    def across(x: float) -> float:
        return LEFT + (x - x0) / ((x1 - x0) or 1) * (RIGHT - LEFT)

    def down(y: float) -> float:
        return BOTTOM - min(9.0, max(-9.0, (y - y0) / ((y1 - y0) or 1))) * (BOTTOM - TOP)

    drawn = [_text(WIDTH / 2, 14, escape(title)), _text((LEFT + RIGHT) / 2, HEIGHT - 4, "epoch")]
    for y in dict.fromkeys((y0, (y0 + y1) / 2, y1)):
        drawn.append(f'<path d="M{LEFT} {down(y):.1f}H{RIGHT}" stroke="currentColor" opacity=".12"/>')
        drawn.append(_text(LEFT - 5, down(y) + 4, f"{y:.4g}", "end"))
    drawn += [_text(across(x), BOTTOM + 15, f"{x:g}") for x in spread(xs, 5)]
    # A picture within the picture cuts off what is outside.
    area = (LEFT, TOP - 4, RIGHT - LEFT + 4, BOTTOM - TOP + 8)
    drawn.append('<svg x="{}" y="{}" width="{}" height="{}" viewBox="{} {} {} {}">'.format(*area, *area))
    for curve in sorted(curves, key=lambda curve: curve.is_validation):
        points = spread([point for point in curve.points if x0 <= point[0] <= x1], MAX_POINTS)
        # The last point twice: a curve of one epoch is a dot.
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in [*points, *points[-1:]])
        style = 'stroke-width="2" stroke-linecap="round"' if curve.is_validation else 'stroke-width="1" opacity=".4"'
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[curve.revision]}" {style}/>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    label = f'role="img" aria-label="{escape(title)}"'
    return f'<svg {size} {label} font-size="11" fill="currentColor">{"".join(drawn)}</svg></svg>'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def confusion_map(changes: dict[Pair, int]) -> str:
    """A table of classes: green where a confusion became rarer, orange where it became more frequent."""
    classes = sorted({label for pair in changes for label in pair}, key=lambda label: (len(label), label))
    if not classes or len(classes) > MAX_CLASSES:
        return ""
    names = {label: escape(visible(label)[:5]) for label in classes}
    most = max(abs(change) for change in changes.values())
    rows = [f"<tr><th>actual, predicted</th>{''.join(f'<th>{name}</th>' for name in names.values())}</tr>"]
    for actual in classes:
        cells = ""
        for change in (changes.get((actual, predicted), 0) for predicted in classes):
            share = round(100 * (0.15 + 0.75 * abs(change) / most))
            colour = f"color-mix(in srgb, {MORE if change > 0 else FEWER} {share}%, transparent)"
            cells += f'<td style="background:{colour}">{change:+d}</td>' if change else "<td></td>"
        rows.append(f"<tr><th>{names[actual]}</th>{cells}</tr>")
    return f'<div class="wide"><table class="map">{"".join(rows)}</table></div>'


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
    size = pictures.side * max(1, MIN_PICTURE_WIDTH // pictures.side)
    shown = [mistake for mistake in mistakes if mistake.position < pictures.most][:MAX_PICTURES]
    figures = []
    for mistake in shown:
        row, column = divmod(mistake.position, pictures.columns)
        words = f"{escape(visible(mistake.actual))}→{escape(visible(mistake.predicted))}<br>{mistake.index}"
        place = f"background-position:-{column * size}px -{row * size}px"
        figures.append(f'<figure><i class="{name}" style="{place}"></i>{words}</figure>')
    style = (
        f".{name}{{width:{size}px;height:{size}px;background-size:{size * pictures.columns}px auto;"
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
    kinds, start = [], 8
    while start + 12 <= len(png):
        kinds.append(png[start + 4 : start + 8])
        start += 12 + int.from_bytes(png[start : start + 4], "big")
    if start != len(png) or kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or set(kinds[1:-1]) != {b"IDAT"}:
        return False
    wide, high = (int.from_bytes(png[place : place + 4], "big") for place in (16, 20))
    rows = math.ceil(pictures.most / pictures.columns)
    fits = wide == pictures.side * pictures.columns and high % pictures.side == 0 and 0 < high <= rows * pictures.side
    # Bit depth 8, grey, deflate, adaptive filters, not interlaced; then the header's checksum and the first chunk.
    return fits and png[24:29] == bytes([8, 0, 0, 0, 0]) and png[37:41] == b"IDAT"
