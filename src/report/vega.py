"""Plots of the HTML page, as Vega-Lite specifications."""

from collections.abc import Sequence
from typing import Any

from src.report.document import Curve
from src.report.mermaid import COLOURS

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name; the library that is embedded reads it as a version


def curves_plot(title: str, curves: Sequence[Curve]) -> dict[str, Any]:
    """Lines by epoch: colour for the revision, dashes for the training part."""
    values = [
        {"epoch": epoch, "value": value, "revision": curve.revision, "part": curve.part}
        for curve in curves
        for epoch, value in curve.points
    ]
    return {
        "$schema": SCHEMA,
        "title": title,
        "width": 290,
        "height": 210,
        "data": {"values": values},
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative", "axis": {"tickMinStep": 1, "format": "d", "grid": False}},
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}},
            "color": {
                "field": "revision",
                "type": "nominal",
                "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
                "legend": {"orient": "bottom", "title": None},
            },
        },
        "layer": [
            {
                "mark": "line",
                "encoding": {
                    "strokeDash": {
                        "field": "part",
                        "type": "nominal",
                        "scale": {"domain": ["validation", "train"], "range": [[1, 0], [4, 3]]},
                        "legend": {"orient": "bottom", "title": None},
                    }
                },
            },
            {
                # A layer of its own: as an option of the line it would take the dashes out of the legend.
                "mark": {"type": "point", "filled": True, "size": 18, "opacity": 1},
                "encoding": {
                    "detail": {"field": "part"},
                    "tooltip": [{"field": name} for name in ("revision", "part", "epoch", "value")],
                },
            },
        ],
    }


def confusion_plot(changes: dict[tuple[int, int], int]) -> dict[str, Any]:
    """A map of classes: green where a confusion became rarer, orange where it became more frequent."""
    values = [
        {"actual": actual, "predicted": predicted, "change": change} for (actual, predicted), change in changes.items()
    ]
    largest = max((abs(change) for change in changes.values()), default=1)
    classes = sorted({*range(10), *(label for pair in changes for label in pair)})
    return {
        "$schema": SCHEMA,
        "title": "Change in confusions (images)",
        "width": 300,
        "height": 300,
        "data": {"values": values},
        "encoding": {
            "x": {
                "field": "predicted",
                "type": "ordinal",
                "scale": {"domain": classes},
                "axis": {"labelAngle": 0, "grid": True, "bandPosition": 0, "gridColor": "#eee"},
            },
            "y": {
                "field": "actual",
                "type": "ordinal",
                "scale": {"domain": classes},
                "axis": {"grid": True, "bandPosition": 0, "gridColor": "#eee"},
            },
        },
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    "color": {
                        "field": "change",
                        "type": "quantitative",
                        "scale": {"domain": [-largest, 0, largest], "range": ["#3a9d5d", "#f7f7f7", COLOURS["head"]]},
                        "legend": None,
                    },
                    "tooltip": [{"field": name} for name in ("actual", "predicted", "change")],
                },
            },
            {
                "mark": {"type": "text", "fontSize": 11},
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
    x = {"field": "f1", "type": "quantitative", "title": "F1", "scale": {"zero": False}, "axis": {"format": ".3f"}}
    return {
        "$schema": SCHEMA,
        "title": "F1 by class",
        "width": 300,
        "height": 300,
        "data": {"values": values},
        "encoding": {"x": x, "y": y},
        "layer": [
            {"mark": {"type": "line", "color": "#ccc", "strokeWidth": 2}, "encoding": {"detail": {"field": "class"}}},
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
