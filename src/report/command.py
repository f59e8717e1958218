"""Compare the working tree, or HEAD, with BASE: Markdown on the terminal, Markdown and HTML in the folder report/.

Nothing of a branch is run, and nothing is fetched, checked out or read from DVC's cache.
"""

import argparse
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from src.core.errors import UserError
from src.core.files import write_text
from src.report.compare import REPRODUCED, choose_policy, compare, could_not_tell
from src.report.document import Data, Document, Message
from src.report.escape import visible
from src.report.evidence import accumulated_reasons, no_reference
from src.report.lineage import find_lineage
from src.report.markdown import render_markdown
from src.report.page import render_page
from src.report.revision import Revision, read_revision
from src.report.verdict import Outcome, Reason
from src.revision.git import find_commit, find_root

FOLDER = Path("report")
MAX_SECONDS = 120  # a report takes two


def main(argv: list[str] | None = None) -> int:
    """Write the report.

    Returns:
        0 for pass, 1 for fail, 2 for could not tell; also 2 if the report itself breaks.
    """
    parser = argparse.ArgumentParser(prog="python -m src.report", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="the revision to compare with: a branch, a tag, a commit")
    parser.add_argument("head", metavar="HEAD", nargs="?", help="the revision to judge; the working tree by default")
    parser.add_argument(
        "--reproduced",
        choices=REPRODUCED,
        default="not-tried",
        help="whether running HEAD's pipeline again gave its results",
    )
    arguments = parser.parse_args(argv)
    # No branch may keep a reviewer, or the workflow that comments, waiting.
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(MAX_SECONDS)
    try:
        # An old verdict must not outlive a report that breaks.
        for name in ("report.md", "report.html"):
            (FOLDER / name).unlink(missing_ok=True)
        return _write(*judge_revisions(arguments.base, arguments.head, arguments.reproduced)).value
    except Exception as error:
        # Exit code 1 would mean that the change is known to be worse.
        traceback.print_exc()
        try:
            problem = UserError(f"the report itself broke: {type(error).__name__}: {error}")
            return _write(*could_not_tell(problem)).value
        except Exception:
            traceback.print_exc()
            return Outcome.UNKNOWN.value
    finally:
        signal.alarm(0)


class TooLongError(Exception):
    """The time is up. Not a UserError, which a part of the report may catch to go on without some file."""


def _give_up(*_: object) -> None:
    raise TooLongError(f"took more than {MAX_SECONDS} seconds, which the report allows no branch")


def judge_revisions(base: str, head: str | None, reproduced: str) -> tuple[Document, Outcome]:
    """Compare two revisions of the repository in the current directory; the report explains what could not be read."""
    try:
        if "" in (base, head):
            raise UserError("expected the name of a revision, got an empty string; try `python -m src.report main`")
        root = find_root()
        old, new = read_revision(root, base), read_revision(root, head)
        reasons = _accumulated(root, old, new)
        lineage = find_lineage(root, base, head)
        if lineage.begins != 1:
            began = "began more than once from " if lineage.begins else "has no commit in common with "
            text = ["the branch ", began, Data(base), ": compared with that revision itself"]
            reasons.append(Reason(Outcome.PASS, text))
        if lineage.behind:
            begin = read_revision(root, lineage.commit)
            # Today's rules apply, and a branch cannot escape judgement by starting from a commit without results.
            if begin.has_results or not old.has_results:
                old = replace(begin, name=base, policy=old.policy, noise=old.noise)
                behind = f"{lineage.behind} commit{'s' if lineage.behind > 1 else ''} behind "
                reasons.append(
                    Reason(Outcome.PASS, [behind, Data(base), ": compared with the commit where the branch began"])
                )
        return compare(old, new, reproduced, reasons)
    except (UserError, TooLongError) as error:
        print(f"report: {visible(Message(error))}", file=sys.stderr)
        return could_not_tell(error)


def _accumulated(root: Path, base: Revision, head: Revision) -> list[Reason]:
    """What was lost since the policy's reference."""
    policy, _, _ = choose_policy(base, head)
    if policy.reference is None:
        return []
    try:
        reference = replace(read_revision(root, find_commit(root, policy.reference)), name=policy.reference)
    except UserError as error:
        return no_reference(error)
    return accumulated_reasons(reference, head, policy, base.noise)


def _write(document: Document, outcome: Outcome) -> Outcome:
    markdown = render_markdown(document)
    write_text(FOLDER / "report.md", markdown)
    write_text(FOLDER / "report.html", render_page(document))
    print(markdown, end="")
    return outcome
