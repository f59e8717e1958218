"""`python -m src.share.push [REMOTE]`, or `make push`: push results that `dvc exp run --pull` restores elsewhere.

`dvc push --run-cache` pushes the records of runs, and those outputs in the working tree that DVC caches. A record also
lists outputs that git tracks, such as metrics. Their objects are not pushed, so another clone that finds the record
runs the stage again. This command pushes every object that a record lists, and then the record. A run with missing
objects, for example after `dvc gc`, could not be restored and is skipped.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dvc.exceptions import DvcException, UploadError
from dvc.fs import generic
from dvc.repo import Repo

from src.core.errors import UserError, one_line
from src.core.process import prepare_process
from src.core.yaml_file import read_mapping

# Libraries of the remotes, whose exceptions have no common class.
REMOTE_LIBRARIES = {"aiohttp", "asyncssh", "botocore", "dvc_objects", "dvc_s3", "dvc_ssh", "s3fs", "sshfs"}


def main(argv: Sequence[str] | None = None) -> int:
    """Push, print a summary and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.share.push")
    parser.add_argument("remote", metavar="REMOTE", nargs="?", help="DVC remote (default: DVC's default remote)")
    try:
        objects, runs, incomplete = push(parser.parse_args(argv).remote)
    except UserError as error:
        print(f"push: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{objects} files pushed, {runs} runs shared")  # noqa: T201
    if incomplete:
        print(f"push: {incomplete} runs left out: files of theirs are not in the cache (docs/sharing.md)")  # noqa: T201
    return 0


def push(remote: str | None = None) -> tuple[int, int, int]:
    """Push the outputs in the working tree and every complete run in the cache.

    Args:
        remote: Name of a DVC remote; None for the default.

    Returns:
        Number of objects that the remote lacked, of runs that it can now restore, and of runs that were skipped.

    Raises:
        UserError: If there is no such remote, or it cannot be reached or written.
    """
    try:
        with Repo() as repo:
            objects = repo.push(remote=remote)
            with repo.lock:
                records = list(_records(repo))
                runs = {record: named for record in records if (named := _objects(repo, record))}
                hashes = [repo.cache.local.get(oid).hash_info for oid in set().union(*runs.values())]
                pushed = repo.cloud.push(hashes, remote=remote)
                if pushed.failed:
                    raise UploadError(len(pushed.failed))
                # Records come last, so that a clone that pulls meanwhile finds only complete runs.
                _push_records(repo, list(runs), remote)
                return objects + len(pushed.transferred), len(runs), len(records) - len(runs)
    except DvcException as error:
        raise UserError(one_line(error)) from error
    except Exception as error:
        if not _is_about_remote(error):
            raise
        raise UserError(
            f"remote {remote or 'by default'}: {one_line(error)}; see `dvc remote list`, docs/sharing.md"
        ) from error


def _is_about_remote(error: Exception) -> bool:
    libraries = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    # DVC raises ImportError if the package for this kind of remote is not installed.
    return isinstance(error, OSError | ImportError) or not libraries.isdisjoint(REMOTE_LIBRARIES)


def _records(repo: Repo) -> list[Path]:
    """List the run cache: one file per run of a stage, without temporary files of DVC."""
    return [path for path in Path(repo.stage_cache.cache_dir).glob("*/*/*") if not path.name.startswith(".")]


def _objects(repo: Repo, record: Path) -> set[str]:
    """MD5 of every object that a record lists, including files in folders; empty if one is not in the cache."""
    try:
        named = {out["md5"] for out in read_mapping(record)["outs"]}
        listings = (Path(repo.cache.local.oid_to_path(oid)) for oid in named if oid.endswith(".dir"))
        named |= {file["md5"] for listing in listings for file in json.loads(listing.read_bytes())}
    except (UserError, KeyError, TypeError, ValueError, FileNotFoundError):
        return set()
    return named if all(Path(repo.cache.local.oid_to_path(oid)).exists() for oid in named) else set()


def _push_records(repo: Repo, records: Sequence[Path], remote: str | None) -> None:
    source = repo.cache.legacy
    target = repo.cloud.get_remote_odb(remote, "push --run-cache", hash_name="md5-dos2unix")
    for record in records:
        path = target.fs.join(target.path, *record.relative_to(source.path).parts)
        generic.copy(source.fs, str(record), target.fs, path)


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
