"""Are the results in this working tree those of its code? Checks everything against dvc.lock: `make verify`.

Checked are the receipts, every output and its cache objects, and the code, params and commands of every stage.

DVC itself trusts a write-protected cache object, and a file whose size and time have not changed.
"""

import json
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage
from rich.console import Console

from src.core.files import md5
from src.core.receipt import receipt_path, why_void_in
from src.core.signals import restore_signals
from src.core.yaml_file import read_mapping


def main() -> int:
    """Print what is wrong with the repository in the current directory, and how to repair it."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        count, problems = verify(Path())
    except DvcException as error:
        console.print(f"verify: {error}")
        return 1
    for problem in problems:
        console.print(problem)
    console.print(
        f"{count} receipts, inputs, files and cache objects checked against dvc.lock: {len(problems) or 'none'} wrong"
    )
    return 1 if problems else 0


def verify(root: Path) -> tuple[int, list[str]]:
    """Hash every output that a repository's pipeline recorded, and compare its inputs.

    Args:
        root: Folder of dvc.yaml and dvc.lock.

    Returns:
        (number of checks, one line with the repair for each receipt that contradicts dvc.lock, each file that is
        missing or does not match dvc.lock, and each input that changed since its stage ran).
    """
    lock = read_mapping(root / "dvc.lock")[0]["stages"] if (root / "dvc.lock").exists() else {}
    with Repo(str(root)) as repo:
        results = [problem for out in repo.index.outs for problem in _check_out(out)]
        declared = {str(out): out.stage.name for out in repo.index.outs}
        results += [problem for stage in repo.index.stages for problem in _check_inputs(stage, declared)]
        results += [
            why_void_in(root, stage, lock.get(stage, {}))
            for out, stage in declared.items()
            if out == receipt_path(stage)
        ]
    return len(results), [problem for problem in results if problem]


def _check_out(out: Output) -> Iterator[str]:
    """One string for each file of an output and each of its cache objects; empty if it is intact."""
    path, name = Path(out.fs_path), str(out)
    if not out.hash_info:
        yield f"{name}: dvc.lock does not know it; run `dvc repro`"
        return
    oid = out.hash_info.value
    if not out.use_cache:
        yield _check(path, oid, name, f"delete it and run `git checkout {name}`, or `dvc repro` if it is not in git")
        return
    remake = "delete it and run `dvc pull` or `dvc repro`"
    listing = Path(out.cache.oid_to_path(oid))
    yield _check(listing, oid.removesuffix(".dir"), f"{listing} (cache of {name})", remake)
    # Delete it first, because DVC and git trust a file whose size and time have not changed.
    restore = f"delete it and run `dvc checkout {name}`"
    if not out.is_dir_checksum:
        yield _check(path, oid, name, restore)
        return
    entries = _entries(listing)
    known = {path / entry["relpath"] for entry in entries}
    for stray in sorted(file for file in path.rglob("*") if file.is_file() and file not in known):
        yield f"{name}/{stray.relative_to(path)}: is not in dvc.lock; delete it"
    for entry in entries:
        file, cached = entry["relpath"], Path(out.cache.oid_to_path(entry["md5"]))
        yield _check(cached, entry["md5"], f"{cached} (cache of {name}/{file})", remake)
        yield _check(path / file, entry["md5"], f"{name}/{file}", restore)


def _check_inputs(stage: Stage, declared: Container[str]) -> Iterator[str]:
    """One string for the command and each dependency or params file; empty if it is what dvc.lock records."""
    name = getattr(stage, "name", None) or stage.addressing
    yield f"{name}: its command changed since it ran; run `dvc repro`" if stage.changed_stage() else ""
    for dep in stage.deps:
        if str(dep) in declared:
            continue  # it is hashed as an output
        changed = dep.status().get(str(dep), {})
        what = f"{dep}: {', '.join(changed)}" if isinstance(changed, dict) else str(dep)
        yield f"{name}: {what} changed since it ran; run `dvc repro`" if changed else ""


def _entries(listing: Path) -> list[dict[str, str]]:
    """Files of a folder in the cache; none if the listing is unreadable, which the check of its hash reports."""
    try:
        return json.loads(listing.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []


def _check(path: Path, expected: str, name: str, repair: str) -> str:
    """Empty if a file has the hash, otherwise what is wrong with it."""
    try:
        found = md5(path)
    except FileNotFoundError:
        return f"{name}: is missing; {repair.removeprefix('delete it and ')}"
    except OSError as error:
        return f"{name}: cannot be read ({error.strerror}); {repair}"
    return "" if found == expected else f"{name}: md5 is {found}, expected {expected}; {repair}"


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
