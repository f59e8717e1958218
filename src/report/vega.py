"""Plots of the HTML page, as Vega-Lite specifications."""

from collections.abc import Sequence
from typing import Any

from src.report.document import Curve
from src.report.mermaid import COLOURS

MAX_POINTS = 200  # of one curve: more cannot be told apart, and a page with 100,000 epochs would not open
MAX_DOTS = 60
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # never fetched; tells the embedded library the version


# Everything that is not data takes the page's own colour, dark or light.
INK = "currentColor"
CONFIG = {
    "background": None,
    "title": {"color": INK},
    "view": {"stroke": INK, "strokeOpacity": 0.2},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": INK,
        "domainOpacity": 0.3,
        "tickColor": INK,
        "tickOpacity": 0.3,
        "gridColor": INK,
        "gridOpacity": 0.1,
    },
    "legend": {"labelColor": INK, "titleColor": INK},
}


def curves_plot(title: str, curves: Sequence[Curve], last: bool) -> dict[str, Any]:
    """Lines by epoch: validation in front, training behind it, faint and perhaps partly outside the plot.

    Args:
        title: What they show.
        curves: By revision and part.
        last: Whether these are the last epochs alone, with their own range of values.
    """
    by_part: dict[str, list[dict[str, Any]]] = {
        part: [
            {"epoch": epoch, "value": value, "revision": curve.revision}
            for curve in curves
            if curve.part == part
            for epoch, value in thinned(curve.points)
        ]
        for part in ("train", "validation")
    }
    train, validation = by_part["train"], by_part["validation"]
    values = [row["value"] for row in validation or train]
    y_scale: dict[str, Any] = {"zero": False}
    if values and min(values) < max(values):
        # From validation alone: augmented training images are often far harder.
        y_scale |= {"domain": [min(values), max(values)], "nice": True}
    few = len(validation) <= MAX_DOTS
    return {
        "$schema": SCHEMA,
        "config": CONFIG,
        "title": title,
        "width": 290,
        "height": 180,
        "encoding": {
            "x": {
                "field": "epoch",
                "type": "quantitative",
                "scale": {"zero": False, "nice": False},
                "axis": {"tickMinStep": 1, "format": "d", "grid": False},
            },
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": y_scale},
            "color": {
                "field": "revision",
                "type": "nominal",
                "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
                "legend": None
                if last
                else {"orient": "bottom", "title": "validation; training is faint", "symbolOpacity": 1},
            },
        },
        "layer": [
            {
                "data": {"values": train},
                "mark": {"type": "line", "clip": True, "opacity": 0.35, "strokeWidth": 1},
            },
            {"data": {"values": validation}, "mark": {"type": "line", "clip": True, "strokeWidth": 2}},
            {
                "data": {"values": validation},
                "mark": {"type": "point", "filled": True, "size": 22 if few else 60, "opacity": 1 if few else 0},
                "encoding": {"tooltip": [{"field": name} for name in ("revision", "epoch", "value")]},
            },
        ],
    }


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
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


def confusion_plot(changes: dict[tuple[int, int], int]) -> dict[str, Any]:
    """A map of classes: green where a confusion became rarer, orange where it became more frequent."""
    values = [
        {"actual": actual, "predicted": predicted, "change": change, "size": abs(change)}
        for (actual, predicted), change in changes.items()
    ]
    largest = max((abs(change) for change in changes.values()), default=1)
    classes = sorted({*range(10), *(label for pair in changes for label in pair)})
    return {
        "$schema": SCHEMA,
        "config": CONFIG,
        "title": "Change in confusions (images)",
        "width": 300,
        "height": 300,
        "data": {"values": values},
        "encoding": {
            "x": {
                "field": "predicted",
                "type": "ordinal",
                "scale": {"domain": classes},
                "axis": {"labelAngle": 0, "grid": True, "bandPosition": 0},
            },
            "y": {
                "field": "actual",
                "type": "ordinal",
                "scale": {"domain": classes},
                "axis": {"grid": True, "bandPosition": 0},
            },
        },
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    "color": {
                        "condition": {"test": "datum.change > 0", "value": COLOURS["head"]},
                        "value": "#2f9e57",
                    },
                    "opacity": {
                        "field": "size",
                        "type": "quantitative",
                        "scale": {"domain": [0, largest], "range": [0.15, 0.9]},
                        "legend": None,
                    },
                    "tooltip": [{"field": name} for name in ("actual", "predicted", "change")],
                },
            },
            {
                "mark": {"type": "text", "fontSize": 11, "color": INK},
                "encoding": {"text": {"field": "change", "type": "quantitative", "format": "+d"}},
            },
        ],
    }


def f1_plot(f1: dict[int, tuple[float, float]]) -> dict[str, Any]:
    """F1 of each class, a dot for each revision, joined by a line."""
    values = [
        {"class": label, "revision": revision, "f1": score}
        for label, scores in f1.items()
        for revision, score in zip(COLOURS, scores, strict=True)
    ]
    y = {"field": "class", "type": "ordinal"}
    x = {
        "field": "f1",
        "type": "quantitative",
        "title": "F1",
        "scale": {"zero": False},
        "axis": {"format": ".3f", "tickCount": 5},
    }
    return {
        "$schema": SCHEMA,
        "config": CONFIG,
        "title": "F1 by class",
        "width": 300,
        "height": 300,
        "data": {"values": values},
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "mark": {"type": "line", "color": INK, "opacity": 0.25, "strokeWidth": 2},
                "encoding": {"detail": {"field": "class"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {
                    "color": {
                        "field": "revision",
                        "type": "nominal",
                        "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
                        "legend": {"orient": "bottom", "title": None},
                    },
                    "tooltip": [{"field": name} for name in ("class", "revision", "f1")],
                },
            },
        ],
    }
