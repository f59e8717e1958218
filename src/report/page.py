"""The report as one self-contained HTML file: library, data and pictures are inside."""

import base64
import html
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import vl_convert

from src.report.document import (
    Better,
    Block,
    Bullets,
    ConfusionMap,
    Curves,
    Data,
    Digits,
    Document,
    F1Bars,
    Fold,
    Paragraph,
    Section,
    Sentence,
    Strong,
    Table,
    Worse,
)
from src.report.escape import html_code
from src.report.tables import Mistake
from src.report.vega import confusion_plot, curves_plot, f1_plot

MAX_DIGITS = 200
WORDS_COLUMNS = 5  # only the table of metrics has five, the last of which holds a sentence
MAX_TILE_BYTES = 2_000_000
# As in src/mnist/evaluate/tiles.py, which this cannot import: the report is installed without NumPy.
TILE_PIXELS, COLUMNS, MAX_TILES, ZOOM = 28, 20, 1000, 2
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# The policy forbids every request, regardless of the page's content; Vega compiles its expressions, hence unsafe-eval.
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --text: #222; --faint: #666; --line: #ddd; --code: #f3f3f3; --back: #fff;
  --good: #1a7f37; --bad: #c2410c; --unsure: #7d5a00; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #ddd; --faint: #999; --line: #3a3f46; --code: #262b32; --back: #14171b;
    --good: #57c26d; --bad: #ff8f57; --unsure: #e0b23a; }}
}}
* {{ box-sizing: border-box; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 1080px;
  margin: 1em auto 3em; padding: 0 1em; overflow-wrap: anywhere; }}
h1 {{ font-size: 1em; font-weight: normal; color: var(--faint); margin: 0; }}
h2 {{ font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid var(--line); }}
h3 {{ font-size: 1em; margin: 1.5em 0 .5em; }}
.verdict {{ border-left: 5px solid var(--unsure); padding-left: 1em; margin: .5em 0 1.5em; }}
.verdict h2 {{ font-size: 1.5em; border: 0; margin: 0; color: var(--unsure); }}
.verdict ul {{ margin: .3em 0; padding-left: 1.2em; }}
.verdict p {{ color: var(--faint); margin: .3em 0; }}
.pass {{ border-color: var(--good); }} .pass h2, .better {{ color: var(--good); }}
.fail {{ border-color: var(--bad); }} .fail h2, .worse {{ color: var(--bad); }}
.better, .worse {{ white-space: nowrap; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; margin: .5em 0; }}
th, td {{ padding: .2em .8em; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }}
th {{ color: var(--faint); font-weight: normal; }}
.right {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.right code {{ white-space: normal; }}
summary {{ cursor: pointer; color: var(--faint); }}
code {{ background: var(--code); padding: .1em .3em; border-radius: 3px; }}
.plots {{ display: flex; flex-wrap: wrap; gap: 1.5em; }}
.plot, .plot svg {{ max-width: 100%; height: auto; }}
.digits {{ display: flex; flex-wrap: wrap; gap: .5em; }}
figure {{ margin: 0; text-align: center; font-size: .75em; line-height: 1.3; }}
figure span {{ display: block; width: 56px; height: 56px; margin: auto; border: 1px solid var(--line); }}
figure span {{ image-rendering: pixelated; }}
@media (prefers-color-scheme: dark) {{ figure span {{ filter: invert(1); }} }}
@media (min-width: 601px) {{ td:first-child code {{ white-space: nowrap; }} }}
@media (max-width: 600px) {{
  th, td {{ padding: .2em .35em; font-size: .85em; }}
  /* The numbers between a line for the name and a line for the words. */
  .words tr {{ display: grid; grid-template-columns: 2fr 2fr 3fr; border-bottom: 1px solid var(--line); }}
  .words th, .words td {{ border: 0; }}
  .words :is(th, td):is(:first-child, :last-child) {{ grid-column: 1 / -1; }}
  .words th:last-child {{ display: none; }}
}}
{tiles}
</style>
</head>
<body>
"""
DRAW = """<script>
for (const [id, spec] of Object.entries(PLOTS)) {
  vegaEmbed("#" + id, spec, {renderer: "svg", actions: false}).catch(console.error);
}
</script>
"""


def render_page(document: Document) -> str:
    """The whole report as HTML."""
    plots: dict[str, dict[str, Any]] = {}
    body = "".join(_section(section, plots) for section in document.sections)
    title = html.escape(document.title)
    parts = [HEAD.format(title=title, tiles=_tile_styles(document)), f"<h1>{title}</h1>\n", body]
    if plots:
        library = _library()
        specs = json.dumps(plots, allow_nan=False).replace("<", "\\u003c")
        parts += [f"<script>{library}</script>\n<script>const PLOTS = {specs};</script>\n", DRAW]
    return "".join([*parts, "</body>\n</html>\n"])


@cache
def _library() -> str:
    """Vega-Embed with all that it needs, as one script; to bundle it takes most of a second."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _section(section: Section, plots: dict[str, dict[str, Any]]) -> str:
    lines = [f'<section class="verdict {section.tone}">\n' if section.tone else "<section>\n"]
    lines.append(f"<h2>{html.escape(section.title)}</h2>\n")
    drawn = []
    for block in section.blocks:
        if spec := _spec(block):
            name = f"plot{len(plots)}"
            plots[name] = spec
            drawn.append(f'<div id="{name}" class="plot"></div>')
        else:
            lines.append(_block(block))
    # The plots of a section are side by side, before the digits, which may be many.
    pictures = [f'<div class="plots">{"".join(drawn)}</div>\n'] if drawn else []
    digits = sum(isinstance(block, Digits) for block in section.blocks)
    return "".join([*lines[: len(lines) - digits], *pictures, *lines[len(lines) - digits :], "</section>\n"])


def _spec(block: Block) -> dict[str, Any] | None:
    match block:
        case Curves(title, curves, last):
            return curves_plot(title, curves, last)
        case ConfusionMap(changes):
            return confusion_plot(changes)
        case F1Bars(f1):
            return f1_plot(f1)
        case _:
            return None


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_sentence(text)}</p>\n"
        case Bullets(items, left_out):
            more = [f"and {left_out} more"] if left_out else []
            return "<ul>" + "".join(f"<li>{line}</li>" for line in [*map(_sentence, items), *more]) + "</ul>\n"
        case Table():
            return _table(block)
        case Fold(summary, table):
            return f"<details>\n<summary>{html.escape(summary)}</summary>\n{_table(table)}</details>\n"
        case Digits():
            return _digits(block)
        case _:
            raise TypeError(type(block))


