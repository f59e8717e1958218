"""Runs the committed pipeline again in a clone with an empty cache and compares: `python -m src.audit.reproduce`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from src.audit.differences import explain
from src.audit.results import Results, read_results
from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE as PARAMS
from src.core.signals import restore_signals
from src.noise.measurement import NOISE, Measurement, find_measurement, parse_noise
from src.report.policy import Policy, parse_policy
from src.report.revision import POLICY, TEST_DATA


def main() -> int:
    """Print a table of all outputs; 0 if they are identical, or as good on a machine that is known to differ."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
            clone = Path(folder) / "clone"
            _run("git", "clone", "--quiet", str(Path().resolve()), str(clone), folder=Path())
            committed = read_results(clone)
            policy, measured = _read_policy(clone), _read_noise(clone, committed)
            # Forced, because metrics and plots came with the clone and DVC would trust them.
            _run(sys.executable, "-m", "dvc", "repro", "--force", folder=clone)
            again = read_results(clone)
    except UserError as error:
        print(f"reproduce: {error}", file=sys.stderr)  # noqa: T201
        return 1
    console.print(_table(committed.outputs, again.outputs))
    if committed.outputs == again.outputs:
        console.print(f"All {len(again.outputs)} outputs are byte-identical.")
        return 0
    as_good, lines = explain(committed, again, policy, measured)
    console.print("\n".join(lines), markup=False)
    return 0 if as_good else 1


def _run(*command: str, folder: Path) -> None:
    # The clone uses this process's interpreter; DVC runs `python` from PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=False).returncode:
        raise UserError(f"`{' '.join(command)}` failed in {folder.resolve()}; see above")


def _read_policy(clone: Path) -> Policy:
    path = clone / POLICY
    return parse_policy(path.read_text(encoding="utf-8"), POLICY) if path.exists() else Policy(metrics={})


def _read_noise(clone: Path, committed: Results) -> Measurement | None:
    """The seeds measured for the committed data and recipe, or None."""
    path = clone / NOISE
    if not path.exists():
        return None
    params = YAML(typ="safe").load(clone / PARAMS)
    return find_measurement(parse_noise(path.read_text(encoding="utf-8"), NOISE), committed.outputs[TEST_DATA], params)


def _table(expected: dict[str, str], found: dict[str, str]) -> Table:
    table = Table("output", "dvc.lock", "now", "", box=None)
    for path in {**expected, **found}:
        before, now = expected.get(path, "-"), found.get(path, "-")
        table.add_row(path, before[:12], now[:12], "same" if before == now else "[red]differs[/red]")
    return table


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
