"""Helpers that read a report."""

from typing import Any

from src.report import command

PASS, FAIL, UNKNOWN = "pass", "fail", "could not tell"


def verdict_of(base: str, head: str | None = None) -> dict[str, Any]:
    """Content of verdict.json for the project in the current directory."""
    return command.judge(base, head).verdict


def judge(base: str = "main", head: str | None = None) -> tuple[str, str]:
    """The outcome and the comment."""
    report = command.judge(base, head)
    return report.verdict["outcome"], report.comment


def reasons(base: str = "main", head: str | None = None, check: str = "") -> list[str]:
    """Findings of all checks, or of one, as plain text."""
    return texts(verdict_of(base, head), check)


def texts(verdict: dict[str, Any], check: str = "") -> list[str]:
    """Findings in a verdict."""
    return [finding["text"] for finding in verdict["findings"] if check in ("", finding["check"])]


def row(markdown: str, metric: str) -> str:
    """The line of a metric in a table of the comment."""
    starts = (f"| `{metric}` |", f"| **`{metric}`** |")
    return next(line for line in markdown.splitlines() if line.startswith(starts))