def _sentence(parts: Sentence) -> str:
    return "".join(map(_part, parts))


def _part(part: str) -> str:
    match part:
        case Data():
            return html_code(part)
        case Strong():
            return f"<strong>{html.escape(part)}</strong>"
        case Better():
            return f'<span class="better">{html.escape(part)}</span>'
        case Worse():
            return f'<span class="worse">{html.escape(part)}</span>'
        case _:
            return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(part))


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        classes = [' class="right"' if column in table.right else "" for column in range(len(cells))]
        return "<tr>" + "".join(f"<{tag}{c}>{cell}</{tag}>" for c, cell in zip(classes, cells, strict=True)) + "</tr>\n"

    rows = [row([html.escape(cell) for cell in table.header], "th")]
    rows += [row([_sentence(cell) for cell in cells], "td") for cells in table.rows]
    more = f"<p>and {table.left_out} more rows</p>\n" if table.left_out else ""
    kind = ' class="words"' if len(table.header) == WORDS_COLUMNS else ""
    return f'<div class="wide"><table{kind}>\n{"".join(rows)}</table></div>\n{more}'


def _digits(digits: Digits) -> str:
    count, shown = len(digits.mistakes), digits.mistakes[:MAX_DIGITS]
    more = f"<p>and {count - len(shown)} more</p>\n" if count > len(shown) else ""
    note = "" if _usable(digits.tiles) or not count else "<p>This revision has no picture of its errors.</p>\n"
    figures = "".join(_figure(digits, mistake) for mistake in shown)
    title = f"<h3>{count} {html.escape(digits.label)}: actual→predicted, number in the test set</h3>\n"
    return f'{title}{note}<div class="digits">{figures}</div>\n{more}'


def _figure(digits: Digits, mistake: Mistake) -> str:
    row, column = divmod(mistake.position, COLUMNS)
    size = TILE_PIXELS * ZOOM
    picture = (
        f'<span class="tiles-{digits.label}" style="background-position: {-column * size}px {-row * size}px"></span>'
        if _usable(digits.tiles) and mistake.position < MAX_TILES
        else ""
    )
    return (
        f"<figure>{picture}<figcaption>{mistake.actual}→{mistake.predicted}<br>{mistake.index}</figcaption></figure>\n"
    )


def _tile_styles(document: Document) -> str:
    """Each picture once, for any number of digits cut from it."""
    blocks = [block for section in document.sections for block in section.blocks if isinstance(block, Digits)]
    return "\n".join(
        f".tiles-{block.label} {{ background: url(data:image/png;base64,{base64.b64encode(block.tiles).decode()}); "
        f"background-size: {TILE_PIXELS * COLUMNS * ZOOM}px auto; }}"
        for block in blocks
        if block.tiles is not None and _usable(block.tiles)
    )


def _usable(tiles: bytes | None) -> bool:
    return tiles is not None and len(tiles) <= MAX_TILE_BYTES and tiles.startswith(PNG_SIGNATURE)
