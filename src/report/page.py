"""The comment as one HTML file without scripts: the same Markdown, with images of examples."""

import re

from markdown_it import MarkdownIt

from src.core.errors import UserError
from src.report.change import Change
from src.report.charts import tiles
from src.revision.revision import Revision

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
    pictures = _pictures(change) if change and PICTURE.search(markdown) else {}
    return HEAD + PICTURE.sub(lambda found: pictures.get(found[1], ""), body) + "</body>\n</html>\n"


def _pictures(change: Change) -> dict[str, str]:
    predictions, layout = change.predictions, change.policy.examples.pictures
    if predictions is None or layout is None:
        return {}
    # The base has the pictures of mistakes that only the old model makes.
    shown = (("lost", predictions.lost, change.head), ("won", predictions.won, change.base))
    return {name: tiles(name, those, _picture(one, layout.file), layout) for name, those, one in shown}


def _picture(revision: Revision, path: str) -> bytes | None:
    try:
        return revision.tree.read(path)
    except UserError:
        return None
