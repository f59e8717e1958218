"""Copies of the repository in which experiments run, so that no run touches the working tree or waits for a lock.

A copy is a clone of one commit that borrows git's objects and shares DVC's cache. It lies where DVC puts its own
copies, so that checkpoints are kept in `logs/checkpoints` of the repository (`src/mnist/train/checkpoint.py`).
"""

import os
import shutil
import time
from pathlib import Path

from dvc.config import Config

from src.core.errors import UserError
from src.guard.preflight import cache_folder
from src.sweep.git import git

# A stage whose sweep was killed ends within a second, and may write until then.
ENDING_SECONDS = 5.0
FOLDER = Path(".dvc/tmp/exps/sweep")


def make_copy(root: Path, commit: str, name: str) -> Path:
    """A clean copy of a commit; replaces what a killed sweep has left.

    Args:
        root: Top folder of the repository.
        commit: Full hash.
        name: Name of the folder.
    """
    copy = root / FOLDER / name
    remove_copy(root, name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    git(root, "clone", "--quiet", "--shared", "--no-checkout", "--no-tags", str(root), str(copy))
    git(copy, "checkout", "--quiet", "--detach", commit)
    # What is configured for this repository alone, such as credentials, and the one cache.
    here = Config(dvc_dir=os.fspath(root / ".dvc")).load_one("local")
    with Config(dvc_dir=os.fspath(copy / ".dvc")).edit("local") as there:
        there.update(here)
        there["cache"] = {**here.get("cache", {}), "dir": os.fspath(cache_folder(root))}
    return copy


def remove_copy(root: Path, name: str) -> None:
    """Remove a copy, if it exists."""
    _remove(root / FOLDER / name)


def remove_all(root: Path) -> None:
    """Remove all copies, which killed sweeps may have left."""
    _remove(root / FOLDER)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + ENDING_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise UserError(f"{folder}: something still writes to it; end that, then run again")


def collect(root: Path, copy: Path, reference: str) -> None:
    """Bring an experiment of a copy into the repository."""
    git(root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(copy), f"{reference}:{reference}")
