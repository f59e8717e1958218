"""A git remote through which several clones share the runs of a sweep.

Before a clone starts a run, it puts a claim on it: the reference `refs/sweep/NAME` on the remote, which only one of
several pushes can create. A claim is a commit without files whose message names the clone and its machine, and whose
date is when it was last renewed. One that has not been renewed for ten minutes is that of a dead machine, and
another clone takes it over. The clocks of the machines must agree within a few minutes.
"""

import os
import platform
import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from src.core.files import write_text
from src.sweep.git import GitError, git
from src.sweep.records import by_name

CLAIMS = "refs/sweep"
BUSY = "is being run by another clone"
OWNER = Path("logs/sweep/owner")
RENEW_SECONDS, DEAD_SECONDS = 60, 600
ATTEMPTS = 6
# Hooks are for branches; that of `dvc install` would push the whole cache.
PUSH = ("push", "--quiet", "--no-verify")
_Result = TypeVar("_Result")


class Remote:
    """The remote, as this clone sees and uses it."""

    def __init__(self, root: Path, name: str, identity: Mapping[str, str]) -> None:
        """Use a remote.

        Args:
            root: Top folder of the repository.
            name: A git remote's name or URL.
            identity: Environment variables that tell git who makes commits.
        """
        self.root, self.name, self.identity = root, name, identity
        self.owner = _owner(root)
        # Commit of each claim that is held.
        self._held: dict[str, str] = {}
        self._renewed = time.monotonic()

    def tidy(self) -> None:
        """Remove the claims on experiments that are there: a push was interrupted before it came to that."""
        done, claims = self.experiments(), self._list(f"{CLAIMS}/*")
        for reference, commit in claims.items():
            if (name := reference.rpartition("/")[2]) in done:
                self._held[name] = commit
                self.release(name)

    def commit(self, reference: str) -> str | None:
        """The commit that an experiment's reference points to on the remote; None if there is no such reference."""
        return self._list(reference).get(reference)

    def experiments(self) -> dict[str, str]:
        """Reference of every experiment on the remote, by the experiment's name.

        Raises:
            UserError: If the remote cannot be read.
        """
        return by_name(list(self._list("refs/exps/*")))

    def fetch(self, references: Iterable[str]) -> None:
        """Bring experiments into this clone."""
        if refspecs := "".join(f"{reference}:{reference}\n" for reference in references):
            again(
                lambda: git(
                    self.root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--stdin", self.name,
                    stdin=refspecs,
                )
            )  # fmt: skip

    def claim(self, name: str) -> str:
        """Claim a run.

        Returns:
            Empty if this clone may run it, else what others do with it.
        """
        expected = ""
        for attempt in range(ATTEMPTS):
            commit = self._make_claim()
            try:
                again(lambda: self._push_claim(name, expected, commit))  # noqa: B023
            except GitError as error:
                if not error.refused:
                    raise
                expected = self._list(f"{CLAIMS}/{name}").get(f"{CLAIMS}/{name}", "")
                if expected and (holder := self._holder(name, expected)):
                    return holder
                if not expected and attempt == ATTEMPTS - 1:
                    # Nobody holds it: the remote takes no claims, because a hook or a rule of its server forbids them.
                    raise
                # Refused although no clone holds it: another one was pushing at the same moment.
                time.sleep(random.uniform(0, 0.2 * 2**attempt))
                continue
            self._held[name] = commit
            # Only now: it may have been finished, and its claim removed, before this claim was made.
            if name in self.experiments():
                self.release(name)
                return "has been run by another clone"
            return ""
        return BUSY

    def renew(self) -> None:
        """Renew all claims if it is time to."""
        if not self._held or time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        for name, old in self._held.items():
            # Each by itself, so that one which was taken over after a long pause leaves the others alive. A run whose
            # claim is not renewed goes on: at worst it is run twice.
            with suppress(GitError):
                new = self._make_claim()
                self._push_claim(name, old, new)
                self._held[name] = new

    def release(self, name: str) -> None:
        """Remove a claim, if it is still held by this clone."""
        reference, commit = f"{CLAIMS}/{name}", self._held.pop(name)
        # If the remote cannot be reached, `tidy` removes it later.
        with suppress(GitError):
            again(lambda: git(self.root, *PUSH, f"--force-with-lease={reference}:{commit}", self.name, f":{reference}"))

    def forget(self, name: str) -> None:
        """Stop renewing a claim without removing it, so that others leave a failed run alone for a while."""
        self._held.pop(name, None)

    def _list(self, pattern: str) -> dict[str, str]:
        listed = again(lambda: git(self.root, "ls-remote", self.name, pattern)).splitlines()
        return {reference: commit for commit, reference in (line.split("\t") for line in listed)}

    def _make_claim(self) -> str:
        tree = git(self.root, "mktree")
        message = f"{self.owner} on {platform.node()}"
        # A date of its own makes each commit another one; that of the environment, if it has one, would not be now.
        now = {"GIT_COMMITTER_DATE": f"{int(time.time())} +0000"}
        return git(self.root, "commit-tree", tree, "-m", message, env={**now, **self.identity})

    def _push_claim(self, name: str, expected: str, commit: str) -> None:
        """Push a claim if the remote still has the expected one; empty: none."""
        reference = f"{CLAIMS}/{name}"
        git(self.root, *PUSH, f"--force-with-lease={reference}:{expected}", self.name, f"{commit}:{reference}")

    def _holder(self, name: str, commit: str) -> str:
        """What the holder of a claim does; empty if that is this clone or a dead machine."""
        try:
            git(
                self.root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", self.name, f"{CLAIMS}/{name}"
            )  # fmt: skip
            date, message = git(self.root, "show", "--no-patch", "--format=%ct %s", commit).split(maxsplit=1)
        except GitError:
            # Removed or renewed in the meantime.
            return BUSY
        owner, _, machine = message.partition(" on ")
        if owner == self.owner or time.time() - int(date) > DEAD_SECONDS:
            return ""
        return f"is being run on {machine}"


def again(action: Callable[[], _Result]) -> _Result:
    """Do something that a busy or unreachable server may fail at, with growing pauses.

    Raises:
        GitError: If it is refused, or if it fails every time.
    """
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except GitError as error:
            if error.refused or attempt == ATTEMPTS - 1:
                raise
        time.sleep(random.uniform(0, 0.2 * 2**attempt))
    raise AssertionError


def _owner(root: Path) -> str:
    """The name of this clone in claims: random, kept while the clone is where it is. A copy of it gets another."""
    path, here = root / OWNER, os.fspath(root.resolve())
    owner, _, place = path.read_text(encoding="utf-8").strip().partition(" ") if path.exists() else ("", "", "")
    if place != here:
        owner = uuid.uuid4().hex
        write_text(path, f"{owner} {here}\n")
    return owner
