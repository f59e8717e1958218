"""Compare the working tree, or HEAD, with BASE: Markdown on the terminal, Markdown and HTML in the folder report/."""

import argparse
import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from src.core.errors import UserError
from src.core.files import write_text
from src.report.compare import compare, could_not_tell
from src.report.markdown import render_markdown
from src.report.page import render_page
from src.report.revision import read_revision

FOLDER = Path("report")


def main(argv: list[str] | None = None) -> int:
    """Write the report.

    Returns:
        0 pass, 1 fail, 2 could not tell.
    """
    parser = argparse.ArgumentParser(prog="python -m src.report", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="the revision to compare with: a branch, a tag, a commit")
    parser.add_argument("head", metavar="HEAD", nargs="?", help="the revision to judge; the working tree by default")
    arguments = parser.parse_args(argv)
    try:
        if "" in (arguments.base, arguments.head):
            raise UserError("expected the name of a revision, got an empty text; try `python -m src.report main`")
        repo = _open()
        document, outcome = compare(read_revision(repo, arguments.base), read_revision(repo, arguments.head))
    except UserError as error:
        print(f"report: {error}", file=sys.stderr)
        document, outcome = could_not_tell(error)
    markdown = render_markdown(document)
    write_text(FOLDER / "report.md", markdown)
    write_text(FOLDER / "report.html", render_page(document))
    print(markdown, end="")
    return outcome.value


def _open() -> Repo:
    try:
        return Repo(".")
    except DvcException as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
