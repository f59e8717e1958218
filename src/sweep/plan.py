"""The experiments that a commit should have, and whether it is ready to run them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE
from src.mnist.model.params import Params
from src.revision.git import find_commit
from src.revision.tree import open_tree
from src.sweep.git import git
from src.sweep.identity import Code, code_of, name_of, params_of
from src.sweep.records import Run
from src.sweep.spec import Sweep

# Besides the code and params, these decide what a run does.
RULES = ("dvc.yaml", ".dvcignore", ".dvc/config", ".gitattributes")


@dataclass(frozen=True)
class Base:
    """The commit that experiments begin from.

    Attributes:
        root: Top folder of the repository.
        commit: Full hash.
        code: What the experiments' names depend on besides params.
        params: Those of the commit's params.yaml.
    """

    root: Path
    commit: str
    code: Code
    params: Params

    def run(self, params: Params) -> Run:
        """A run of this commit's code."""
        return Run(name_of(params, self.code), params)

    def runs(self, sweep: Sweep) -> list[Run]:
        """All runs of a sweep."""
        return [self.run(params) for params in sweep.runs(self.params)]

    def reference(self, name: str) -> str:
        """Where DVC puts an experiment that begins from this commit."""
        return f"refs/exps/{self.commit[:2]}/{self.commit[2:]}/{name}"


def read_base(root: Path, revision: str = "HEAD") -> Base:
    """Read what is needed of a commit.

    Raises:
        UserError: If there is no such revision, or if it is not one of this pipeline.
    """
    commit = find_commit(root, revision)
    with open_tree(root, revision, commit) as snapshot:
        return Base(root, commit, code_of(snapshot), params_of(snapshot))


def check_committed(base: Base) -> None:
    """Check that the working tree's code and params are those of the commit, which is what experiments run.

    Raises:
        UserError: If they differ.
    """
    paths = {path for hashes in base.code.values() for path in hashes} | {PARAMS_FILE, *RULES}
    changed = git(base.root, "status", "--porcelain", "--untracked-files=all", "--", *sorted(paths))
    if changed:
        files = _listed([line[3:] for line in changed.splitlines()])
        raise UserError(f"{files}: not committed, and a sweep runs what is committed; commit it or `git restore` it")


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
