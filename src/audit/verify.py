"""Are the results in this working tree those of its code? Checks everything against dvc.lock: `make verify`.

Checked are the receipts, every output and its cache objects, and the code, params and commands of every stage.

DVC itself trusts a write-protected cache object, and a file whose size and time have not changed.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage
from rich.console import Console

from src.core.errors import UserError, one_line
from src.core.files import md5
from src.core.receipt import folder_md5, receipt_path
from src.core.signals import restore_signals
from src.core.user import name_user
from src.revision.pipeline import Locked, read_lock
from src.revision.receipts import lock_differences, read_receipt
from src.revision.tree import Tree, open_tree


def main() -> int:
    """Print what is wrong with the repository in the current directory, and how to repair it."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        count, problems = verify(Path())
    except (UserError, DvcException) as error:
        console.print(f"verify: {one_line(error)}")
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
        missing or does not match dvc.lock, each input that changed since its stage ran, and each stage of which
        dvc.lock has no whole record).

    Raises:
        UserError: If dvc.lock cannot be read.
    """
    results: list[str] = []
    unknown: list[str] = []
    with open_tree(root, "the working tree", None) as tree, Repo(str(root)) as repo:
        locked = read_lock(tree)
        made = {str(out): out.hash_info.value for out in repo.index.outs if out.hash_info}
        for stage in repo.index.stages:
            name = getattr(stage, "name", None) or stage.addressing
            if not all(out.hash_info for out in stage.outs):
                unknown.append(name)
                continue
            results += [problem for out in stage.outs for problem in _check_out(out)]
            results += _check_inputs(stage, name, made)
            if receipt_path(name) in map(str, stage.outs):
                results.append(_check_receipt(tree, name, locked[name]))
    if unknown:
        results.append(f"dvc.lock: has no whole record of {', '.join(unknown)}; run `dvc repro`")
    return len(results), [problem for problem in results if problem]


def _check_out(out: Output) -> Iterator[str]:
    """One string for each file of an output and each of its cache objects; empty if it is intact."""
    path, name, oid = Path(out.fs_path), str(out), out.hash_info.value
    if not out.use_cache:
        yield _check(path, oid, name, f"delete it and run `git checkout {name}`, or `dvc repro` if it is not in git")
        return
    remake = "delete it and run `dvc pull` or `dvc repro`"
    cached = Path(out.cache.oid_to_path(oid))
    wrong = _check(cached, oid.removesuffix(".dir"), f"{cached} (cache of {name})", remake)
    yield wrong
    # Delete it first, because DVC and git trust a file whose size and time have not changed.
    restore = f"delete it and run `dvc checkout {name}`"
    if not out.is_dir_checksum:
        yield _check(path, oid, name, restore)
    elif wrong:
        # Which of its files are wrong, only the listing in the cache could say.
        files = {str(file.relative_to(path)): md5(file) for file in path.rglob("*") if file.is_file()}
        found = folder_md5(files)
        yield "" if found == oid else f"{name}: md5 is {found}, expected {oid}; run `dvc pull` or `dvc repro`"
    else:
        yield from _check_files(out, json.loads(cached.read_text(encoding="utf-8")), remake, restore)


def _check_files(folder: Output, entries: list[dict[str, str]], remake: str, restore: str) -> Iterator[str]:
    """Same for the files of a folder, of which its listing in the cache has a hash each."""
    path, name = Path(folder.fs_path), str(folder)
    known = {path / entry["relpath"] for entry in entries}
    for stray in sorted(file for file in path.rglob("*") if file.is_file() and file not in known):
        yield f"{name}/{stray.relative_to(path)}: is not in dvc.lock; move it out of {name}, where DVC deletes it"
    for entry in entries:
        file, cached = entry["relpath"], Path(folder.cache.oid_to_path(entry["md5"]))
        yield _check(cached, entry["md5"], f"{cached} (cache of {name}/{file})", remake)
        yield _check(path / file, entry["md5"], f"{name}/{file}", restore)


def _check_inputs(stage: Stage, name: str, made: Mapping[str, str]) -> Iterator[str]:
    """One string for the command and each dependency or params file; empty if it is what dvc.lock records."""
    yield f"{name}: its command changed since it ran; run `dvc repro`" if stage.changed_stage() else ""
    for dep in stage.deps:
        # The file of an output is hashed as such; here it matters which one the stage has read.
        changed = made[str(dep)] != dep.hash_info.value if str(dep) in made else dep.status().get(str(dep), {})
        what = f"{dep}: {', '.join(changed)}" if isinstance(changed, dict) else str(dep)
        yield f"{name}: {what} changed since it ran; run `dvc repro`" if changed else ""


def _check_receipt(tree: Tree, stage: str, locked: Locked) -> str:
    """Empty if the receipt of a stage confirms its entry in dvc.lock."""
    try:
        wrong = lock_differences(read_receipt(tree, stage), locked)
        problem = wrong and f"dvc.lock contradicts {receipt_path(stage)} in {', '.join(wrong)}"
    except UserError as error:
        problem = str(error)
    return f"{problem}; run `dvc repro --single-item --force {stage}`" if problem else ""


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
    name_user()
    sys.exit(main())
