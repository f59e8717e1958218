"""Checks that the results in this working tree belong to its code, by comparing all with dvc.lock: `make verify`.

This covers the code, params, data and command of every stage, the receipts, every output and its cache objects. DVC
itself trusts a write-protected cache object, and a file whose size and time have not changed.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage

from src.audit.results import contradictions
from src.core.errors import UserError, one_line
from src.core.files import md5
from src.core.folder import folder_md5
from src.core.process import prepare_process, take_no_arguments
from src.revision.git import find_root
from src.revision.revision import open_revision
from src.revision.stale import repair


def main() -> int:
    """Print the problems of the project that contains the current directory, and how to repair them."""
    try:
        count, problems = verify(find_root())
    except (UserError, DvcException, OSError) as error:
        print(f"verify: {one_line(error)}")
        return 1
    for problem in problems:
        print(problem)
    wrong = len(problems) or "none"
    print(f"all inputs and receipts, {count} files and cache objects checked against dvc.lock: {wrong} wrong")
    return 1 if problems else 0


def verify(root: Path) -> tuple[int, list[str]]:
    """Hash every output that dvc.lock records, and compare the inputs.

    Args:
        root: Folder of dvc.yaml and dvc.lock.

    Returns:
        (number of files and cache objects; one line with the repair for each input that changed since its stage ran,
        each receipt that contradicts dvc.lock, and each file that is missing or does not match dvc.lock).

    Raises:
        UserError: If dvc.lock cannot be read.
    """
    with open_revision(root, None, "the working tree") as revision:
        # Inputs ignored by git are missing here; DVC hashes them below.
        problems = list(contradictions(revision, ignored=lambda path: (root / path).exists()))
    in_git: dict[str, str | None] = {}
    with suppress(UserError), open_revision(root, "HEAD") as last:  # There may be no commit yet.
        in_git = {path: last.tree.md5(path) for path, out in last.pipeline.outs.items() if not out.cached}
    with Repo(str(root)) as repo:
        checked = [problem for out in repo.index.outs if out.hash_info for problem in _check_out(out, in_git)]
        problems += _changed_inputs(repo)
    return len(checked), list(dict.fromkeys([*problems, *filter(None, checked)]))


def _changed_inputs(repo: Repo) -> Iterator[str]:
    """Find inputs that changed on disk, including those that git ignores, converts, or was told to trust."""
    made = set(map(str, repo.index.outs))
    words = {"deleted": "is missing", "new": "is not in dvc.lock"}
    for stage in repo.index.stages:
        # For a .dvc file, DVC would contact the source of an import. Stages missing in dvc.lock are already reported.
        if not isinstance(stage, PipelineStage) or not all(out.hash_info for out in stage.outs):
            continue
        name = stage.name
        if stage.changed_stage():
            yield f"{name}: its command changed; run `dvc repro`"
        for dep in (dep for dep in stage.deps if str(dep) not in made):
            for path, change in dep.status().items():
                # Params have one change each.
                for key, one in (change if isinstance(change, dict) else {"": change}).items():
                    problem = words.get(one, "changed")
                    subject = f"{path}:{key}" if key else path
                    yield f"{name}: {subject} {problem}; {repair(name, problem, stage.frozen)}"


def _check_out(out: Output, in_git: Mapping[str, str | None]) -> Iterator[str]:
    """Yield a string for each file of an output and each of its cache objects; empty if it is intact.

    Args:
        out: The output.
        in_git: MD5 in the last commit of outputs that are not in the cache.
    """
    path, name, oid = Path(out.fs_path), str(out), out.hash_info.value
    if not out.use_cache:
        command = f"git checkout HEAD {name}" if in_git.get(name) == oid else "dvc repro"
        yield _check(path, oid, name, f"delete it and run `{command}`")
        return
    again = f"run `dvc pull` or `{f'dvc add {name}' if out.stage.is_data_source else 'dvc repro'}`"
    # Delete it first, because DVC and git trust a file whose size and time have not changed.
    restore = f"delete it and run `dvc checkout {name}`"
    cached = Path(out.cache.oid_to_path(oid))
    if not out.is_dir_checksum or _check(cached, oid.removesuffix(".dir"), name, again):
        # Without the listing in the cache, it is unknown which files of a folder are wrong.
        yield from _check_cached(path, cached, oid, name, again, restore)
        return
    yield ""
    if path.exists() and not path.is_dir():
        yield f"{name}: is not a folder; {restore}"
        return
    files = _files(path)
    listing = {entry["relpath"]: entry["md5"] for entry in json.loads(cached.read_text(encoding="utf-8"))}
    for stray in files.keys() - listing.keys():
        yield f"{name}/{stray}: is not in dvc.lock; move it out of {name}, where DVC deletes it"
    for file, expected in listing.items():
        cached = Path(out.cache.oid_to_path(expected))
        yield from _check_cached(path / file, cached, expected, f"{name}/{file}", again, restore)


def _check_cached(path: Path, cached: Path, oid: str, name: str, again: str, restore: str) -> Iterator[str]:
    """Check a file or folder and its cache object, from which `restore` takes it; `again` makes both."""
    if not path.exists() and not cached.exists():
        yield f"{name}: is missing, also in the cache; {again}"
        yield ""
        return
    remake = f"delete it and {again}"
    wrong = _check(cached, oid.removesuffix(".dir"), f"{cached} (cache of {name})", remake)
    yield wrong
    # A folder may contain more than was recorded.
    yield _check(path, oid, name, restore if not wrong else again if path.is_dir() else remake)


def _files(folder: Path) -> dict[str, Path]:
    """All files in a folder, by relative path."""
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}


def _check(path: Path, expected: str, name: str, repair: str) -> str:
    """Describe why a file or folder does not have the expected hash; empty if it does."""
    try:
        found = folder_md5({name: md5(file) for name, file in _files(path).items()}) if path.is_dir() else md5(path)
    except FileNotFoundError:
        return f"{name}: is missing; {repair.removeprefix('delete it and ')}"
    except OSError as error:
        return f"{name}: cannot be read ({error.strerror}); {repair}"
    return "" if found == expected else f"{name}: md5 is {found}, expected {expected}; {repair}"


if __name__ == "__main__":
    prepare_process()
    take_no_arguments("src.audit.verify")
    sys.exit(main())
