"""Graphics of a report: learning curves as characters, and images of lost and won examples for the page."""

import math
from base64 import b64encode
from collections.abc import Sequence
from html import escape

from src.report.finding import visible
from src.report.policy import Pictures
from src.report.tables import Mistake

BLOCKS = "▁▂▃▄▅▆▇█"
MAX_VALUE = 1e9  # Larger values are not drawn.
MAX_EPOCHS = 30  # Per curve.
MAX_PICTURES = 200
MAX_PICTURE_BYTES = 2_000_000


def sparklines(column: str, histories: Sequence[Sequence[dict[str, float]]]) -> list[str]:
    """Draw one column of several histories as a block per epoch, on a shared scale; missing values are dots."""
    found = [{row["epoch"]: row[column] for row in rows if abs(row[column]) < MAX_VALUE} for rows in histories]
    epochs = sorted({epoch for values in found for epoch in values})
    epochs = epochs[:: len(epochs) // MAX_EPOCHS + 1][:-1] + epochs[-1:]
    # The scale omits the first epochs, which are often far worse and would flatten the rest.
    scale = [values[epoch] for values in found for epoch in epochs[len(epochs) // 3 :] if epoch in values]
    low, high = min(scale, default=0.0), max(scale, default=0.0)

    def block(value: float | None) -> str:
        if value is None:
            return "·"
        return BLOCKS[round((min(max(value, low), high) - low) / ((high - low) or 1) * (len(BLOCKS) - 1))]

    return ["".join(block(values.get(epoch)) for epoch in epochs).rstrip("·") for values in found]


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
