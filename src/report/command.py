"""Compare the working tree, or HEAD, with BASE: print the verdict, write it with a comment and a page to report/.

No code of a branch is run; nothing is fetched, checked out or read from DVC's cache.
"""

import argparse
import errno
import json
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.core.files import write_text
from src.report.change import open_change
from src.report.checks import REPRODUCED, find
from src.report.comment import cells, compared, first_rows, title, write_comment
from src.report.finding import Level, code, highest, visible
from src.report.metrics import Row, as_number, judge_metrics
from src.report.page import render_page
from src.report.supervise import supervise
from src.revision.git import find_root

FOLDER = Path("report")
COMMENT, PAGE, VERDICT = "report.md", "report.html", "verdict.json"
MAX_SECONDS = 120  # A report usually takes two.
ADDRESS = re.compile(r"https://[\w./:%?=&#~-]+")


@dataclass(frozen=True)
class Report:
    """The output: Markdown, HTML, the content of verdict.json, and lines for the terminal."""

    level: Level
    comment: str
    page: str
    verdict: dict[str, Any]
    lines: list[str]


def main(argv: list[str] | None = None) -> int:
    """Write the report in a process that can be killed, so that no branch keeps a reviewer or a workflow waiting.

    Returns:
        0 for pass, 1 for fail, 2 for could not tell; also 2 if the report itself breaks.
    """
    arguments = _parse(argv)
    try:
        _forget()
    except OSError as error:
        print(f"report: could not tell: {error.filename}: {error.strerror}; move {FOLDER} away", file=sys.stderr)
        return Level.UNSURE.exit_code
    given = (arguments.base, arguments.head, arguments.reproduced, arguments.page)
    return supervise(lambda: _write(judge(*given)), lambda reason: _write(refuse(UserError(reason))), MAX_SECONDS)


def judge(base: str, head: str | None, reproduced: str = "not-tried", page_url: str = "") -> Report:
    """Compare two revisions of the project in the current directory; errors are part of the report."""
    try:
        with open_change(find_root(), base, head, reproduced) as change:
            findings = find(change)
            try:
                rows = judge_metrics(change)
            except UserError:
                rows = []  # A check reports the error.
            level = highest(findings)
            comment = write_comment(change, findings, rows, page_url)
            heading = title(change, level, rows).plain
            verdict = {
                "outcome": level.outcome,
                "title": heading,
                "base": change.base.commit,
                "head": change.head.commit,
                "reproduced": reproduced,
                "findings": [
                    {"level": one.level.name.lower(), "check": one.check, "text": one.text.plain} for one in findings
                ],
                "metrics": [
                    {"file": row.file, "name": row.name, "required": row.required}
                    | {"base": as_number(row.old), "head": as_number(row.new)}
                    for row in rows
                ],
            }
            lines = [heading, compared(change).plain, *_table(rows)]
            lines += [f"- {finding.text.plain}" for finding in findings if finding.level > Level.NOTE]
            return Report(level, comment, render_page(comment, change), verdict, lines)
    except UserError as error:
        return refuse(error)


def refuse(error: Exception) -> Report:
    """Create a report that only explains why there is no verdict."""
    level, words = Level.UNSURE, visible(error)
    comment = f"## {level.icon} Metrics: {level.outcome}\n\n{code(error)}\n"
    finding = {"level": "unsure", "check": "report", "text": words}
    verdict = {"outcome": level.outcome, "title": f"{level.outcome}: {words}", "findings": [finding]}
    return Report(level, comment, render_page(comment), verdict, [f"report: {level.outcome}: {words}"])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m src.report", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="revision to compare with: a branch, tag or commit")
    parser.add_argument("head", metavar="HEAD", nargs="?", help="revision to judge (default: the working tree)")
    parser.add_argument(
        "--reproduced",
        choices=REPRODUCED,
        default="not-tried",
        help="whether running HEAD's pipeline again reproduced its results",
    )
    parser.add_argument("--page", default="", metavar="URL", help="where the page will be, for a link in the comment")
    arguments = parser.parse_args(argv)
    if arguments.page and not ADDRESS.fullmatch(arguments.page):
        parser.error(f"--page: expected an address that begins with https://, got {arguments.page!r}")
    return arguments


def _forget() -> None:
    """Delete the old report, so that an old verdict does not outlive a report that breaks.

    Raises:
        OSError: If the folder is not writable, or is a link, which a branch may set to any place.
    """
    if FOLDER.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link", str(FOLDER))
    FOLDER.mkdir(exist_ok=True)
    for name in (COMMENT, PAGE, VERDICT):
        (FOLDER / name).unlink(missing_ok=True)


def _write(report: Report) -> int:
    """Write the files, print the lines and return the exit code."""
    _forget()
    write_text(FOLDER / COMMENT, report.comment)
    write_text(FOLDER / PAGE, report.page)
    write_text(FOLDER / VERDICT, json.dumps(report.verdict, indent=2) + "\n")
    refused = "metrics" not in report.verdict
    # The exit code does not depend on whether the output can be written, as with `head` or a full disk.
    with suppress(OSError):
        print("\n".join(report.lines), file=sys.stderr if refused else sys.stdout)
        print(FOLDER / PAGE, flush=True)
    return report.level.exit_code


def _table(rows: Sequence[Row]) -> list[str]:
    """Format the metrics of the first table for a terminal."""
    lines = [[cell.plain for cell in cells(row)] for row in first_rows(rows)]
    table = [["metric", "base", "head", "change", "may lose", ""], *lines] if lines else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in table]
