"""Runs the committed pipeline again in a clone with an empty cache and compares: `python -m src.reproduce`."""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from src.errors import UserError

RECORD = Path("logs/train.json")
METRICS = Path("metrics/eval.json")
# What a record of a training says about the machine; the rest is how long it took.
MACHINE = ("device", "threads", "cpu", "kernels", "versions")


def main() -> int:
    """Print a table of all outputs; 0 if they are the same, or as good on a machine that is known to differ."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
            clone = run_again(Path(), Path(folder) / "clone")
            expected, found = locked_outputs(Path()), locked_outputs(clone)
            same = expected == found
            console.print(_table(expected, found))
            if same:
                console.print(f"All {len(expected)} outputs are byte-identical.")
                return 0
            return _explain(console, clone)
    except UserError as error:
        print(f"reproduce: {error}", file=sys.stderr)  # noqa: T201
        return 1


def run_again(repository: Path, clone: Path) -> Path:
    """Clone the last commit of a repository, with nothing of its cache, and run its pipeline there.

    Raises:
        UserError: If there is no such commit, or a stage fails.
    """
    stages = ["git", "clone", "--quiet", str(repository.resolve()), str(clone)], [sys.executable, "-m", "dvc", "repro"]
    # The interpreter of this process is the clone's, too; DVC runs `python` from PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command, folder in zip(stages, (repository, clone), strict=True):
        if subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=False).returncode:
            raise UserError(f"`{' '.join(command)}` failed in {folder.resolve()}; see above")
    return clone


def locked_outputs(repository: Path) -> dict[str, str]:
    """Hash of every output by its path, as dvc.lock has it."""
    stages = YAML(typ="safe").load(repository / "dvc.lock")["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def differences(repository: Path, clone: Path) -> list[str]:
    """What is known to differ between here and where the results were made, one line each.

    That is: packages of other versions than requirements.txt has, and whatever the records of the two trainings say
    about the machine; the committed results' record is there only where they were made.
    """
    lines = []
    for line in (repository / "requirements.txt").read_text().splitlines():
        name, separator, pinned = line.partition("==")
        installed = _version(name) if separator else pinned
        if installed != pinned:
            lines.append(f"{name} is {installed} here, requirements.txt has {pinned}")
    if not (repository / RECORD).exists():
        return [*lines, "where the committed results were made is not on record here"]
    before, now = (json.loads((folder / RECORD).read_text()) for folder in (repository, clone))
    return lines + [
        f"{key}: {before.get(key)} before, {now[key]} now" for key in MACHINE if before.get(key) != now[key]
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _table(expected: dict[str, str], found: dict[str, str]) -> Table:
    table = Table("output", "dvc.lock", "now", "", box=None)
    for path in {**expected, **found}:
        before, now = expected.get(path, "-"), found.get(path, "-")
        table.add_row(path, before[:12], now[:12], "same" if before == now else "[red]differs[/red]")
    return table


def _explain(console: Console, clone: Path) -> int:
    """Say why outputs may differ, and whether the metrics are as good; exit code."""
    reasons = differences(Path(), clone)
    if not reasons:
        console.print("Versions, device, threads and processor are the same, so these outputs should be, too.")
        return 1
    for reason in reasons:
        console.print(f"- {reason}", markup=False)
    before, now = (json.loads((folder / METRICS).read_text()) for folder in (Path(), clone))
    good = within_noise(before, now)
    words = "within" if good else "outside"
    console.print(f"test_acc {now['test_acc']:.4f} is {words} the 95% interval of {before['test_acc']:.4f}.")
    return 0 if good else 1


def within_noise(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a test accuracy lies in the other's 95% interval, several times as wide as what a seed changes."""
    return before["test_acc_low"] <= now["test_acc"] <= before["test_acc_high"]


if __name__ == "__main__":
    sys.exit(main())
