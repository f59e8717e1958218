"""Copies of the repository in which trials run, so that none touches the working tree or waits for a lock.

A copy is a clone of one commit that borrows git's objects and shares DVC's cache. It lies where DVC puts its own
copies, so that checkpoints are kept in `logs/checkpoints` of the project.
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from dvc.config import Config

from src.core.errors import UserError
from src.guard.preflight import cache_folder
from src.sweep.git import git

# A stage whose sweep was killed ends within a second, and may write until then.
ENDING_SECONDS = 5.0
FOLDER = Path(".dvc/tmp/exps/sweep")


@dataclass(frozen=True)
class Copy:
    """A copy.

    Attributes:
        top: Its top folder, for git.
        project: The project's folder in it, for DVC.
    """

    top: Path
    project: Path

    def remove(self) -> None:
        """Remove it, if it exists."""
        _remove(self.top)


def make_copy(root: Path, commit: str, name: str) -> Copy:
    """A clean copy of a commit; replaces what a killed trial has left.

    Args:
        root: The project's folder.
        commit: Full hash.
        name: Name of the folder.
    """
    top = Path(git(root, "rev-parse", "--show-toplevel"))
    copy = Copy(root / FOLDER / name, root / FOLDER / name / git(root, "rev-parse", "--show-prefix"))
    copy.remove()
    copy.top.parent.mkdir(parents=True, exist_ok=True)
    git(root, "clone", "--quiet", "--shared", "--no-checkout", "--no-tags", str(top), str(copy.top))
    git(copy.top, "checkout", "--quiet", "--detach", commit)
    # What is configured for this repository alone, such as credentials, and the one cache. DVC writes only ASCII into
    # its configuration, so the cache has a name beside it, wherever it is.
    cache = cache_folder(root).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    (copy.project / ".dvc/cache").symlink_to(cache)
    here = Config(dvc_dir=os.fspath(root / ".dvc")).load_one("local")
    with Config(dvc_dir=os.fspath(copy.project / ".dvc")).edit("local") as there:
        there.update(here)
        there["cache"] = {**here.get("cache", {}), "dir": os.path.relpath(copy.project / ".dvc/cache")}
    return copy


def remove_all(root: Path) -> None:
    """Remove all copies, which killed sweeps may have left."""
    _remove(root / FOLDER)


def collect(root: Path, copy: Copy, reference: str) -> None:
    """Bring an experiment of a copy into the repository."""
    git(
        root,
        "-c",
        "gc.auto=0",
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        str(copy.top),
        f"{reference}:{reference}",
    )


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + ENDING_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise UserError(f"{folder}: something still writes to it; end that, then run again")
