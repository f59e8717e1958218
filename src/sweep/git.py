"""Git commands that write or may use the network; `src.revision` has those that read.

Trials run in copies of the repository, so that none touches the working tree or waits for a lock. A copy is a clone of
one commit that borrows git's objects and shares DVC's cache. It is where DVC puts its own copies, so that checkpoints
are kept in `logs/checkpoints` of the project.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dvc.config import Config

from src.core.errors import UserError
from src.guard.preflight import cache_folder

# A remote that does not answer must not block other trials for ever.
TIMEOUT_SECONDS = 120
COPIES = Path(".dvc/tmp/exps/sweep")


def git(root: Path, *words: str) -> str:
    """Output of a git command, without the last newline; raises UserError if it fails or takes over two minutes."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=root,
            # Without locks that it can do without, of which another command of the user would complain.
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"git {words[0]}: no answer in {TIMEOUT_SECONDS} s") from error
    if done.returncode:
        raise UserError(f"git {words[0]}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout.removesuffix("\n")


def fetch(root: Path, source: str, reference: str) -> None:
    """Fetch an experiment into a clone, without side effects."""
    quietly = ("-c", "gc.auto=0", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
    git(root, *quietly, source, f"{reference}:{reference}")


def forget_repository() -> None:
    """Unset the variables that git sets for hooks: in a copy, they would redirect git to the user's repository."""
    for name in git(Path(), "rev-parse", "--local-env-vars").split():
        os.environ.pop(name, None)


def identity(root: Path) -> list[str]:
    """The committer as options of `git clone`; raises UserError if git has none."""
    try:
        ident = git(root, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    except UserError as error:
        raise UserError(
            "git does not know who you are, and experiments are commits; run "
            '`git config --global user.name "Your Name"` and `git config --global user.email you@example.org`'
        ) from error
    match = re.fullmatch(r"(.*) <(.*)> \d+ [+-]\d+", ident)
    assert match, ident
    return ["-c", f"user.name={match[1]}", "-c", f"user.email={match[2]}"]


@contextmanager
def copied(root: Path, commit: str, name: str) -> Iterator[Path]:
    """Yield the project's folder in a temporary copy.

    A stage that is being killed may still write to it. The next sweep removes what is left then.
    """
    (root / COPIES).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{name}-", dir=root / COPIES, ignore_cleanup_errors=True) as top:
        source, below = git(root, "rev-parse", "--show-toplevel", "--show-prefix").split("\n")
        git(root, "clone", "--quiet", "--shared", "--no-checkout", "--no-tags", *identity(root), source, top)
        git(Path(top), "checkout", "--quiet", "--detach", commit)
        _configure(root, Path(top, below))
        yield Path(top, below)


def _configure(root: Path, copy: Path) -> None:
    """Give a copy this repository's local configuration, such as credentials, and its cache."""
    # A link, because DVC's configuration may hold only ASCII, and the cache's path may not be ASCII.
    cache = cache_folder(root).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    (copy / ".dvc/cache").symlink_to(cache)
    here = Config(dvc_dir=os.fspath(root / ".dvc")).load_one("local")
    with Config(dvc_dir=os.fspath(copy / ".dvc")).edit("local") as there:
        there.update(here)
        there["cache"] = {**here.get("cache", {}), "dir": os.path.relpath(copy / ".dvc/cache")}
