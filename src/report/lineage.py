"""The commit that a branch began from: a change is compared with it, not with what others did since."""

from dataclasses import dataclass
from pathlib import Path

from src.core.errors import UserError
from src.revision.git import find_commit, run_git


@dataclass(frozen=True)
class Lineage:
    """Where a change began.

    Attributes:
        commit: Full hash of the one merge base, or of the base itself if there is none, or more than one.
        behind: Number of commits on the base since then.
        begins: Number of merge bases.
    """

    commit: str
    behind: int
    begins: int


def find_lineage(root: Path, base: str, head: str | None) -> Lineage:
    """Where a change began.

    If the head is an ancestor of the base, it has no change of its own, and the base is used as it is. So it is if each
    has merged the other: a branch could choose which of several merge bases git names first.

    Args:
        root: Top folder of the repository.
        base: Name of a revision.
        head: Name of a revision, or None for the working tree.

    Raises:
        UserError: If either is not a revision.
    """
    base_commit, head_commit = find_commit(root, base), find_commit(root, head or "HEAD")
    try:
        begins = run_git(root, "merge-base", "--all", base_commit, head_commit).decode().split()
    except UserError:  # histories without a common commit
        begins = []
    if len(begins) != 1 or (head is not None and begins == [head_commit]):
        return Lineage(base_commit, 0, len(begins))
    behind = int(run_git(root, "rev-list", "--count", f"{begins[0]}..{base_commit}"))
    return Lineage(begins[0], behind, 1)
