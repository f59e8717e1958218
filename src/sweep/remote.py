"""A git remote that holds the experiments of several clones."""

import os
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dvc.config import Config

from src.sweep.experiments import by_name
from src.sweep.git import GitError, git

ATTEMPTS = 4


@dataclass(frozen=True)
class Remote:
    """The remote, as a clone sees and uses it.

    Attributes:
        root: The project's folder.
        name: The remote's name or URL.
    """

    root: Path
    name: str

    def experiments(self) -> dict[str, str]:
        """Reference of every experiment on the remote, by the experiment's name.

        Raises:
            GitError: If the remote cannot be read.
        """
        listed = self._patiently("ls-remote", self.name, "refs/exps/*").splitlines()
        return by_name([line.split("\t")[1] for line in listed])

    def fetch(self, references: Iterable[str]) -> None:
        """Bring experiments into this clone.

        Raises:
            GitError: If the remote cannot be read.
        """
        if refspecs := "".join(f"{reference}:{reference}\n" for reference in references):
            quietly = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--stdin")
            self._patiently(*quietly, self.name, stdin=refspecs)

    def push_words(self, names: Iterable[str]) -> list[str]:
        """Words of the dvc command that pushes experiments, with their files if DVC has a remote for these."""
        has_storage = Config(dvc_dir=os.fspath(self.root / ".dvc"))["core"].get("remote")
        return ["--wait-for-lock", "exp", "push", *([] if has_storage else ["--no-cache"]), self.name, *names]

    def _patiently(self, *words: str, stdin: str = "") -> str:
        """Output of a git command, which a busy server may fail at, with growing pauses."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return git(self.root, *words, stdin=stdin)
            except GitError:
                time.sleep(random.uniform(0, 0.5 * 2**attempt))
        return git(self.root, *words, stdin=stdin)
