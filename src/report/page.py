"""The comment as one HTML file without scripts: the same Markdown, with images of examples."""

import math
import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt

from src.core.errors import UserError
from src.report.change import Change
from src.report.finding import visible
from src.report.policy import Pictures
from src.report.tables import Mistake

MAX_PICTURES = 200
MAX_PICTURE_BYTES = 2_000_000
PICTURE = re.compile(r"<!-- picture: (\w+) -->")
# The page cannot send requests or run scripts, whatever it contains.
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Metrics</title>
<style>
:root { color-scheme: light dark; --text: #222; --faint: #666; --line: #ddd; --code: #f1f1f1; --back: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --faint: #999; --line: #3a3f46; --code: #262b32; --back: #14171b; }
}
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 1000px;
  margin: 1em auto 3em; padding: 0 1em; overflow-wrap: anywhere; }
h2 { font-size: 1.4em; line-height: 1.3; margin: .5em 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5em 0; }
th, td { padding: .25em .8em; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
th { color: var(--faint); font-weight: normal; text-align: left; }
th, td { overflow-wrap: normal; }
td code { white-space: nowrap; }
code { background: var(--code); padding: .1em .3em; border-radius: 3px; font-size: .92em; }
details { border-top: 1px solid var(--line); padding: .6em 0; }
summary { cursor: pointer; color: var(--faint); }
ul { padding-left: 1.2em; margin: .4em 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .6em; font-size: .75em; }
figure { margin: 0; text-align: center; line-height: 1.3; }
figure i { display: block; margin: auto; image-rendering: pixelated; border: 1px solid var(--line); }
@media (prefers-color-scheme: dark) { figure i { filter: invert(1); } }
@media (max-width: 600px) { th, td { padding: .25em .35em; font-size: .85em; } }
</style>
</head>
<body>
"""


def render_page(markdown: str, change: Change | None = None) -> str:
    """Render the page.

    Args:
        markdown: The comment, with a placeholder for each picture.
        change: The change that the pictures show; None if there are no pictures.
    """
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    reader.add_render_rule("table_open", lambda *_: '<div class="wide"><table>')
    reader.add_render_rule("table_close", lambda *_: "</table></div>")
    body = reader.render(markdown).replace("<details>", "<details open>")
    body = PICTURE.sub(lambda found: _pictures(change, found[1]) if change else "", body)
    return f"{HEAD}{body}</body>\n</html>\n"


def _pictures(change: Change, name: str) -> str:
    predictions, layout = change.predictions, change.policy.examples.pictures
    if predictions is None or layout is None:
        return ""
    # The base has the pictures of mistakes that only the old model makes.
    mistakes, revision = (predictions.lost, change.head) if name == "lost" else (predictions.won, change.base)
    try:
        png = revision.tree.read(layout.file)
    except UserError:
        png = None
    return tiles(name, mistakes, png, layout)


def tiles(name: str, mistakes: Sequence[Mistake], png: bytes | None, pictures: Pictures) -> str:
    """Show the images of mistakes, cropped from the single file that contains all of them.

    Args:
        name: Our own name for them, also used as CSS class.
        mistakes: Mistakes to show.
        png: Content of the file, or None.
        pictures: Layout of the file.
    """
    if not mistakes or png is None or not is_usable(png, pictures):
        return "<p>This revision has no usable picture of its errors.</p>" if mistakes else ""
    size, figures = pictures.side, []
    shown = [mistake for mistake in mistakes if mistake.position < pictures.most][:MAX_PICTURES]
    for mistake in shown:
        row, column = divmod(mistake.position, pictures.columns)
        words = f"{escape(visible(mistake.actual))}→{escape(visible(mistake.predicted))}<br>{mistake.index}"
        place = f"background-position:-{column * size}px -{row * size}px"
        figures.append(f'<figure><i class="{name}" style="{place}"></i>{words}</figure>')
    style = f"width:{size}px;height:{size}px;background-image:url(data:image/png;base64,{b64encode(png).decode()})"
    more = f"<p>Not shown: {len(mistakes) - len(shown)} more.</p>" if len(shown) < len(mistakes) else ""
    return f'<style>.{name}{{{style}}}</style><div class="tiles">{"".join(figures)}</div>{more}'


def is_usable(png: bytes, pictures: Pictures) -> bool:
    """Whether a PNG matches the policy: small, grey, 8 bits, of the right width, without other data.

    A few kilobytes can contain an image that takes gigabytes to show.
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
