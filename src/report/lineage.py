"""The commit that a branch began from: a change is compared with it, not with what others did since."""

from dataclasses import dataclass
from pathlib import Path

from src.core.errors import UserError
from src.report.snapshot import find_commit, run_git


@dataclass(frozen=True)
class Lineage:
    """Where a change began.

    Attributes:
        commit: Full hash of the merge base, or of the base itself if there is none.
        behind: Number of commits on the base since then.
    """

    commit: str
    behind: int


def find_lineage(root: Path, base: str, head: str | None) -> Lineage:
    """Where a change began.

    If the head is an ancestor of the base, it has no change of its own, and the base is used as it is.

    Args:
        root: Top folder of the repository.
        base: Name of a revision.
        head: Name of a revision, or None for the working tree.

    Raises:
        UserError: If either is not a revision.
    """
    base_commit, head_commit = find_commit(root, base), find_commit(root, head or "HEAD")
    try:
        begin = run_git(root, "merge-base", base_commit, head_commit).decode().strip()
    except UserError:  # histories without a common commit
        return Lineage(base_commit, 0)
    if head is not None and begin == head_commit:
        return Lineage(base_commit, 0)
    return Lineage(begin, int(run_git(root, "rev-list", "--count", f"{begin}..{base_commit}")))
