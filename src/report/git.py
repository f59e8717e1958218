"""Commits by their names. Git may not use the network, and nothing in the repository is changed."""

import os
import subprocess
from pathlib import Path

from src.core.errors import UserError

# A partial clone would fetch missing objects, and a replaced object does not match its hash.
ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


def run_git(root: Path, *words: str) -> bytes:
    """Output of a git command.

    Raises:
        UserError: If it fails.
    """
    return _git(root, *words).stdout


def git_environment() -> dict[str, str]:
    """The environment for a git process."""
    return {**os.environ, **ENVIRONMENT}


def find_root() -> Path:
    """Top folder of the repository that contains the current directory.

    Raises:
        UserError: If there is none.
    """
    try:
        return Path(os.fsdecode(run_git(Path(), "rev-parse", "--show-toplevel")).rstrip("\n"))
    except UserError as error:
        raise UserError(f"{Path().resolve()}: expected a folder of a git repository; {error}") from error


def find_commit(root: Path, name: str) -> str:
    """Full hash of the commit with this name: anything that git accepts, or the name of a DVC experiment.

    Raises:
        UserError: If there is none, or if the name could mean another commit, too. Git prefers a tag to a branch of the
            same name, and either to a short hash, and `git fetch` brings the tags of whomever it fetches from.
    """
    advice = f"try `git fetch`, or origin/{name} for a branch that only the remote has"
    unknown = UserError(f"{name}: is not a revision in this clone; {advice}")
    try:
        done = _git(root, "rev-parse", "--verify", "--end-of-options", name)
        found = done.stdout.decode().strip()
    except UserError:
        found = _find_experiment(root, name)
    except ValueError as error:
        raise unknown from error
    else:
        if b"is ambiguous" in done.stderr:
            raise UserError(
                f"{name}: is the name of more than one tag, branch or commit; "
                f"give the whole name, such as refs/heads/{name}, or the whole hash"
            )
    try:
        # Again, since the name may be that of a file or a folder.
        return run_git(root, "rev-parse", "--verify", "--quiet", f"{found}^{{commit}}").decode().strip()
    except UserError as error:
        raise unknown from error


def _find_experiment(root: Path, name: str) -> str:
    """Hash of the experiment with this name, or an empty string if there is not exactly one."""
    references = run_git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").decode().splitlines()
    found = {line.split()[0] for line in references if line.split("/")[-1] == name}
    return found.pop() if len(found) == 1 else ""


def _git(root: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    command = ["git", "-c", "core.warnAmbiguousRefs=true", *words]
    done = subprocess.run(command, cwd=root, env=git_environment(), capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"git {words[0]}: {' '.join(done.stderr.decode(errors='replace').split()) or 'failed'}")
    return done
