"""`make experiments`: the experiments of this commit, best validation accuracy first.

DVC's own table has a column for every param, and drops columns that do not fit the terminal.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dvc.exceptions import NotDvcRepoError
from dvc.repo import Repo
from dvc.repo.experiments.show import tabulate
from rich.console import Console
from rich.table import Column, Table
from scmrepo.exceptions import SCMError

from src.core.errors import UserError, one_line
from src.core.process import prepare_process, take_no_arguments
from src.core.receipt import PARAMS_FILE
from src.core.yaml_file import read_mapping
from src.revision.git import find_root
from src.revision.receipts import Receipt, lock_differences
from src.revision.revision import open_revision
from src.sweep.command import guarded
from src.sweep.experiments import EVAL, SCORE, TEST_SCORE, TRAIN

# States that DVC gives to rows whose scores are their own.
DONE = (None, "", "Success")


def main() -> int:
    """Print the table and return the exit code."""

    def run() -> int:
        params = read_mapping(Path(PARAMS_FILE))
        with Repo() as repo:
            try:
                shown = repo.experiments.show()
            except (NotDvcRepoError, SCMError, FileNotFoundError) as error:
                # DVC reads a copy that a worker of the queue has not finished, and never will if it was killed.
                raise UserError(
                    "DVC is preparing an experiment, try again in a moment; if its queue was killed, run "
                    f"`dvc queue start` ({one_line(error)})"
                ) from error
        listed, _ = tabulate(shown, fill_value="", error_value="", precision=None)
        # DVC adds the file to a name that two files have.
        ours = {(TRAIN, SCORE), (EVAL, TEST_SCORE), *((PARAMS_FILE, name) for name in params)}
        names = {f"{file}:{name}": name for file, name in ours}
        rows = [{names.get(name, name): str(value) for name, value in row.items()} for row in listed.as_dict()]
        root = find_root()
        for row in (row for row in rows if row.get("State") in DONE):
            try:
                row["State"] = _state(root, None if row["rev"] == "workspace" else row["rev"])
            except UserError:
                if row["rev"] == "workspace":
                    raise
                row["State"] = "unreadable"
        Console(highlight=False).print(table(rows, list(params)))
        return 0

    return guarded("experiments", run)


def _state(root: Path, name: str | None) -> str:
    """Why the scores of a revision, or of the working tree, are not its own; empty if they are."""
    with open_revision(root, name) as found:
        locked = found.pipeline.locked
        for stage, receipt in found.receipts.items():
            # Made with other params or code, as by `dvc exp save` after an edit.
            if isinstance(receipt, Receipt) and stage in locked and lock_differences(receipt, locked[stage]):
                return "void"
        # The params, code or data changed since.
        return "stale" if name is None and found.stale else ""


def table(rows: Sequence[dict[str, str]], params: Sequence[str]) -> Table:
    """Tabulate the working tree, its commit and then the experiments, with scores and the params that differ.

    Args:
        rows: Rows of `dvc exp show`, by column.
        params: Names of the params.
    """
    # Until an experiment has ended, its files are partly those of the commit that it started from.
    rows = [row if row.get("State") in DONE else {**row, SCORE: "", TEST_SCORE: ""} for row in rows]
    varied = [name for name in params if len({row.get(name) for row in rows}) > 1]
    found = Table(
        Column("experiment", no_wrap=True), SCORE, TEST_SCORE, Column("params that differ", ratio=1), box=None
    )
    for row in sorted(rows, key=lambda row: -float("inf" if row["typ"] == "baseline" else row.get(SCORE) or 0)):
        scores = (
            f"{float(row[name]):.2%}" if row.get(name) else row.get("State") or "-" for name in (SCORE, TEST_SCORE)
        )
        settings = ", ".join(f"{name}={row[name]}" for name in varied)
        found.add_row(row["Experiment"] or row["rev"], *scores, settings)
    return found


if __name__ == "__main__":
    prepare_process()
    take_no_arguments("src.sweep.listing")
    sys.exit(main())
