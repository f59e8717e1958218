"""The results of a sweep as one self-contained HTML file."""

import base64
import html
import re
from dataclasses import dataclass

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1080px; margin: 1em auto 3em;
  padding: 0 1em; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.4em; }} h2 {{ font-size: 1.15em; margin-top: 2em; }}
img {{ max-width: 100%; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: left; font-variant-numeric: tabular-nums; }}
th {{ color: #666; font-weight: normal; }}
code {{ background: #f3f3f3; padding: .1em .3em; border-radius: 3px; }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


@dataclass(frozen=True)
class Grid:
    """A table as text.

    Attributes:
        title: What it shows.
        header: Names of the columns.
        rows: Cells.
    """

    title: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Summary:
    """What is known of a sweep, in the order in which it is shown: sentences, then tables."""

    sentences: list[str]
    tables: list[Grid]


def render(title: str, summary: Summary, picture: bytes) -> str:
    """The page.

    Args:
        title: Its title.
        summary: What it says.
        picture: PNG.
    """
    sentences = "".join(f"<p>{_text(sentence)}</p>\n" for sentence in summary.sentences)
    drawn = base64.b64encode(picture).decode()
    image = f'<p><img alt="Validation accuracy against each param" src="data:image/png;base64,{drawn}"></p>\n'
    tables = "".join(map(_table, summary.tables))
    return f"{HEAD.format(title=html.escape(title))}{sentences}{image}{tables}</body>\n</html>\n"


def _table(grid: Grid) -> str:
    rows = [_row("th", grid.header), *(_row("td", row) for row in grid.rows)]
    return f'<h2>{_text(grid.title)}</h2>\n<div class="wide"><table>\n{"".join(rows)}</table></div>\n'


def _row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"


def _text(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
