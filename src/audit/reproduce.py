"""`python -m src.audit.reproduce [BASE]`: run the last commit again in a clone with an empty cache, and compare.

Exit codes: 0 if every output has the same bytes; 1 if they differ; 2 if there is nothing to compare; 3 if the bytes
differ but are equally good: a different machine or different versions explain it, and no metric changed by more than
seed noise. Seed noise and the list of required metrics come from BASE, main by default, so a branch cannot choose them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from pathspec import GitIgnoreSpec
from rich.console import Console
from rich.table import Table

from src.audit.differences import Rules, explain
from src.audit.results import Results
from src.core.errors import UserError, one_line
from src.core.process import prepare_process
from src.noise.measurement import read_noise
from src.report.policy import POLICY, Policy, read_policy
from src.revision.git import find_commit, find_root, own_environment, places
from src.revision.pipeline import enclosing
from src.revision.revision import Revision, open_revision

SAME, DIFFERENT, UNKNOWN, AS_GOOD = range(4)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table of all outputs and the explanation of differences; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.audit.reproduce")
    parser.add_argument("base", metavar="BASE", nargs="?", default="main", help="whose rules count (default: main)")
    base = parser.parse_args(argv).base
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        root = find_root()
        commit = find_commit(root, "HEAD")
        rules = read_rules(root, base)
        with open_revision(root, commit, "the last commit") as revision:
            committed = Results.of(revision)
            planted = _planted(revision, rules)
        again = _run_again(root, commit, [*committed.outputs, *planted])
    except (UserError, DvcException, OSError) as error:
        print(f"reproduce: {one_line(error)}", file=sys.stderr)
        return UNKNOWN
    console.print(_table(committed.outputs, again.outputs))
    if committed.outputs == again.outputs:
        console.print(f"Identical: all {len(again.outputs)} outputs have the same bytes.")
        return SAME
    as_good, lines = explain(committed, again, rules)
    console.print("\n".join(lines))
    console.print(f"{'Not identical, but as good' if as_good else 'Different'}, by the rules of {base}.")
    return AS_GOOD if as_good else DIFFERENT


def read_rules(root: Path, base: str) -> Rules:
    """Read the rules from the files of a revision."""
    with open_revision(root, base) as revision:
        policy = read_policy(revision) if revision.tree.has(POLICY) else Policy(metrics={})
        return Rules(policy, read_noise(revision), [_ignored(revision)])


def _planted(revision: Revision, rules: Rules) -> list[str]:
    """Files in git that git ignores, or that DVC ignores within declared paths: training might resume from them."""
    ignored = [_ignored(revision), *rules.ignored]
    found = []
    for path, entry in revision.tree.entries.items():
        is_declared = enclosing(path, revision.pipeline.declared) is not None
        name = path if entry.mode.startswith("100") else f"{path}/"  # A link replaces a folder.
        if not path.startswith("../") and any(by_git_or_dvc[is_declared].match_file(name) for by_git_or_dvc in ignored):
            found.append(path)
    return found


def _ignored(revision: Revision) -> tuple[GitIgnoreSpec, GitIgnoreSpec]:
    return revision.tree.patterns(".gitignore"), revision.tree.ignored


def _run_again(root: Path, commit: str, removed: Iterable[str]) -> Results:
    """Run the whole pipeline in a clone from which `removed` paths are deleted, and read its results."""
    found = places(root)
    with tempfile.TemporaryDirectory(prefix="reproduce-", ignore_cleanup_errors=True) as folder:
        clone = Path(folder) / "clone"
        project = clone / found.prefix
        _run("git", "clone", "--quiet", "--no-checkout", str(found.top), str(clone), folder=root)
        _run("git", "checkout", "--quiet", "--detach", commit, folder=clone)
        # Metrics and plots came with the clone. DVC would keep those of a frozen stage, and a command persistent ones.
        # Git does not delete through links.
        remove = ("git", "--literal-pathspecs", "rm", "-r", "--quiet", "--ignore-unmatch", "--", *removed)
        _run(*remove, folder=project)
        _take_sources(root, project)
        # --force, because the branch may configure a cache that is not empty.
        # -P, because the branch may contain a module called dvc.
        _run(sys.executable, "-P", "-m", "dvc", "repro", "--force", folder=project)
        with open_revision(project, None, "the new run") as revision:
            return Results.of(revision)


def _take_sources(root: Path, project: Path) -> None:
    """Pull the data of .dvc files, which no stage produces, from the cache of the original repository."""
    with Repo(str(root)) as repo:
        # A cache has the layout of a remote. Its objects are hashed again.
        original = {"url": repo.cache.local_cache_dir, "verify": True}
    with Repo(str(project), config={"remote": {"original": original}}) as repo:
        for source in [stage.path for stage in repo.index.stages if stage.is_data_source]:
            try:
                repo.pull(source, remote="original")
            except DvcException as error:
                name = os.path.relpath(source, repo.root_dir)
                raise UserError(
                    f"{name}: its data is not whole in DVC's cache; run `dvc pull {name}`, or `dvc add` again"
                ) from error


def _run(*command: str, folder: Path) -> None:
    environment = own_environment()
    # The clone uses this process's interpreter; DVC runs `python` from PATH.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        raise UserError(f"`{' '.join(command)}` failed in {folder.resolve()}; see above")


def _table(expected: dict[str, str], found: dict[str, str]) -> Table:
    table = Table("output", "dvc.lock", "now", "", box=None)
    for path in {**expected, **found}:
        before, now = expected.get(path) or "-", found.get(path) or "-"
        table.add_row(path, before[:12], now[:12], "same" if before == now else "differs")
    return table


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
