"""The report as Markdown for a comment on GitHub: no external images, and within GitHub's limit on its length."""

from collections.abc import Sequence

from src.report.document import (
    Block,
    Bullets,
    Curves,
    Data,
    Digits,
    Document,
    Fold,
    Paragraph,
    Section,
    Sentence,
    Strong,
    Table,
)
from src.report.escape import markdown_code
from src.report.mermaid import xychart

MAX_LENGTH = 60_000  # characters; GitHub accepts 65,536, and the workflow that posts the report adds a line
MAX_INDICES = 60


def render_markdown(document: Document) -> str:
    """The whole report, at most MAX_LENGTH characters.

    If it is too long, a remark replaces the longest sections, but never the verdict.
    """
    first, *others = (_section(section) for section in document.sections)
    for longest in sorted(range(len(others)), key=lambda position: -len(others[position])):
        if len(first) + sum(map(len, others)) <= MAX_LENGTH - 200:
            break
        heading = others[longest].split("\n", 1)[0]
        others[longest] = f"{heading}\n\nToo long for a comment; the HTML page has it.\n\n"
    return f"## {document.title}\n\n{first}{''.join(others)}"[:MAX_LENGTH]


def _section(section: Section) -> str:
    blocks = (_block(block) for block in section.blocks)
    return "\n\n".join([f"### {section.title}", *(block for block in blocks if block)]) + "\n\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _sentence(text)
        case Bullets(items, left_out):
            more = [f"and {left_out} more"] if left_out else []
            return "\n".join(f"- {line}" for line in [*map(_sentence, items), *more])
        case Table():
            return _table(block)
        case Fold(summary, table):
            return f"<details><summary>{summary}</summary>\n\n{_table(table)}\n\n</details>"
        case Curves(title, curves, False):
            lines = [curve for curve in curves if curve.part == "validation" and curve.points]
            if not lines:
                return ""
            legend = ", ".join(
                f"{curve.revision} {'grey' if curve.revision == 'base' else 'orange'}" for curve in lines
            )
            return f"```mermaid\n{xychart(f'{title}, validation part ({legend})', lines)}\n```"
        case Digits(label, mistakes):
            return _digits(label, mistakes)
        case _:
            return ""  # drawn only on the HTML page


def _sentence(parts: Sentence) -> str:
    return "".join(
        markdown_code(part) if isinstance(part, Data) else f"**{part}**" if isinstance(part, Strong) else part
        for part in parts
    )


def _table(table: Table) -> str:
    rule = ["---:" if column in table.right else "---" for column in range(len(table.header))]
    rows: list[Sequence[str]] = [table.header, rule, *(list(map(_sentence, row)) for row in table.rows)]
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{text}\n\nand {table.left_out} more rows" if table.left_out else text


def _digits(label: str, mistakes: Sequence) -> str:
    if not mistakes:
        return f"No digit {label}."
    shown = ", ".join(f"{m.index} ({m.actual}→{m.predicted})" for m in mistakes[:MAX_INDICES])
    more = f" and {len(mistakes) - MAX_INDICES} more" if len(mistakes) > MAX_INDICES else ""
    return f"**{len(mistakes)} {label}** (index in the test set, actual→predicted): {shown}{more}"
