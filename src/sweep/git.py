"""Git commands that write, or that may use the network; reading is `src.revision`'s."""

import os
import re
import subprocess
from pathlib import Path

from src.core.errors import UserError

# A server that does not answer must not hold up the other trials for ever.
TIMEOUT_SECONDS = 120
IDENTITIES = ("AUTHOR", "COMMITTER")
# Git sets these for its hooks and for `git rebase --exec`. In a copy they would lead git back to the user's repository.
REPOSITORY_VARIABLES = (
    "GIT_DIR",
    "GIT_COMMON_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)


class GitError(UserError):
    """A git command that failed."""


def git(root: Path, *words: str, stdin: str = "") -> str:
    """Output of a git command, without the last newline.

    Raises:
        GitError: If it fails.
    """
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=root,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {words[0]}: no answer in {TIMEOUT_SECONDS} s") from error
    if done.returncode:
        raise GitError(f"git {words[0]}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout.removesuffix("\n")


def forget_repository() -> None:
    """Unset these variables for this process and those that it starts: git then goes by the folder."""
    for name in REPOSITORY_VARIABLES:
        os.environ.pop(name, None)


def identity(root: Path) -> dict[str, str]:
    """Who makes commits here, as environment variables.

    Raises:
        UserError: If git does not know.
    """
    found: dict[str, str] = {}
    for role in IDENTITIES:
        try:
            ident = git(root, "-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT")
        except GitError as error:
            raise UserError(
                "git does not know who you are, and experiments are commits; run "
                '`git config --global user.name "Your Name"` and `git config --global user.email you@example.org`'
            ) from error
        match = re.fullmatch(r"(.*) <(.*)> \d+ [+-]\d+", ident)
        assert match, ident
        found |= {f"GIT_{role}_NAME": match[1], f"GIT_{role}_EMAIL": match[2]}
    return found
