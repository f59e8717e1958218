"""`python -m src.share [REMOTE]`: push results so that `dvc exp run --pull` elsewhere restores them.

`dvc push --run-cache` pushes records of runs, and the outputs in the working tree that DVC caches. A record also names
outputs that git tracks, such as metrics. Their objects stay behind, so DVC runs the stage again wherever it finds the
record. This pushes every object that a record names, and then the records.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from src.core.errors import UserError, one_line
from src.core.signals import restore_signals


def main(arguments: Sequence[str]) -> int:
    """Push to the named remote, or to the default one; returns the exit code."""
    if len(arguments) > 1:
        print("share: expected at most the name of one remote: python -m src.share REMOTE", file=sys.stderr)  # noqa: T201
        return 2
    try:
        files, runs = share(*arguments)
    except UserError as error:
        print(f"share: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{files} files pushed, {runs} runs shared")  # noqa: T201
    return 0


def share(remote: str | None = None) -> tuple[int, int]:
    """Push the outputs in the working tree and every run in the cache; DVC warns of objects that the cache lacks.

    Args:
        remote: Name of a DVC remote; None for the default.

    Returns:
        (objects that the remote lacked, runs that it now knows of).

    Raises:
        UserError: If there is no such remote, or it cannot be reached or written.
    """
    try:
        with Repo() as repo:
            files = repo.push(remote=remote)
            with repo.lock:
                return files + _push_objects(repo, remote), len(repo.stage_cache.push(remote))
    except DvcException as error:
        raise UserError(one_line(error)) from error
    # Each remote's library has its own errors, with no common class.
    except Exception as error:
        raise UserError(f"remote {remote or 'by default'}: {one_line(error)}; see `dvc remote list`") from error


def _push_objects(repo: Repo, remote: str | None) -> int:
    """Push the objects before the records that name them: a clone that pulls meanwhile finds whole runs."""
    records = [(path.parent.name, path.name) for path in Path(repo.stage_cache.cache_dir).glob("*/*/*")]
    used = repo.stage_cache.get_used_objs(records)
    return sum(len(repo.cloud.push(objects, remote=remote).transferred) for objects in used.values())


if __name__ == "__main__":
    restore_signals()
    sys.exit(main(sys.argv[1:]))
